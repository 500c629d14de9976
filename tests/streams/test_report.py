import asyncio
import time
from types import SimpleNamespace

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from rich.console import Console

from schemas.topics import CHECKS, DEAD_LETTERS, EVENTS, MEMBER_COMMANDS, REDEMPTIONS, REPLIES
from streams.report import Latencies, StalledError, Tally, listening, render
from streams.topic_admin import apply_topics

SENT, READ = 1_000_000, 1_000_007


def reply(offset, *, topic=CHECKS.name, partition=0, outcome="applied", code="OK", status="accepted", id_="c-1", sent=SENT):
    headers = {"origin": f"{topic}/{partition}/{offset}", "outcome": outcome, "sent-at": str(sent)}
    value = {"id": id_, "status": status, "code": code}
    return record(REPLIES.name, value, headers)


def event(kind, sequence, *postings, account="H-1", sent=SENT, **detail):
    data = {"postings": [dict(zip(("source", "target", "points"), one, strict=True)) for one in postings], **detail}
    data.setdefault("profile", {"loyalty_id": account})
    value = {"type": kind, "subject": account, "sequence": sequence, "data": data}
    return record(EVENTS.name, value, {"sent-at": str(sent)} if sent else {})


def dead_letter(offset, code, topic=CHECKS.name):
    return record(DEAD_LETTERS.name, {"what": "ever"}, {"origin": f"{topic}/0/{offset}", "code": code, "stage": "intake"})


def record(topic, value, headers):
    return SimpleNamespace(
        topic=topic, value=orjson.dumps(value), headers=[(name, text.encode()) for name, text in headers.items()]
    )


def tally(*records, since=None):
    counts = Tally(since)
    for one in records:
        counts.take(one, READ)
    return counts


def test_each_check_is_counted_under_its_outcome_and_code():
    counts = tally(
        reply(0),
        reply(1),
        reply(2, outcome="repeated"),
        reply(3, outcome="refused", status="refused", code="MEMBER_OPTED_OUT"),
        dead_letter(4, "NOT_JSON"),
        reply(0, topic=MEMBER_COMMANDS.name),
    )
    assert counts.count(CHECKS.name) == 5
    assert counts.count(CHECKS.name, "applied") == 2
    assert counts.outcomes[CHECKS.name, "refused", "MEMBER_OPTED_OUT"] == 1
    assert counts.outcomes[CHECKS.name, "dead letter", "NOT_JSON"] == 1
    assert counts.answered == 6


def test_an_answer_that_comes_twice_counts_once():
    assert tally(reply(7), reply(7), dead_letter(7, "SCHEMA"), reply(7, partition=1)).answered == 2


def test_answers_to_what_came_before_do_not_count():
    since = {(CHECKS.name, 0): 10}
    assert tally(reply(9), reply(10), dead_letter(3, "SCHEMA"), reply(2, partition=1), since=since).answered == 2


def test_dead_letters_of_other_topics_do_not_count():
    assert tally(dead_letter(1, "SCHEMA", topic=EVENTS.name)).answered == 0


def test_points_follow_the_postings():
    counts = tally(
        event("LOY_POINT_ACCRUAL", 1, ("issued", "pending", 100), check_id="c"),
        event("LOY_POINT_RELEASED", 2, ("pending", "available", 70)),
        event("LOY_POINT_RESERVED", 3, ("available", "reserved", 50)),
        event("LOY_POINT_REDEMPTION", 4, ("reserved", "used", 40), ("reserved", "available", 10)),
    )
    assert counts.gone(source="issued") == 100
    assert counts.gone(target="used") == 40
    assert counts.gone(target="pending") - counts.gone(source="pending") == 30
    assert counts.gone(source="reserved", target="available") == 10


def test_an_event_that_comes_twice_counts_once():
    accrual = event("LOY_POINT_ACCRUAL", 1, ("issued", "available", 5))
    counts = tally(accrual, accrual, event("LOY_POINT_ACCRUAL", 1, ("issued", "available", 5), account="H-2"))
    assert counts.gone(source="issued") == 10
    assert len(counts.to_event) == 2


def test_members_are_accounts_with_a_profile():
    counts = tally(event("LOY_OPT_IN", 1), event("LOY_POINT_ACCRUAL", 1, account="receipt:c-1", profile=None))
    assert counts.members == {"H-1"}


def test_tier_changes_are_counted_by_direction_and_tier():
    counts = tally(
        event("LOY_TIER_UPGRADE", 1, tier="Gold"),
        event("LOY_TIER_DOWNGRADE", 2, tier="Silver"),
        event("LOY_TIER_UPGRADE", 1, tier="Gold", account="H-2"),
    )
    assert counts.tiers == {("LOY_TIER_UPGRADE", "Gold"): 2, ("LOY_TIER_DOWNGRADE", "Silver"): 1}


def test_refused_redemptions_are_known_by_their_id():
    refused = reply(0, topic=REDEMPTIONS.name, outcome="refused", status="refused", code="INSUFFICIENT_POINTS", id_="r-1")
    assert tally(refused, reply(1, topic=REDEMPTIONS.name, id_="r-2")).refused == {"r-1"}


def test_latency_runs_from_sending_to_reading_and_only_for_checks():
    counts = tally(
        reply(0),
        reply(0, topic=MEMBER_COMMANDS.name),
        event("LOY_POINT_ACCRUAL", 1),
        event("LOY_POINT_EXPIRED", 2),
        event("LOY_POINT_ACCRUAL", 3, sent=None),
    )
    assert counts.to_reply.percentiles(0.5) == counts.to_event.percentiles(0.5) == [7]
    assert (len(counts.to_reply), len(counts.to_event)) == (1, 1)
    assert counts.seconds == 0.007


def test_percentiles_are_exact():
    latencies = Latencies()
    assert latencies.percentiles(0.5) == []
    for ms in range(1000, 0, -1):
        latencies.add(ms)
    assert latencies.percentiles(0, 0.5, 0.99, 0.999, 1) == [1, 500, 990, 999, 1000]


def shown(counts):
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(render(counts, "Weeks 1 to 4"))
    console.file.close()
    return console.export_text()


def test_the_screen_shows_the_figures_and_fits():
    text = shown(
        tally(
            *(reply(n) for n in range(1234)),
            reply(2000, outcome="refused", status="refused", code="MEMBER_OPTED_OUT"),
            event("LOY_POINT_ACCRUAL", 1, ("issued", "available", 98765)),
            event("LOY_TIER_UPGRADE", 2, tier="Gold"),
        )
    )
    for figure in ("Weeks 1 to 4", "1,234", "MEMBER_OPTED_OUT", "98,765", "up to Gold", "7 ms", "checks/s"):
        assert figure in text
    assert len(text.splitlines()) <= 24


def test_nothing_at_all_can_be_shown():
    assert "received" in shown(Tally())


@pytest.fixture
async def producer(kafka):
    await apply_topics(kafka.bootstrap, partitions=4)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    yield producer
    await producer.stop()


async def send(producer, one):
    await producer.send_and_wait(one.topic, one.value, headers=one.headers)


async def test_listening_hears_what_comes_from_now_on(kafka, producer):
    await send(producer, event("LOY_POINT_ACCRUAL", 1, ("issued", "available", 1000)))
    sent_at = time.time_ns() // 1_000_000
    async with listening(kafka.bootstrap) as counts:
        await send(producer, event("LOY_POINT_ACCRUAL", 2, ("issued", "available", 5), sent=sent_at))
        await send(producer, dead_letter(10**9, "NOT_JSON"))
        await send(producer, reply(10**9 + 1, sent=sent_at))
        await counts.reach(2)
        assert counts.answered == 2
    assert counts.gone(source="issued") in (0, 5)  # another topic: its record may come a moment later
    assert counts.seconds >= 0


async def test_the_gate_lets_only_so_many_be_without_an_answer(kafka, producer):
    async with listening(kafka.bootstrap) as counts:
        await send(producer, reply(2 * 10**9))
        await counts.reach(1)
        gate = counts.gate(ahead=10)
        await gate(10)
        waiting = asyncio.create_task(gate(11))
        await asyncio.sleep(0)
        assert not waiting.done()
        await send(producer, reply(2 * 10**9 + 1))
        await waiting


async def test_waiting_for_answers_that_do_not_come_ends_with_what_is_missing(kafka, producer):
    async with listening(kafka.bootstrap) as counts:
        with pytest.raises(StalledError, match="3 of 3 records have no answer"):
            await counts.reach(3, patience=0.2)


async def test_what_goes_wrong_while_listening_comes_out(kafka, producer):
    async def wait_for_an_answer():
        async with listening(kafka.bootstrap) as counts:
            await producer.send_and_wait(REPLIES.name, b"{}")
            await counts.reach(1)

    async with asyncio.timeout(10):
        with pytest.raises(KeyError, match="origin"):
            await wait_for_an_answer()
