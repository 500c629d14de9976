"""Fraud: a score of named signals over the member's recent checks (F01, F02, F04, F05, F08, A13).

Law: a sale is never blocked; at the critical score its points are held for review. Windows are of purchase time, so late checks
neither hide a burst nor invent one.
"""

from collections.abc import Callable, Sequence
from math import asin, cos, radians, sin, sqrt
from typing import Any, NamedTuple, assert_never

from schemas.program import AnySignal, ImpossibleTravel, ReturnRatio, Velocity
from schemas.records import Sale
from streams.domain.account import Account, Applied
from streams.domain.plan import TRAVEL_SECONDS, Plan

EARTH_RADIUS_KM = 6371


class Hit(NamedTuple):
    """A signal that hit: what was counted, and the limit it passed."""

    signal: str
    weight: int
    value: int
    limit: int

    def as_dict(self) -> dict[str, Any]:
        return self._asdict()


class Seen:
    """The sale under judgment, beside the checks applied before it."""

    __slots__ = ("at", "outlet", "own_card", "points", "remote", "till")

    def __init__(self, sale: Sale, at: int, points: int, *, own_card: bool) -> None:
        self.at = at
        self.outlet: str = sale.outlet
        self.till: str = sale.till
        self.points = points
        self.remote = sale.channel != "store"  # not at a counter: no place, so no travel
        self.own_card = own_card


def is_own_card(sale: Sale, account: Account) -> bool:
    """Whether the cashier's own card was read: his member account's `staff` id says so."""
    return bool(account.staff) and sale.cashier == account.staff


def assess(this: Seen, account: Account, plan: Plan) -> tuple[Hit, ...]:
    """The signals that hit, in the program's order."""
    if not plan.signals:
        return ()
    near, at = plan.fraud_seconds, this.at
    sales = [applied for applied in account.applied if abs(applied.at - at) < near and applied.kind == "sale"]
    hits = [_hit(signal, this, sales, account, plan) for signal in plan.signals]
    return tuple([hit for hit in hits if hit is not None])


def is_critical(hits: Sequence[Hit], plan: Plan) -> bool:
    """Whether the points are to be held."""
    return sum([hit.weight for hit in hits]) >= plan.program.fraud.critical


def _hit(signal: AnySignal, this: Seen, sales: list[Applied], account: Account, plan: Plan) -> Hit | None:
    if signal.kind == "velocity":  # told apart by text, as in `earning`
        return _velocity(signal, this, sales, plan)
    if signal.kind == "return_ratio":
        return _return_ratio(signal, this, account)
    if signal.kind == "impossible_travel":
        return _travel(signal, this, sales, plan)
    if signal.kind == "split_receipts":
        near = [(sale.at, 1) for sale in sales if sale.outlet == this.outlet and sale.till == this.till]
        count = _densest(this.at, 1, near, signal.minutes * 60, sum)
        return Hit(signal.id, signal.weight, count, signal.checks) if count >= signal.checks else None
    if signal.kind == "own_card":
        return Hit(signal.id, signal.weight, 1, 1) if this.own_card else None
    assert_never(signal)


def _velocity(signal: Velocity, this: Seen, sales: list[Applied], plan: Plan) -> Hit | None:
    window = signal.hours * 3600
    match signal.what:
        case "checks":
            value = _densest(this.at, 1, [(sale.at, 1) for sale in sales], window, sum)
        case "points":
            value = _densest(this.at, this.points, [(sale.at, sale.points) for sale in sales], window, sum)
        case "outlets":
            value = _densest(this.at, this.outlet, [(sale.at, sale.outlet) for sale in sales], window, _different)
    if signal.hard is not None and value > signal.hard:
        return Hit(signal.id, max(signal.weight, plan.program.fraud.critical), value, signal.hard)
    return Hit(signal.id, signal.weight, value, signal.soft) if value > signal.soft else None


def _densest(at: int, mine: Any, others: list[tuple[int, Any]], window: int, total: Callable[[Sequence[Any]], int]) -> int:
    """The largest total over any window of that length which holds `at`, wherever in it the check falls."""
    near = [(time, value) for time, value in others if abs(time - at) < window]
    if not near:
        return total([mine])
    starts = {at, *[time for time, _ in near if time <= at]}
    return max([total([mine, *[value for time, value in near if start <= time < start + window]]) for start in starts])


def _different(outlets: Sequence[str]) -> int:
    return len(set(outlets))


def _return_ratio(signal: ReturnRatio, this: Seen, account: Account) -> Hit | None:
    """Sales that came back, in whole or in part, and returns that name no sale."""
    until = this.at
    since = until - signal.days * 86_400
    recent = [applied for applied in account.applied if since < applied.at <= until]
    sales = len([applied for applied in recent if applied.kind == "sale"])
    returns = len({applied.of or applied.id for applied in recent if applied.kind in ("return", "void")})
    if sales < signal.sales or returns * 100 < signal.percent * sales:
        return None
    return Hit(signal.id, signal.weight, returns * 100 // sales, signal.percent)


def _travel(signal: ImpossibleTravel, this: Seen, sales: list[Applied], plan: Plan) -> Hit | None:
    """The fastest journey between this check and any other at a counter, in km/h."""
    here = plan.places.get(this.outlet)
    if here is None or this.remote:
        return None
    speeds = [
        _speed(here, plan.places[sale.outlet], abs(sale.at - this.at) + signal.skew_minutes * 60)
        for sale in sales
        if not sale.remote
        and sale.outlet in plan.places
        and sale.outlet != this.outlet
        and abs(sale.at - this.at) < TRAVEL_SECONDS
    ]
    fastest = max(speeds, default=0)
    return Hit(signal.id, signal.weight, fastest, signal.km_per_hour) if fastest > signal.km_per_hour else None


def _speed(here: tuple[float, float], there: tuple[float, float], seconds: int) -> int:
    return int(distance_km(here, there) * 3600 / max(1, seconds))


def distance_km(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Great-circle distance (haversine)."""
    lat1, lon1, lat2, lon2 = (radians(angle) for angle in (*here, *there))
    arc = sin((lat2 - lat1) / 2) ** 2 + cos(lat1) * cos(lat2) * sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(sqrt(arc))
