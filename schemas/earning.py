"""The rules of earning, as a program file writes them: a base rate, closed kinds of rules, how they compete, and caps.

Percentages are integers (200 means double); money is minor units; times of day are the till's.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.base import MINOR_MAX, Category, Channel, Id, Instant, LocalTime, Model, Name, Points, PositivePoints, Text
from schemas.checks import TenderType

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Expression = Annotated[str, Field(min_length=1, max_length=500)]


BASE = "base"
"""How events name the base rate where they name a rule."""
BUDGET_NAME_MAX = 40
"""Characters in the id of a rule with a cap over the program: the keys of its budgets and ids of its grants hold it."""
MAIN = "main"
"""The wallet that everybody has: points that can be redeemed. The base rate goes there."""


class Rate(Model):
    """Points for money: `points` for every `per_minor` minor units really paid."""

    points: PositivePoints = 1
    per_minor: Annotated[int, Field(ge=1, le=10**9)] = 100
    """Minor units that earn `points`."""
    qualifies: bool = True
    """Whether these points count where a tier asks for points."""


class Exclusions(Model):
    """What never earns (A09): goods, and ways to pay. The points-paid share never earns, listed or not."""

    categories: tuple[Category, ...] = ()
    skus: tuple[Id, ...] = ()
    tenders: tuple[TenderType, ...] = ()
    """Ways to pay whose share earns nothing."""


class DayPart(Model):
    """From `start` (included) to `end` (excluded) on the till's clock; an `end` before its `start` runs over midnight."""

    start: LocalTime
    end: LocalTime


class Where(Model):
    """When a rule applies: every list that is given must match; within a list any entry will do (D02)."""

    skus: tuple[Id, ...] = ()
    categories: tuple[Category, ...] = ()
    brands: tuple[Text, ...] = ()
    outlets: tuple[Id, ...] = ()
    channels: tuple[Channel, ...] = ()
    """Where it was bought."""
    weekdays: tuple[Weekday, ...] = ()
    """By the till's local date."""
    day_parts: tuple[DayPart, ...] = ()
    tiers: tuple[Name, ...] = ()
    birthday_within_days: Annotated[int, Field(ge=0, le=180)] | None = None
    """The purchase lies at most so many days from the member's birthday."""
    when: Expression | None = None
    """A condition in the rule language: `total_minor >= 5000 and channel == "web"` (docs/programs.md)."""


class RuleCap(Model):
    """The most a rule may give (B10, D04): one member, or all members together, whoever comes first."""

    points: Points
    per: Literal["check", "day", "month", "campaign"]
    """The span that is counted: the day or month of the purchase on the till's clock; `campaign`: all that the rule gives."""
    over: Literal["member", "program"] = "member"
    """Whom it is counted over. `program`: all members together, a budget that grants points a moment after the sale."""

    @model_validator(mode="after")
    def _counted(self) -> "RuleCap":
        if self.over == "program" and self.per == "check":
            raise ValueError("per: a check is one member's; over the program, count per day, month or campaign")
        if self.over == "member" and self.per == "campaign":
            raise ValueError("per: a whole campaign is counted over the program alone")
        return self


class _Rule(Model):
    id: Name
    where: Where = Where()
    starts: Instant | None = None
    ends: Instant | None = None
    """The first instant it is no longer in force, by purchase time (D05)."""
    enabled: bool = True
    """False: as if it were not there."""
    group: Name | None = None
    """Rules of one group compete as the group says; without a group a rule always adds."""
    priority: int = 0
    """Higher goes first."""
    cap: RuleCap | None = None
    wallet: Name = MAIN
    """Where its points go (B05). What goes to another wallet is rounded by itself, and no cap over everything limits it."""
    qualifies: bool | None = None
    """Whether its points count where a tier asks for points. By default those of the main wallet do, others do not."""


class Multiplier(_Rule):
    """Each matching line earns `percent` of the base rate: 200 doubles. Multipliers add their extra to the base."""

    kind: Literal["multiplier"]
    percent: Annotated[int, Field(ge=101, le=10_000)]
    """Of the base rate."""


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
    spend_minor: Annotated[int, Field(ge=1, le=MINOR_MAX)]
    """Minor units."""
    points: PositivePoints
    join_minutes: Annotated[int, Field(ge=0, le=1440)] = 0
    """0: every receipt for itself."""


class NthVisit(_Rule):
    """Fixed points on every `n`-th visit since the member joined. A day is one visit."""

    kind: Literal["nth_visit"]
    n: Annotated[int, Field(ge=2, le=1000)]
    """10: the 10th, the 20th, ..."""
    points: PositivePoints


Rule = Annotated[Multiplier | LineBonus | CheckBonus | Threshold | NthVisit, Field(discriminator="kind")]
AnyRule = Multiplier | LineBonus | CheckBonus | Threshold | NthVisit


class Group(Model):
    """How rules compete (D03): `all` add up, `best` gives the most points, `first` the highest priority that matches.

    Ties go to the higher priority, then to the smaller id: the result never depends on the order in the file.
    """

    id: Name
    mode: Literal["all", "best", "first"]
    """How they compete."""


class Cap(Model):
    """The most a member may earn from everything together (B10)."""

    points: Points
    per: Literal["check", "day", "month", "balance"]
    """The span that is counted; `balance` limits what the account may hold."""


class Earning(Model):
    """How purchases become points."""

    rate: Rate = Rate()
    rounding: Literal["floor", "half_up", "half_down"] = "floor"
    """How a fraction of a point is rounded, once per check."""
    exclude: Exclusions = Exclusions()
    rules: Annotated[tuple[Rule, ...], Field(max_length=500)] = ()
    """Extra points beside the rate."""
    groups: tuple[Group, ...] = ()
    """How rules compete, by the group's id."""
    caps: tuple[Cap, ...] = ()
    """Limits over everything together."""
