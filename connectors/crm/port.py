"""What every CRM is to us: members kept by our key, and interactions bound to them, both safe to repeat.

Law: no CRM has an idempotency key, so a repeat is told by a unique key on its side: the loyalty id, and the interaction's key.
A CRM that refuses a row as older than its own (`STALE` in its words) has what is newer: that is a delivery.
"""

import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from connectors.sink import Again, Answer, Call, Delivered, Flow, Halt, Outcome, Rejected, Reply, Setup, Split, classify

STALE = "LOY_STALE"
"""Words with which a rule in the CRM refuses a version below the one it has."""
_KEYS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:loystream:interaction")


def interaction_key(identity: str) -> str:
    """A key of the characters that every CRM takes (hexadecimal and `-`, 36 long); the same for the same identity."""
    return str(uuid.uuid5(_KEYS, identity))


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member as the CRM shall have one."""

    loyalty_id: str
    columns: Mapping[str, Any]
    """By the vendor's names, the version among them; the key is not. None empties."""


@dataclass(frozen=True, slots=True)
class InteractionRow:
    """Something that happened with a member."""

    key: str
    loyalty_id: str
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MemberFirst:
    """Perhaps the CRM does not have the member yet: that goes first, then the row again. If it was not that, it is rejected."""

    code: str
    words: str


InteractionFlow = Generator[Call, Reply, Sequence[Outcome | MemberFirst]]
Reading = Generator[Call, Reply, Mapping[str, Mapping[str, Any] | None]]


class Adapter(Protocol):
    """One CRM. It says how rows are written; what goes into them is the mapping's, in which order is the sink's."""

    rates: Mapping[str, float]
    """Requests a second by operation, of the account."""
    most: int
    """Rows of one flow."""

    @property
    def base_url(self) -> str:
        """Where the CRM answers."""
        ...

    def headers(self) -> Mapping[str, str]:
        """For every call below the base URL, the credentials among them."""
        ...

    def prepare(self) -> Setup:
        """Check that the CRM has the tables, columns and keys of the mapping."""
        ...

    def members(self, rows: Sequence[MemberRow]) -> Flow:
        """Create or update, each member once; one outcome a row."""
        ...

    def interactions(self, rows: Sequence[InteractionRow]) -> InteractionFlow:
        """Create or update, each key once; one outcome a row."""
        ...

    def read(self, loyalty_ids: Sequence[str], columns: Sequence[str]) -> Reading:
        """These columns of these members; None for one that the CRM does not have. Raises nothing."""
        ...


# ---------------------------------------------------------------- reading answers

Problem = Again | Halt


def verdict(reply: Reply | Problem) -> Outcome | None:
    """`classify`, or the problem that kept the call from being made."""
    return reply if isinstance(reply, Again | Halt) else classify(reply)


def body(reply: Reply | Problem) -> dict[str, Any] | Problem:
    """The JSON object of a 200, or what stands in the way of setting up."""
    match verdict(reply):
        case Again() | Halt() as problem:
            return problem
        case Split() as split:
            return Halt(f"{split.code}: {split.words[:300]}")
    told = reply.json() if isinstance(reply, Answer) else None
    return told if isinstance(told, dict) else Again("the answer is no JSON object")


def refused(code: str, words: str) -> Outcome:
    """A row that the CRM will not take; one that is older than its own is delivered."""
    return Delivered() if STALE in words else Rejected(code, words[:2000])
