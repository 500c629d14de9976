"""How points come, become usable, are burned in their order, come back with their old end, and end."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import Member, after, basket, level, moment, program, tiers


def expiring(kind: str, *, zone: str = "UTC", notice: int = 0, pending: int = 0, **policy: int) -> Any:
    return program(
        points={"expiry": {"kind": kind} | policy, "notice_days": notice, "pending_days": pending},
        time_zone=zone,
        anniversaries=False,
    )


# ---------------------------------------------------------------- B03: every mode


@pytest.mark.parametrize(
    ("kind", "policy", "zone", "bought", "ends"),
    [
        ("after_days", {"days": 1}, "UTC", "2026-03-02T00:00:00Z", "2026-03-04T00:00:00Z"),
        ("after_days", {"days": 1}, "UTC", "2026-03-02T23:59:59Z", "2026-03-04T00:00:00Z"),
        ("after_days", {"days": 365}, "UTC", "2027-03-01T12:00:00Z", "2028-03-01T00:00:00Z"),  # over a leap day
        ("after_days", {"days": 1}, "UTC", "2028-02-28T12:00:00Z", "2028-03-01T00:00:00Z"),  # 29 February is a day
        ("after_days", {"days": 1}, "America/New_York", "2026-03-07T12:00:00-05:00", "2026-03-09T00:00:00-04:00"),  # 23 hours
        ("after_days", {"days": 1}, "America/New_York", "2026-10-31T12:00:00-04:00", "2026-11-02T00:00:00-05:00"),  # 25 hours
        ("after_days", {"days": 10}, "Asia/Kathmandu", "2026-03-02T12:00:00+05:45", "2026-03-13T00:00:00+05:45"),
        ("end_of_month", {"months": 0}, "UTC", "2026-02-28T23:59:59Z", "2026-03-01T00:00:00Z"),
        ("end_of_month", {"months": 0}, "UTC", "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"),
        ("end_of_month", {"months": 1}, "UTC", "2028-01-31T12:00:00Z", "2028-03-01T00:00:00Z"),
        ("end_of_month", {"months": 12}, "UTC", "2026-12-15T12:00:00Z", "2028-01-01T00:00:00Z"),
        ("end_of_month", {"months": 0}, "Europe/Berlin", "2026-03-31T23:30:00+02:00", "2026-04-01T00:00:00+02:00"),
        ("end_of_year", {"years": 0}, "UTC", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),
        ("end_of_year", {"years": 1}, "America/New_York", "2026-01-01T00:00:00-05:00", "2028-01-01T00:00:00-05:00"),
        ("inactivity", {"days": 30}, "UTC", "2026-03-02T12:00:00Z", "2026-04-02T00:00:00Z"),
    ],
)  # fmt: skip
def test_B03_points_end_at_a_local_midnight(kind: str, policy: dict[str, int], zone: str, bought: str, ends: str) -> None:
    at, end = moment(bought), moment(ends)
    member = Member(expiring(kind, zone=zone, **policy), clock=at).joined()
    member.sale(10_000)
    assert member.steps[-1].reply.next_expiry.at == end  # type: ignore[union-attr]
    assert member.tick(after(0, minutes=-1 / 60, since=end)).events == ()
    step = member.tick(end)
    assert step.types == ["POINT_EXPIRED"]
    assert (step.data("POINT_EXPIRED").points, step.data("POINT_EXPIRED").occurred_at) == (100, end)
    assert (member.books.available, member.books.expired) == (0, 100)


def test_B03_points_that_never_end() -> None:
    member = Member(program(anniversaries=False)).joined()
    member.sale(10_000)
    assert member.account.next_due == 0
    assert member.tick(after(9999)).events == ()


def test_B03_the_profile_names_the_last_day_of_use() -> None:
    member = Member(expiring("after_days", days=10, zone="America/New_York"), clock=moment("2026-03-02T20:00-05:00")).joined()
    profile = member.sale(10_000).data("POINT_ACCRUAL").profile
    assert (profile.next_expiring_points, str(profile.points_expiration_date)) == (100, "2026-03-12")
    assert "100 points end after 2026-03-12" in member.steps[-1].reply.receipt  # type: ignore[union-attr]


def test_B03_each_purchase_resets_the_clock_of_all_points() -> None:
    member = Member(expiring("inactivity", days=30)).joined()
    member.sale(10_000)
    member.wait(30).sale(100)
    assert member.wait(30).tick().events == ()
    step = member.wait(1).tick()
    assert [data.points for data in step.all("POINT_EXPIRED")] == [100, 1]
    assert {data.occurred_at for data in step.all("POINT_EXPIRED")} == {moment("2026-05-02")}


def test_B03_a_late_purchase_does_not_turn_the_clock_back() -> None:
    member = Member(expiring("inactivity", days=30)).joined()
    member.wait(10).sale(10_000)
    member.wait(5).sale(100, at=after(1))
    assert {member.steps[-1].reply.next_expiry.at} == {moment("2026-04-12")}  # type: ignore[union-attr]


def test_B03_points_given_by_hand_after_a_long_silence_last_as_long_as_any() -> None:
    member = Member(expiring("inactivity", days=30)).joined()
    member.sale(10_000)
    member.wait(100).adjust(50)
    assert member.books.available == 50
    assert member.wait(30).tick().events == ()
    assert member.wait(1).tick().types == ["POINT_EXPIRED"]


def test_B03_soonest_expiring_is_burned_first_then_the_older() -> None:
    member = Member(expiring("end_of_month", months=1)).joined()
    member.until("2026-04-01").sale(1000, at=moment("2026-04-01"))  # lot 1: ends with May
    member.sale(2000, at=moment("2026-03-20"))  # lot 2: ends with April
    member.sale(3000, at=moment("2026-03-10"))  # lot 3: ends with April too, and is older
    burned = []
    for number in range(6):
        step = member.reserve(f"R{number}", 10)
        burned.append([posting.lot for posting in step.data("POINT_RESERVED").postings])
    assert burned == [[3], [3], [3], [2], [2], [1]]


def test_B03_a_notice_comes_once_for_all_that_ends_together() -> None:
    member = Member(expiring("end_of_month", months=0, notice=7)).joined()
    member.sale(1000)
    member.wait(1).sale(2000)
    step = member.tick(moment("2026-03-25"))
    assert step.types == ["POINT_EXPIRING_SOON"]
    soon = step.data("POINT_EXPIRING_SOON")
    assert (soon.points, soon.expires_at, soon.occurred_at) == (30, moment("2026-04-01"), moment("2026-03-25"))
    assert soon.postings == ()
    assert member.tick(moment("2026-03-30")).events == ()
    assert member.tick(moment("2026-04-01")).types == ["POINT_EXPIRED", "POINT_EXPIRED"]


def test_B03_a_notice_is_not_repeated_when_noticed_points_come_back() -> None:
    member = Member(expiring("end_of_month", months=0, notice=7)).joined()
    member.sale(1000)
    member.until("2026-03-26").tick()
    member.reserve("R", 10)
    assert member.cancel("R").types == ["POINT_FREED"]


def test_B03_a_notice_comes_again_when_activity_has_moved_the_end() -> None:
    member = Member(expiring("inactivity", days=30, notice=7)).joined()
    member.sale(1000)
    assert member.wait(26).tick().types == ["POINT_EXPIRING_SOON"]
    member.sale(100)
    step = member.wait(26).tick()
    assert step.types == ["POINT_EXPIRING_SOON"]
    assert step.data("POINT_EXPIRING_SOON").points == 11


def test_B03_a_check_that_comes_after_its_points_have_ended_earns_and_ends_them_at_once() -> None:
    member = Member(expiring("after_days", days=5, notice=2)).joined()
    step = member.sale(1000, at=after(1), now=after(20))
    assert step.types == ["POINT_ACCRUAL", "POINT_EXPIRED"]
    assert step.data("POINT_EXPIRED").occurred_at == moment("2026-03-09")
    assert (step.reply.earned, step.reply.balance.available) == (10, 0)  # type: ignore[union-attr]


def test_B03_points_that_have_ended_pay_no_debt() -> None:
    member = Member(expiring("after_days", days=5)).joined()
    member.sale(5000)
    member.pay(50, "s9")
    member.void("s1")
    assert member.account.debt == 50
    member.wait(20).sale(3000, at=after(1))
    assert (member.account.debt, member.books.expired) == (50, 30)
    member.sale(3000)
    assert (member.account.debt, member.books.available) == (20, 0)


# ---------------------------------------------------------------- B04: pending

PENDING = {"pending_days": 14}


def test_B04_pending_points_are_released_at_the_local_start_of_their_day_by_one_event() -> None:
    member = Member(program(points=PENDING, time_zone="America/New_York"), clock=moment("2026-03-02T10:00-05:00")).joined()
    step = member.sale(10_000)
    assert step.types == ["POINT_ACCRUAL", "POINT_PENDING"]
    free = moment("2026-03-16T00:00-04:00")  # the clock was moved forward in between
    assert step.data("POINT_PENDING").available_at == free
    assert (member.books.pending, member.books.available) == (100, 0)
    assert step.data("POINT_ACCRUAL").profile.hold_points == 100
    assert "Points to come: 100" in step.reply.receipt  # type: ignore[union-attr]
    assert member.reserve("R", 10).code == "INSUFFICIENT_POINTS"
    released = member.tick(free)
    assert released.types == ["POINT_RELEASED"]
    assert (released.data("POINT_RELEASED").points, released.data("POINT_RELEASED").occurred_at) == (100, free)
    assert (member.books.pending, member.books.available) == (0, 100)


def test_B04_a_check_that_comes_after_its_pending_time_can_be_used_at_once() -> None:
    member = Member(program(points=PENDING)).joined()
    step = member.sale(10_000, at=after(1), now=after(20))
    assert step.types == ["POINT_ACCRUAL"]
    assert member.books.available == 100


def test_B04_a_return_takes_pending_points_first() -> None:
    member = Member(program(points=PENDING)).joined().having(50)
    member.sale(10_000)
    step = member.returns("s1", (1, 400, 4000))
    assert [(posting.source, posting.points) for posting in step.data("POINT_REVERSED").postings] == [("pending", 40)]
    assert (member.books.pending, member.books.available) == (60, 50)


def test_B04_a_return_of_used_points_takes_what_is_pending_before_what_is_usable() -> None:
    member = Member(program(points=PENDING)).joined()
    member.sale(10_000)  # s1
    member.wait(14).tick()
    member.pay(100, "s9")
    member.sale(3000)  # s2 pending
    member.adjust(20)
    step = member.void("s1")
    assert [(posting.source, posting.points) for posting in step.data("POINT_REVERSED").postings] == [
        ("pending", 30),
        ("available", 20),
        ("debt", 50),
    ]


def test_B04_points_that_would_end_while_pending_are_released_and_end() -> None:
    member = Member(expiring("after_days", days=3, pending=10)).joined()
    member.sale(10_000)
    assert member.wait(20).tick().types == ["POINT_RELEASED", "POINT_EXPIRED"]


@pytest.mark.parametrize(("counts", "sale_tells", "release_tells"), [(True, True, False), (False, False, True)])
def test_B04_policy_says_whether_pending_points_count_for_the_tier(
    *, counts: bool, sale_tells: bool, release_tells: bool
) -> None:
    rules = program(
        points=PENDING | {"pending_counts_for_tier": counts}, tiers=tiers(level("Gold", points=100), window={"kind": "lifetime"})
    )
    member = Member(rules).joined()
    assert sale_tells == ("TIER_UPGRADE" in member.sale(10_000).types)
    assert release_tells == ("TIER_UPGRADE" in member.wait(14).tick().types)


def test_A06_a_release_pays_a_debt_first() -> None:
    member = Member(program(points=PENDING)).joined().having(50)
    member.adjust(-50)
    member.sale(10_000)
    member.adjust(-30)  # nothing usable: owed
    assert member.account.debt == 30
    step = member.wait(14).tick()
    assert (member.account.debt, member.books.available) == (0, 70)
    assert [(p.source, p.target, p.points) for p in step.data("POINT_RELEASED").postings] == [
        ("pending", "available", 100),
        ("available", "debt", 30),
    ]


# ---------------------------------------------------------------- time passes the same way however it is cut


POLICIES = st.sampled_from(
    [
        expiring("after_days", days=9, notice=3, pending=4),
        expiring("end_of_month", months=0, notice=5),
        expiring("inactivity", days=12, notice=4, pending=2),
    ]
)
DAYS = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(["sale", "pay", "void", "reserve"]), st.integers(1, 50)), max_size=10
)


@settings(max_examples=80, deadline=None)
@given(POLICIES, DAYS, st.lists(st.integers(0, 70), max_size=8))
def test_B03_balances_never_depend_on_when_the_clock_ticked(
    rules: Any, days: list[tuple[int, str, int]], ticks: list[int]
) -> None:
    def run(ticks: set[int]) -> Any:
        member, sales = Member(rules).joined(), 0
        for wait, kind, points in days:
            for _ in range(wait):
                member.wait(1)
                if (member.clock - after(0)).days in ticks:
                    member.tick()
            if kind == "sale":
                sales += 1
                member.sale(points * 100)
            elif kind == "pay":
                member.pay(points, f"s{max(1, sales)}")
            elif kind == "reserve":
                member.reserve(f"R{(member.clock - after(0)).days}", points)
            elif sales:
                member.void(f"s{sales}")
        member.wait(90).tick()
        account = member.account
        told = [(event.type, data.occurred_at, data.postings) for event, data in member.events]
        return account.books, account.lots, account.tier, account.days, told

    assert run(set()) == run(set(ticks))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 25), st.integers(1, 90)), min_size=1, max_size=12), st.integers(1, 400))
def test_B03_burning_takes_the_soonest_ends_in_order(sales: list[tuple[int, int]], points: int) -> None:
    member = Member(expiring("after_days", days=60)).joined()
    for day, amount in sales:
        member.sale(amount * 100, at=after(day), now=after(26))
    available = member.books.available
    before = {lot.number: lot for lot in member.account.lots}
    step = member.reserve("R", points)
    if points > available:
        assert step.code == "INSUFFICIENT_POINTS"
        return
    taken = [(before[p.lot].expires_at, before[p.lot].earned_at, p.lot) for p in step.data("POINT_RESERVED").postings]
    assert taken == sorted(taken)
    left = [(lot.expires_at, lot.earned_at, lot.number) for lot in member.account.lots]
    assert all(taken[-1] <= other for other in left)


def test_B01_a_check_of_many_lines_is_one_lot() -> None:
    member = Member(program()).joined()
    member.sale(lines=basket(*[100] * 50))
    assert len(member.account.lots) == 1
