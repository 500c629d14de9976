"""Given / when / then for the domain: small programs, and a member whose log is driven by hand.

`Member` packs and unpacks the account between commands as the worker does, reads every event and reply with the contract's own
models, and asserts after each command what must hold always. Times: `clock` is where the member's day stands; `at` is purchase
time, `now` the Kafka timestamp (both default to the clock, `now` never before `at`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Self

import orjson

from schemas.codec import encode, parse_command
from schemas.events import Event, parse_event
from schemas.program import Program
from schemas.records import AnyCommand
from schemas.replies import Reply
from streams.domain import render
from streams.domain.account import Account, Books, pack, unpack
from streams.domain.calendar import epoch
from streams.domain.decide import Decision, decide
from streams.domain.outcome import Outcome
from streams.domain.plan import Plan, compile_program

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)  # a Monday
BOOKS = Books.__struct_fields__


def moment(text: str) -> datetime:
    """`2026-03-02`, `2026-03-02T10:00` or with seconds and an offset; UTC when none is given."""
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def after(days: float = 0, *, hours: float = 0, minutes: float = 0, since: datetime = START) -> datetime:
    return since + timedelta(days=days, hours=hours, minutes=minutes)


# ---------------------------------------------------------------- programs and checks


def program(**parts: Any) -> Program:
    """A program of one point per unit of 100 minor, points for ever, without tiers: whatever is given goes over it."""
    plain: dict[str, Any] = {
        "program": "main",
        "version": 1,
        "title": "Test",
        "effective_from": "2010-01-01T00:00:00Z",
        "time_zone": "UTC",
        "currency": "USD",
    }
    return Program.model_validate_json(orjson.dumps(plain | parts))


def rule(kind: str, id: str | None = None, **parts: Any) -> dict[str, Any]:  # noqa: A002  # the contract's word
    return {"kind": kind, "id": id or kind} | parts


def earning(*rules: Mapping[str, Any], per_minor: int = 100, points: int = 1, **parts: Any) -> dict[str, Any]:
    return {"rate": {"points": points, "per_minor": per_minor}, "rules": list(rules)} | parts


def level(name: str, **any_of: int) -> dict[str, Any]:
    """`level("Gold", points=100)`: one of the metrics is enough."""
    return {"name": name, "any_of": [{"metric": metric, "at_least": least} for metric, least in any_of.items()]}


def tiers(*levels: Mapping[str, Any], **parts: Any) -> dict[str, Any]:
    return {"levels": [{"name": "Member"}, *levels]} | parts


def line(amount: int, number: int = 1, *, quantity: int = 1000, sku: str = "A", **parts: Any) -> dict[str, Any]:
    """Amount in minor units, quantity in thousandths."""
    return {"line": number, "sku": sku, "quantity": quantity, "amount_minor": amount} | parts


def basket(*amounts: int, **parts: Any) -> list[dict[str, Any]]:
    return [line(amount, number, **parts) for number, amount in enumerate(amounts, 1)]


def paid(lines: Iterable[Mapping[str, Any]]) -> int:
    return sum(one["amount_minor"] - one.get("discount_minor", 0) for one in lines)


# ---------------------------------------------------------------- one step, and what must hold after it


@dataclass(frozen=True)
class Step:
    """What one command did."""

    command: AnyCommand
    now: int
    decision: Decision
    raw_events: tuple[bytes, ...]
    raw_reply: bytes | None
    events: tuple[tuple[Event, Any], ...]
    reply: Reply | None

    @property
    def outcome(self) -> Outcome:
        return self.decision.outcome

    @property
    def repeated(self) -> bool:
        return self.decision.repeated

    @property
    def code(self) -> str:
        return str(self.outcome.code)

    @property
    def status(self) -> str:
        return self.outcome.status

    @property
    def types(self) -> list[str]:
        """The event types without their prefix."""
        return [event.type.removeprefix("LOY_") for event, _ in self.events]

    def data(self, kind: str) -> Any:
        """The data of the only event of that type."""
        (found,) = self.all(kind)
        return found

    def all(self, kind: str) -> list[Any]:
        return [data for event, data in self.events if event.type == f"LOY_{kind}"]

    @property
    def bytes(self) -> tuple[tuple[bytes, ...], bytes | None]:
        return self.raw_events, self.raw_reply


def assert_sound(account: Account) -> None:
    """The laws of the books that hold after every command (B01, B09)."""
    books = account.books
    assert sum(getattr(books, book) for book in BOOKS) == 0
    for book in ("available", "pending", "held", "reserved", "used", "expired", "reversed"):
        assert getattr(books, book) >= 0, book
    assert books.issued <= 0
    assert account.debt >= 0
    for book in ("available", "pending", "held"):
        assert sum(lot.points for lot in account.lots if lot.book == book) == getattr(books, book), book
    assert all(lot.points > 0 for lot in account.lots)
    numbers = [lot.number for lot in account.lots]
    assert len(set(numbers)) == len(numbers), "a lot is there twice"
    assert sum(known.points for known in account.reservations if known.status == "open") == books.reserved
    assert not (account.debt and books.available), "usable points beside a debt"
    assert account.next_due == 0 or account.next_due > account.now
    for wallet in account.wallets:
        assert not wallet.wallets
        assert_sound(wallet)


def packed(account: Account) -> bytes:
    """Its row, which comes to the same again when it is read and written."""
    row = pack(account)
    assert pack(unpack(row, account.key)) == row
    return row


def assert_explained(before: Account, step: Step) -> None:
    """Each event follows the one before without a gap, and their postings alone lead from the old books to the new."""
    after_ = step.decision.account
    books = _books_by_wallet(before)
    expected = before.sequence
    for event, data in step.events:
        expected += 1
        assert event.sequence == expected
        assert event.subject == before.key
        for posting in data.postings:
            books[getattr(data, "wallet", "main"), posting.source] -= posting.points
            books[getattr(data, "wallet", "main"), posting.target] += posting.points
    assert +books == +_books_by_wallet(after_)
    assert -books == -_books_by_wallet(after_)
    assert after_.sequence == expected
    for _, data in step.events:
        assert_conserved(data.balance)
        assert set(data.wallets) == {wallet.key for wallet in after_.wallets}
        for balance in data.wallets.values():
            assert_conserved(balance)


def _books_by_wallet(account: Account) -> Counter[tuple[str, str]]:
    found = {"main": account.books, **{wallet.key: wallet.books for wallet in account.wallets}}
    return Counter({(wallet, book): getattr(books, book) for wallet, books in found.items() for book in BOOKS})


def assert_conserved(balance: Any) -> None:
    """design.md, section 4."""
    left = balance.earned - balance.reversed + balance.adjusted - balance.used - balance.expired
    assert left == balance.available + balance.pending + balance.held - balance.debt


# ---------------------------------------------------------------- the driver


class Log:
    """Drives the log of one account."""

    def __init__(self, rules: Program, key: str, clock: datetime = START) -> None:
        self.program = rules
        self.plan: Plan = compile_program(rules)
        self.key = key
        self.clock = clock
        self.stored: bytes | None = None
        self.steps: list[Step] = []
        self._count: Counter[str] = Counter()

    @property
    def account(self) -> Account:
        return unpack(self.stored, self.key)

    @property
    def books(self) -> Books:
        return self.account.books

    @property
    def events(self) -> list[tuple[Event, Any]]:
        """Everything told so far, each event once."""
        return [event for step in self.steps if not step.repeated for event in step.events]

    def wait(self, days: float = 0, *, hours: float = 0, minutes: float = 0) -> Self:
        self.clock += timedelta(days=days, hours=hours, minutes=minutes)
        return self

    def until(self, text: str) -> Self:
        self.clock = moment(text)
        return self

    def fresh(self, prefix: str) -> str:
        self._count[prefix] += 1
        return f"{prefix}{self._count[prefix]}"

    def send(self, command: AnyCommand, now: datetime | int | None = None) -> Step:
        """Decide, print, read back, assert the laws, store."""
        at = epoch(self.clock) if now is None else epoch(now) if isinstance(now, datetime) else now
        before = self.account
        kept = self.stored or pack(before)
        decision = decide(before, command, self.plan, at)
        assert pack(before) == kept, "the account given was changed"
        step = self._step(command, at, decision)
        assert_sound(decision.account)
        if not decision.repeated:
            assert_explained(before, step)
        self.stored = packed(decision.account)
        self.steps.append(step)
        return step

    def _step(self, command: AnyCommand, now: int, decision: Decision) -> Step:
        raw_events = tuple(render.events(command, decision.outcome, self.plan))
        answered = render.reply(command, decision.outcome, self.plan)
        raw_reply = answered[1] if answered else None
        events = tuple(parse_event(raw) for raw in raw_events)
        reply = Reply.model_validate_json(raw_reply) if raw_reply else None
        return Step(command, now, decision, raw_events, raw_reply, events, reply)

    def again(self, step: Step, now: datetime | int | None = None) -> Step:
        """The same command once more."""
        return self.send(step.command, now)

    def command(self, kind: str, id_: str, **parts: Any) -> AnyCommand:
        """Any command for this account, fingerprinted by its content."""
        body = {"type": kind, "id": id_, "account": self.key, "program": self.program.key} | parts
        print_ = sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
        return parse_command(orjson.dumps({"fingerprint": print_, "origin": f"test/0/{id_}"} | body))

    def tick(self, now: datetime | None = None) -> Step:
        moved = now or self.clock
        self.clock = max(self.clock, moved)
        return self.send(self.command("tick", self.fresh("t")), moved)

    # -- checks

    def sale_command(
        self,
        amount: int | None = None,
        *,
        id: str | None = None,  # noqa: A002
        lines: Sequence[Mapping[str, Any]] | None = None,
        tenders: Mapping[str, int] | Sequence[Mapping[str, Any]] | None = None,
        at: datetime | None = None,
        **parts: Any,
    ) -> AnyCommand:
        """A sale of one line over `amount`, or of `lines`; `tenders` by type, all cash when none are given."""
        id_ = id or self.fresh("s")
        items = list(lines) if lines is not None else basket(amount or 0)
        if tenders is None:
            tenders = {"cash": paid(items)}
        if isinstance(tenders, Mapping):
            tenders = [{"type": kind, "amount_minor": value} for kind, value in tenders.items()]
        check = self._receipt("sale", id_, at) | {"currency": self.program.currency, "lines": items, "tenders": list(tenders)}
        return self.command("sale", id_, check=check | parts)

    def return_command(
        self,
        of: str | None,
        *lines: tuple[int, int, int],
        id: str | None = None,  # noqa: A002
        at: datetime | None = None,
        **parts: Any,
    ) -> AnyCommand:
        """Lines as (line, quantity, amount)."""
        id_ = id or self.fresh("r")
        items = [{"line": number, "quantity": quantity, "amount_minor": amount} for number, quantity, amount in lines]
        check = self._receipt("return", id_, at) | {"currency": self.program.currency, "lines": items}
        return self.command("return", id_, check=check | ({"of": of} if of else {}) | parts)

    def void_command(self, of: str, *, id: str | None = None, at: datetime | None = None, **parts: Any) -> AnyCommand:  # noqa: A002
        id_ = id or self.fresh("v")
        return self.command("void", id_, check=self._receipt("void", id_, at) | {"of": of} | parts)

    def _receipt(self, kind: str, id_: str, at: datetime | None) -> dict[str, Any]:
        moment_ = at or self.clock
        return {
            "type": kind,
            "check_id": id_,
            "outlet": "o1",
            "till": "1",
            "business_date": moment_.date().isoformat(),
            "receipt": id_,
            "at": moment_.isoformat(),
        }

    def sale(self, amount: int | None = None, *, now: datetime | None = None, at: datetime | None = None, **parts: Any) -> Step:
        return self.send(self.sale_command(amount, at=at, **parts), self._now(now, at))

    def returns(self, of: str | None, *lines: tuple[int, int, int], now: datetime | None = None, **parts: Any) -> Step:
        return self.send(self.return_command(of, *lines, **parts), self._now(now, parts.get("at")))

    def void(self, of: str, *, now: datetime | None = None, **parts: Any) -> Step:
        return self.send(self.void_command(of, **parts), self._now(now, parts.get("at")))

    def _now(self, now: datetime | None, at: datetime | None) -> datetime:
        return now or max(self.clock, at or self.clock)


class Member(Log):
    """A member of the program, `H-1` unless named."""

    def __init__(self, rules: Program | None = None, key: str = "H-1", clock: datetime = START) -> None:
        super().__init__(rules or program(), key, clock)

    def joined(self, **parts: Any) -> Self:
        self.join(**parts)
        return self

    def having(self, points: int) -> Self:
        """Usable points by hand."""
        self.adjust(points)
        return self

    def _member_command(self, kind: str, *, id: str | None = None, **parts: Any) -> Step:  # noqa: A002
        return self.send(self.command(kind, id or self.fresh(kind), at=self.clock.isoformat(), **parts))

    def join(self, **parts: Any) -> Step:
        return self._member_command("join", **parts)

    def update(self, **parts: Any) -> Step:
        return self._member_command("update", **parts)

    def leave(self, **parts: Any) -> Step:
        return self._member_command("leave", **parts)

    def adjust(self, points: int, *, reason: str = "goodwill", actor: str = "ann", **parts: Any) -> Step:
        return self._member_command("adjust", points=points, reason=reason, actor=actor, **parts)

    def answer(self, offer: str, result: str = "accepted", **parts: Any) -> Step:
        return self._member_command("answer_offer", offer=offer, result=result, **parts)

    def convert(self, points: int, wallet: str = "stars", into: str = "main", **parts: Any) -> Step:
        return self._member_command("convert_points", wallet=wallet, into=into, points=points, **parts)

    # -- the desk

    def approve(self, adjustment: str, *, actor: str = "bob", accept: bool = True, **parts: Any) -> Step:
        return self._decide("approve", {"adjustment": adjustment, "actor": actor, "accept": accept}, **parts)

    def review(self, hold: str, verdict: str = "release", **parts: Any) -> Step:
        return self._decide("review", {"hold": hold, "verdict": verdict, "actor": "eve", "reason": "looked"}, **parts)

    def set_tier(self, tier: str, until: datetime | None = None, **parts: Any) -> Step:
        end = {"until": until.isoformat()} if until else {}
        return self._decide("set_tier", {"tier": tier, "actor": "eve", "reason": "match"} | end, **parts)

    def _decide(self, kind: str, body: dict[str, Any], *, id: str | None = None) -> Step:  # noqa: A002
        id_ = id or self.fresh(kind)
        decision = {"type": kind, "command_id": id_, "loyalty_id": self.key, "at": self.clock.isoformat()} | body
        return self.send(self.command("decide", id_, decision=decision))

    # -- redemption

    def request(
        self,
        kind: str,
        reservation: str,
        *,
        id: str | None = None,  # noqa: A002
        at: datetime | None = None,
        **parts: Any,
    ) -> AnyCommand:
        id_ = id or self.fresh(kind)
        body = {
            "type": kind,
            "request_id": id_,
            "outlet": "o1",
            "till": "1",
            "at": (at or self.clock).isoformat(),
            "member": f"loyalty:{self.key}",
            "reservation": reservation,
        }
        return self.command("redeem", id_, request=body | parts)

    def reserve(self, reservation: str, points: int | None = None, **parts: Any) -> Step:
        wanted = {} if points is None else {"points": points}
        return self.send(self.request("reserve", reservation, **wanted, **parts))

    def confirm(self, reservation: str, points: int | None = None, **parts: Any) -> Step:
        used = {} if points is None else {"points": points}
        return self.send(self.request("confirm", reservation, **used, **parts))

    def cancel(self, reservation: str, **parts: Any) -> Step:
        return self.send(self.request("cancel", reservation, **parts))

    def pay(self, points: int, check_id: str) -> Step:
        """Reserve and confirm at once, for a receipt."""
        self.reserve(f"for-{check_id}", points)
        return self.confirm(f"for-{check_id}", check_id=check_id)

    # -- claims

    def take_receipt(self, sale: AnyCommand, *, claim: str | None = None) -> Step:
        """The second half of a claim: the sale is the member's."""
        claim_id = claim or self.fresh("c")
        check = orjson.loads(encode(sale.check))  # type: ignore[union-attr]
        return self.send(self.command("take_receipt", sale.id, check=check, claim_id=claim_id))


class Receipt(Log):
    """The account of a check without a member."""

    def __init__(self, rules: Program | None = None, check_id: str = "s1", clock: datetime = START) -> None:
        super().__init__(rules or program(), f"receipt:{check_id}", clock)
        self.check_id = check_id

    def ask(self, total: int, *, claimant: str = "H-1", id: str | None = None, date: str | None = None) -> Step:  # noqa: A002
        """The first half of a claim."""
        id_ = id or self.fresh("c")
        claim = {
            "type": "claim",
            "command_id": id_,
            "loyalty_id": claimant,
            "at": self.clock.isoformat(),
            "check_id": self.check_id,
            "total_minor": total,
            "business_date": date or START.date().isoformat(),
        }
        return self.send(self.command("ask_receipt", id_, claim=claim, claimant=claimant))
