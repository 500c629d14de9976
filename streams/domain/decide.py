"""The one function over the log: `decide(account, command, plan, now)` gives the next account and the outcome of the command.

Law: pure, and total over the commands. A repeat is recognised first and changes nothing; whatever is new begins and ends with
settling, so the clock only ever confirms what a later command would have found anyway.
"""

from typing import NamedTuple, assert_never

from schemas.codes import Code
from schemas.records import (
    AdjustPoints,
    AnswerOffer,
    AnyCommand,
    ApplyReturn,
    ApplySale,
    ApplyVoid,
    AskBudget,
    AskReceipt,
    Confirm,
    Convert,
    Decide,
    Grant,
    Join,
    Leave,
    Redeem,
    ReturnBudget,
    TakeReceipt,
    Tick,
    Update,
)
from streams.domain import budgets, desk, grants, receipts, wallets
from streams.domain.account import APPLIED_MAX, HORIZON, OUTCOME_BYTES_MAX, RECEIPT_PREFIX, Account, Applied
from streams.domain.calendar import DAY, epoch
from streams.domain.outcome import Outcome, outcome_of, pack_outcome
from streams.domain.plan import Plan
from streams.domain.profile import balance_of, profile_of
from streams.domain.redemption import redeem
from streams.domain.returns import apply_return, apply_waiting, restore_late
from streams.domain.sales import apply_sale
from streams.domain.settle import forget, is_due, prune, remembered_from, settle
from streams.domain.turn import Turn

_CAUSED = ("tick", "grant")
"""What only the system sends, and at once: it is never late."""


class Decision(NamedTuple):
    """The account to store, the outcome to print, and whether this command had been decided before."""

    account: Account
    outcome: Outcome
    repeated: bool = False
    first_origin: str = ""
    """Of a repeat: the record that was applied."""


def decide(account: Account, command: AnyCommand, plan: Plan, now: int) -> Decision:
    """Decide one command at Kafka time `now` (epoch seconds). The account given is left as it was."""
    if command.type == "ask_budget" or command.type == "return_budget":  # noqa: PLR1714  # so the type checker follows
        return Decision(*budgets.answered(account, command, plan, now))
    sent, now = now, max(now, account.now)
    at = _at(command, now)
    known = _known(account, command.id, now)
    if known is not None:
        if known.fingerprint != command.fingerprint:
            return Decision(account, apart(command, _why_not(command, sent)))
        return Decision(account, outcome_of(known), repeated=True, first_origin=known.origin)
    if at <= max(now - HORIZON, account.floor) and _is_stale(account, command, at):
        return Decision(account, apart(command, Code.BEYOND_HORIZON))
    return _decide_new(account, command, plan, now, at)


def _known(account: Account, id_: str, now: int) -> Applied | None:
    """What was decided under this id, if it is remembered."""
    for known in account.applied:
        if known.id == id_ and known.now > remembered_from(now):
            return known
    return None


def _why_not(command: AnyCommand, sent: int) -> Code:
    """Of a record under an id that another one has. Its own times decide: it may have been answered before the other one came."""
    if isinstance(command, Tick) or _at(command, sent) > sent - HORIZON:
        return Code.ID_REUSED
    return Code.BEYOND_HORIZON


def apart(command: AnyCommand, code: Code) -> Outcome:
    """An answer that touches nothing and is not remembered: a function of the command alone, whenever it is asked."""
    return Outcome(_at(command, 0), command.program, 0, "parked" if code is Code.BEYOND_HORIZON else "refused", code)


def _decide_new(account: Account, command: AnyCommand, plan: Plan, now: int, at: int) -> Decision:
    turn = Turn(account.draft(), plan, now, command.id, at)
    if is_due(account, plan, now):
        settle(turn)
    if now // DAY != account.now // DAY:
        forget(turn)
    turn.reach(now)
    follow = _apply(turn, command)
    turn.account.next_due, turn.account.settled_by = settle(turn), plan.key
    return Decision(turn.account, _seal(turn, command, follow, account))


def _apply(turn: Turn, command: AnyCommand) -> bytes:  # noqa: C901, PLR0912  # one branch a kind
    """The one switch. Answers what the account of a receipt hands on to its claimant, else nothing."""
    match command:
        case ApplySale() | ApplyReturn() | ApplyVoid():
            return _apply_check(turn, command)
        case TakeReceipt():
            _take_receipt(turn, command)
        case AskReceipt():
            return receipts.ask(turn, command)
        case Redeem(request=request):
            redeem(turn, request)
            if isinstance(request, Confirm) and request.check_id and turn.answer.code is Code.OK:
                restore_late(turn, request.check_id, epoch(request.at))
        case Join():
            desk.join(turn, command)
        case Update():
            desk.update(turn, command)
        case Leave():
            desk.leave(turn, command)
        case AdjustPoints():
            desk.adjust(turn, command)
        case Decide():
            desk.decide_at_desk(turn, command)
        case AnswerOffer():
            desk.answer_offer(turn, command)
        case Convert():
            wallets.convert(turn, command)
        case Grant():
            grants.take(turn, command)
        case Tick():
            pass
        case AskBudget() | ReturnBudget():
            raise AssertionError("a budget is asked before anything else")
        case _:
            assert_never(command)
    return b""


def _apply_check(turn: Turn, command: ApplySale | ApplyReturn | ApplyVoid) -> bytes:
    if turn.account.key.startswith(RECEIPT_PREFIX):
        return receipts.keep(turn, command)
    if isinstance(command, ApplySale):
        apply_sale(turn, command.check, command.id)
        apply_waiting(turn, command.id)
    else:
        apply_return(turn, command.check, command.id)
    return b""


def _take_receipt(turn: Turn, command: TakeReceipt) -> None:
    if receipts.count_claim(turn):
        apply_sale(turn, command.check, command.id)
        apply_waiting(turn, command.id)
    else:
        turn.park(Code.CLAIM_LIMIT, command.id, epoch(command.check.at))


def _seal(turn: Turn, command: AnyCommand, follow: bytes, before: Account) -> Outcome:
    """The outcome, stored in the account it describes."""
    assert turn.settled, "points moved without an event"  # noqa: S101  # a broken invariant stops the worker
    account = turn.account
    account.now = turn.now
    member = account.status in ("in", "out")
    answer = turn.answer
    outcome = Outcome(
        now=turn.now,
        program=command.program,
        sequence=before.sequence + 1,
        status=answer.status,
        code=answer.code,
        facts=tuple(turn.facts),
        balance=balance_of(account) if member else None,
        profile=profile_of(account, turn.plan, turn.now) if member else None,
        earned=answer.earned,
        burned=answer.burned,
        value_minor=answer.value_minor,
        hold_refund_minor=answer.hold_refund_minor,
        hits=tuple(answer.hits),
        sale=turn.sale,
        follow=follow,
        words=tuple(turn.words),
        wallets=tuple((own.key, balance_of(own)) for own in account.wallets) if account.wallets else (),
    )
    if turn.now // DAY != before.now // DAY:
        prune(turn)
    account.sequence += len(outcome.facts)
    _remember(turn, command, outcome)
    return outcome


def _remember(turn: Turn, command: AnyCommand, outcome: Outcome) -> None:
    account = turn.account
    if account.status == "new" and not outcome.facts and not account.applied and isinstance(command, Tick):
        return  # a receipt that was just forgotten keeps nothing, not even that
    check = getattr(command, "check", None)
    kind = command.type
    packed = pack_outcome(outcome)
    account.applied = (
        *account.applied,
        Applied(
            id=command.id,
            fingerprint=command.fingerprint,
            kind="sale" if kind == "take_receipt" else kind,
            origin=command.origin,
            at=turn.at,
            now=turn.now,
            outcome=packed,
            size=len(memoryview(packed)),
            outlet=check.outlet if check else "",
            till=check.till if check else "",
            points=max(0, outcome.earned),
            remote=getattr(check, "channel", "store") != "store",
            of=check.of or "" if check and kind in ("return", "void") else "",
        ),
    )
    _keep_small(account)


def _keep_small(account: Account) -> None:
    """Forget early what was decided first when there is too much to store; checks of that age are parked from then on.

    By decision, not by purchase: what was decided last may have to be repeated after a crash, however late it came.
    """
    forgot = False
    while len(account.applied) > APPLIED_MAX or sum([known.size for known in account.applied]) > OUTCOME_BYTES_MAX:
        first, *others = account.applied
        account.applied = tuple(others)
        account.floor = account.floor if first.kind in _CAUSED else max(account.floor, first.at)
        forgot = forgot or first.kind == "sale"
    if forgot:
        account.asked = budgets.remembered(account.asked, account.applied, 0)


def _at(command: AnyCommand, now: int) -> int:
    """When it happened in the world."""
    match command:
        case ApplySale() | ApplyReturn() | ApplyVoid() | TakeReceipt():
            return epoch(command.check.at)
        case Redeem():
            return epoch(command.request.at)
        case AskReceipt():
            return epoch(command.claim.at)
        case Decide():
            return epoch(command.decision.at)
        case Tick() | Grant() | AskBudget() | ReturnBudget():
            return now
        case _:
            return epoch(command.at)


def _is_stale(account: Account, command: AnyCommand, at: int) -> bool:
    """Whether so old a command may be a repeat of one that is forgotten. Joining and leaving go by what was told since."""
    if isinstance(command, Join | Update | Leave):
        return at <= account.told_at
    return not isinstance(command, Tick | Grant)
