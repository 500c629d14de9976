"""The agents of a worker over topics in memory: a door's records in, everything they cause out. One partition each, no broker."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemas.members import Identity
from schemas.program import Program
from schemas.topics import COMMANDS, IDENTITIES
from streams.agents import IntakeAgent, LedgerAgent
from streams.domain.account import Account
from streams.domain.intake import Rules
from streams.domain.plan import Plan
from streams.log import Record as Logged
from streams.reference import version_in_force
from streams.runtime import Batch, Record, TableView

PARTITION = 0
Headers = Sequence[tuple[str, bytes]]


class Memory:
    """Topics, accounts and identities, and both agents. Stands for directory, table, index and totals at once."""

    def __init__(self, *programs: Program) -> None:
        self.topics: defaultdict[str, list[Logged]] = defaultdict(list)
        self.rows: dict[bytes, bytes] = {}
        self._identities: dict[str, Identity] = {}
        self._plans = {program.key: Plan(program) for program in programs}
        self._decided = 0
        stand: Any = self  # each agent asks but little of what it is given
        self._intake = IntakeAgent(stand, Rules(b"development-only", "US", "main"), self._outbox)
        self._ledger = LedgerAgent(stand, stand, self._outbox, stand, stand)

    async def take(self, topic: str, records: Iterable[tuple[bytes | None, bytes | None, int, Headers]]) -> None:
        """Records of one door as (key, value, timestamp_ms, headers): through intake, and what they cause through the ledger."""
        first = len(self.topics[topic])
        for record in records:
            self._append(topic, *record)
        await self._intake.handle(_batch(topic, self.topics[topic][first:]))
        while commands := self.topics[COMMANDS.name][self._decided :]:
            await self._ledger.handle(_batch(COMMANDS.name, commands))
            self._decided += len(commands)

    def _append(self, topic: str, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: Headers) -> None:
        lines = self.topics[topic]
        lines.append(Logged(topic, PARTITION, len(lines), timestamp_ms, key, value, tuple(headers)))

    # ------------------------------------------------------------ what agents ask for

    def _outbox(self) -> Any:
        return _Box(self)

    @property
    def identities(self) -> "Memory":
        """The mirror of identities: always caught up."""
        return self

    async def catch_up(self) -> None:
        """Nothing to wait for."""

    def identity(self, key: str) -> Identity | None:
        return self._identities.get(key)

    def version(self, program: str, at: int) -> Plan | None:
        return version_in_force(iter(self._plans.values()), program, at)

    async def plan(self, key: str) -> Plan:
        return self._plans[key]

    def view(self, _partition: int) -> TableView:
        return TableView(self.rows.get)

    def note(self, partition: int, key: bytes, account: Account, now: int) -> None:
        """Nothing is looked for here: no clock runs."""

    def moved(self, partition: int, before: Mapping[bytes, Account], after: Mapping[bytes, Account]) -> None:
        """No totals are kept."""

    def written(self, topic: str, row: tuple[bytes | None, bytes | None, int, Headers]) -> None:
        """A record that was flushed."""
        self._append(topic, *row)
        if topic == IDENTITIES.name:
            name = (row[0] or b"").decode()
            if row[1] is None:
                self._identities.pop(name, None)
            else:
                self._identities[name] = Identity.model_validate_json(row[1])


class _Box:
    """An outbox that flushes into memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._records: list[tuple[str, tuple[bytes | None, bytes | None, int, Headers]]] = []
        self._changes: dict[bytes, bytes | None] = {}

    def add(
        self, topic: str, key: bytes | None, value: bytes | None, *, timestamp_ms: int, headers: Headers = (), **_: Any
    ) -> None:
        self._records.append((topic, (key, value, timestamp_ms, headers)))

    def write(self, _table: Any, _partition: int, changes: Mapping[bytes, bytes | None]) -> None:
        self._changes.update(changes)

    async def flush(self) -> None:
        for topic, row in self._records:
            self._memory.written(topic, row)
        for key, value in self._changes.items():
            if value is None:
                self._memory.rows.pop(key, None)
            else:
                self._memory.rows[key] = value
        self._records, self._changes = [], {}


def _batch(topic: str, lines: Sequence[Logged]) -> Batch:
    return Batch(topic, PARTITION, [Record(one.key, one.value, one.timestamp_ms, one.headers, one.offset) for one in lines])
