"""A second ledger: every point is an object of its own that is somewhere, and balances are counts.

Law: it shares nothing with `streams.domain`, only the contract's models. It is fed the accepted wire records in topic order, each
with its Kafka timestamp; slow, plain, and right by inspection. It knows one kind of program (`Rules`), enough to judge all of
earning, expiry, redemption, returns, debts, adjustments and yearly spend tiers. What budgets gave is told to it.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from math import floor

from schemas.checks import AnyCheck, Return, Sale, Void
from schemas.members import Adjust, Approve, ConvertPoints, OptIn, OptOut
from schemas.redemptions import AnyRedemption, Cancel, Confirm, Reserve
from streams.chaos.oracle.parts import Booking, Bought, Figures, Waiting, add, came_back
from streams.chaos.oracle.rules import (
    Rules,
    earning_minor,
    line_bonus,
    line_points,
    line_stars,
    net,
    record_id,
    seconds,
    shared_out,
)
from streams.chaos.oracle.wallet import NaiveWallet

DAY = 86_400
HORIZON = 35 * DAY
REMEMBERED = 37 * DAY

Record = AnyCheck | AnyRedemption | Adjust | Approve | ConvertPoints | OptIn | OptOut


class NaiveMember(NaiveWallet):
    """Everything about one member, kept for ever."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules.debt, rules.expiry_months)
        self.rules = rules
        self.stars = NaiveWallet(rules.stars_debt, rules.stars_months)
        self.joined = False
        self.known = False
        """Joined once, whatever came after."""
        self.joined_at = 0
        self.bought: list[int] = []
        self.acts: list[int] = []
        """When the member bought; when anything was bought, brought back or redeemed."""
        self.told_at = 0
        self.seen: dict[str, tuple[Record, int]] = {}
        self.sales: dict[str, Bought] = {}
        self.bookings: dict[str, Booking] = {}
        self.waiting: list[Waiting] = []
        self.suggested: dict[str, Adjust] = {}
        self.spend: dict[int, int] = defaultdict(int)
        self.level = 0
        self.level_since: date | None = None
        self.level_year = 0
        """The last year in which the level is held without being earned again."""

    # ------------------------------------------------------------ the answer

    def figures(self, now: int | None = None) -> Figures:
        """Where the points stand at `now`."""
        if now is not None:
            self.pass_time(now)
        return self.stands(self.rules.tiers[self.level][0])

    # ------------------------------------------------------------ one record

    def take(self, record: Record, now: int) -> bool:
        """Take one record at Kafka time `now`; False when it changed nothing: a repeat, a refusal, too old."""
        now = max(now, self.now)
        name = record_id(record)
        if name in self.seen and self.remembers(self.seen[name][1], now):
            return False
        if seconds(record.at) <= now - HORIZON and self._is_stale(record):
            return False
        self.pass_time(now)
        self.seen[name] = (record, now)
        done = self._apply(record, name)
        self.expire(now)
        self.stars.expire(now)
        return done

    def remembers(self, seen: int, now: int) -> bool:
        """Records are remembered for 37 whole days."""
        return seen > now // DAY * DAY - REMEMBERED

    def _is_stale(self, record: Record) -> bool:
        """Too old to be told from a forgotten repeat; joining and leaving are so when something was told since."""
        return not isinstance(record, OptIn | OptOut) or seconds(record.at) <= self.told_at

    def _apply(self, record: Record, name: str) -> bool:
        done = False
        if isinstance(record, OptIn) or (isinstance(record, OptOut) and self.known):
            self.told_at = max(self.told_at, seconds(record.at))
        match record:
            case OptIn():
                self.joined_at = self.joined_at or seconds(record.at)
                done, self.joined, self.known = not self.joined, True, True
            case Adjust() if self.known:
                done = self._adjust(record, name)
            case Approve():
                done = self._approve(record)
            case ConvertPoints() if self.joined:
                done = self._convert(record)
            case OptOut() if self.joined:
                done, self.joined = True, False
                for booking in self.bookings.values():
                    if booking.status == "open":
                        self._free(booking, "cancelled")
            case Sale() if self.joined:
                done = True
                self._sell(record, name)
            case Sale() if self.known:  # gone: nothing is earned, but a return of it gives back what paid for it
                nothing = {line.line: 0 for line in record.lines}
                bought = Bought(record, self.now, {line: [0, 0] for line in nothing}, nothing, stars=nothing)
                self.sales[name] = bought
                self._waited_for(bought, name)
            case Return() | Void() if self.known:
                self.acts.append(seconds(record.at))
                done = self._bring_back(record)
            case Reserve() | Confirm() | Cancel() if self.joined:
                done = self._redeem(record)
                self.acts += [seconds(record.at)] if done else []
        return done

    # ------------------------------------------------------------ time

    def pass_time(self, now: int) -> None:
        """Reservations run out, points end, years begin; each at its time."""
        self.now = max(self.now, now)
        for booking in sorted(self.bookings.values(), key=lambda booking: booking.due):
            if booking.status == "open" and booking.due <= now:
                self.expire(booking.due)
                self._free(booking, "expired", booking.due)
        self.expire(now)
        self.stars.now = self.now
        self.stars.expire(now)
        self.waiting = [one for one in self.waiting if one.due > now]
        if self.joined:
            self._begin_years(now)

    def _begin_years(self, now: int) -> None:
        this_year = datetime.fromtimestamp(now, UTC).year
        while self.level and self.level_year < this_year:
            year = self.level_year + 1
            held, self.level = self.level, 0
            for earned_in in (year - 1, year):  # what these years earned still lasts in `year`
                level = self._level(self.spend[earned_in])
                if level >= self.level and level:
                    self.level, self.level_year = min(level, held), earned_in + 1
            if self.level != held:
                self.level_since = date(year, 1, 1)

    # ------------------------------------------------------------ a sale

    def _sell(self, sale: Sale, name: str) -> None:
        earning = earning_minor(sale, self.rules)
        self.bought.append(seconds(sale.at))
        self.acts.append(seconds(sale.at))
        bought = Bought(sale, self.now, line_points(sale, earning, self.rules), earning)
        self.sales[name] = bought
        number = sum(map(sum, bought.points.values()))
        self.totals["earned"] += number
        if number:
            bought.lot = self.new_points(number, seconds(sale.at), sale.at.date())
        bought.stars = line_stars(sale, earning, self.rules)
        number = sum(bought.stars.values())
        self.stars.totals["earned"] += number
        if number:
            bought.star_lot = self.stars.new_points(number, seconds(sale.at), sale.at.date())
        bought.asked = line_bonus(earning, self.rules)
        self.spend[sale.at.year] += sum(earning.values())
        self._climb(sale.at.date())
        self._waited_for(bought, name)

    def grant(self, sale: str, points: int, now: int) -> None:
        """What the budget over all members gave for a sale; once, however often it is said."""
        bought = self.sales.get(sale)
        if bought is not None and bought.granted >= 0:
            return
        now = max(now, self.now)
        self.pass_time(now)
        if bought is not None:
            bought.granted = points
            if self.joined and self.remembers(bought.seen, now):
                self._book(bought, points)
        self.expire(now)

    def _book(self, bought: Bought, points: int) -> None:
        """What came back of the sale meanwhile is not booked."""
        bought.bonus = dict(zip(bought.asked, shared_out(points, list(bought.asked.values())), strict=True))
        back = came_back(bought)
        bought.booked = bought.kept = sum(given - floor(given * back[line]) for line, given in bought.bonus.items())
        self.totals["earned"] += bought.booked
        if bought.booked:
            bought.bonus_lot = self.new_points(bought.booked, seconds(bought.sale.at), bought.sale.at.date())

    def _waited_for(self, bought: Bought, name: str) -> None:
        """The returns that came before their sale."""
        mine = [one for one in self.waiting if one.check.of == name]
        self.waiting = [one for one in self.waiting if one.check.of != name]
        for one in sorted(mine, key=lambda one: (seconds(one.check.at), record_id(one.check))):
            self._take_back(one.check, bought, name)

    def _level(self, spend: int) -> int:
        return max(number for number, (_, least) in enumerate(self.rules.tiers) if spend >= least)

    def _climb(self, day: date) -> None:
        year = day.year
        level = self._level(self.spend[year])
        if level > self.level:
            self.level, self.level_year, self.level_since = level, year + 1, day
        elif level == self.level and level:
            self.level_year = max(self.level_year, year + 1)

    # ------------------------------------------------------------ a return

    def _bring_back(self, check: Return | Void) -> bool:
        if check.of is None:
            return True
        known = self.seen.get(check.of)
        if known is None or not self.remembers(known[1], self.now):
            self.waiting.append(Waiting(check, self.now + HORIZON))
            return False
        bought = self.sales.get(check.of)
        if bought is None:
            return isinstance(known[0], Sale)  # bought while not a member: nothing to take back; else no sale at all
        return self._take_back(check, bought, check.of)

    def _take_back(self, check: Return | Void, bought: Bought, sale: str) -> bool:
        if bought.void:
            return False
        before = came_back(bought)
        if not add(check, bought):
            return False
        after = came_back(bought)
        lines, at = [line.line for line in bought.sale.lines], seconds(check.at)

        def fallen(of: dict[int, int]) -> int:
            return sum(floor(of[line] * after[line]) - floor(of[line] * before[line]) for line in lines)

        points = sum(fallen({line: bought.points[line][rule] for line in lines}) for rule in (0, 1))
        self.spend[bought.sale.at.year] -= fallen(bought.earning)
        for booking in self.bookings.values():
            self._restore(booking, sale, bought)
        if bought.bonus:
            bonus = fallen(bought.bonus)
            bought.kept -= bonus
            self.take_points(bonus, bought.bonus_lot, at)
        self.take_points(points, bought.lot, at)
        self.stars.take_points(fallen(bought.stars), bought.star_lot, at)
        return True

    def _restore(self, booking: Booking, sale: str, bought: Bought) -> None:
        """What paid for the sale comes back in proportion to what came back of it."""
        if booking.status != "confirmed" or booking.check != sale:
            return
        back = came_back(bought)
        nets = {line.line: net(line) for line in bought.sale.lines}
        whole = all(back[line] == 1 for line in nets)
        worth = max(1, sum(nets.values()))
        came = sum(floor(nets[line] * back[line]) for line in nets)
        due = len(booking.points) if whole else len(booking.points) * came // worth
        if due > booking.restored:
            self.come_back(booking.points[booking.restored : due], self.now)
            booking.restored = due

    # ------------------------------------------------------------ redemption

    def _redeem(self, request: AnyRedemption) -> bool:
        known = self.bookings.get(request.reservation)
        if isinstance(request, Reserve):
            wanted, usable = request.points or 0, self.usable(self.now)
            if known or request.offline or not self.rules.minimum_points <= wanted <= len(usable):
                return False
            self.bookings[request.reservation] = Booking(usable[:wanted], self.now + self.rules.reservation_minutes * 60)
            for point in usable[:wanted]:
                point.where = "reserved"
            return True
        if known is None or known.status != "open":
            return False
        if isinstance(request, Cancel):
            self._free(known, "cancelled")
            return True
        return self._confirm(request, known)

    def _confirm(self, request: Confirm, booking: Booking) -> bool:
        used = len(booking.points) if request.points is None else request.points
        if used > len(booking.points):
            return False
        rest = booking.points[used:]
        for point in booking.points[:used]:
            point.where = "used"
        booking.points, booking.status, booking.check = booking.points[:used], "confirmed", request.check_id
        self.come_back(rest, self.now)
        bought = self.sales.get(request.check_id or "")
        if bought and self.remembers(bought.seen, self.now):
            self._restore(booking, request.check_id or "", bought)
        return True

    def _free(self, booking: Booking, status: str, at: int | None = None) -> None:
        booking.status = status
        self.come_back(booking.points, self.now if at is None else at)

    # ------------------------------------------------------------ by hand

    def _adjust(self, adjust: Adjust, name: str) -> bool:
        if not adjust.reason.strip():
            return False
        if abs(adjust.points) > self.rules.adjust_limit:
            self.suggested[name] = adjust
            return False
        self._correct(adjust.points, seconds(adjust.at))
        return True

    def _convert(self, wish: ConvertPoints) -> bool:
        """Stars become points, so many at a time."""
        take, give = self.rules.stars_become
        usable = self.stars.usable(self.now)
        if (wish.wallet, wish.into) != ("stars", "main") or wish.points % take or wish.points > len(usable):
            return False
        for point in usable[: wish.points]:
            point.where = "used"
        self.acts.append(seconds(wish.at))
        points = wish.points // take * give
        self.totals["earned"] += points
        self.new_points(points, seconds(wish.at), datetime.fromtimestamp(seconds(wish.at), UTC).date())
        return True

    def _approve(self, approval: Approve) -> bool:
        waiting = self.suggested.get(approval.adjustment)
        if waiting is None or waiting.actor == approval.actor:
            return False
        del self.suggested[approval.adjustment]
        if approval.accept:
            self._correct(waiting.points, seconds(approval.at))
        return True

    def _correct(self, points: int, at: int) -> None:
        if points > 0:
            self.totals["adjusted"] += points
            self.new_points(points, at, datetime.fromtimestamp(at, UTC).date())
            return
        taken = self.usable(self.now)[:-points]
        for point in taken:
            point.where = "corrected"
        owed = -points - len(taken) if self.rules.debt == "allow" else 0
        self.totals["adjusted"] -= len(taken) + owed
        self.owed += owed


class NaiveLedger:
    """All members: feed it (member, record, Kafka time) in topic order."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.members: dict[str, NaiveMember] = {}

    def take(self, member: str, record: Record, now: int) -> bool:
        """One wire record for one member; whether it changed anything."""
        return self.members.setdefault(member, NaiveMember(self.rules)).take(record, now)

    def take_all(self, records: Iterable[tuple[str, Record, int]]) -> None:
        for member, record, now in records:
            self.take(member, record, now)

    def figures(self, member: str, now: int | None = None) -> Figures:
        return self.members.setdefault(member, NaiveMember(self.rules)).figures(now)
