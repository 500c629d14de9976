"""Proves that every balance is the sum of its postings: folds each account's events from zero, double entry, lot by lot.

Events may be written again after a crash, saying the same; what counts is each event's first occurrence. Per event it keeps a
digest of id and body, per account its books, its live lots and the last balance.
"""

from collections.abc import Iterator
from typing import get_args

from pydantic import ValidationError

from schemas.earning import MAIN
from schemas.events import Event, PointConverted, parse_event
from schemas.standing import Balance, Book, Data, Posting, Profile
from streams.log import Record
from streams.proof.figures import BALANCE_FIGURES, Figures, Law, Violation
from streams.proof.promises import CommandHead, Promises, cause_of, digest, meaning

RECEIPT_PREFIX = "receipt:"  # the account of a check without a member (schemas.commands.AccountKey)
_BOOKS: tuple[Book, ...] = get_args(Book)
_OWNED = ("available", "pending", "held", "reserved")  # points in these are the member's and belong to a lot
_SOURCES = frozenset({"issued", "debt"})  # points only ever come out of these: they stand below zero
_SIGNED = frozenset({"adjusted"})

_Problem = tuple[Law, str]


class _Account:
    """One account as its events tell it."""

    __slots__ = ("balance", "books", "converting", "group", "lots", "sequence", "wallets", "where")

    def __init__(self) -> None:
        self.books: dict[str, int] = dict.fromkeys(_BOOKS, 0)
        self.lots: dict[int, int] = {}
        """Points by lot and book, those at zero left out."""
        self.sequence = 0
        self.group = ""
        self.balance: dict[str, int] = dict.fromkeys(BALANCE_FIGURES, 0)
        self.where = ""
        self.wallets: dict[str, _Account] = {}
        """Beside the main one: books, lots and last balance of each."""
        self.converting = ""
        """The entry of a conversion that must come next: cause and wallets."""

    def post(self, postings: tuple[Posting, ...]) -> str | None:
        """Move the points. Says what fell below zero, if anything did."""
        for posting in postings:
            self.books[posting.source] -= posting.points
            self.books[posting.target] += posting.points
            self._move(posting.lot, posting.source, -posting.points)
            self._move(posting.lot, posting.target, posting.points)
        return self._below_zero(postings)

    def _move(self, lot: int, book: str, points: int) -> None:
        if book in _OWNED:
            place = _place_of(lot, book)
            left = self.lots.pop(place, 0) + points
            if left:
                self.lots[place] = left

    def _below_zero(self, postings: tuple[Posting, ...]) -> str | None:
        for book, points in self.books.items():
            if (points > 0 if book in _SOURCES else points < 0) and book not in _SIGNED:
                return f"book {book} stands at {points}"
        for posting in postings:
            left = self.lots.get(_place_of(posting.lot, posting.source), 0) if posting.source in _OWNED else 0
            if left < 0:
                return f"lot {posting.lot} has {left} points {posting.source}"
        return None

    def sums(self) -> dict[str, int]:
        """The balance that the postings add up to."""
        books = self.books
        return {
            "earned": -books["issued"],
            "reversed": books["reversed"],
            "adjusted": -books["adjusted"],
            "used": books["used"],
            "expired": books["expired"],
            "available": books["available"],
            "pending": books["pending"],
            "held": books["held"] + books["reserved"],
            "debt": -books["debt"],
        }

    def difference(self) -> str | None:
        """Where the last balance is not the sum of the postings."""
        for name, points in self.sums().items():
            if self.balance[name] != points:
                return f"{name} is {self.balance[name]}, its postings add up to {points}"
        if self.converting:
            return f"the conversion {self.converting} has no second entry"
        found = ((wallet, own.difference()) for wallet, own in self.wallets.items())
        return next((f"in wallet {wallet} {what}" for wallet, what in found if what), None)


class History:
    """Fed with commands first, then with events. Each feed answers with a violation or None."""

    def __init__(self, figures: Figures, promises: Promises) -> None:
        self._figures = figures
        self._promises = promises
        self._accounts: dict[str, _Account] = {}
        self._bodies: dict[int, int] = {}
        self._causes: set[int] = set()
        self._earners: dict[int, int] = {}  # by check the account it earned for

    def command(self, head: CommandHead) -> None:
        """A command that events may come from."""
        self._causes.add(cause_of(head.account, head.id))

    def event(self, record: Record) -> Violation | None:
        """An event: readable, at its place in the account's history, moving points as its balance says."""
        raw = record.value or b""
        try:
            event, data = parse_event(raw)
        except (ValidationError, KeyError) as failure:
            return Violation(Law.UNREADABLE, _why(failure), (record.origin,))
        identity, body = digest(event.id.encode()), hash((meaning(event, "data"), meaning(data)))
        known = self._bodies.get(identity)
        if known == body:
            self._figures.events_again += 1
            return None
        if known is not None:
            what = f"event {event.id} was written before with another body"
            return Violation(Law.TWO_BODIES, what, (record.origin,), event.subject)
        self._bodies[identity] = body
        self._promises.told(event.subject, data.cause)
        account = self._accounts.setdefault(event.subject, _Account())
        problem = (
            _place(record, event, account)
            or self._caused(event, data.cause)
            or self._earned_once(event)
            or _profile(event, data.balance, data.profile)
            or _fold(event, account, data)
        )
        where = (account.where, record.origin) if account.where else (record.origin,)
        account.where = record.origin
        return Violation(*problem, where, event.subject) if problem else None

    def _earned_once(self, event: Event) -> _Problem | None:
        """A receipt earns for one member, however it was sent and claimed."""
        if event.type != "LOY_POINT_ACCRUAL":
            return None
        check, account = event.data["check_id"], digest(event.subject.encode())
        if self._earners.setdefault(digest(check.encode()), account) == account:
            return None
        return Law.TWO_MEMBERS, f"check {check} earned points for another member before"

    def _caused(self, event: Event, cause: str) -> _Problem | None:
        if cause_of(event.subject, cause) in self._causes:
            return None
        return Law.CAUSE, f"event {event.id} names command {cause}, which is not there"

    def unfinished(self) -> Iterator[tuple[str, Violation]]:
        """Accounts whose last balance is not the sum so far, each with a name of that moment.

        The events of one command all carry the balance after it, so an account is unfinished while they come in.
        """
        for key, account in self._accounts.items():
            if what := account.difference():
                yield f"{key} {account.group}", Violation(Law.BALANCE, what, (account.where,), key)

    def count(self) -> None:
        """Put the sums over all accounts into the figures."""
        self._figures.members = sum(not key.startswith(RECEIPT_PREFIX) for key in self._accounts)
        self._figures.receipts = len(self._accounts) - self._figures.members
        self._figures.points.clear()
        for account in self._accounts.values():
            self._figures.points.update(account.balance)


def _place_of(lot: int, book: str) -> int:
    return lot * len(_OWNED) + _OWNED.index(book)


def _place(record: Record, event: Event, account: _Account) -> _Problem | None:
    """Under its account's key, and next in its account's history."""
    if record.key != event.subject.encode():
        return Law.WRONG_KEY, "an event under the key of another account"
    if event.sequence != account.sequence + 1:
        return Law.SEQUENCE, f"event {event.id} has number {event.sequence}, expected is {account.sequence + 1}"
    account.sequence = event.sequence
    return None


def _fold(event: Event, account: _Account, data: Data) -> _Problem | None:
    """Let the event change its account. A command's balance is judged when the next command's first event comes."""
    group, figures = f"{data.cause} {event.time.isoformat()}", data.balance.__dict__
    elsewhere = {wallet: balance.__dict__ for wallet, balance in data.wallets.items()} if data.wallets else {}
    if group != account.group:
        if what := account.difference():
            return Law.BALANCE, f"before this event {what}"
        account.group, account.balance = group, figures
        for wallet, stands in elsewhere.items():
            account.wallets.setdefault(wallet, _Account()).balance = stands
    elif account.balance != figures or elsewhere != {name: own.balance for name, own in account.wallets.items()}:
        return Law.BALANCE, "two events of one command carry different balances"
    if what := _purse(account, data).post(data.postings):
        return Law.NEGATIVE, what
    in_wallets = (_conserved(balance) for balance in data.wallets.values())
    return _conserved(data.balance) or _paired(account, data) or next(filter(None, in_wallets), None)


def _purse(account: _Account, data: Data) -> _Account:
    """Whose books the event's postings are of."""
    wallet = getattr(data, "wallet", MAIN)
    return account if wallet == MAIN else account.wallets.setdefault(wallet, _Account())


def _paired(account: _Account, data: Data) -> _Problem | None:
    """A conversion is two entries, one after the other: out of one wallet, into the other."""
    due, account.converting = account.converting, ""
    if isinstance(data, PointConverted):
        entry = f"{data.cause}: {data.other} into {data.wallet}"
        if data.points < 0 and not due:
            account.converting = f"{data.cause}: {data.wallet} into {data.other}"
            return None
        due = "" if due == entry else due or entry
    return (Law.CONSERVATION, f"one entry alone of the conversion {due}") if due else None


def _conserved(b: Balance) -> _Problem | None:
    came, stands = b.earned - b.reversed + b.adjusted - b.used - b.expired, b.available + b.pending + b.held - b.debt
    if came == stands:
        return None
    what = f"earned - reversed + adjusted - used - expired is {came}, available + pending + held - debt is {stands}"
    return Law.CONSERVATION, what


def _profile(event: Event, balance: Balance, profile: Profile | None) -> _Problem | None:
    """The profile repeats the balance; only the account of an unclaimed receipt has none."""
    if (profile is None) != event.subject.startswith(RECEIPT_PREFIX):
        return Law.PROFILE, "a member has a profile, a receipt has none"
    if profile is None:
        return None
    pairs = {
        "loyalty_id": (profile.loyalty_id, event.subject),
        "available_points": (profile.available_points, balance.available),
        "earned_points": (profile.earned_points, balance.earned),
        "used_points": (profile.used_points, balance.used),
        "expired_points": (profile.expired_points, balance.expired),
        "hold_points": (profile.hold_points, balance.pending + balance.held),
    }
    for name, (said, is_) in pairs.items():
        if said != is_:
            return Law.PROFILE, f"{name} is {said}, the balance says {is_}"
    return None


def _why(failure: Exception) -> str:
    if isinstance(failure, ValidationError):
        first = failure.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or '(root)'}: {first['msg']}"
    if isinstance(failure, KeyError):
        return f"unknown event type {failure.args[0]!r}"
    return str(failure)
