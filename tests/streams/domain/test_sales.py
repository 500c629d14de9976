"""A sale on the account: judged by purchase time whenever it comes, booked once, told with everything behind it."""

from datetime import timedelta
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import START, Member, after, earning, level, line, moment, program, rule, tiers

FRAUD = {"critical": 100, "signals": [{"id": "own-till", "kind": "own_card", "weight": 100}]}


def test_B01_a_sale_posts_from_issued_and_names_its_lot() -> None:
    step = Member().joined().sale(10_000)
    (posting,) = step.data("POINT_ACCRUAL").postings
    assert (posting.source, posting.target, posting.points, posting.lot) == ("issued", "available", 100, 1)


def test_A04_each_point_names_its_line_its_rule_and_its_program_version() -> None:
    rules = program(version=7, earning=earning(rule("multiplier", "double", percent=200, where={"skus": ["B"]})))
    data = Member(rules).joined().sale(lines=[line(150), line(150, 2, sku="B")]).data("POINT_ACCRUAL")
    assert data.program == "main@7"
    assert [(found.line, found.rule, found.points) for found in data.awards] == [(1, "base", 2), (2, "base", 1), (2, "double", 1)]
    assert data.points == 4


def test_A04_a_sale_that_earns_nothing_is_accepted_without_an_event() -> None:
    step = Member().joined().sale(99)
    assert (step.status, step.code, step.events) == ("accepted", "OK", ())
    assert step.reply.earned == 0  # type: ignore[union-attr]


def test_A04_who_is_no_member_earns_nothing_and_the_sale_is_accepted() -> None:
    for member in (Member(), Member().joined()):
        if member.steps:
            member.leave()
        step = member.sale(10_000)
        assert (step.status, step.code, step.events) == ("accepted", "MEMBER_OPTED_OUT", ())


def test_B09_first_and_last_purchase_are_by_purchase_time_not_arrival() -> None:
    member = Member().joined()
    for day in (5, 1, 9, 3):
        member.sale(1000, at=after(day), now=after(20))
    account = member.account
    assert (account.first_purchase, account.last_purchase) == tuple(int(after(day).timestamp()) for day in (1, 9))
    assert (account.first_activity, account.last_activity) == (account.first_purchase, account.last_purchase)


def test_B05_qualifying_and_spendable_points_never_mix() -> None:
    rules = program(tiers=tiers(level("Gold", points=100), window={"kind": "lifetime"}))
    member = Member(rules).joined().having(500)
    assert member.account.tier.level == 0  # given by hand: to be used, not to qualify
    member.sale(9900)
    member.pay(599, "s9")
    assert member.account.lifetime.points == 99
    step = member.sale(100)
    assert "TIER_UPGRADE" in step.types  # used points still qualify
    assert step.data("TIER_UPGRADE").profile.available_points == 1


# ---------------------------------------------------------------- A13: the cashier's own card


def test_A13_the_cashiers_own_card_earns_nothing_and_is_told() -> None:
    rules = program(fraud=FRAUD, tiers=tiers(level("Gold", spend=5000), window={"kind": "lifetime"}))
    member = Member(rules).joined(staff="c7")
    step = member.sale(10_000, cashier="c7")
    assert (step.status, step.code) == ("accepted", "CASHIER_OWN_CARD")
    assert step.types == ["FRAUD_SUSPECTED"]
    suspected = step.data("FRAUD_SUSPECTED")
    assert ([hit.signal for hit in suspected.hits], suspected.points, suspected.postings) == (["own-till"], 0, ())
    assert (step.reply.earned, [hit.signal for hit in step.reply.hits]) == (0, ["own-till"])  # type: ignore[union-attr]
    assert (member.account.lifetime.points, member.account.lifetime.spend, member.account.tier.level) == (0, 0, 0)
    assert member.void("s1").events == ()


def test_A13_the_cashiers_own_card_is_no_visit_and_taking_it_back_takes_no_other_visit() -> None:
    rules = program(tiers=tiers(level("Gold", visits=3), window={"kind": "lifetime"}, after_return="revoke"))
    member = Member(rules).joined(staff="c7")
    for day in range(3):
        member.until(f"2026-03-0{2 + day}T10:00").sale(1000, cashier="c7")
    assert (member.account.lifetime.checks, member.account.tier.level) == (0, 0)
    for day in range(3):
        member.until(f"2026-03-0{5 + day}T10:00").sale(1000)
        member.void(member.sale(1000, cashier="c7").command.id)
    assert (member.account.lifetime.checks, member.account.tier.level) == (3, 1)


def test_A13_a_colleagues_till_is_like_any_other() -> None:
    member = Member(program(fraud=FRAUD)).joined(staff="c7")
    assert member.sale(10_000, cashier="c8").outcome.earned == 100
    assert member.sale(10_000).outcome.earned == 100


def test_A13_a_staff_card_earns_by_its_own_program() -> None:
    staff = program(program="staff", earning=earning(points=3))
    step = Member(staff).joined(staff="c7").sale(1000)
    assert step.outcome.earned == 30
    assert step.data("POINT_ACCRUAL").program == "staff@1"


# ---------------------------------------------------------------- A07: repeats, however late and wherever


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), min_size=5, max_size=25))
def test_A07_the_same_checks_sent_again_over_days_earn_once_and_answer_alike(sends: list[tuple[int, int]]) -> None:
    rules = program(points={"expiry": {"kind": "after_days", "days": 20}, "pending_days": 3}, anniversaries=False)
    member = Member(rules, clock=after(31)).joined()
    checks = [member.sale_command(1000 * (n + 1), id=f"c{n}", at=after(n + 1)) for n in range(5)]
    first: dict[int, Any] = {}
    for number, day in sorted(sends, key=lambda send: send[1]):
        step = member.send(checks[number], after(day))
        assert step.repeated == (number in first)
        assert step.bytes == first.setdefault(number, step.bytes)
    issued = -member.books.issued
    assert issued == sum(10 * (number + 1) for number in first)


# ---------------------------------------------------------------- A08: order independence as a theorem


def plain() -> dict[str, Any]:
    return {
        "tiers": tiers(level("Silver", visits=4), level("Gold", spend=60_000), window={"kind": "lifetime"}),
        "anniversaries": False,
    }


ORDER_FREE = {
    "base": program(**plain()),
    "rules": program(
        earning=earning(
            rule("multiplier", percent=150, where={"weekdays": ["tue", "sat"]}),
            rule("line_bonus", points=3, where={"skus": ["B"]}),
            rule("check_bonus", points=5, group="best", where={"when": "total_minor > 5000"}),
            rule("threshold", points=25, spend_minor=9000, group="best"),
            groups=[{"id": "best", "mode": "best"}],
            rounding="half_up",
        ),
        points={"expiry": {"kind": "end_of_month", "months": 3}, "pending_days": 7},
        **plain(),
    ),
    "birthday": program(earning=earning(rule("multiplier", percent=300, where={"birthday_within_days": 5})), **plain()),
}
CAPPED = {
    "of a rule": program(earning=earning(rule("check_bonus", points=30, cap={"points": 50, "per": "day"})), **plain()),
    "over everything": program(
        earning=earning(caps=[{"points": 150, "per": "day"}]),
        points={"expiry": {"kind": "end_of_month", "months": 3}},
        **plain(),
    ),
}
TOTALS = {
    "month": program(earning=earning(caps=[{"points": 400, "per": "month"}]), **plain()),
    "balance": program(earning=earning(caps=[{"points": 300, "per": "balance"}]), **plain()),
    "visits": program(earning=earning(rule("nth_visit", n=3, points=40)), **plain()),
}
DAYS = st.one_of(st.integers(0, 3), st.integers(0, 28))  # many on the same days
CHECKS = st.lists(st.tuples(DAYS, st.integers(0, 86_399), st.integers(1, 12_000), st.integers(0, 14)), max_size=20)


def run(rules: Any, checks: list[tuple[int, int, int, int]], *, shuffled: bool) -> Member:
    """Each check bought on its day and second, and, when shuffled, arriving so many days late."""
    midnight = moment("2026-03-02")
    member = Member(rules, clock=midnight - timedelta(days=1)).joined(birthday="03-10")
    bought = [(midnight + timedelta(days=day, seconds=second), amount, late) for day, second, amount, late in checks]
    arrivals = sorted(
        (at + timedelta(days=late if shuffled else 0), number, at, amount) for number, (at, amount, late) in enumerate(bought)
    )
    for now, number, at, amount in arrivals:
        sku = "AB"[amount % 2]
        member.sale(lines=[line(amount, sku=sku)], id=f"c{number}", at=at, now=now)
    member.tick(midnight + timedelta(days=50))
    return member


def standing(member: Member) -> Any:
    account = member.account
    used = sorted((use.rule, use.day, use.points) for use in account.rule_uses)
    return account.books, account.tier.level, account.days, account.lifetime, used


def lots(member: Member) -> Any:
    return sorted((lot.earned_at, lot.points, lot.book, lot.available_at, lot.expires_at) for lot in member.account.lots)


def lots_by_day(member: Member) -> Any:
    found = sorted((lot.earned_at // 86_400, lot.expires_at, lot.points) for lot in member.account.lots)
    return [(key, sum(points for *_, points in group)) for key, group in groupby(found, key=lambda lot: lot[:2])]


@pytest.mark.parametrize("name", ORDER_FREE)
@settings(max_examples=40, deadline=None)
@given(checks=CHECKS)
def test_A08_checks_shuffled_by_up_to_14_days_end_as_in_order(name: str, checks: Any) -> None:
    in_order, shuffled = (run(ORDER_FREE[name], checks, shuffled=late) for late in (False, True))
    assert (standing(in_order), lots(in_order)) == (standing(shuffled), lots(shuffled))


@pytest.mark.parametrize("name", CAPPED)
@settings(max_examples=40, deadline=None)
@given(checks=CHECKS)
def test_A08_under_daily_caps_each_day_gets_the_same_though_another_check_may_be_the_one_cut(name: str, checks: Any) -> None:
    in_order, shuffled = (run(CAPPED[name], checks, shuffled=late) for late in (False, True))
    assert standing(in_order)[0] == standing(shuffled)[0]
    assert lots_by_day(in_order) == lots_by_day(shuffled)
    assert [day.points for day in in_order.account.days] == [day.points for day in shuffled.account.days]


@pytest.mark.parametrize("name", TOTALS)
@settings(max_examples=40, deadline=None)
@given(checks=CHECKS)
def test_A08_what_counts_over_days_gives_the_same_in_all_though_another_day_may_get_it(name: str, checks: Any) -> None:
    in_order, shuffled = (run(TOTALS[name], checks, shuffled=late) for late in (False, True))
    assert in_order.books == shuffled.books
    assert in_order.account.tier.level == shuffled.account.tier.level


def test_A08_the_named_exception_a_rate_by_tier_counts_the_tier_known_when_the_check_arrives() -> None:
    """A check is judged once. Bought after the one that lifts the tier but arriving before it, it earns at the lower rate."""
    rules = program(
        earning=earning(rule("multiplier", percent=200, where={"tiers": ["Gold"]})),
        tiers=tiers(level("Gold", points=100), window={"kind": "lifetime"}),
    )
    in_order, shuffled = Member(rules).joined(), Member(rules).joined()
    in_order.sale(10_000, at=after(1))
    in_order.sale(1000, at=after(2))
    shuffled.sale(1000, at=after(2))
    shuffled.sale(10_000, at=after(1), now=after(3))
    assert (in_order.books.available, shuffled.books.available) == (120, 110)
    assert in_order.account.tier.level == shuffled.account.tier.level == 1


def test_A08_a_late_check_fits_in_under_the_cap_of_its_own_day() -> None:
    member = Member(program(earning=earning(caps=[{"points": 50, "per": "day"}]))).joined()
    member.sale(4000, at=after(1))
    member.sale(4000, at=after(8))
    assert member.sale(4000, at=after(1, hours=3), now=after(9)).outcome.earned == 10


def test_D02_the_tills_own_date_is_the_day_of_a_purchase() -> None:
    rules = program(time_zone="America/New_York", earning=earning(caps=[{"points": 50, "per": "day"}]))
    member = Member(rules, clock=START).joined()
    member.sale(5000, at=moment("2026-03-02T23:30-08:00"))  # already Tuesday in New York
    assert member.sale(5000, at=moment("2026-03-02T12:00-05:00"), now=after(3)).outcome.earned == 0
    assert member.sale(5000, at=moment("2026-03-03T00:30-08:00"), now=after(3)).outcome.earned == 50
