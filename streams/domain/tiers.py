"""Tiers: qualify over a window, rise at once, fall at the period's end with soft landing and grace (C01-C07).

Law: burning never lowers a tier, since only what was earned, paid or visited qualifies. Purchases count on their own day,
whenever they arrive.
"""

from collections.abc import Iterable, Sequence

import msgspec

from streams.domain.account import Account, Day, SaleRecord, Tier
from streams.domain.calendar import days_after, epoch, local_day, midnight, years_later
from streams.domain.lots import NEVER
from streams.domain.plan import Plan
from streams.domain.qualification import Span, missing, qualified, span_of, sums, uncounted_books
from streams.domain.turn import Turn

replace = msgspec.structs.replace


class Standing:
    """A level that something vouches for, until an instant (NEVER: for ever), and the sums when it was purchases."""

    __slots__ = ("level", "total", "until")

    def __init__(self, level: int, until: int, total: Day | None = None) -> None:
        self.level = level
        self.until = until
        self.total = total


# ---------------------------------------------------------------- which tier, when


def held_at(account: Account, at: int) -> int:
    """The level held just before an instant of the past horizon: what a purchase at that time earns with (C07)."""
    tier = account.tier
    level = tier.history[0][1] if tier.history else tier.level
    for since, held in tier.history:
        if since >= at:
            break
        level = held
    return level


def _valid_until(account: Account, plan: Plan, span: Span) -> int:
    """How long a level reached in the window is kept."""
    window = plan.tiers.window
    if window.kind == "lifetime":
        return NEVER
    if window.kind == "rolling":
        return midnight(plan.zone, span.end - 1 + window.days)
    next_one = plan.tiers.valid == "end_of_next_period"
    return midnight(plan.zone, span_of(account, plan, span.end).end if next_one else span.end)


def _window_that_begins(turn: Turn, at: int) -> int:
    """Until when a level is kept that a review lands on."""
    day = local_day(turn.plan.zone, at)
    window = turn.plan.tiers.window
    if window.kind == "lifetime":
        return NEVER
    if window.kind == "rolling":
        return midnight(turn.plan.zone, day + window.days)
    return midnight(turn.plan.zone, span_of(turn.account, turn.plan, day).end)


def _by_purchases(account: Account, plan: Plan, days: Iterable[int]) -> list[Standing]:
    """What the windows of these days vouch for."""
    spans = {span.first: span for span in [span_of(account, plan, day) for day in days]}
    return [_by_window(account, plan, span) for span in spans.values()]


def _by_window(account: Account, plan: Plan, span: Span) -> Standing:
    total = sums(account, plan, span)
    return Standing(qualified(plan, total), _valid_until(account, plan, span), total)


def _windows_with(account: Account, plan: Plan, day: int) -> list[int]:
    """Days whose windows count a purchase of `day`: for a late one in rolling windows, later purchases' too (A08)."""
    window = plan.tiers.window
    if window.kind != "rolling":
        return [day]
    return [day, *(known.day for known in account.days if day < known.day < day + window.days)]


def vouched(turn: Turn, at: int) -> Standing:
    """The highest level that anything vouches for at `at`: a hand, the last review, or a window whose tiers still last."""
    account, plan = turn.account, turn.plan
    days = {local_day(plan.zone, at), *(known.day for known in account.days)}
    by_others = [Standing(min(level, plan.top), until) for level, until in (account.tier.manual, account.tier.floor)]
    lasting = [one for one in (*by_others, *_by_purchases(account, plan, days)) if one.until > at]
    return max(lasting, key=_rank, default=Standing(0, NEVER))


def _rank(standing: Standing) -> tuple[int, int]:
    return standing.level, standing.until


def _move(turn: Turn, level: int, at: int, until: int, *, reason: str, line: int | None = None) -> None:
    """Change the level and tell."""
    account, tier, names = turn.account, turn.account.tier, turn.plan.levels
    risen = level > tier.level
    account.tier = replace(
        tier,
        level=level,
        since=at,
        until=until if level else 0,
        warned=False,
        anniversaries=0,
        close_to="" if risen else tier.close_to,
        history=_history(tier, at, level),
    )
    turn.say(
        "LOY_TIER_UPGRADE" if risen else "LOY_TIER_DOWNGRADE",
        at,
        previous=names[min(tier.level, turn.plan.top)].name,
        tier=names[level].name,
        reason=reason,
        line=line,
    )


def _history(tier: Tier, at: int, level: int) -> tuple[tuple[int, int], ...]:
    """A late purchase lifts what was held after it; a fall is always the last change."""
    known = tier.history or ((0, tier.level),)
    earlier = [change for change in known if change[0] <= at]
    later = [(since, max(held, level)) for since, held in known if since > at] if level > tier.level else []
    return (*earlier, (at, level), *later)


# ---------------------------------------------------------------- after a purchase


def after_purchase(turn: Turn, day: int, at: int, sale: SaleRecord | None) -> None:
    """Upgrade or renew by the windows of the purchase, and say when the next tier is close (C02, C05).

    A late purchase of a period whose tiers have ended lifts from its own time on; the settling that follows reviews it at once.
    """
    account, plan = turn.account, turn.plan
    if not plan.top:
        return
    tier = account.tier
    reached = max(_by_purchases(account, plan, _windows_with(account, plan, day)), key=_rank)
    if reached.level > tier.level and not _was_held(turn, reached, at):
        _rise(turn, reached, at, _tipping_line(turn, sale, reached))
    elif reached.level == tier.level and reached.level and reached.until > tier.until:
        account.tier = replace(tier, until=reached.until, warned=False)
    _tell_when_close(turn, at)


def _was_held(turn: Turn, reached: Standing, at: int) -> bool:
    """Whether the time of that level is over, and it was held then as it is."""
    return _review_of(turn, reached.until) <= turn.time and held_at(turn.account, at) >= reached.level


def _rise(turn: Turn, reached: Standing, at: int, line: int | None) -> None:
    sequential = turn.plan.tiers.jump == "sequential"
    for step in range(turn.account.tier.level + 1, reached.level + 1) if sequential else (reached.level,):
        _move(turn, step, at, reached.until, reason="qualified", line=line)


def _tipping_line(turn: Turn, sale: SaleRecord | None, reached: Standing) -> int | None:
    """The first line of the check without which the level would not have been reached; None: it was the visit."""
    if sale is None or reached.total is None:
        return None
    books = uncounted_books(turn.plan)
    uncounted = any(lot.number == sale.lot and lot.book in books for lot in turn.account.lots)
    points = {line.line: 0 for line in sale.lines}
    for award in () if uncounted else sale.qualifying:
        for line, given, _ in award.shares:
            points[line] += given
    rest = reached.total
    for sold in reversed(sale.lines):
        rest = replace(rest, points=rest.points - points[sold.line], spend=rest.spend - sold.base)
        if qualified(turn.plan, rest) < reached.level:
            return sold.line
    return None


def _tell_when_close(turn: Turn, at: int) -> None:
    """Once per approach, by the window that runs now: an upgrade or another window makes it a new approach."""
    account, plan, close = turn.account, turn.plan, turn.plan.tiers.close
    if close is None:
        return
    span = span_of(account, plan, local_day(plan.zone, turn.time))
    gap = missing(plan, account.tier.level, sums(account, plan, span))
    if gap is None or gap.missing == 0:
        return
    near = (close.gap is not None and gap.missing <= close.gap) or (
        close.percent is not None and (gap.at_least - gap.missing) * 100 >= gap.at_least * close.percent
    )
    rolling = plan.tiers.window.kind == "rolling"
    approach = f"{account.tier.level + 1}@{0 if rolling else span.first}"
    if not near:
        account.tier = replace(account.tier, close_to="" if rolling else account.tier.close_to)
    elif account.tier.close_to != approach:
        account.tier = replace(account.tier, close_to=approach)
        here, there = plan.levels[account.tier.level : account.tier.level + 2]
        turn.say("LOY_CLOSE_TO_TIER_UPGRADE", at, tier=here.name, next_tier=there.name, missing=gap.missing, metric=gap.metric)


def before_return(turn: Turn) -> Standing | None:
    """What vouches for the tier before a return takes anything away; None where tiers are kept."""
    revoked = turn.plan.tiers.after_return == "revoke" and turn.account.tier.level
    return vouched(turn, turn.now) if revoked else None


def after_return(turn: Turn, before: Standing | None, at: int) -> None:
    """A return that takes the member below the threshold: keep the tier to the period's end, or take it back (C04).

    Never below what the member came into the window with, and never for another reason than the return itself. Points that
    other checks earned at the higher rate stay.
    """
    tier = turn.account.tier
    if before is None or before.level < tier.level:
        return
    left = vouched(turn, turn.now)
    if left.level < tier.level:
        _move(turn, left.level, at, left.until, reason="return")
    elif left.level == tier.level and left.until < before.until:
        turn.account.tier = replace(tier, until=left.until)


# ---------------------------------------------------------------- when time passes


def _days_after(turn: Turn, at: int, days: int) -> int:
    """So many local days later (before, below zero), at midnight."""
    return days_after(turn.plan.zone, at, days) if days else at


def _review_of(turn: Turn, until: int) -> int:
    return until if until in (0, NEVER) else _days_after(turn, until, turn.plan.tiers.grace_days)


def review_due(turn: Turn) -> int:
    """When the tier is looked at next: the end of its period and the grace after it; 0: never."""
    until = turn.account.tier.until
    return _review_of(turn, until) if until != NEVER else 0


def review(turn: Turn, at: int) -> None:
    """The period is over: renew, or land softly (C03)."""
    account, tier = turn.account, turn.account.tier
    best = _at_review(turn, at)
    if best.level >= tier.level:
        account.tier = replace(tier, until=best.until, warned=False, floor=(tier.level, best.until))
        return
    soft = turn.plan.tiers.landing == "one_down" and turn.plan.tiers.window.kind != "lifetime"
    landing = Standing(tier.level - 1 if soft else 0, _window_that_begins(turn, at))
    best = max(best, landing, key=_rank)
    account.tier = replace(tier, floor=(best.level, best.until))
    _move(turn, best.level, at, best.until, reason="period_end")


def _at_review(turn: Turn, at: int) -> Standing:
    """What vouches for a tier at its review. Purchases in the days of grace still count for the period that is over, unless
    a tier ends with the very period that it was reached in (then only the new one counts) or there are no periods.
    """
    account, plan, rules = turn.account, turn.plan, turn.plan.tiers
    best = vouched(turn, at)
    if not rules.grace_days or rules.valid == "end_of_period" or rules.window.kind == "rolling":
        return best
    over = span_of(account, plan, local_day(plan.zone, account.tier.until - 1))
    total = sums(account, plan, Span(over.first, max(over.end, local_day(plan.zone, at))))
    return max(best, Standing(qualified(plan, total), _window_that_begins(turn, at)), key=_rank)


def warning_due(turn: Turn) -> int:
    """When to warn that the tier may be lost; 0: no more in this period."""
    tier, days = turn.account.tier, turn.plan.tiers.warning_days
    if not days or tier.warned or tier.until in (0, NEVER):
        return 0
    return max(tier.since, _days_after(turn, tier.until, -days))


def warn(turn: Turn, at: int) -> None:
    """LOY_TIER_DOWNGRADE_WARNING with what is needed to stay, unless the tier is safe already."""
    account, tier, names = turn.account, turn.account.tier, turn.plan.levels
    account.tier = replace(tier, warned=True)
    due = review_due(turn)
    earned = _at_review(turn, due).level
    if earned < tier.level:
        lower = max(earned, tier.level - 1) if turn.plan.tiers.landing == "one_down" else earned
        gap = missing(turn.plan, tier.level - 1, sums(account, turn.plan, _deciding(turn, due)))
        turn.say(
            "LOY_TIER_DOWNGRADE_WARNING",
            at,
            tier=names[tier.level].name,
            lower_tier=names[lower].name,
            due=due,
            missing=gap.missing if gap and gap.missing else None,
            metric=gap.metric if gap and gap.missing else None,
        )


def _deciding(turn: Turn, due: int) -> Span:
    """The window whose purchases decide at the review: the one that is over then, or the new one where that ends the tier."""
    account, plan = turn.account, turn.plan
    periods = plan.tiers.window.kind != "rolling"
    new = periods and plan.tiers.valid == "end_of_period"
    return span_of(account, plan, local_day(plan.zone, due if new else account.tier.until - 1))


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


def misfit_due(turn: Turn) -> int:
    """Before anything else that concerns the tier: the program does not have the member's level; 0: it has."""
    tier = turn.account.tier
    return tier.since if tier.level > turn.plan.top else 0


def fit(turn: Turn, at: int) -> None:
    """The program has fewer levels now: the highest of them is held from its first day on."""
    since = max(at, min(turn.now, epoch(turn.plan.program.effective_from)))
    _move(turn, turn.plan.top, since, turn.account.tier.until, reason="program")


def from_now_on(turn: Turn) -> None:
    """The member comes back: what would have been told while away is not told any more. A review is made up for."""
    account = turn.account
    while 0 < anniversary_due(turn) <= turn.now:
        account.tier = replace(account.tier, anniversaries=account.tier.anniversaries + 1)
    if 0 < warning_due(turn) <= turn.now:
        account.tier = replace(account.tier, warned=True)


def set_by_hand(turn: Turn, level: int, until: int, at: int) -> None:
    """A manual tier or a status match: not lowered before `until` (NEVER: no end) (C07)."""
    account = turn.account
    account.tier = replace(account.tier, manual=(level, until), floor=(0, 0))
    if level != account.tier.level:
        _move(turn, level, at, until, reason="manual")
    else:
        account.tier = replace(account.tier, until=max(until, account.tier.until) if level else 0)


def forget(history: Sequence[tuple[int, int]], before: int) -> tuple[tuple[int, int], ...]:
    """Tier changes that no check can ask about any more, but for the last of them."""
    old = [change for change in history if change[0] <= before]
    return (*old[-1:], *(change for change in history if change[0] > before))
