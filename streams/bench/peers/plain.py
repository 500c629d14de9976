"""A plain aiokafka loop: fetch, do the job, send a batch to each topic, commit every second. Rows in a dict.

It is the floor of what Python can do here, not an engine: nothing restores its rows, and nobody takes over from it.
"""

import asyncio
import signal
import sys
import time
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from streams.bench.peers.job import accrue
from streams.settings import reach

GROUP, CHECKS, EVENTS = "bench-plain", "bench.plain.checks", "bench.plain.events"
CHANGELOG = "bench.plain.changelog"
_BATCH = 500
_COMMIT_SECONDS = 1.0
_Row = tuple[bytes, bytes]


class Job:
    """The checks of one partition at a time become rows for the two topics."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def take(self, records: list[ConsumerRecord]) -> tuple[list[_Row], list[_Row]]:
        """(events, changelog)"""
        events, changed = [], {}
        for record in records:
            done = accrue(self.rows.get(record.key), record.key, record.value)
            if done is not None:
                self.rows[record.key] = changed[record.key] = done.row
                events.append((record.key, done.event))
        return events, list(changed.items())


async def run(bootstrap: str) -> None:
    """From where the group stands on, until cancelled."""
    consumer = AIOKafkaConsumer(
        CHECKS, **reach(bootstrap), group_id=GROUP, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=20
    )
    producer = AIOKafkaProducer(**reach(bootstrap), acks="all", linger_ms=0, max_batch_size=1 << 19)
    async with producer, consumer:
        job, done, due = Job(), dict[TopicPartition, OffsetAndMetadata](), 0.0
        while True:
            for part, records in (await consumer.getmany(timeout_ms=200, max_records=_BATCH)).items():
                events, changes = job.take(records)
                await asyncio.gather(
                    _send(producer, EVENTS, part.partition, events), _send(producer, CHANGELOG, part.partition, changes)
                )
                done[part] = OffsetAndMetadata(records[-1].offset + 1, "")
            if done and time.monotonic() > due:
                await consumer.commit(done)
                done, due = {}, time.monotonic() + _COMMIT_SECONDS


async def _send(producer: AIOKafkaProducer, topic: str, partition: int, rows: list[_Row]) -> None:
    batch = producer.create_batch()
    for key, value in rows:
        if batch.append(key=key, value=value, timestamp=None) is None:
            await (await _sent(producer, batch, topic, partition))
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None)
    if batch.record_count():
        await (await _sent(producer, batch, topic, partition))


async def _sent(producer: AIOKafkaProducer, batch: Any, topic: str, partition: int) -> Any:
    batch.close()
    return await producer.send_batch(batch, topic, partition=partition)


async def _until_told(bootstrap: str) -> None:
    work = asyncio.ensure_future(run(bootstrap))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    await asyncio.wait([work])
    if not work.cancelled():
        work.result()


if __name__ == "__main__":
    asyncio.run(_until_told(sys.argv[1]))
