# ruff: noqa: SLF001, ARG002, FBT001, FBT002 - it takes the place of internals of Faust and aiokafka; versions are pinned in repairs.py
"""Faust's consumer, reading batches.

Law: hand-over is synchronous. Between the moment records leave the fetcher and the moment they are in the agent's queue
(or, for a changelog, in the store) nothing else runs; and nobody seeks while a fetch is under way. So no record can be
caught between a seek and a queue that is being cleared, which is how stock Faust loses them.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from aiokafka.errors import ConsumerStoppedError
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service
from mode.utils.futures import notify

from streams.runtime.batches import Batch, Record, message_of
from streams.runtime.book import CommitBook, OffsetGap
from streams.runtime.fatal import Exit, end_process
from streams.runtime.fetching import BatchConsumerThread, Fetched
from streams.runtime.repairs import HonestProducer
from streams.runtime.vitals import BEAT_SECONDS
from streams.runtime.yielding import Wanted, Yielded, Yielding

logger = logging.getLogger(__name__)

T = TypeVar("T")

SLOW_SECONDS = 0.2

HOPS = 4
"""Turns of the loop until agents have taken up what was handed over, and its handlers have done what they do without waiting."""


class BatchConsumer(driver.Consumer):
    """Faust's consumer: batches for source topics, bulk changes for changelogs, the commit book.

    It is a member of no group. `reassign` says what it reads; the group is where it commits.
    """

    app: Any
    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.book = CommitBook()
        super().__init__(*args, **kwargs)
        self.followed: dict[TP, int] = {}
        """Changelog partitions that are read into their tables, with the next offset of each."""
        self._resting: set[TP] = set()
        self._changing = asyncio.Lock()
        self._finishing = False
        self.yielding: Yielding = self.app.yielding
        self.yielded = Yielded(self)
        self._wanted = Wanted(self)
        self._limit: int = self.app.config.max_batch

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- what is read

    async def subscribe(self, topics: Iterable[str]) -> None:
        if not self.assignment():
            await self._thread.assign({})  # what has no assignment at all waits for one, and cannot be stopped
        await self.app.shift.begin(topics)

    async def reassign(self, starts: Mapping[TP, int], stops: Iterable[TP] = ()) -> None:
        """Begin with some partitions and end with others, while all the rest go on where they are.

        Nothing is in flight while positions change; batches at hand are not waited for.
        """
        gone = set(stops)
        async with self._changing:
            began = time.monotonic()
            self.stop_flow()
            await self.wait_for_stopped_flow()
            positions = {tp: self._next(tp) for tp in self.assignment() - gone} | {TP(*tp): at for tp, at in starts.items()}
            await self._thread.assign(positions)
            self._note(starts, gone)
            await self.app.topics.on_partitions_assigned(set(positions))
            self._resting -= gone | starts.keys()
            self._active_partitions = positions.keys() - self._resting
            self.app.vitals.started(tp for tp in positions if tp not in self.followed)
            if not self.app.should_stop:
                self.resume_flow()
        if (took := time.monotonic() - began) > SLOW_SECONDS:
            logger.warning("nothing was read for %.2f s while partitions changed", took)

    def _next(self, tp: TP) -> int:
        return self.followed[tp] if tp in self.followed else self.book.next(tp)

    def _note(self, starts: Mapping[TP, int], stops: set[TP]) -> None:
        for tp in stops:
            self.followed.pop(tp, None)
            self.book.drop(tp)
        for tp, offset in starts.items():
            if self._is_changelog_tp(tp):
                self.followed[tp] = offset
            elif self.book.position(tp) is None:
                self.book.start(tp, offset)

    async def followed_to(self, tp: TP, end: int) -> bool:
        """Whether a followed changelog partition has been applied up to `end`, or has nothing more up to there."""
        return self.followed[tp] >= end or await self._thread.ends_bare(tp, end)

    async def starts(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Where the group has committed, or the beginning.

        Stock leaves a partition without a commit wherever the fetcher happens to be (aiokafka/consumer/consumer.py:901).
        """
        wanted = list(tps)
        starts = await self._thread.committed(wanted)
        if fresh := [tp for tp in wanted if tp not in starts]:
            starts.update({ensure_TP(tp): at for tp, at in (await self.earliest_offsets(*fresh)).items()})
        return starts

    def rest(self, tps: Iterable[TP]) -> None:
        """No further batch of these partitions is handed out, until `reassign` starts them anew."""
        self._resting.update(tps)
        self._active_partitions -= self._resting

    def takes(self, tp: Any) -> bool:
        """Whether records of the partition may be handed out at this very moment."""
        return self.flow_active and tp in self._active_partitions and not self.book.busy(tp)

    def active_partitions(self) -> list[TP]:
        """Those that are read now and do not rest."""
        return list(self._active_partitions)

    async def committed_by_all(self, tps: Iterable[TP]) -> dict[TP, int]:
        """What the group has committed of any partitions, whoever reads them."""
        return await self._thread.committed(tps)

    async def strangers(self) -> list[str]:
        """Members of the group, which must have none."""
        return await self._thread.strangers()

    async def in_thread(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the loop that goes on while batches are computed."""
        return await self._thread.run(work)

    # -- reading

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                fetched = await self._next_records()
                self._hand_over(fetched)
                for _ in range(HOPS):
                    await asyncio.sleep(0)
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    async def _next_records(self) -> Fetched:
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait())
        self.not_waiting_next_records.clear()  # stock has `set` here (faust/transport/consumer.py:787)
        try:
            return await self._thread.fetch(self._wanted, self._limit)
        finally:
            self.not_waiting_next_records.set()

    def _hand_over(self, fetched: Fetched) -> None:
        batches: defaultdict[str, list[Batch]] = defaultdict(list)
        for partition, records in fetched.items():
            tp = ensure_TP(partition)
            if not self._is_changelog_tp(tp):
                if self.takes(tp):  # else paused while the fetch returned: a seek precedes every resumption
                    batches[tp.topic].append(self._batch(tp, records))
            elif (
                tp in self.followed
            ):  # also when flow stopped meanwhile: it goes on where it is, a dropped change would be a hole
                self.app.tables.apply(tp, records)
                self.followed[tp] = records[-1].offset + 1
        for of_topic in batches.values():
            self._queue(message_of(of_topic, self.app.consumer_generation_id))

    def _batch(self, tp: TP, records: list[Record]) -> Batch:
        batch = Batch(tp.topic, tp.partition, records)
        try:
            compacted = tp.topic in self.app.compacted
            self.book.hand_out(tp, records[0].offset, records[-1].offset, batch, compacted=compacted)
        except OffsetGap as gap:
            end_process(Exit.OFFSET_GAP, f"records are missing: {gap}. Nothing was committed past it", error=gap)
        self.app.vitals.handed_out(tp, batch)
        self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
        return batch

    def _queue(self, message: ConsumerMessage) -> None:
        channels = self.app.topics._tp_index.get(message.tp, ())
        if len(channels) != 1:
            end_process(Exit.UNEXPECTED, f"{message.tp} has {len(channels)} agents, there must be one")
        (channel,) = channels
        channel.queue.force_put_nowait(self.app.create_event(None, message.value, None, message))

    def finish(self, message: ConsumerMessage, batch: Batch) -> None:
        """The handler of this batch returned: its offsets may be committed, the next batch may come."""
        if self.book.finish(batch.tp, batch):
            self.app.vitals.finished(batch.tp)
            if not self._finishing:
                self._finishing = True
                self.loop.call_soon(self._finished)  # behind the other batches that the same answer of the broker ends
        self._let_go(message)

    def _finished(self) -> None:
        self._finishing = False
        self._thread.wanted()

    def abandon(self, message: ConsumerMessage, batch: Batch) -> None:
        """The handler gave this batch up: nobody waits for it, nothing of it is committed, the partition's owner repeats it."""
        if not self.app.is_leaving:
            end_process(Exit.UNEXPECTED, f"a batch of {batch.tp} was given up while nobody asked for it")
        if self.book.busy(batch.tp):
            self.rest([batch.tp])
            self.app.shift.repeat(batch.tp, self.book.again(batch.tp))
        self._let_go(message)

    def _let_go(self, message: ConsumerMessage) -> None:
        if not message.decref():
            message.acked = True
            self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)

    # -- flow: whoever changes what is wanted wakes the fetch

    def stop_flow(self) -> None:
        super().stop_flow()
        self._thread.wake()

    def resume_flow(self) -> None:
        super().resume_flow()
        self._thread.wake()

    # -- committing

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp, _ in self.book.committable() if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self.book.position(tp)

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return True

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        assigned = self.assignment()
        ours = {tp: offset for tp, offset in offsets.items() if tp in assigned}
        if not ours:
            return False
        await self.app.producer.flush()
        if not await self._commit(ours):
            end_process(Exit.MEMBERSHIP_LOST, f"the commit was refused: somebody has joined the group {self.app.conf.id}")
        for tp, offset in ours.items():
            self.book.committed(tp, offset)
        self.app.vitals.committed(ours)
        self._committed_offset.update(ours)
        self.app.monitor.on_tp_commit(ours)
        return True

    async def on_task_error(self, exc: BaseException) -> None:
        """L4: a failing agent commits nothing (stock does, faust/transport/consumer.py:1153)."""

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        """Stock logs guesses here; lag and commit age are metrics of ours."""

    @Service.task
    async def _look_away(self) -> None:
        if self.yielding.topics:
            await self.yielding.look_away()

    @Service.task
    async def _beat(self) -> None:
        """Whoever asks from outside can see that the event loop runs, and how late."""
        while not self.should_stop:
            asleep = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)
            self.app.vitals.beat(time.monotonic() - asleep - BEAT_SECONDS)


class BatchTransport(driver.Transport):
    """Names our consumer and producer to Faust."""

    Consumer = BatchConsumer
    Producer = HonestProducer
