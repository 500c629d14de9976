"""Points of one kind: each is an object of its own that is somewhere, and what cannot be found is owed or forgiven."""

from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import Literal

from streams.chaos.oracle.parts import Figures, Point
from streams.chaos.oracle.rules import month_end


class NaiveWallet:
    """The points of one wallet, kept for ever."""

    def __init__(self, debt: Literal["allow", "floor"], months: int) -> None:
        self.debt = debt
        self.months = months
        self.points: list[Point] = []
        self.owed = 0
        self.missed: Counter[int] = Counter()
        """Lot -> points that its return did not find, because they were reserved or used."""
        self.missed_at: dict[int, int] = {}
        """Lot -> when it was brought back last."""
        self.totals: Counter[str] = Counter()
        self.lots = 0
        self.now = 0

    def stands(self, tier: str = "") -> Figures:
        """Where the points are."""
        where = Counter(point.where for point in self.points)
        return Figures(
            earned=self.totals["earned"],
            reversed=self.totals["reversed"],
            adjusted=self.totals["adjusted"],
            used=where["used"],
            expired=where["expired"],
            available=where["available"],
            held=where["reserved"],
            debt=self.owed,
            tier=tier,
        )

    def expire(self, now: int) -> None:
        for point in self.points:
            if point.where == "available" and point.ends <= now:
                point.where = "expired"

    def usable(self, at: int) -> list[Point]:
        points = [point for point in self.points if point.where == "available" and point.ends > at]
        return sorted(points, key=lambda point: (point.ends, point.earned_at, point.lot))

    def repay(self, at: int) -> None:
        for point in self.usable(at)[: self.owed]:
            point.where = "repaid"
            self.owed -= 1

    def come_back(self, points: Iterable[Point], at: int) -> None:
        """What was reserved or used is usable again; but what a return of its sale has missed pays the debt of that first, and
        what returns of other sales would have found, had these points lain there.
        """
        for point in points:
            point.where = "available"
            lot = self._missing(point)
            if self.missed[lot]:
                self.missed[lot] -= 1
                if self.debt == "floor":
                    point.where = "reversed"
                    self.totals["reversed"] += 1
                elif self.owed:
                    point.where = "repaid"
                    self.owed -= 1
        self.repay(at)

    def _missing(self, point: Point) -> int:
        """The lot whose return missed this point: its own, or one brought back while this point could have been taken."""
        if self.missed[point.lot]:
            return point.lot
        found = (
            lot for lot, points in sorted(self.missed.items()) if points and point.earned_at <= self.missed_at[lot] < point.ends
        )
        return next(found, point.lot)

    def new_points(self, number: int, at: int, day: date) -> int:
        self.lots += 1
        ends = month_end(day, self.months)
        self.points += [Point(self.lots, ends, at) for _ in range(number)]
        self.repay(self.now)
        return self.lots

    def take_points(self, points: int, lot: int, at: int) -> None:
        """What expired unused is excused; then the sale's own points, then others, then a debt."""
        for point in self.points:
            if points and point.lot == lot and point.where == "expired" and not point.excused:
                point.excused = True
                points -= 1
        own = [point for point in self.points if point.lot == lot and point.where == "available"]
        others = [point for point in self.usable(self.now) if point.lot != lot]
        for point in [*own, *others][:points]:
            point.where = "reversed"
            points -= 1
            self.totals["reversed"] += 1
        if points:
            self.missed[lot] += points
            self.missed_at[lot] = at
        if self.debt == "allow":
            self.totals["reversed"] += points
            self.owed += points
