"""`loy explain`: a member's points as a story, on a real system and line by line."""

import io
import re
from contextlib import asynccontextmanager

import orjson
import pytest
from aiokafka import TopicPartition
from rich.console import Console

from schemas.events import parse_event
from schemas.topics import EVENTS
from streams.explain import Step, Story, UnknownMemberError, explain
from streams.log import Record, Span, read_topic
from tests.builders import earning, program, rule
from tests.town import Town


def printed(renderable, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


def move(points, source, target, lot):
    return {"points": points, "source": source, "target": target, "lot": lot}


def step(number, kind, *moves, available=0, pending=0, debt=0, **fields):
    books = ("earned", "reversed", "adjusted", "used", "expired", "held")
    balance = dict.fromkeys(books, 0) | {"available": available, "pending": pending, "debt": debt, "earned": 12}
    data = {
        "cause": "c",
        "program": "main@1",
        "occurred_at": f"2026-03-0{number}T10:00:00Z",
        "postings": list(moves),
        "balance": balance,
        "profile": None,
    }
    return Step(f"loy.events/0/{number}", number, kind, "2026-03-02T10:00:00Z", data | fields)


AWARDS = [
    {"line": 1, "rule": "base", "points": 8, "remainder": 500_000},
    {"line": 2, "rule": "fresh-weeks", "points": 4, "remainder": 0},
]
STORY = Story(
    "M-1",
    (
        step(
            1,
            "LOY_POINT_ACCRUAL",
            move(12, "issued", "pending", 1),
            pending=12,
            check_id="s1",
            points=12,
            awards=AWARDS,
            cuts=[{"rule": "fresh", "points": 3, "by": "cap per check"}],
            held=False,
        ),
        step(2, "LOY_POINT_RELEASED", move(12, "pending", "available", 1), available=12, points=12),
        step(
            3, "LOY_POINT_ACCRUAL", move(5, "issued", "available", 2), available=17, check_id="s2", points=5, awards=[], cuts=[]
        ),
        step(4, "LOY_POINT_REVERSED", move(12, "available", "reversed", 1), available=5, check_id="r1", of="s1", points=12),
    ),
)


def test_the_account_is_told_event_by_event_with_postings_and_balance():
    told = printed(STORY.render())
    assert max(map(len, told.splitlines())) <= 80
    for shown in (
        "2026-03-01 10:00",
        "LOY_POINT_ACCRUAL",
        "check_id s1, points 12",
        "12 issued > pending (lot 1)",
        "12 pending ",
        "12 available > reversed (lot 1)",
        "earned 12, available 5",
    ):
        assert shown in told
    assert "False" not in told


def test_a_check_is_told_by_line_and_rule_with_what_was_cut_and_what_became_of_it():
    told = printed(STORY.render("s1"))
    assert "s1: 12 points by main@1" in told
    assert re.search(r"1 +│ base +│ 8 +│ 500000", told)
    assert re.search(r"2 +│ fresh-weeks +│ 4", told)
    assert re.search(r"│ fresh +│ -3 +│ cap per check", told)
    assert "What became of it (lot 1" in told
    assert "LOY_POINT_RELEASED" in told
    assert "check_id r1, of s1" in told
    assert "s2" not in told


def test_a_check_that_moved_nothing_says_so():
    assert "No event of M-1 names s9" in printed(STORY.render("s9"))


@pytest.fixture
async def accrual(history):
    """The first accrual on the log of the living system."""
    events = [parse_event(record.value)[0] async for record in read_topic(history[0].bootstrap, EVENTS.name)]
    return next(event for event in events if event.type == "LOY_POINT_ACCRUAL")


async def test_a_member_of_the_log_is_told_in_order_and_once(history, accrual):
    story = await explain(history[0].bootstrap, accrual.subject)
    assert [one.sequence for one in story.steps] == list(range(1, len(story.steps) + 1))
    assert story.steps[0].type == "LOY_OPT_IN"
    assert accrual.data in [one.data for one in story.steps]


def test_the_command_explains_a_member_and_a_check(history, accrual):
    system, *_ = history
    whole = system.loy("explain", accrual.subject)
    assert "LOY_POINT_ACCRUAL" in whole.stdout
    one = system.loy("explain", accrual.subject, accrual.data["check_id"])
    assert one.returncode == 0, one.stderr
    assert f"{accrual.data['check_id']}: {accrual.data['points']} points by main@1" in one.stdout
    assert f"{accrual.data['points']} issued > " in one.stdout


def lies(monkeypatch, *values):
    """A log of one partition with these values under one key."""
    records = [Record(EVENTS.name, 0, n, 0, b"H-1", value, ()) for n, value in enumerate(values)]

    class Memory:
        async def spans(self, _topic):
            return {TopicPartition(EVENTS.name, 0): Span(0, len(records))}

        async def read(self, _spans):
            yield records

    @asynccontextmanager
    async def opened(_bootstrap):
        yield Memory()

    monkeypatch.setattr("streams.explain.open_log", opened)


async def test_what_cannot_be_read_is_named_and_the_rest_is_told(monkeypatch):
    raws = [raw for step in Town(program()).member().steps for raw in step.raw_events]
    tomorrow = raws[0].replace(b'"LOY_OPT_IN"', b'"LOY_OF_TOMORROW"')
    lies(monkeypatch, b"{", *raws, None, tomorrow)
    story = await explain("nowhere", "H-1")
    assert [one.type for one in story.steps] == ["LOY_OPT_IN"]
    for shown in (printed(story.render()), printed(story.render("s1"))):
        assert re.findall(r"loy.events/0/(\d) cannot be read here", shown) == ["0", "2", "3"]


async def test_who_has_nothing_that_can_be_read_is_no_story_and_told_where_it_lies(monkeypatch):
    lies(monkeypatch, b"{")
    with pytest.raises(UnknownMemberError, match=r"under that key lie loy\.events/0/0"):
        await explain("nowhere", "H-1")


async def test_an_unknown_member_is_no_story(history):
    system, *_ = history
    with pytest.raises(UnknownMemberError, match="There is no event of H-0"):
        await explain(system.bootstrap, "H-0")
    assert system.loy("explain", "H-0").returncode == 2


def test_B10_what_a_cap_over_all_members_cut_is_told_with_its_check():
    cap = {"points": 40, "per": "day", "over": "program"}
    town = Town(program(earning=earning(rule("check_bonus", "bonus", points=25) | {"cap": cap})))
    for name in ("s1", "s2", "s3"):
        town.take(town.member().sale_command(1000, id=name))
        town.deliver()
    raws = (orjson.loads(raw) for step in town.member().steps for raw in step.raw_events)
    steps = tuple(Step("loy.events/0/0", raw["sequence"], raw["type"], raw["time"], raw["data"]) for raw in raws)
    partly, nothing = (printed(Story("H-1", steps).render(check)) for check in ("s2", "s3"))
    assert "s2: 10 points by main@1" in partly
    assert re.search(r"1 +│ bonus +│ 15 +│", partly)
    assert re.search(r"│ bonus +│ -10 +│ cap per day over all members", partly)
    assert re.search(r"│ bonus +│ -25 +│ cap per day over all members", nothing)
    assert "wanted 25" in nothing
