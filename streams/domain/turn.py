"""One command being decided: the draft of the account, the program, the time, and what is said about it.

Law: points move by `post` alone, and every posting belongs to the fact that `say` states right after it. So a balance never
changes without an event that shows the change.
"""

from typing import Any, Literal

import msgspec

from schemas.codes import Code
from streams.domain.account import Account, Lot, SaleRecord
from streams.domain.outcome import Book, Fact, Move, Word
from streams.domain.plan import Plan


class Answer:
    """What the reply says beyond the account's standing."""

    def __init__(self) -> None:
        self.status: Literal["accepted", "refused", "parked"] = "accepted"
        self.code = Code.OK
        self.earned = 0
        self.burned = 0
        self.value_minor = 0
        self.hold_refund_minor = 0
        self.hits: list[dict[str, Any]] = []


class Turn:
    """A command in progress. Made by `decide`, changed by the leaves it calls, then sealed into an outcome."""

    def __init__(self, account: Account, plan: Plan, now: int, cause: str, at: int) -> None:
        self.account = account
        self.plan = plan
        self.now = now
        self.at = at  # when the cause happened in the world
        self.time = 0  # how far settling has come; `now` when it is done
        self.cause = cause
        self.facts: list[Fact] = []
        self.answer = Answer()
        self.sale: SaleRecord | None = None
        self.words: list[Word] = []
        self.purses: dict[str, Turn] = {}
        """What it does in wallets beside the main one (`wallets.purse`); nearly always nothing."""
        self._moves: list[Move] = []

    def reach(self, time: int) -> None:
        """Settling has come so far, in all wallets at once."""
        self.time = time
        if self.purses:
            for purse in self.purses.values():
                purse.time = time

    def post(self, source: Book, target: Book, points: int, lot: int = 0) -> None:
        """Move points. A zero is no posting."""
        if points == 0:
            return
        assert points > 0, (source, target, points)  # noqa: S101  # a broken invariant stops the worker, uncommitted
        books = self.account.books
        setattr(books, source, getattr(books, source) - points)
        setattr(books, target, getattr(books, target) + points)
        self._moves.append(Move(source, target, points, lot))

    def say(self, kind: str, at: int, **detail: Any) -> None:
        """State a fact that accounts for every posting made since the last one."""
        self.facts.append(Fact(kind, at, tuple(self._moves), detail))
        self._moves = []

    def refuse(self, code: Code) -> None:
        """Answer no. Nothing may have been posted."""
        self.answer.status, self.answer.code = "refused", code

    def park(self, code: Code, check_id: str, at: int) -> None:
        """Keep for review, visibly."""
        self.answer.status, self.answer.code = "parked", code
        self.say("LOY_CHECK_PARKED", at, check_id=check_id, code=code)

    def act(self, at: int) -> None:
        """The member did something with the program: bought, brought back, redeemed."""
        account = self.account
        account.first_activity = min(at, account.first_activity or at)
        account.last_activity = max(at, account.last_activity)

    @property
    def settled(self) -> bool:
        """Every posting has its fact."""
        return not self._moves and (not self.purses or all(purse.settled for purse in self.purses.values()))

    # Lots are a tuple of immutable records; these three keep them so.
    def add_lot(self, lot: Lot) -> None:
        self.account.lots = (*self.account.lots, lot)

    def new_lot_number(self) -> int:
        self.account.lot_count += 1
        return self.account.lot_count

    def change_lot(self, lot: Lot, **changes: Any) -> Lot:
        """The lot with some fields changed; dropped when nothing is left in it."""
        changed = msgspec.structs.replace(lot, **changes)
        left: bool = changed.points != 0
        self.account.lots = tuple([changed if other is lot else other for other in self.account.lots if other is not lot or left])
        return changed


_CHANGES = {
    "LOY_POINT_ACCRUAL": "accrued",
    "LOY_POINT_RESERVED": "reserved",
    "LOY_POINT_FREED": "freed",
    "LOY_POINT_REDEMPTION": "redeemed",
    "LOY_POINT_REVERSED": "reversed",
    "LOY_POINT_RESTORED": "restored",
    "LOY_POINT_EXPIRED": "expired",
    "LOY_POINT_EXPIRING_SOON": "expiring_soon",
    "LOY_FRAUD_CLEARED": "cleared",
}
_TOLD = ("points", "check_id", "of", "reservation", "reward", "expires_at")


class Purse(Turn):
    """What a turn does in one wallet. Its facts are told among those of the member's turn, as changes of that wallet."""

    def __init__(self, whole: Turn, account: Account) -> None:
        super().__init__(account, whole.plan.of_wallet(account.key), whole.now, whole.cause, whole.at)
        self.facts = whole.facts
        self.time = whole.time

    def say(self, kind: str, at: int, **detail: Any) -> None:
        """State a fact of this wallet."""
        if kind in _CHANGES:
            told = {name: detail[name] for name in _TOLD if detail.get(name) is not None}
            super().say("LOY_WALLET_CHANGE", at, wallet=self.account.key, change=_CHANGES[kind], **told)
        else:
            super().say(kind, at, **detail)
