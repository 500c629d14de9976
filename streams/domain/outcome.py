"""What a decision leaves behind: the answer, the facts, the account's standing. Stored, so that a repeat is answered from it.

Law: events and reply are printed from the command and this record alone (`render`), never from today's account.
"""

from typing import Any, Literal

import msgspec

from schemas.codes import Code
from streams.domain.account import Applied, SaleRecord

Book = Literal["issued", "available", "pending", "held", "reserved", "used", "expired", "reversed", "adjusted", "debt"]


class Move(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One posting: points from one book to another, of one lot (0: of none)."""

    source: Book
    target: Book
    points: int
    lot: int


class Fact(msgspec.Struct, frozen=True, array_like=True):
    """One event to be: its type, when it happened in the world, the postings it accounts for, and its own fields."""

    type: str
    at: int
    moves: tuple[Move, ...]
    detail: dict[str, Any]


class Balance(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Points by book, as the contract names them."""

    earned: int
    reversed: int
    adjusted: int
    used: int
    expired: int
    available: int
    pending: int
    held: int
    debt: int


class Profile(msgspec.Struct, frozen=True, array_like=True):
    """The loyalty fields after the command (B09). Days are ordinals, 0 for none; rewards follow from points and program."""

    active: bool
    opted_in: bool
    joined: int
    next_expiring: int
    expires_at: int
    tier: str
    next_tier: str
    to_next_tier: int
    tier_since: int
    first_activity: int
    last_activity: int
    first_purchase: int
    last_purchase: int


class Word(msgspec.Struct, frozen=True, array_like=True):
    """Points asked of a budget, or brought back to it: a command to its account is made of this (`budgets.commands`)."""

    kind: Literal["ask", "back"]
    budget: str
    cause: str
    """What the command's id is made of, beside the member."""
    sale: str
    rule: str
    day: int
    points: int


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """The whole effect of one command."""

    now: int
    program: str
    sequence: int
    """Of the first event."""
    status: Literal["accepted", "refused", "parked"]
    code: Code
    facts: tuple[Fact, ...] = ()
    balance: Balance | None = None
    profile: Profile | None = None
    earned: int = 0
    burned: int = 0
    value_minor: int = 0
    hold_refund_minor: int = 0
    hits: tuple[dict[str, Any], ...] = ()
    sale: SaleRecord | None = None
    follow: bytes = b""
    """What a command to another account is made of (`receipts.second_half`): the claimed sale, or the return of it."""
    wallets: tuple[tuple[str, Balance], ...] = ()
    """Where the points of other wallets stand."""
    words: tuple[Word, ...] = ()
    """To budgets."""
    granted: int | None = None
    """Of a budget, what it answers; below zero: nothing, because it came too late."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Outcome)


def pack_outcome(outcome: Outcome) -> msgspec.Raw:
    """As kept in the account."""
    return msgspec.Raw(_encoder.encode(outcome))


def outcome_of(applied: Applied) -> Outcome:
    """The stored outcome of a command."""
    return _decoder.decode(applied.outcome)


def sale_of(applied: Applied) -> SaleRecord | None:
    """What a return needs of the sale; None when it earned nothing because nobody was judged."""
    return outcome_of(applied).sale
