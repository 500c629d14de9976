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
    Currency,
    Id,
    Instant,
    Minor,
    Model,
    Name,
    Points,
    PositivePoints,
    Text,
)
from schemas.earning import BASE, BUDGET_NAME_MAX, MAIN, AnyRule, Earning
from schemas.points import Conversion, Days, PointsPolicy, Wallet

Percent = Annotated[int, Field(ge=0, le=10_000)]
Count = Annotated[int, Field(ge=1, le=100_000)]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"unknown time zone {name!r}") from None
    return name


TimeZone = Annotated[str, Field(max_length=60), AfterValidator(_known_zone)]


# ---------------------------------------------------------------- redemption


class Reward(Model):
    """Something to be had for points."""

    id: Name
    title: Annotated[str, Field(min_length=1, max_length=40)]
    """As the till prints it."""
    points: PositivePoints
    value_minor: Minor
    wallet: Name = MAIN
    """Whose points pay for it."""


class Redemption(Model):
    """How points are used."""

    minimum_points: Points = 1
    reservation_minutes: Annotated[int, Field(ge=1, le=100_000)] = 30
    """How long points stay set aside."""
    points_per_minor: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How many points pay one minor unit."""
    rewards: Annotated[tuple[Reward, ...], Field(max_length=100)] = ()
    """What points can be had for, beside money."""


# ---------------------------------------------------------------- tiers


class Requirement(Model):
    """At least `at_least` of the metric in the window: points (earned), spend (minor units paid), visits (days)."""

    metric: Literal["points", "spend", "visits"]
    """What is counted."""
    at_least: Annotated[int, Field(ge=1, le=10**12)]
    """In the metric's unit."""


class Tier(Model):
    """One level. The lowest asks for nothing."""

    name: Name
    any_of: tuple[Requirement, ...] = ()
    """One of these is enough."""
    all_of: tuple[Requirement, ...] = ()
    """All of these are needed."""


class CalendarWindow(Model):
    """The calendar period the purchase falls in."""

    kind: Literal["calendar"]
    period: Literal["month", "quarter", "year"] = "year"
    """The span that is counted, in the program's time zone."""


class RollingWindow(Model):
    """The last so many days; a tier is held for as long again before it is looked at."""

    kind: Literal["rolling"]
    days: Days
    """How many."""


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
    """Of the requirement."""
    gap: Annotated[int, Field(ge=1)] | None = None
    """In the metric of the requirement that is nearest: points, minor units or visits."""


class Tiers(Model):
    """Levels from the lowest up; the first is everybody's and asks for nothing."""

    levels: Annotated[tuple[Tier, ...], Field(min_length=1, max_length=20)]
    window: Window = CalendarWindow(kind="calendar")
    """Over which time requirements are counted."""
    valid: Literal["end_of_period", "end_of_next_period"] = "end_of_next_period"
    """How long a tier that was reached is kept before it is looked at again (C03)."""
    jump: Literal["skip", "sequential"] = "skip"
    """Whether a purchase may skip levels, or climbs one at a time with an event each."""
    landing: Literal["one_down", "earned"] = "one_down"
    """Where a downgrade ends: one tier down, or at the tier that was earned."""
    grace_days: Annotated[int, Field(ge=0, le=365)] = 0
    """Days after the period's end before a downgrade."""
    after_return: Literal["keep", "revoke"] = "keep"
    """A return below the threshold: keep the tier to the period's end, or take it back at once (C04)."""
    warning_days: Annotated[int, Field(ge=0, le=365)] = 0
    """LOY_TIER_DOWNGRADE_WARNING so many days ahead; 0: none."""
    close: Closeness | None = None
    """When to say that the next tier is near; none: never."""


# ---------------------------------------------------------------- fraud


class _Signal(Model):
    id: Name
    weight: Annotated[int, Field(ge=1, le=1000)]
    """Added to the score when it hits; hundredths, so 100 is one."""


class Velocity(_Signal):
    """More than `soft` of something within `hours` of purchase time; past `hard` the hit alone is critical (F02)."""

    kind: Literal["velocity"]
    what: Literal["checks", "points", "outlets"]
    """What is counted: checks, points earned, or different outlets."""
    hours: Annotated[int, Field(ge=1, le=840)]
    """The span, by purchase time."""
    soft: Count
    """More than this hits."""
    hard: Count | None = None
    """More than this is critical by itself."""


class ReturnRatio(_Signal):
    """Of at least `sales` sales within `days`, `percent` or more came back (F04)."""

    kind: Literal["return_ratio"]
    days: Annotated[int, Field(ge=1, le=35)]
    """The span."""
    sales: Count
    """With fewer sales it never hits."""
    percent: Percent
    """Of the sales."""


class ImpossibleTravel(_Signal):
    """Two outlets further apart than `km_per_hour` allows, after `skew_minutes` for the tills' clocks (F05)."""

    kind: Literal["impossible_travel"]
    km_per_hour: Annotated[int, Field(ge=1, le=2000)] = 200
    """The fastest journey believed."""
    skew_minutes: Annotated[int, Field(ge=0, le=600)] = 10
    """How far tills' clocks may differ."""


class SplitReceipts(_Signal):
    """`checks` or more receipts at one till within `minutes` (F08)."""

    kind: Literal["split_receipts"]
    minutes: Annotated[int, Field(ge=1, le=1440)]
    """The span."""
    checks: Annotated[int, Field(ge=2, le=1000)]
    """This many hit."""


class OwnCard(_Signal):
    """The cashier's own card at the cashier's till (A13). Earns nothing either way."""

    kind: Literal["own_card"]


Signal = Annotated[Velocity | ReturnRatio | ImpossibleTravel | SplitReceipts | OwnCard, Field(discriminator="kind")]
AnySignal = Velocity | ReturnRatio | ImpossibleTravel | SplitReceipts | OwnCard


class Fraud(Model):
    """Score = sum of the weights of the signals that hit (F01). At `critical` the points are held for review."""

    signals: Annotated[tuple[Signal, ...], Field(max_length=50)] = ()
    """What is looked for."""
    critical: Annotated[int, Field(ge=1)] = 150
    """In hundredths, like the weights."""


# ---------------------------------------------------------------- the program


class Outlet(Model):
    """A place that sells."""

    id: Id
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    """Degrees north."""
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    """Degrees east."""


class Limits(Model):
    """Small limits of the service desk and the claims."""

    adjust_points: Points = 1000
    """The largest adjustment, either way, that needs no second person (B06)."""
    claim_days: Annotated[int, Field(ge=0, le=35)] = 14
    """How old a receipt may be when it is claimed."""
    claims_per_day: Count = 3
    """More in one day are kept for review."""
    active_days: Days = 365
    """A member is active so many days after the last activity (seed 001, Active Status)."""


class Program(Model):
    """One version of a program. Published once; a change is a new version with a later `effective_from`."""

    program: Name
    version: Annotated[int, Field(ge=1, le=10**6)]
    """Counts up; never used twice."""
    title: Text
    effective_from: Instant
    time_zone: TimeZone
    """IANA name: days, months and expiries are local to it."""
    currency: Currency
    earning: Earning = Earning()
    points: PointsPolicy = PointsPolicy()
    wallets: Annotated[tuple[Wallet, ...], Field(max_length=20)] = ()
    """Beside the main one."""
    conversions: Annotated[tuple[Conversion, ...], Field(max_length=100)] = ()
    """Which wallet's points can become which others'."""
    redemption: Redemption = Redemption()
    tiers: Tiers = Tiers(levels=(Tier(name="Member"),))
    fraud: Fraud = Fraud()
    limits: Limits = Limits()
    outlets: Annotated[tuple[Outlet, ...], Field(max_length=100_000)] = ()
    """Known outlets, with their place for the travel check."""
    unknown_outlets: Literal["accept", "refuse"] = "accept"
    """What to do with a check of an outlet that is not listed."""
    anniversaries: bool = True
    """Whether loyalty anniversaries and birthdays make events (C06)."""

    @property
    def key(self) -> str:
        """`program@version`: how commands and events name it."""
        return f"{self.program}@{self.version}"

    @model_validator(mode="after")
    def _consistent(self) -> "Program":
        _unique("earning.rules", [rule.id for rule in self.earning.rules])
        _free("earning.rules", BASE, [rule.id for rule in self.earning.rules])
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
            if rule.cap and rule.cap.over == "program":
                _budgeted(f"earning.rules.{n}", rule)
        self._require_wallets()
        lowest, *higher = self.tiers.levels
        if lowest.any_of or lowest.all_of:
            raise ValueError("tiers.levels.0: the lowest tier is everybody's and may ask for nothing")
        for n, tier in enumerate(higher, 1):
            if not (tier.any_of or tier.all_of):
                raise ValueError(f"tiers.levels.{n}: a tier above the lowest needs any_of or all_of")
        return self

    def _require_wallets(self) -> None:
        """What names a wallet names one, and what competes is counted in the same points."""
        _unique("wallets", [MAIN, *(wallet.id for wallet in self.wallets)])
        _unique("conversions", [f"{one.wallet} into {one.into}" for one in self.conversions])
        wallets = {MAIN, *(wallet.id for wallet in self.wallets)}
        for n, one in enumerate(self.conversions):
            _known(f"conversions.{n}.wallet", [one.wallet], wallets)
            _known(f"conversions.{n}.into", [one.into], wallets - {one.wallet})
        for n, reward in enumerate(self.redemption.rewards):
            _known(f"redemption.rewards.{n}.wallet", [reward.wallet], wallets)
        of_group: dict[str, str] = {}
        for n, rule in enumerate(self.earning.rules):
            _known(f"earning.rules.{n}.wallet", [rule.wallet], wallets)
            if rule.group and of_group.setdefault(rule.group, rule.wallet) != rule.wallet:
                raise ValueError(f"earning.rules.{n}.wallet: rules of group {rule.group!r} compete for one wallet")


def _unique(path: str, names: list[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise ValueError(f"{path}: {name!r} is there twice")


def _free(path: str, name: str, names: Iterable[str]) -> None:
    if name in names:
        raise ValueError(f"{path}: {name!r} is the name of the base rate")


def _budgeted(path: str, rule: AnyRule) -> None:
    if rule.wallet != MAIN:
        raise ValueError(f"{path}.cap.over: a cap over the program is for points of the main wallet")
    if len(rule.id) > BUDGET_NAME_MAX:
        raise ValueError(f"{path}.id: at most {BUDGET_NAME_MAX} characters with a cap over the program")


def _known(path: str, names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{path}: {name!r} is not defined; known: {', '.join(sorted(known)) or 'none'}")
