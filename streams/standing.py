"""What all accounts hold together: the liability by book, accounts by status, points held for review, books that do not add up.

Law: totals are of the owned partitions, summed when a partition is taken up and moved with each acknowledged batch; a lost
partition takes its totals with it. So over all workers they are those of every account, each once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from msgspec.structs import astuple
from prometheus_client.core import Metric

from streams.domain.account import Account, Books, Head, unpack
from streams.metrics import catalogue

BOOKS = Books.__struct_fields__
_NOTHING = Books()
Unread = Callable[[int, bytes], bool]
"""Whether the account under this key of a partition has not come through `Standing.add` yet."""


def _nothing(_partition: int, _key: bytes) -> bool:
    return False


@dataclass(slots=True)
class _Totals:
    """Of one partition."""

    points: list[int] = field(default_factory=lambda: [0] * len(BOOKS))
    """In the order of the books."""
    accounts: Counter[str] = field(default_factory=Counter)
    holds: dict[bytes, int] = field(default_factory=dict)
    """By account: purchase time of the oldest points held for review."""
    crooked: set[bytes] = field(default_factory=set)
    """Accounts whose books do not add up."""

    def book(self, key: bytes, old: Books, new: Books) -> None:
        """An account has these points instead of those."""
        after = astuple(new)
        self.points = [total - was + now for total, was, now in zip(self.points, astuple(old), after, strict=True)]
        if sum(after) != 0:
            self.crooked.add(key)
        elif self.crooked:
            self.crooked.discard(key)

    def hold(self, key: bytes, books: Books, held_since: Callable[[], int]) -> None:
        """What of it waits for a review."""
        if books.held > 0:
            self.holds[key] = held_since()
        elif self.holds:
            self.holds.pop(key, None)


class Standing:
    """Totals by partition. `now` tells the time by which a hold is old, epoch seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._parts: dict[int, _Totals] = {}
        self._unread: Unread = _nothing

    def begin(self, owned: Iterable[int], unread: Unread = _nothing) -> None:
        """These partitions are ours now; each row of those that were not comes through `add`. What is `unread` will, as it stands
        then.
        """
        self._unread = unread
        self._parts = {partition: self._parts.get(partition) or _Totals() for partition in owned}

    def add(self, partition: int, key: bytes, head: Head, stored: bytes) -> None:
        """An account found in the table."""
        totals = self._parts[partition]
        totals.accounts[head.status] += 1
        totals.book(key, _NOTHING, head.books)
        totals.hold(key, head.books, lambda: _held_since(unpack(stored, head.key)))

    def moved(self, partition: int, before: Mapping[bytes, Account], after: Mapping[bytes, Account]) -> None:
        """A batch is acknowledged: what was is now otherwise."""
        totals = self._parts.get(partition)
        if totals is None:
            return
        for key, account in after.items():
            if not self._unread(partition, key):
                self._move(totals, key, before[key], account)

    def _move(self, totals: _Totals, key: bytes, old: Account, new: Account) -> None:
        if not old.stands or old.status != new.status or not new.stands:
            totals.accounts[old.status] -= old.stands
            totals.accounts[new.status] += new.stands
        if old.books != new.books:
            totals.book(key, old.books, new.books)
        if old.books != new.books or new.books.held:
            totals.hold(key, new.books, lambda: _held_since(new))

    # -- read when Prometheus asks, by another thread

    def collect(self) -> Iterable[Metric]:
        parts = [(str(partition), totals) for partition, totals in self._parts.items()]
        now = self._now()
        yield catalogue.BALANCE.of(
            ((book, part), points) for part, all_ in parts for book, points in zip(BOOKS, all_.points, strict=True)
        )
        yield catalogue.ACCOUNTS.of(
            ((status, part), count) for part, all_ in parts for status, count in list(all_.accounts.items())
        )
        yield catalogue.HOLDS.of(((part,), len(all_.holds)) for part, all_ in parts)
        yield catalogue.HOLD_AGE.of(
            ((part,), max((now - since for since in list(all_.holds.values())), default=0.0)) for part, all_ in parts
        )
        yield catalogue.IMBALANCE.at(sum(len(all_.crooked) for _, all_ in parts))


def _held_since(account: Account) -> int:
    return min((lot.earned_at for lot in account.lots if lot.book == "held"), default=account.now)
