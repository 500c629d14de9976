"""Two-phase redemption, as in a payment authorisation: a reservation ends once, whatever comes after."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import Member, Step, after, earning, program, rule

RULES = program(
    redemption={
        "minimum_points": 10,
        "reservation_minutes": 30,
        "points_per_minor": 2,
        "rewards": [{"id": "mug", "title": "A mug", "points": 80, "value_minor": 900}],
    }
)


def holder(points: int = 100) -> Member:
    return Member(RULES).joined().having(points)


def assert_nothing_changed(member: Member, before: Any, step: Step, code: str) -> None:
    """Refused with that code; books, lots and reservations are as they were."""
    assert (step.status, step.code) == ("refused", code)
    assert step.reply is not None
    assert step.reply.code == code
    assert step.reply.receipt[0] == code
    assert step.events == ()
    after_ = member.account
    assert (after_.books, after_.lots, after_.reservations) == (before.books, before.lots, before.reservations)


# ---------------------------------------------------------------- A03: the whole table


def test_A03_reserve_sets_aside_and_confirm_uses() -> None:
    member = holder()
    reserved = member.reserve("R1", 100)
    assert reserved.types == ["POINT_RESERVED"]
    assert reserved.data("POINT_RESERVED").expires_at == after(minutes=30)
    assert (member.books.available, member.books.reserved) == (0, 100)
    assert (reserved.reply.balance.held, reserved.reply.value_minor) == (100, 50)  # type: ignore[union-attr]
    confirmed = member.confirm("R1", check_id="s9")
    assert confirmed.types == ["POINT_REDEMPTION"]
    used = confirmed.data("POINT_REDEMPTION")
    assert (used.points, used.value_minor, used.check_id, used.reward) == (100, 50, "s9", None)
    assert (member.books.used, member.books.reserved) == (100, 0)
    assert confirmed.reply.burned == 100  # type: ignore[union-attr]


def test_A03_a_second_hold_on_the_same_points_is_refused() -> None:
    member = holder()
    member.reserve("R1", 100)
    before = member.account
    assert_nothing_changed(member, before, member.reserve("R2", 10), "INSUFFICIENT_POINTS")


def test_A03_a_partial_confirm_frees_the_rest() -> None:
    member = holder()
    member.reserve("R1", 100)
    step = member.confirm("R1", 60)
    assert step.types == ["POINT_REDEMPTION", "POINT_FREED"]
    freed = step.data("POINT_FREED")
    assert (freed.points, freed.reason) == (40, "not_used")
    assert (member.books.available, member.books.used, member.books.reserved) == (40, 60, 0)
    assert step.reply.value_minor == 30  # type: ignore[union-attr]


def test_A03_cancel_frees_everything() -> None:
    member = holder()
    member.reserve("R1", 70)
    step = member.cancel("R1")
    assert step.types == ["POINT_FREED"]
    assert (step.data("POINT_FREED").points, step.data("POINT_FREED").reason) == (70, "cancelled")
    assert member.books.available == 100


def test_A03_a_reservation_runs_out_at_its_minute_whoever_looks() -> None:
    member = holder()
    member.reserve("R1", 100)
    assert member.account.next_due == int(after(minutes=30).timestamp())
    assert member.tick(after(minutes=29)).events == ()
    step = member.tick(after(minutes=45))
    assert step.types == ["POINT_FREED"]
    freed = step.data("POINT_FREED")
    assert (freed.points, freed.reason, freed.occurred_at) == (100, "expired", after(minutes=30))
    assert member.books.available == 100


END = {
    "confirmed": lambda member: member.confirm("R1"),
    "partly confirmed": lambda member: member.confirm("R1", 60),
    "cancelled": lambda member: member.cancel("R1"),
    "expired": lambda member: member.wait(hours=1).tick(),
    "expired unnoticed": lambda member: member.wait(hours=1),
}
CODES = {"cancelled": "RESERVATION_CANCELLED", "expired": "RESERVATION_EXPIRED", "expired unnoticed": "RESERVATION_EXPIRED"}


@pytest.mark.parametrize("ended", END)
@pytest.mark.parametrize("then", ["confirm", "confirm less", "confirm more", "cancel", "reserve again"])
def test_A03_whatever_comes_after_the_end_has_a_stable_code_and_changes_nothing(ended: str, then: str) -> None:
    member = holder(150)
    member.reserve("R1", 100)
    END[ended](member)
    if ended == "expired unnoticed":
        probe = Member(RULES)
        probe.stored, probe.clock = member.stored, member.clock
        probe.tick()
        before = probe.account
    else:
        before = member.account
    late = {
        "confirm": lambda: member.confirm("R1", id="x"),
        "confirm less": lambda: member.confirm("R1", 1, id="x"),
        "confirm more": lambda: member.confirm("R1", 500, id="x"),
        "cancel": lambda: member.cancel("R1", id="x"),
        "reserve again": lambda: member.reserve("R1", 10, id="x"),
    }[then]
    code = "ID_REUSED" if then == "reserve again" else CODES.get(ended, "RESERVATION_CONFIRMED")
    step = late()
    assert (step.status, step.code) == ("refused", code)
    assert step.types == (
        ["POINT_FREED"] if ended == "expired unnoticed" else []
    )  # its end is told, with whatever command comes next
    now = member.account
    assert (now.books, now.lots) == (before.books, before.lots)
    assert [known.status for known in now.reservations] == [known.status for known in before.reservations]
    again = member.again(step)
    assert again.repeated
    assert again.bytes == step.bytes


@pytest.mark.parametrize(
    ("why", "ask", "code"),
    [
        ("more than there is", {"points": 101}, "INSUFFICIENT_POINTS"),
        ("below the least", {"points": 9}, "BELOW_MINIMUM"),
        ("offline", {"points": 50, "offline": True}, "OFFLINE_REDEMPTION"),
        ("offline, for a reward", {"reward": "mug", "offline": True}, "OFFLINE_REDEMPTION"),
        ("no such reward", {"reward": "car"}, "REWARD_UNKNOWN"),
    ],
)
def test_A07_what_cannot_be_reserved_is_refused_with_a_printable_reason(why: str, ask: dict[str, Any], code: str) -> None:
    member = holder()
    before = member.account
    step = member.send(member.request("reserve", "R1", **ask))
    assert_nothing_changed(member, before, step, code)


@pytest.mark.parametrize(
    ("why", "then", "code"),
    [
        ("confirm of nothing", lambda m: m.confirm("R7"), "RESERVATION_UNKNOWN"),
        ("cancel of nothing", lambda m: m.cancel("R7"), "RESERVATION_UNKNOWN"),
        ("more than was reserved", lambda m: m.confirm("R1", 51), "CONFIRM_EXCEEDS_RESERVED"),
    ],
)
def test_A03_an_open_reservation_survives_a_wrong_request(why: str, then: Any, code: str) -> None:
    member = holder()
    member.reserve("R1", 50)
    before = member.account
    assert_nothing_changed(member, before, then(member), code)
    assert member.confirm("R1").code == "OK"


def test_A03_who_left_redeems_nothing_and_nothing_stays_reserved() -> None:
    member = holder()
    member.reserve("R1", 50)
    assert member.leave().types == ["POINT_FREED", "OPT_OUT"]
    assert member.reserve("R2", 50).code == "MEMBER_OPTED_OUT"
    assert member.confirm("R1").code == "MEMBER_OPTED_OUT"
    member.join()
    assert member.confirm("R1").code == "RESERVATION_CANCELLED"
    assert member.books.available == 100


# ---------------------------------------------------------------- B09: rewards


def test_B09_a_reward_costs_its_points_and_is_worth_its_value() -> None:
    member = holder()
    step = member.send(member.request("reserve", "R1", reward="mug"))
    assert (step.data("POINT_RESERVED").points, step.data("POINT_RESERVED").reward) == (80, "mug")
    used = member.confirm("R1").data("POINT_REDEMPTION")
    assert (used.points, used.value_minor, used.reward) == (80, 900, "mug")


@pytest.mark.parametrize(
    ("points", "rewards", "ahead", "highest"), [(79, (), 1, None), (80, ("mug",), None, "mug"), (81, ("mug",), None, "mug")]
)
def test_B09_the_ladder_at_its_boundary(points: int, rewards: tuple[str, ...], ahead: int | None, highest: str | None) -> None:
    step = Member(RULES).joined().adjust(points)
    profile = step.data("POINT_ADJUSTED").profile
    assert (profile.available_rewards, profile.points_req_for_next_reward, profile.highest_available_reward) == (
        rewards,
        ahead,
        highest,
    )
    assert step.reply.rewards == rewards  # type: ignore[union-attr]


def test_A09_points_under_review_cannot_be_redeemed() -> None:
    fraud = {
        "critical": 100,
        "signals": [{"id": "own-till", "kind": "velocity", "what": "points", "hours": 24, "soft": 50, "weight": 100}],
    }
    member = Member(program(fraud=fraud)).joined().having(100)
    assert member.sale(6000).code == "FRAUD_REVIEW"
    assert member.reserve("R1", 50).code == "FRAUD_REVIEW"
    member.review("s1")
    assert member.reserve("R2", 50).code == "OK"


# ---------------------------------------------------------------- B03: lots behind a reservation

LOTS = program(points={"expiry": {"kind": "after_days", "days": 10}}, redemption={"reservation_minutes": 60 * 24 * 20})


def two_lots() -> Member:
    """100 points that end on day 11, 100 that end on day 16."""
    member = Member(LOTS).joined()
    member.sale(10_000)
    member.wait(5).sale(10_000)
    return member


def test_B03_a_redemption_burns_what_ends_soonest_and_a_partial_one_keeps_that_order() -> None:
    member = two_lots()
    member.reserve("R1", 150)
    assert [(lot.number, lot.points) for lot in member.account.lots] == [(2, 50)]
    member.confirm("R1", 120)
    assert [(lot.number, lot.points) for lot in member.account.lots] == [(2, 80)]


def test_A03_what_is_reserved_does_not_end_but_what_comes_back_late_does_at_once() -> None:
    member = two_lots()
    member.reserve("R1", 150)
    assert member.wait(7).tick().events == ()  # day 12: the first lot would have ended
    step = member.cancel("R1")
    assert step.types == ["POINT_FREED", "POINT_EXPIRED"]
    assert step.data("POINT_EXPIRED").points == 100
    assert member.books.available == 100


def test_A03_what_was_reserved_in_time_is_used_in_time() -> None:
    member = two_lots()
    member.reserve("R1", 150)
    assert member.wait(7).confirm("R1").types == ["POINT_REDEMPTION"]
    assert member.books.used == 150


def test_A06_freed_points_first_pay_what_is_owed_for_them_then_those_that_have_ended_end() -> None:
    member = two_lots()
    member.reserve("R1", 150)
    member.void("s1")
    assert member.account.debt == 50
    member.wait(7)  # the first lot's points have ended
    step = member.cancel("R1")
    assert step.types == ["POINT_FREED", "POINT_EXPIRED"]
    assert (member.books.expired, member.account.debt, member.books.available) == (50, 0, 50)


# ---------------------------------------------------------------- any interleaving

OUTLETS = ("o1", "o2")
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "confirm", "cancel", "wait", "sale", "void"]),
        st.sampled_from(OUTLETS),
        st.integers(1, 3),
        st.integers(1, 120),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(MOVES)
def test_A03_no_interleaving_of_two_outlets_makes_available_negative(moves: list[tuple[str, str, int, int]]) -> None:
    """`Member` asserts after each command that no book is negative and that lots and reservations agree with the books."""
    member = holder(100)
    sales = 0
    for kind, outlet, number, points in moves:
        name = f"{outlet}-{number}"
        match kind:
            case "reserve":
                member.reserve(name, points, outlet=outlet)
            case "confirm":
                member.confirm(name, points, outlet=outlet, check_id=f"s{number}")
            case "cancel":
                member.cancel(name, outlet=outlet)
            case "sale":
                sales += 1
                member.sale(points * 50, outlet=outlet)
            case "void" if sales:
                member.void(f"s{min(number, sales)}", outlet=outlet)
            case _:
                member.wait(minutes=points // 4)
    statuses = {known.id: known.status for known in member.account.reservations}
    used = sum(data.points for event, data in member.events if event.type == "LOY_POINT_REDEMPTION")
    restored = sum(data.points for event, data in member.events if event.type == "LOY_POINT_RESTORED")
    assert member.books.used == used - restored
    assert len(statuses) == len(member.account.reservations)


def test_D02_a_sale_paid_with_points_still_counts_for_rules_on_the_rest() -> None:
    rules = program(earning=earning(rule("check_bonus", points=5)))
    member = Member(rules).joined().having(100)
    member.pay(50, "s1")
    assert (
        member.sale(
            1000, tenders=[{"type": "points", "amount_minor": 50, "reservation": "for-s1"}, {"type": "cash", "amount_minor": 950}]
        ).outcome.earned
        == 9 + 5
    )
