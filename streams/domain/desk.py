"""The service desk and the member's own steps: join, leave, answer an offer, adjust with four eyes, review a hold, set a tier.

Rows B06, C07, E02, F09 of the capabilities.
"""

from typing import assert_never

from schemas.codes import Code
from schemas.records import AdjustPoints, AnswerOffer, AnyDecision, Approve, Decide, Join, Leave, Review, SetTier, Update
from streams.domain import redemption, returns, settle, tiers
from streams.domain.account import OFFERS_MAX, Lot, Suggested
from streams.domain.calendar import epoch
from streams.domain.lots import NEVER, give, make_usable, take
from streams.domain.turn import Turn
from streams.domain.wallets import purses


def join(turn: Turn, command: Join) -> None:
    """Opt in, for the first time or again; points of before are still there."""
    account = turn.account
    account.told_at = max(account.told_at, epoch(command.at))
    if account.status == "in":
        turn.refuse(Code.ALREADY_MEMBER)
        return
    account.status = "in"
    account.program = turn.plan.program.program
    account.joined_at = account.joined_at or epoch(command.at)
    account.birthday, account.staff = command.birthday or "", command.staff or ""
    turn.say("LOY_OPT_IN", epoch(command.at))
    settle.from_now_on(turn)


def update(turn: Turn, command: Update) -> None:
    """The birthday is all that rules need of the contact data."""
    account, birthday = turn.account, command.birthday or ""
    if account.status == "new":
        turn.refuse(Code.MEMBER_UNKNOWN)
        return
    account.told_at = max(account.told_at, epoch(command.at))
    if birthday != account.birthday:
        account.birthday = birthday
        settle.from_now_on(turn)


def leave(turn: Turn, command: Leave) -> None:
    """Opt out. Nothing stays reserved; points stay until they end, in case the member comes back."""
    account = turn.account
    if account.status == "new":
        turn.refuse(Code.MEMBER_UNKNOWN)
        return
    account.told_at = max(account.told_at, epoch(command.at))
    if account.status == "out" and not command.erased:
        turn.refuse(Code.MEMBER_OPTED_OUT)
        return
    for own in (turn, *purses(turn)):
        redemption.free_all(own, epoch(command.at))
    account.status = "out"
    if command.erased:
        account.birthday = account.staff = ""
    turn.say("LOY_OPT_OUT", epoch(command.at), erased=command.erased)


def adjust(turn: Turn, command: AdjustPoints) -> None:
    """A correction by hand; over the limit it waits for a second person (B06)."""
    if turn.account.status == "new":
        turn.refuse(Code.MEMBER_UNKNOWN)
    elif not command.reason.strip():
        turn.refuse(Code.REASON_MISSING)
    elif abs(command.points) > turn.plan.program.limits.adjust_points:
        waiting = Suggested(command.id, command.points, command.reason, command.actor)
        turn.account.suggested = (*turn.account.suggested, waiting)
        turn.answer.status, turn.answer.code = "parked", Code.APPROVAL_NEEDED
    else:
        _correct(turn, command.points, command.reason, actor=command.actor, approver=None, at=epoch(command.at))


def answer_offer(turn: Turn, command: AnswerOffer) -> None:
    """The member accepts or rejects an offer: the first answer stands (E02)."""
    account = turn.account
    if account.status != "in":
        turn.refuse(Code.MEMBER_UNKNOWN if account.status == "new" else Code.MEMBER_OPTED_OUT)
    elif command.offer in account.offers:
        turn.refuse(Code.OFFER_ANSWERED)
    else:
        account.offers = (*account.offers, command.offer)[-OFFERS_MAX:]
        turn.say("LOY_OFFER_RESULT", epoch(command.at), offer=command.offer, result=command.result)


def decide_at_desk(turn: Turn, command: Decide[AnyDecision]) -> None:
    """Approve, review or set a tier."""
    match command.decision:
        case Approve() as approval:
            _approve(turn, approval)
        case Review() as verdict:
            _review(turn, verdict)
        case SetTier() as setting:
            _set_tier(turn, setting)
        case _:
            assert_never(command.decision)


def _approve(turn: Turn, approval: Approve) -> None:
    account = turn.account
    waiting = next((known for known in account.suggested if known.id == approval.adjustment), None)
    if waiting is None:
        turn.refuse(Code.NOT_APPROVABLE)
    elif waiting.actor == approval.actor:
        turn.refuse(Code.SELF_APPROVAL)
    else:
        account.suggested = tuple(known for known in account.suggested if known is not waiting)
        if approval.accept:
            _correct(turn, waiting.points, waiting.reason, actor=waiting.actor, approver=approval.actor, at=epoch(approval.at))


def _correct(turn: Turn, points: int, reason: str, *, actor: str, approver: str | None, at: int) -> None:
    if points > 0:
        give(turn, "adjusted", points, at)
    done = points if points > 0 else -_deduct(turn, -points)
    turn.say("LOY_POINT_ADJUSTED", at, points=done, reason=reason, actor=actor, approver=approver)


def _deduct(turn: Turn, points: int) -> int:
    """Take from what is usable; what is missing is owed, or let go where the program forgives debts. Answers what was taken."""
    usable = min(points, turn.account.books.available)
    for part in take(turn, usable):
        turn.post("available", "adjusted", part.points, part.lot)
    owed = 0 if turn.plan.program.points.debt == "floor" else points - usable
    turn.post("debt", "adjusted", owed)
    return usable + owed


def _review(turn: Turn, verdict: Review) -> None:
    held = _held(turn, verdict.hold)
    elsewhere = [(own, lot) for own in purses(turn) for lot in _held(own, verdict.hold)]
    asked = [known for known in turn.account.asked if known.sale == verdict.hold and known.hold == "held" and known.points < 0]
    if not held and not elsewhere and not asked:
        turn.refuse(Code.HOLD_UNKNOWN)
        return
    at = epoch(verdict.at)
    days = [*(lot.day for lot in (*held, *(lot for _, lot in elsewhere))), *(one.day for one in asked)]
    if turn.account.asked:
        returns.review_granted(turn, verdict.hold, taken=verdict.verdict == "confiscate")
    _review_aside(turn, verdict, held, elsewhere)
    for lot in held:
        if verdict.verdict == "release":
            _let_go(turn, lot)
        else:
            returns.confiscate(turn, lot)
    turn.say(
        "LOY_FRAUD_CLEARED",
        at,
        check_id=verdict.hold,
        verdict=verdict.verdict,
        points=sum(lot.points for lot in held),
        actor=verdict.actor,
        reason=verdict.reason,
    )
    if verdict.verdict == "release" and turn.account.status == "in":
        tiers.after_purchase(turn, days[0], at, None)


def _held(turn: Turn, hold: str) -> list[Lot]:
    return [lot for lot in turn.account.lots if lot.book == "held" and lot.hold == hold]


def _review_aside(turn: Turn, verdict: Review, held: list[Lot], elsewhere: list[tuple[Turn, Lot]]) -> None:
    """The same for what the check earned in other wallets; what is taken does not qualify in any way."""
    for own, lot in elsewhere:
        if verdict.verdict == "release":
            make_usable(own, lot)
        else:
            returns.seize(own, lot)
        own.say("LOY_FRAUD_CLEARED", epoch(verdict.at), check_id=verdict.hold, points=lot.points)
    if verdict.verdict == "confiscate" and turn.account.aside:
        gone = {("", lot.number) for lot in held} | {(own.account.key, lot.number) for own, lot in elsewhere}
        turn.account.aside = tuple(known for known in turn.account.aside if (known.wallet, known.lot) not in gone)


def _let_go(turn: Turn, lot: Lot) -> None:
    if lot.available_at > turn.now:
        turn.post("held", "pending", lot.points, lot.number)
        turn.change_lot(lot, book="pending", hold="")
    else:
        make_usable(turn, lot)


def _set_tier(turn: Turn, setting: SetTier) -> None:
    level = turn.plan.level_of.get(setting.tier)
    if turn.account.status != "in":
        turn.refuse(Code.MEMBER_UNKNOWN if turn.account.status == "new" else Code.MEMBER_OPTED_OUT)
    elif level is None:
        turn.refuse(Code.TIER_UNKNOWN)
    else:
        tiers.set_by_hand(turn, level, epoch(setting.until) if setting.until else NEVER, epoch(setting.at))
