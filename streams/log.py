"""Reads topics from their start to where they ended when asked, without a consumer group and without leaving a trace.

Law: the end is fixed before the first record is read, so reading ends while others go on writing.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest

from schemas.topics import CHECKS
from streams.settings import reach

FETCH_BYTES = 4_000_000  # per partition; a larger record comes alone
FETCH_BYTES_ALL = 48_000_000
WAIT_MS = 1000
COORDINATOR_SECONDS = 10.0
_AGAIN_SECONDS = 0.2


class Origin(NamedTuple):
    """Which record is meant: how replies, commands and dead letters name one."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str | None) -> "Origin | None":
        """topic/partition/offset; None when it is not that."""
        match (text or "").split("/"):
            case [topic, partition, offset] if partition.isdecimal() and offset.isdecimal():
                return cls(topic, int(partition), int(offset))
        return None

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


ASIDE_FROM = "aside-from"
"""The last header of a record in the backlog lane: its place at the door."""


def came_from(headers: Sequence[tuple[str, bytes]]) -> Origin | None:
    """The place at the door of a record in the lane; None for one that intake did not put there."""
    name, value = headers[-1] if headers else ("", b"")
    origin = Origin.parse((value or b"").decode(errors="replace")) if name == ASIDE_FROM else None
    return origin if origin is not None and origin.topic == CHECKS.name else None


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as it lies in the log. `timestamp_ms` counts from 1970 UTC; a None value is a tombstone."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def origin(self) -> str:
        """topic/partition/offset"""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def header(self, name: str) -> str | None:
        """The last header of that name as text, or None. One without a value, which a till may send, says nothing."""
        found = [value for key, value in self.headers if key == name]
        return found[-1].decode(errors="replace") if found and found[-1] is not None else None


class Span(NamedTuple):
    """What a partition holds: from `start` up to and without `end`. A start above 0 means that older records are gone."""

    start: int
    end: int


Spans = Mapping[TopicPartition, Span]


class UnknownTopicError(LookupError):
    """The broker has no such topic."""


class Log:
    """An open connection for reading. Made by `open_log`."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def spans(self, *topics: str) -> dict[TopicPartition, Span]:
        """What each partition of the topics holds now. Raises UnknownTopicError."""
        parts = [part for topic in topics for part in await self._partitions(topic)]
        # The end is asked for last: retention may move a start, and an end below its start would never be reached.
        starts = await self._consumer.beginning_offsets(parts)
        ends = await self._consumer.end_offsets(parts)
        return {part: Span(starts[part], ends[part]) for part in parts}

    async def spans_since(self, at_ms: int, *topics: str) -> dict[TopicPartition, Span]:
        """As `spans`, from the first record on whose Kafka time (ms since 1970 UTC) is not before `at_ms`."""
        spans = await self.spans(*topics)
        found = await self._consumer.offsets_for_times(dict.fromkeys(spans, at_ms))
        return {part: Span(at.offset if (at := found[part]) else span.end, span.end) for part, span in spans.items()}

    async def _partitions(self, topic: str) -> list[TopicPartition]:
        # Checked against all topics: asking for one by name may create it.
        if topic not in await self._consumer.topics():
            raise UnknownTopicError(f"There is no topic {topic}. `loy topics apply` creates all that are needed.")
        await self._consumer._client._wait_on_metadata(topic)  # noqa: SLF001  # there is no public way without a subscription
        return [TopicPartition(topic, n) for n in sorted(self._consumer.partitions_for_topic(topic))]

    async def read(self, spans: Spans) -> AsyncIterator[list[Record]]:
        """Yield the records of `spans` in batches of one partition each, in order within a partition.

        One reading at a time. What compaction or retention removed meanwhile is skipped.
        """
        open_parts = {part for part, span in spans.items() if span.start < span.end}
        self._consumer.assign(open_parts)
        for part in open_parts:
            self._consumer.seek(part, spans[part].start)
        while open_parts:
            require_fetching(self._consumer)
            for part, found in (await self._consumer.getmany(timeout_ms=WAIT_MS)).items():
                if batch := [_record(raw) for raw in found if raw.offset < spans[part].end]:
                    yield batch
            # Positions, not records, say when a partition is done: the last offsets may be gone.
            done = {part for part in open_parts if await self._consumer.position(part) >= spans[part].end}
            self._consumer.pause(*done)
            open_parts -= done


def require_fetching(consumer: AIOKafkaConsumer) -> None:
    """Raise KafkaError when aiokafka's fetcher has ended of an error: it tells nobody (L11 of `streams/runtime/repairs.py`)."""
    ended = consumer._fetcher.error_future  # noqa: SLF001  # there is no public way
    if ended.done() and not ended.cancelled():
        ended.result()


def _record(raw: ConsumerRecord) -> Record:
    return Record(raw.topic, raw.partition, raw.offset, raw.timestamp, raw.key, raw.value, raw.headers)


@asynccontextmanager
async def open_log(bootstrap: str) -> AsyncIterator[Log]:
    """Connect for reading. Raises KafkaConnectionError when no broker answers."""
    consumer = AIOKafkaConsumer(
        **reach(bootstrap),
        client_id="loy-log",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_bytes=FETCH_BYTES_ALL,
        fetch_max_wait_ms=100,
    )
    try:
        await consumer.start()
        yield Log(consumer)
    finally:
        await consumer.stop()


async def read_topic(bootstrap: str, topic: str, *more: str) -> AsyncIterator[Record]:
    """Yield every record that the topics hold now; order is kept within a partition only. Raises UnknownTopicError."""
    async with open_log(bootstrap) as log:
        async for batch in log.read(await log.spans(topic, *more)):
            for record in batch:
                yield record


async def latest_by_key(bootstrap: str, topic: str) -> dict[bytes, Record]:
    """The last record of each key of a compacted topic; a key whose last record is a tombstone is not there."""
    async with open_log(bootstrap) as log:
        latest: dict[bytes, Record] = {}
        async for batch in log.read(await log.spans(topic)):
            keep_latest(latest, batch)
    return latest


def keep_latest(latest: dict[bytes, Record], batch: Iterable[Record]) -> None:
    """Let each record of `batch` replace the one before of its key, or remove it when it is a tombstone."""
    for record in batch:
        key = record.key or b""
        if record.value is None:
            latest.pop(key, None)
        else:
            latest[key] = record


async def offsets_of(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, int]:
    """The offsets that a group has committed. Asked again while its coordinator changes; then raises KafkaError.

    aiokafka's own answers that nothing is committed when a broker does not know (L9 of `streams/runtime/repairs.py`).
    """
    until = asyncio.get_running_loop().time() + COORDINATOR_SECONDS
    while True:
        try:
            return await _offsets_of(admin, group)
        except KafkaError as failure:
            if not failure.retriable or asyncio.get_running_loop().time() > until:
                raise
        await asyncio.sleep(_AGAIN_SECONDS)


async def _offsets_of(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, int]:
    coordinator = await admin.find_coordinator(group)
    answer = await admin._send_request(OffsetFetchRequest(group, None), coordinator)  # noqa: SLF001  # the public one hides errors
    parts = [(topic, *part) for topic, held in answer.topics for part in held]
    failures = (code for code in (getattr(answer, "error_code", 0), *(code for *_, code in parts)) if code)
    if failed := next(failures, 0):
        raise for_code(failed)(f"what {group} has committed")
    return {TopicPartition(topic, partition): offset for topic, partition, offset, *_ in parts}
