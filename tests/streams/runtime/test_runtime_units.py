"""The parts of the runtime by themselves: commit book, partitioner, lease, stores, outbox, end of process."""

import asyncio
import os
import subprocess
import sys
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.protocol.commit import OffsetFetchResponse_v3
from hypothesis import given
from hypothesis import strategies as st

from streams import runtime
from streams.runtime import lease as leases
from streams.runtime.book import CommitBook, OffsetGap
from streams.runtime.partitioning import murmur2
from streams.runtime.posting import Post
from streams.runtime.repairs import heed_coordinator
from streams.runtime.stores import KEPT_SECONDS, Stores
from tests.streams.runtime.runtime_harness import create_topic

TP = ("topic", 0)


def test_only_finished_batches_are_committable():
    book, batch = CommitBook(), object()
    book.start(TP, 10)
    book.hand_out(TP, 10, 19, batch)
    assert book.busy(TP)
    assert not list(book.committable())
    assert book.finish(TP, batch)
    assert list(book.committable()) == [(TP, 20)]
    book.committed(TP, 20)
    assert not list(book.committable())
    assert not book.busy(TP)


@pytest.mark.parametrize("first", [9, 11, 20])
def test_a_batch_must_start_where_the_one_before_ended(first):
    book = CommitBook()
    book.start(TP, 10)
    with pytest.raises(OffsetGap, match="expected offset 10"):
        book.hand_out(TP, first, 30, object())


def test_no_two_batches_of_a_partition_are_out_at_once():
    book = CommitBook()
    book.start(TP, 0)
    book.hand_out(TP, 0, 4, object())
    with pytest.raises(OffsetGap, match="another batch is out"):
        book.hand_out(TP, 5, 6, object())


def test_a_batch_from_before_a_rebalance_can_no_longer_be_finished():
    book, old, new = CommitBook(), object(), object()
    book.start(TP, 0)
    book.hand_out(TP, 0, 4, old)
    book.start(TP, 0)
    assert not book.finish(TP, old)
    book.hand_out(TP, 0, 4, new)
    assert not book.finish(TP, old)
    assert not list(book.committable())
    book.drop(TP)
    assert not book.finish(TP, new)


def test_a_batch_that_was_given_up_is_read_again_from_its_start():
    book, token = CommitBook(), object()
    book.start(TP, 3)
    book.hand_out(TP, 3, 4, token)
    assert book.again(TP) == book.next(TP) == 3
    assert not book.busy(TP)
    assert not book.finish(TP, token)
    assert not list(book.committable())


def test_positions_are_committed_once_more_when_asked():
    book = CommitBook()
    book.start(TP, 0)
    assert not list(book.committable())
    book.refresh()
    assert list(book.committable()) == [(TP, 0)]


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=30))
def test_the_book_commits_exactly_the_finished_run(steps):
    book, end, done = CommitBook(), 100, 100
    book.start(TP, 100)
    for size, finishes in steps:
        batch = object()
        book.hand_out(TP, end, end + size - 1, batch)
        end += size
        if not finishes:
            break
        assert book.finish(TP, batch)
        done = end
    assert book.position(TP) == done
    assert dict(book.committable()) == ({TP: done} if done > 100 else {})


@given(st.binary(max_size=80), st.integers(1, 64))
def test_the_partition_is_that_of_the_default_partitioner(key, count):
    assert runtime.partition_of(key, count) == DefaultPartitioner()(key, list(range(count)), [])


def test_murmur2_is_javas():
    """Values of org.apache.kafka.common.utils.UtilsTest.testMurmur2."""
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}
    assert {key: murmur2(key) for key in known} == {key: value & 0xFFFFFFFF for key, value in known.items()}


class _Clock:
    def __init__(self) -> None:
        self.boot = self.wall = 1000.0

    def now(self) -> leases.Instant:
        return leases.Instant(self.boot, self.wall)


@pytest.fixture
def clock(monkeypatch):
    clock = _Clock()
    monkeypatch.setattr(leases.Instant, "now", clock.now)
    return clock


@pytest.fixture
def ended(monkeypatch):
    """The exit codes with which the process would have ended."""
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        raise SystemExit(code)

    monkeypatch.setattr("os._exit", leave)
    return codes


@pytest.mark.parametrize("which", ["boot", "wall"])
async def test_without_the_lease_by_either_clock_nothing_is_sent_until_it_is_renewed(clock, which):
    lease = leases.Lease(session_timeout=10.0)
    setattr(clock, which, 5000.0)
    assert lease.holds  # not armed: an app that only produces
    lease.renew(clock.now())
    setattr(clock, which, 5007.9)
    await lease.held()
    setattr(clock, which, 5008.1)
    waiting = asyncio.create_task(lease.held())
    done, _ = await asyncio.wait({waiting}, timeout=leases.LOOK_SECONDS * 3)
    assert not done
    lease.renew(clock.now())
    await asyncio.wait_for(waiting, 1)


def test_the_process_ends_at_once_with_its_code_and_its_reason():
    code = "from streams.runtime.fatal import *; import atexit; atexit.register(print, 'no'); end_process(Exit.UNEXPECTED, 'why')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (70, "")
    assert "why (exit 70)" in result.stderr


@pytest.fixture(params=["rocksdb", "memory"])
def stores(request, tmp_path):
    stores = Stores(tmp_path if request.param == "rocksdb" else None, "rows")
    yield stores
    stores.close()


@pytest.mark.parametrize(("away", "offset"), [(KEPT_SECONDS - 60, 7), (KEPT_SECONDS + 60, None)])
def test_a_store_that_nobody_had_open_while_deletions_may_have_gone_begins_anew(tmp_path, away, offset):
    before = Stores(tmp_path, "rows")
    before.of(3).write([(b"k", b"v")], 7)
    before.close()
    for file in (tmp_path / "rows-3.db").iterdir():
        os.utime(file, (time.time() - away, time.time() - away))
    stores = Stores(tmp_path, "rows")
    assert stores.of(3).offset() == offset
    assert stores.of(3).get(b"k") == (None if offset is None else b"v")
    stores.close()


def test_a_store_reads_what_was_written(stores):
    store = stores.of(3)
    store.write([(b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"b", None)], 41)
    assert (store.get(b"a"), store.get(b"b")) == (b"1", None)
    assert store.get_many([b"c", b"x", b"a"]) == [b"3", None, b"1"]
    assert sorted(store.items()) == [(b"a", b"1"), (b"c", b"3")]
    assert not list(stores.of(4).items())


@pytest.mark.parametrize("size", [1, 3, 4, 50])
def test_a_store_is_read_piece_by_piece_in_the_order_of_keys_and_without_its_own_notes(stores, size):
    rows = [(f"{name}-{n}".encode(), b"%d" % n) for n in range(10) for name in ("A", "__faust", "z")]
    stores.of(0).write(rows, 41)
    found = []
    while piece := stores.of(0).behind(found[-1][0] if found else b"", size):
        found += piece
        assert len(piece) >= min(size, len(rows) - len(found) + len(piece))
    assert found == sorted(rows)


def test_rocksdb_remembers_rows_and_offset_and_a_wiped_folder_forgets_both(tmp_path):
    stores = Stores(tmp_path, "rows")
    stores.of(0).write([(b"a", b"1")], 7)
    stores.of(0).write([(b"b", b"2")], None)
    stores.close([0])
    assert (stores.of(0).offset(), sorted(stores.of(0).items())) == (7, [(b"a", b"1"), (b"b", b"2")])
    stores.wipe()
    assert (stores.of(0).offset(), list(stores.of(0).items())) == (None, [])
    stores.close()


def test_two_processes_never_write_the_same_files(tmp_path):
    first, second = Stores(tmp_path, "rows"), Stores(tmp_path, "rows")
    first.of(0)
    with pytest.raises(Exception, match="lock"):
        second.of(0)
    first.close()
    second.of(0)
    second.close()


def test_memory_keeps_its_place_while_it_is_open_and_starts_from_the_beginning_afterwards():
    stores = Stores(None, "rows")
    stores.of(0).write([(b"a", b"1")], 7)
    stores.of(0).write([(b"a", b"2")], None)
    assert stores.of(0).offset() == 7
    stores.close([0])
    assert (stores.of(0).offset(), list(stores.of(0).items())) == (None, [])


def test_a_view_reads_through_its_own_changes():
    view = runtime.TableView({b"a": b"1", b"b": b"2"}.get)
    view.put(b"a", b"9")
    view.delete(b"b")
    assert [view.get(key) for key in (b"a", b"b", b"c")] == [b"9", None, None]
    assert view.changes == {b"a": b"9", b"b": None}


async def _read(kafka, topic: str, partitions: int, count: int) -> list:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition(topic, partition) for partition in range(partitions)])
    records: list = []
    while len(records) < count:
        for batch in (await consumer.getmany(timeout_ms=1000)).values():
            records.extend(batch)
    await consumer.stop()
    return records


@pytest.fixture
async def producer(kafka):
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all", enable_idempotence=True, max_batch_size=10_000)
    await producer.start()
    yield producer
    await producer.stop()


async def test_the_outbox_keeps_order_timestamps_headers_and_partitions(kafka, topic_prefix, producer):
    topic = await create_topic(kafka, f"{topic_prefix}t", 4)
    outbox = runtime.Outbox(Post(producer, 30.0))
    for n in range(1000):
        outbox.add(topic, b"m%d" % (n % 50), b"%d" % n, timestamp_ms=1_500_000_000_000 + n, headers=[("h", b"%d" % n)])
    outbox.add(topic, None, b"by value", timestamp_ms=5)
    outbox.add(topic, b"elsewhere", b"x", timestamp_ms=6, partition=3)
    assert len(outbox) == 1002
    await outbox.flush()
    assert len(outbox) == 0
    records = await _read(kafka, topic, 4, 1002)
    numbered = [r for r in records if r.headers]
    assert len(numbered) == 1000
    for record in numbered:
        assert record.timestamp == 1_500_000_000_000 + int(record.value)
        assert record.headers == (("h", record.value),)
        assert record.partition == runtime.partition_of(record.key, 4)
    for partition in range(4):
        order = [int(r.value) for r in numbered if r.partition == partition]
        assert order == sorted(order)
    others = {r.value: r for r in records if not r.headers}
    assert (others[b"x"].partition, others[b"x"].timestamp) == (3, 6)
    assert (others[b"by value"].key, others[b"by value"].timestamp) == (None, 5)


async def test_a_record_too_large_for_the_broker_is_refused_before_it_is_sent(producer):
    outbox = runtime.Outbox(Post(producer, 30.0))
    with pytest.raises(runtime.RecordTooLarge, match="900001 bytes"):
        outbox.add("t", b"k", b"x" * runtime.MAX_RECORD_BYTES, timestamp_ms=0)
    assert len(outbox) == 0


async def test_the_largest_record_fits(kafka, topic_prefix, producer):
    topic = await create_topic(kafka, f"{topic_prefix}t", 1)
    outbox = runtime.Outbox(Post(producer, 30.0))
    for _ in range(2):
        outbox.add(topic, b"", b"x" * runtime.MAX_RECORD_BYTES, timestamp_ms=0)
    await outbox.flush()
    assert len(await _read(kafka, topic, 1, 2)) == 2


async def test_a_refused_record_ends_the_process(kafka, topic_prefix, producer, ended):
    topic = await create_topic(kafka, f"{topic_prefix}t", 1, **{"max.message.bytes": "500"})
    outbox = runtime.Outbox(Post(producer, 30.0))
    outbox.add(topic, b"k", b"x" * 1000, timestamp_ms=0)
    with pytest.raises(SystemExit):
        await outbox.flush()
    assert ended == [70]


@pytest.mark.parametrize(
    ("code", "elsewhere"),
    [(14, False), (15, True), (16, True)],
    ids=["still loading", "not available", "another one coordinates"],
)
async def test_L9_who_does_not_know_what_was_committed_is_asked_again(code, elsewhere):
    """A broker that coordinates the group no more, or not yet, answers with an error and no partitions."""
    tp = TopicPartition("loy.commands", 2)
    answers = [OffsetFetchResponse_v3(0, [], code), OffsetFetchResponse_v3(0, [("loy.commands", [(2, 4503, "", 0)])], 0)]
    looked_for: list[bool] = []

    async def answer(_: object) -> OffsetFetchResponse_v3:
        return answers.pop(0)

    async def known() -> None:
        """Whom to ask."""

    coordinator = object.__new__(GroupCoordinator)
    coordinator.group_id, coordinator._retry_backoff_ms = "loy", 1
    coordinator._send_req, coordinator.ensure_coordinator_known = answer, known
    coordinator.coordinator_dead = lambda: looked_for.append(True)

    assert await coordinator._do_fetch_commit_offsets([tp]) == {}, "stock takes it for a group that never committed"

    answers.insert(0, OffsetFetchResponse_v3(0, [], code))
    heed_coordinator(coordinator)
    assert {part: at.offset for part, at in (await coordinator.fetch_committed_offsets([tp])).items()} == {tp: 4503}
    assert bool(looked_for) is elsewhere
