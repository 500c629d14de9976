"""Reference data: programs and identities, mirrored from their compacted topics into plain mappings by each process.

Law: a mirror is read-only truth of its topic. `catch_up` waits until it holds everything written before the call, so whoever must
not miss a record just registered asks for that first.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Generic, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.members import Identity
from schemas.program import Program
from schemas.topics import IDENTITIES, PROGRAMS
from streams import metrics
from streams.domain.calendar import epoch
from streams.domain.plan import Plan
from streams.runtime.fatal import Exit, end_process
from streams.settings import reach

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Mirror(Generic[T]):
    """One compacted topic as a mapping from key to parsed value."""

    _reader: AIOKafkaConsumer
    _asker: AIOKafkaConsumer
    """On a connection of its own: a question would wait behind the reader's long poll."""

    def __init__(self, bootstrap: str, topic: str, parse: Callable[[bytes], T]) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._parse = parse
        self._rows: dict[str, T] = {}
        self._reading: asyncio.Task[None] | None = None
        self._advanced = asyncio.Condition()
        self._positions: dict[TopicPartition, int] = {}

    def get(self, key: str) -> T | None:
        return self._rows.get(key)

    def items(self) -> Iterator[tuple[str, T]]:
        return iter(self._rows.items())

    def __len__(self) -> int:
        return len(self._rows)

    async def start(self) -> None:
        """Begin mirroring, once; back when everything written before this call is here."""
        if self._reading is None:
            await self._begin()
        await self.catch_up()

    async def _begin(self) -> None:
        self._reader, self._asker = _consumer(self._bootstrap), _consumer(self._bootstrap)
        for consumer in (self._reader, self._asker):
            await consumer.start()
            await consumer._client._wait_on_metadata(self._topic)  # noqa: SLF001  # no public way without a subscription
        partitions = [TopicPartition(self._topic, n) for n in self._reader.partitions_for_topic(self._topic) or ()]
        self._reader.assign(partitions)
        await self._reader.seek_to_beginning(*partitions)
        self._positions = await self._asker.beginning_offsets(partitions)
        self._reading = asyncio.create_task(self._read())

    async def stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reader.stop(), self._asker.stop())

    async def catch_up(self) -> None:
        """Wait until all that was written before this call is here."""
        ends = await self._asker.end_offsets(list(self._positions))
        async with self._advanced:
            await self._advanced.wait_for(lambda: all(self._positions[part] >= end for part, end in ends.items()))

    async def _read(self) -> None:
        try:
            while True:
                for records in (await self._reader.getmany(timeout_ms=200)).values():
                    for record in records:
                        self._take(record)
                await self._note_positions()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # whatever it is, nobody may go on with a mirror that stands still
            end_process(Exit.UNEXPECTED, f"the mirror of {self._topic} ended", error=error)

    def _take(self, record: ConsumerRecord) -> None:
        """A record that nobody can read changes nothing, loudly: the row of before stands."""
        try:
            key = (record.key or b"").decode()
            value = None if record.value is None else self._parse(record.value)
        except ValueError as problem:
            metrics.REFERENCE_ERRORS.labels(self._topic).inc()
            logger.error("%s/%d/%d cannot be read: %s", record.topic, record.partition, record.offset, type(problem).__name__)  # noqa: TRY400  # its content may be personal
            return
        if value is None:
            self._rows.pop(key, None)
        else:
            self._rows[key] = value

    async def _note_positions(self) -> None:
        """Positions, not records, say how far we are: compaction may have taken the last ones."""
        for part in self._positions:
            self._positions[part] = await self._reader.position(part)
        async with self._advanced:
            self._advanced.notify_all()


def _consumer(bootstrap: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(**reach(bootstrap), enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=100)


class Directory:
    """Who is who, and which rules are in force when: all that intake, ledger and clock look up."""

    def __init__(self, bootstrap: str) -> None:
        self.identities = Mirror(bootstrap, IDENTITIES.name, _checked_identity)
        self._programs = Mirror(bootstrap, PROGRAMS.name, _plan)

    async def start(self) -> None:
        """Back when both mirrors hold everything written so far."""
        await asyncio.gather(self.identities.start(), self._programs.start())

    async def stop(self) -> None:
        await asyncio.gather(self.identities.stop(), self._programs.stop())

    async def catch_up(self) -> None:
        """See what others have written up to now."""
        await asyncio.gather(self.identities.catch_up(), self._programs.catch_up())

    def identity(self, key: str) -> Identity | None:
        """The account behind the keyed hash of an identifier."""
        row = self.identities.get(key)
        return None if row is None else Identity.model_validate_json(row)

    def version(self, program: str, at: int) -> Plan | None:
        """The version in force at an instant: the one that took effect last."""
        return version_in_force((plan for _, plan in self._programs.items()), program, at)

    async def plan(self, key: str) -> Plan:
        """The version that a command names. It was published before the command, so it is here or about to be."""
        plan = self._programs.get(key)
        if plan is None:
            await self._programs.catch_up()
            plan = self._programs.get(key)
        if plan is None:
            raise LookupError(f"a command names program version {key}, which was never published")
        return plan


def version_in_force(plans: Iterator[Plan], program: str, at: int) -> Plan | None:
    """Of a program's versions, the one that took effect last by `at`; the higher version when two did at once."""
    due = (
        (effective, plan.program.version, plan)
        for plan in plans
        if plan.program.program == program and (effective := _effective_from(plan)) <= at
    )
    return max(due, key=lambda item: item[:2], default=(0, 0, None))[2]


@lru_cache(maxsize=1000)
def _effective_from(plan: Plan) -> int:
    return epoch(plan.program.effective_from)


def _checked_identity(value: bytes) -> bytes:
    """The row as it came. Millions of them as objects would be five times as large, and pauses for the garbage collector."""
    Identity.model_validate_json(value)
    return value


def _plan(value: bytes) -> Plan:
    return Plan(Program.model_validate_json(value))
