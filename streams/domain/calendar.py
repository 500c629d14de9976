"""Local days. Instants are epoch seconds (UTC); days are proleptic ordinals in a program's time zone.

Expiry, tier periods and anniversaries fall on local midnights, so a day of 23 or 25 hours is still one day.
"""

from calendar import monthrange
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

DAY: Final = 86_400


@lru_cache(maxsize=65_536)
def midnight(zone: str, day: int) -> int:
    """The first instant of the local day."""
    return int(datetime.combine(date.fromordinal(day), time(), ZoneInfo(zone)).timestamp())


_QUARTERS: dict[str, dict[int, int]] = {}  # by zone; asked for so often that `lru_cache` would cost as much as all else here


def local_day(zone: str, at: int) -> int:
    """The local day on which the instant falls."""
    quarter = at // 900  # every offset in use is a multiple of a quarter of an hour
    known = _QUARTERS.setdefault(zone, {})
    if quarter not in known:
        if len(known) >= 65_536:
            known.clear()
        known[quarter] = datetime.fromtimestamp(quarter * 900, ZoneInfo(zone)).toordinal()
    return known[quarter]


@lru_cache(maxsize=65_536)
def days_after(zone: str, at: int, days: int) -> int:
    """The local midnight so many days after the day of the instant; before it, when below zero."""
    return midnight(zone, local_day(zone, at) + days)


@lru_cache(maxsize=65_536)
def month_end(day: int, months: int) -> int:
    """The last day of the month so many months after the month of `day`."""
    moment = date.fromordinal(day)
    month = moment.year * 12 + moment.month - 1 + months
    year, month = divmod(month, 12)
    return date(year, month + 1, monthrange(year, month + 1)[1]).toordinal()


def year_end(day: int, years: int) -> int:
    """The last day of the year so many years after the year of `day`."""
    return date(date.fromordinal(day).year + years, 12, 31).toordinal()


@lru_cache(maxsize=65_536)
def years_later(day: int, years: int) -> int:
    """The same day so many years later; 29 February becomes 28 February in common years."""
    moment = date.fromordinal(day)
    year = moment.year + years
    return date(year, moment.month, min(moment.day, monthrange(year, moment.month)[1])).toordinal()


@lru_cache(maxsize=65_536)
def day_in_year(year: int, month_day: str) -> int:
    """The day `MM-DD` of a year; 29 February is 28 February in common years."""
    month, day = int(month_day[:2]), int(month_day[3:])
    return date(year, month, min(day, monthrange(year, month)[1])).toordinal()


@lru_cache(maxsize=65_536)
def days_to_birthday(day: int, month_day: str) -> int:
    """How many days the nearest birthday is away, before or after."""
    year = date.fromordinal(day).year
    return min(abs(day_in_year(year + step, month_day) - day) for step in (-1, 0, 1))


@lru_cache(maxsize=65_536)
def period_start(day: int, period: str) -> int:
    """The first day of the calendar month, quarter or year of `day`."""
    moment = date.fromordinal(day)
    month = {"month": moment.month, "quarter": (moment.month - 1) // 3 * 3 + 1, "year": 1}[period]
    return date(moment.year, month, 1).toordinal()


@lru_cache(maxsize=65_536)
def next_period(start: int, period: str) -> int:
    """The first day of the period after the one that starts on `start`."""
    return month_end(start, {"month": 0, "quarter": 2, "year": 11}[period]) + 1


@lru_cache(maxsize=4096)
def instant(at: int) -> str:
    """RFC 3339 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def day_text(day: int | None) -> str | None:
    """YYYY-MM-DD."""
    return date.fromordinal(day).isoformat() if day else None


def epoch(moment: datetime) -> int:
    """Whole seconds since 1970 UTC."""
    return int(moment.timestamp())
