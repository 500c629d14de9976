# ruff: noqa: SLF001, ARG002, FBT001, FBT002 - it takes the place of internals of Faust and aiokafka; versions are pinned in repairs.py
"""Faust's consumer, reading batches.

Law: hand-over is synchronous. Between the moment records leave the fetcher and the moment they are in the agent's queue
(or, for a changelog, in the store) nothing else runs; and nobody seeks while a fetch is under way. So no record can be
caught between a seek and a queue that is being cleared, which is how stock Faust loses them.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aiokafka.errors import ConsumerStoppedError
from aiokafka.structs import ConsumerRecord, TopicPartition
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service
from mode.utils.futures import notify

from streams.runtime.batches import Batch, Record
from streams.runtime.book import CommitBook, OffsetGap
from streams.runtime.fatal import Exit, end_process
from streams.runtime.lease import Instant
from streams.runtime.repairs import HonestProducer
from streams.runtime.vitals import BEAT_SECONDS

Fetched = Mapping[TP, list["ConsumerRecord[bytes, bytes]"]]

_POLL = 1.0  # seconds a fetch waits for records before it looks around


class _Wanted:
    """The partitions a fetch may take records from, as of this very moment (read by the consumer thread)."""

    def __init__(self, consumer: "BatchConsumer") -> None:
        self._consumer = consumer

    def __contains__(self, tp: Any) -> bool:
        consumer = self._consumer
        return consumer.flow_active and tp in consumer._active_partitions and not consumer.book.busy(tp)


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with a fetch that can be woken, and the heartbeats that renew the lease."""

    app: Any

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust hard-codes 1,500 ms (faust/transport/drivers/aiokafka.py:615): a partition whose records were just
        # taken waits that long for the request that is already under way without it.
        consumer._fetch_max_wait_ms = self.app.config.fetch_wait_ms
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        client = self._ensure_consumer()
        client._fetcher._prefetch_backoff = 0  # one busy partition must not hold up the fetch of the others
        coordinator = client._coordinator
        beat = coordinator._do_heartbeat

        async def heartbeat() -> bool:
            sent = Instant.now()
            alive: bool = await beat()
            if alive:
                self.app.lease.renew(sent)
            return alive

        coordinator._do_heartbeat = heartbeat

    async def fetch(self, wanted: _Wanted, limit: int) -> Fetched:
        """At most `limit` records of the wanted partitions; nothing after a second, or as soon as flow stops."""
        future = asyncio.run_coroutine_threadsafe(self._fetch(wanted, limit), self.thread_loop)
        return await asyncio.wrap_future(future)

    async def _fetch(self, wanted: _Wanted, limit: int) -> Fetched:
        client = self._ensure_consumer()
        fetcher = client._fetcher
        deadline = self.thread_loop.time() + _POLL
        while self.consumer.flow_active:
            if client._closed or fetcher._closed:
                raise ConsumerStoppedError
            with fetcher._subscriptions.fetch_context():
                records: Fetched = await fetcher.fetched_records(wanted, timeout=0, max_records=limit)
                left = deadline - self.thread_loop.time()
                if records or left <= 0:
                    return records
                waiter = fetcher._create_fetch_waiter()
                await asyncio.wait([waiter], timeout=left)
                if not waiter.done():
                    waiter.cancel()
                elif not waiter.cancelled():
                    waiter.result()  # authorization and coordination errors come this way
        return {}

    def wake(self) -> None:
        """Make a waiting fetch look again at what is wanted. Harmless at any time, from any thread."""
        if self._consumer is not None and self.thread_loop.is_running():
            self.thread_loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        fetcher = getattr(self._consumer, "_fetcher", None)
        if fetcher is not None:
            for waiter in list(fetcher._fetch_waiters):
                fetcher._notify(waiter)

    async def committed(self, tps: Iterable[TP]) -> dict[TP, int | None]:
        """The group's committed offset of each partition, None where there is none."""
        return dict(await self.call_thread(self._committed, list(tps)))

    async def _committed(self, tps: list[TP]) -> dict[TP, int | None]:
        client = self._ensure_consumer()
        return {tp: await client.committed(TopicPartition(*tp)) for tp in tps}

    async def heartbeat(self) -> None:
        """One heartbeat now, so that the lease is fresh before work is taken up."""
        await self.call_thread(self._ensure_consumer()._coordinator._do_heartbeat)

    def membership_error(self) -> BaseException | None:
        """The fatal error at which aiokafka has parked its coordination for ever, if any."""
        coordinator = getattr(self._consumer, "_coordinator", None)
        if coordinator is None:
            return None
        task = coordinator._coordination_task
        if task.done() and not task.cancelled() and task.exception() is not None:
            failed: BaseException | None = task.exception()
            return failed
        error: BaseException | None = coordinator._pending_exception
        return error


class BatchConsumer(driver.Consumer):
    """Faust's consumer: batches for source topics, bulk changes for changelogs, the commit book, the watchdog."""

    app: Any
    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.book = CommitBook()
        super().__init__(*args, **kwargs)
        self._wanted = _Wanted(self)
        self._limit: int = self.app.config.max_batch

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- reading

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                fetched = await self._next_records()
                for tp, records in fetched.items():
                    self._hand_over(ensure_TP(tp), records)
                if not fetched:
                    await self.app.tables.recovery.on_idle()
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

    def _hand_over(self, tp: TP, records: list[Any]) -> None:
        if self._is_changelog_tp(tp):
            # Also when flow stopped meanwhile: a standby goes on without a seek, a dropped change would be a hole.
            if tp in self.assignment():
                self.app.tables.recovery.apply(tp, records)
            return
        if tp not in self._wanted:
            return  # paused while the fetch returned: a seek precedes every resumption
        batch = Batch(
            tp.topic,
            tp.partition,
            [Record(r.key, r.value, max(0, r.timestamp), r.headers, r.offset) for r in records],
        )
        message = _message_of(tp, batch, self.app.consumer_generation_id)
        try:
            compacted = tp.topic in self.app.compacted
            self.book.hand_out(tp, records[0].offset, records[-1].offset, message, compacted=compacted)
        except OffsetGap as gap:
            end_process(Exit.OFFSET_GAP, f"records are missing: {gap}. Nothing was committed past it", error=gap)
        self.app.vitals.handed_out(tp, batch)
        self._queue(message)
        self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))

    def _queue(self, message: ConsumerMessage) -> None:
        channels = self.app.topics._tp_index.get(message.tp, ())
        if len(channels) != 1:
            end_process(Exit.UNEXPECTED, f"{message.tp} has {len(channels)} agents, there must be one")
        (channel,) = channels
        message.incref()
        channel.queue.force_put_nowait(self.app.create_event(None, message.value, None, message))

    def finish(self, message: ConsumerMessage) -> None:
        """The handler of this batch returned: its offsets may be committed, the next batch may come."""
        message.acked = True
        self._unacked_messages.discard(message)
        if self.book.finish(message.tp, message):
            self.app.vitals.finished(message.tp)
            self._thread.wake()
        notify(self._waiting_for_ack)

    def abandon(self, message: ConsumerMessage) -> None:
        """The handler gave this batch up: nobody waits for it, nothing of it is committed, whoever owns it next repeats it.

        Only while flow is stopped, since a seek to what is committed precedes every resumption.
        """
        if self.flow_active:
            end_process(Exit.UNEXPECTED, f"a batch of {message.tp} was given up while its partition was not")
        message.acked = True
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)

    # -- flow: whoever changes what is wanted wakes the fetch

    def stop_flow(self) -> None:
        self.app.vitals.taken_up = False
        super().stop_flow()
        self._thread.wake()

    def resume_flow(self) -> None:
        super().resume_flow()
        self._thread.wake()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        super().resume_partitions(tps)
        self._thread.wake()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.book.clear()
        self.app.vitals.started(())
        await super().on_partitions_assigned(assigned, generation_id)

    async def perform_seek(self) -> None:
        """Put every source partition where the group has committed, or at its beginning, and prove we are a member.

        Stock leaves a partition without a commit wherever the fetcher happens to be (aiokafka/consumer/consumer.py:901).
        """
        sources = [tp for tp in self.assignment() if not self._is_changelog_tp(tp)]
        committed = await self._thread.committed(sources)
        starts = {tp: offset for tp, offset in committed.items() if offset is not None and offset >= 0}
        fresh = [tp for tp in sources if tp not in starts]
        if fresh:
            starts.update({ensure_TP(tp): at for tp, at in (await self.earliest_offsets(*fresh)).items()})
        await self.seek_wait(starts)
        await self._thread.heartbeat()
        for tp, offset in starts.items():
            self.book.start(tp, offset)
        self.app.vitals.started(starts)
        self._committed_offset.update(starts)

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
            return False  # stock notes them as committed all the same (faust/transport/consumer.py:1080)
        for tp, offset in ours.items():
            self.book.committed(tp, offset)
        self.app.vitals.committed(ours)
        self._committed_offset.update(ours)
        self.app.monitor.on_tp_commit(ours)
        return True

    async def on_task_error(self, exc: BaseException) -> None:
        """L4: a failing agent commits nothing (stock does, faust/transport/consumer.py:1153)."""

    # -- watching

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        """Stock logs guesses here; lag and commit age are metrics of ours."""

    @Service.task
    async def _beat(self) -> None:
        """Whoever asks from outside can see that the event loop runs, and how late."""
        while not self.should_stop:
            asleep = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)
            self.app.vitals.beat(time.monotonic() - asleep - BEAT_SECONDS)

    @Service.task
    async def _watch_membership(self) -> None:
        """L6: end the process when the group no longer knows us and nothing brings us back."""
        started, limit = Instant.now(), self.app.config.membership_timeout
        session = self.app.config.session_timeout
        while not self.should_stop:
            await self.sleep(min(1.0, session / 4))
            error = self._thread.membership_error()
            if error is not None:
                end_process(Exit.MEMBERSHIP_LOST, "the group refused this worker", error=error)
            age = self.app.lease.age()
            silent = started.age(Instant.now()) if age is None else age
            if silent > limit or (age is not None and age > session and not self.app.rebalancing):
                end_process(Exit.MEMBERSHIP_LOST, f"no good heartbeat for {silent:.1f} s")


def _message_of(tp: TP, batch: Batch, generation: int) -> ConsumerMessage:
    last = batch.records[-1]
    value: Any = batch
    return ConsumerMessage(
        tp.topic,
        tp.partition,
        last.offset,
        last.timestamp_ms / 1000,
        0,
        headers=None,
        key=None,
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        tp=tp,
        generation_id=generation,
    )


class BatchTransport(driver.Transport):
    """Names our consumer and producer to Faust."""

    Consumer = BatchConsumer
    Producer = HonestProducer
