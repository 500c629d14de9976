"""Accounts by the hundred thousand: real decisions on real baskets for a few hundred members, then stamped under other keys.

A *regular* has five weeks of shopping behind it, so everything it may still be asked about is on it. A *quiet* account is the
same one forty days later: settled, pruned, its lots and days still there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import msgspec
from pydantic import TypeAdapter

from schemas.checks import AnyCheck, Check
from schemas.members import AnyMemberCommand, Identity, MemberCommand
from schemas.program import Program
from schemas.records import AnyCommand, Tick
from streams.baskets import Arrival, checks, enrolments, weeks
from streams.domain.account import Account, pack
from streams.domain.decide import decide
from streams.domain.intake import Arrived, Intake, Rules, Taken
from streams.domain.plan import Plan

MEMBERS = 300
WEEKS = 5
REGULAR = 4  # one account in so many is a regular's
_LATER = 40 * 86_400
_BLANK = b"R-0000000"

_CHECK: TypeAdapter[AnyCheck] = TypeAdapter(Check)
_MEMBER: TypeAdapter[AnyMemberCommand] = TypeAdapter(MemberCommand)


def key_of(number: int) -> str:
    """The loyalty id of a stamped account. All are equally long."""
    return f"R-{number:07d}"


@dataclass(frozen=True, slots=True)
class Templates:
    """Packed accounts of the same members, then and forty days later, each under the key of number 0."""

    regular: list[bytes]
    quiet: list[bytes]

    def stamped(self, count: int) -> Iterator[tuple[str, bytes]]:
        """(key, packed account) of so many accounts: one in four a regular's, the others quiet."""
        for n in range(count):
            some = self.quiet if n % REGULAR else self.regular
            yield key_of(n), some[n // REGULAR % len(some)].replace(_BLANK, key_of(n).encode(), 1)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of one account."""

    regular: int
    """Packed, the median."""
    regular_most: int
    quiet: int
    """Packed, the median."""
    quiet_most: int
    quiet_disk: float
    """In RocksDB, the mean."""

    @classmethod
    def of(cls, some: Templates, quiet_disk: float) -> "Sizes":
        """From the templates, and what was seen on disk."""
        regular, quiet = (sorted(map(len, packed)) for packed in (some.regular, some.quiet))
        return cls(regular[len(regular) // 2], regular[-1], quiet[len(quiet) // 2], quiet[-1], quiet_disk)


class _World:
    """What intake asks for, with one program."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.identities: dict[str, Identity] = {}

    def identity(self, key: str) -> Identity | None:
        return self.identities.get(key)

    def version(self, program: str, at: int) -> Plan | None:  # noqa: ARG002  # there is only one
        return self.plan


def commands(plan: Plan, members: int) -> Iterator[tuple[AnyCommand, int]]:
    """What intake makes of the first members' opt-ins and of their baskets of five weeks, in order.

    With the Kafka time of each, in seconds since 1970 UTC.
    """
    world = _World(plan)
    intake = Intake(Rules(b"bench", "US", plan.program.program), world)
    opened: set[str] = set()
    for arrival in islice(enrolments(plan.program.program), members):
        taken = intake.member(_MEMBER.validate_json(arrival.value), _arrived(arrival))
        world.identities |= {key: identity for key, identity in taken.identities if identity is not None}
        opened.update(command.account for command in taken.commands)
        yield from _timed(taken, arrival)
    for arrival in checks(weeks(1, WEEKS), clean=True):
        taken = intake.check(_CHECK.validate_json(arrival.value), _arrived(arrival))
        if taken.commands[0].account in opened:
            yield from _timed(taken, arrival)


def templates(program: Program) -> Templates:
    """Decide five weeks of the first members' baskets. Takes a second or two."""
    plan = Plan(program)
    accounts: dict[str, Account] = {}
    for command, now in commands(plan, MEMBERS):
        account = accounts.get(command.account) or Account(key=command.account)
        accounts[command.account] = decide(account, command, plan, now).account
    shopped = [account for account in accounts.values() if account.last_purchase]
    quiet = [_later(account, plan) for account in shopped]
    return Templates([_blank(account) for account in shopped], [_blank(account) for account in quiet])


def _arrived(arrival: Arrival) -> Arrived:
    return Arrived("pos.checks/0/0", arrival.key.decode(), arrival.at_ms // 1000)


def _timed(taken: Taken, arrival: Arrival) -> Iterator[tuple[AnyCommand, int]]:
    return ((command, arrival.at_ms // 1000) for command in taken.commands)


def _blank(account: Account) -> bytes:
    return pack(msgspec.structs.replace(account, key=_BLANK.decode()))


def _later(account: Account, plan: Plan) -> Account:
    now = account.now + _LATER
    tick = Tick(type="tick", id=f"tick:{account.key}:{now}", account=account.key, program=plan.key)
    return decide(account, tick, plan, now).account
