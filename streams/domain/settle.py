"""Time passes: everything that fell due up to now happens, each thing at its own time, in order (B03, B04, C03, C06).

Every command begins and ends with this, so a balance never depends on when the clock's tick arrived.
"""

from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec

from streams.domain import budgets, qualification, redemption, returns, tiers, wallets
from streams.domain.account import HORIZON, HORIZON_DAYS, REMEMBER, Account, Lot
from streams.domain.calendar import DAY, day_in_year, days_after, local_day, midnight, years_later
from streams.domain.lots import NEVER, ends_at, expire, make_usable
from streams.domain.plan import Plan
from streams.domain.turn import Turn

replace = msgspec.structs.replace
KNOWN_DAYS = 2 * HORIZON_DAYS + 5
"""How long after its purchase a sale may be known to a return: it came late, and is remembered, by whole days, from then on."""


def is_due(account: Account, plan: Plan, now: int) -> bool:
    """Whether settling may find anything. Another version of the program may see other due times in the same account."""
    return account.settled_by != plan.key or 0 < account.next_due <= now


class Agenda:
    """The first thing that will happen, found by looking at all of them: the earliest; among equals, that of the lowest rank."""

    __slots__ = ("act", "at", "of", "rank")

    def __init__(self) -> None:
        self.at = NEVER
        self.rank = 0
        self.act: Callable[..., None] = _nothing
        self.of: tuple[Any, ...] = ()  # what `act` is called with, before the time

    def add(self, at: int, rank: int, act: Callable[..., None], *of: Any) -> None:
        """Something happens at `at`; 0: never."""
        if at and (at < self.at or (at == self.at and rank < self.rank)):
            self.at, self.rank, self.act, self.of = at, rank, act, of


def _nothing(at: int) -> None:
    """What happens in the end."""


def settle(turn: Turn) -> int:
    """Let happen what is due at `turn.now`. Answers when the clock should look again; 0: never."""
    while True:
        first = _agenda(turn)
        if first.at > turn.now:
            break
        turn.reach(max(turn.time, first.at))
        first.act(*first.of, first.at)
    turn.reach(turn.now)
    return 0 if first.at == NEVER else first.at


def _agenda(turn: Turn) -> Agenda:
    """All that will happen. Points are released before they can expire."""
    agenda, account = Agenda(), turn.account
    if account.status == "receipt":
        agenda.add(account.joined_at + REMEMBER, 9, _forget_receipt, turn)
    elif account.budget is not None:
        agenda.add(budgets.due_of(account.budget), 9, budgets.close, turn)
    else:
        _of_points(turn, agenda)
        if account.wallets:
            for own in wallets.purses(turn):
                _of_points(own, agenda)
        for waiting in account.waiting:
            agenda.add(waiting.due, 4, returns.give_up, turn, waiting)
        if account.status == "in":
            _of_tier(turn, agenda)
            _of_calendar(turn, agenda)
    return agenda


def _of_points(turn: Turn, agenda: Agenda) -> None:
    """Of one wallet: what becomes of its lots and reservations."""
    account, plan, now = turn.account, turn.plan, turn.time
    days: int = plan.points.notice_days
    ahead = (days + 2) * DAY  # no notice comes sooner before the end
    told_of, told_at = 0, 0  # when the notice of that end is due: lots of a month mostly end together
    for lot in account.lots:
        if lot.book == "available":
            end: int = lot.expires_at
            if end <= 0:  # most lots say it themselves
                end = ends_at(lot, account, plan)
            if end - ahead > agenda.at:
                continue  # so the first few lots are all that is looked at closely
            agenda.add(end, 2, expire, turn, lot)
            if days and lot.noticed != end and now < end < NEVER:  # nobody is told of what was over when it came
                if end != told_of:
                    told_of, told_at = end, days_after(plan.zone, end, -days)
                agenda.add(max(told_at, lot.earned_at), 1, _notice, turn, end)
        elif lot.book == "pending":
            agenda.add(lot.available_at, 0, _release, turn, lot)
    for reservation in account.reservations:
        if reservation.status == "open":
            agenda.add(reservation.due, 3, redemption.expire, turn, reservation)


def _of_tier(turn: Turn, agenda: Agenda) -> None:
    agenda.add(tiers.misfit_due(turn), -1, tiers.fit, turn)
    agenda.add(tiers.warning_due(turn), 5, tiers.warn, turn)
    agenda.add(tiers.anniversary_due(turn), 6, tiers.anniversary, turn)
    agenda.add(tiers.review_due(turn), 7, tiers.review, turn)


def _of_calendar(turn: Turn, agenda: Agenda) -> None:
    account, plan = turn.account, turn.plan
    if not plan.program.anniversaries:
        return
    joined = local_day(plan.zone, account.joined_at)
    agenda.add(midnight(plan.zone, years_later(joined, account.anniversaries + 1)), 7, _anniversary, turn)
    if account.birthday:
        year = account.birthdays + 1
        agenda.add(midnight(plan.zone, day_in_year(year, account.birthday)), 8, _birthday, turn, year)


def _release(turn: Turn, lot: Lot, at: int) -> None:
    make_usable(turn, lot)
    turn.say("LOY_POINT_RELEASED", at, points=lot.points)
    if not turn.plan.points.pending_counts_for_tier and turn.account.status == "in":
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
    account.applied = tuple([known for known in account.applied if known.now > kept_from])
    account.returned = tuple([known for known in account.returned if known.at > kept_from])
    account.asked = account.asked and budgets.remembered(account.asked, account.applied, kept_from)
    long_ago = kept_from - REMEMBER  # a sale that came late is remembered this long after its purchase
    account.lapsed = tuple([part for part in account.lapsed if part.earned_at > long_ago])
    account.missed = tuple([part for part in account.missed if part.earned_at > long_ago])
    account.reservations = tuple(
        [
            known
            for known in account.reservations
            if known.status == "open" or known.due > (long_ago if known.check_id else kept_from)
        ]
    )
    if account.wallets:
        for own in wallets.purses(turn):
            forget(own)


def prune(turn: Turn) -> None:
    """Forget what no rule or tier can ask for any more, this command's included."""
    account, now = turn.account, turn.now
    month_ago = local_day(turn.plan.zone, now - HORIZON) - 31
    account.rule_uses = tuple([use for use in account.rule_uses if use.day >= month_ago and use.points])
    days_from = _days_from(turn)
    account.days = tuple([known for known in account.days if known.day >= days_from])
    account.aside = account.aside and qualification.fold_aside(account, days_from)
    if account.tier.history:
        account.tier = replace(account.tier, history=tiers.forget(account.tier.history, now - HORIZON))


def _days_from(turn: Turn) -> int:
    """The first day that a tier window, with the one before it, a cap or a return may still ask for."""
    today = local_day(turn.plan.zone, turn.now)
    span = qualification.span_of(turn.account, turn.plan, today)
    if span.end == 0:
        return today - KNOWN_DAYS
    previous = qualification.span_of(turn.account, turn.plan, span.first - 1)
    return min(previous.first, today - KNOWN_DAYS) - turn.plan.tiers.grace_days
