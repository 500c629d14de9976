"""Reference data: programs and identities, mirrored from their compacted topics into plain mappings by each process.

Law: a mirror is read-only truth of its topic. `catch_up` waits until it holds everything written before the call, so whoever must
not miss a record just registered asks for that first.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.members import Identity
from schemas.program import Program
from schemas.topics import IDENTITIES, PROGRAMS
from streams.domain.calendar import epoch
from streams.domain.plan import Plan

T = TypeVar("T")


class Mirror(Generic[T]):
    """One compacted topic as a mapping from key to parsed value."""

    def __init__(self, bootstrap: str, topic: str, parse: Callable[[bytes], T]) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._parse = parse
        self._rows: dict[str, T] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._reading: asyncio.Task[None] | None = None
        self._advanced = asyncio.Condition()
        self._positions: dict[TopicPartition, int] = {}

    def get(self, key: str) -> T | None:
        return self._rows.get(key)

    def items(self) -> Iterator[tuple[str, T]]:
        return iter(self._rows.items())

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, key: str, value: T | None) -> None:
        """What this process has just written and the broker acknowledged: its own writes are seen at once."""
        if value is None:
            self._rows.pop(key, None)
        else:
            self._rows[key] = value

    async def start(self) -> None:
        """Begin mirroring; back when everything written so far is here. A second call does nothing."""
        if self._consumer is not None:
            return
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, enable_auto_commit=False, fetch_max_wait_ms=100, request_timeout_ms=30_000
        )
        await self._consumer.start()
        await self._consumer._client._wait_on_metadata(self._topic)  # noqa: SLF001  # no public way without a subscription
        partitions = [TopicPartition(self._topic, n) for n in self._consumer.partitions_for_topic(self._topic) or ()]
        self._consumer.assign(partitions)
        await self._consumer.seek_to_beginning(*partitions)
        self._positions = await self._consumer.beginning_offsets(partitions)
        self._reading = asyncio.create_task(self._read())
        await self.catch_up()

    async def stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._consumer is not None:
            await self._consumer.stop()

    async def catch_up(self) -> None:
        """Wait until all that was written before this call is here. Raises what ended the reading."""
        assert self._consumer is not None, "the mirror was not started"  # noqa: S101  # a bug of ours
        ends = await self._consumer.end_offsets(list(self._positions))
        async with self._advanced:
            await self._advanced.wait_for(lambda: self._failed() or self._behind(ends) == 0)
        if self._reading is not None and self._reading.done():
            self._reading.result()

    def _failed(self) -> bool:
        return self._reading is not None and self._reading.done()

    def _behind(self, ends: dict[TopicPartition, int]) -> int:
        return sum(max(0, end - self._positions[part]) for part, end in ends.items())

    async def _read(self) -> None:
        assert self._consumer is not None  # noqa: S101  # started by `start`
        try:
            while True:
                for part, records in (await self._consumer.getmany(timeout_ms=200)).items():
                    for record in records:
                        key = (record.key or b"").decode()
                        self.put(key, None if record.value is None else self._parse(record.value))
                    self._positions[part] = records[-1].offset + 1
                await self._note_positions()
        finally:
            async with self._advanced:
                self._advanced.notify_all()

    async def _note_positions(self) -> None:
        """Compacted-away tails move the position without a record."""
        assert self._consumer is not None  # noqa: S101  # started by `start`
        for part in self._positions:
            self._positions[part] = max(self._positions[part], await self._consumer.position(part))
        async with self._advanced:
            self._advanced.notify_all()


class Directory:
    """Who is who, and which rules are in force when: all that intake, ledger and clock look up."""

    def __init__(self, bootstrap: str) -> None:
        self.identities = Mirror(bootstrap, IDENTITIES.name, Identity.model_validate_json)
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
        return self.identities.get(key)

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
        if plan.program.program == program and (effective := epoch(plan.program.effective_from)) <= at
    )
    return max(due, key=lambda item: item[:2], default=(0, 0, None))[2]


def _plan(value: bytes) -> Plan:
    return Plan(Program.model_validate_json(value))
