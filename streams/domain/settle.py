"""Time passes: everything that fell due up to now happens, each thing at its own time, in order (B03, B04, C03, C06).

Every command begins and ends with this, so a balance never depends on when the clock's tick arrived.
"""

from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from operator import itemgetter

import msgspec

from streams.domain import budgets, qualification, redemption, returns, tiers, wallets
from streams.domain.account import HORIZON, REMEMBER, Account, Lot
from streams.domain.calendar import DAY, day_in_year, days_after, local_day, midnight, years_later
from streams.domain.lots import NEVER, ends_at, expire, make_usable
from streams.domain.plan import Plan
from streams.domain.turn import Turn

Action = Callable[[int], None]
Item = tuple[int, int, Action]
"""(when, rank among equals, what)."""
_NOTHING: Item = (NEVER, 0, lambda _at: None)
replace = msgspec.structs.replace


def is_due(account: Account, plan: Plan, now: int) -> bool:
    """Whether settling may find anything. Another version of the program may see other due times in the same account."""
    return account.settled_by != plan.key or 0 < account.next_due <= now


def settle(turn: Turn) -> int:
    """Let happen what is due at `turn.now`. Answers when the clock should look again; 0: never."""
    while True:
        at, _, action = min(_agenda(turn), key=itemgetter(0, 1))
        if at > turn.now:
            break
        turn.reach(max(turn.time, at))
        action(at)
    turn.reach(turn.now)
    return 0 if at == NEVER else at


def _agenda(turn: Turn) -> list[Item]:
    """All that will happen. Points are released before they can expire."""
    account = turn.account
    if account.status == "receipt":
        return [(account.joined_at + REMEMBER, 9, partial(_forget_receipt, turn))]
    if account.budget is not None:
        return [(budgets.due_of(account.budget), 9, partial(budgets.close, turn))]
    items = _of_lots(turn)
    for reservation in account.reservations:
        if reservation.status == "open":
            items.append((reservation.due, 3, partial(redemption.expire, turn, reservation)))
    if account.wallets:
        items.extend(_of_wallets(turn))
    for waiting in account.waiting:
        items.append((waiting.due, 4, partial(returns.give_up, turn, waiting)))
    if account.status == "in":
        items.extend(_of_tier(turn))
        items.extend(_of_calendar(turn))
    return items


def _of_lots(turn: Turn) -> list[Item]:
    """The first release, the first end and the first notice: no other lot can be next."""
    account, plan = turn.account, turn.plan
    days = plan.program.points.notice_days
    release, notice, over = _NOTHING, _NOTHING, _NOTHING
    told_of, told_at = 0, 0  # when the notice of that end is due: lots of a month mostly end together
    for lot in account.lots:
        if lot.book == "pending":
            if lot.available_at < release[0]:
                release = lot.available_at, 0, partial(_release, turn, lot)
        elif lot.book == "available":
            end = ends_at(lot, account, plan)
            if end < over[0]:
                over = end, 2, partial(expire, turn, lot)
            if days and lot.noticed != end and turn.time < end < NEVER:  # nobody is told of what was over when it came
                if end != told_of:
                    told_of, told_at = end, days_after(plan.zone, end, -days)
                at = max(told_at, lot.earned_at)
                if at < notice[0]:
                    notice = at, 1, partial(_notice, turn, end)
    return [release, notice, over]


def _of_wallets(turn: Turn) -> Iterator[Item]:
    for own in wallets.purses(turn):
        yield from _of_lots(own)
        for reservation in own.account.reservations:
            if reservation.status == "open":
                yield reservation.due, 3, partial(redemption.expire, own, reservation)


def _of_tier(turn: Turn) -> Iterator[Item]:
    for rank, due, action in (
        (-1, tiers.misfit_due, tiers.fit),
        (5, tiers.warning_due, tiers.warn),
        (6, tiers.anniversary_due, tiers.anniversary),
        (7, tiers.review_due, tiers.review),
    ):
        at = due(turn)
        if at:
            yield at, rank, partial(action, turn)


def _of_calendar(turn: Turn) -> Iterator[Item]:
    account, zone = turn.account, turn.plan.zone
    if not turn.plan.program.anniversaries:
        return
    joined = local_day(zone, account.joined_at)
    yield midnight(zone, years_later(joined, account.anniversaries + 1)), 7, partial(_anniversary, turn)
    if account.birthday:
        year = account.birthdays + 1
        yield midnight(zone, day_in_year(year, account.birthday)), 8, partial(_birthday, turn, year)


def _release(turn: Turn, lot: Lot, at: int) -> None:
    make_usable(turn, lot)
    turn.say("LOY_POINT_RELEASED", at, points=lot.points)
    if not turn.plan.program.points.pending_counts_for_tier and turn.account.status == "in":
        tiers.after_purchase(turn, lot.day, at, None)


def _notice(turn: Turn, end: int, at: int) -> None:
    """One notice for all that ends at the same instant."""
    account = turn.account
    ending = [lot for lot in account.lots if lot.book == "available" and ends_at(lot, account, turn.plan) == end]
    account.lots = tuple(replace(lot, noticed=end) if lot in ending else lot for lot in account.lots)
    turn.say("LOY_POINT_EXPIRING_SOON", at, points=sum(lot.points for lot in ending), expires_at=end)


def from_now_on(turn: Turn) -> None:
    """The member joins, comes back or names a birthday: days of the calendar that are past are not told any more."""
    account, zone, now = turn.account, turn.plan.zone, turn.now
    today = local_day(zone, now)
    joined = local_day(zone, account.joined_at)
    while years_later(joined, account.anniversaries + 1) <= today:
        account.anniversaries += 1
    if account.birthday:
        year = date.fromordinal(today).year
        past = year if day_in_year(year, account.birthday) <= today else year - 1
        account.birthdays = max(account.birthdays, past)
    tiers.from_now_on(turn)


def _anniversary(turn: Turn, at: int) -> None:
    turn.account.anniversaries += 1
    turn.say("LOY_ANNIVERSARY", at, years=turn.account.anniversaries)


def _birthday(turn: Turn, year: int, at: int) -> None:
    turn.account.birthdays = year
    turn.say("LOY_BIRTHDAY", at)


def _forget_receipt(turn: Turn, _at: int) -> None:
    """No check, return or claim can ask for it any more."""
    turn.account = Account(key=turn.account.key, now=turn.account.now)


def remembered_from(now: int) -> int:
    """Commands decided after this are remembered. By whole days, so that no command in between changes what is found."""
    return now // DAY * DAY - REMEMBER


def forget(turn: Turn) -> None:
    """Forget what no repeat or return may ask for any more, once everything due has happened."""
    account, kept_from = turn.account, remembered_from(turn.now)
    account.applied = tuple(known for known in account.applied if known.now > kept_from)
    account.returned = tuple(known for known in account.returned if known.at > kept_from)
    account.asked = budgets.remembered(account.asked, account.applied, kept_from)
    long_ago = kept_from - REMEMBER  # a sale that came late is remembered this long after its purchase
    account.lapsed = tuple(part for part in account.lapsed if part.earned_at > long_ago)
    account.missed = tuple(part for part in account.missed if part.earned_at > long_ago)
    account.reservations = tuple(
        known
        for known in account.reservations
        if known.status == "open" or known.due > (long_ago if known.check_id else kept_from)
    )
    for own in wallets.purses(turn):
        forget(own)


def prune(turn: Turn) -> None:
    """Forget what no rule or tier can ask for any more, this command's included."""
    account, now = turn.account, turn.now
    month_ago = local_day(turn.plan.zone, now - HORIZON) - 31
    account.rule_uses = tuple(use for use in account.rule_uses if use.day >= month_ago and use.points)
    days_from = _days_from(turn)
    account.days = tuple(known for known in account.days if known.day >= days_from)
    account.aside = account.aside and qualification.fold_aside(account, days_from)
    account.tier = replace(account.tier, history=tiers.forget(account.tier.history, now - HORIZON))


def _days_from(turn: Turn) -> int:
    """The first day that a tier window, with the one before it, or a cap may still ask for."""
    today = local_day(turn.plan.zone, turn.now)
    span = qualification.span_of(turn.account, turn.plan, today)
    if span.end == 0:
        return today - 70
    previous = qualification.span_of(turn.account, turn.plan, span.first - 1)
    return min(previous.first, today - 70) - turn.plan.program.tiers.grace_days
