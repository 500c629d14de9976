"""Writes topics by the million: whole batches of one partition each, in their order, without a future for every record."""

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaProducer

from streams.runtime import partition_of
from streams.settings import reach

BATCH_BYTES = 1 << 19

Row = tuple[bytes, bytes, int | None]
"""Key, value, timestamp in ms (None: now)."""


async def fill(bootstrap: str, topic: str, rows: Iterable[Row]) -> int:
    """Write the rows, each to the partition of its key. Answers the bytes of their values when all are acknowledged."""
    async with AIOKafkaProducer(**reach(bootstrap), acks="all", max_batch_size=BATCH_BYTES) as producer:
        filling = _Filling(producer, topic, len(await producer.partitions_for(topic)))
        written = 0
        for key, value, timestamp_ms in rows:
            await filling.add(key, value, timestamp_ms)
            written += len(value)
        await filling.finish()
        return written


class _Filling:
    """One open batch for each partition, and what was sent."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self._producer = producer
        self._topic = topic
        self._partitions = partitions
        self._open: dict[int, Any] = {}
        self._sent: list[asyncio.Future[Any]] = []

    async def add(self, key: bytes, value: bytes, timestamp_ms: int | None) -> None:
        at = partition_of(key, self._partitions)
        batch = self._open.get(at)
        if batch is None or batch.append(key=key, value=value, timestamp=timestamp_ms) is None:
            if batch is not None:
                await self._send(at)
            batch = self._open[at] = self._producer.create_batch()
            batch.append(key=key, value=value, timestamp=timestamp_ms)

    async def _send(self, at: int) -> None:
        batch = self._open.pop(at)
        batch.close()
        self._sent.append(await self._producer.send_batch(batch, self._topic, partition=at))

    async def finish(self) -> None:
        for at in list(self._open):
            await self._send(at)
        await asyncio.gather(*self._sent)
