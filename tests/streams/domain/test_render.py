"""Outcomes printed: what the till shows, what the events carry, and the same bytes from the log."""

import re
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import EVENTS, dataschema
from streams.domain import render
from streams.domain.account import Applied
from streams.domain.outcome import outcome_of, pack_outcome, sale_of
from tests.builders import Member, Receipt, Step, after, basket, earning, level, program, rule, tiers
from tests.town import Town

RULES = program(
    earning=earning(
        rule("check_bonus", "hello", points=5, group="g", priority=1),
        rule("check_bonus", "world", points=9, group="g"),
        groups=[{"id": "g", "mode": "first"}],
        caps=[{"points": 200, "per": "check"}],
    ),
    points={"expiry": {"kind": "after_days", "days": 30}, "pending_days": 2},
    redemption={
        "points_per_minor": 2,
        "rewards": [
            {"id": "tea", "title": "Tea", "points": 50, "value_minor": 100},
            {"id": "mug", "title": "Mug", "points": 120, "value_minor": 300},
        ],
    },
    tiers=tiers(level("Gold", points=150), window={"kind": "lifetime"}),
    fraud={
        "critical": 500,
        "signals": [{"id": "fast", "kind": "velocity", "what": "checks", "hours": 1, "soft": 1, "weight": 50}],
    },
)


def shopper() -> Member:
    member = Member(RULES).joined(birthday="03-20")
    member.sale(9500)
    member.wait(3).tick()
    return member


def fields(step: Step) -> dict[str, Any]:
    assert step.raw_reply is not None
    return dict(orjson.loads(step.raw_reply))


# ---------------------------------------------------------------- A11: the reply


def test_A11_the_reply_says_all_a_till_may_show() -> None:
    member = shopper()
    reply = fields(member.sale(4500))
    assert reply == {
        "id": "s2",
        "status": "accepted",
        "code": "OK",
        "reasons": ["world: group g: hello goes before"],
        "outlet": "o1",
        "till": "1",
        "member": "H-1",
        "earned": 50,
        "burned": 0,
        "value_minor": 0,
        "hold_refund_minor": 0,
        "balance": {"available": 100, "pending": 50, "held": 0, "debt": 0},
        "tier": "Gold",
        "next_tier": None,
        "to_next_tier": None,
        "next_expiry": {"points": 100, "at": "2026-04-02T00:00:00Z"},
        "rewards": ["tea"],
        "hits": [],
        "offers": [],
        "receipt": [
            "Points from this receipt: 50",
            "Points to use: 100",
            "Points to come: 50",
            "Tier: Gold",
            "100 points end after 2026-04-01",
        ],
        "program": "main@1",
        "at": "2026-03-05T10:00:00Z",
    }


def test_A11_hits_reasons_and_the_way_to_the_next_tier_are_told() -> None:
    member = Member(RULES).joined()
    member.sale(100)
    reply = fields(member.sale(30_000))
    assert reply["hits"] == [{"signal": "fast", "weight": 50, "value": 2, "limit": 1}]
    assert reply["reasons"] == ["world: group g: hello goes before", "cap per check"]
    member = Member(RULES).joined()
    assert (fields(member.sale(1000))["next_tier"], fields(member.sale(1000))["to_next_tier"]) == ("Gold", 120)


def test_A11_a_redemption_a_return_and_a_debt_are_told() -> None:
    member = shopper()
    assert fields(member.reserve("R", 90))["value_minor"] == 45
    confirmed = fields(member.confirm("R", 80))
    assert (confirmed["burned"], confirmed["value_minor"], confirmed["receipt"][:2]) == (
        80,
        40,
        ["Points used: 80", "Points to use: 20"],
    )
    back = fields(member.void("s1"))
    assert (back["earned"], back["balance"]) == (-100, {"available": 0, "pending": 0, "held": 0, "debt": 80})
    assert back["receipt"][:3] == ["Points from this receipt: -100", "Points to use: 0", "Points owed: 80"]


def test_A11_the_desk_is_answered_at_its_own_outlet_and_the_clock_not_at_all() -> None:
    member = Member(RULES)
    joined = member.join()
    assert (joined.reply.outlet, joined.reply.till, joined.reply.id) == (render.DESK, None, "join1")  # type: ignore[union-attr]
    assert member.tick().raw_reply is None
    assert render.reply(joined.command, joined.outcome, member.plan) == (render.DESK, joined.raw_reply)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["sale", "void", "pay", "return"]), st.integers(0, 10**9), st.integers(0, 20)), max_size=8)
)
def test_A11_receipt_lines_are_short_and_ascii_whatever_happens(moves: list[tuple[str, int, int]]) -> None:
    member = Member(RULES).joined()
    for number, (kind, amount, days) in enumerate(moves):
        member.wait(days)
        match kind:
            case "sale":
                member.sale(amount, id=f"x{number}")
            case "void":
                member.void(f"x{number - 1}")
            case "pay":
                member.pay(1 + amount % 99, f"x{number + 1}")
            case "return":
                member.returns(f"x{number - 1}", (1, 500, amount))
    for step in member.steps:
        assert step.reply is not None
        assert len(step.reply.receipt) <= 12
        assert all(re.fullmatch(r"[ -~]{1,40}", printed) for printed in step.reply.receipt)


def test_A11_reply_and_events_are_printed_from_the_log_alone() -> None:
    """From the command and the stored outcome, whatever became of the account since."""
    member = shopper()
    step = member.sale(4500)
    member.wait(9).sale(90_000)
    member.void("s2")
    applied: Applied = next(known for known in member.account.applied if known.id == "s2")
    stored = outcome_of(applied)
    assert tuple(render.events(step.command, stored, member.plan)) == step.raw_events
    assert render.reply(step.command, stored, member.plan) == ("o1", step.raw_reply)
    assert pack_outcome(stored) == applied.outcome
    assert sale_of(applied) == step.outcome.sale


# ---------------------------------------------------------------- events


def test_B02_the_event_id_derives_from_its_cause_and_the_sequence_counts_without_a_gap() -> None:
    member = Member(RULES).joined()
    step = member.sale(15_000)
    assert step.types == ["POINT_ACCRUAL", "POINT_PENDING", "TIER_UPGRADE"]
    envelopes = [event for event, _ in step.events]
    assert [event.id for event in envelopes] == ["H-1/s1/2", "H-1/s1/3", "H-1/s1/4"]
    assert [event.sequence for event in envelopes] == [2, 3, 4]
    assert {event.time for event in envelopes} == {member.clock}
    assert [event.dataschema for event in envelopes] == [dataschema(event.type) for event in envelopes]


def test_B09_every_event_carries_the_29_fields_less_the_six_personal_ones() -> None:
    member = shopper()
    (_, data), *_ = member.sale(4500).events
    assert data.profile.model_dump(mode="json") == {
        "loyalty_id": "H-1",
        "active_status": True,
        "loyalty_anniversary_date": "2026-03-02",
        "opt_in_status": True,
        "opt_in_date": "2026-03-02",
        "available_points": 100,
        "earned_points": 150,
        "used_points": 0,
        "hold_points": 50,
        "next_expiring_points": 100,
        "points_expiration_date": "2026-04-01",
        "expired_points": 0,
        "current_tier": "Gold",
        "next_tier": None,
        "points_req_for_next_tier": None,
        "tier_achieve_date": "2026-03-05",
        "available_rewards": ["tea"],
        "points_req_for_next_reward": 20,
        "highest_available_reward": "tea",
        "first_loyalty_activity_date": "2026-03-02",
        "last_loyalty_activity_date": "2026-03-05",
        "first_purchase_date": "2026-03-02",
        "last_purchase_date": "2026-03-05",
    }


def test_B09_the_member_is_inactive_after_the_programs_active_days() -> None:
    rules = program(limits={"active_days": 30}, points={"expiry": {"kind": "after_days", "days": 60}})
    member = Member(rules).joined()
    member.sale(1000)
    assert member.wait(31).update().reply is not None
    expired = member.wait(40).tick().data("POINT_EXPIRED")
    assert expired.profile.active_status is False
    assert member.sale(1000).data("POINT_ACCRUAL").profile.active_status is True


def test_B09_the_account_of_a_receipt_has_no_profile_and_no_member() -> None:
    step = Receipt(RULES).sale(1000, id="s1")
    assert (step.outcome.balance, step.outcome.profile, step.outcome.facts) == (None, None, ())


def test_B01_every_event_type_the_domain_tells_is_in_the_catalogue_and_reads_back() -> None:
    """`Member` parses each event with its own model; here they are all told at least once."""
    lively = program(
        earning=earning(),
        points={"expiry": {"kind": "after_days", "days": 400}, "notice_days": 5, "pending_days": 1},
        tiers=tiers(level("Gold", points=100), close={"percent": 50}, warning_days=20, valid="end_of_period"),
        fraud={
            "critical": 100,
            "signals": [{"id": "big", "kind": "velocity", "what": "points", "hours": 1, "soft": 900, "weight": 100}],
        },
    )
    member = Member(lively).joined(birthday="07-07")
    member.sale(6000)
    member.wait(2).sale(6000)
    member.void("s2")
    member.sale(6000)
    member.adjust(20)
    member.wait(2).reserve("R", 50)
    member.confirm("R", 40, check_id="s4")
    member.sale(4000)
    member.void("s4")
    member.void("s9")
    member.sale(99_000)
    member.review("s5", "confiscate")
    member.set_tier("Gold")
    member.wait(1500).tick()
    member.leave()
    told = {event.type for event, _ in member.events}
    seldom = {"LOY_TIER_DOWNGRADE", "LOY_TIER_DOWNGRADE_WARNING"}  # the tier set by hand above has no end
    lapsing = Member(lively).joined()
    lapsing.sale(20_000)
    lapsing.wait(800).tick()
    told |= {event.type for event, _ in lapsing.events} & seldom
    starry = Member(
        program(
            earning=earning(rule("check_bonus", points=5, wallet="stars")),
            wallets=[{"id": "stars", "title": "Stars"}],
            conversions=[{"wallet": "stars", "into": "main", "points": 5, "gives": 1}],
        )
    ).joined()
    starry.sale(100)
    starry.convert(5)
    starry.answer("spring")
    told |= {event.type for event, _ in starry.events}
    town = Town(program(earning=earning(rule("check_bonus", points=5) | {"cap": {"points": 0, "per": "day", "over": "program"}})))
    town.take(town.member().sale_command(100))
    town.deliver()
    told |= {event.type for event, _ in town.member().events}
    assert told == set(EVENTS)


@pytest.mark.parametrize("lines", [1, 300])
def test_B02_many_lines_give_one_event(lines: int) -> None:
    step = Member(RULES, clock=after(1)).joined().sale(lines=basket(*[60] * lines))
    assert len(step.all("POINT_ACCRUAL")) == 1
    assert sum(found.points for found in step.data("POINT_ACCRUAL").awards) == step.outcome.earned
