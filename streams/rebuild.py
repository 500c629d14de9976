"""`loy state-hash`: one figure for all accounts, and the same figure rebuilt from the log of record alone.

Law: the accounts are a function of `loy.commands` and of the program versions it names. Folding the log from zero gives the
very bytes that the workers keep, whatever crashed in between.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import NamedTuple

from schemas.codec import parse_command
from schemas.topics import COMMANDS
from streams.agents import fits, stored
from streams.domain import render
from streams.domain.account import unpack
from streams.domain.decide import decide
from streams.domain.plan import Plan
from streams.log import Record, latest_by_key, open_log
from streams.publishing import published
from streams.runtime import changelog_topic
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


async def state_hash(bootstrap: str, group: str) -> StateHash:
    """Of the accounts that a group's workers keep, read from their changelog. Raises UnknownTopicError."""
    latest = await latest_by_key(bootstrap, changelog_topic(group, ACCOUNTS))
    return hash_of({key: record.value for key, record in latest.items() if record.value is not None})


async def rebuilt_hash(bootstrap: str) -> StateHash:
    """Of the accounts that follow from the whole log of record. Raises UnknownTopicError, KeyError for an unpublished program."""
    plans = {key: Plan(program) for key, program in (await published(bootstrap)).items()}
    rows: Rows = {}
    async with open_log(bootstrap) as log:
        async for batch in log.read(await log.spans(COMMANDS.name)):
            fold(batch, plans, rows)
    return hash_of(rows)


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
