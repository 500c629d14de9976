"""Workers are killed, stopped and wiped while members shop: nothing is lost, nothing is doubled, every point is explained."""

import asyncio

import pytest

from tests.e2e.harness import until
from tests.e2e.shoppers import PROGRAM, Shoppers


async def kill_in_mid_stream(system, worker, shopping, times, total):
    """Kill it whenever another part of the stream is answered, while the tills go on."""
    first = len(system.answered)
    for n in range(1, times + 1):
        due = first + total * n // (times + 1)
        await until(lambda due=due: len(system.answered) >= due, f"{due} answers")
        assert not shopping.done(), "the stream ended before the worker was killed"
        await worker.kill()
        worker.start()


@pytest.mark.parametrize(
    ("store", "members", "records", "settings"),
    [("rocksdb", 200, 3000, {}), ("memory", 40, 800, {"instance_id": "till-worker"})],
)
async def test_a_worker_killed_five_times_in_mid_stream_loses_nothing(installed, store, members, records, settings):
    system = await installed(PROGRAM, store=store, **settings)
    worker = await system.worker().ready()
    shoppers = Shoppers(system, members, seed=7)
    await shoppers.register()

    shopping = asyncio.create_task(shoppers.shop(records))
    await kill_in_mid_stream(system, worker, shopping, 5, records)
    await shopping
    await system.all_answered()

    figures, kept = await system.prove()
    assert figures.members == members
    assert min(figures.outcomes[name] for name in ("applied", "repeated", "refused")) > 0
    await shoppers.judge()
    assert min(figures.points[name] for name in ("available", "used", "expired", "reversed")) > 0
    assert figures.replies_again > figures.outcomes["repeated"], "no crash left anything to do again"

    # What a worker keeps on disk is a copy: wiped, it comes back, and repeats are still known.
    assert await worker.stop() == 0
    worker.wipe()
    worker.start()
    before = len(system.sent)
    await shoppers.again_each()
    assert len(system.sent) == before + members
    await system.all_answered()
    assert await system.quiet() == kept


async def test_two_workers_share_the_partitions_and_survive_a_stop_and_a_kill(installed):
    system = await installed(PROGRAM)
    one, two = system.worker("one"), system.worker("two")
    await asyncio.gather(one.ready(), two.ready())
    await until(lambda: sharing(one, two), "both have partitions")
    shoppers = Shoppers(system, 60, seed=11)
    await shoppers.register()

    shopping = asyncio.create_task(shoppers.shop(700))
    await answers(system, 300)
    assert not shopping.done()
    assert await one.stop() == 0
    await shopping

    one.start()
    await until(lambda: sharing(one, two), "both have partitions again")
    shopping = asyncio.create_task(shoppers.shop(700))
    await answers(system, 1000)
    assert not shopping.done()
    await two.kill()
    await shopping
    await system.all_answered()

    figures, _ = await system.prove()
    assert figures.members == 60
    await shoppers.judge()


async def sharing(*workers):
    """Each of them has partitions of the log of record, as its metrics tell."""
    for worker in workers:
        try:
            series = await worker.metrics()
        except OSError:  # it has only just begun
            return False
        if not any(name.startswith("loy_lag_records") and "loy.commands" in name for name in series):
            return False
    return True


async def answers(system, number):
    await until(lambda: len(system.answered) >= number, f"{number} answers")
