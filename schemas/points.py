"""What becomes of points after they were earned, as a program file writes it: when they end, and the wallets they may lie in."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Model, Name, PositivePoints

Days = Annotated[int, Field(ge=1, le=36_500)]


class NeverExpire(Model):
    """Points do not end."""

    kind: Literal["never"]


class ExpireAfterDays(Model):
    """At the local end of the day so many days after the purchase."""

    kind: Literal["after_days"]
    days: Days
    """Days after the purchase."""


class ExpireEndOfMonth(Model):
    """At the end of the month, so many months after the month of the purchase."""

    kind: Literal["end_of_month"]
    months: Annotated[int, Field(ge=0, le=1200)]
    """Months after the month of the purchase."""


class ExpireEndOfYear(Model):
    """At the end of the year, so many years after the year of the purchase."""

    kind: Literal["end_of_year"]
    years: Annotated[int, Field(ge=0, le=100)]
    """Years after the year of the purchase."""


class ExpireInactive(Model):
    """All points end so many days after the last purchase: each purchase resets the clock."""

    kind: Literal["inactivity"]
    days: Days
    """Days without a purchase."""


Expiry = Annotated[
    NeverExpire | ExpireAfterDays | ExpireEndOfMonth | ExpireEndOfYear | ExpireInactive, Field(discriminator="kind")
]
AnyExpiry = NeverExpire | ExpireAfterDays | ExpireEndOfMonth | ExpireEndOfYear | ExpireInactive


class PointsPolicy(Model):
    """What becomes of points after they were earned."""

    expiry: Expiry = NeverExpire(kind="never")
    """When points end."""
    notice_days: Annotated[int, Field(ge=0, le=365)] = 0
    """LOY_POINT_EXPIRING_SOON so many days ahead; 0: none."""
    pending_days: Annotated[int, Field(ge=0, le=365)] = 0
    """Points can be used so many days after the purchase; a return takes pending points first (B04)."""
    pending_counts_for_tier: bool = True
    """Whether pending points qualify at once."""
    debt: Literal["allow", "floor", "hold_refund"] = "allow"
    """What when a return takes back more than is left (A06): owe it, forgive it, or owe it and tell the till to hold
    the refund's points-worth back."""


# ---------------------------------------------------------------- wallets


class Wallet(Model):
    """Points of their own beside the main ones, such as stars (B05): with lots, balance, expiry and debts of their own."""

    id: Name
    title: Annotated[str, Field(min_length=1, max_length=20)]
    """What its points are called, as the till prints it."""
    expiry: Expiry = NeverExpire(kind="never")
    """When they end."""
    notice_days: Annotated[int, Field(ge=0, le=365)] = 0
    """It is told so many days ahead that they end; 0: it is not."""
    debt: Literal["allow", "floor"] = "allow"
    """When a return takes back more than is left: owe it, or forgive it."""


class Conversion(Model):
    """Points of one wallet become points of another, at a rate."""

    wallet: Name
    """Which are given up."""
    into: Name
    """The wallet that gets them; `main` is the one that can be redeemed."""
    points: PositivePoints
    """Given up at a time: only whole multiples are converted."""
    gives: PositivePoints
    """What comes of so many."""
