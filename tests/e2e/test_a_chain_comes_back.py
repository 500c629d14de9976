"""A chain comes back with its offline checks while others sell: these are served, and all of it counts once, whatever crashes."""

import asyncio
from datetime import timedelta

from schemas.topics import BACKLOG, CHECKS, REPLIES
from streams.log import open_log
from tests.builders import program
from tests.e2e.harness import until
from tests.tills import opt_in, sale

MEMBERS, LATE = 30, 3000


def card(number):
    return f"card:CHAIN{number:04}"


async def throw_in(system, count):
    """The chain's checks, two days old, one after another; their origins."""
    bought = system.at - timedelta(days=2)
    cards = [card(n % MEMBERS) for n in range(count)]
    late = [sale(f"late-{n}", [100], bought, one, offline=True) for n, one in enumerate(cards)]
    return await asyncio.gather(*(system.put(CHECKS.name, body["member"], body) for body in late))


def replies(system):
    """The headers of all replies heard so far; of several to one record the first comes last."""
    return [dict(record.headers) for record in reversed(system.heard[REPLIES.name])]


async def test_live_checks_pass_a_backlog_and_all_of_it_counts_once_through_a_kill_and_a_stop(installed):
    system = await installed(program(), backlog_minutes=10)
    worker = await system.worker().ready()
    await asyncio.gather(*(system.ask(opt_in(f"H-{n}", system.at, card(n))) for n in range(MEMBERS)))

    assert await worker.stop() == 0
    late = set(await throw_in(system, LATE))
    bodies = [sale(f"live-{n}", [100], system.at, card(n)) for n in range(5)]
    live = set(await asyncio.gather(*(system.check(body) for body in bodies)))
    await worker.start().ready(2)
    await until(lambda: live <= system.answered, "live checks are answered")
    written = {headers["origin"].decode(): int(headers["written-at"]) for headers in replies(system)}
    last = max(written[origin] for origin in live)
    before = sum(written.get(origin, last + 1) <= last for origin in late)
    assert before < LATE / 3, "live checks were sent after the backlog, and answered before most of it"

    await until(lambda: len(late & system.answered) > LATE / 10, "some of the backlog is answered")
    await worker.kill()
    assert len(late & system.answered) < LATE
    await worker.start().ready(3)
    await until(lambda: len(late & system.answered) > LATE / 2, "half of the backlog is answered")
    assert await worker.stop() == 0
    assert len(late & system.answered) < LATE
    await worker.start().ready(4)
    await system.all_answered()

    figures, _ = await system.prove()
    assert figures.outcomes["applied"] == LATE + 5 + MEMBERS
    earned = {member: balance["available"] for member, balance in system.balances().items()}
    assert earned == {f"H-{n}": LATE // MEMBERS + (n < 5) for n in range(MEMBERS)}
    async with open_log(system.bootstrap) as log:
        aside = sum(span.end for span in (await log.spans(BACKLOG.name)).values())
    assert aside >= LATE
    series = await worker.metrics()
    assert not any(value for name, value in series.items() if name.startswith("loy_lag_records{") and BACKLOG.name in name)
    assert series.get('loy_answer_seconds_count{door="backlog"}', 0) > 0


async def test_of_two_workers_each_takes_its_part_of_a_backlog_and_all_of_it_when_the_other_dies(installed):
    system = await installed(program(), backlog_minutes=10)
    one, two = system.worker("one"), system.worker("two")
    await asyncio.gather(one.ready(), two.ready())
    await asyncio.gather(*(system.ask(opt_in(f"H-{n}", system.at, card(n))) for n in range(MEMBERS)))

    late = set(await throw_in(system, LATE // 2))
    await until(lambda: len(late & system.answered) > LATE / 10, "some of the backlog is answered")
    await two.kill()
    await system.all_answered()

    figures, _ = await system.prove()
    assert figures.outcomes["applied"] == LATE // 2 + MEMBERS
    assert "cannot be told" not in one.said()


async def test_history_that_is_replayed_is_not_late(installed):
    system = await installed(program())
    await system.worker().ready()
    await system.ask(opt_in("H-1", system.at, card(1)))
    await system.ask(sale("s1", [100], system.at - timedelta(days=2), card(1)))
    async with open_log(system.bootstrap) as log:
        assert not any(span.end for span in (await log.spans(BACKLOG.name)).values())
