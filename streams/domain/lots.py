"""Lots: how points come, become usable, are taken soonest-expiring first, come back, and end (B03, B04).

Law: a point that comes back has its old expiry, so cancelling is no way to dodge it.
"""

from typing import Final, Literal

import msgspec

from schemas.points import AnyExpiry
from streams.domain.account import WITH_ACTIVITY, Account, Lot, Part
from streams.domain.calendar import local_day, midnight, month_end, year_end
from streams.domain.plan import Plan
from streams.domain.turn import Turn

NEVER: Final = 1 << 62
replace = msgspec.structs.replace


def expiry_of(policy: AnyExpiry, day: int, zone: str) -> int:
    """When points earned on that local day end: a local midnight, NEVER as 0, or WITH_ACTIVITY."""
    if policy.kind == "after_days":  # told apart by text: to ask for a class that it is not takes ten times as long
        return midnight(zone, day + policy.days + 1)
    if policy.kind == "end_of_month":
        return midnight(zone, month_end(day, policy.months) + 1)
    if policy.kind == "end_of_year":
        return midnight(zone, year_end(day, policy.years) + 1)
    return WITH_ACTIVITY if policy.kind == "inactivity" else 0


def ends_at(lot: Lot | Part, account: Account, plan: Plan) -> int:
    """The instant at which the points end; NEVER when they do not."""
    if lot.expires_at > 0:
        return lot.expires_at
    if lot.expires_at == 0:
        return NEVER
    policy = plan.points.expiry
    if policy.kind != "inactivity":
        return NEVER  # the program no longer ends points by inactivity
    last = max(account.last_purchase, lot.earned_at)  # what is given by hand after a long silence lasts as long
    return midnight(plan.zone, local_day(plan.zone, last) + policy.days + 1)


def by_expiry(turn: Turn, book: str) -> list[Lot]:
    """The lots of a book, the one that ends soonest first, the older first among equals. What has ended is of no use."""
    account, plan = turn.account, turn.plan
    lots = [(ends_at(lot, account, plan), lot.earned_at, lot.number, lot) for lot in account.lots if lot.book == book]
    return [lot for end, _, _, lot in sorted(lots) if end > turn.time]


def give(turn: Turn, source: Literal["adjusted", "issued"], points: int, at: int) -> None:
    """Points without a purchase: a lot of its own, which ends like one bought on that day. A debt is paid first."""
    zone, number = turn.plan.zone, turn.new_lot_number()
    expires_at = expiry_of(turn.plan.points.expiry, local_day(zone, at), zone)
    turn.add_lot(Lot(number, points, "available", at, 0, expires_at))
    turn.post(source, "available", points, number)
    repay(turn)


def take(turn: Turn, points: int) -> tuple[Part, ...]:
    """Take usable points out of their lots, soonest-expiring first. The caller posts them and knows there are enough."""
    parts = []
    for lot in by_expiry(turn, "available"):
        if points == 0:
            break
        part = min(points, lot.points)
        turn.change_lot(lot, points=lot.points - part)
        parts.append(Part(lot.number, part, lot.earned_at, lot.expires_at, lot.noticed))
        points -= part
    assert points == 0, "more points taken than there are"  # noqa: S101  # a broken invariant stops the worker
    return tuple(parts)


def put_back(turn: Turn, part: Part, source: Literal["reserved", "used"]) -> None:
    """Points return to their lot as they were, less what a reversal of their sale has missed meanwhile."""
    points = part.points - _reclaim(turn, part, source)
    turn.post(source, "available", points, part.lot)
    for lot in turn.account.lots:
        if lot.number == part.lot and lot.book == "available":
            turn.change_lot(lot, points=lot.points + points)
            return
    if points:
        turn.add_lot(Lot(part.lot, points, "available", part.earned_at, 0, part.expires_at, noticed=part.noticed))


def _reclaim(turn: Turn, part: Part, source: Literal["reserved", "used"]) -> int:
    """Nobody keeps the points of a sale that was taken back: what was owed for them is paid, what was forgiven is taken.

    A return misses what all lots together do not have: so points of other sales take part that it would have found, had they
    lain there.
    """
    account, floor, reclaimed = turn.account, turn.plan.points.debt == "floor", 0
    end = ends_at(part, account, turn.plan)
    missed = [known for known in account.missed if known.lot == part.lot or part.earned_at <= known.earned_at < end]
    for known in sorted(missed, key=lambda known: (known.lot != part.lot, known.lot)):
        points = min(known.points, part.points - reclaimed)
        account.missed = together(account.missed, replace(known, points=-points))
        if not floor:
            points = min(points, account.debt)
        turn.post(source, "reversed" if floor else "debt", points, part.lot)
        reclaimed += points
    return reclaimed


def together(parts: tuple[Part, ...], more: Part) -> tuple[Part, ...]:
    """The parts with one more: one entry a lot, none that is empty."""
    known = next((part for part in parts if part.lot == more.lot), None)
    total = replace(more, points=more.points + (known.points if known else 0))
    others = tuple(part for part in parts if part is not known)
    return (*others, total) if total.points else others


def make_usable(turn: Turn, lot: Lot) -> int:
    """A pending or held lot becomes usable; a debt is repaid from it first (A06). Answers how much was repaid."""
    turn.post(lot.book, "available", lot.points, lot.number)
    turn.change_lot(lot, book="available", hold="")
    return repay(turn)


def repay(turn: Turn) -> int:
    """Whatever is usable pays what is owed. The caller states the fact."""
    owed = turn.account.debt and min(turn.account.debt, sum(lot.points for lot in by_expiry(turn, "available")))
    if owed:
        for part in take(turn, owed):
            turn.post("available", "debt", part.points, part.lot)
    return owed


def expire(turn: Turn, lot: Lot, at: int) -> None:
    """The lot ends unused."""
    remove(turn, lot, lot.points, "expired")
    turn.account.lapsed = together(turn.account.lapsed, Part(lot.number, lot.points, at, lot.expires_at))
    turn.say("LOY_POINT_EXPIRED", at, points=lot.points)


def remove(turn: Turn, lot: Lot, points: int, target: str) -> None:
    """Take points of one lot, whichever book it is in, for good."""
    turn.post(lot.book, target, points, lot.number)  # type: ignore[arg-type]  # both are books
    turn.change_lot(lot, points=lot.points - points)
