"""The 29 fields of seeds 001 and 002, and the rewards ladder, against an independent computation (B09)."""

from datetime import UTC, date, datetime
from random import Random
from typing import Any

import pytest

from schemas.events import PERSONAL_FIELDS, PROFILE_FIELDS, parse_event
from schemas.members import Contact
from schemas.standing import Profile
from streams.chaos.oracle import NaiveMember
from tests.builders import Member, after, level, moment, program, tiers
from tests.simulation.worker import DAY
from tests.simulation.world import World

REWARDS = [
    {"id": "r100", "title": "$10 Reward", "points": 100, "value_minor": 1000},
    {"id": "r50", "title": "$5 Reward", "points": 50, "value_minor": 500},
    {"id": "r150", "title": "$15 Reward", "points": 150, "value_minor": 1500},
]
SEED_FIELDS = """Loyalty Id, First Name, Last Name, Email Address, Active Status, Birthday, Loyalty anniversary date, Phone No, Zip Code,
Opt-in Status, Opt-in Date, Available Points, Earned Points, Used Points, Hold Points, Next Expiring Points, Points Expiration Date,
Expired Points, Current Tier, Next Tier, Points Req For Next Tier, Tier Achieve Date, Available Rewards, Points Req For Next Reward,
Highest Available Reward, First Loyalty Activity Date, Last Loyalty Activity Date, First Purchase Date, Last Purchase Date"""


def profile(member: Member) -> Profile:
    """The profile on the member's last event."""
    found: Profile = member.events[-1][1].profile
    return found


def test_B09_the_fields_are_the_29_of_the_seeds_23_without_a_name_and_6_personal():
    seeds = {name.strip().lower().replace(" ", "_").replace("-", "_") for name in SEED_FIELDS.split(",")}
    assert len(seeds) == 29
    assert seeds == set(PROFILE_FIELDS)
    assert (len(Profile.model_fields), len(PERSONAL_FIELDS)) == (23, 6)
    assert len(Contact.model_fields) >= 6


@pytest.mark.parametrize(
    ("points", "reached", "missing", "highest"),
    [
        (0, (), 50, None),
        (49, (), 1, None),
        (50, ("r50",), 50, "r50"),
        (51, ("r50",), 49, "r50"),
        (99, ("r50",), 1, "r50"),
        (100, ("r50", "r100"), 50, "r100"),
        (101, ("r50", "r100"), 49, "r100"),
        (149, ("r50", "r100"), 1, "r100"),
        (150, ("r50", "r100", "r150"), None, "r150"),
        (151, ("r50", "r100", "r150"), None, "r150"),
    ],
)
def test_B09_the_ladder_of_rewards_at_each_boundary(
    points: int, reached: tuple[str, ...], missing: int | None, highest: str | None
):
    member = Member(program(redemption={"rewards": REWARDS})).joined()
    step = member.adjust(points)
    found = profile(member)
    assert (found.available_rewards, found.points_req_for_next_reward, found.highest_available_reward) == (
        reached,
        missing,
        highest,
    )
    assert step.reply is not None
    assert step.reply.rewards == reached


def test_B09_only_what_can_be_used_now_reaches_a_reward():
    member = Member(program(redemption={"rewards": REWARDS}, points={"pending_days": 3})).joined().having(60)
    member.sale(5000)
    assert profile(member).available_rewards == ("r50",)
    assert profile(member).hold_points == 50
    member.reserve("R1", 30)
    assert (profile(member).available_points, profile(member).hold_points, profile(member).available_rewards) == (30, 80, ())


@pytest.mark.parametrize(("days", "active"), [(364, True), (365, True), (366, False)])
def test_B09_a_member_is_active_so_long_after_the_last_activity(days: int, active: bool):
    member = Member(program(limits={"active_days": 365})).joined()
    member.sale(1000)
    member.wait(days=days).adjust(1)
    assert profile(member).active_status is active
    member.leave()
    assert (profile(member).active_status, profile(member).opt_in_status) == (False, False)


@pytest.mark.parametrize("act", ["return", "redeem"])
def test_B09_bringing_back_and_redeeming_are_activities(act: str):
    member = Member().joined().having(50)
    assert profile(member).first_loyalty_activity_date is None
    member.wait(days=3)
    if act == "return":
        member.returns(None, (1, 1000, 500), kind="no_receipt")
    else:
        member.reserve("R1", 10)
    member.wait(days=1).adjust(1)
    day = after(3).date()
    assert (profile(member).first_loyalty_activity_date, profile(member).last_loyalty_activity_date) == (day, day)
    assert profile(member).first_purchase_date is None


def test_B09_late_checks_move_the_first_purchase_back_and_never_the_last():
    member = Member().joined().wait(days=10)
    member.sale(1000)
    member.sale(1000, at=after(4), now=member.clock)
    assert (profile(member).first_purchase_date, profile(member).last_purchase_date) == (after(4).date(), after(10).date())


def test_B09_days_are_local_to_the_program():
    rules = program(time_zone="Pacific/Auckland", points={"expiry": {"kind": "end_of_month", "months": 0}})
    member = Member(rules, clock=moment("2026-03-05T23:30+13:00")).joined()
    member.sale(1000)
    found = profile(member)
    assert (found.opt_in_date, found.last_purchase_date) == (date(2026, 3, 5), date(2026, 3, 5))
    assert (found.next_expiring_points, found.points_expiration_date) == (10, date(2026, 3, 31)), "the last day of use"


def test_B09_what_ends_next_is_all_that_ends_together_and_only_what_can_be_used():
    member = Member(program(points={"expiry": {"kind": "end_of_month", "months": 1}})).joined()
    member.sale(1000)
    member.sale(2000)
    member.until("2026-04-10").sale(5000)
    assert (profile(member).next_expiring_points, profile(member).points_expiration_date) == (30, date(2026, 4, 30))
    member.reserve("R1", 25)
    assert profile(member).next_expiring_points == 5
    member.confirm("R1")
    member.reserve("R2", 5)
    assert (profile(member).next_expiring_points, profile(member).points_expiration_date) == (50, date(2026, 5, 31))


def test_B09_the_next_tier_asks_for_the_nearest_of_its_requirements():
    rules = program(tiers=tiers(level("Silver", points=100, spend=20_000), level("Gold", points=300)))
    member = Member(rules).joined()
    member.sale(5000)
    found = profile(member)
    assert (found.current_tier, found.next_tier, found.points_req_for_next_tier) == ("Member", "Silver", 50)
    assert found.tier_achieve_date == found.opt_in_date
    member.wait(days=2).sale(25_000)
    found = profile(member)
    assert (found.current_tier, found.next_tier, found.points_req_for_next_tier) == ("Gold", None, None)
    assert found.tier_achieve_date == after(2).date()


# ---------------------------------------------------------------- every member of random worlds


def expected(naive: NaiveMember, member: str, now: int) -> dict[str, Any]:
    """The fields, computed from the naive ledger alone."""
    figures, rules = naive.figures(now), naive.rules
    usable = [point.ends for point in naive.points if point.where == "available"]
    ends = min(usable, default=None)
    above = rules.tiers[naive.level + 1 :][:1]
    year = datetime.fromtimestamp(now, UTC).year
    joined = utc_day(naive.joined_at)
    active = naive.joined and max(naive.joined_at, *naive.acts, 0) >= now - 365 * DAY
    return {
        "loyalty_id": member,
        "active_status": active,
        "loyalty_anniversary_date": joined,
        "opt_in_status": naive.joined,
        "opt_in_date": joined,
        "available_points": figures.available,
        "earned_points": figures.earned,
        "used_points": figures.used,
        "hold_points": figures.held,
        "next_expiring_points": usable.count(ends) if ends else 0,
        "points_expiration_date": utc_day(ends - 1) if ends else None,
        "expired_points": figures.expired,
        "current_tier": figures.tier,
        "next_tier": above[0][0] if above else None,
        "points_req_for_next_tier": max(0, above[0][1] - naive.spend[year]) if above else None,
        "tier_achieve_date": naive.level_since or joined,
        "available_rewards": tuple(name for name, points in rules.rewards if points <= figures.available),
        "points_req_for_next_reward": min(
            (p - figures.available for _, p in rules.rewards if p > figures.available), default=None
        ),
        "highest_available_reward": max(((p, n) for n, p in rules.rewards if p <= figures.available), default=(0, None))[1],
        "first_loyalty_activity_date": utc_day(min(naive.acts)) if naive.acts else None,
        "last_loyalty_activity_date": utc_day(max(naive.acts)) if naive.acts else None,
        "first_purchase_date": utc_day(min(naive.bought)) if naive.bought else None,
        "last_purchase_date": utc_day(max(naive.bought)) if naive.bought else None,
    }


def utc_day(at: int) -> date:
    return datetime.fromtimestamp(at, UTC).date()


@pytest.mark.parametrize("seed", range(1, 41))
def test_B09_every_members_profile_equals_an_independent_computation(seed: int):
    world = World(Random(seed))
    world.open_the_accounts()
    for _ in range(100):
        world.act()
    for member in world.members:
        world.correct(member, 1)  # whose event carries the profile
    world.finish()
    told_of = sorted((parse_event(out.value) for out in world.worker.outputs if out.is_event), key=lambda one: one[0].sequence)
    last = {event.subject: data for event, data in told_of}
    for member in world.members:
        told = last[member].profile.model_dump()
        assert told == expected(world.naive.members[member], member, world.clock)
