"""Returns and voids: take back what the sale earned, give back what paid for it, undo what it counted for (A05, A06, F04).

Law: the share taken depends on how much has come back altogether, never on the steps, so any sequence of partial returns ends
where the full return ends, and all lines returned make nothing of the sale.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from schemas.codes import Code
from schemas.records import Return, Void
from streams.domain import tiers
from streams.domain.account import (
    HORIZON,
    Award,
    Beside,
    Lot,
    Part,
    Returned,
    SaleRecord,
    Taken,
    Waiting,
)
from streams.domain.budgets import give_back
from streams.domain.calendar import epoch
from streams.domain.lots import by_expiry, put_back, remove, repay, together
from streams.domain.outcome import sale_of
from streams.domain.remains import Fractions, fractions, is_whole, share
from streams.domain.sales import count_day, set_aside, use_rule
from streams.domain.turn import Turn
from streams.domain.wallets import purse, purses

replace = msgspec.structs.replace


def apply_return(turn: Turn, check: Return | Void, check_id: str) -> None:
    """A return or void: now, or when its sale comes. Without a sale to refer to it is counted, no more."""
    if turn.account.status == "new":
        turn.answer.code = Code.MEMBER_OPTED_OUT
        return  # who has left still gives back what a purchase of before has earned
    at = epoch(check.at)
    turn.act(at)
    if check.of is None:
        return
    taken = () if isinstance(check, Void) else _merged(Taken(x.line, x.quantity, x.amount_minor) for x in check.lines)
    request = Waiting(check_id, check.of, isinstance(check, Void), taken, at, check.outlet, at + HORIZON)
    sale = next((known for known in turn.account.applied if known.id == check.of), None)
    if sale is None:
        turn.account.waiting = (*turn.account.waiting, replace(request, due=turn.now + HORIZON))
        turn.park(Code.SALE_AWAITED, check_id, at)
        return
    problem = _take_back(turn, request, sale.id, sale_of(sale)) if sale.kind == "sale" else Code.RETURN_OF_RETURN
    if problem is not None:
        turn.refuse(problem)


def _merged(lines: Iterable[Taken]) -> tuple[Taken, ...]:
    """One entry a line, however often the till names it."""
    merged: dict[int, Taken] = {}
    for line in lines:
        known = merged.get(line.line, Taken(line.line, 0, 0))
        merged[line.line] = Taken(line.line, known.quantity + line.quantity, known.amount + line.amount)
    return tuple(merged.values())


def apply_waiting(turn: Turn, sale_id: str) -> None:
    """The sale has come: apply the returns that came before it, in their order."""
    mine = [waiting for waiting in turn.account.waiting if waiting.of == sale_id]
    if not mine:
        return
    turn.account.waiting = tuple(waiting for waiting in turn.account.waiting if waiting.of != sale_id)
    for waiting in sorted(mine, key=lambda known: (known.at, known.id)):
        problem = _take_back(turn, waiting, sale_id, turn.sale)
        if problem is not None:
            turn.say("LOY_CHECK_PARKED", waiting.at, check_id=waiting.id, code=problem)


def give_up(turn: Turn, waiting: Waiting, at: int) -> None:
    """The sale never came: kept for review."""
    turn.account.waiting = tuple(known for known in turn.account.waiting if known is not waiting)
    turn.say("LOY_CHECK_PARKED", at, check_id=waiting.id, code=Code.SALE_NEVER_CAME)


# ---------------------------------------------------------------- taking back


def _take_back(turn: Turn, request: Waiting, sale_id: str, sale: SaleRecord | None) -> Code | None:
    """Apply it, or say why not (and change nothing)."""
    if sale is None:
        return None  # a claim that was kept for review
    before = next((known for known in turn.account.returned if known.sale == sale_id), Returned(sale_id, turn.now))
    if before.void:
        return Code.SALE_VOIDED
    after = _added(before, request, sale)
    if after is None:
        return Code.RETURN_EXCEEDS_SALE
    was, now = fractions(sale, before), fractions(sale, after)
    points = _unearned(sale, was, now)
    gone = min(points.total(), before.confiscated)
    _note_returned(turn, replace(after, confiscated=before.confiscated - gone))
    tier = tiers.before_return(turn)
    if sale.beside:
        _take_back_beside(turn, request, sale, sale.beside, {} if before.confiscated else points, (was, now))
    if sale.day:
        _uncount(turn, sale, points, gone, was, now)
    restore(turn, sale_id, sale, request.id, request.at)
    if turn.account.asked:
        _take_back_granted(turn, request, sale, was, now)
    _reverse(turn, request, sale, points.total() - gone)
    tiers.after_return(turn, tier, request.at)
    return None


def _note_returned(turn: Turn, returned: Returned) -> None:
    others = tuple(known for known in turn.account.returned if known.sale != returned.sale)
    turn.account.returned = (*others, returned)


def _take_back_beside(  # what there is to know about a return
    turn: Turn, request: Waiting, sale: SaleRecord, beside: Beside, points: Mapping[str, int], back: tuple[Fractions, Fractions]
) -> None:
    """What the sale earned in other wallets, each by its own terms; and what qualified otherwise."""
    aside = sum(points[rule] for rule in beside.unusual if rule in points)
    for credit in beside.credits:
        own, mine = purse(turn, credit.wallet), _unearned(replace(sale, awards=credit.awards), *back)
        known = next((known for known in own.account.returned if known.sale == request.of), None)
        gone = min(mine.total(), known.confiscated) if known else 0
        if known and gone:
            _note_returned(own, replace(known, confiscated=known.confiscated - gone))
        aside -= sum(mine[rule] for rule in beside.unusual if not gone)
        _uncount_rules(turn, mine, sale.day)
        _reverse(own, request, replace(sale, lot=credit.lot), mine.total() - gone)
    set_aside(turn.account, sale.day, aside, beside, sale.lot)


def _take_back_granted(turn: Turn, request: Waiting, sale: SaleRecord, was: Fractions, now: Fractions) -> None:
    """What budgets over all members granted for the sale, in the same shares; and the budget may grant it again."""
    for asked in turn.account.asked:
        if asked.sale != request.of or asked.points <= 0:
            continue  # another sale's; or not granted yet, then the grant finds the return
        granted = replace(sale, awards=(Award(asked.rule, asked.shares),), lot=asked.lot)
        points = _unearned(granted, was, now).total()
        returned = next(known for known in turn.account.returned if known.sale == request.of)
        gone = min(points, returned.confiscated)  # a review has given that back already
        _note_returned(turn, replace(returned, confiscated=returned.confiscated - gone))
        count_day(turn.account, asked.day, points=gone - points, spend=0, checks=0)
        if asked.aside and not gone:
            set_aside(turn.account, asked.day, points, Beside(), asked.lot)
        give_back(turn, asked, points - gone - _reverse(turn, request, granted, points - gone), request.id)


def review_granted(turn: Turn, hold: str, *, taken: bool) -> None:
    """A review ends: what it takes is the budget's again, also what is not granted yet; the rest is granted like any other."""
    mine = [asked for asked in turn.account.asked if asked.sale == hold and asked.hold == "held"]
    for asked in mine if taken else ():
        held = sum(lot.points for lot in turn.account.lots if lot.number == asked.lot and lot.book == "held")
        give_back(turn, asked, held, turn.cause)
    end: Literal["taken", ""] = "taken" if taken else ""
    turn.account.asked = tuple(replace(asked, hold=end) if asked in mine else asked for asked in turn.account.asked)


def seize(turn: Turn, lot: Lot) -> None:
    """A review takes what is held in a wallet."""
    remove(turn, lot, lot.points, "reversed")
    _note_confiscated(turn, lot)


def confiscate(turn: Turn, lot: Lot) -> None:
    """A review takes what is held: it counts for nothing, and a return of its sale will find it taken (F09)."""
    seize(turn, lot)
    count_day(turn.account, lot.day, points=-lot.points, spend=0, checks=0)


def _note_confiscated(turn: Turn, lot: Lot) -> None:
    known = next((known for known in turn.account.returned if known.sale == lot.hold), Returned(lot.hold, turn.now))
    _note_returned(turn, replace(known, confiscated=known.confiscated + lot.points))


def _added(before: Returned, request: Waiting, sale: SaleRecord) -> Returned | None:
    """What has come back with this return; None when that is more than was sold."""
    if request.void:
        whole = tuple(Taken(line.line, line.quantity, line.net) for line in sale.lines)
        return replace(before, lines=whole, void=True)
    sold = {line.line: line for line in sale.lines}
    total = {taken.line: taken for taken in _merged((*before.lines, *request.lines))}
    for number, taken in total.items():
        line = sold.get(number)
        if line is None or taken.quantity > line.quantity or taken.amount > line.net:
            return None
    return replace(before, lines=tuple(total[number] for number in sorted(total)))


def _unearned(sale: SaleRecord, before: Fractions, after: Fractions) -> Counter[str]:
    """How many points the sale no longer earns, by rule."""
    points = Counter[str]()
    for award in sale.awards:
        points[award.rule] += sum(share(given, after[line]) - share(given, before[line]) for line, given, _ in award.shares)
    return points


def _uncount(turn: Turn, sale: SaleRecord, points: Counter[str], gone: int, before: Fractions, after: Fractions) -> None:
    """Take back what the sale counted for tiers, caps and visits, but for points that count no more."""
    _uncount_rules(turn, points, sale.day)
    spend = sum(share(line.base, after[line.line]) - share(line.base, before[line.line]) for line in sale.lines)
    checks = -1 if is_whole(after) and not is_whole(before) else 0
    count_day(turn.account, sale.day, points=gone - points.total(), spend=-spend, checks=checks)


def _uncount_rules(turn: Turn, points: Counter[str], day: int) -> None:
    capped = {use.rule for use in turn.account.rule_uses}
    for rule, back in points.items():
        if rule in capped:
            use_rule(turn.account, rule, day, -back)


def _reverse(turn: Turn, request: Waiting, sale: SaleRecord, points: int) -> int:
    """Points go where they can be found: the sale's own lot, pending ones, usable ones, then a debt by policy. Answers what was
    forgiven.
    """
    if points == 0:
        return 0
    expired = _excuse_expired(turn, sale.lot, points)
    left = points - expired
    for lot in _sources(turn, sale.lot):
        part = min(left, lot.points)
        remove(turn, lot, part, "reversed")
        left -= part
    if left:
        turn.account.missed = together(turn.account.missed, Part(sale.lot, left, request.at, 0))
    policy = turn.plan.program.points.debt
    owed = 0 if policy == "floor" else left
    turn.post("debt", "reversed", owed)
    if policy == "hold_refund":
        turn.answer.hold_refund_minor += owed // turn.plan.program.redemption.points_per_minor
    turn.answer.earned -= points - expired - (left - owed)
    turn.say(
        "LOY_POINT_REVERSED",
        request.at,
        check_id=request.id,
        of=request.of,
        points=points,
        debt=owed,
        forgiven=left - owed,
        expired=expired,
    )
    return left - owed


def _sources(turn: Turn, own: int) -> list[Lot]:
    mine = [lot for lot in turn.account.lots if lot.number == own]
    others = [lot for book in ("pending", "available") for lot in by_expiry(turn, book) if lot.number != own]
    return [*mine, *others]


def _excuse_expired(turn: Turn, lot: int, points: int) -> int:
    """How many of the points ended unused before: they are gone already, so nobody owes them. Each counts once."""
    lapsed = next((part for part in turn.account.lapsed if part.lot == lot), None)
    if lapsed is None:
        return 0
    excused = min(points, lapsed.points)
    turn.account.lapsed = together(turn.account.lapsed, replace(lapsed, points=-excused))
    return excused


# ---------------------------------------------------------------- giving back


def restore(turn: Turn, sale_id: str, sale: SaleRecord, check_id: str, at: int) -> None:
    """Points that paid for the sale come back in proportion to what came back of it, with their old expiry."""
    returned = next((known for known in turn.account.returned if known.sale == sale_id), None)
    if returned is None:
        return
    came = fractions(sale, returned)
    worth = sum(line.net for line in sale.lines)
    back = sum(share(line.net, came[line.line]) for line in sale.lines)
    for own in (turn, *purses(turn)):
        _restore(own, sale_id, check_id, at, whole=is_whole(came), part=(back, max(1, worth)))


def _restore(turn: Turn, sale_id: str, check_id: str, at: int, *, whole: bool, part: tuple[int, int]) -> None:
    for reservation in turn.account.reservations:
        if reservation.status == "confirmed" and reservation.check_id == sale_id:
            due = reservation.points if whole else share(reservation.points, part)
            parts = _next_parts(reservation.parts, reservation.restored, due)
            if parts:
                _give_back(turn, parts, check_id, sale_id, at)
                _mark_restored(turn, reservation.id, due)


def _next_parts(parts: tuple[Part, ...], done: int, due: int) -> tuple[Part, ...]:
    """The points numbered done..due of what was used."""
    found, start = [], 0
    for part in parts:
        first, last = max(done, start), min(due, start + part.points)
        if last > first:
            found.append(replace(part, points=last - first))
        start += part.points
    return tuple(found)


def _give_back(turn: Turn, parts: tuple[Part, ...], check_id: str, sale_id: str, at: int) -> None:
    for part in parts:
        put_back(turn, part, "used")
    repay(turn)
    points = sum(part.points for part in parts)
    turn.say("LOY_POINT_RESTORED", at, check_id=check_id, of=sale_id, points=points)


def restore_late(turn: Turn, check_id: str, at: int) -> None:
    """A redemption is confirmed after its receipt was returned: what it paid for is given back at once."""
    sale = next((known for known in turn.account.applied if known.id == check_id and known.kind == "sale"), None)
    record = sale_of(sale) if sale else None
    if record is not None:
        restore(turn, check_id, record, check_id, at)


def _mark_restored(turn: Turn, reservation_id: str, restored: int) -> None:
    turn.account.reservations = tuple(
        replace(known, restored=restored) if known.id == reservation_id else known for known in turn.account.reservations
    )
