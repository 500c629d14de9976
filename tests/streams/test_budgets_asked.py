"""Budgets over all members, through the agents: who says what to whom, and who keeps silent (B10)."""

import pytest

from schemas.base import POINTS_MAX
from schemas.topics import CHECKS, COMMANDS, EVENTS, MEMBER_COMMANDS, REPLIES
from tests.builders import START, after, earning, program, rule
from tests.streams.agent_world import NOW_MS, AgentWorld, commands, letters, of, replies
from tests.tills import desk, opt_in, sale, void

CARD = "card:ABC123"
BONUS = rule("check_bonus", "bonus", points=30) | {"cap": {"points": 50, "per": "day", "over": "program"}}
RULES = program(earning=earning(BONUS))
LATER = program(version=2, effective_from=after(days=1).isoformat(), earning=earning())
KEY = "budget:main/bonus/2026-03-02"


def bought(receipt="s1"):
    return (CARD, sale(receipt, [1000], START, CARD))


def adjusted(id_, points):
    return ("H-1", desk("adjust", id_, "H-1", START, points=points, reason="why", actor="ann"))


@pytest.fixture
async def world():
    world = AgentWorld(RULES, LATER)
    await world.through(MEMBER_COMMANDS, ("H-1", opt_in("H-1", START, CARD)))
    return world


def said(sent):
    return [(one.key.decode(), one.json["type"], one.json["id"]) for one in of(sent, COMMANDS)]


async def test_B10_the_sale_answers_its_till_and_asks_and_the_budget_answers_the_member(world):
    sent = await world.through(CHECKS, bought())
    assert said(sent) == [("H-1", "sale", "s1"), (KEY, "ask_budget", "H-1~s1"), ("H-1", "grant", "s1~bonus")]
    assert [(reply.earned, reply.asked) for reply, _ in replies(sent)] == [(10, 30)]
    assert {one.timestamp_ms for one in of(sent, COMMANDS)} == {NOW_MS}
    assert [one.json["data"]["points"] for one in of(sent, EVENTS)] == [10, 30]
    assert world.account("H-1").books.available == 40


async def test_B10_each_step_that_is_read_again_says_the_same_bytes_again(world):
    first = await world.through(CHECKS, bought())
    for step in of(first, COMMANDS):
        again = await world.decide([step])
        assert {one.value for one in again} <= {one.value for one in first}
        assert (len(of(again, COMMANDS)), len(of(again, EVENTS))) == {"sale": (1, 1), "ask_budget": (1, 0), "grant": (0, 1)}[
            step.json["type"]
        ]
    assert world.account("H-1").books.available == 40


async def test_B10_a_till_that_sends_again_asks_nothing_again(world):
    first = await world.through(CHECKS, bought())
    again = await world.through(CHECKS, (*bought(), NOW_MS + 20 * 86_400_000))
    assert said(again) == [("H-1", "sale", "s1")]
    assert [one.value for one in of(again, REPLIES)] == [one.value for one in of(first, REPLIES)]


async def test_B10_a_record_read_again_under_a_later_version_asks_by_the_first_one(world):
    """A version is published while intake reads a record twice: the second command names the later one."""
    first = await world.take(CHECKS, bought())
    asked = await world.decide(first)
    (body,) = commands(first)
    later = (CARD, body | {"program": "main@2"})
    before = len(world.sent)
    await world.ledger_agent.handle(world.batch(COMMANDS, ("H-1", later[1])))
    assert of(world.sent[before:], COMMANDS)[0].value == of(asked, COMMANDS)[0].value


async def test_B10_a_void_under_a_version_without_the_cap_still_refills_the_budget(world):
    await world.through(CHECKS, bought())
    late = after(days=2)
    sent = await world.through(CHECKS, (CARD, void("v1", "s1", late, CARD), int(late.timestamp() * 1000)))
    assert said(sent)[-1] == (KEY, "return_budget", "H-1~v1")
    budget = world.account(KEY).budget
    assert budget is not None
    assert budget.granted == 0


async def test_B10_the_clock_and_the_totals_see_an_account_that_holds_nothing(world):
    await world.through(CHECKS, bought())
    due = next(due for _, key, due, _ in world.notes if key == KEY.encode())
    assert due == world.account(KEY).next_due > NOW_MS // 1000
    assert world.account(KEY).books.total() == 0


async def test_B10_a_check_that_asks_for_more_points_than_there_can_be_is_refused_and_the_line_goes_on():
    bonus = rule("multiplier", "bonus", percent=10_000) | {"cap": {"points": 50, "per": "day", "over": "program"}}
    world = AgentWorld(program(earning=earning(bonus, per_minor=1)))
    await world.through(MEMBER_COMMANDS, ("H-1", opt_in("H-1", START, CARD)))
    sent = await world.through(CHECKS, (CARD, sale("s1", [10**11], START, CARD)), (CARD, sale("s2", [100], START, CARD)))
    assert [(reply.code, reply.asked) for reply, _ in replies(sent)] == [("TOO_LARGE", None), ("OK", 9900)]
    assert world.account("H-1").books.available == 150


async def test_B10_what_an_account_has_no_room_for_is_the_budgets_again_and_the_next_grant_is_booked():
    world = AgentWorld(program(earning=earning(BONUS), limits={"adjust_points": POINTS_MAX}))
    await world.through(MEMBER_COMMANDS, ("H-1", opt_in("H-1", START, CARD)))
    await world.through(MEMBER_COMMANDS, adjusted("a1", POINTS_MAX - 30))
    sent = await world.through(CHECKS, bought())
    assert [one["type"] for one in commands(sent)] == ["sale", "ask_budget", "grant", "return_budget"]
    assert letters(sent) == []
    assert of(sent, EVENTS)[-1].json["data"]["cuts"] == [{"by": "more than an account can tell", "rule": "bonus", "points": 30}]
    assert world.account(KEY).budget.granted == 0
    assert [asked.wanted for asked in world.account("H-1").asked] == [0]
    await world.through(MEMBER_COMMANDS, adjusted("a2", -100))
    await world.through(CHECKS, bought("s2"))
    assert world.account(KEY).budget.granted == 30
    assert world.account("H-1").books.available == POINTS_MAX - 30 + 10 - 100 + 10 + 30


async def test_B10_what_a_release_would_make_too_large_is_refused_before_so_that_the_account_stands_still_never():
    """Pending and usable points could be told one by one, and not together: the clock would be refused ever after."""
    points = {"pending_days": 1}
    world = AgentWorld(program(earning=earning(per_minor=1), points=points, limits={"adjust_points": POINTS_MAX}))
    await world.through(MEMBER_COMMANDS, ("H-1", opt_in("H-1", START, CARD)))
    await world.through(MEMBER_COMMANDS, adjusted("a1", POINTS_MAX - 30))
    sent = await world.through(CHECKS, (CARD, sale("s1", [31], START, CARD)), (CARD, sale("s2", [30], START, CARD)))
    assert [reply.code for reply, _ in replies(sent)] == ["TOO_LARGE", "OK"]
