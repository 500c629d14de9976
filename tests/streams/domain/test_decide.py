"""The one function over the log: repeats are recognised and answered alike, and any suffix of the log gives the same bytes."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.account import APPLIED_MAX, Account, due_of, pack
from streams.domain.decide import decide
from tests.builders import START, Log, Member, Receipt, Step, after, earning, level, program, rule, tiers

RICH = program(
    earning=earning(rule("threshold", points=30, spend_minor=5000, join_minutes=30), caps=[{"points": 400, "per": "day"}]),
    points={"expiry": {"kind": "after_days", "days": 9}, "notice_days": 3, "pending_days": 2, "debt": "hold_refund"},
    redemption={"minimum_points": 5, "rewards": [{"id": "mug", "title": "Mug", "points": 50, "value_minor": 500}]},
    tiers=tiers(level("Silver", points=100), level("Gold", spend=60_000), after_return="revoke", close={"percent": 80}),
    fraud={
        "critical": 100,
        "signals": [{"id": "many", "kind": "velocity", "what": "checks", "hours": 1, "soft": 3, "weight": 100}],
    },
)


# ---------------------------------------------------------------- A07: repeats


def test_A07_a_repeat_changes_nothing_and_is_answered_by_the_same_bytes() -> None:
    member = Member(RICH).joined()
    first = member.sale(7000)
    stored = member.stored
    for days in (0, 1, 36):
        again = member.again(first, after(days))
        assert again.repeated
        assert again.bytes == first.bytes
        assert again.decision.first_origin == "test/0/s1"
        assert member.stored == stored


def test_A07_a_repeat_is_answered_from_what_was_decided_then_not_from_today() -> None:
    member = Member(RICH).joined()
    first = member.sale(7000)
    member.wait(5).sale(90_000, at=after(5))
    assert member.account.tier.level == 2
    assert member.again(first).bytes == first.bytes


def bodies(member: Member) -> list[tuple[str, Any, Any]]:
    """(kind, a command, another with its id)."""
    return [
        ("sale", member.sale_command(1000, id="x"), member.sale_command(1001, id="x")),
        ("return", member.return_command("s1", (1, 1, 1), id="x"), member.return_command("s1", (1, 2, 1), id="x")),
        ("void", member.void_command("s1", id="x"), member.void_command("s2", id="x")),
        ("reserve", member.request("reserve", "R", points=10, id="x"), member.request("reserve", "R", points=11, id="x")),
        ("confirm", member.request("confirm", "R", id="x"), member.request("confirm", "R", points=1, id="x")),
        ("another kind", member.sale_command(1000, id="x"), member.void_command("s1", id="x")),
    ]


@pytest.mark.parametrize("number", range(6))
def test_A07_the_same_id_with_another_body_is_refused_and_changes_nothing(number: int) -> None:
    member = Member().joined().having(100)
    member.sale(5000)
    kind, one, other = bodies(member)[number]
    first = member.send(one)
    stored = member.stored
    for now in (after(1), after(2)):
        step = member.send(other, now)
        assert (step.status, step.code, step.events) == ("refused", "ID_REUSED", ()), kind
        assert member.stored == stored
    assert member.steps[-1].bytes == member.steps[-2].bytes  # the refusal too is the same whenever it is asked
    assert member.again(first).bytes == first.bytes


def test_A07_a_refusal_is_remembered_like_any_answer() -> None:
    member = Member().joined()
    refused = member.reserve("R", 50)
    assert refused.code == "INSUFFICIENT_POINTS"
    member.adjust(100)
    again = member.again(refused)
    assert again.repeated
    assert again.bytes == refused.bytes
    assert member.reserve("R", 50, id="new").code == "OK"


# ---------------------------------------------------------------- the horizon


@pytest.mark.parametrize(("days", "code"), [(34.99, "OK"), (35, "BEYOND_HORIZON"), (400, "BEYOND_HORIZON")])
def test_A08_a_check_older_than_the_horizon_is_parked_never_guessed(days: float, code: str) -> None:
    member = Member(clock=START - timedelta(days=500)).joined()
    step = member.sale(1000, at=START - timedelta(days=days), now=START)
    assert step.code == code
    if code != "OK":
        assert (step.status, step.events, step.reply.receipt) == ("parked", (), (code,))  # type: ignore[union-attr]
        assert "s1" not in [known.id for known in member.account.applied]
        assert member.again(step, after(9)).bytes == step.bytes


def test_A08_a_parked_check_is_answered_the_same_after_another_one_took_its_id() -> None:
    """As after a crash: both are read again, and now the second one is known first."""
    member = Member(clock=START - timedelta(days=500)).joined()
    parked = member.sale(1000, id="s1", at=START - timedelta(days=40), now=START)
    assert parked.code == "BEYOND_HORIZON"
    assert member.sale(500, id="s1", at=START, now=START).code == "OK"
    assert member.again(parked, START).bytes == parked.bytes
    assert member.books.issued == -5


def test_A08_what_was_told_of_a_member_too_late_is_answered_the_same_after_another_record_took_its_id() -> None:
    member = Member(clock=START - timedelta(days=500)).joined()
    member.clock = START
    member.update()
    late = member.command("join", "m1", at=(START - timedelta(days=40)).isoformat())
    parked = member.send(late, START)
    assert parked.code == "BEYOND_HORIZON"
    assert member.update(id="m1").code == "OK"
    assert member.again(parked, START).bytes == parked.bytes


def test_A08_no_repeat_outlives_its_record() -> None:
    """Whenever a check is sent again, it is recognised or parked: it never earns twice."""
    member = Member(clock=START - timedelta(days=30)).joined()
    for late in (0, 20, 34):
        member = Member(clock=START - timedelta(days=30)).joined()
        first = member.sale(1000, at=START, now=after(late))
        for days in range(late, 90):
            step = member.again(first, after(days))
            assert step.repeated or step.code == "BEYOND_HORIZON"
            member.tick(after(days))
        assert member.books.issued == -10


def test_A07_too_many_commands_to_remember_raise_the_floor_instead_of_earning_twice() -> None:
    member = Member().joined()
    first = member.sale(100, at=after(0.001))
    plan, account = member.plan, member.account
    for number in range(APPLIED_MAX):
        command = member.sale_command(100, id=f"n{number}", at=after(0.01, minutes=number / 60))
        account = decide(account, command, plan, int(after(1).timestamp())).account
    assert len(account.applied) == APPLIED_MAX
    assert account.floor >= int(after(0.001).timestamp())
    again = decide(account, first.command, plan, int(after(1).timestamp()))
    assert (again.outcome.code, again.account) == ("BEYOND_HORIZON", account)


# ---------------------------------------------------------------- time


def test_B02_time_never_runs_backwards_within_an_account() -> None:
    member = Member(program(redemption={"reservation_minutes": 30})).joined().having(50)
    member.wait(hours=2).reserve("R", 50)
    step = member.send(member.request("confirm", "R"), after(hours=1))  # an earlier Kafka time
    assert step.code == "OK"
    assert step.outcome.now == int(after(hours=2).timestamp())


def test_B04_a_tick_is_nothing_but_settling_and_the_due_time_is_the_head_of_the_account() -> None:
    member = Member(program(points={"pending_days": 2}, anniversaries=False)).joined()
    member.sale(10_000)
    assert member.stored is not None
    due = due_of(member.stored)
    assert (due.next_due, due.key) == (int(after(2).replace(hour=0).timestamp()), "H-1")
    assert member.tick(after(2)).reply is None
    assert due_of(member.stored).next_due == 0


def test_B02_the_account_given_is_left_as_it_was() -> None:
    member = Member(RICH).joined()
    before = member.account
    kept = pack(before)
    for command in (member.sale_command(9000), member.command("tick", "t")):
        decide(before, command, member.plan, int(after(9).timestamp()))
        assert pack(before) == kept


def test_A01_a_quiet_account_stays_small() -> None:
    """At most 2 KB on disk for a quiet member (performance.md): a purchase a month for three years."""
    member = Member(RICH).joined(birthday="05-05")
    for month in range(36):
        member.until(f"{2026 + (month + 3) // 12}-{(month + 3) % 12 + 1:02d}-05T10:00").sale(4321)
    member.wait(40).tick()
    assert member.stored is not None
    assert len(member.stored) < 2048


# ---------------------------------------------------------------- B02: any suffix, again


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from(
            ["sale", "late", "return", "void", "reserve", "confirm", "cancel", "adjust", "tick", "repeat", "other", "update"]
        ),
        st.integers(1, 4),
        st.integers(0, 30),
        st.integers(1, 9000),
    ),
    min_size=3,
    max_size=22,
)


def drive(member: Member, moves: list[tuple[str, int, int, int]]) -> None:  # noqa: PLR0912  # one branch a kind
    for kind, number, hours, amount in moves:
        member.wait(hours=hours)
        match kind:
            case "sale":
                member.sale(amount * 3)
            case "late":
                member.sale(amount, id=f"late{number}-{amount}", at=member.clock - timedelta(days=number))
            case "return":
                member.returns(f"s{number}", (1, amount % 700, amount % 900))
            case "void":
                member.void(f"s{number}")
            case "reserve":
                member.reserve(f"R{number}", 1 + amount % 60)
            case "confirm":
                member.confirm(f"R{number}", 1 + amount % 30, check_id=f"s{number}")
            case "cancel":
                member.cancel(f"R{number}")
            case "adjust":
                member.adjust(amount % 100 - 50)
            case "tick":
                member.tick()
            case "repeat":
                member.again(member.steps[amount % len(member.steps)])
            case "other":
                member.send(member.sale_command(amount, id="s1"))
            case "update":
                member.update(birthday=f"0{number}-1{number}")


def printed(step: Step) -> Any:
    return step.bytes


@settings(max_examples=80, deadline=None)
@given(COMMANDS, st.data())
def test_B02_any_suffix_of_the_log_from_any_stored_state_gives_the_same_bytes(moves: Any, data: Any) -> None:
    """A crash between state and events: the state may be ahead of what was printed by any number of commands."""
    member = Member(RICH).joined(birthday="03-04")
    states: list[bytes | None] = [None]
    drive(member, moves)
    log = list(member.steps)
    replayed = Member(RICH)
    for step in log:
        assert replayed.send(step.command, step.now).bytes == step.bytes  # from zero
        states.append(replayed.stored)
    assert states[-1] == member.stored
    start = data.draw(st.integers(0, len(log)), "the log is read again from")
    ahead = data.draw(st.integers(start, len(log)), "with the state of")
    crashed = Member(RICH)
    crashed.stored = states[ahead]
    for step in log[start:]:
        assert crashed.send(step.command, step.now).bytes == step.bytes
    assert crashed.stored == member.stored


def test_B02_the_log_of_a_receipt_replays_too() -> None:
    receipt = Receipt()
    receipt.sale(500, id="s1")
    receipt.ask(400)
    receipt.ask(500)
    receipt.wait(1).void("s1")
    receipt.ask(500, id="again")
    states = []
    replayed = Receipt()
    for step in receipt.steps:
        assert replayed.send(step.command, step.now).bytes == step.bytes
        states.append(replayed.stored)
    for state in states:
        crashed: Log = Receipt()
        crashed.stored = state
        assert [crashed.send(step.command, step.now).bytes for step in receipt.steps] == [step.bytes for step in receipt.steps]
        assert crashed.stored == receipt.stored


def test_B01_the_first_command_of_an_account_makes_it() -> None:
    member = Member()
    assert member.account == Account(key="H-1")
    step = member.join()
    assert step.types == ["OPT_IN"]
    assert step.events[0][0].sequence == 1
