"""The baskets as receipts, and the returns, resends and late ones that tills add to them."""

from collections.abc import Iterator
from datetime import timedelta

import polars as pl

from schemas.topics import CHECKS
from streams.baskets.data import YEAR, Arrival, Days, cents, draw, instant, local, products, transactions
from streams.baskets.members import identifiers_read

CURRENCY = "USD"
LOOKBACK = timedelta(days=16)  # the longest way from a sale to the last record it causes

_CHUNK = timedelta(days=28)


def checks(days: Days = YEAR, *, clean: bool = False, shift_days: int = 0) -> Iterator[Arrival]:
    """What arrives on `pos.checks` on those days, by time. Two neighbouring stretches are the same as one.

    `clean` leaves out what is not the data's own: one record per basket, on time. `shift_days` moves everything towards
    today (multiples of 7 keep the weekdays); `days` stay the data's own. A month is held in memory at a time.
    """
    shift = timedelta(days=shift_days)
    start = days.start
    while start < days.end:
        stretch = Days(start, min(start + _CHUNK, days.end))
        for at_ms, key, value in _arrivals(stretch, shift, clean=clean).iter_rows():
            yield Arrival(at_ms, CHECKS.name, key, value)
        start += _CHUNK


def _arrivals(days: Days, shift: timedelta, *, clean: bool) -> pl.DataFrame:
    """at_ms, key, value of one stretch, by time."""
    if clean:
        records = _sales(lines_sold(days, shift, clean=True))
    else:
        lines = lines_sold(Days(days.start - LOOKBACK, days.end), shift, clean=False)
        sales = _sales(lines)
        records = pl.concat([sales, _resends(sales), _returns(lines)])
    day = local(pl.col("arrives") - shift).dt.date()
    return (
        records.filter(day.is_between(*days, closed="left"))
        .sort("arrives", "basket_id", maintain_order=True)
        .select(pl.col("arrives").dt.epoch("ms"), pl.col("member").cast(pl.Binary), pl.col("value").cast(pl.Binary))
    )


def _sales(lines: pl.DataFrame) -> pl.DataFrame:
    line = pl.struct("line", "sku", "quantity", "amount_minor", "discount_minor", "category", "brand")
    baskets = lines.group_by("basket_id", maintain_order=True).agg(
        pl.first("store_id", "till", "sold", "late", "member"),
        pl.sum("paid"),
        line.alias("lines"),
    )
    in_cash = (pl.col("paid") < 2500) & (draw("basket_id", "cash", 10) < 4)
    tender = pl.struct(type=pl.when(in_cash).then(pl.lit("cash")).otherwise(pl.lit("card")), amount_minor="paid")
    return baskets.with_columns(
        arrives=pl.col("sold") + pl.col("late"),
        value=pl.struct(
            pl.lit("sale").alias("type"),
            *_receipt(pl.col("basket_id").cast(pl.String), pl.col("sold")),
            pl.lit(CURRENCY).alias("currency"),
            pl.col("lines"),
            pl.concat_list(tender).list.head((pl.col("paid") > 0).cast(pl.Int64)).alias("tenders"),
            (pl.col("late") > timedelta(0)).alias("offline"),
        ).struct.json_encode(),
    ).select("basket_id", "arrives", "member", "value")


def _resends(sales: pl.DataFrame) -> pl.DataFrame:
    """The same bytes again: the till did not get the answer."""
    seconds = 20 + draw("basket_id", "again", 60) + pl.when(draw("basket_id", "next day", 5) == 0).then(86_400).otherwise(0)
    again = sales.filter(draw("basket_id", "resent", 200) == 0)
    return again.with_columns(arrives=pl.col("arrives") + pl.duration(seconds=seconds))


def _returns(lines: pl.DataFrame) -> pl.DataFrame:
    """What comes back: a third of the receipts whole, of the others some lines and of those one piece."""
    whole = draw("basket_id", "whole", 3) == 0
    one_of_many = ~whole & pl.col("quantity").is_between(2000, 100_000)
    back = lines.filter(_returned(), pl.col("paid") > 0, pl.col("quantity") > 0, whole | (draw("product_id", "picked", 2) == 0))
    back = back.with_columns(came_back=pl.when(one_of_many).then(1000).otherwise("quantity"))
    amount = pl.col("paid") * pl.col("came_back") // pl.col("quantity")
    line = pl.struct("line", quantity="came_back", amount_minor=amount)
    receipts = back.group_by("basket_id", maintain_order=True).agg(
        pl.first("store_id", "till", "sold", "member"), line.alias("lines")
    )
    receipts = receipts.with_columns(arrives=pl.col("sold") + _back_after())
    return receipts.with_columns(
        value=pl.struct(
            pl.lit("return").alias("type"),
            *_receipt(pl.format("R{}", "basket_id"), pl.col("arrives")),
            sale_id().alias("of"),
            pl.lit(CURRENCY).alias("currency"),
            pl.col("lines"),
        ).struct.json_encode()
    ).select("basket_id", "arrives", "member", "value")


def _receipt(number: pl.Expr, at: pl.Expr) -> tuple[pl.Expr, ...]:
    """The head that all receipts share."""
    return (
        pl.col("store_id").cast(pl.String).alias("outlet"),
        pl.col("till"),
        local(at).dt.strftime("%Y-%m-%d").alias("business_date"),
        number.alias("receipt"),
        instant(at).alias("at"),
        pl.col("member"),
    )


def sale_id() -> pl.Expr:
    """The sale's id as `schemas.checks.check_id` makes it."""
    return pl.format("{}/{}/{}/{}", "store_id", "till", local(pl.col("sold")).dt.strftime("%Y%m%d"), "basket_id")


def lines_sold(days: Days, shift: timedelta, *, clean: bool) -> pl.DataFrame:
    """The lines of the baskets sold on those days of the data, by time, with what their receipts share beside them.

    `sold` is UTC and shifted, `late` how much later the receipt arrives; amounts are cents, `paid` is what a line cost.
    """
    sold = (pl.col("transaction_timestamp") + shift).dt.cast_time_unit("ms").dt.replace_time_zone("UTC")
    offers = cents("retail_disc") + cents("coupon_match_disc")
    pieces = ~pl.col("category").str.contains("/GASOLINE").fill_null(value=False)
    return (
        transactions()
        .with_columns(sold=sold)
        .filter(local(pl.col("sold") - shift).dt.date().is_between(*days, closed="left"))
        .join(products(), on="product_id", how="left", maintain_order="left")
        .join(identifiers_read().lazy(), on="household_id", maintain_order="left")
        .with_columns(
            line=pl.int_range(1, pl.len() + 1).over("basket_id"),
            sku=pl.col("product_id").cast(pl.String),
            quantity=pl.col("quantity") * pl.when(pieces).then(1000).otherwise(1),
            amount_minor=cents("sales_value") + offers,
            till=pl.format("{}-{}", "store_id", 1 + draw("basket_id", "till", 6)),
        )
        .with_columns(discount_minor=pl.min_horizontal("amount_minor", offers + cents("coupon_disc")))
        .with_columns(
            paid=pl.col("amount_minor") - pl.col("discount_minor"),
            member=pl.col("card") if clean else _read_at_till(),
            late=pl.duration(days=0) if clean else _late(),
        )
        .collect()
    )


def _late() -> pl.Expr:
    """How much later a receipt arrives: after its own return, or a till was offline that day."""
    till_day = (
        pl.col("store_id") * 1_000_000 + local(pl.col("sold")).dt.epoch("d") * 10 + pl.col("till").str.tail(1).cast(pl.Int64)
    )
    offline = draw(till_day, "offline", 150) == 0
    days_late = pl.duration(days=1 + draw(till_day, "days late", 3))
    overtaken = _returned() & (draw("basket_id", "overtaken", 20) == 0)
    after_return = _back_after() + pl.duration(hours=3)
    return pl.when(overtaken).then(after_return).when(offline).then(days_late).otherwise(pl.duration(days=0))


def _returned() -> pl.Expr:
    return draw("basket_id", "returned", 67) == 0


def _back_after() -> pl.Expr:
    return pl.duration(days=1 + draw("basket_id", "days to return", 10), minutes=draw("basket_id", "minutes", 60))


def _read_at_till() -> pl.Expr:
    by_phone = draw("basket_id", "by phone", 33) == 0
    return pl.when(by_phone).then(pl.coalesce("phone", "card")).otherwise("card")
