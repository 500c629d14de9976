"""The post: what leaves together, in which order, and what each who flushed is told. With aiokafka's own queue."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, ProducerClosed, UnknownTopicOrPartitionError
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.runtime.posting import Place, Post, Row
from tests.streams.runtime.runtime_harness import create_topic

PLACE: Place = ("t", 0)
BATCH_BYTES = 400


def rows(*values: str) -> list[Row]:
    return [(b"k", value.encode(), 0, []) for value in values]


class Line:
    """A producer's queue; when and how its requests leave and are answered, the test says."""

    def __init__(self) -> None:
        ids = TransactionManager(None, 60_000)
        ids.set_pid_and_epoch(7, 0)
        self.led = True
        cluster = SimpleNamespace(leader_for_partition=lambda _: 1 if self.led else None)
        self.queue = self._message_accumulator = MessageAccumulator(cluster, BATCH_BYTES, 0, 30.0, txn_manager=ids)
        self.client = SimpleNamespace(add_topic=lambda _: None)
        self.post = Post(self, 30.0)
        self.log: list[str] = []
        self.sequences: list[int] = []

    async def partitions_for(self, _: str) -> set[int]:
        return {0, 1}

    async def flush(self, *values: str, place: Place = PLACE) -> "asyncio.Task[dict[Place, int | None]]":
        """A flush that has brought its rows, and waits."""
        task = asyncio.create_task(self.post.send_all({place: rows(*values)}))
        await turn()
        return task

    def leaves(self) -> object:
        """The request with the next batch; None when nothing is to be sent."""
        nodes, _ = self.queue.drain_by_nodes(ignore_nodes=())
        batches = [batch for of_node in nodes.values() for batch in of_node.values()]
        assert len(batches) <= 1, "these tests send to one partition at a time"
        return batches[0] if batches else None

    def written(self, batch: object) -> None:
        """The broker has the batch, behind all it had, and says so."""
        self.sequences.append(_sequence(batch))
        batch.done(len(self.log))
        self.log.extend(contents(batch))


def contents(batch: object) -> list[str]:
    records = MemoryRecords(bytes(batch.get_data_buffer()))
    return [record.value.decode() for record in records.next_batch()]


def _sequence(batch: object) -> int:
    return MemoryRecords(bytes(batch.get_data_buffer())).next_batch().base_sequence


async def turn() -> None:
    """Let everybody do what can be done without waiting."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_flushed_at_the_same_time_leaves_together_and_each_is_told_where_its_own_last_row_lies():
    line = Line()
    flushes = [await line.flush(f"{n}a", f"{n}b") for n in range(3)]
    line.written(line.leaves())
    assert line.log == ["0a", "0b", "1a", "1b", "2a", "2b"]
    assert [await flush for flush in flushes] == [{PLACE: 1}, {PLACE: 3}, {PLACE: 5}]
    assert line.leaves() is None


async def test_what_is_flushed_while_a_batch_is_on_its_way_goes_into_the_next_also_when_it_has_to_leave_again():
    line = Line()
    first = await line.flush("a")
    batch = line.leaves()
    second = await line.flush("b")
    before = bytes(batch.get_data_buffer())
    line.queue.reenqueue(batch)  # the broker was not the leader any more
    third = await line.flush("c")
    again = line.leaves()
    assert again is batch
    assert bytes(again.get_data_buffer()) == before
    line.written(again)
    assert await first == {PLACE: 0}
    assert not second.done()
    line.written(line.leaves())
    assert (await second, await third, line.log) == ({PLACE: 1}, {PLACE: 2}, ["a", "b", "c"])
    assert line.sequences == [0, 1]


async def test_a_flush_of_several_batches_is_over_with_the_last_of_them():
    line = Line()
    values = [f"{n:03}" + "x" * 60 for n in range(20)]
    flush, after = await line.flush(*values), await line.flush("after")
    while (batch := line.leaves()) is not None:
        assert not flush.done()
        line.written(batch)
        await turn()
    assert len(line.sequences) > 2
    assert line.log == [*values, "after"]
    assert (await flush, await after) == ({PLACE: 19}, {PLACE: 20})


async def test_a_refused_batch_fails_all_who_have_rows_in_it_and_no_others():
    line = Line()
    before = await line.flush("before")
    line.written(line.leaves())
    shared = [await line.flush("a"), await line.flush("b")]
    batch = line.leaves()
    after = await line.flush("after")
    batch.failure(MessageSizeTooLargeError())
    for flush in shared:
        with pytest.raises(MessageSizeTooLargeError):
            await flush
    line.written(line.leaves())
    assert (await before, await after) == ({PLACE: 0}, {PLACE: 1})


async def test_rows_that_join_when_all_has_already_failed_fail_too():
    line = Line()
    first = await line.flush("a")
    line.queue.fail_all(ProducerClosed())
    last = asyncio.create_task(line.post.send_all({PLACE: rows("b")}))  # before anybody has heard of it
    for flush in (first, last, await line.flush("c")):
        with pytest.raises(ProducerClosed):
            await flush


async def test_a_closed_producer_takes_nothing_new_and_still_sends_what_it_has():
    line = Line()
    before = await line.flush("a")
    closing = asyncio.create_task(line.queue.close())
    await turn()
    joined, elsewhere = await line.flush("b"), await line.flush("c", place=("t", 1))
    with pytest.raises(ProducerClosed):
        await elsewhere
    line.written(line.leaves())
    await closing
    assert (await before, await joined, line.log) == ({PLACE: 0}, {PLACE: 1}, ["a", "b"])


async def test_who_gives_up_waiting_harms_nobody_who_has_rows_in_the_same_batch():
    line = Line()
    first, second = await line.flush("a"), await line.flush("b")
    first.cancel()
    await turn()
    line.written(line.leaves())
    assert await second == {PLACE: 1}
    assert first.cancelled()


async def test_no_offset_is_told_when_the_broker_tells_none():
    """It has the batch already, and does not know any more where."""
    line = Line()
    flush = await line.flush("a")
    line.leaves().done(-1)
    assert await flush == {PLACE: None}


async def test_a_partition_without_a_leader_is_waited_for_as_long_as_a_send_may_take():
    line = Line()
    line.led = False
    patient, hasty = await line.flush("a"), asyncio.create_task(Post(line, 0.01).send_all({PLACE: rows("b")}))
    assert line.leaves() is None
    with pytest.raises(TimeoutError):
        await hasty
    line.led = True
    line.written(line.leaves())
    assert await patient == {PLACE: 0}


async def test_a_partition_that_does_not_exist_is_refused_before_anything_is_sent():
    line = Line()
    with pytest.raises(UnknownTopicOrPartitionError, match="t has no partition 2"):
        await line.post.send_all({PLACE: rows("a"), ("t", 2): rows("b")})
    assert line.leaves() is None


@settings(deadline=None)
@given(st.lists(st.sampled_from(["flush", "flush", "long flush", "leave", "again", "answer"]), max_size=40))
def test_rows_are_written_once_in_the_order_in_which_they_were_brought_and_lie_where_it_is_said(steps):
    asyncio.run(_any_course(steps))


async def _any_course(steps: list[str]) -> None:
    line, names, flushes = Line(), (f"row {n}" for n in range(10_000)), []
    on_its_way = None
    for step in [*steps, *["answer", "leave"] * 2 * (len(steps) + 1)]:
        if step.endswith("flush"):
            values = _some(names, 30 if step == "long flush" else 2)
            flushes.append((values, await line.flush(*values)))
        elif step == "leave" and on_its_way is None:
            on_its_way = line.leaves()
        elif step == "again" and on_its_way is not None:
            line.queue.reenqueue(on_its_way)
            on_its_way = line.leaves()
        elif step == "answer" and on_its_way is not None:
            line.written(on_its_way)
            on_its_way = None
            await turn()
    assert line.log == [value for values, _ in flushes for value in values]
    assert line.sequences == sorted(set(line.sequences))
    for values, flush in flushes:
        told = (await flush)[PLACE]
        assert line.log[told] == values[-1]
    assert not line.post._joinable


def _some(names: Iterator[str], count: int) -> list[str]:
    return [next(names) for _ in range(count)]


async def test_a_topic_once_sent_to_is_known_for_good(kafka, topic_prefix):
    """A client that has asked for the metadata of all topics asks for that of new ones only as soon as it needs one."""
    topic = await create_topic(kafka, f"{topic_prefix}old")
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, enable_idempotence=True) as client:
        await client.client.force_metadata_update()
        post = Post(client, 5.0)
        assert await post.send_all({(topic, 0): rows("a")}) == {(topic, 0): 0}
        await client.partitions_for(await create_topic(kafka, f"{topic_prefix}new"))
        assert await post.send_all({(topic, 0): rows("b")}) == {(topic, 0): 1}


async def test_L8_whoever_waits_for_a_place_in_a_queue_waits_as_long_as_it_may(kafka, topic_prefix):
    """Forty flushes into one partition of a broker that takes 0.1 s: 4 s of waiting, and the send may take 10."""
    topic = await create_topic(kafka, f"{topic_prefix}t")

    def slow(client: AIOKafkaProducer) -> list[object]:
        send, requests = client._sender._send_produce_req, []

        async def later(node_id, batches):
            requests.append(batches)
            await asyncio.sleep(0.1)
            await send(node_id, batches)

        client._sender._send_produce_req = later
        return requests

    async def stock(client: AIOKafkaProducer, n: int) -> None:
        batch = client.create_batch()
        batch.append(timestamp=0, key=b"k", value=b"%d" % n)
        batch.close()
        await (await client.send_batch(batch, topic, partition=0))

    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all", request_timeout_ms=10_000) as client:
        slow(client)
        with pytest.raises(KafkaTimeoutError):
            await asyncio.gather(*(stock(client, n) for n in range(40)))
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all", request_timeout_ms=10_000) as client:
        requests, post = slow(client), Post(client, 10.0)
        await asyncio.gather(*(post.send_all({(topic, 0): rows(f"{n}")}) for n in range(40)))
        assert len(requests) < 20, "they left together"
