# ruff: noqa: SLF001 - it reaches into aiokafka's fetcher; versions are pinned in repairs.py
"""The thread that fetches, and what it asks of the brokers where aiokafka's own way costs a worker more than it must.

Law: what is fetched, from where and in which order is aiokafka's affair; here are only waits, and the shape of a record.
"""

import asyncio
import time
from collections.abc import Container, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from aiokafka.client import ConnectionGroup
from aiokafka.errors import ConsumerStoppedError
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.structs import TopicPartition
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.runtime.batches import Record
from streams.runtime.repairs import heed_coordinator
from streams.runtime.yielding import LOOK_SECONDS, SIZE, Wanted

T = TypeVar("T")
Fetched = Mapping[TP, list[Record]]

ALL_WAIT_MS = 100
"""How long a broker may hold a fetch that asks for all partitions; after a change it answers the next one behind it."""
TAKE_SECONDS = 0.005
"""In which what has come is taken, so that the next fetch can ask for all; a busy partition holds up the others no longer."""
AHEAD_SECONDS = 0.02
"""After which something is asked for though nobody waits: other partitions may have something else than a backlog."""
GATHER_SECONDS = 0.004
"""After records were taken, and of no backlog, before others are asked for: each time costs worker and broker a millisecond."""
_BARE_FETCHES, _BARE_LOOKS, _BARE_LOOK_SECONDS = 4, 100, 0.02
_POLL = 1.0  # seconds a fetch waits for records before it looks around


class Asking:
    """When a fetcher of aiokafka's asks for more.

    A fetch that asks for all partitions comes back with the first record of any, and may be held: whoever has nothing to do
    rests. One that leaves out partitions whose records wait here is held for `short_ms`. And it asks only when somebody waits
    for records, or after AHEAD_SECONDS: what is asked for while a batch is computed comes back with one record, behind which
    all that come later wait for the next fetch.
    """

    def __init__(self, fetcher: Any, short_ms: int, many: int) -> None:
        self._fetcher = fetcher
        self._short_ms = short_ms
        self._many = many
        self._actions = fetcher._get_actions_per_node
        self._asked = float("-inf")
        self.taken = 0
        """Records taken since somebody had to wait for one."""
        fetcher._get_actions_per_node = self._when_due
        fetcher._prefetch_backoff = TAKE_SECONDS

    @property
    def in_hurry(self) -> bool:
        """Whether there is more than can be taken at once, a backlog or a changelog: what comes next is asked for meanwhile."""
        return self.taken >= self._many

    def _when_due(self, assignment: Any) -> Any:
        fetcher = self._fetcher
        fetcher._fetch_max_wait_ms = self._short_ms if fetcher._records else max(self._short_ms, ALL_WAIT_MS)
        requests, resets, timeout, *others = self._actions(assignment)
        if len(fetcher._in_flight) > len(fetcher._pending_tasks):
            timeout = 0  # L10: a fetch is over, and its node counts as busy for one turn of the loop more
        if requests:
            now = time.monotonic()
            left = self._asked + AHEAD_SECONDS - now
            if left > 0 and not (self.in_hurry or fetcher._fetch_waiters):
                return [], resets, min(timeout, left), *others
            self._asked = now
        return requests, resets, timeout, *others


async def taken(fetcher: Any, wanted: Container[TP], limit: int) -> Fetched:
    """At most `limit` of the records that lie ready, each made once: aiokafka's have eleven fields, of which we need five.

    L11: raises KafkaError when the fetcher has ended of an error; aiokafka logs it, and nothing would ever come again.
    """
    ended = fetcher.error_future
    if ended.done() and not ended.cancelled():
        ended.result()
    for result in fetcher._records.values():
        unpacked = getattr(result, "_partition_records", None)  # it makes records one by one, when asked
        if unpacked is not None:
            unpacked._consumer_record = _record
    found: Fetched = await fetcher.fetched_records(wanted, timeout=0, max_records=limit)
    return found


def _record(_tp: Any, raw: Any) -> Record:
    return _new(Record, (raw.key, raw.value, max(0, raw.timestamp), raw.headers, raw.offset))


_new = tuple.__new__  # the constructor of a named tuple takes half as long again


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with a fetch that can be woken, and an assignment of our own."""

    app: Any
    consumer: Any
    _asking: Asking
    _took = 0.0

    async def on_start(self) -> None:
        await super().on_start()
        heed_coordinator(self._ensure_consumer()._coordinator)
        self._asking = Asking(self._ensure_consumer()._fetcher, self.app.config.fetch_wait_ms, self.app.config.max_batch)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the loop of the consumer thread."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.thread_loop))

    async def fetch(self, wanted: Wanted, limit: int) -> Fetched:
        """At most `limit` records of the wanted partitions; nothing after a second, or as soon as flow stops."""
        return await self.run(self._fetch(wanted, limit))

    async def _fetch(self, wanted: Wanted, limit: int) -> Fetched:
        client = self._ensure_consumer()
        fetcher = client._fetcher
        deadline = self.thread_loop.time() + _POLL
        while self.consumer.flow_active:
            if client._closed or fetcher._closed:
                raise ConsumerStoppedError
            with fetcher._subscriptions.fetch_context():
                records = await taken(fetcher, wanted, limit)
                left = deadline - self.thread_loop.time()
                if not records and self._holds_back(fetcher):
                    records, left = await self._yielded(fetcher), min(left, LOOK_SECONDS)
                if records or left <= 0:
                    self._took = self.thread_loop.time()
                    self._asking.taken += sum(map(len, records.values()))
                    return records
                rest = 0.0 if self._asking.in_hurry else self._took + GATHER_SECONDS - self.thread_loop.time()
                self._asking.taken = 0
                await (asyncio.sleep(rest) if rest > 0 else _something_new(fetcher, left))
        return {}

    def _holds_back(self, fetcher: Any) -> bool:
        """Whether there are records that yield to others."""
        topics = self.consumer.yielding.topics
        return bool(topics) and any(tp.topic in topics for tp in fetcher._records)

    async def _yielded(self, fetcher: Any) -> Fetched:
        yielding = self.consumer.yielding
        if not yielding.is_due():
            return {}
        records = await taken(fetcher, self.consumer.yielded, SIZE)
        if records:
            yielding.took()
        return records

    def wanted(self) -> None:
        """Something more is wanted: a waiting fetch looks again, if anything lies ready. To wake a thread for nothing is dear."""
        fetcher = getattr(self._consumer, "_fetcher", None)
        if fetcher is not None and fetcher._records:
            self.wake()

    def wake(self) -> None:
        """Make a waiting fetch look again at what is wanted. Harmless at any time, from any thread."""
        if self._consumer is not None and self.thread_loop.is_running():
            self.thread_loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        fetcher = getattr(self._consumer, "_fetcher", None)
        if fetcher is not None:
            for waiter in list(fetcher._fetch_waiters):
                fetcher._notify(waiter)

    async def committed(self, tps: Iterable[TP]) -> dict[TP, int]:
        """The group's committed offset of each partition that has one."""
        return await self.run(self._committed([TopicPartition(*tp) for tp in tps]))

    async def _committed(self, tps: list[TopicPartition]) -> dict[TP, int]:
        found = await self._ensure_consumer()._coordinator.fetch_committed_offsets(tps)
        return {ensure_TP(tp): at.offset for tp, at in found.items() if at.offset >= 0}

    async def assign(self, positions: Mapping[TP, int]) -> None:
        """Read these partitions, from these offsets on, and no others. Nothing may be on its way."""
        await self.run(self._assign({TopicPartition(*tp): offset for tp, offset in positions.items()}))

    async def _assign(self, positions: Mapping[TopicPartition, int]) -> None:
        client = self._ensure_consumer()
        client.assign(list(positions))
        for tp, offset in positions.items():
            client.seek(tp, offset)

    async def ends_bare(self, tp: TP, end: int) -> bool:
        """Whether nothing lies between the position and `end`: compaction took it. Several fetches must have come back empty."""
        return await self.run(self._ends_bare(TopicPartition(*tp), end))

    async def _ends_bare(self, tp: TopicPartition, end: int) -> bool:
        client, stamps = self._ensure_consumer(), set()
        state = client._subscription.subscription.assignment.state_value(tp)
        position = None if state is None else state._position
        if position is not None and position >= end:
            return True  # what was taken on the way there reached the main loop before this answer does
        for _ in range(_BARE_LOOKS):
            await asyncio.sleep(_BARE_LOOK_SECONDS)
            if state is None or state._position != position or tp in client._fetcher._records:
                return False
            if state.highwater is not None and state.highwater >= end:
                stamps.add(state.timestamp)
            if len(stamps) >= _BARE_FETCHES:
                return True
        return False

    async def strangers(self) -> list[str]:
        """Who has joined the consumer group by Kafka's own protocol: its commits and ours exclude each other."""
        return await self.run(self._strangers())

    async def _strangers(self) -> list[str]:
        coordinator = self._ensure_consumer()._coordinator
        await coordinator.ensure_coordinator_known()
        answer = await coordinator._client.send(
            coordinator.coordinator_id, DescribeGroupsRequest([self.app.conf.id]), group=ConnectionGroup.COORDINATION
        )
        return [member[1] for group in answer.groups for member in group[5]]


async def _something_new(fetcher: Any, seconds: float) -> None:
    """Back when records have come, something else is wanted, or the time is over."""
    waiter = fetcher._create_fetch_waiter()
    fetcher._notify(fetcher._wait_consume_future)  # the fetcher asks when somebody waits
    await asyncio.wait([waiter], timeout=seconds)
    if not waiter.done():
        waiter.cancel()
    elif not waiter.cancelled():
        waiter.result()  # authorization and coordination errors come this way
