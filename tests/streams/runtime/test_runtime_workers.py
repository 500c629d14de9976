"""Worker processes on a real broker: sharing, taking over, restoring tables, not waiting for a slow partition."""

import asyncio
import shutil
import signal

import pytest
from runtime_harness import Line, Sent, numbered, until

pytestmark = pytest.mark.timeout(120)

KEYS = 40


@pytest.fixture
def line(kafka, topic_prefix, tmp_path):
    return Line(kafka.bootstrap, topic_prefix, tmp_path, partitions=4)


def rounds(start: int, stop: int) -> list[Sent]:
    """Records of 40 keys in turn; record n has the value n."""
    return [(b"k%d" % (n % KEYS), b"%d" % n) for n in range(start, stop)]


def table_of(records: list[Sent]) -> dict[bytes, list[bytes]]:
    """Every value once, in the order sent."""
    table: dict[bytes, list[bytes]] = {}
    for key, value in records:
        table.setdefault(key, []).append(value)
    return table


@pytest.mark.parametrize(("store", "standbys"), [("rocksdb://", 0), ("memory://", 1)])
async def test_another_worker_takes_over_from_a_killed_one_and_nothing_is_lost(line, store, standbys):
    await line.make()
    total = 6000
    options = {"store": store, "standbys": standbys, "out": line.out, "max_batch": 50}
    with line.worker("ours", "a", **options) as first:
        await first.ready()
        with line.worker("ours", "b", **options) as second:
            await asyncio.gather(first.ready(2), second.ready())
            await line.send(rounds(0, total // 2))
            await line.until_committed(total // 6)
            await asyncio.gather(line.send(rounds(total // 2, total)), first.kill())
            await line.until_committed(total)
            assert await second.stop() == 0
    assert await line.rows() == table_of(rounds(0, total))
    assert {value for _, value in await line.read(line.out)} == {value for _, value in rounds(0, total)}


async def test_two_workers_share_the_partitions_and_hand_them_over_in_good_order(line):
    await line.make()
    with line.worker("ours", "a") as first:
        await first.ready()
        with line.worker("ours", "b") as second:
            await asyncio.gather(first.ready(2), second.ready())
            await line.send(rounds(0, 2000))
            await line.until_committed(2000)
            assert await first.stop() == 0
            await second.ready(2)
            await line.send(rounds(2000, 4000))
            await line.until_committed(4000)
            assert await second.stop() == 0
    assert await line.rows() == table_of(rounds(0, 4000))
    assert len(await line.read(line.changelog)) < 4000 + KEYS, "an orderly hand-over repeats nothing"


@pytest.mark.parametrize("after", ["warm", "wiped", "memory"])
async def test_a_restarted_worker_has_its_table_again(line, after):
    await line.make()
    store = "memory://" if after == "memory" else "rocksdb://"
    with line.worker("ours", store=store) as worker:
        await line.send(rounds(0, 1000))
        await line.until_committed(1000)
        if after == "wiped":
            await worker.kill()
            shutil.rmtree(line.folder / "data-w")
        else:
            assert await worker.stop() == 0
    with line.worker("ours", store=store) as worker:
        await line.send(rounds(1000, 2000))
        await line.until_committed(2000)
        assert await worker.stop() == 0
    assert await line.rows() == table_of(rounds(0, 2000))


async def test_workers_without_tables_share_and_lose_nothing(line):
    await line.make()
    await line.send(rounds(0, 2000))
    with line.worker("ours", "a", no_table=True, out=line.out) as first:
        await first.ready()
        with line.worker("ours", "b", no_table=True, out=line.out, seek_late=1) as second:
            await asyncio.gather(first.ready(2), second.ready())
            await line.send(rounds(2000, 4000))
            await line.until_committed(4000)
            assert await first.stop() == 0
            assert await second.stop() == 0
    assert {value for _, value in await line.read(line.out)} == {value for _, value in rounds(0, 4000)}


async def test_a_worker_without_records_restores_and_stops(line):
    await line.make()
    with line.worker("ours", store="rocksdb://") as worker:
        await worker.ready()
        assert await worker.stop() == 0
    assert await line.committed() == {}


async def test_a_slow_partition_does_not_hold_up_the_others(line, tmp_path):
    await line.make()
    gate = tmp_path / "gate"
    await line.send(numbered(1), partition=0)
    with line.worker("ours", hold_on="0", gate=gate) as worker:
        await until(gate.with_suffix(".held").exists, "partition 0 is busy")
        for partition in (1, 2, 3):
            await line.send(numbered(500, 500 * partition), partition=partition)
        await line.until_committed(1500)
        assert await line.committed() == {1: 500, 2: 500, 3: 500}
        gate.touch()
        await line.until_committed(1501)
        assert await worker.stop() == 0


async def test_a_stop_waits_for_the_batch_at_hand_and_commits_it(line, tmp_path):
    await line.make()
    gate = tmp_path / "gate"
    await line.send(numbered(10), partition=2)
    with line.worker("ours", hold_on="5", gate=gate) as worker:
        await until(gate.with_suffix(".held").exists, "in the middle of the batch")
        worker.signal(signal.SIGTERM)
        await until(lambda: "Wait for streams" in worker.said(), "the stop has begun")
        gate.touch()
        assert await worker.exit_code() == 0
    assert await line.committed() == {2: 10}
    assert len(await line.effects()) == 10


async def test_a_paused_worker_that_was_idle_ends_or_rejoins_without_harm(line):
    await line.make()
    with line.worker("ours", "a") as paused:
        await paused.ready()
        paused.signal(signal.SIGSTOP)
        with line.worker("ours", "b") as successor:
            await successor.ready()
            await line.send(rounds(0, 400))
            await line.until_committed(400)
            paused.signal(signal.SIGCONT)
            assert await paused.exit_code() == 75
            await line.send(rounds(400, 800))
            await line.until_committed(800)
            assert await successor.stop() == 0
    assert await line.rows() == table_of(rounds(0, 800))


async def test_a_missing_changelog_topic_is_named_and_nothing_is_read(line):
    await line.make()
    await line.send(numbered(5))
    line.partitions = 3  # the table claims another count than its topic has
    with line.worker("ours") as worker:
        assert await worker.exit_code() == 70
        assert f"topic {line.changelog} must have 3 partitions, it has 4" in worker.said()
    assert await line.committed() == {}


async def test_a_killed_worker_that_starts_again_waits_for_nobody(line):
    """Its folder proves that its former self is dead: with a session of a minute, everything is done long before."""
    await line.make()
    with line.worker("ours", "a", session=60) as first, line.worker("ours", "b", session=60) as second:
        await both_share(first, second)
        await line.send(rounds(0, 1000))
        await first.kill()
        with line.worker("ours", "a", session=60) as again:
            await line.until_committed(1000)
            assert await again.stop() == 0
        assert await second.stop() == 0
    assert await line.rows() == table_of(rounds(0, 1000))


async def test_a_paused_worker_holds_up_its_own_partitions_and_no_others(line):
    """Not even while a third one joins."""
    await line.make()
    with line.worker("ours", "a", session=60) as paused, line.worker("ours", "b", session=60) as awake:
        theirs = await both_share(paused, awake)
        paused.signal(signal.SIGSTOP)
        for partition in range(4):
            await line.send(numbered(100, 100 * partition), partition=partition)
        await line.until_committed(200)
        assert set(await line.committed()) == set(range(4)) - theirs
        with line.worker("ours", "c", session=60) as third:
            await until(lambda: "is on the roll" in third.said(), "the third has joined")
            for partition in range(4):
                await line.send(numbered(100, 1000 + 100 * partition), partition=partition)
            await line.until_committed(400)
            paused.signal(signal.SIGCONT)
            await line.until_committed(800)
            for worker in (paused, awake, third):
                assert await worker.stop() == 0
    assert len(await line.effects()) == 800


async def both_share(first, second) -> set[int]:
    """Wait until two workers have two partitions each. Answers those of the first."""

    def shares() -> list[set[int]]:
        said = [worker.said().rpartition("Worker ready: partitions [")[2].partition("]")[0] for worker in (first, second)]
        return [{int(part) for part in one.split(", ")} if one[:1].isdigit() and len(one) < 20 else set() for one in said]

    await until(lambda: [len(share) for share in shares()] == [2, 2], "two partitions each")
    return shares()[0]
