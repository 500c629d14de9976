"""Redemption in two phases, as in a payment authorisation (A03): reserve, then confirm all or less, or cancel, or run out.

Law: a reservation ends once. Whatever comes after its end is answered with a stable code and changes nothing.
"""

from typing import assert_never

import msgspec

from schemas.codes import Code
from schemas.earning import MAIN
from schemas.records import AnyRequest, Cancel, Confirm, Reserve
from streams.domain.account import Part, Reservation
from streams.domain.calendar import epoch
from streams.domain.lots import put_back, repay, take
from streams.domain.turn import Turn
from streams.domain.wallets import holding, purse

replace = msgspec.structs.replace
_ENDED = {
    "confirmed": Code.RESERVATION_CONFIRMED,
    "cancelled": Code.RESERVATION_CANCELLED,
    "expired": Code.RESERVATION_EXPIRED,
}


def redeem(turn: Turn, request: AnyRequest) -> None:
    """Decide one request of the till."""
    if turn.account.status != "in":
        turn.refuse(Code.MEMBER_OPTED_OUT)
        return
    where = _where(turn, request)
    if where is None:
        turn.refuse(Code.INSUFFICIENT_POINTS)
        return
    match request:
        case Reserve():
            _reserve(where, request)
        case Confirm():
            _confirm(where, request)
        case Cancel():
            _cancel(where, request)
        case _:
            assert_never(request)
    if where is not turn:
        told = where.answer
        turn.answer.status, turn.answer.code, turn.answer.value_minor = told.status, told.code, told.value_minor
    if turn.answer.status == "accepted":
        turn.act(epoch(request.at))


def _where(turn: Turn, request: AnyRequest) -> Turn | None:
    """The wallet that it is about: that of the reward, or that of the reservation. None: the member never had that wallet."""
    account = turn.account
    if not account.wallets and not turn.plan.rewards_elsewhere:
        return turn
    held_by = holding(turn, request.reservation)
    if not isinstance(request, Reserve) or held_by is not turn:  # a name is used once, in whichever wallet
        return held_by
    wallet = next((reward.wallet for reward in turn.plan.rewards_elsewhere if reward.id == request.reward), MAIN)
    if _find(turn, request.reservation) or wallet == MAIN:
        return turn
    return purse(turn, wallet) if any(own.key == wallet for own in account.wallets) else None


def _reserve(turn: Turn, request: Reserve) -> None:
    wanted = _wanted(turn, request)
    if isinstance(wanted, Code):
        turn.refuse(wanted)
        return
    points, value_minor, reward = wanted
    parts = take(turn, points)
    _post_parts(turn, parts, "available", "reserved")
    due = turn.now + turn.plan.program.redemption.reservation_minutes * 60
    reservation = Reservation(request.reservation, "open", parts, due, value_minor, reward)
    turn.account.reservations = (*turn.account.reservations, reservation)
    turn.answer.value_minor = value_minor
    turn.say(
        "LOY_POINT_RESERVED",
        epoch(request.at),
        reservation=request.reservation,
        points=points,
        expires_at=due,
        reward=reward or None,
    )


def _wanted(turn: Turn, request: Reserve) -> tuple[int, int, str] | Code:
    """(points, their worth in minor units, reward), or why not."""
    policy = turn.plan.program.redemption
    known = _find(turn, request.reservation)
    if known is not None:
        return Code.ID_REUSED
    if request.offline:
        return Code.OFFLINE_REDEMPTION
    if any(lot.book == "held" for lot in turn.account.lots):
        return Code.FRAUD_REVIEW
    if request.reward is not None:
        reward = next((reward for reward in policy.rewards if reward.id == request.reward), None)
        if reward is None:
            return Code.REWARD_UNKNOWN
        wanted = (reward.points, reward.value_minor, reward.id)
    else:
        points = request.points or 0
        if points < policy.minimum_points:
            return Code.BELOW_MINIMUM
        wanted = (points, points // policy.points_per_minor, "")
    return wanted if wanted[0] <= turn.account.books.available else Code.INSUFFICIENT_POINTS


def _confirm(turn: Turn, request: Confirm) -> None:
    reservation = _open(turn, request.reservation)
    if reservation is None:
        return
    used = reservation.points if request.points is None else request.points
    if used > reservation.points:
        turn.refuse(Code.CONFIRM_EXCEEDS_RESERVED)
        return
    keep, free = _split(reservation.parts, used)
    value = reservation.value_minor * used // reservation.points
    _post_parts(turn, keep, "reserved", "used")
    check_id = request.check_id or ""
    _end(turn, replace(reservation, status="confirmed", parts=keep, due=turn.now, value_minor=value, check_id=check_id))
    turn.answer.burned, turn.answer.value_minor = used, value
    turn.say(
        "LOY_POINT_REDEMPTION",
        epoch(request.at),
        reservation=reservation.id,
        points=used,
        value_minor=value,
        reward=reservation.reward or None,
        check_id=request.check_id,
    )
    _free(turn, reservation.id, free, "not_used", epoch(request.at))


def _cancel(turn: Turn, request: Cancel) -> None:
    reservation = _open(turn, request.reservation)
    if reservation is not None:
        _end(turn, replace(reservation, status="cancelled", due=turn.now))
        _free(turn, reservation.id, reservation.parts, "cancelled", epoch(request.at))


def expire(turn: Turn, reservation: Reservation, at: int) -> None:
    """The till never came back: what was reserved is free again."""
    _end(turn, replace(reservation, status="expired", due=at))
    _free(turn, reservation.id, reservation.parts, "expired", at)


def free_all(turn: Turn, at: int) -> None:
    """The member leaves: nothing stays reserved."""
    for reservation in turn.account.reservations:
        if reservation.status == "open":
            _end(turn, replace(reservation, status="cancelled", due=turn.now))
            _free(turn, reservation.id, reservation.parts, "cancelled", at)


def _find(turn: Turn, reservation_id: str) -> Reservation | None:
    return next((known for known in turn.account.reservations if known.id == reservation_id), None)


def _open(turn: Turn, reservation_id: str) -> Reservation | None:
    """The reservation if it is still open; else the turn is refused with the reason."""
    reservation = _find(turn, reservation_id)
    if reservation is None:
        turn.refuse(Code.RESERVATION_UNKNOWN)
    elif reservation.status != "open":
        turn.refuse(_ENDED[reservation.status])
    else:
        return reservation
    return None


def _end(turn: Turn, ended: Reservation) -> None:
    turn.account.reservations = tuple(ended if known.id == ended.id else known for known in turn.account.reservations)


def _split(parts: tuple[Part, ...], used: int) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """The first `used` points, soonest-expiring first as they were taken, and the rest."""
    keep, free = [], []
    for part in parts:
        mine = min(part.points, used)
        used -= mine
        keep.append(replace(part, points=mine))
        free.append(replace(part, points=part.points - mine))
    return tuple(part for part in keep if part.points), tuple(part for part in free if part.points)


def _free(turn: Turn, reservation_id: str, parts: tuple[Part, ...], reason: str, at: int) -> None:
    if not parts:
        return
    for part in parts:
        put_back(turn, part, "reserved")
    repay(turn)
    turn.say("LOY_POINT_FREED", at, reservation=reservation_id, points=sum(p.points for p in parts), reason=reason)


def _post_parts(turn: Turn, parts: tuple[Part, ...], source: str, target: str) -> None:
    for part in parts:
        turn.post(source, target, part.points, part.lot)  # type: ignore[arg-type]  # both are books
