"""Reference data: programs and identities, mirrored from their compacted topics by each process: few in memory, millions on disk.

Law: a mirror is read-only truth of its topic. `catch_up` waits until it holds everything written before the call, so whoever must
not miss a record just registered asks for that first.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.members import Identity
from schemas.program import Program
from schemas.topics import IDENTITIES, PROGRAMS
from streams import metrics
from streams.domain.calendar import epoch
from streams.domain.plan import Plan
from streams.log import require_fetching
from streams.runtime.fatal import Exit, end_process
from streams.runtime.partitioning import partition_of
from streams.runtime.stores import Stores
from streams.settings import reach

logger = logging.getLogger(__name__)

_FETCH_BYTES = 4 << 20  # at a time: millions of rows are read at a start

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
        self._positions = await self._kept(await self._asker.beginning_offsets(partitions))
        self._reader.assign(partitions)
        for part, position in self._positions.items():
            self._reader.seek(part, position)
        self._reading = asyncio.create_task(self._read())

    async def _kept(self, starts: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Where to begin reading, of partitions that begin at `starts`: in memory nothing is kept from an earlier process."""
        return starts

    async def stop(self) -> None:
        """Read no more. What was read stays to be looked up."""
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
                require_fetching(self._reader)
                for part, records in (await self._reader.getmany(timeout_ms=200)).items():
                    self._take(part, records)
                    await asyncio.sleep(0)  # heartbeats go on
                await self._note_positions()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # whatever it is, nobody may go on with a mirror that stands still
            end_process(Exit.UNEXPECTED, f"the mirror of {self._topic} ended", error=error)

    def _take(self, part: TopicPartition, records: Sequence[ConsumerRecord]) -> None:  # noqa: ARG002  # rows on disk need it
        for key, value in self._readable(records):
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value

    def _readable(self, records: Sequence[ConsumerRecord]) -> Iterator[tuple[str, T | None]]:
        """Key and parsed value of each. A record that nobody can read changes nothing, loudly: the row of before stands."""
        for record in records:
            try:
                yield (record.key or b"").decode(), None if record.value is None else self._parse(record.value)
            except ValueError as problem:
                metrics.REFERENCE_ERRORS.labels(self._topic).inc()
                logger.error("%s/%d/%d cannot be read: %s", record.topic, record.partition, record.offset, type(problem).__name__)  # noqa: TRY400  # its content may be personal

    async def _note_positions(self) -> None:
        """Positions, not records, say how far we are: compaction may have taken the last ones."""
        for part in self._positions:
            self._positions[part] = await self._reader.position(part)
        async with self._advanced:
            self._advanced.notify_all()


class StoredMirror(Mirror[bytes]):
    """A mirror whose rows lie in RocksDB as they came, with the offset up to which they are complete.

    Millions of rows take no memory, and a process that starts again reads only what is new; all of it when it was away for so
    long that a deletion may have been compacted away meanwhile. Deleting the folder is safe.
    """

    def __init__(self, bootstrap: str, topic: str, parse: Callable[[bytes], bytes], folder: Path | None) -> None:
        """In memory when there is no folder."""
        super().__init__(bootstrap, topic, parse)
        self._stores = Stores(folder, topic)

    def close(self) -> None:
        """Let go of files; nothing can be looked up any more."""
        self._stores.close()

    def get(self, key: str) -> bytes | None:
        """The row, or None; nothing is known before the start."""
        if not self._positions:
            return None
        raw = key.encode()
        return self._stores.of(partition_of(raw, len(self._positions))).get(raw)

    async def _kept(self, starts: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        ends, positions = await self._asker.end_offsets(list(starts)), {}
        kept = {part: self._stores.of(part.partition).offset() for part in starts}
        known = {part: offset for part, offset in kept.items() if offset is not None}
        if not all(starts[part] <= offset + 1 <= ends[part] for part, offset in known.items()):
            logger.warning("%s is read from its start: what was kept is of another", self._topic)
            self._stores.wipe()
            kept = dict.fromkeys(kept)
        for part, offset in kept.items():
            positions[part] = starts[part] if offset is None else offset + 1
        return positions

    def _take(self, part: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        changes = [(key.encode(), value) for key, value in self._readable(records)]
        self._stores.of(part.partition).write(changes, records[-1].offset)


def _consumer(bootstrap: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        **reach(bootstrap),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=_FETCH_BYTES,
    )


class Directory:
    """Who is who, and which rules are in force when: all that intake, ledger and clock look up."""

    def __init__(self, bootstrap: str, folder: Path | None = None) -> None:
        """Identities are kept in the folder of this process; in memory when there is none."""
        self.identities = StoredMirror(bootstrap, IDENTITIES.name, _checked_identity, folder)
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
        return None if row is None else Identity.model_validate_json(row, extra="ignore")

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
    """The row as it came, if it can be read."""
    Identity.model_validate_json(value, extra="ignore")
    return value


def _plan(value: bytes) -> Plan:
    return Plan(Program.model_validate_json(value))
