# ruff: noqa: SLF001 - it appends to aiokafka's accumulator; versions are pinned in repairs.py
"""The post: what several handlers flush at the same time leaves together, one produce batch per partition and request.

aiokafka lets a caller who brings a batch wait until the batch before it has left (`send_batch`), so many small ones take one
request each. Here rows join the batch of their partition until its request leaves. Law: rows of a partition leave in the order
in which they were brought.
"""

import asyncio
import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import ProducerClosed, UnknownTopicOrPartitionError

from streams.runtime.batches import Headers

Place = tuple[str, int]
"""A topic and one of its partitions."""
Row = tuple[bytes | None, bytes | None, int | None, Headers]
"""Key, value, Kafka timestamp (milliseconds) or None for now, headers."""


class Post:
    """Sends rows to topics through one aiokafka producer and knows the partition counts."""

    def __init__(self, client: Any, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._counts: dict[str, int] = {}
        self._joinable: dict[Place, _Outgoing] = {}
        """The newest batch of each place; whether rows may still join it, it knows itself."""

    async def partitions(self, topic: str) -> int:
        """Number of partitions of a topic (asked once)."""
        count = self._counts.get(topic)
        if count is None:
            count = self._counts[topic] = len(await self._client.partitions_for(topic))
            self._client.client.add_topic(topic)  # else its leaders are forgotten as soon as any new topic is asked for
        return count

    async def send_all(self, parcels: Mapping[Place, list[Row]]) -> dict[Place, int | None]:
        """Send everything at once, the rows of a place in order; back when all is acknowledged, with the offset of each place's
        last row if it is known. Raises what went wrong.
        """
        receipt = _Receipt()
        async with asyncio.timeout(self._timeout):
            for topic, partition in parcels:
                if partition >= await self.partitions(topic):
                    raise UnknownTopicOrPartitionError(f"{topic} has no partition {partition}")
            for place, rows in parcels.items():
                self._add(place, rows, receipt)
            await receipt.complete()
        return receipt.offsets

    def _add(self, place: Place, rows: list[Row], receipt: "_Receipt") -> None:
        outgoing = self._joinable.get(place)
        while rows:
            taken = outgoing.take(rows, receipt) if outgoing is not None else 0
            rows = rows[taken:]
            if rows:
                outgoing = self._joinable[place] = self._begin(place)

    def _begin(self, place: Place) -> "_Outgoing":
        """A new batch at the end of the partition's queue. Nothing may run before its first row is in it."""
        accumulator = self._client._message_accumulator
        if accumulator._closed:
            raise ProducerClosed
        if accumulator._exception is not None:
            raise copy.copy(accumulator._exception)
        builder = accumulator.create_builder()
        outgoing = _Outgoing(place, accumulator._append_batch(builder, TopicPartition(*place)), builder)
        outgoing.batch.future.add_done_callback(partial(self._answered, outgoing))
        return outgoing

    def _answered(self, outgoing: "_Outgoing", answer: "asyncio.Future[Any]") -> None:
        """The broker has acknowledged the batch, or will never do so."""
        if self._joinable.get(outgoing.place) is outgoing:
            del self._joinable[outgoing.place]
        error = answer.exception()
        for receipt, last in outgoing.receipts.items():
            if error is None:
                receipt.arrived(outgoing.place, answer.result(), last)
            else:
                receipt.failed(error)


@dataclass(slots=True, eq=False)
class _Outgoing:
    """A produce batch, and who waits for it."""

    place: Place
    batch: Any
    builder: Any
    receipts: dict["_Receipt", int] = field(default_factory=dict)
    """With the number, from 0, of the last row each of them has in it."""

    def take(self, rows: list[Row], receipt: "_Receipt") -> int:
        """Put rows into the batch; answers how many. None when it has left, at least one when it is new."""
        if self.batch.retry_count:  # how often it has left: its rows were counted then
            return 0
        append, taken = self.builder.append, 0
        for key, value, timestamp_ms, headers in rows:
            if append(timestamp=timestamp_ms, key=key, value=value, headers=headers) is None:
                break
            taken += 1
        if taken:
            receipt.missing += receipt not in self.receipts
            self.receipts[receipt] = self.builder.record_count() - 1
        return taken


class _Receipt:
    """What one flush waits for: all batches that have rows of it."""

    def __init__(self) -> None:
        self.missing = 0
        self.offsets: dict[Place, int | None] = {}
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def complete(self) -> None:
        """Back when nothing is missing. Raises what went wrong first."""
        if self.missing:
            await self._done

    def arrived(self, place: Place, metadata: Any, last: int) -> None:
        """A batch is in the log, this flush's last row of it so many behind its first one. Batches of a place come in order."""
        known = metadata is not None and metadata.offset >= 0
        self.offsets[place] = metadata.offset + last if known else None
        self.missing -= 1
        if not self.missing and not self._done.done():
            self._done.set_result(None)

    def failed(self, error: BaseException) -> None:
        """A batch was refused."""
        if not self._done.done():
            self._done.set_exception(error)
