"""What a worker tells Prometheus while it works."""

import time

from schemas.topics import CHECKS
from tests.builders import program
from tests.e2e.harness import until
from tests.tills import opt_in, sale

CARD = "card:ABC123"


async def test_a_worker_tells_outcomes_latency_lag_and_that_its_books_balance(installed):
    system = await installed(program())
    worker = await system.worker().ready()
    await system.ask(opt_in("H-1", system.at, CARD))
    now = str(time.time_ns() // 1_000_000).encode()
    for receipt in ("s1", "s2", "s2"):
        origin = await system.put(CHECKS.name, CARD, sale(receipt, [500], system.at, CARD), headers=[("sent-at", now)])
        await system.reply(origin)
    await system.letter(await system.put(CHECKS.name, CARD, b"{"))

    series = {}

    async def told():
        series.update(await worker.metrics())
        return series.get('loy_outcomes_total{outcome="repeated",type="sale"}') == 1.0

    await until(told, "the repeat is counted")
    assert series['loy_outcomes_total{outcome="applied",type="sale"}'] == 2.0
    assert series['loy_outcomes_total{outcome="applied",type="join"}'] == 1.0
    assert series['loy_dead_letters_total{code="NOT_JSON",topic="pos.checks"}'] == 1.0
    assert series['loy_events_total{type="LOY_POINT_ACCRUAL"}'] == 2.0
    assert series['loy_points_total{source="issued",target="available"}'] == 10.0
    assert sum(value for name, value in series.items() if name.startswith('loy_balance_points{book="available"')) == 10.0
    assert sum(value for name, value in series.items() if name.startswith("loy_accounts{")) == 1.0
    assert series["loy_ledger_imbalance"] == 0.0
    assert any(name.startswith('loy_build_info{role="worker",version=') for name in series)

    # The bench of the till's own clock: the records' Kafka time is years ago, what is measured is not.
    assert series['loy_record_seconds_count{stage="ledger"}'] == 4.0
    assert series['loy_answer_seconds_bucket{door="check",le="10.0"}'] == 3.0
    assert series['loy_event_seconds_count{since="till"}'] == 4.0
    assert series['loy_event_seconds_count{since="kafka"}'] == 1.0
    assert series['loy_batch_seconds_count{stage="ledger"}'] >= 1.0

    async def caught_up():
        lags = {name: value for name, value in (await worker.metrics()).items() if name.startswith("loy_lag_records{")}
        return len(lags) == 20 and not any(lags.values())

    await until(caught_up, "a lag of 0 for each of 4 partitions of 5 topics")


async def test_the_liability_is_that_of_all_workers_together_before_and_after_a_rebalance(installed):
    system = await installed(program())
    first = await system.worker("w1").ready()
    for number in range(12):
        card = f"card:LOY{number:04}"
        await system.ask(opt_in(f"H-{number}", system.at, card))
        await system.ask(sale(f"s{number}", [500], system.at, card))

    async def owed(*workers):
        """Points by partition, each partition told by one worker alone."""
        told = [(await worker.metrics()).items() for worker in workers]
        own = [{name: value for name, value in one if name.startswith('loy_balance_points{book="available"')} for one in told]
        assert sum(map(len, own)) == len(set().union(*own))
        return own

    async def all_told(*workers):
        own = await owed(*workers)
        return sum(map(len, own)) == 4 and all(own) and sum(sum(one.values()) for one in own) == 60

    await until(lambda: all_told(first), "one worker tells all 60 points")
    second = await system.worker("w2").ready()
    await until(lambda: all_told(first, second), "both tell all 60 points, each its own partitions")
    await first.kill()
    await until(lambda: all_told(second), "the other one tells them all")
    assert (await second.metrics())["loy_ledger_imbalance"] == 0
