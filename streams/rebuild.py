"""`loy state-hash`: one figure for all accounts, and the same figure rebuilt from the log of record alone.

Law: the accounts are a function of `loy.commands` and of the program versions it names. Folding the log from zero gives the
very bytes that the workers keep, whatever crashed in between.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from math import inf
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient

from schemas.codec import parse_command
from schemas.topics import COMMANDS
from streams.agents import fits, stored
from streams.domain import render
from streams.domain.account import unpack
from streams.domain.decide import decide
from streams.domain.plan import Plan
from streams.log import Record, latest_by_key, offsets_of, open_log
from streams.publishing import published
from streams.runtime import changelog_topic
from streams.settings import reach
from streams.topology import ACCOUNTS

Rows = dict[bytes, bytes]


class StateHash(NamedTuple):
    """How many accounts there are, and the SHA-256 over their keys and bytes in the order of keys."""

    accounts: int
    digest: str

    def __str__(self) -> str:
        return f"{self.digest} {self.accounts}"


def hash_of(rows: Mapping[bytes, bytes]) -> StateHash:
    """Of packed accounts by key."""
    digest = sha256()
    for key in sorted(rows):
        for part in (key, rows[key]):
            digest.update(len(part).to_bytes(8, "big") + part)
    return StateHash(len(rows), digest.hexdigest())


async def hashes(bootstrap: str, group: str, *, rebuild: bool) -> list[StateHash]:
    """Of the accounts that a group's workers keep, and if wanted of what the log of record makes of them, also while they work.

    Raises UnknownTopicError, KeyError for an unpublished program.
    """
    if not rebuild:
        return [await state_hash(bootstrap, group)]
    done = await _done(bootstrap, group)  # first, so all of it is in the accounts
    kept = await _kept(bootstrap, group)
    anew = Beside(kept, done, await _plans(bootstrap))
    async with open_log(bootstrap) as log:
        async for batch in log.read(await log.spans(COMMANDS.name)):
            anew.take(batch)
    return [hash_of(kept), hash_of(anew.rows)]


async def _done(bootstrap: str, group: str) -> dict[int, int]:
    """Up to which offset of each partition of the log of record the group has committed."""
    admin = AIOKafkaAdminClient(**reach(bootstrap), client_id="loy-state-hash")
    try:
        await admin.start()
        offsets = await offsets_of(admin, group)
    finally:
        await admin.close()
    return {part.partition: offset for part, offset in offsets.items() if part.topic == COMMANDS.name}


async def state_hash(bootstrap: str, group: str) -> StateHash:
    """Of the accounts that a group's workers keep, read from their changelog. Raises UnknownTopicError."""
    return hash_of(await _kept(bootstrap, group))


async def _kept(bootstrap: str, group: str) -> Rows:
    latest = await latest_by_key(bootstrap, changelog_topic(group, ACCOUNTS))
    return {key: record.value for key, record in latest.items() if record.value is not None}


async def rebuilt_hash(bootstrap: str) -> StateHash:
    """Of the accounts that follow from the whole log of record. Raises UnknownTopicError, KeyError for an unpublished program."""
    plans, rows = await _plans(bootstrap), Rows()
    async with open_log(bootstrap) as log:
        async for batch in log.read(await log.spans(COMMANDS.name)):
            fold(batch, plans, rows)
    return hash_of(rows)


async def _plans(bootstrap: str) -> dict[str, Plan]:
    return {key: Plan(program) for key, program in (await published(bootstrap)).items()}


class Beside:
    """The log of record decided anew, beside accounts that were read while workers went on.

    Law: what was committed before is in them. Of what came later, so much is taken as makes an account the one that was read.
    """

    def __init__(self, kept: Rows, done: Mapping[int, int], plans: Mapping[str, Plan]) -> None:
        """`done`: by partition, up to which offset was committed; where that is not known, all must be in the accounts."""
        self._kept = kept
        self._done = done
        self._plans = plans
        self._rows: Rows = {}
        self._stood: dict[bytes, bytes | None] = {}

    def take(self, commands: Iterable[Record]) -> None:
        """Decide the next ones."""
        for record in commands:
            key = record.key or b""
            if record.offset >= self._done.get(record.partition, inf) and self._rows.get(key) == self._kept.get(key):
                self._stood[key] = self._rows.get(key)
            fold([record], self._plans, self._rows)

    @property
    def rows(self) -> Rows:
        """Packed accounts by key."""
        return {key: row for key, row in (self._rows | self._stood).items() if row is not None}


def fold(commands: Iterable[Record], plans: Mapping[str, Plan], rows: Rows | None = None) -> Rows:
    """Decide the commands in their order, as the ledger does, onto `rows` (packed accounts by key), and return them."""
    rows = {} if rows is None else rows
    for record in commands:
        key = record.key or b""
        row = _after(record, rows.get(key), plans)
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row
    return rows


def _after(record: Record, row: bytes | None, plans: Mapping[str, Plan]) -> bytes | None:
    command = parse_command(record.value or b"")
    plan = plans[command.program]
    account = unpack(row, command.account)
    decision = decide(account, command, plan, record.timestamp_ms // 1000)
    printed = render.events(command, decision.outcome, plans[decision.outcome.program] if decision.repeated else plan)
    return stored(decision.account if fits(printed, decision.outcome) else account)
