"""The account: one compact record per member, everything that a decision needs and nothing personal (design, section 4).

All parts are immutable; a decision works on a shallow copy (`Account.draft`). Times are epoch seconds, days are ordinals.
The first field is the next due time, so that the clock can read it without unpacking the rest.
"""

from typing import Literal

import msgspec

from streams.domain.pots import Asked, Budget

HORIZON_DAYS = 35
# Repeats are remembered a little longer than checks are taken, so that no check can outlive its own record.
REMEMBER = (HORIZON_DAYS + 2) * 86_400
HORIZON = HORIZON_DAYS * 86_400
# What one account keeps of them at most, so that its record always fits into a Kafka message.
APPLIED_MAX = 1000
OFFERS_MAX = 200
OUTCOME_BYTES_MAX = 400_000

RECEIPT_PREFIX = "receipt:"
BUDGET_PREFIX = "budget:"

replace = msgspec.structs.replace

WITH_ACTIVITY = -1  # `expires_at` of a lot that ends so many days after the member's last purchase


class Lot(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Points that came together. `points` is what is left; `book` says whether they can be used."""

    number: int
    points: int
    book: Literal["available", "pending", "held"]
    earned_at: int
    available_at: int
    expires_at: int
    """0: never; WITH_ACTIVITY: by the member's last purchase."""
    hold: str = ""
    """The check whose fraud review holds it."""
    noticed: int = 0
    """The end that LOY_POINT_EXPIRING_SOON told about; 0: none yet."""
    day: int = 0
    """The day of the purchase, as the till counts; 0: not from a purchase."""


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Points taken out of a lot, with what is needed to put them back as they were."""

    lot: int
    points: int
    earned_at: int
    expires_at: int
    noticed: int = 0


class Reservation(msgspec.Struct, frozen=True, array_like=True):
    id: str
    status: Literal["open", "confirmed", "cancelled", "expired"]
    parts: tuple[Part, ...]
    """Open: what is set aside. Confirmed: what was used."""
    due: int
    """Open: when it runs out. Otherwise: when it ended."""
    value_minor: int
    reward: str = ""
    check_id: str = ""
    restored: int = 0
    """Points given back by returns."""

    @property
    def points(self) -> int:
        return sum(part.points for part in self.parts)


class Award(msgspec.Struct, frozen=True, array_like=True):
    """Points that one rule gave, line by line."""

    rule: str
    shares: tuple[tuple[int, int, int], ...]
    """(line, points, millionths of a point that rounding left)."""

    @property
    def points(self) -> int:
        return sum(points for _, points, _ in self.shares)


class Cut(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Points not given, and why: a cap, or a better rule of the same group."""

    by: str
    rule: str | None
    """None: the cap is over everything."""
    points: int


class SoldLine(msgspec.Struct, frozen=True, array_like=True, gc=False):
    line: int
    quantity: int
    net: int
    """What was paid for it, minor units."""
    base: int
    """How much of that may earn."""


class Joined(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a sale brought towards a threshold that joins receipts, and whether it was the one to reach it (F08)."""

    rule: str
    minor: int
    reached: bool


class Credit(msgspec.Struct, frozen=True, array_like=True):
    """What a sale earned in a wallet beside the main one."""

    wallet: str
    awards: tuple[Award, ...]
    lot: int


class Beside(msgspec.Struct, frozen=True, array_like=True):
    """What a sale did beside earning points that can be redeemed and qualify, as nearly all do (B05)."""

    credits: tuple[Credit, ...] = ()
    unusual: tuple[str, ...] = ()
    """Rules of the main wallet whose points do not qualify, and of other wallets whose points do."""


class SaleRecord(msgspec.Struct, frozen=True, array_like=True):
    """What a return needs to know of its sale."""

    lines: tuple[SoldLine, ...]
    awards: tuple[Award, ...]
    lot: int
    """0: the sale earned nothing."""
    day: int
    """0: the sale did not count."""
    joined: tuple[Joined, ...] = ()
    cuts: tuple[Cut, ...] = ()
    beside: Beside | None = None

    @property
    def qualifying(self) -> tuple[Award, ...]:
        """What counts where a tier asks for points."""
        if self.beside is None:
            return self.awards
        unusual = self.beside.unusual
        others = (award for credit in self.beside.credits for award in credit.awards if award.rule in unusual)
        return (*(award for award in self.awards if award.rule not in unusual), *others)


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """What came back of a line so far."""

    line: int
    quantity: int
    amount: int


class Returned(msgspec.Struct, frozen=True, array_like=True):
    """What came back of a sale so far."""

    sale: str
    at: int
    lines: tuple[Taken, ...] = ()
    void: bool = False
    confiscated: int = 0
    """Points of it that a review took, and no return has met yet."""


class Waiting(msgspec.Struct, frozen=True, array_like=True):
    """A return or void that came before its sale."""

    id: str
    of: str
    void: bool
    lines: tuple[Taken, ...]
    at: int
    outlet: str
    due: int


class Day(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One day of purchases: what tiers and caps count."""

    day: int
    points: int = 0
    spend: int = 0
    checks: int = 0


class Aside(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What qualifies otherwise than the points of the day say: points that do not (below zero), or of another wallet that do."""

    day: int
    """0: of days that are forgotten, which only a window since joining still counts."""
    points: int
    wallet: str = ""
    lot: int = 0
    """The lot they came with: while that one does not count, neither do these. 0: it counts."""


class RuleUse(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a capped rule gave on a day."""

    rule: str
    day: int
    points: int


class Tier(msgspec.Struct, frozen=True, array_like=True):
    level: int = 0
    since: int = 0
    until: int = 0
    """The first instant at which the tier is looked at again (`lots.NEVER`: never); 0 at the lowest level."""
    warned: bool = False
    close_to: str = ""
    """The approach (level and window) that was told about."""
    anniversaries: int = 0
    manual: tuple[int, int] = (0, 0)
    """(level, until) set by hand."""
    floor: tuple[int, int] = (0, 0)
    """(level, until) that the last review left: what the member came into the window with."""
    history: tuple[tuple[int, int], ...] = ()
    """(from instant, level) of the changes within the horizon, oldest first: the tier at any purchase time."""


class Suggested(msgspec.Struct, frozen=True, array_like=True):
    """An adjustment that waits for a second person."""

    id: str
    points: int
    reason: str
    actor: str


class Applied(msgspec.Struct, frozen=True, array_like=True):
    """A command that was decided, with its outcome: repeats are answered from it, velocity is counted on it."""

    id: str
    fingerprint: str
    kind: str
    origin: str
    at: int
    """Purchase time."""
    now: int
    outcome: msgspec.Raw
    outlet: str = ""
    till: str = ""
    points: int = 0
    size: int = 0
    """Bytes of the outcome."""
    remote: bool = False
    """Not at a counter."""
    of: str = ""
    """The sale that a return or void refers to."""


class Books(msgspec.Struct, array_like=True):
    """Double entry (B01): every posting takes from one book and gives to another, so all of them add up to zero.

    Sources run below zero: earned is -issued, owed is -debt, corrections upward are -adjusted.
    """

    issued: int = 0
    available: int = 0
    pending: int = 0
    held: int = 0
    reserved: int = 0
    used: int = 0
    expired: int = 0
    reversed: int = 0
    adjusted: int = 0
    debt: int = 0

    def total(self) -> int:
        """Must be 0."""
        return sum(getattr(self, book) for book in self.__struct_fields__)


class Account(msgspec.Struct, array_like=True):
    """The state of one member, of one unclaimed receipt, or of one budget. Treat as immutable: change a `draft`."""

    next_due: int = 0
    """The earliest time at which something falls due; 0: nothing will."""
    key: str = ""
    program: str = ""
    now: int = 0
    """The latest command time seen: time never runs backwards within an account."""
    status: Literal["new", "in", "out", "receipt", "budget"] = "new"
    joined_at: int = 0
    birthday: str = ""
    staff: str = ""
    books: Books = msgspec.field(default_factory=Books)
    lots: tuple[Lot, ...] = ()
    lot_count: int = 0
    sequence: int = 0
    reservations: tuple[Reservation, ...] = ()
    tier: Tier = Tier()
    days: tuple[Day, ...] = ()
    lifetime: Day = Day(0)
    """Everything since the member joined; `checks` counts days with a purchase."""
    rule_uses: tuple[RuleUse, ...] = ()
    applied: tuple[Applied, ...] = ()
    floor: int = 0
    """Purchase times up to here may have been forgotten early, because there were too many to keep."""
    returned: tuple[Returned, ...] = ()
    lapsed: tuple[Part, ...] = ()
    """What expired of the lots of recent sales; `earned_at` is when it expired."""
    waiting: tuple[Waiting, ...] = ()
    suggested: tuple[Suggested, ...] = ()
    first_activity: int = 0
    last_activity: int = 0
    first_purchase: int = 0
    last_purchase: int = 0
    anniversaries: int = 0
    birthdays: int = 0
    """The last year whose birthday was told."""
    receipt: bytes = b""
    """The sale, on the account of an unclaimed receipt."""
    claimed_by: str = ""
    """Who claimed it; "-" when it was returned."""
    claims: tuple[int, ...] = ()
    """When the member claimed receipts, within the last day."""
    missed: tuple[Part, ...] = ()
    """What reversals did not find in the lots of their sales, because it was reserved or used; `earned_at` is when."""

    told_at: int = 0
    """The latest time of a joining, update or leaving that was told: an older one that comes again is stale."""
    wallets: "tuple[Account, ...]" = ()
    """Beside the main one, in the order they were opened: each an account of its own, with its books, lots and reservations."""
    aside: tuple[Aside, ...] = ()
    settled_by: str = ""
    """The program version by which `next_due` was worked out: by the same one, nothing is due before."""
    offers: tuple[str, ...] = ()
    """Offers that the member has answered, latest last; at most OFFERS_MAX of them."""
    asked: tuple[Asked, ...] = ()
    """Of budgets over all members."""
    budget: Budget | None = None
    """On the account of a budget, nowhere else."""

    def draft(self) -> "Account":
        """A copy that a decision may change."""
        return replace(self, books=replace(self.books))

    @property
    def stands(self) -> bool:
        """Whether there is anything to keep: the account of a receipt that is forgotten goes."""
        return self.status != "new" or bool(self.applied)

    @property
    def debt(self) -> int:
        return -self.books.debt

    @property
    def owned(self) -> int:
        """Points that are the member's, usable or not."""
        books = self.books
        return books.available + books.pending + books.held + books.reserved


class Head(msgspec.Struct, array_like=True):
    """The head of a packed account: all that the clock and the totals read."""

    next_due: int = 0
    key: str = ""
    program: str = ""
    now: int = 0
    status: str = "new"
    joined_at: int = 0
    birthday: str = ""
    staff: str = ""
    books: Books = msgspec.field(default_factory=Books)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Account)
_head_decoder = msgspec.msgpack.Decoder(Head)


def pack(account: Account) -> bytes:
    """The account as stored: the same account gives the same bytes."""
    return _encoder.encode(account)


def unpack(stored: bytes | None, key: str) -> Account:
    """The stored account, or a new one."""
    return Account(key=key) if stored is None else _decoder.decode(stored)


def due_of(stored: bytes) -> Head:
    """When the stored account wants the clock's attention, and what stands in its books."""
    return _head_decoder.decode(stored)
