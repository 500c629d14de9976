"""Tiers: qualify over a window, rise at once, fall at the period's end with soft landing and grace (C01-C07).

Law: burning never lowers a tier, since only what was earned, paid or visited qualifies. Purchases count on their own day,
whenever they arrive.
"""

from collections.abc import Iterable, Sequence
from datetime import date

import msgspec

from schemas.program import (
    AnniversaryWindow,
    CalendarWindow,
    LifetimeWindow,
    Requirement,
    RollingWindow,
)
from schemas.program import Tier as Level
from streams.domain.account import Account, Day, SaleRecord
from streams.domain.calendar import local_day, midnight, next_period, period_start, years_later
from streams.domain.plan import Plan
from streams.domain.turn import Turn

replace = msgspec.structs.replace


class Span(msgspec.Struct, frozen=True):
    """A qualification window: local days from `first` up to, not including, `end`; `end` 0 is open."""

    first: int
    end: int


class Missing(msgspec.Struct, frozen=True):
    """The nearest way to the next tier."""

    metric: str
    missing: int
    at_least: int


# ---------------------------------------------------------------- the window and its sums


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
        total = account.lifetime
    else:
        inside = [day for day in account.days if span.first <= day.day < span.end]
        total = Day(
            0,
            sum(day.points for day in inside),
            sum(day.spend for day in inside),
            sum(1 for day in inside if day.checks),
        )
    return replace(total, points=max(0, total.points - _uncounted(account, plan, span)))


def _uncounted(account: Account, plan: Plan, span: Span) -> int:
    books = ("held",) if plan.program.points.pending_counts_for_tier else ("held", "pending")
    return sum(
        lot.points
        for lot in account.lots
        if lot.book in books and (span.end == 0 or span.first <= local_day(plan.zone, lot.earned_at) < span.end)
    )


def _metric(total: Day, metric: str) -> int:
    return {"points": total.points, "spend": total.spend, "visits": total.checks}[metric]


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


# ---------------------------------------------------------------- which tier, when


def held_at(account: Account, at: int) -> int:
    """The level held at an instant of the past horizon (C07)."""
    level = account.tier.history[0][1] if account.tier.history else account.tier.level
    for since, held in account.tier.history:
        if since > at:
            break
        level = held
    return level


def _valid_until(turn: Turn, span: Span, day: int) -> int:
    """How long a level reached in the window is kept: an instant, 0 for ever."""
    plan, tiers = turn.plan, turn.plan.program.tiers
    match tiers.window:
        case LifetimeWindow():
            return 0
        case RollingWindow(days=days):
            return midnight(plan.zone, day + days)
        case CalendarWindow(period=period):
            following = next_period(span.end, period)
        case AnniversaryWindow():
            following = _member_year(local_day(plan.zone, turn.account.joined_at), span.end).end
    return midnight(plan.zone, span.end if tiers.valid == "end_of_period" else following)


def _move(turn: Turn, level: int, at: int, until: int, *, reason: str, line: int | None = None) -> None:
    """Change the level and tell."""
    account, tier = turn.account, turn.account.tier
    kind = "LOY_TIER_UPGRADE" if level > tier.level else "LOY_TIER_DOWNGRADE"
    names = turn.plan.levels
    previous = names[min(tier.level, len(names) - 1)].name
    history = tier.history or ((0, tier.level),)
    account.tier = replace(
        tier, level=level, since=at, until=until, warned=False, anniversaries=0, history=(*history, (at, level))
    )
    turn.say(kind, at, previous=previous, tier=names[level].name, reason=reason, line=line)


# ---------------------------------------------------------------- after a purchase


def after_purchase(turn: Turn, day: int, at: int, sale: SaleRecord | None) -> None:
    """Upgrade or renew by the window of the purchase, and say when the next tier is close (C02, C05)."""
    account, plan = turn.account, turn.plan
    if len(plan.levels) == 1:
        return
    span = span_of(account, plan, day)
    total = sums(account, plan, span)
    level = qualified(plan, total)
    until = _valid_until(turn, span, day)
    if until and until <= turn.now:
        return  # a late purchase of a period whose tiers have ended since
    if level > account.tier.level:
        _rise(turn, level, span, until, at, _tipping_line(turn, sale, total))
    elif level == account.tier.level and level and until > account.tier.until > 0:
        account.tier = replace(account.tier, until=until, warned=False)
    _tell_when_close(turn, span, total, at)


def _rise(turn: Turn, level: int, span: Span, until: int, at: int, line: int | None) -> None:
    tier = turn.account.tier
    if tier.before_window != span.first or not tier.before_window:
        held = (tier.level, tier.until)
        turn.account.tier = replace(tier, before=held, before_window=span.first)
    steps = range(tier.level + 1, level + 1) if turn.plan.program.tiers.jump == "sequential" else (level,)
    for step in steps:
        _move(turn, step, at, max(until, tier.manual_until), reason="qualified", line=line)


def _tipping_line(turn: Turn, sale: SaleRecord | None, total: Day) -> int | None:
    """The first line of the check without which the new level would not have been reached."""
    if sale is None:
        return None
    target = qualified(turn.plan, total)
    points = {line.line: 0 for line in sale.lines}
    for award in sale.awards:
        points[award.line] += award.points
    rest = total
    for sold in reversed(sale.lines):
        rest = replace(rest, points=rest.points - points[sold.line], spend=rest.spend - sold.base)
        if qualified(turn.plan, rest) < target:
            return sold.line
    return None


def _tell_when_close(turn: Turn, span: Span, total: Day, at: int) -> None:
    account, close = turn.account, turn.plan.program.tiers.close
    gap = missing(turn.plan, account.tier.level, total)
    if close is None or gap is None or gap.missing == 0:
        return
    near = (close.gap is not None and gap.missing <= close.gap) or (
        close.percent is not None and (gap.at_least - gap.missing) * 100 >= gap.at_least * close.percent
    )
    window = 0 if isinstance(turn.plan.program.tiers.window, RollingWindow) else span.first
    approach = f"{account.tier.level + 1}@{window}"
    if near and account.tier.close_to != approach:
        account.tier = replace(account.tier, close_to=approach)
        names = turn.plan.levels
        turn.say(
            "LOY_CLOSE_TO_TIER_UPGRADE",
            at,
            tier=names[account.tier.level].name,
            next_tier=names[account.tier.level + 1].name,
            missing=gap.missing,
            metric=gap.metric,
        )


def after_return(turn: Turn, day: int, at: int) -> None:
    """A return that takes the member below the threshold: keep the tier to the period's end, or take it back (C04).

    Never below what the member came into the window with. Points that others of his checks earned at the higher rate stay.
    """
    account, plan = turn.account, turn.plan
    tier = account.tier
    manual = tier.manual_until > turn.now
    if plan.program.tiers.after_return == "keep" or not tier.level or manual:
        return
    span = span_of(account, plan, day)
    if tier.before_window != span.first:
        return  # the tier was not reached in this window
    level, until = tier.before
    floor = level if until == 0 or until > turn.now else 0
    earned = qualified(plan, sums(account, plan, span))
    if max(floor, earned) < tier.level:
        kept_until = _valid_until(turn, span, day) if earned >= floor and earned else until
        _move(turn, max(floor, earned), at, kept_until, reason="return")


# ---------------------------------------------------------------- when time passes


def review_due(turn: Turn) -> int:
    """When the tier is looked at next: the end of its period and the grace after it; 0: never."""
    tier = turn.account.tier
    if not tier.level or not tier.until:
        return 0
    return max(tier.until + turn.plan.program.tiers.grace_days * 86_400, tier.manual_until)


def review(turn: Turn, at: int) -> None:
    """The period is over: renew, or land softly (C03). The days of grace still count for it."""
    account, plan = turn.account, turn.plan
    tier = account.tier
    last_day = local_day(plan.zone, tier.until - 1)
    span = span_of(account, plan, last_day)
    grace = Span(span.first, span.end and max(span.end, local_day(plan.zone, at)))
    earned = qualified(plan, sums(account, plan, grace))
    today = span_of(account, plan, local_day(plan.zone, at))
    until = _review_again(turn, today, local_day(plan.zone, at))
    if earned >= tier.level:
        account.tier = replace(tier, until=until, warned=False, manual_until=0)
        return
    soft = plan.program.tiers.landing == "one_down"
    level = max(earned, tier.level - 1) if soft else earned
    account.tier = replace(tier, manual_until=0)
    _move(turn, level, at, until if level else 0, reason="period_end")


def _review_again(turn: Turn, span: Span, day: int) -> int:
    """A level kept or landed on stays for the window that has begun."""
    if isinstance(turn.plan.program.tiers.window, RollingWindow):
        return _valid_until(turn, span, day)
    return midnight(turn.plan.zone, span.end) if span.end else 0


def warning_due(turn: Turn) -> int:
    """When to warn that the tier may be lost; 0: no more in this period."""
    tier, days = turn.account.tier, turn.plan.program.tiers.warning_days
    if not days or tier.warned or not tier.level or not tier.until:
        return 0
    return tier.until - days * 86_400


def warn(turn: Turn, at: int) -> None:
    """LOY_TIER_DOWNGRADE_WARNING, unless the tier is safe already."""
    account, plan = turn.account, turn.plan
    tier = account.tier
    account.tier = replace(tier, warned=True)
    span = span_of(account, plan, local_day(plan.zone, tier.until - 1))
    earned = qualified(plan, sums(account, plan, span))
    if earned < tier.level:
        lower = max(earned, tier.level - 1) if plan.program.tiers.landing == "one_down" else earned
        names = plan.levels
        turn.say(
            "LOY_TIER_DOWNGRADE_WARNING",
            at,
            tier=names[tier.level].name,
            lower_tier=names[lower].name,
            due=review_due(turn),
        )


def anniversary_due(turn: Turn) -> int:
    """When the member completes the next year in the same tier; the lowest tier has none. 0: never."""
    tier, plan = turn.account.tier, turn.plan
    if not tier.level or not tier.since:
        return 0
    return midnight(plan.zone, years_later(local_day(plan.zone, tier.since), tier.anniversaries + 1))


def anniversary(turn: Turn, at: int) -> None:
    """LOY_TIER_ANNIVERSARY: a year completed in the same tier, which is what the name says (the seeds swap the texts)."""
    tier = turn.account.tier
    turn.account.tier = replace(tier, anniversaries=tier.anniversaries + 1)
    turn.say("LOY_TIER_ANNIVERSARY", at, tier=turn.plan.levels[tier.level].name, years=tier.anniversaries + 1)


def set_by_hand(turn: Turn, level: int, until: int, at: int) -> None:
    """A manual tier or a status match: not lowered before `until` (0: no end) (C07)."""
    account = turn.account
    forever = until == 0
    account.tier = replace(account.tier, manual_until=until or (1 << 40))
    if level != account.tier.level:
        _move(turn, level, at, 0 if forever else until, reason="manual")
    else:
        account.tier = replace(account.tier, until=0 if forever else until)


def forget(history: Sequence[tuple[int, int]], before: int) -> tuple[tuple[int, int], ...]:
    """Tier changes that no check can ask about any more, but for the last of them."""
    old = [change for change in history if change[0] <= before]
    return (*old[-1:], *(change for change in history if change[0] > before))


def earliest(times: Iterable[int]) -> int:
    """The earliest of the times that are set; 0 when none is."""
    return min((time for time in times if time), default=0)
