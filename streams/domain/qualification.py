"""What a member has done in a tier's window, and which level that reaches (C01).

Law: purchases count on their own day, whenever they arrive; what is held for review does not count, nor pending points when the
program says so.
"""

from collections import Counter
from datetime import date
from typing import NamedTuple

from schemas.program import AnniversaryWindow, CalendarWindow, LifetimeWindow, Requirement, RollingWindow
from schemas.program import Tier as Level
from streams.domain.account import Account, Aside, Day
from streams.domain.calendar import local_day, next_period, period_start, years_later
from streams.domain.plan import Plan


class Span(NamedTuple):
    """A qualification window: local days from `first` up to, not including, `end`; `end` 0 is open."""

    first: int
    end: int


class Missing(NamedTuple):
    """The nearest way to the next tier."""

    metric: str
    missing: int
    at_least: int


def span_of(account: Account, plan: Plan, day: int) -> Span:
    """The window that a purchase on that day counts in."""
    match plan.program.tiers.window:
        case CalendarWindow(period=period):
            first = period_start(day, period)
            return Span(first, next_period(first, period))
        case AnniversaryWindow():
            return _member_year(local_day(plan.zone, account.joined_at), day)
        case RollingWindow(days=days):
            return Span(day - days + 1, day + 1)
        case LifetimeWindow():
            return Span(0, 0)


def _member_year(joined: int, day: int) -> Span:
    years = max(0, date.fromordinal(day).year - date.fromordinal(joined).year)
    if years_later(joined, years) > day:
        years -= 1
    return Span(years_later(joined, years), years_later(joined, years + 1))


def sums(account: Account, plan: Plan, span: Span) -> Day:
    """Points earned, minor units paid and days with a purchase in the window. Held points do not count, nor pending ones
    when the program says so.
    """
    if span.end == 0:
        life = account.lifetime
        points, spend, visits = life.points, life.spend, life.checks
    else:
        points = spend = visits = 0
        for day in account.days:
            if span.first <= day.day < span.end:
                points, spend, visits = points + day.points, spend + day.spend, visits + bool(day.checks)
    if account.aside:
        points += _aside(account, plan, span)
    return Day(0, max(0, points - _uncounted(account, plan, span)), spend, visits)


def _uncounted(account: Account, plan: Plan, span: Span) -> int:
    books = uncounted_books(plan)
    if not any(getattr(account.books, book) for book in books):
        return 0  # the rule, so no lot is looked at
    return sum(lot.points for lot in account.lots if lot.book in books and (span.end == 0 or span.first <= lot.day < span.end))


def _aside(account: Account, plan: Plan, span: Span) -> int:
    """What of the window qualifies otherwise than its points do, but for what came with lots that do not count."""
    books, mine = uncounted_books(plan), {"": account.lots, **{own.key: own.lots for own in account.wallets}}
    waiting = {(wallet, lot.number) for wallet, lots in mine.items() for lot in lots if lot.book in books}
    return sum(
        known.points
        for known in account.aside
        if (span.end == 0 or span.first <= known.day < span.end) and (known.wallet, known.lot) not in waiting
    )


def fold_aside(account: Account, days_from: int) -> tuple[Aside, ...]:
    """One entry a day, and one for all days before; what came with lots that may still wait stays by itself."""
    mine = {"": account.lots, **{own.key: own.lots for own in account.wallets}}
    waiting = {(wallet, lot.number) for wallet, lots in mine.items() for lot in lots if lot.book != "available"}
    days, apart = Counter[int](), []
    for known in account.aside:
        if (known.wallet, known.lot) in waiting:
            apart.append(known)
        else:
            days[known.day if known.day >= days_from else 0] += known.points
    return (*(Aside(day, points) for day, points in sorted(days.items()) if points), *apart)


def uncounted_books(plan: Plan) -> tuple[str, ...]:
    return ("held",) if plan.program.points.pending_counts_for_tier else ("held", "pending")


def _metric(total: Day, metric: str) -> int:
    return total.points if metric == "points" else total.spend if metric == "spend" else total.checks


def _meets(level: Level, total: Day) -> bool:
    met = [_metric(total, need.metric) >= need.at_least for need in level.any_of]
    return (not met or any(met)) and all(_metric(total, need.metric) >= need.at_least for need in level.all_of)


def qualified(plan: Plan, total: Day) -> int:
    """The highest level that the sums reach."""
    for number in range(len(plan.levels) - 1, 0, -1):
        if _meets(plan.levels[number], total):
            return number
    return 0


def missing(plan: Plan, level: int, total: Day) -> Missing | None:
    """What is missing of the next level: of any_of the nearest, of all_of the furthest. None at the top."""
    if level + 1 >= len(plan.levels):
        return None
    target = plan.levels[level + 1]
    open_any = [_gap(need, total) for need in target.any_of]
    open_all = [_gap(need, total) for need in target.all_of]
    nearest = [min(open_any, key=_share_missing)] if open_any else []
    return max((*nearest, *open_all), key=_share_missing)


def _gap(need: Requirement, total: Day) -> Missing:
    return Missing(need.metric, max(0, need.at_least - _metric(total, need.metric)), need.at_least)


def _share_missing(gap: Missing) -> int:
    return gap.missing * 1_000_000 // gap.at_least
