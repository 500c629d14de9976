"""What the naive ledger is made of: points, sales, bookings, and where everything stands."""

from dataclasses import asdict, dataclass, field
from fractions import Fraction

from schemas.checks import Return, Sale, Void
from streams.chaos.oracle.rules import net


@dataclass(frozen=True)
class Figures:
    """Where a member's points stand, in the words of the events' balance."""

    earned: int = 0
    reversed: int = 0
    adjusted: int = 0
    used: int = 0
    expired: int = 0
    available: int = 0
    held: int = 0
    debt: int = 0
    tier: str = "Member"

    @property
    def conserved(self) -> bool:
        left = self.earned - self.reversed + self.adjusted - self.used - self.expired
        return left == self.available + self.held - self.debt

    def as_dict(self) -> dict[str, int | str]:
        return asdict(self)


@dataclass(eq=False)
class Point:
    """One point. `where`: available, reserved, used, expired, reversed, corrected, repaid."""

    lot: int
    """Points that came together have the same; the sale knows its own."""
    ends: int
    earned_at: int
    where: str = "available"
    excused: bool = False
    """It had expired, and a return of its sale has passed it over once."""


@dataclass
class Bought:
    sale: Sale
    seen: int
    points: dict[int, list[int]]
    """Line -> points that the base and the double rule gave for it."""
    earning: dict[int, int]
    """Line -> minor units that earn."""
    back: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Line -> (quantity, amount) that came back."""
    void: bool = False
    lot: int = 0
    stars: dict[int, int] = field(default_factory=dict)
    """Line -> stars."""
    star_lot: int = 0
    asked: dict[int, int] = field(default_factory=dict)
    """Line -> points asked of the budget over all members."""
    granted: int = -1
    """What it gave, -1: not answered."""
    bonus: dict[int, int] = field(default_factory=dict)
    """Line -> points of that."""
    booked: int = 0
    """Points of it that the member got, less what had come back before."""
    kept: int = 0
    """And that no return has taken: the rest is the budget's again."""
    bonus_lot: int = 0


@dataclass
class Booking:
    points: list[Point]
    due: int
    status: str = "open"
    check: str | None = None
    restored: int = 0


@dataclass
class Waiting:
    check: Return | Void
    due: int


def add(check: Return | Void, bought: Bought) -> bool:
    """Note what comes back; False (and nothing noted) when it is more than was sold."""
    sold = {line.line: line for line in bought.sale.lines}
    if isinstance(check, Void):
        bought.back = {number: (line.quantity, net(line)) for number, line in sold.items()}
        bought.void = True
        return True
    back = dict(bought.back)
    for line in check.lines:
        quantity, amount = back.get(line.line, (0, 0))
        back[line.line] = (quantity + line.quantity, amount + line.amount_minor)
    for number, (quantity, amount) in back.items():
        if number not in sold or quantity > sold[number].quantity or amount > net(sold[number]):
            return False
    bought.back = back
    return True


def came_back(bought: Bought) -> dict[int, Fraction]:
    """How much of each line: by goods or by money, whichever is more; a line of neither comes back when it is named."""
    shares = {}
    for line in bought.sale.lines:
        quantity, amount = bought.back.get(line.line, (0, 0))
        by = [Fraction(quantity, line.quantity)] if line.quantity else []
        by += [Fraction(amount, net(line))] if net(line) else []
        shares[line.line] = max(by, default=Fraction(int(line.line in bought.back)))
    return shares
