"""`pos.checks`: what a till says of one receipt. One model per kind, told apart by `type`.

A check's id is its own, or derives from outlet, till, business date and receipt number, so that a resend is known for ever (A07).
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.base import ID_MAX, Category, Channel, Currency, Day, Id, Identifier, Instant, Minor, Model, Text

TenderType = Literal["cash", "card", "mobile", "voucher", "gift_card", "points", "credit", "other"]
ReturnKind = Literal["receipt", "no_receipt", "gift_receipt", "exchange"]
Quantity = Annotated[int, Field(ge=0, le=10**9, description="thousandths of a unit: 1000 is one piece, 500 half a kilogram")]
_NAMES_MAX = ID_MAX - len("//20261231/")
LineNo = Annotated[int, Field(ge=1, le=10_000, description="the line's number on its receipt")]


class Line(Model):
    """One line of a sale, as printed."""

    line: LineNo
    sku: Id
    quantity: Quantity
    amount_minor: Minor
    """What the line costs before discounts, for the whole quantity."""
    discount_minor: Minor = 0
    """Every discount on the line: price offers, coupons, its share of discounts on the whole receipt."""
    category: Category | None = None
    brand: Text | None = None


class Tender(Model):
    """One way the receipt was paid. Change is deducted: tenders add up to the lines less their discounts."""

    type: TenderType
    """What was paid with. Points are a tender: what they pay earns nothing."""
    amount_minor: Minor
    reservation: Id | None = None
    """For `points`: the reservation that was confirmed with this receipt."""


class ReturnedLine(Model):
    """What of a line came back."""

    line: LineNo
    """The line's number on the sale."""
    quantity: Quantity
    amount_minor: Minor
    """What the customer got back for it."""


class _Receipt(Model):
    check_id: Id | None = None
    """The till's own id for the receipt, unique for ever. Without it, the four fields below make it: 100 characters in all."""
    outlet: Id
    till: Id
    business_date: Day
    receipt: Id
    at: Instant
    """When it happened, on the till's clock with the till's offset: day-parts and expiry use this local time."""
    member: Identifier | None = None
    """The identifier that was read, or none. The record's key is this text, empty when none."""
    cashier: Id | None = None

    @model_validator(mode="after")
    def _id_fits(self) -> Self:
        if self.check_id is None and len(self.outlet) + len(self.till) + len(self.receipt) > _NAMES_MAX:
            raise ValueError(f"without check_id, outlet, till and receipt may have {_NAMES_MAX} characters together")
        return self


class Sale(_Receipt):
    """A receipt over goods sold."""

    type: Literal["sale"]
    channel: Channel = "store"
    """Where it was bought."""
    currency: Currency
    lines: Annotated[tuple[Line, ...], Field(min_length=1, max_length=2000)]
    tenders: Annotated[tuple[Tender, ...], Field(max_length=50)]
    offline: bool = False
    """The till was offline and sends this late."""


class Return(_Receipt):
    """Goods brought back. With `of` it takes back what that sale earned; without, it only counts for the fraud checks."""

    type: Literal["return"]
    kind: ReturnKind = "receipt"
    """What was shown at the desk: the receipt, nothing, a gift receipt, or goods to exchange."""
    of: Id | None = None
    """The id of the sale. May arrive before the sale does."""
    channel: Channel = "store"
    """Where it was brought back."""
    currency: Currency
    lines: Annotated[tuple[ReturnedLine, ...], Field(min_length=1, max_length=2000)]


class Void(_Receipt):
    """The whole sale never happened."""

    type: Literal["void"]
    of: Id


Check = Annotated[Sale | Return | Void, Field(discriminator="type")]
AnyCheck = Sale | Return | Void


def check_id(check: AnyCheck) -> str:
    """The id under which this receipt is known for ever (A07)."""
    if check.check_id is not None:
        return check.check_id
    return f"{check.outlet}/{check.till}/{check.business_date.isoformat().replace('-', '')}/{check.receipt}"
