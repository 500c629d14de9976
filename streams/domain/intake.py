"""Intake: a record at one of the three doors becomes normalised commands, or is refused with a stable code.

Pure: who is who and which rules are in force comes in as a `Lookup`. Law: behind this file nothing carries an identifier, a name
or an address; commands know the loyalty id alone.
"""

from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol, assert_never

import msgspec
import orjson
from pydantic import BaseModel

from schemas import records
from schemas.checks import AnyCheck, Return, Sale, Void, check_id
from schemas.codec import BadRecord, encode, record_of, type_of
from schemas.codes import Code
from schemas.members import (
    Adjust,
    AnyMemberCommand,
    Approve,
    BlockIdentifier,
    Claim,
    Contact,
    ConvertPoints,
    Erase,
    Identity,
    LinkIdentifier,
    Member,
    OfferResponse,
    OptIn,
    OptOut,
    ReplaceCard,
    Review,
    SetTier,
    UpdateContact,
)
from schemas.records import (
    AdjustPoints,
    AnswerOffer,
    AnyCommand,
    ApplyReturn,
    ApplySale,
    ApplyVoid,
    AskReceipt,
    Convert,
    Decide,
    Join,
    Leave,
    Redeem,
    Update,
)
from schemas.redemptions import AnyRedemption, Cancel, Confirm, Reserve
from streams.domain.account import RECEIPT_PREFIX
from streams.domain.calendar import epoch, instant, midnight
from streams.domain.identifiers import IdentifierError, identity_key, normalise
from streams.domain.plan import Plan
from streams.domain.render import DESK

replace = msgspec.structs.replace
FUTURE_SECONDS = 86_400  # how far the sender's clock may run ahead

_CARRIED = (Sale, Return, Void, Reserve, Confirm, Cancel, Approve, Review, SetTier, Claim)
_KEPT: dict[type, Any] = {model: getattr(records, model.__name__) for model in _CARRIED}


def _kept(record: Any) -> Any:
    """What the core keeps of a record: of a check it has not even a field for who showed which card."""
    return record_of(record, _KEPT[type(record)])


class Lookup(Protocol):
    """What intake asks of the world."""

    def identity(self, key: str) -> Identity | None: ...
    def version(self, program: str, at: int) -> Plan | None: ...


class Rules(NamedTuple):
    """What a deployment decides about intake."""

    secret: bytes
    region: str
    program: str
    """Under which receipts without a member are kept."""


class Arrived(NamedTuple):
    """Whence a record came. `at` is its Kafka time in epoch seconds."""

    origin: str
    key: str
    at: int


class Taken(NamedTuple):
    """What a record becomes: commands for the ledger, changes of reference data, and at times an answer at once."""

    commands: tuple[AnyCommand, ...] = ()
    identities: tuple[tuple[str, Identity | None], ...] = ()
    member: tuple[str, Member | None] | None = None
    reply: tuple[str, bytes] | None = None


class Intake:
    """The three doors, over one view of the world."""

    def __init__(self, rules: Rules, lookup: Lookup) -> None:
        self.rules = rules
        self.lookup = lookup

    # ------------------------------------------------------------ who is it

    def resolve(self, identifier: str) -> Identity | Code:
        """The account behind an identifier, or why there is none (A01)."""
        try:
            key = self._key(identifier)
        except IdentifierError:
            return Code.IDENTIFIER_INVALID
        found = self.lookup.identity(key)
        if found is None:
            return Code.IDENTIFIER_UNKNOWN
        return Code.IDENTIFIER_BLOCKED if found.blocked else found

    def _key(self, identifier: str) -> str:
        return identity_key(normalise(identifier, self.rules.region), self.rules.secret)

    def _plan(self, program: str, at: int) -> Plan:
        plan = self.lookup.version(program, at)
        if plan is None:
            raise BadRecord(Code.NO_PROGRAM, f"program {program} has no version in force at {instant(at)}")
        return plan

    # ------------------------------------------------------------ pos.checks

    def check(self, check: AnyCheck, arrived: Arrived) -> Taken:
        """A receipt: for its member's account, or for an account of its own when nobody can be found. Raises BadRecord."""
        if arrived.key != (check.member or ""):
            raise BadRecord(Code.WRONG_KEY, "the key must be the text of `member`, empty when there is none")
        at = _happened(check.at, arrived)
        found = self.resolve(check.member) if check.member is not None else Code.OK
        program = found.program if isinstance(found, Identity) else self.rules.program
        plan = self._plan(program, at)
        nameless: records.AnyCheck = _kept(check)
        _require_consistent(nameless, plan)
        name = check_id(check)
        account = found.loyalty_id if isinstance(found, Identity) else RECEIPT_PREFIX + _subject(nameless, name)
        note = Code.OK if isinstance(found, Identity) else found
        return Taken(commands=(_apply(nameless, name, account, plan.key, note, arrived.origin),))

    # ------------------------------------------------------------ pos.redemptions

    def redemption(self, request: AnyRedemption, arrived: Arrived) -> Taken:
        """A request to redeem. Raises BadRecord when there is no member to redeem for."""
        if arrived.key != request.member:
            raise BadRecord(Code.WRONG_KEY, "the key must be the text of `member`")
        at = _happened(request.at, arrived)
        found = self.resolve(request.member)
        if isinstance(found, Code):
            raise BadRecord(found, found.meaning)
        command = Redeem(
            type="redeem",
            id=request.request_id,
            account=found.loyalty_id,
            program=self._plan(found.program, at).key,
            fingerprint=_fingerprint(request),
            origin=arrived.origin,
            request=replace(_kept(request), member=f"loyalty:{found.loyalty_id}"),
        )
        return Taken(commands=(command,))

    # ------------------------------------------------------------ crm.members

    def member(self, command: AnyMemberCommand, arrived: Arrived) -> Taken:  # noqa: C901, PLR0911, PLR0912  # one branch a kind
        """A command about a member. Raises BadRecord."""
        if arrived.key != command.loyalty_id:
            raise BadRecord(Code.WRONG_KEY, "the key must be `loyalty_id`")
        _happened(command.at, arrived)
        if isinstance(command, OptIn):
            return self._opt_in(command, arrived)
        known = self.resolve(f"loyalty:{command.loyalty_id}")
        if isinstance(known, Code):
            raise BadRecord(Code.MEMBER_UNKNOWN, Code.MEMBER_UNKNOWN.meaning)
        match command:
            case UpdateContact():
                update = self._command(Update, command, known, arrived, birthday=_birthday(command.contact))
                return Taken(commands=(update,), member=_contact(command, command.contact))
            case OptOut():
                return Taken(commands=(self._command(Leave, command, known, arrived),))
            case Erase():
                return self._erase(command, known, arrived)
            case LinkIdentifier():
                return Taken(identities=(self._link(command.identifier, known),), reply=_done(command))
            case BlockIdentifier():
                return Taken(identities=(self._block(command.identifier, known),), reply=_done(command))
            case ReplaceCard():
                changes = (self._block(command.old, known), self._link(command.new, known))
                return Taken(identities=changes, reply=_done(command))
            case Adjust(points=points, reason=reason, actor=actor):
                fields = {"points": points, "reason": reason, "actor": actor}
                return Taken(commands=(self._command(AdjustPoints, command, known, arrived, **fields),))
            case ConvertPoints(wallet=wallet, into=into, points=points):
                return Taken(commands=(self._command(Convert, command, known, arrived, wallet=wallet, into=into, points=points),))
            case Approve() | Review() | SetTier():
                return Taken(commands=(self._command(Decide, command, known, arrived, decision=_kept(command)),))
            case OfferResponse(offer=offer, result=result):
                return Taken(commands=(self._command(AnswerOffer, command, known, arrived, offer=offer, result=result),))
            case Claim():
                return Taken(commands=(self._claim(command, known, arrived),))
        assert_never(command)

    def _command(self, kind: type[Any], cause: AnyMemberCommand, known: Identity, arrived: Arrived, **fields: Any) -> AnyCommand:
        if kind is not Decide:
            fields["at"] = cause.at
        command: AnyCommand = kind(
            type=type_of(kind),
            id=cause.command_id,
            account=cause.loyalty_id,
            program=self._plan(known.program, arrived.at).key,
            fingerprint=_fingerprint(cause, "contact"),
            origin=arrived.origin,
            **fields,
        )
        return command

    def _opt_in(self, command: OptIn, arrived: Arrived) -> Taken:
        identity = Identity(loyalty_id=command.loyalty_id, program=command.program, kind="loyalty")
        own = self._link(f"loyalty:{command.loyalty_id}", identity)
        links = (own, *(self._joined(identifier, identity) for identifier in command.identifiers))
        join = self._command(
            Join, command, identity, arrived, birthday=_birthday(command.contact), staff=command.staff, cashier=command.cashier
        )
        return Taken(commands=(join,), identities=links, member=_contact(command, command.contact))

    def _joined(self, identifier: str, known: Identity) -> tuple[str, Identity]:
        """Opens the account, but for a card that was blocked since: the same opt-in may come twice, hours apart."""
        key, identity = self._link(identifier, known)
        holder = self.lookup.identity(key)
        return (key, identity) if holder is None or not holder.blocked else (key, holder)

    def _link(self, identifier: str, known: Identity) -> tuple[str, Identity]:
        try:
            key = self._key(identifier)
        except IdentifierError as problem:
            raise BadRecord(Code.IDENTIFIER_INVALID, str(problem)) from None
        holder = self.lookup.identity(key)
        if holder is not None and holder.loyalty_id != known.loyalty_id:
            raise BadRecord(Code.IDENTIFIER_TAKEN, Code.IDENTIFIER_TAKEN.meaning)
        kind: Any = identifier.partition(":")[0]
        return key, Identity(loyalty_id=known.loyalty_id, program=known.program, kind=kind)

    def _block(self, identifier: str, known: Identity) -> tuple[str, Identity]:
        key, identity = self._link(identifier, known)
        return key, identity.model_copy(update={"blocked": True})

    def _erase(self, command: Erase, known: Identity, arrived: Arrived) -> Taken:
        own = f"loyalty:{command.loyalty_id}"
        keys = [self._link(identifier, known)[0] for identifier in (own, *command.identifiers)]
        leave = self._command(Leave, command, known, arrived, erased=True)
        return Taken(
            commands=(leave,),
            identities=tuple((key, None) for key in keys),
            member=(command.loyalty_id, None),
        )

    def _claim(self, command: Claim, known: Identity, arrived: Arrived) -> AskReceipt:
        noon = midnight("UTC", command.business_date.toordinal()) + 43_200  # judged by the rules of its day
        return AskReceipt(
            type="ask_receipt",
            id=command.command_id,
            account=RECEIPT_PREFIX + command.check_id,
            program=self._plan(known.program, noon).key,
            fingerprint=_fingerprint(command),
            origin=arrived.origin,
            claim=_kept(command),
            claimant=command.loyalty_id,
        )


def _happened(at: datetime, arrived: Arrived) -> int:
    """When, in epoch seconds. Raises BadRecord for a time that has not come yet."""
    happened = epoch(at)
    ahead = happened - arrived.at
    if ahead > FUTURE_SECONDS:
        raise BadRecord(Code.TIME_IN_FUTURE, f"at: {ahead} seconds ahead of its arrival")
    return happened


def fingerprint(content: bytes) -> str:
    """Of the content, whoever showed which card: the same id with another fingerprint is another record."""
    return blake2b(content, digest_size=8).hexdigest()


def _fingerprint(record: BaseModel, *without: str) -> str:
    """The same of what is printed for this alone."""
    return fingerprint(record.model_dump_json(exclude={"member", *without}, exclude_defaults=True).encode())


def _subject(check: records.AnyCheck, name: str) -> str:
    """The receipt an anonymous check is about: itself, or the sale it takes back."""
    return name if isinstance(check, records.Sale) else (check.of or name)


def _apply(check: records.AnyCheck, name: str, account: str, program: str, note: Code, origin: str) -> AnyCommand:
    envelope: dict[str, Any] = {
        "id": name,
        "account": account,
        "program": program,
        "fingerprint": fingerprint(encode(check)),
        "origin": origin,
        "note": note,
    }
    match check:
        case records.Sale():
            return ApplySale(type="sale", check=check, **envelope)
        case records.Return():
            return ApplyReturn(type="return", check=check, **envelope)
        case records.Void():
            return ApplyVoid(type="void", check=check, **envelope)
    assert_never(check)


def _require_consistent(check: records.AnyCheck, plan: Plan) -> None:
    """What a schema cannot say: sums, references, the program's own limits."""
    program = plan.program
    if program.unknown_outlets == "refuse" and check.outlet not in plan.outlets:
        raise BadRecord(Code.UNKNOWN_OUTLET, f"outlet: {check.outlet}")
    if isinstance(check, records.Void):
        return
    if check.currency != program.currency:
        raise BadRecord(Code.CURRENCY_NOT_IN_PROGRAM, f"currency: {check.currency}; the program counts {program.currency}")
    if isinstance(check, records.Sale):
        _require_sums(check)


def _require_sums(sale: records.Sale) -> None:
    lines, due = sale.lines, 0
    if len({line.line for line in lines}) < len(lines):
        raise BadRecord(Code.DUPLICATE_LINE, "lines: two have the same number")
    for line in lines:
        net = line.amount_minor - line.discount_minor
        if net < 0:
            raise BadRecord(Code.DISCOUNT_EXCEEDS_AMOUNT, f"lines: line {line.line}")
        due += net
    paid = sum([tender.amount_minor for tender in sale.tenders])
    if due != paid:
        raise BadRecord(Code.TOTAL_MISMATCH, f"lines less discounts make {due}, tenders {paid} minor units")


def _birthday(contact: Contact) -> str | None:
    return contact.birthday.strftime("%m-%d") if contact.birthday else None


def _contact(command: OptIn | UpdateContact, contact: Contact) -> tuple[str, Member]:
    member = Member(loyalty_id=command.loyalty_id, contact=contact, updated_at=command.at)
    return command.loyalty_id, member


# ---------------------------------------------------------------- answers that intake gives itself


def _done(command: AnyMemberCommand) -> tuple[str, bytes]:
    """Told at the command's own time, so that a resend is answered with the same bytes."""
    at = epoch(command.at)
    return DESK, plain_reply(command.command_id, "accepted", Code.OK, at, outlet=DESK, member=command.loyalty_id)


def refusal(record: AnyCheck | AnyRedemption | AnyMemberCommand, problem: BadRecord, arrived: Arrived) -> tuple[str, bytes]:
    """The answer to a record that was understood but cannot be taken."""
    outlet = getattr(record, "outlet", DESK)
    reply = plain_reply(_id_of(record), "refused", problem.code, arrived.at, outlet=outlet, till=getattr(record, "till", None))
    return outlet, reply


def _id_of(record: Any) -> str:
    if isinstance(record, Sale | Return | Void):
        return check_id(record)
    return str(getattr(record, "request_id", None) or record.command_id)


def plain_reply(
    reply_id: str, status: str, code: Code, at: int, *, outlet: str, till: str | None = None, member: str | None = None
) -> bytes:
    """A reply that tells nothing of an account."""
    return orjson.dumps(
        {
            "id": reply_id,
            "status": status,
            "code": code,
            "reasons": [],
            "outlet": outlet,
            "till": till,
            "member": member,
            "earned": 0,
            "burned": 0,
            "value_minor": 0,
            "hold_refund_minor": 0,
            "balance": None,
            "tier": None,
            "next_tier": None,
            "to_next_tier": None,
            "next_expiry": None,
            "rewards": [],
            "hits": [],
            "offers": [],
            "receipt": [] if status == "accepted" else [code.value],
            "program": None,
            "at": instant(at),
        }
    )
