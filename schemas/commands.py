"""`loy.commands`: everything that may change an account, normalised. The log of record.

A command's `now` is the Kafka timestamp of its record. Its `id` derives from its cause, so a repeat is recognised for ever.
No personal data: intake replaced the identifier with the loyalty id.
"""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Day, Id, Instant, LoyaltyId, Model, MonthDay, Name, Points, PositivePoints, SignedPoints, Text
from schemas.checks import Return, Sale, Void
from schemas.codes import Code
from schemas.members import Approve, Claim, Review, SetTier
from schemas.redemptions import Cancel, Confirm, Reserve

ProgramKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*@[0-9]+$", description="program@version")]
AccountKey = Annotated[
    str, Field(min_length=1, max_length=120, description="loyalty id, receipt:<check id>, or budget:<program>/<rule>/<period>")
]


class _Command(Model):
    id: Annotated[str, Field(min_length=1, max_length=160)]
    """The cause: check id, request id, command id, or what the clock found due."""
    account: AccountKey
    program: ProgramKey
    """The version in force at purchase time, chosen by intake: the ledger never chooses."""
    fingerprint: Annotated[str, Field(max_length=32)] = ""
    """Of the content: the same id with another fingerprint is ID_REUSED. Empty for what the system itself causes."""
    origin: Annotated[str, Field(max_length=300)] = ""
    """topic/partition/offset of the record that caused it."""


class ApplySale(_Command):
    """A sale, for the account that its identifier opens."""

    type: Literal["sale"]
    check: Sale
    note: Code = Code.OK
    """Why a check with an identifier is anonymous all the same: IDENTIFIER_UNKNOWN, _BLOCKED, _INVALID."""


class ApplyReturn(_Command):
    """A return, for the account that its identifier or its sale opens."""

    type: Literal["return"]
    check: Return
    note: Code = Code.OK


class ApplyVoid(_Command):
    """A void, for the account of its sale."""

    type: Literal["void"]
    check: Void
    note: Code = Code.OK


class Redeem(_Command):
    """A step of a redemption."""

    type: Literal["redeem"]
    request: Annotated[Reserve | Confirm | Cancel, Field(discriminator="type")]
    """As the till sent it."""


class Join(_Command):
    """The member opts in. The birthday comes without its year: rules need the day, nothing needs the age."""

    type: Literal["join"]
    at: Instant
    birthday: MonthDay | None = None
    staff: Id | None = None
    cashier: Id | None = None
    """Who signed the member up at a till."""


class Update(_Command):
    """What rules need of the contact data has changed."""

    type: Literal["update"]
    at: Instant
    birthday: MonthDay | None = None


class Leave(_Command):
    """The member opts out, or is erased: the account stays, closed."""

    type: Literal["leave"]
    at: Instant
    erased: bool = False
    """The right to be forgotten: contact data went with it."""


class AdjustPoints(_Command):
    """A manual correction, not yet judged against the limit."""

    type: Literal["adjust"]
    at: Instant
    points: SignedPoints
    reason: Text
    actor: Id


class Convert(_Command):
    """Points of one wallet become points of another, at the program's rate (B05)."""

    type: Literal["convert_points"]
    at: Instant
    wallet: Name
    """Which are given up."""
    into: Name
    """The wallet that gets them."""
    points: PositivePoints


class Decide(_Command):
    """A service desk decision on the account: approve, review, set_tier."""

    type: Literal["decide"]
    decision: Annotated[Approve | Review | SetTier, Field(discriminator="type")]
    """As the service desk sent it."""


class AskReceipt(_Command):
    """First half of a claim, on the receipt's account: is it there, and still free? (A10)"""

    type: Literal["ask_receipt"]
    claim: Claim
    claimant: LoyaltyId


class TakeReceipt(_Command):
    """Second half, on the member's account: the receipt is the member's now, judged by its own purchase time."""

    type: Literal["take_receipt"]
    check: Sale
    claim_id: Id


class AnswerOffer(_Command):
    """The member accepts or rejects an offer."""

    type: Literal["answer_offer"]
    at: Instant
    offer: Id
    """The offer, as the system that made it calls it."""
    result: Literal["accepted", "rejected"]
    """What the member decided."""


class AskBudget(_Command):
    """First half of a grant, on the account of a budget: how much of what a rule would give is left, over all members? (B10)"""

    type: Literal["ask_budget"]
    member: LoyaltyId
    check_id: Id
    """The sale."""
    rule: Name
    """The rule with the cap over the program."""
    on: Day
    """The day of the purchase, as the till counts."""
    points: PositivePoints
    """What the rule would give."""


class Grant(_Command):
    """Second half, on the member's account: what the budget grants of it. None at all is told too, and why."""

    type: Literal["grant"]
    check_id: Id
    """The sale."""
    rule: Name
    budget: AccountKey
    """Who grants."""
    wanted: PositivePoints
    """What was asked for."""
    points: Points
    """What is granted of it."""
    cap: Points
    """What the budget holds altogether, by the program version of the sale."""
    late: bool = False
    """Nothing is granted because the budget is closed, or has forgotten so much that this may be a repeat."""


class ReturnBudget(_Command):
    """Points that were granted come back to the budget: with a return or void, or because nobody was there to take them."""

    type: Literal["return_budget"]
    member: LoyaltyId
    check_id: Id
    """The sale."""
    rule: Name
    points: PositivePoints


class Tick(_Command):
    """The clock found something due. Nothing but the settling that every command begins with."""

    type: Literal["tick"]


AnyCommand = (
    ApplySale
    | ApplyReturn
    | ApplyVoid
    | Redeem
    | Join
    | Update
    | Leave
    | AdjustPoints
    | Convert
    | Decide
    | AskReceipt
    | TakeReceipt
    | AnswerOffer
    | AskBudget
    | Grant
    | ReturnBudget
    | Tick
)
Command = Annotated[AnyCommand, Field(discriminator="type")]
