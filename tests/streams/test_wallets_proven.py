"""Wallets as `loy verify` and `loy explain` see them: from the events alone (B05)."""

import io

import msgspec
import orjson
import pytest
from rich.console import Console

from schemas.events import parse_event
from schemas.topics import CHECKS, COMMANDS, EVENTS, MEMBER_COMMANDS, REPLIES
from streams import metrics
from streams.explain import Step, Story
from streams.proof import Law
from tests.builders import START, Member, earning, line, program, rule
from tests.streams.agent_world import AgentWorld, events, replies
from tests.streams.written_topics import Topics
from tests.tills import desk, opt_in, sale

RULES = program(
    earning=earning(rule("line_bonus", "dish", points=5, wallet="stars", where={"categories": ["dish"]})),
    wallets=[{"id": "stars", "title": "Stars", "expiry": {"kind": "after_days", "days": 30}}],
    conversions=[{"wallet": "stars", "into": "main", "points": 10, "gives": 25}],
)


@pytest.fixture
def member():
    """Fifteen stars earned, ten of them converted; the sale comes back, so stars are owed; then some are earned and end."""
    member = Member(RULES).joined()
    member.sale(lines=[line(1000, quantity=3000, category="dish")])
    member.convert(10)
    member.void("s1")
    member.sale(lines=[line(1000, quantity=4000, category="dish")])
    member.wait(40).tick()
    member.adjust(5)
    return member


def told(member):
    """The topics after that life, and where the events of each type lie."""
    topics = Topics()
    for step in member.steps:
        key, command = member.key, step.command
        origin = topics.check(topic=CHECKS) if command.type in ("sale", "void") else ""
        topics.add(COMMANDS, key, {"id": command.id, "account": key, "type": command.type, "origin": origin})
        for raw in step.raw_events:
            topics.add(EVENTS, key, raw)
        if origin:
            topics.add(REPLIES, "o1", step.raw_reply, (("origin", origin), ("outcome", "applied")))
    return topics


def changed(topics, kind, change, nth=0):
    """One event written otherwise."""
    records = topics.records[EVENTS.name]
    at = [n for n, record in enumerate(records) if orjson.loads(record.value)["type"] == kind][nth]
    body = orjson.loads(records[at].value)
    change(body["data"])
    records[at] = msgspec.structs.replace(records[at], value=orjson.dumps(body))


def test_B05_a_life_with_wallets_is_proven_and_points_are_main_points(member):
    topics = told(member)
    assert topics.prove() is None
    figures = topics.proven.tally()
    assert figures.points["available"] == member.books.available
    assert figures.points["expired"] == 0, "stars that ended are no points"


@pytest.mark.parametrize(
    ("kind", "change", "law"),
    [
        ("LOY_WALLET_CHANGE", lambda data: data["postings"][0].update(points=14), Law.BALANCE),
        ("LOY_WALLET_CHANGE", lambda data: data.update(wallet="main"), Law.BALANCE),
        ("LOY_WALLET_CHANGE", lambda data: data.update(wallet="moons"), Law.BALANCE),
        ("LOY_WALLET_CHANGE", lambda data: data["wallets"]["stars"].update(available=16), Law.BALANCE),
        ("LOY_WALLET_CHANGE", lambda data: data["wallets"]["stars"].update(earned=16, available=16), Law.BALANCE),
        ("LOY_WALLET_CHANGE", lambda data: data["wallets"].clear(), Law.BALANCE),
        ("LOY_POINT_CONVERTED", lambda data: data.update(other="moons"), Law.CONSERVATION),
        ("LOY_POINT_CONVERTED", lambda data: data.update(points=10), Law.CONSERVATION),
        ("LOY_POINT_CONVERTED", lambda data: data["postings"][0].update(points=99), Law.NEGATIVE),
    ],
)
def test_B05_points_that_come_to_a_wallet_from_nowhere_are_found(member, kind, change, law):
    topics = told(member)
    changed(topics, kind, change)
    violation = topics.prove()
    assert violation is not None
    assert violation.law is law, violation


def test_B05_a_conversion_whose_second_entry_is_lost_is_found():
    member = Member(RULES).joined()
    member.sale(lines=[line(1000, quantity=3000, category="dish")])
    member.convert(10)
    topics = told(member)
    topics.records[EVENTS.name].pop()
    violation = topics.prove()
    assert violation is not None
    assert violation.law is Law.BALANCE, violation


def story(member):
    steps = []
    for step in member.steps:
        for raw in step.raw_events:
            event, _ = parse_event(raw)
            steps.append(Step("loy.events/0/0", event.sequence, event.type, event.time.isoformat(), event.data))
    return Story(member.key, tuple(steps))


def printed(renderable):
    console = Console(file=io.StringIO(), width=110)
    console.print(renderable)
    return " ".join(console.file.getvalue().split())


def test_B05_the_story_of_a_member_tells_every_wallet(member):
    whole = printed(story(member).render())
    assert "wallet stars, points -10, other main" in whole
    assert "stars: 10 debt" in whole or "stars: 0, 10 debt" in whole
    assert "stars: earned 35, reversed 15, used 10, expired 10" in whole


def test_B05_the_story_of_a_check_follows_its_lot_in_each_wallet(member):
    told_ = printed(story(member).render("s1"))
    assert "s1: 10 points by main@1" in told_
    assert "s1: 15 stars by main@1" in told_
    assert "lot 1, stars 1" in told_
    assert "10 available > used (lot 1)" in told_
    assert "25 issued > available" not in told_


async def test_B05_stars_come_through_the_doors_and_are_converted_and_no_metric_takes_them_for_points():
    def counted():
        return metrics.REGISTRY.get_sample_value("loy_points_total", {"source": "issued", "target": "available"}) or 0

    dish = line(1000, quantity=4000, category="dish")
    body = sale("s1", [1000], START, "card:ABC123") | {"lines": [dish]}
    world, before = AgentWorld(RULES), counted()
    await world.through(MEMBER_COMMANDS, ("H-1", opt_in("H-1", START, "card:ABC123")))
    sent = await world.through(CHECKS, ("card:ABC123", body))
    ((reply, outcome),) = replies(sent)
    assert (outcome, reply.earned, reply.wallets["stars"].available) == ("applied", 10, 20)
    assert counted() - before == 10
    wish = desk("convert_points", "c1", "H-1", START, wallet="stars", into="main", points=20)
    sent = await world.through(MEMBER_COMMANDS, ("H-1", wish))
    assert events(sent) == ["POINT_CONVERTED", "POINT_CONVERTED"]
    assert world.account("H-1").books.available == 60
    assert counted() - before == 60
