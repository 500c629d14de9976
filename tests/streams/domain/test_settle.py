"""Time passes: everything due happens once, at its own time, in order, whenever the clock ticks (B03, B04, C03, C06)."""

from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.program import Program
from streams.domain.account import Account
from streams.domain.outcome import outcome_of
from tests.builders import START, Member, after, level, line, moment, program, tiers


def told(member: Member, kind: str) -> list[str]:
    """The times of all events of a kind."""
    return [f"{data.occurred_at.astimezone(UTC):%Y-%m-%dT%H:%M}" for event, data in member.events if event.type == f"LOY_{kind}"]


# ---------------------------------------------------------------- the law of ticks

BUSY = {
    "points": {"expiry": {"kind": "after_days", "days": 40}, "notice_days": 7, "pending_days": 3},
    "redemption": {"reservation_minutes": 60 * 24 * 9},
    "tiers": tiers(
        level("Silver", points=50),
        level("Gold", points=120),
        window={"kind": "calendar", "period": "month"},
        valid="end_of_next_period",
        grace_days=4,
        after_return="revoke",
        warning_days=6,
        close={"percent": 70},
    ),
    "fraud": {
        "critical": 100,
        "signals": [{"kind": "velocity", "id": "v", "weight": 100, "what": "checks", "hours": 1, "soft": 2}],
    },
}
PROGRAMS = [
    program(**BUSY),
    program(**BUSY | {"points": {"expiry": {"kind": "inactivity", "days": 20}, "notice_days": 5, "debt": "floor"}}),
    program(
        **BUSY
        | {
            "time_zone": "America/New_York",
            "points": {"expiry": {"kind": "end_of_month", "months": 0}, "pending_days": 2, "pending_counts_for_tier": False},
            "tiers": BUSY["tiers"] | {"window": {"kind": "rolling", "days": 25}, "landing": "earned"},  # type: ignore[operator]
        }
    ),
]

steps = st.tuples(
    st.sampled_from(
        ["sale", "sale", "sale", "late", "return", "early", "reserve", "confirm", "cancel", "adjust", "review", "leave", "join"]
    ),
    st.integers(1, 5),
)
gaps = st.sampled_from([0, 10, 60, 60 * 24, 60 * 24 * 3, 60 * 24 * 11, 60 * 24 * 45, 60 * 24 * 400])


def live(rules: Program, plot: list[tuple[tuple[str, int], int]], ticks: list[int]) -> Member:
    """One member's life: what happens after which minutes; with ticks after these shares (in percent) of every gap."""
    member = Member(rules).joined(birthday="02-29")
    for number, ((what, size), gap) in enumerate(plot):
        began = member.clock
        for share in ticks:
            member.tick(began + timedelta(minutes=gap) * share / 100)
        member.clock = began + timedelta(minutes=gap)
        happen(member, what, size, number)
    member.wait(days=800)
    for share in ticks:
        member.tick(member.clock - timedelta(days=800) * (100 - share) / 100)
    member.tick(member.clock)
    return member


def happen(member: Member, what: str, size: int, number: int) -> None:
    names = [f"n{number - size}", f"n{number - 1}"]
    match what:
        case "sale":
            member.sale(lines=[line(size * 2000, quantity=1000)], id=f"n{number}")
        case "late":
            member.sale(size * 2000, id=f"n{number}", at=member.clock - timedelta(days=size), now=member.clock)
        case "return":
            member.returns(names[0], (1, 500, 0), id=f"r{number}")
        case "early":
            member.void(f"n{number + size}", id=f"r{number}")
        case "reserve":
            member.reserve(f"n{number}", size * 5, id=f"q{number}")
        case "confirm":
            member.confirm(names[0], check_id=names[1], id=f"q{number}")
        case "cancel":
            member.cancel(names[1], id=f"q{number}")
        case "adjust":
            member.adjust(size * 20 - 60, id=f"a{number}")
        case "review":
            member.review(names[0], "release" if size % 2 else "confiscate", id=f"d{number}")
        case "leave":
            member.leave(id=f"l{number}")
        case "join":
            member.join(id=f"j{number}", birthday="02-29")


def but_for_ticks(account: Account) -> dict[str, Any]:
    fields = {name: getattr(account, name) for name in account.__struct_fields__ if name not in ("applied", "sequence")}
    return fields | {"applied": [known.id for known in account.applied if known.kind != "tick"], "sequence": account.sequence}


def history(member: Member) -> list[tuple[Any, ...]]:
    """All facts in order, whichever command carried them."""
    return [
        (fact.type, fact.at, fact.moves, str(fact.detail))
        for step in member.steps
        if not step.repeated
        for fact in step.outcome.facts
    ]


@settings(max_examples=250, deadline=None)
@given(
    rules=st.sampled_from(PROGRAMS),
    plot=st.lists(st.tuples(steps, gaps), min_size=1, max_size=10),
    ticks=st.lists(st.integers(0, 99), min_size=1, max_size=4).map(sorted),
)
def test_K04_no_tick_changes_what_happens_but_only_who_tells_it(rules: Program, plot: Any, ticks: list[int]):
    quiet, ticked = live(rules, plot, []), live(rules, plot, ticks)
    assert history(ticked) == history(quiet)
    assert but_for_ticks(ticked.account) == but_for_ticks(quiet.account)
    answers = [step.raw_reply for step in ticked.steps if step.raw_reply]
    assert answers == [step.raw_reply for step in quiet.steps if step.raw_reply]


@settings(max_examples=40, deadline=None)
@given(rules=st.sampled_from(PROGRAMS), plot=st.lists(st.tuples(steps, gaps), min_size=1, max_size=8))
def test_K04_what_falls_due_happens_in_the_order_of_time(rules: Program, plot: Any):
    member = live(rules, plot, [])
    facts = member.steps[-1].outcome.facts
    assert all(fact.at <= member.steps[-1].now for fact in facts)
    came = [n for n, fact in enumerate(facts) if fact.type in ("LOY_POINT_RELEASED", "LOY_POINT_FREED")]
    # Points that were over when they came back have ended before that.
    times = [
        f.at for n, f in enumerate(facts) if f.type != "LOY_POINT_EXPIRED" or all(f.at >= facts[c].at for c in came if c < n)
    ]
    assert times == sorted(times)
    assert member.account.next_due == 0 or member.account.next_due > member.account.now


def test_K04_a_second_tick_at_the_same_time_finds_nothing():
    member = Member(PROGRAMS[0]).joined()
    member.sale(10_000)
    member.wait(days=90)
    assert member.tick().events
    assert not member.tick().events


def test_K04_ticking_exactly_when_it_is_due_tells_every_event_alone():
    quiet, exact = (Member(PROGRAMS[0]).joined(birthday="07-01") for _ in range(2))
    for member in (quiet, exact):
        member.sale(15_000)
        member.reserve("R1", 5)
    quiet.tick(after(days=400))
    while exact.account.next_due and exact.account.next_due <= after(days=400).timestamp():
        step = exact.tick(datetime.fromtimestamp(exact.account.next_due, UTC))
        assert {data.occurred_at for _, data in step.events} == {exact.clock}
    exact.tick(after(days=400))
    assert history(exact) == history(quiet)


# ---------------------------------------------------------------- storms and long sleep


def test_B03_a_midnight_on_which_everything_ends_is_over_quickly():
    member = Member(program(points={"expiry": {"kind": "end_of_month", "months": 2}, "notice_days": 10})).joined()
    for _ in range(300):
        member.sale(1000)
    began = perf_counter()
    step = member.tick(moment("2026-06-01"))
    assert perf_counter() - began < 10
    assert sum(data.points for data in step.all("POINT_EXPIRED")) == 3000
    assert len(step.all("POINT_EXPIRING_SOON")) == 1
    assert member.account.lots == ()


@pytest.mark.parametrize(
    "window", [{"kind": "calendar", "period": "month"}, {"kind": "rolling", "days": 7}, {"kind": "anniversary"}]
)
def test_C03_ten_idle_years_are_settled_at_once(window: dict[str, Any]):
    levels = [level(f"L{n}", points=n) for n in range(1, 11)]
    member = Member(program(tiers=tiers(*levels, window=window, warning_days=5))).joined(birthday="02-29")
    member.sale(100_000)
    began = perf_counter()
    step = member.tick(after(days=3653))
    assert perf_counter() - began < 5
    assert len(step.all("BIRTHDAY")) == len(step.all("ANNIVERSARY")) == 10
    assert len(step.all("TIER_DOWNGRADE")) == len(step.all("TIER_DOWNGRADE_WARNING")) == 10 - member.account.tier.level


def test_A03_points_freed_too_late_end_at_once_and_pay_for_what_a_return_missed():
    """Whether the reservation ran out before a tick or months later with the next purchase."""
    rules = program(points={"expiry": {"kind": "end_of_month", "months": 0}, "debt": "floor"})
    quiet, ticked = Member(rules).joined(), Member(rules).joined()
    for member in (quiet, ticked):
        sale = member.sale(10_000)
        member.reserve("R1", 100)
        assert member.void(sale.command.id).data("POINT_REVERSED").forgiven == 100
    ticked.tick(after(minutes=31))
    for member in (quiet, ticked):
        member.until("2026-09-01").sale(1000)
    assert history(quiet) == history(ticked)
    assert quiet.books.reversed == 100


# ---------------------------------------------------------------- notices


def test_B03_the_notice_of_an_end_comes_once_and_again_for_a_later_end():
    member = Member(program(points={"expiry": {"kind": "inactivity", "days": 20}, "notice_days": 5})).joined()
    member.sale(1000)  # 2 March: ends with 22 March
    member.tick(moment("2026-03-19"))
    assert told(member, "POINT_EXPIRING_SOON") == ["2026-03-18T00:00"]
    member.reserve("R1", 10)
    member.cancel("R1")
    assert len(told(member, "POINT_EXPIRING_SOON")) == 1, "put back is not told again"
    member.until("2026-03-20").sale(1000)  # all of it ends with 9 April now
    member.tick(moment("2026-04-30"))
    assert told(member, "POINT_EXPIRING_SOON")[1:] == ["2026-04-05T00:00"]
    assert told(member, "POINT_EXPIRED") == ["2026-04-10T00:00"] * 2


def test_B03_what_is_earned_within_the_notice_is_told_when_it_is_earned():
    member = Member(program(points={"expiry": {"kind": "after_days", "days": 3}, "notice_days": 10})).joined()
    step = member.sale(1000)
    assert step.data("POINT_EXPIRING_SOON").occurred_at == START


def test_B03_points_that_were_over_when_they_came_are_not_announced():
    member = Member(program(points={"expiry": {"kind": "after_days", "days": 3}, "notice_days": 2})).joined()
    assert member.wait(days=20).sale(1000, at=after(days=1)).types == ["POINT_ACCRUAL", "POINT_EXPIRED"]


def test_B03_notices_come_at_local_midnight_also_across_a_change_of_the_clocks():
    rules = program(points={"expiry": {"kind": "end_of_month", "months": 0}, "notice_days": 25}, time_zone="America/New_York")
    member = Member(rules).joined()
    member.sale(1000)
    member.tick(moment("2026-04-02"))
    assert told(member, "POINT_EXPIRING_SOON") == ["2026-03-07T05:00"], "winter time: 25 days before 1 April"
    assert told(member, "POINT_EXPIRED") == ["2026-04-01T04:00"], "summer time"


# ---------------------------------------------------------------- C06: days of the calendar


@pytest.mark.parametrize(
    ("zone", "at"),
    [
        ("UTC", "2027-03-02T00:00"),
        ("America/New_York", "2027-03-02T05:00"),
        ("Asia/Tokyo", "2027-03-01T15:00"),
        ("Pacific/Kiritimati", "2027-03-02T10:00"),  # there it was the 3rd already when the member joined
    ],
)
def test_C06_a_year_in_the_program_is_over_at_local_midnight(zone: str, at: str):
    member = Member(program(time_zone=zone)).joined()
    member.tick(moment(at) - timedelta(minutes=1))
    assert told(member, "ANNIVERSARY") == []
    member.tick(moment(at))
    assert told(member, "ANNIVERSARY") == [at]


def test_C06_after_three_days_without_the_clock_each_is_told_once_with_its_own_date():
    member = Member().joined(birthday="03-01")
    outage = member.tick(moment("2027-03-05"))
    assert outage.types == ["BIRTHDAY", "ANNIVERSARY"]
    assert (told(member, "BIRTHDAY"), told(member, "ANNIVERSARY")) == (["2027-03-01T00:00"], ["2027-03-02T00:00"])
    again = member.again(outage)
    assert again.repeated
    assert again.raw_events == outage.raw_events, "a replay tells the very same events"
    assert member.tick(moment("2027-03-06")).types == []


def test_C06_a_birthday_on_29_february_is_the_28th_in_common_years():
    member = Member().joined(birthday="02-29")
    member.tick(moment("2029-01-01"))
    assert told(member, "BIRTHDAY") == ["2027-02-28T00:00", "2028-02-29T00:00"]


def test_C06_a_birthday_that_is_past_when_it_is_named_waits_for_the_next():
    member = Member().joined()
    member.tick(moment("2026-12-01"))
    member.update(birthday="03-05")
    assert told(member, "BIRTHDAY") == []
    member.tick(moment("2027-03-05"))
    assert told(member, "BIRTHDAY") == ["2027-03-05T00:00"]
    member.update(birthday="06-01")
    member.tick(moment("2027-12-31"))
    assert len(told(member, "BIRTHDAY")) == 1, "one birthday a year"


def test_C06_an_update_that_changes_nothing_loses_no_birthday():
    member = Member().joined(birthday="03-05")
    member.wait(days=1).update(birthday="03-05")
    member.tick(moment("2026-03-06"))
    assert told(member, "BIRTHDAY") == ["2026-03-05T00:00"]


def test_C06_days_passed_while_away_or_before_joining_are_not_told():
    member = Member(program(tiers=tiers(level("Gold", points=10), window={"kind": "lifetime"}))).joined(birthday="03-05")
    member.sale(1000)
    member.leave()
    back = member.until("2029-06-01").join(birthday="03-05")
    assert back.types == ["OPT_IN"]
    member.tick(moment("2030-04-01"))
    assert told(member, "BIRTHDAY") == ["2030-03-05T00:00"]
    years = [data.years for event, data in member.events if event.type in ("LOY_ANNIVERSARY", "LOY_TIER_ANNIVERSARY")]
    assert years == [4, 4]
    old = Member()
    old.send(old.command("join", "import", at="2016-01-01T00:00:00Z", birthday="01-01"))
    assert [step.types for step in old.steps] == [["OPT_IN"]]


def test_C06_a_program_may_tell_no_days():
    member = Member(program(anniversaries=False)).joined(birthday="03-05")
    assert member.tick(moment("2030-01-01")).types == []
    assert member.account.next_due == 0


# ---------------------------------------------------------------- forgetting


@pytest.mark.parametrize(("days", "code"), [(37.1, "OK"), (38, "SALE_AWAITED")])
def test_A07_what_is_remembered_goes_by_whole_days_however_many_commands_came_between(days: float, code: str):
    quiet, busy = Member().joined(), Member().joined()
    for member in (quiet, busy):
        member.sale(1000, id="s1")
    for hour in range(0, int(24 * days), 5):
        busy.tick(after(hours=hour))
    for member in (quiet, busy):
        member.clock = after(days)
        assert member.void("s1").code == code
    assert but_for_ticks(quiet.account) == but_for_ticks(busy.account)


def test_A07_a_late_check_is_remembered_also_where_there_is_too_much_to_remember(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("streams.domain.decide.APPLIED_MAX", 5)
    member = Member().joined()
    for _ in range(6):
        member.wait(hours=1).sale(1000)
    unknown = member.sale(1000, at=after(minutes=50), now=member.clock)
    assert unknown.code == "BEYOND_HORIZON", "it may be one of those that are forgotten"
    late = member.sale(1000, at=after(minutes=90), now=member.clock)
    again = member.again(late)
    assert again.repeated
    assert again.bytes == late.bytes


def test_A07_a_sale_of_36_days_ago_is_still_known_to_its_return():
    member = Member().joined()
    member.sale(1000, id="s1")
    assert member.wait(days=36).void("s1").types == ["POINT_REVERSED"]


def test_B02_an_account_of_a_busy_year_stays_small():
    member = Member(PROGRAMS[0]).joined()
    for _ in range(365):
        member.wait(days=1).sale(1500)
    for _ in range(2):
        member.wait(days=60).tick()
    assert len(member.stored or b"") < 3000
    assert all(outcome_of(known).sequence for known in member.account.applied)
    assert msgspec.msgpack.encode(member.account) == member.stored
