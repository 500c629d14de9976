"""The peer: a plain aiokafka loop that does the least that could be called accrual, on the same broker and the same checks.

It parses without validation, forgets a check it saw among the member's last 32, adds points by a multiplier per category, keeps
its state in a dict with a changelog record, writes one short event, and commits. Run as a process of its own; prints JSON.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from schemas.topics import CHECKS

EVENTS, CHANGELOG, GROUP = "bench.peer.events", "bench.peer.changelog", "bench-peer"
_BATCH = 500
_PERCENT = {"GROCERY": 150, "PRODUCE": 200, "DRUG GM": 125}
_State = tuple[list[str], int]
_Row = tuple[bytes, bytes]


@dataclass
class Job:
    """The checks of one partition at a time become rows for the two topics."""

    states: dict[bytes, bytes] = field(default_factory=dict)
    encode: Any = field(default_factory=lambda: msgspec.msgpack.Encoder().encode)
    decode: Any = field(default_factory=lambda: msgspec.msgpack.Decoder(_State).decode)

    def rows(self, records: list[ConsumerRecord]) -> tuple[list[_Row], list[_Row]]:
        """(events, changelog)"""
        events, changes = [], {}
        for record in records:
            event = self._accrue(record.key, orjson.loads(record.value))
            if event is not None:
                events.append((record.key, event))
                changes[record.key] = self.states[record.key]
        return events, list(changes.items())

    def _accrue(self, member: bytes, check: dict[str, Any]) -> bytes | None:
        check_id = f"{check['outlet']}/{check['till']}/{check['business_date']}/{check['receipt']}"
        stored = self.states.get(member)
        ids, balance = self.decode(stored) if stored is not None else ([], 0)
        if check_id in ids:
            return None
        points = sum(map(_points, check["lines"]))
        balance += points
        self.states[member] = self.encode((([*ids, check_id])[-32:], balance))
        return orjson.dumps(
            {
                "specversion": "1.0",
                "id": f"{member.decode()}/{check_id}",
                "source": "/loystream/bench/peer",
                "type": "LOY_POINT_ACCRUAL",
                "subject": member.decode(),
                "time": check["at"],
                "data": {"check_id": check_id, "points": points, "balance": balance, "outlet": check["outlet"]},
            }
        )


def _points(line: dict[str, Any]) -> int:
    percent = _PERCENT.get((line.get("category") or "").partition("/")[0], 100)
    return int((line["amount_minor"] - line["discount_minor"]) * percent // 5000)


async def run(bootstrap: str, starts: list[int], checks: int) -> dict[str, float]:
    """Handle `checks` checks from `starts` (an offset for each partition) on; answers what they took."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=GROUP, enable_auto_commit=False, fetch_max_wait_ms=20)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=0, max_batch_size=1 << 19)
    await producer.start()
    await consumer.start()
    try:
        consumer.assign([TopicPartition(CHECKS.name, partition) for partition in range(len(starts))])
        for partition, start in enumerate(starts):
            consumer.seek(TopicPartition(CHECKS.name, partition), start)
        return await _measured(consumer, producer, checks)
    finally:
        await consumer.stop()
        await producer.stop()


async def _measured(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, checks: int) -> dict[str, float]:
    job, done, clock, cpu = Job(), 0, time.perf_counter(), time.process_time()
    while done < checks:
        for part, records in (await consumer.getmany(timeout_ms=1000, max_records=_BATCH)).items():
            events, changes = job.rows(records)
            await asyncio.gather(
                _send(producer, EVENTS, part.partition, events), _send(producer, CHANGELOG, part.partition, changes)
            )
            await consumer.commit({part: OffsetAndMetadata(records[-1].offset + 1, "")})
            done += len(records)
    return {"checks": done, "seconds": time.perf_counter() - clock, "cpu_seconds": time.process_time() - cpu}


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


if __name__ == "__main__":
    where, offsets, wanted = sys.argv[1:]
    sys.stdout.write(json.dumps(asyncio.run(run(where, json.loads(offsets), int(wanted)))))
