"""What a member has done in a tier's window, and which level that reaches (C01).

Law: purchases count on their own day, whenever they arrive; what is held for review does not count, nor pending points when the
program says so.
"""

from collections import Counter
from datetime import date
from functools import lru_cache

from streams.domain.account import Account, Aside, Day
from streams.domain.calendar import local_day, next_period, period_start, years_later
from streams.domain.plan import Level, Need, Plan


class Span:
    """A qualification window: local days from `first` up to, not including, `end`; `end` 0 is open."""

    __slots__ = ("end", "first")

    def __init__(self, first: int, end: int) -> None:
        self.first = first
        self.end = end


class Missing:
    """The nearest way to the next tier."""

    __slots__ = ("at_least", "metric", "missing")

    def __init__(self, metric: str, missing: int, at_least: int) -> None:
        self.metric = metric
        self.missing = missing
        self.at_least = at_least


def span_of(account: Account, plan: Plan, day: int) -> Span:
    """The window that a purchase on that day counts in."""
    window = plan.tiers.window
    if window.kind == "calendar":  # told apart by text: to ask for a class that it is not takes ten times as long
        return _calendar_span(day, window.period)
    if window.kind == "anniversary":
        return _member_year(local_day(plan.zone, account.joined_at), day)
    if window.kind == "rolling":
        return Span(day - window.days + 1, day + 1)
    return Span(0, 0)


@lru_cache(maxsize=4096)
def _calendar_span(day: int, period: str) -> Span:
    first = period_start(day, period)
    return Span(first, next_period(first, period))


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
        first, end = span.first, span.end
        for day in account.days:
            if first <= day.day < end:
                points += day.points
                spend += day.spend
                visits += 1 if day.checks else 0
    if account.aside:
        points += _aside(account, plan, span)
    return Day(0, max(0, points - _uncounted(account, plan, span)), spend, visits)


def _uncounted(account: Account, plan: Plan, span: Span) -> int:
    books = uncounted_books(plan)
    if not account.books.held and not ("pending" in books and account.books.pending):
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
    return ("held",) if plan.points.pending_counts_for_tier else ("held", "pending")


def _metric(total: Day, metric: str) -> int:
    return total.points if metric == "points" else total.spend if metric == "spend" else total.checks


def _meets(level: Level, total: Day) -> bool:
    for need in level.all_of:
        if _metric(total, need.metric) < need.at_least:
            return False
    for need in level.any_of:
        if _metric(total, need.metric) >= need.at_least:
            return True
    return not level.any_of


def qualified(plan: Plan, total: Day) -> int:
    """The highest level that the sums reach."""
    for number in range(plan.top, 0, -1):
        if _meets(plan.needs[number], total):
            return number
    return 0


def missing(plan: Plan, level: int, total: Day) -> Missing | None:
    """What is missing of the next level: of any_of the nearest, of all_of the furthest. None at the top."""
    if level >= plan.top:
        return None
    target = plan.needs[level + 1]
    open_any = [_gap(need, total) for need in target.any_of]
    open_all = [_gap(need, total) for need in target.all_of]
    nearest = [min(open_any, key=_share_missing)] if open_any else []
    return max([*nearest, *open_all], key=_share_missing)


def _gap(need: Need, total: Day) -> Missing:
    return Missing(need.metric, max(0, need.at_least - _metric(total, need.metric)), need.at_least)


def _share_missing(gap: Missing) -> int:
    return gap.missing * 1_000_000 // gap.at_least
