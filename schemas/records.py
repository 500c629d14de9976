"""The commands as the core takes them: plain records, read and printed faster than models, and no looser in type.

Printed from `schemas/commands.py` by `make schemas` (`schemas/derive.py`). Do not edit.
"""

from datetime import date, datetime
from typing import Annotated, Generic, Literal, TypeVar

from msgspec import Meta, Struct

from schemas.codes import Code

Instant = Annotated[datetime, Meta(tz=True)]
Part_co = TypeVar("Part_co", covariant=True)


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Immutable; printed as its model is: in the order of the fields, without what has its default."""


class Command(Record, frozen=True, kw_only=True):
    """What every command says: its cause, account, program version and origin."""

    id: str
    account: str
    program: str
    fingerprint: str = ""
    origin: str = ""


class Line(Record, frozen=True, kw_only=True):
    """One line of a sale, as printed."""

    line: Annotated[int, Meta(ge=1, le=10_000)]
    sku: str
    quantity: Annotated[int, Meta(ge=0, le=1_000_000_000)]
    amount_minor: Annotated[int, Meta(ge=0, le=100_000_000_000)]
    discount_minor: Annotated[int, Meta(ge=0, le=100_000_000_000)] = 0
    category: str | None = None
    brand: str | None = None


class Tender(Record, frozen=True, kw_only=True):
    """One way the receipt was paid. Change is deducted: tenders add up to the lines less their discounts."""

    type: Literal["cash", "card", "mobile", "voucher", "gift_card", "points", "credit", "other"]
    amount_minor: Annotated[int, Meta(ge=0, le=100_000_000_000)]
    reservation: str | None = None


class Sale(Record, frozen=True, kw_only=True):
    """A receipt over goods sold."""

    check_id: str | None = None
    outlet: str
    till: str
    business_date: date
    receipt: str
    at: Instant
    cashier: str | None = None
    type: Literal["sale"]
    channel: Literal["store", "web", "app", "phone"] = "store"
    currency: str
    lines: tuple[Line, ...]
    tenders: tuple[Tender, ...]
    offline: bool = False


class ApplySale(Command, frozen=True, kw_only=True):
    """A sale, for the account that its identifier opens."""

    type: Literal["sale"]
    check: Sale
    note: Code = Code.OK


class ReturnedLine(Record, frozen=True, kw_only=True):
    """What of a line came back."""

    line: Annotated[int, Meta(ge=1, le=10_000)]
    quantity: Annotated[int, Meta(ge=0, le=1_000_000_000)]
    amount_minor: Annotated[int, Meta(ge=0, le=100_000_000_000)]


class Return(Record, frozen=True, kw_only=True):
    """Goods brought back. With `of` it takes back what that sale earned; without, it only counts for the fraud checks."""

    check_id: str | None = None
    outlet: str
    till: str
    business_date: date
    receipt: str
    at: Instant
    cashier: str | None = None
    type: Literal["return"]
    kind: Literal["receipt", "no_receipt", "gift_receipt", "exchange"] = "receipt"
    of: str | None = None
    channel: Literal["store", "web", "app", "phone"] = "store"
    currency: str
    lines: tuple[ReturnedLine, ...]


class ApplyReturn(Command, frozen=True, kw_only=True):
    """A return, for the account that its identifier or its sale opens."""

    type: Literal["return"]
    check: Return
    note: Code = Code.OK


class Void(Record, frozen=True, kw_only=True):
    """The whole sale never happened."""

    check_id: str | None = None
    outlet: str
    till: str
    business_date: date
    receipt: str
    at: Instant
    cashier: str | None = None
    type: Literal["void"]
    of: str


class ApplyVoid(Command, frozen=True, kw_only=True):
    """A void, for the account of its sale."""

    type: Literal["void"]
    check: Void
    note: Code = Code.OK


class Reserve(Record, frozen=True, kw_only=True):
    """Set points aside. Exactly one of `points` and `reward`."""

    request_id: str
    outlet: str
    till: str
    at: Instant
    member: str
    offline: bool = False
    type: Literal["reserve"]
    reservation: str
    points: Annotated[int, Meta(ge=1, le=1_000_000_000_000)] | None = None
    reward: str | None = None


class Confirm(Record, frozen=True, kw_only=True):
    """Use what was reserved, or less: the rest is freed."""

    request_id: str
    outlet: str
    till: str
    at: Instant
    member: str
    offline: bool = False
    type: Literal["confirm"]
    reservation: str
    points: Annotated[int, Meta(ge=1, le=1_000_000_000_000)] | None = None
    check_id: str | None = None


class Cancel(Record, frozen=True, kw_only=True):
    """Free what was reserved."""

    request_id: str
    outlet: str
    till: str
    at: Instant
    member: str
    offline: bool = False
    type: Literal["cancel"]
    reservation: str


class Redeem(Command, Generic[Part_co], frozen=True, kw_only=True):
    """A step of a redemption."""

    type: Literal["redeem"]
    request: Part_co


class Join(Command, frozen=True, kw_only=True):
    """The member opts in. The birthday comes without its year: rules need the day, nothing needs the age."""

    type: Literal["join"]
    at: Instant
    birthday: str | None = None
    staff: str | None = None
    cashier: str | None = None


class Update(Command, frozen=True, kw_only=True):
    """What rules need of the contact data has changed."""

    type: Literal["update"]
    at: Instant
    birthday: str | None = None


class Leave(Command, frozen=True, kw_only=True):
    """The member opts out, or is erased: the account stays, closed."""

    type: Literal["leave"]
    at: Instant
    erased: bool = False


class AdjustPoints(Command, frozen=True, kw_only=True):
    """A manual correction, not yet judged against the limit."""

    type: Literal["adjust"]
    at: Instant
    points: Annotated[int, Meta(ge=-1_000_000_000_000, le=1_000_000_000_000)]
    reason: str
    actor: str


class Convert(Command, frozen=True, kw_only=True):
    """Points of one wallet become points of another, at the program's rate (B05)."""

    type: Literal["convert_points"]
    at: Instant
    wallet: str
    into: str
    points: Annotated[int, Meta(ge=1, le=1_000_000_000_000)]


class Approve(Record, frozen=True, kw_only=True):
    """The second pair of eyes on an adjustment."""

    command_id: str
    loyalty_id: str
    at: Instant
    type: Literal["approve"]
    adjustment: str
    actor: str
    accept: bool = True


class Review(Record, frozen=True, kw_only=True):
    """The decision on points held for fraud (F09): pay them out or take them."""

    command_id: str
    loyalty_id: str
    at: Instant
    type: Literal["review"]
    hold: str
    verdict: Literal["release", "confiscate"]
    actor: str
    reason: str


class SetTier(Record, frozen=True, kw_only=True):
    """A tier by hand, or a status match (C07). Not lowered before `until`."""

    command_id: str
    loyalty_id: str
    at: Instant
    type: Literal["set_tier"]
    tier: str
    until: Instant | None = None
    actor: str
    reason: str


class Decide(Command, Generic[Part_co], frozen=True, kw_only=True):
    """A service desk decision on the account: approve, review, set_tier."""

    type: Literal["decide"]
    decision: Part_co


class Claim(Record, frozen=True, kw_only=True):
    """A receipt that was paid without a card, claimed with what is printed on it (A10)."""

    command_id: str
    loyalty_id: str
    at: Instant
    type: Literal["claim"]
    check_id: str
    total_minor: Annotated[int, Meta(ge=0, le=100_000_000_000)]
    business_date: date


class AskReceipt(Command, frozen=True, kw_only=True):
    """First half of a claim, on the receipt's account: is it there, and still free? (A10)"""

    type: Literal["ask_receipt"]
    claim: Claim
    claimant: str


class TakeReceipt(Command, frozen=True, kw_only=True):
    """Second half, on the member's account: the receipt is the member's now, judged by its own purchase time."""

    type: Literal["take_receipt"]
    check: Sale
    claim_id: str


class AnswerOffer(Command, frozen=True, kw_only=True):
    """The member accepts or rejects an offer."""

    type: Literal["answer_offer"]
    at: Instant
    offer: str
    result: Literal["accepted", "rejected"]


class AskBudget(Command, frozen=True, kw_only=True):
    """First half of a grant, on the account of a budget: how much of what a rule would give is left, over all members? (B10)"""

    type: Literal["ask_budget"]
    member: str
    check_id: str
    rule: str
    on: date
    points: Annotated[int, Meta(ge=1, le=1_000_000_000_000)]


class Grant(Command, frozen=True, kw_only=True):
    """Second half, on the member's account: what the budget grants of it. None at all is told too, and why."""

    type: Literal["grant"]
    check_id: str
    rule: str
    budget: str
    wanted: Annotated[int, Meta(ge=1, le=1_000_000_000_000)]
    points: Annotated[int, Meta(ge=0, le=1_000_000_000_000)]
    cap: Annotated[int, Meta(ge=0, le=1_000_000_000_000)]
    late: bool = False


class ReturnBudget(Command, frozen=True, kw_only=True):
    """Points that were granted come back to the budget: with a return or void, or because nobody was there to take them."""

    type: Literal["return_budget"]
    member: str
    check_id: str
    rule: str
    points: Annotated[int, Meta(ge=1, le=1_000_000_000_000)]


class Tick(Command, frozen=True, kw_only=True):
    """The clock found something due. Nothing but the settling that every command begins with."""

    type: Literal["tick"]


AnyRequest = Reserve | Confirm | Cancel
AnyDecision = Approve | Review | SetTier
AnyCheck = Sale | Return | Void
AnyCommand = (
    ApplySale
    | ApplyReturn
    | ApplyVoid
    | Redeem[AnyRequest]
    | Join
    | Update
    | Leave
    | AdjustPoints
    | Convert
    | Decide[AnyDecision]
    | AskReceipt
    | TakeReceipt
    | AnswerOffer
    | AskBudget
    | Grant
    | ReturnBudget
    | Tick
)
