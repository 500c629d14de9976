"""The loyalty program as data: one readable file, published as `loy.programs`, effective-dated, never edited in place.

Kinds are closed unions: what is not here cannot be asked for. Percentages are integers (200 means double); money is minor
units; days are whole local days in the program's time zone.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from schemas.base import (
    Category,
    Channel,
    Currency,
    Id,
    Instant,
    LocalTime,
    Minor,
    Model,
    Name,
    Points,
    PositivePoints,
    Text,
)
from schemas.checks import TenderType

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Percent = Annotated[int, Field(ge=0, le=10_000)]
Days = Annotated[int, Field(ge=1, le=36_500)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Expression = Annotated[str, Field(min_length=1, max_length=500)]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"unknown time zone {name!r}") from None
    return name


TimeZone = Annotated[str, Field(max_length=60), AfterValidator(_known_zone)]


# ---------------------------------------------------------------- earning


class Rate(Model):
    """Points for money: `points` for every `per_minor` minor units really paid."""

    points: PositivePoints = 1
    per_minor: Annotated[int, Field(ge=1, le=10**9)] = 100


class Exclusions(Model):
    """What never earns (A09): goods, and ways to pay. The points-paid share never earns, listed or not."""

    categories: tuple[Category, ...] = ()
    skus: tuple[Id, ...] = ()
    tenders: tuple[TenderType, ...] = ()


class DayPart(Model):
    """From (included) to (excluded) on the till's clock; `to` before `from` runs over midnight."""

    start: LocalTime
    end: LocalTime


class Where(Model):
    """When a rule applies: every list that is given must match; within a list any entry will do (D02)."""

    skus: tuple[Id, ...] = ()
    categories: tuple[Category, ...] = ()
    brands: tuple[Text, ...] = ()
    outlets: tuple[Id, ...] = ()
    channels: tuple[Channel, ...] = ()
    weekdays: tuple[Weekday, ...] = ()
    day_parts: tuple[DayPart, ...] = ()
    tiers: tuple[Name, ...] = ()
    birthday_within_days: Annotated[int, Field(ge=0, le=180)] | None = None
    """The purchase lies at most so many days from the member's birthday."""
    when: Expression | None = None
    """A condition in the rule language: `total_minor >= 5000 and channel == "web"` (docs/programs.md)."""


class RuleCap(Model):
    """The most a rule may give one member (B10)."""

    points: Points
    per: Literal["check", "day", "month"]


class _Rule(Model):
    id: Name
    where: Where = Where()
    starts: Instant | None = None
    ends: Instant | None = None
    """The first instant it is no longer in force, by purchase time (D05)."""
    enabled: bool = True
    group: Name | None = None
    """Rules of one group compete as the group says; without a group a rule always adds."""
    priority: int = 0
    """Higher goes first."""
    cap: RuleCap | None = None


class Multiplier(_Rule):
    """Each matching line earns `percent` of the base rate: 200 doubles. Multipliers add their extra to the base."""

    kind: Literal["multiplier"]
    percent: Percent


class LineBonus(_Rule):
    """Fixed points for every whole piece of a matching line."""

    kind: Literal["line_bonus"]
    points: PositivePoints


class CheckBonus(_Rule):
    """Fixed points once for a check that has a matching line."""

    kind: Literal["check_bonus"]
    points: PositivePoints


class Threshold(_Rule):
    """Fixed points when what was paid for matching lines reaches `spend_minor`.

    Receipts of one till within `join_minutes` count as one, so that splitting gains nothing (F08).
    """

    kind: Literal["threshold"]
    spend_minor: Minor
    points: PositivePoints
    join_minutes: Annotated[int, Field(ge=0, le=1440)] = 0


class NthVisit(_Rule):
    """Fixed points on every `n`-th visit within the qualification memory. A day is one visit."""

    kind: Literal["nth_visit"]
    n: Annotated[int, Field(ge=2, le=1000)]
    points: PositivePoints


Rule = Annotated[Multiplier | LineBonus | CheckBonus | Threshold | NthVisit, Field(discriminator="kind")]
AnyRule = Multiplier | LineBonus | CheckBonus | Threshold | NthVisit


class Group(Model):
    """How rules compete (D03): `all` add up, `best` gives the most points, `first` the highest priority that matches.

    Ties go to the higher priority, then to the smaller id: the result never depends on the order in the file.
    """

    id: Name
    mode: Literal["all", "best", "first"]


class Cap(Model):
    """The most a member may earn from everything together (B10)."""

    points: Points
    per: Literal["check", "day", "month", "balance"]


class Earning(Model):
    rate: Rate = Rate()
    rounding: Literal["floor", "half_up", "half_down"] = "floor"
    exclude: Exclusions = Exclusions()
    rules: Annotated[tuple[Rule, ...], Field(max_length=500)] = ()
    groups: tuple[Group, ...] = ()
    caps: tuple[Cap, ...] = ()


# ---------------------------------------------------------------- points


class NeverExpire(Model):
    kind: Literal["never"]


class ExpireAfterDays(Model):
    """At the local end of the day so many days after the purchase."""

    kind: Literal["after_days"]
    days: Days


class ExpireEndOfMonth(Model):
    """At the end of the month, so many months after the month of the purchase."""

    kind: Literal["end_of_month"]
    months: Annotated[int, Field(ge=0, le=1200)]


class ExpireEndOfYear(Model):
    """At the end of the year, so many years after the year of the purchase."""

    kind: Literal["end_of_year"]
    years: Annotated[int, Field(ge=0, le=100)]


class ExpireInactive(Model):
    """All points end so many days after the last purchase: each purchase resets the clock."""

    kind: Literal["inactivity"]
    days: Days


Expiry = Annotated[
    NeverExpire | ExpireAfterDays | ExpireEndOfMonth | ExpireEndOfYear | ExpireInactive, Field(discriminator="kind")
]
AnyExpiry = NeverExpire | ExpireAfterDays | ExpireEndOfMonth | ExpireEndOfYear | ExpireInactive


class PointsPolicy(Model):
    expiry: Expiry = NeverExpire(kind="never")
    notice_days: Annotated[int, Field(ge=0, le=365)] = 0
    """LOY_POINT_EXPIRING_SOON so many days ahead; 0: none."""
    pending_days: Annotated[int, Field(ge=0, le=365)] = 0
    """Points can be used so many days after the purchase; a return takes pending points first (B04)."""
    pending_counts_for_tier: bool = True
    debt: Literal["allow", "floor", "hold_refund"] = "allow"
    """What when a return takes back more than is left (A06): owe it, forgive it, or owe it and tell the till to hold
    the refund's points-worth back."""


# ---------------------------------------------------------------- redemption


class Reward(Model):
    id: Name
    title: Annotated[str, Field(min_length=1, max_length=40)]
    points: PositivePoints
    value_minor: Minor


class Redemption(Model):
    minimum_points: Points = 1
    reservation_minutes: Annotated[int, Field(ge=1, le=100_000)] = 30
    points_per_minor: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How many points pay one minor unit."""
    rewards: Annotated[tuple[Reward, ...], Field(max_length=100)] = ()


# ---------------------------------------------------------------- tiers


class Requirement(Model):
    """At least `at_least` of the metric in the window: points (earned), spend (minor units paid), visits (days)."""

    metric: Literal["points", "spend", "visits"]
    at_least: Annotated[int, Field(ge=1, le=10**12)]


class Tier(Model):
    name: Name
    any_of: tuple[Requirement, ...] = ()
    all_of: tuple[Requirement, ...] = ()


class CalendarWindow(Model):
    kind: Literal["calendar"]
    period: Literal["month", "quarter", "year"] = "year"


class RollingWindow(Model):
    """The last so many days; a tier is held for as long again before it is looked at."""

    kind: Literal["rolling"]
    days: Days


class AnniversaryWindow(Model):
    """Years counted from the day the member joined."""

    kind: Literal["anniversary"]


class LifetimeWindow(Model):
    """Everything since the member joined; nobody is downgraded."""

    kind: Literal["lifetime"]


Window = Annotated[CalendarWindow | RollingWindow | AnniversaryWindow | LifetimeWindow, Field(discriminator="kind")]
AnyWindow = CalendarWindow | RollingWindow | AnniversaryWindow | LifetimeWindow


class Closeness(Model):
    """LOY_CLOSE_TO_TIER_UPGRADE once per approach: at `percent` of the next tier, or when `gap` or less is missing."""

    percent: Annotated[int, Field(ge=1, le=99)] | None = None
    gap: Annotated[int, Field(ge=1)] | None = None


class Tiers(Model):
    """Levels from the lowest up; the first is everybody's and asks for nothing."""

    levels: Annotated[tuple[Tier, ...], Field(min_length=1, max_length=20)]
    window: Window = CalendarWindow(kind="calendar")
    valid: Literal["end_of_period", "end_of_next_period"] = "end_of_next_period"
    """How long a tier that was reached is kept before it is looked at again (C03)."""
    jump: Literal["skip", "sequential"] = "skip"
    """Whether a purchase may skip levels, or climbs one at a time with an event each."""
    landing: Literal["one_down", "earned"] = "one_down"
    grace_days: Annotated[int, Field(ge=0, le=365)] = 0
    after_return: Literal["keep", "revoke"] = "keep"
    """A return below the threshold: keep the tier to the period's end, or take it back at once (C04)."""
    warning_days: Annotated[int, Field(ge=0, le=365)] = 0
    close: Closeness | None = None


# ---------------------------------------------------------------- fraud


class _Signal(Model):
    id: Name
    weight: Annotated[int, Field(ge=1, le=1000)]
    """Added to the score when it hits; hundredths, so 100 is one."""


class Velocity(_Signal):
    """More than `soft` of something within `hours` of purchase time; past `hard` the hit alone is critical (F02)."""

    kind: Literal["velocity"]
    what: Literal["checks", "points", "outlets"]
    hours: Annotated[int, Field(ge=1, le=840)]
    soft: Count
    hard: Count | None = None


class ReturnRatio(_Signal):
    """Of at least `sales` sales within `days`, `percent` or more came back (F04)."""

    kind: Literal["return_ratio"]
    days: Annotated[int, Field(ge=1, le=35)]
    sales: Count
    percent: Percent


class ImpossibleTravel(_Signal):
    """Two outlets further apart than `km_per_hour` allows, after `skew_minutes` for the tills' clocks (F05)."""

    kind: Literal["impossible_travel"]
    km_per_hour: Annotated[int, Field(ge=1, le=2000)] = 200
    skew_minutes: Annotated[int, Field(ge=0, le=600)] = 10


class SplitReceipts(_Signal):
    """`checks` or more receipts at one till within `minutes` (F08)."""

    kind: Literal["split_receipts"]
    minutes: Annotated[int, Field(ge=1, le=1440)]
    checks: Annotated[int, Field(ge=2, le=1000)]


class OwnCard(_Signal):
    """The cashier's own card at the cashier's till (A13). Earns nothing either way."""

    kind: Literal["own_card"]


Signal = Annotated[Velocity | ReturnRatio | ImpossibleTravel | SplitReceipts | OwnCard, Field(discriminator="kind")]
AnySignal = Velocity | ReturnRatio | ImpossibleTravel | SplitReceipts | OwnCard


class Fraud(Model):
    """Score = sum of the weights of the signals that hit (F01). At `critical` the points are held for review."""

    signals: Annotated[tuple[Signal, ...], Field(max_length=50)] = ()
    critical: Annotated[int, Field(ge=1)] = 150


# ---------------------------------------------------------------- the program


class Outlet(Model):
    id: Id
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None


class Limits(Model):
    adjust_points: Points = 1000
    """The largest adjustment, either way, that needs no second person (B06)."""
    claim_days: Annotated[int, Field(ge=0, le=35)] = 14
    claims_per_day: Count = 3
    active_days: Days = 365
    """A member is active so many days after the last activity (seed 001, Active Status)."""


class Program(Model):
    """One version of a program. Published once; a change is a new version with a later `effective_from`."""

    program: Name
    version: Annotated[int, Field(ge=1, le=10**6)]
    title: Text
    effective_from: Instant
    time_zone: TimeZone
    currency: Currency
    earning: Earning = Earning()
    points: PointsPolicy = PointsPolicy()
    redemption: Redemption = Redemption()
    tiers: Tiers = Tiers(levels=(Tier(name="Member"),))
    fraud: Fraud = Fraud()
    limits: Limits = Limits()
    outlets: Annotated[tuple[Outlet, ...], Field(max_length=100_000)] = ()
    unknown_outlets: Literal["accept", "refuse"] = "accept"
    anniversaries: bool = True
    """Whether loyalty anniversaries and birthdays make events (C06)."""

    @property
    def key(self) -> str:
        """`program@version`: how commands and events name it."""
        return f"{self.program}@{self.version}"

    @model_validator(mode="after")
    def _consistent(self) -> "Program":
        _unique("earning.rules", [rule.id for rule in self.earning.rules])
        _unique("earning.groups", [group.id for group in self.earning.groups])
        _unique("redemption.rewards", [reward.id for reward in self.redemption.rewards])
        _unique("tiers.levels", [tier.name for tier in self.tiers.levels])
        _unique("fraud.signals", [signal.id for signal in self.fraud.signals])
        _unique("outlets", [outlet.id for outlet in self.outlets])
        groups = {group.id for group in self.earning.groups}
        tiers = {tier.name for tier in self.tiers.levels}
        for n, rule in enumerate(self.earning.rules):
            _known(f"earning.rules.{n}.group", [rule.group] if rule.group else [], groups)
            _known(f"earning.rules.{n}.where.tiers", rule.where.tiers, tiers)
        lowest, *higher = self.tiers.levels
        if lowest.any_of or lowest.all_of:
            raise ValueError("tiers.levels.0: the lowest tier is everybody's and may ask for nothing")
        for n, tier in enumerate(higher, 1):
            if not (tier.any_of or tier.all_of):
                raise ValueError(f"tiers.levels.{n}: a tier above the lowest needs any_of or all_of")
        return self


def _unique(path: str, names: list[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise ValueError(f"{path}: {name!r} is there twice")


def _known(path: str, names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{path}: {name!r} is not defined; known: {', '.join(sorted(known)) or 'none'}")
