"""`pos.replies`: the answer to one check, redemption request or member command.

Law: the value is a function of the command and its stored outcome alone, so a repeat gets the same bytes (A07, A11). What differs
between repeats travels in headers: `origin` (topic/partition/offset answered) and `outcome` (applied, repeated, refused, parked).
"""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Instant, LoyaltyId, Minor, Model, Name, Points, PositivePoints, SignedPoints
from schemas.codes import Code
from schemas.commands import ProgramKey
from schemas.events import Hit

ReceiptLine = Annotated[str, Field(max_length=40, pattern=r"^[ -~]*$", description="printable ASCII")]


class ReplyBalance(Model):
    """Where the points stand after the command."""

    available: Points
    pending: Points
    held: Points
    debt: Points


class NextExpiry(Model):
    """What ends next."""

    points: Points
    at: Instant


class Reply(Model):
    """What the till may show and print: what did this receipt do, and where does the member stand?"""

    id: str
    """The check id, request id or command id that this answers."""
    status: Literal["accepted", "refused", "parked"]
    """Accepted changes the account (or did before); refused changes nothing; parked is kept for review."""
    code: Code
    reasons: tuple[str, ...]
    """More about the code, e.g. the names of fraud signals that hit, rules that lost, caps that cut."""
    outlet: str
    """Where it was asked."""
    till: str | None
    """The till that asked; none for a member command."""
    member: LoyaltyId | None
    """None for an anonymous check."""
    earned: SignedPoints
    """Points this check earned, below zero for a return."""
    asked: PositivePoints | None = None
    """Points beside these that were asked of budgets over all members; an event tells what is granted. Left out when none."""
    burned: Points
    value_minor: Minor
    """What redeemed or reserved points are worth at the till."""
    hold_refund_minor: Minor
    """How much of a refund to keep back, because its points were spent already (A06)."""
    balance: ReplyBalance | None
    wallets: dict[Name, ReplyBalance] = Field(default_factory=dict)
    """Where the points of other wallets stand. Left out for who has none."""
    tier: str | None
    """The tier held now."""
    next_tier: str | None
    """The next higher tier; none at the top."""
    to_next_tier: Points | None
    next_expiry: NextExpiry | None
    rewards: tuple[Name, ...]
    hits: tuple[Hit, ...]
    offers: tuple[str, ...]
    """Names of offers for this member."""
    receipt: Annotated[tuple[ReceiptLine, ...], Field(max_length=12)]
    program: ProgramKey | None
    at: Instant
    """Server time: the Kafka timestamp of the command."""
