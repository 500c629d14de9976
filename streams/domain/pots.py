"""What accounts keep of budgets over all members (B10): a member's account what was asked, a budget's what it answered."""

from typing import Literal

import msgspec

Hold = Literal["", "held", "taken"]


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """What a sale asked of a budget over all members, and what was granted.

    Kept whole as long as its sale is, then without its shares until no answer can come again (`budgets.remembered`).
    """

    sale: str
    rule: str
    budget: str
    day: int
    """Of the purchase, as the till counts."""
    at: int
    """Purchase time."""
    shares: tuple[tuple[int, int, int], ...]
    """As in `Award`: what was asked for, then what was granted."""
    points: int = -1
    """Granted; below zero: not answered yet."""
    lot: int = 0
    hold: Hold = ""
    """What a fraud review makes of it: held back until then, or taken before it was granted."""
    aside: bool = False
    """The points do not count where a tier asks for points."""

    @property
    def wanted(self) -> int:
        """Points that wait for an answer."""
        return sum(points for _, points, _ in self.shares) if self.points < 0 else 0


class Page(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Some requests that a budget has answered, packed (`budgets.ENTRY`)."""

    last: int
    """The latest Kafka time among them."""
    answers: bytes


class Budget(msgspec.Struct, frozen=True, array_like=True):
    """What a budget over all members has granted and not got back, and the answers it gave."""

    ends: int
    """The instant its period is over; 0: never."""
    granted: int = 0
    pages: tuple[Page, ...] = ()
    """The oldest first; at most `budgets.PAGES`."""
    floor: int = 0
    """Requests of Kafka times up to here may have been forgotten: they get nothing more."""
