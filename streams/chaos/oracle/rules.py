"""The rules of the naive ledger, and its arithmetic: plain, exact, and sharing nothing with `streams.domain`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Any, Literal

import orjson

from schemas.checks import Line, Return, Sale, Void, check_id
from schemas.program import Program
from schemas.redemptions import Cancel, Confirm, Reserve

BONUS = "bonus"
"""The rule with a cap over all members."""


@dataclass(frozen=True)
class Rules:
    """The one kind of program that this ledger knows. Days are UTC days; `as_program` writes it as one."""

    minor_per_point: int = 100
    double_brand: str = "Own"
    """Lines of this brand earn twice."""
    excluded: str = "tobacco"
    """Lines of this category, and below it, earn nothing."""
    expiry_months: int = 1
    """Points end with the month so many months after that of the purchase."""
    debt: Literal["allow", "floor"] = "allow"
    """What a return or a correction does not find is owed, or forgiven."""
    minimum_points: int = 10
    reservation_minutes: int = 30
    adjust_limit: int = 1000
    rewards: tuple[tuple[str, int], ...] = (("coffee", 25), ("cake", 100), ("dinner", 400))
    """Name and points, cheapest first."""
    tiers: tuple[tuple[str, int], ...] = (("Member", 0), ("Silver", 20_000), ("Gold", 60_000))
    """Name and yearly spend in minor units, from the lowest. A tier lasts to the end of the year after, then falls to what was
    earned; a return does not take it back."""
    stars: str = ""
    """Each whole piece of this category, and below it, gives a star, in a wallet of its own; empty: no stars."""
    stars_months: int = 0
    stars_debt: Literal["allow", "floor"] = "allow"
    stars_become: tuple[int, int] = (3, 40)
    """So many stars become so many points."""
    bonus: int = 0
    """Points beside for each sale that earns, as far as a budget over all members has them; 0: none."""
    bonus_cap: int = 0
    """What that budget has for the purchases of a day."""


def as_program(rules: Rules) -> Program:
    """The rules as a real program."""
    levels = [{"name": rules.tiers[0][0]}, *(_level(name, least) for name, least in rules.tiers[1:])]
    program: dict[str, Any] = {
        "program": "main",
        "version": 1,
        "title": "Naive",
        "effective_from": "2010-01-01T00:00:00Z",
        "time_zone": "UTC",
        "currency": "USD",
        "earning": {
            "rate": {"points": 1, "per_minor": rules.minor_per_point},
            "rules": [{"kind": "multiplier", "id": "double", "percent": 200, "where": {"brands": [rules.double_brand]}}],
            "exclude": {"categories": [rules.excluded]},
        },
        "points": {"expiry": {"kind": "end_of_month", "months": rules.expiry_months}, "notice_days": 7, "debt": rules.debt},
        "redemption": {
            "minimum_points": rules.minimum_points,
            "reservation_minutes": rules.reservation_minutes,
            "rewards": [{"id": name, "title": name, "points": points, "value_minor": 1} for name, points in rules.rewards],
        },
        "tiers": {
            "levels": levels,
            "landing": "earned",
            "valid": "end_of_next_period",
            "warning_days": 30,
            "close": {"percent": 80},
        },
        "limits": {"adjust_points": rules.adjust_limit},
    }
    if rules.stars:
        _add_stars(program, rules)
    if rules.bonus:
        cap = {"points": rules.bonus_cap, "per": "day", "over": "program"}
        program["earning"]["rules"].append({"kind": "check_bonus", "id": BONUS, "points": rules.bonus, "cap": cap})
    return Program.model_validate_json(orjson.dumps(program))


def _add_stars(program: dict[str, Any], rules: Rules) -> None:
    where = {"categories": [rules.stars]}
    program["earning"]["rules"].append({"kind": "line_bonus", "id": "star", "points": 1, "wallet": "stars", "where": where})
    expiry = {"kind": "end_of_month", "months": rules.stars_months}
    program["wallets"] = [{"id": "stars", "title": "Stars", "expiry": expiry, "notice_days": 3, "debt": rules.stars_debt}]
    take, give = rules.stars_become
    program["conversions"] = [{"wallet": "stars", "into": "main", "points": take, "gives": give}]


def _level(name: str, spend: int) -> dict[str, Any]:
    return {"name": name, "any_of": [{"metric": "spend", "at_least": spend}]}


# ---------------------------------------------------------------- plain arithmetic


def seconds(at: datetime) -> int:
    return floor(at.timestamp())


def record_id(record: Any) -> str:
    if isinstance(record, Sale | Return | Void):
        return check_id(record)
    if isinstance(record, Reserve | Confirm | Cancel):
        return record.request_id
    return str(record.command_id)


def month_end(day: date, months: int) -> int:
    """The first second after the month so many months after that of `day`, in UTC."""
    first = day.replace(day=1)
    for _ in range(months + 1):
        first = (first + timedelta(days=32)).replace(day=1)
    return seconds(datetime(first.year, first.month, 1, tzinfo=UTC))


def net(line: Line) -> int:
    return line.amount_minor - line.discount_minor


def earning_minor(sale: Sale, rules: Rules) -> dict[int, int]:
    """What of each line earns: what was paid for it, less its part of what was paid with points."""
    by_points = sum(tender.amount_minor for tender in sale.tenders if tender.type == "points")
    nets = [net(line) for line in sale.lines]
    parts = shared_out(by_points, nets)
    return {
        line.line: 0 if excluded(line, rules) else paid - part for line, paid, part in zip(sale.lines, nets, parts, strict=True)
    }


def excluded(line: Line, rules: Rules) -> bool:
    return is_in(line, rules.excluded)


def is_in(line: Line, category: str) -> bool:
    return line.category is not None and (line.category + "/").startswith(category + "/")


def line_stars(sale: Sale, earning: dict[int, int], rules: Rules) -> dict[int, int]:
    """Stars of each line: one for every whole piece of what earns."""
    return {
        line.line: line.quantity // 1000 if rules.stars and earning[line.line] and is_in(line, rules.stars) else 0
        for line in sale.lines
    }


def line_bonus(earning: dict[int, int], rules: Rules) -> dict[int, int]:
    """What is asked of the budget for each line of a sale that earns."""
    return dict(zip(earning, shared_out(rules.bonus, list(earning.values())), strict=True))


def line_points(sale: Sale, earning: dict[int, int], rules: Rules) -> dict[int, list[int]]:
    """Points of each line, from the base and from the double rule: rounded down once, over the whole check."""
    base = [Fraction(earning[line.line], rules.minor_per_point) for line in sale.lines]
    extra = [share if line.brand == rules.double_brand else Fraction(0) for line, share in zip(sale.lines, base, strict=True)]
    whole = floor(sum(base) + sum(extra))
    by_rule = to_whole([sum(base), sum(extra)], whole)
    columns = [shared_out(points, shares) for points, shares in zip(by_rule, (base, extra), strict=True)]
    return {line.line: [column[n] for column in columns] for n, line in enumerate(sale.lines)}


def to_whole(shares: Sequence[Fraction | int], total: int) -> list[int]:
    """Each share rounded down; who lost most by it gets the points that are left, the earlier first among equals."""
    given = [floor(share) for share in shares]
    by_loss = sorted(range(len(shares)), key=lambda n: (given[n] - shares[n], n))
    for n in by_loss[: total - sum(given)]:
        given[n] += 1
    return given


def shared_out(total: int, weights: Sequence[Fraction | int]) -> list[int]:
    """A whole number shared out by weight, without losing one."""
    whole = sum(weights)
    return to_whole([Fraction(weight) * total / whole for weight in weights], total) if whole else [0] * len(weights)
