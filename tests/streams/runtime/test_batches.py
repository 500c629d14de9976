"""What one fetch brought travels as one message of several batches; each of them is finished, given up or taken away by itself."""

import asyncio
from types import SimpleNamespace

import pytest
from faust.types import TP

from streams.runtime.batches import Abandoned, Batch, Record, batches_of, message_of, serve
from streams.runtime.book import CommitBook
from streams.runtime.consuming import BatchConsumer


class Thread:
    def __init__(self) -> None:
        self.told = 0

    def wanted(self) -> None:
        self.told += 1


class Shift:
    def __init__(self) -> None:
        self.repeated: dict[TP, int] = {}

    def repeat(self, tp: TP, offset: int) -> None:
        self.repeated[tp] = offset


class Consumer(BatchConsumer):
    """As far as batches come back to it."""

    def __init__(self) -> None:
        self.book, self._thread = CommitBook(), Thread()
        self._finishing, self._resting, self._active_partitions = False, set(), set()
        self._unacked_messages, self._waiting_for_ack = set(), None
        self.app = SimpleNamespace(
            is_leaving=True, shift=Shift(), vitals=SimpleNamespace(finished=lambda _: None), consumer_generation_id=0
        )
        self.loop = asyncio.get_running_loop()

    def message(self, *partitions: int) -> object:
        """Two records of each partition, from offset 10 on, handed out."""
        batches = [Batch("t", n, [Record(b"k", b"v", 0, (), 10), Record(b"k", b"v", 0, (), 11)]) for n in partitions]
        for batch in batches:
            self.book.start(batch.tp, 10)
            self.book.hand_out(batch.tp, 10, 11, batch)
        self._active_partitions = {batch.tp for batch in batches}
        message = message_of(batches, 0)
        self._unacked_messages.add(message)
        return message

    def done(self) -> dict[int, int]:
        return {tp.partition: offset for tp, offset in self.book.committable()}


class Stream:
    """An agent's, with one message."""

    def __init__(self, consumer: Consumer, message: object) -> None:
        self.app = SimpleNamespace(consumer=consumer)
        self._message = message
        self.over = asyncio.Event()

    async def events(self):
        yield SimpleNamespace(message=self._message)
        await self.over.wait()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_each_partition_may_be_committed_when_its_batch_is_done_and_the_stop_waits_for_the_last_one():
    consumer = Consumer()
    message = consumer.message(0, 1, 2)
    for count, n in enumerate((2, 0, 1), start=1):
        assert consumer._unacked_messages
        consumer.finish(message, message.value[n])
        assert len(consumer.done()) == count
    assert consumer.done() == {0: 12, 1: 12, 2: 12}
    assert not consumer._unacked_messages
    await turns()
    assert consumer._thread.told == 1, "once for all that ended in the same turn"


async def test_batches_that_end_later_ask_for_more_by_themselves():
    consumer = Consumer()
    message = consumer.message(0, 1)
    for batch in message.value:
        consumer.finish(message, batch)
        await turns()
    assert consumer._thread.told == 2


async def test_a_batch_that_is_given_up_is_read_again_and_the_others_of_its_message_are_finished():
    consumer = Consumer()
    message = consumer.message(0, 1)
    consumer.abandon(message, message.value[0])
    assert consumer.app.shift.repeated == {TP("t", 0): 10}
    assert consumer.active_partitions() == [TP("t", 1)]
    assert consumer._unacked_messages
    consumer.finish(message, message.value[1])
    assert consumer.done() == {1: 12}
    assert not consumer._unacked_messages


async def test_a_partition_that_was_taken_away_meanwhile_is_not_committed_and_holds_up_nobody():
    consumer = Consumer()
    message = consumer.message(0, 1)
    consumer.book.drop(TP("t", 0))
    for batch in message.value:
        consumer.finish(message, batch)
    assert consumer.done() == {1: 12}
    assert not consumer._unacked_messages


async def test_partitions_are_served_side_by_side_and_one_that_gives_up_leaves_the_others_alone():
    consumer = Consumer()
    stream = Stream(consumer, consumer.message(0, 1, 2))
    began: list[int] = []
    slow = asyncio.Event()

    async def handle(batch: Batch) -> None:
        began.append(batch.partition)
        if batch.partition == 0:
            await slow.wait()
        if batch.partition == 1:
            raise Abandoned

    serving = asyncio.create_task(serve(stream, handle))
    await turns()
    assert (began, consumer.done()) == ([0, 1, 2], {2: 12})
    slow.set()
    await turns()
    assert consumer.done() == {0: 12, 2: 12}
    assert consumer.app.shift.repeated == {TP("t", 1): 10}
    stream.over.set()
    await serving


async def test_one_after_another_each_batch_is_finished_when_the_next_is_asked_for():
    consumer = Consumer()
    batches = batches_of(Stream(consumer, consumer.message(0, 1)))
    assert (await anext(batches)).partition == 0
    assert consumer.done() == {}
    assert (await anext(batches)).partition == 1
    assert consumer.done() == {0: 12}
    await batches.aclose()
    assert consumer.done() == {0: 12}, "the one at hand was not finished"


@pytest.mark.parametrize("failing", [0, 1])
async def test_a_batch_that_fails_ends_the_process_before_it_is_committed(monkeypatch, failing):
    ended: list[int] = []

    def leave(code: int) -> None:
        ended.append(code)
        raise asyncio.CancelledError  # what comes after the end of the process is nothing

    monkeypatch.setattr("os._exit", leave)
    consumer = Consumer()
    stream = Stream(consumer, consumer.message(0, 1))

    async def handle(batch: Batch) -> None:
        if batch.partition == failing:
            raise ValueError("bad")

    serving = asyncio.create_task(serve(stream, handle))
    await turns()
    assert ended == [70]
    assert failing not in consumer.done()
    stream.over.set()
    await serving
