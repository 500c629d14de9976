"""The account of a receipt that nobody has claimed yet (A10): one writer, so it is claimed once or returned, never both.

A claim is a saga of two steps: the receipt says yes and is taken, then the member's account applies the sale by its own purchase
time. A return of a claimed receipt goes the same way. The second command derives from the first, so a crash between them repeats
it with the same id.
"""

import msgspec

from schemas.codec import encode, parse_command, parse_sale
from schemas.codes import Code
from schemas.records import AnyCommand, ApplyReturn, ApplySale, ApplyVoid, AskReceipt, Sale, TakeReceipt
from streams.domain.calendar import epoch
from streams.domain.turn import Turn

replace = msgspec.structs.replace
RETURNED = "-"  # who "claimed" a receipt that was returned


def keep(turn: Turn, command: ApplySale | ApplyReturn | ApplyVoid) -> bytes:
    """An anonymous check: a sale is kept to be claimed; a return of it makes it unclaimable or goes to who claimed it."""
    account, check = turn.account, command.check
    turn.answer.code = command.note if command.note is not Code.OK else Code.ANONYMOUS
    if account.status == "new" or isinstance(check, Sale):
        _open(turn)
    if isinstance(check, Sale):
        account.receipt = encode(check)
    elif account.claimed_by in ("", RETURNED):
        account.claimed_by = RETURNED
        if (
            check.of is not None and not account.receipt
        ):  # its sale may be on its way, or a member's: then the return needs the card
            turn.answer.status, turn.answer.code = "parked", Code.SALE_AWAITED
    else:
        return encode(replace(command, account=account.claimed_by, program=account.program, note=Code.OK))
    return b""


def _open(turn: Turn) -> None:
    """From now on it is known for as long as anything can ask for it, though all there was be a claim of what nobody knows."""
    turn.account.status, turn.account.joined_at = "receipt", turn.now


def ask(turn: Turn, command: AskReceipt) -> bytes:
    """First half: the receipt, taken for the claimant; or nothing, and the refusal."""
    problem = _problem(turn, command)
    if problem is not None:
        if turn.account.status == "new":
            _open(turn)
        turn.refuse(problem)
        return b""
    turn.account.claimed_by, turn.account.program = command.claimant, command.program
    return turn.account.receipt


def second_half(command: AnyCommand, follow: bytes) -> AnyCommand:
    """The command to the claimant's account: the sale that was claimed, or the return of it. A repeat makes the same."""
    if not isinstance(command, AskReceipt):
        return parse_command(follow)
    return TakeReceipt(
        type="take_receipt",
        id=command.claim.check_id,
        account=command.claimant,
        program=command.program,
        fingerprint=command.fingerprint,
        origin=command.origin,
        check=parse_sale(follow),
        claim_id=command.claim.command_id,
    )


def _problem(turn: Turn, command: AskReceipt) -> Code | None:
    account, claim = turn.account, command.claim
    if not account.receipt:
        return Code.RECEIPT_RETURNED if account.claimed_by else Code.RECEIPT_UNKNOWN
    if account.claimed_by == RETURNED:
        return Code.RECEIPT_RETURNED
    if account.claimed_by:
        return Code.RECEIPT_CLAIMED
    sale = parse_sale(account.receipt)
    total = sum(line.amount_minor - line.discount_minor for line in sale.lines)
    if (total, sale.business_date) != (claim.total_minor, claim.business_date):
        return Code.RECEIPT_MISMATCH
    if turn.now - epoch(sale.at) > turn.plan.program.limits.claim_days * 86_400:
        return Code.CLAIM_TOO_LATE
    return None


def count_claim(turn: Turn) -> bool:
    """Count one more claim of the member; False when the day's limit is passed, which sends it to review."""
    recent = tuple(at for at in turn.account.claims if at > turn.now - 86_400)
    turn.account.claims = (*recent, turn.now)
    return len(recent) < turn.plan.program.limits.claims_per_day
