"""A sale: judge it, award it, put the points where they belong (A04, A08, A09, B03, B04, B10).

Everything is judged by purchase time, whenever the check arrives: program, tier, day, caps. A check is judged once, so where
checks compete (for room under a cap, the n-th visit, a tier's rate, a joined threshold) the one that arrives first goes first.
"""

from typing import Any, Literal

import msgspec

from schemas.codes import Code
from schemas.records import Sale
from streams.domain import fraud, tiers
from streams.domain.account import (
    Account,
    Applied,
    Aside,
    Award,
    Beside,
    Credit,
    Day,
    Joined,
    Lot,
    RuleUse,
    SaleRecord,
)
from streams.domain.budgets import ask
from streams.domain.calendar import days_to_birthday, midnight, month_end, period_start
from streams.domain.earning import Accrual, Context, award, sold_lines
from streams.domain.fraud import Hit
from streams.domain.lots import expiry_of, repay
from streams.domain.outcome import sale_of
from streams.domain.plan import Circumstances, Plan
from streams.domain.remains import fractions, is_whole
from streams.domain.turn import Turn
from streams.domain.wallets import purse, purses

replace = msgspec.structs.replace


def apply_sale(turn: Turn, sale: Sale, check_id: str) -> None:
    """A member's receipt becomes points, days, tiers and events."""
    account, plan, at = turn.account, turn.plan, turn.at
    goods = [plan.goods(line) for line in sale.lines]
    lines = sold_lines(sale, goods, plan)
    if account.status != "in":
        turn.answer.code = Code.MEMBER_OPTED_OUT
        turn.sale = SaleRecord(lines, (), 0, 0)  # it earns nothing, but points that paid for it may have to come back
        return
    day = counted = sale.at.toordinal()
    own_card = fraud.is_own_card(sale, account)
    if own_card:
        turn.answer.code = Code.CASHIER_OWN_CARD
        lines = tuple(replace(line, base=0) for line in lines)  # so nothing of it earns or qualifies,
        counted = 0  # nor is it a visit
    paid = sum([line.base for line in lines])
    accrual = award(sale, goods, lines, plan, _context(account, plan, sale, paid, at, day))
    hits = fraud.assess(fraud.Seen(sale, at, accrual.points, own_card=own_card), account, plan)
    held = fraud.is_critical(hits, plan)
    _remember_purchase(turn, counted, at, paid, accrual)
    lot = book(turn, check_id, at, day, accrual.points, held=held) if accrual.points else 0
    turn.sale = SaleRecord(lines, accrual.awards, lot, counted, accrual.joined, accrual.cuts)
    if account.wallets or accrual.elsewhere or _is_unusual(accrual, plan):
        turn.sale = replace(turn.sale, beside=_beside(turn, turn.sale, check_id, at, accrual, held=held))
    if accrual.asked:
        ask(turn, check_id, at, day, accrual.asked, held=held)
    turn.answer.earned = accrual.points
    _suspect(turn, check_id, at, hits, accrual.points, held=held)
    tiers.after_purchase(turn, day, at, turn.sale)


# ---------------------------------------------------------------- what the account contributes to earning


def _context(account: Account, plan: Plan, sale: Sale, paid: int, at: int, day: int) -> Context:
    birthday = account.birthday
    about = Circumstances(
        tier=plan.levels[min(tiers.held_at(account, at), plan.top)].name,
        birthday_days=days_to_birthday(day, birthday) if birthday else None,
        visits=account.lifetime.checks,
        total_minor=paid,
        staff=bool(account.staff),
    )
    return Context(
        about,
        at,
        _joined(account, plan, sale, at),
        account.rule_uses,
        _room(account, plan, day),
        day,
        first_visit_of_day=all(not known.checks for known in account.days if known.day == day),
    )


def _joined(account: Account, plan: Plan, sale: Sale, at: int) -> list[tuple[int, Joined]]:
    """What the member's receipts at the same till brought, before and after in purchase time, unless they came back."""
    near = 2 * plan.join_minutes * 60  # the neighbours of neighbours: whether a receipt was counted already
    if not near:
        return []
    return [
        (known.at, brought)
        for known in account.applied
        if abs(at - known.at) <= near and known.kind == "sale" and known.outlet == sale.outlet and known.till == sale.till
        for brought in _brought(account, known)
    ]


def _brought(account: Account, sale: Applied) -> tuple[Joined, ...]:
    record = sale_of(sale)
    returned = next((known for known in account.returned if known.sale == sale.id), None)
    if record is None or (returned and is_whole(fractions(record, returned))):
        return ()
    return record.joined


def _room(account: Account, plan: Plan, day: int) -> tuple[int | None, str]:
    """The tightest of the caps over everything, and its name."""
    tightest: int | None = None
    tightest_by = ""
    for per, points, name in plan.caps:
        room = max(0, points - _counted(per, account, day))
        if tightest is None or (room, name) < (tightest, tightest_by):
            tightest, tightest_by = room, name
    return tightest, tightest_by


def _counted(per: str, account: Account, day: int) -> int:
    """What a cap over everything counts already."""
    if per == "check":
        return 0
    if per == "balance":
        return account.owned + _asked(account, 0, 1 << 30)
    first, last = (period_start(day, "month"), month_end(day, 0)) if per == "month" else (day, day)
    return _asked(account, first, last) + sum([known.points for known in account.days if first <= known.day <= last])


def _asked(account: Account, first: int, last: int) -> int:
    """Points that budgets may still grant for purchases of those days."""
    if not account.asked:
        return 0
    return sum([known.wanted for known in account.asked if first <= known.day <= last])


# ---------------------------------------------------------------- what the sale leaves on the account


def _remember_purchase(turn: Turn, day: int, at: int, paid: int, accrual: Accrual) -> None:
    account, capped = turn.account, turn.plan.capped
    if day:
        count_day(account, day, points=accrual.points, spend=paid, checks=1)
    for given in accrual.awards:
        if given.rule in capped:
            use_rule(account, given.rule, day, given.points)
    account.first_purchase = min(at, account.first_purchase or at)
    account.last_purchase = max(at, account.last_purchase)
    turn.act(at)


def count_day(account: Account, day: int, *, points: int, spend: int, checks: int) -> None:
    """Add to (or take from) a day of purchases and the lifetime sums; a day is one visit however many checks it has."""
    days = account.days
    old = next((known for known in reversed(days) if known.day == day), Day(day))
    new = Day(day, max(0, old.points + points), max(0, old.spend + spend), max(0, old.checks + checks))
    if days and days[-1].day > day:  # a late check
        account.days = tuple(sorted((*(known for known in days if known is not old), new), key=lambda known: known.day))
    else:
        account.days = (*(days[:-1] if days and days[-1] is old else days), new)
    life = account.lifetime
    visits = bool(new.checks) - bool(old.checks)
    account.lifetime = Day(0, life.points + new.points - old.points, life.spend + new.spend - old.spend, life.checks + visits)


def use_rule(account: Account, rule: str, day: int, points: int) -> None:
    """Count what a capped rule gave (or took back) on a day."""
    others, known = [], 0
    for use in account.rule_uses:
        if use.day == day and use.rule == rule:
            known = use.points
        else:
            others.append(use)
    account.rule_uses = (*others, RuleUse(rule, day, max(0, known + points)))


def book(turn: Turn, check_id: str, at: int, day: int, points: int, *, held: bool, **trail: Any) -> int:
    """One lot for points that a check earned at once: held, pending or usable. `trail`: whence they came, if not by the sale."""
    policy, zone = turn.plan.points, turn.plan.zone
    available_at = midnight(zone, day + policy.pending_days) if policy.pending_days else 0
    pending = available_at > turn.now
    number = turn.new_lot_number()
    expires_at = expiry_of(policy.expiry, day, zone)
    into: Literal["held", "pending", "available"] = "held" if held else "pending" if pending else "available"
    turn.add_lot(Lot(number, points, into, at, available_at, expires_at, check_id if held else "", day=day))
    turn.post("issued", into, points, number)
    repaid = repay(turn) if into == "available" else 0
    turn.say("LOY_POINT_ACCRUAL", at, check_id=check_id, points=points, debt_repaid=repaid, held=held, **trail)
    if pending and not held:
        turn.say("LOY_POINT_PENDING", at, check_id=check_id, points=points, available_at=available_at)
    return number


# ---------------------------------------------------------------- beside the main wallet


def _is_unusual(accrual: Accrual, plan: Plan) -> bool:
    return bool(plan.unusual) and any(given.rule in plan.unusual for given in accrual.awards)


def _beside(turn: Turn, sale: SaleRecord, check_id: str, at: int, accrual: Accrual, *, held: bool) -> Beside | None:
    """What goes to other wallets, and what qualifies otherwise than points usually do."""
    for own in purses(turn):
        own.account.last_purchase = max(at, own.account.last_purchase)
    credits_ = tuple(_credit(turn, wallet, awards, check_id, at, sale.day, held) for wallet, awards in accrual.elsewhere)
    away = [given for credit in credits_ for given in credit.awards]
    for given in away:
        if given.rule in turn.plan.capped:
            use_rule(turn.account, given.rule, sale.day, given.points)
    unusual = tuple(given.rule for given in (*sale.awards, *away) if given.rule in turn.plan.unusual)
    if not credits_ and not unusual:
        return None
    beside = Beside(credits_, unusual)
    gained = sum(given.points for given in away if given.rule in unusual)
    less = sum(given.points for given in sale.awards if given.rule in unusual)
    set_aside(turn.account, sale.day, gained - less, beside, sale.lot)
    return beside


def _credit(turn: Turn, wallet: str, awards: tuple[Award, ...], check_id: str, at: int, day: int, held: bool) -> Credit:  # noqa: FBT001, PLR0917
    """One lot of that wallet, usable at once unless a review holds it."""
    own = purse(turn, wallet)
    number, points = own.new_lot_number(), sum(given.points for given in awards)
    expires_at = expiry_of(own.plan.points.expiry, day, own.plan.zone)
    book: Literal["held", "available"] = "held" if held else "available"
    own.add_lot(Lot(number, points, book, at, 0, expires_at, check_id if held else "", day=day))
    own.post("issued", book, points, number)
    if not held:
        repay(own)
    own.say("LOY_POINT_ACCRUAL", at, check_id=check_id, points=points)
    return Credit(wallet, awards, number)


def set_aside(account: Account, day: int, points: int, beside: Beside, lot: int) -> None:
    """Note what qualifies otherwise. It counts when the lot does that it came with: the main one, or else the first other."""
    if points:
        other = beside.credits[0] if beside.credits and not lot else None
        aside = Aside(day, points, other.wallet, other.lot) if other else Aside(day, points, "", lot)
        account.aside = (*account.aside, aside)


def _suspect(turn: Turn, check_id: str, at: int, hits: tuple[Hit, ...], points: int, *, held: bool) -> None:
    turn.answer.hits = [hit.as_dict() for hit in hits]
    if held:
        if turn.answer.code is Code.OK:
            turn.answer.code = Code.FRAUD_REVIEW
        turn.say(
            "LOY_FRAUD_SUSPECTED",
            at,
            check_id=check_id,
            score=sum(hit.weight for hit in hits),
            hits=turn.answer.hits,
            points=points,
        )
