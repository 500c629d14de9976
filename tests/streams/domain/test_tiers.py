"""Tiers: windows and metrics, rising at once, falling softly, returns, what is told and when (C01-C07)."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import Member, Step, basket, earning, level, line, moment, program, rule, tiers

YEAR = {"kind": "calendar", "period": "year"}
QUARTER = {"kind": "calendar", "period": "quarter"}
MONTH = {"kind": "calendar", "period": "month"}
ROLLING = {"kind": "rolling", "days": 30}
ANNIVERSARY = {"kind": "anniversary"}
LIFETIME = {"kind": "lifetime"}

TRIPLE = earning(rule("multiplier", percent=300, where={"skus": ["B"]}))

# (day, minor units, sku): points 100 100 150 50 300 100 200, a visit each but for the second of 1 February.
CHECKS = [
    ("2026-01-10", 10_000, "A"),
    ("2026-01-31", 10_000, "A"),
    ("2026-02-01", 15_000, "A"),
    ("2026-02-01", 5_000, "A"),
    ("2026-04-10", 10_000, "B"),
    ("2027-01-04", 10_000, "A"),
    ("2027-01-06", 20_000, "A"),
]


def joined(rules: dict[str, Any], at: str = "2026-01-05", **parts: Any) -> Member:
    return Member(program(tiers=rules, **parts), clock=moment(at)).joined()


def ladder(**parts: Any) -> dict[str, Any]:
    """Silver at 100 points, Gold at 200, Platinum at 300."""
    return tiers(level("Silver", points=100), level("Gold", points=200), level("Platinum", points=300), **parts)


def buys(member: Member, day: str, points: int, **parts: Any) -> Step:
    return member.until(day).sale(points * 100, **parts)


def changes(member: Member) -> list[tuple[str, str]]:
    """(day, tier) of every change told, in order."""
    return [(f"{data.occurred_at:%Y-%m-%d}", data.tier) for event, data in member.events if event.type in CHANGES]


CHANGES = ("LOY_TIER_UPGRADE", "LOY_TIER_DOWNGRADE")


def told(member: Member, kind: str) -> list[Any]:
    return [data for event, data in member.events if event.type == f"LOY_{kind}"]


def first_upgrade(rules: dict[str, Any]) -> int | None:
    """Which check of the list, from 1, lifted the member."""
    member = joined(rules, earning=TRIPLE)
    for number, (day, amount, sku) in enumerate(CHECKS, 1):
        step = member.until(day).sale(lines=[line(amount, sku=sku)])
        if "TIER_UPGRADE" in step.types:
            assert step.reply is not None
            assert step.reply.tier == "Gold"
            return number
    return None


@pytest.mark.parametrize(
    ("window", "metric", "at_least", "check"),
    [
        (MONTH, "points", 300, 5),
        (MONTH, "spend", 30_000, 7),
        (MONTH, "visits", 2, 2),
        (MONTH, "visits", 3, None),
        (QUARTER, "points", 400, 4),
        (QUARTER, "spend", 40_000, 4),
        (QUARTER, "visits", 3, 3),
        (QUARTER, "visits", 4, None),
        (YEAR, "points", 700, 5),
        (YEAR, "points", 701, None),
        (YEAR, "spend", 50_000, 5),
        (YEAR, "visits", 4, 5),
        (YEAR, "visits", 5, None),
        (ROLLING, "points", 400, 4),
        (ROLLING, "spend", 40_001, None),
        (ROLLING, "visits", 3, 3),
        (ANNIVERSARY, "points", 800, 6),
        (ANNIVERSARY, "spend", 60_000, 6),
        (ANNIVERSARY, "visits", 6, None),
        (LIFETIME, "points", 1000, 7),
        (LIFETIME, "spend", 80_000, 7),
        (LIFETIME, "visits", 6, 7),
    ],
)
def test_C01_the_same_checks_lift_by_metric_and_window(window: Any, metric: str, at_least: int, check: int | None):
    assert first_upgrade(tiers(level("Gold", **{metric: at_least}), window=window)) == check


@pytest.mark.parametrize(
    ("any_of", "all_of", "check"),
    [
        ({"points": 1000, "visits": 3}, {}, 3),
        ({"points": 200, "visits": 3}, {}, 2),
        ({}, {"points": 350, "visits": 4}, 5),
        ({}, {"points": 100, "spend": 10_000, "visits": 1}, 1),
        ({"spend": 35_000, "points": 9999}, {"visits": 4}, 5),
        ({"spend": 35_000, "points": 9999}, {"visits": 5}, None),
    ],
)
def test_C01_one_of_any_and_all_of_all(any_of: dict[str, int], all_of: dict[str, int], check: int | None):
    needs = {
        name: [{"metric": metric, "at_least": least} for metric, least in of.items()]
        for name, of in (("any_of", any_of), ("all_of", all_of))
    }
    assert first_upgrade(tiers({"name": "Gold"} | needs, window=YEAR)) == check


def test_C01_a_day_is_one_visit_and_a_visit_that_came_back_is_none():
    member = joined(tiers(level("Gold", visits=2), after_return="revoke"))
    member.until("2026-02-01").sale(1000)
    assert "TIER_UPGRADE" not in member.sale(1000).types
    second = member.until("2026-02-02").sale(1000)
    assert second.data("TIER_UPGRADE").line is None, "it was the visit, not a line"
    assert member.void(second.command.id).data("TIER_DOWNGRADE").reason == "return"


# ---------------------------------------------------------------- C02: at once


def test_C02_the_reply_to_the_very_check_says_the_tier_and_the_event_which_line_tipped_it():
    member = joined(ladder())
    step = member.until("2026-02-01").sale(lines=basket(3000, 6000, 2500, 500))
    assert step.reply is not None
    assert (step.reply.tier, step.reply.next_tier, step.reply.to_next_tier) == ("Silver", "Gold", 80)
    upgrade = step.data("TIER_UPGRADE")
    assert (upgrade.previous, upgrade.tier, upgrade.reason, upgrade.line) == ("Member", "Silver", "qualified", 3)


@pytest.mark.parametrize(
    ("jump", "steps"),
    [("skip", [("Member", "Platinum")]), ("sequential", [("Member", "Silver"), ("Silver", "Gold"), ("Gold", "Platinum")])],
)
def test_C02_a_large_check_skips_levels_or_climbs_them_one_by_one(jump: str, steps: list[tuple[str, str]]):
    upgrades = buys(joined(ladder(jump=jump)), "2026-02-01", 300).all("TIER_UPGRADE")
    assert [(one.previous, one.tier) for one in upgrades] == steps


def test_C02_pending_points_count_at_once_or_when_they_are_released():
    at_once = joined(ladder(), points={"pending_days": 5})
    assert "TIER_UPGRADE" in buys(at_once, "2026-02-01", 100).types
    later = joined(ladder(), points={"pending_days": 5, "pending_counts_for_tier": False})
    assert "TIER_UPGRADE" not in buys(later, "2026-02-01", 100).types
    assert later.tick(moment("2026-02-06")).types == ["POINT_RELEASED", "TIER_UPGRADE"]


# ---------------------------------------------------------------- C03: falling


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"valid": "end_of_period", "landing": "earned"}, [("2027-01-01", "Member")]),
        (
            {"valid": "end_of_period", "landing": "one_down"},
            [("2027-01-01", "Gold"), ("2028-01-01", "Silver"), ("2029-01-01", "Member")],
        ),
        ({"valid": "end_of_next_period", "landing": "earned"}, [("2028-01-01", "Member")]),
        (
            {"valid": "end_of_next_period", "landing": "one_down"},
            [("2028-01-01", "Gold"), ("2029-01-01", "Silver"), ("2030-01-01", "Member")],
        ),
        ({"valid": "end_of_next_period", "landing": "earned", "grace_days": 10}, [("2028-01-11", "Member")]),
        ({"valid": "end_of_period", "landing": "earned", "grace_days": 10}, [("2027-01-11", "Member")]),
        ({"window": QUARTER, "valid": "end_of_period", "landing": "earned"}, [("2026-07-01", "Member")]),
        ({"window": QUARTER, "landing": "earned"}, [("2026-10-01", "Member")]),
        ({"window": MONTH, "landing": "earned"}, [("2026-08-01", "Member")]),
        ({"window": ANNIVERSARY, "valid": "end_of_period", "landing": "earned"}, [("2027-01-05", "Member")]),
        ({"window": ANNIVERSARY, "landing": "earned"}, [("2028-01-05", "Member")]),
        ({"window": ROLLING, "landing": "earned"}, [("2026-07-15", "Member")]),
        (
            {"window": ROLLING, "landing": "one_down", "grace_days": 5},
            [("2026-07-20", "Gold"), ("2026-08-24", "Silver"), ("2026-09-28", "Member")],
        ),
        ({"window": LIFETIME}, []),
    ],
)
def test_C03_who_buys_no_more_falls_as_the_policy_says(policy: dict[str, Any], expected: list[tuple[str, str]]):
    member = joined(ladder(**policy))
    buys(member, "2026-06-15", 300)
    member.tick(moment("2035-01-01"))
    assert changes(member)[1:] == expected
    downgrades = told(member, "TIER_DOWNGRADE")
    assert all(one.reason == "period_end" for one in downgrades)


def test_C03_landing_on_what_was_earned_in_the_period_that_is_over():
    member = joined(ladder(landing="earned"))
    buys(member, "2026-06-15", 300)
    buys(member, "2027-06-15", 150)
    member.tick(moment("2028-06-01"))
    assert changes(member)[1:] == [("2028-01-01", "Silver")]
    member.tick(moment("2030-01-01"))
    assert changes(member)[2:] == [("2029-01-01", "Member")]


def test_C03_a_tier_earned_again_is_kept_without_a_word():
    member = joined(ladder(warning_days=30))
    buys(member, "2026-06-15", 300)
    buys(member, "2027-06-15", 300)
    member.tick(moment("2028-11-01"))
    assert changes(member) == [("2026-06-15", "Platinum")]
    member.tick(moment("2029-01-01"))
    assert changes(member)[1:] == [("2029-01-01", "Gold")]


def test_C03_purchases_in_the_days_of_grace_still_save_the_tier():
    saved, lost = joined(ladder(grace_days=10)), joined(ladder(grace_days=10))
    for member, last in ((saved, "2028-01-10"), (lost, "2028-01-11")):
        buys(member, "2026-06-15", 300)
        buys(member, "2027-06-15", 250)
        buys(member, last, 50)
        member.tick(moment("2028-06-01"))
    assert changes(saved)[1:] == []
    assert changes(lost)[1:] == [("2028-01-11", "Gold")]


def test_C03_a_tier_of_its_own_period_is_saved_by_the_new_period_alone():
    member = joined(ladder(valid="end_of_period", landing="earned", grace_days=10))
    buys(member, "2026-06-15", 300)
    buys(member, "2027-01-05", 200)
    member.tick(moment("2027-06-01"))
    assert changes(member)[1:] == [("2027-01-11", "Gold")]


def test_C03_burning_never_lowers_a_tier():
    member = joined(ladder())
    buys(member, "2026-06-15", 300)
    member.reserve("R1", 300)
    assert member.confirm("R1").reply.tier == "Platinum"  # type: ignore[union-attr]
    buys(member, "2027-06-15", 300)
    member.adjust(-300)
    member.tick(moment("2028-12-31"))
    assert changes(member) == [("2026-06-15", "Platinum")]


def test_C03_periods_end_at_local_midnight_also_where_a_day_has_23_hours():
    rules = ladder(window=MONTH, valid="end_of_period", landing="earned", grace_days=10)
    member = joined(rules, time_zone="America/New_York")
    buys(member, "2026-02-15T12:00-05:00", 300)
    member.tick(moment("2026-03-11T03:59"))  # summer time began on the 8th
    assert len(changes(member)) == 1
    fall = member.tick(moment("2026-03-11T04:00")).data("TIER_DOWNGRADE")
    assert fall.occurred_at == moment("2026-03-11T04:00")


# ---------------------------------------------------------------- C04: returns


@pytest.mark.parametrize(("policy", "tier"), [("keep", "Silver"), ("revoke", "Member")])
def test_C04_a_return_below_the_threshold_keeps_or_takes_the_tier(policy: str, tier: str):
    member = joined(ladder(after_return=policy, landing="earned"))
    sale = buys(member, "2026-06-15", 100)
    step = member.returns(sale.command.id, (1, 500, 5000))
    assert step.reply is not None
    assert step.reply.tier == tier
    member.tick(moment("2027-12-31"))
    assert changes(member)[-1][1] == tier, "kept to the end of its period"


def test_C04_a_return_that_leaves_enough_takes_nothing():
    member = joined(ladder(after_return="revoke"))
    sale = buys(member, "2026-06-15", 150)
    assert member.returns(sale.command.id, (1, 300, 4500)).types == ["POINT_REVERSED"]
    assert member.returns(sale.command.id, (1, 100, 1500)).types == ["POINT_REVERSED", "TIER_DOWNGRADE"]


def test_C04_never_below_what_the_member_came_into_the_window_with():
    member = joined(ladder(after_return="revoke", landing="one_down"))
    buys(member, "2026-06-15", 300)
    member.tick(moment("2028-02-01"))  # landed on Gold for 2028
    sale = buys(member, "2028-03-01", 300)
    assert member.returns(sale.command.id, (1, 1000, 30_000)).data("TIER_DOWNGRADE").tier == "Gold"
    assert member.account.tier.until == int(moment("2029-01-01").timestamp())


def test_C04_a_tier_of_last_year_still_counts_this_year():
    member = joined(ladder(after_return="revoke"))
    buys(member, "2026-12-20", 200)
    sale = buys(member, "2027-01-10", 300)
    assert member.void(sale.command.id).data("TIER_DOWNGRADE").tier == "Gold"


def test_C04_two_rises_in_a_lifetime_are_taken_back_one_by_one():
    member = joined(ladder(window=LIFETIME, after_return="revoke"))
    first, second = buys(member, "2026-02-01", 100), buys(member, "2026-02-02", 100)
    assert member.void(second.command.id).data("TIER_DOWNGRADE").tier == "Silver"
    assert member.void(first.command.id).data("TIER_DOWNGRADE").tier == "Member"


def test_C04_a_rolling_tier_is_taken_back_by_the_return_of_any_of_its_purchases():
    member = joined(ladder(window=ROLLING, after_return="revoke"))
    first = buys(member, "2026-02-01", 60)
    buys(member, "2026-02-10", 60)
    assert member.void(first.command.id).data("TIER_DOWNGRADE").tier == "Member"


def test_C04_a_return_takes_from_a_lifetime_as_long_as_its_late_sale_is_known():
    member = joined(ladder(window={"kind": "lifetime"}, after_return="revoke"))
    member.until("2026-02-09T23:00").sale(10_000, id="late", at=moment("2026-01-06"))
    member.until("2026-03-18T01:00").tick()
    step = member.void("late")
    assert step.code == "OK", "71 days after its purchase it is still known"
    assert (member.account.lifetime.points, member.account.lifetime.spend, member.account.tier.level) == (0, 0, 0)


def test_C04_a_tier_by_hand_is_not_taken_back_by_a_return():
    member = joined(ladder(after_return="revoke"))
    member.set_tier("Gold", moment("2026-12-31"))
    sale = buys(member, "2026-06-15", 300)
    assert member.void(sale.command.id).data("TIER_DOWNGRADE").tier == "Gold"


def test_C04_a_return_takes_no_tier_that_another_program_version_would_not_give():
    member = joined(ladder(after_return="revoke"))
    buys(member, "2026-06-01", 200)
    small = buys(member, "2026-06-02", 50)
    stricter = program(version=2, tiers=tiers(level("Silver", points=1000), level("Gold", points=2000), after_return="revoke"))
    twin = Member(stricter, clock=moment("2026-06-03"))
    twin.stored = member.stored
    assert twin.void(small.command.id).types == ["POINT_REVERSED"]


def test_C04_points_of_other_checks_at_the_higher_rate_stay():
    double = earning(rule("multiplier", percent=200, where={"tiers": ["Silver"]}))
    member = joined(ladder(after_return="revoke"), earning=double)
    first = buys(member, "2026-02-01", 100)
    assert buys(member, "2026-02-02", 50).reply.earned == 100  # type: ignore[union-attr]
    assert member.void(first.command.id).data("POINT_REVERSED").points == 100
    assert member.books.available == 100


# ---------------------------------------------------------------- C05: close


@pytest.mark.parametrize(
    ("close", "points", "near"),
    [
        ({"percent": 80}, 79, False),
        ({"percent": 80}, 80, True),
        ({"gap": 10}, 89, False),
        ({"gap": 10}, 90, True),
        ({"percent": 95, "gap": 10}, 90, True),
        ({"percent": 80}, 100, False),
    ],
)
def test_C05_close_by_share_or_gap(close: dict[str, int], points: int, near: bool):
    step = buys(joined(ladder(close=close)), "2026-02-01", points)
    assert near == ("CLOSE_TO_TIER_UPGRADE" in step.types)


def test_C05_its_name_is_its_meaning():
    """Sources 001 and 002 describe close_to_tier_upgrade as "completes a year in the same Tier": swapped with the anniversary."""
    close = buys(joined(ladder(close={"gap": 10})), "2026-02-01", 95).data("CLOSE_TO_TIER_UPGRADE")
    assert (close.tier, close.next_tier, close.missing, close.metric) == ("Member", "Silver", 5, "points")


def test_C05_once_per_approach_and_again_after_an_upgrade_or_in_a_new_period():
    member = joined(ladder(close={"gap": 20}, landing="earned", valid="end_of_period"))
    steps = [
        ("2026-02-01", 85, True),
        ("2026-02-02", 5, False),  # still the same approach
        ("2026-02-03", 90, True),  # Silver, and close to Gold
        ("2026-02-04", 5, False),
        ("2027-02-01", 85, True),  # another period
        ("2027-02-02", 1, False),
    ]
    for day, points, near in steps:
        assert near == ("CLOSE_TO_TIER_UPGRADE" in buys(member, day, points).types), day


def test_C05_taken_back_and_close_again_is_a_new_approach_only_after_the_upgrade():
    member = joined(ladder(close={"gap": 20}, after_return="revoke"))
    first = buys(member, "2026-02-01", 90)
    assert "CLOSE_TO_TIER_UPGRADE" in first.types
    member.void(first.command.id)
    assert "CLOSE_TO_TIER_UPGRADE" not in buys(member, "2026-02-02", 90).types
    over = buys(member, "2026-02-03", 10)
    assert "TIER_UPGRADE" in over.types
    member.void(over.command.id)
    assert "CLOSE_TO_TIER_UPGRADE" in buys(member, "2026-02-04", 1).types


def test_C05_a_rolling_window_that_emptied_is_left_and_may_be_approached_again():
    member = joined(ladder(window=ROLLING, close={"gap": 20}))
    assert "CLOSE_TO_TIER_UPGRADE" in buys(member, "2026-02-01", 90).types
    assert "CLOSE_TO_TIER_UPGRADE" not in buys(member, "2026-04-01", 10).types
    assert "CLOSE_TO_TIER_UPGRADE" in buys(member, "2026-04-02", 75).types


def test_C05_a_late_check_of_a_period_that_is_over_brings_nobody_close():
    member = joined(ladder(close={"gap": 20}))
    late = member.until("2027-01-05").sale(9000, at=moment("2026-12-30"))
    assert "CLOSE_TO_TIER_UPGRADE" not in late.types


# ---------------------------------------------------------------- C06: dates


def test_C06_a_tier_anniversary_is_a_year_in_the_same_tier():
    """Sources 001 and 002 describe tier_anniversary as "about to upgrade": swapped. The name is the contract."""
    member = joined(ladder(window=LIFETIME))
    buys(member, "2026-02-28", 100)
    member.tick(moment("2028-03-01"))
    assert [(f"{one.occurred_at:%Y-%m-%d}", one.years) for one in told(member, "TIER_ANNIVERSARY")] == [
        ("2027-02-28", 1),
        ("2028-02-28", 2),
    ]
    buys(member, "2028-06-01", 100)
    member.tick(moment("2029-07-01"))
    last = told(member, "TIER_ANNIVERSARY")[-1]
    assert (f"{last.occurred_at:%Y-%m-%d}", last.tier, last.years) == ("2029-06-01", "Gold", 1)


def test_C06_the_lowest_tier_has_no_anniversary():
    member = joined(ladder())
    member.tick(moment("2030-01-01"))
    assert told(member, "TIER_ANNIVERSARY") == []


def test_C06_a_29th_of_february_is_the_28th_in_common_years():
    member = joined(ladder(window=LIFETIME), at="2024-02-29")
    buys(member, "2024-02-29", 100)
    member.tick(moment("2028-12-31"))
    days = ["2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]
    assert [f"{one.occurred_at:%Y-%m-%d}" for one in told(member, "TIER_ANNIVERSARY")] == days
    assert [f"{one.occurred_at:%Y-%m-%d}" for one in told(member, "ANNIVERSARY")] == days


def test_C06_the_warning_comes_once_and_says_what_would_follow():
    member = joined(ladder(warning_days=30, grace_days=7), anniversaries=False)
    buys(member, "2026-06-15", 300)
    member.tick(moment("2027-07-01"))
    assert member.tick(moment("2027-12-01T23:59")).types == []
    warning = member.tick(moment("2027-12-02")).data("TIER_DOWNGRADE_WARNING")
    assert (warning.tier, warning.lower_tier, warning.due) == ("Platinum", "Gold", moment("2028-01-08"))
    assert member.tick(moment("2027-12-03")).types == []


@pytest.mark.parametrize(
    ("policy", "warned", "missing"),
    [
        ({}, "2027-12-02", 180),
        ({"window": QUARTER}, "2026-09-01", 300),
        ({"window": ROLLING, "warning_days": 10}, "2026-07-10", 180),
        ({"valid": "end_of_period"}, "2026-12-02", 300),
    ],
)
def test_C06_the_warning_says_what_is_needed_to_stay(policy: dict[str, Any], warned: str, missing: int):
    member = joined(ladder(**{"warning_days": 30} | policy), anniversaries=False)
    buys(member, "2026-06-15", 300)
    if "valid" not in policy:
        buys(member, "2027-03-01" if not policy else "2026-06-20", 120)
    member.tick(moment(warned))
    (warning,) = told(member, "TIER_DOWNGRADE_WARNING")
    assert (warning.missing, warning.metric) == (missing, "points")
    enough = buys(member, warned, missing)
    member.tick(warning.due)
    assert enough.reply.tier == "Platinum"  # type: ignore[union-attr]
    assert (member.account.tier.level == 3) == ("valid" not in policy)


def test_C06_who_is_safe_is_not_warned_and_nobody_before_the_tier_was_held():
    safe = joined(ladder(warning_days=30))
    buys(safe, "2026-06-15", 100)
    buys(safe, "2027-06-15", 100)
    safe.tick(moment("2027-12-31"))
    assert told(safe, "TIER_DOWNGRADE_WARNING") == []
    short = joined(ladder(warning_days=60, valid="end_of_period"))
    buys(short, "2026-12-15", 100)
    (warning,) = told(short, "TIER_DOWNGRADE_WARNING")
    assert warning.occurred_at == moment("2026-12-15")


# ---------------------------------------------------------------- C07: by purchase time, by hand


def test_C07_a_late_check_earns_at_the_tier_held_at_purchase():
    double = earning(rule("multiplier", percent=200, where={"tiers": ["Silver"]}))
    member = joined(ladder(), earning=double)
    buys(member, "2026-02-10", 100)
    member.until("2026-02-12")
    assert member.sale(1000, at=moment("2026-02-09")).reply.earned == 10  # type: ignore[union-attr]
    assert member.sale(1000, at=moment("2026-02-11")).reply.earned == 20  # type: ignore[union-attr]


def test_C07_the_tier_lost_last_week_still_counts_for_a_check_of_before():
    double = earning(rule("multiplier", percent=200, where={"tiers": ["Silver"]}))
    member = joined(ladder(landing="earned", valid="end_of_period"), earning=double)
    buys(member, "2026-06-15", 100)
    member.tick(moment("2027-01-05"))
    assert changes(member)[-1] == ("2027-01-01", "Member")
    assert member.sale(1000, at=moment("2026-12-30")).reply.earned == 20  # type: ignore[union-attr]
    assert member.sale(1000).reply.earned == 10  # type: ignore[union-attr]


def test_C07_a_manual_tier_is_not_lowered_before_its_end():
    member = joined(ladder(landing="earned"))
    member.set_tier("Platinum", moment("2026-09-30"))
    assert changes(member) == [("2026-01-05", "Platinum")]
    member.tick(moment("2026-09-29"))
    assert len(changes(member)) == 1
    member.tick(moment("2026-09-30"))
    assert changes(member)[1:] == [("2026-09-30", "Member")]


def test_C07_at_the_end_of_a_match_what_was_earned_meanwhile_is_kept():
    member = joined(ladder(landing="earned"))
    member.set_tier("Platinum", moment("2026-09-30"))
    buys(member, "2026-06-15", 200)
    member.tick(moment("2029-01-01"))
    assert changes(member)[1:] == [("2026-09-30", "Gold"), ("2028-01-01", "Member")]


def test_C07_a_tier_for_good_is_the_floor_under_what_is_earned_above_it():
    member = joined(ladder(landing="earned"))
    member.set_tier("Silver")
    buys(member, "2026-06-15", 300)
    member.tick(moment("2035-01-01"))
    assert changes(member)[1:] == [("2026-06-15", "Platinum"), ("2028-01-01", "Silver")]
    assert member.account.tier.manual[0] == 1


def test_C07_a_match_does_not_shorten_what_was_earned():
    member = joined(ladder(landing="earned"))
    buys(member, "2026-02-01", 200)
    member.set_tier("Gold", moment("2026-06-30"))
    member.tick(moment("2027-12-31"))
    assert len(changes(member)) == 1


def test_C07_a_tier_of_a_program_that_has_it_no_more_becomes_the_highest():
    member = joined(ladder())
    buys(member, "2026-06-15", 300)
    fewer = program(version=2, effective_from="2026-07-01T00:00:00Z", tiers=tiers(level("Silver", points=100)))
    twin = Member(fewer, clock=moment("2026-08-01"))
    twin.stored = member.stored
    change = twin.sale(100).data("TIER_DOWNGRADE")
    assert (change.tier, change.reason, change.occurred_at) == ("Silver", "program", moment("2026-07-01"))
    none = Member(program(version=3), clock=moment("2029-01-01"))
    none.stored = twin.stored
    assert none.tick().data("TIER_DOWNGRADE").tier == "Member"


# ---------------------------------------------------------------- A08: late purchases


def test_A08_a_late_purchase_of_a_year_that_is_over_lifts_and_lands_as_if_it_had_been_in_time():
    member = joined(ladder(valid="end_of_period", landing="one_down"), anniversaries=False)
    late = member.until("2027-01-05").sale(30_000, at=moment("2026-12-30"))
    assert late.types == ["POINT_ACCRUAL", "TIER_UPGRADE", "TIER_DOWNGRADE"]
    assert changes(member) == [("2026-12-30", "Platinum"), ("2027-01-01", "Gold")]


def test_A08_a_late_purchase_of_a_year_that_is_over_says_nothing_new_of_a_tier_held_then():
    member = joined(ladder(valid="end_of_period", landing="one_down"), anniversaries=False)
    buys(member, "2026-12-20", 300)
    member.tick(moment("2027-01-02"))
    late = member.until("2027-01-05").sale(30_000, at=moment("2026-12-30"))
    assert late.types == ["POINT_ACCRUAL"]
    assert changes(member) == [("2026-12-20", "Platinum"), ("2027-01-01", "Gold")]


def test_A08_a_late_purchase_counts_now_though_a_higher_tier_was_held_then():
    member = joined(ladder(landing="earned"))
    member.set_tier("Gold", moment("2026-02-20"))
    member.tick(moment("2026-02-25"))
    late = member.sale(10_000, at=moment("2026-02-15"))
    assert late.data("TIER_UPGRADE").tier == "Silver"


def test_A08_a_late_rise_is_held_from_its_own_time_on():
    double = earning(rule("multiplier", percent=200, where={"tiers": ["Gold", "Platinum"]}))
    member = joined(ladder(), earning=double)
    buys(member, "2026-02-10", 100)
    member.until("2026-02-20").sale(20_000, at=moment("2026-02-05"))
    assert member.sale(1000, at=moment("2026-02-04")).reply.earned == 10  # type: ignore[union-attr]
    assert member.sale(1000, at=moment("2026-02-12")).reply.earned == 20  # type: ignore[union-attr]


def test_A08_a_rolling_window_sees_a_late_purchase_from_every_later_one():
    member = joined(ladder(window=ROLLING))
    buys(member, "2026-02-10", 60)
    late = member.sale(6000, at=moment("2026-02-01"))
    assert late.data("TIER_UPGRADE").tier == "Silver"


purchases = st.lists(
    st.tuples(st.integers(0, 500), st.integers(1, 200), st.integers(0, 30)), min_size=1, max_size=8, unique_by=lambda one: one[0]
)
policies = st.fixed_dictionaries(
    {
        "window": st.sampled_from([YEAR, QUARTER, MONTH, ROLLING, ANNIVERSARY, LIFETIME]),
        "valid": st.sampled_from(["end_of_period", "end_of_next_period"]),
        "landing": st.sampled_from(["earned", "one_down"]),
        "grace_days": st.sampled_from([0, 10]),
    }
)


def ends(bought: list[tuple[int, int, int]], rules: dict[str, Any], start: datetime, days: int) -> tuple[Any, ...]:
    member = joined(rules)
    for day, points, late in sorted(bought, key=lambda one: one[0] + one[2]):
        at = start + timedelta(days=day, hours=10)
        member.sale(points * 100, id=f"s{day}", at=at, now=at + timedelta(days=late))
    member.tick(start + timedelta(days=days))
    tier = member.account.tier
    return tier.level, tier.until, member.books.available


@settings(max_examples=150, deadline=None)
@given(bought=purchases, policy=policies, days=st.integers(531, 900))
def test_A08_the_order_of_arrival_changes_no_tier_in_the_end(bought: Any, policy: dict[str, Any], days: int):
    rules, start = ladder(**policy), moment("2026-01-05")
    in_time = [(day, points, 0) for day, points, _ in bought]
    assert ends(bought, rules, start, days) == ends(in_time, rules, start, days)
