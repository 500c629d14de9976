"""What the households do with their points. The data knows of none: the rule is ours."""

from collections.abc import Iterator
from datetime import timedelta

import polars as pl

from schemas.topics import REDEMPTIONS
from streams.baskets.data import YEAR, Arrival, Days, draw, instant, local
from streams.baskets.receipts import lines_sold, sale_id


def redemptions(
    days: Days = YEAR, *, reward: str, spend_minor: int, clean: bool = False, shift_days: int = 0
) -> Iterator[Arrival]:
    """What arrives on `pos.redemptions` on those days, by time: a household asks for `reward` when it can expect to afford it.

    It asks once for every `spend_minor` that the receipts before its last one add up to, at the till, just before it pays:
    `reserve` 40 s and `confirm` (or `cancel`) 15 s before the receipt. The reward is a gift: the receipt has no `points`
    tender, so it agrees with its lines whether the reservation was granted or not. Choose `spend_minor` somewhat above what
    the reward's points cost, and few are refused; which ones, only the ledger knows. A replay at full speed sends the
    confirmation before the answer is there, so a refused redemption shows twice: once with its reason, once as
    RESERVATION_UNKNOWN. At a till's own pace it is not sent at all, see `Arrival.unless_refused`.
    """
    shift = timedelta(days=shift_days)
    asking = _asking(days, shift, spend_minor, clean=clean)
    gives_up = pl.lit(value=False) if clean else draw("basket_id", "gives up", 25) == 0
    reserve = _requests(asking, "reserve", 40, pl.lit(reward).alias("reward"))
    confirm = _requests(asking.filter(~gives_up), "confirm", 15, sale_id().alias("check_id"))
    cancel = _requests(asking.filter(gives_up), "cancel", 15)
    requests = pl.concat([reserve, confirm, cancel]).sort("at_ms", "basket_id", maintain_order=True)
    for at_ms, key, value, needs in requests.drop("basket_id").iter_rows():
        yield Arrival(at_ms, REDEMPTIONS.name, key, value, needs)


def _asking(days: Days, shift: timedelta, spend_minor: int, *, clean: bool) -> pl.DataFrame:
    """The baskets of those days before which the household asks for a reward; tills that are offline do not ask."""
    lines = lines_sold(Days(YEAR.start, days.end), shift, clean=clean)
    baskets = lines.group_by("basket_id", maintain_order=True).agg(
        pl.first("household_id", "store_id", "till", "sold", "late", "member"), pl.sum("paid")
    )
    spent = pl.col("paid").cum_sum().shift(2, fill_value=0).over("household_id")
    reached = (spent // spend_minor).alias("reached")
    baskets = baskets.with_columns(reached).filter(pl.col("reached").diff().over("household_id") > 0)
    day = local(pl.col("sold") - shift).dt.date()
    return baskets.filter(day.is_between(*days, closed="left"), pl.col("late") == timedelta(0))


def _requests(asking: pl.DataFrame, kind: str, seconds_before: int, *more: pl.Expr) -> pl.DataFrame:
    at = pl.col("sold") - pl.duration(seconds=seconds_before)
    reservation = pl.format("{}-{}", local(pl.col("sold")).dt.strftime("%Y%m%d"), "basket_id")
    value = pl.struct(
        pl.lit(kind).alias("type"),
        pl.format("{}-{}", reservation, pl.lit(kind)).alias("request_id"),
        pl.col("store_id").cast(pl.String).alias("outlet"),
        pl.col("till"),
        instant(at).alias("at"),
        pl.col("member"),
        reservation.alias("reservation"),
        *more,
    ).struct.json_encode()
    needs = pl.lit("") if kind == "reserve" else pl.format("{}-reserve", reservation)
    return asking.select(
        "basket_id",
        at.dt.epoch("ms").alias("at_ms"),
        pl.col("member").cast(pl.Binary).alias("key"),
        value.cast(pl.Binary).alias("value"),
        needs.alias("unless_refused"),
    )
