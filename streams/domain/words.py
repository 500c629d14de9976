"""Numbers, sums of money, times and lists as people say them."""

from collections.abc import Callable, Iterable
from datetime import datetime, time

from schemas.currencies import CURRENCIES

Money = Callable[[int], str]
"""Minor units, said."""


def money_in(currency: str) -> Money:
    """How sums of the currency are said; they come in minor units."""
    digits = CURRENCIES[currency]

    def money(minor: int) -> str:
        whole, rest = divmod(abs(minor), 10**digits)
        sign = "-" if minor < 0 else ""
        return f"{sign}{whole:,}{f'.{rest:0{digits}}' if digits else ''} {currency}"

    return money


def count(number: int, thing: str) -> str:
    """`1 point`, `2,000 points`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def nth(number: int) -> str:
    """`1st`, `12th`."""
    ending = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def either(words: Iterable[str], last: str = "or") -> str:
    """`a, b or c`."""
    *most, final = words
    return f"{', '.join(most)} {last} {final}" if most else final


def instant(at: datetime) -> str:
    """To the minute, unless there is more to say."""
    return at.isoformat(sep=" ", timespec="auto" if at.second or at.microsecond else "minutes")


def clock(at: time) -> str:
    """A time of day, to the minute unless there is more to say."""
    return at.isoformat(timespec="auto" if at.second or at.microsecond else "minutes")
