"""What processes log: one JSON object a line with check and trace, and nothing personal whatever came in."""

import io
import logging

import orjson
import pytest

from schemas.topics import CHECKS, MEMBER_COMMANDS, REDEMPTIONS
from streams.metrics import measuring
from streams.tracing import journal
from tests.builders import START, earning, program
from tests.streams.agent_world import NOW_MS, AgentWorld
from tests.streams.traced_world import CARD, PARENT, TRACE, switch_on
from tests.tills import opt_in, request, sale

EMAIL, PHONE = "ann.lee@example.com", "+15551234567"
PERSONAL = ("ABC123", "ann", "5551234567", "Lee", "H-1")


@pytest.fixture(params=["json", "text"])
def form(request):
    return request.param


@pytest.fixture
def said(form):
    """Everything that our own loggers say meanwhile, in that form."""
    out, logger = io.StringIO(), logging.getLogger("streams")
    handler = logging.StreamHandler(out)
    handler.setFormatter(journal.formatter(form))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lambda: out.getvalue().splitlines()
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
async def world():
    world = AgentWorld(program(earning=earning()))
    await world.through(MEMBER_COMMANDS, ("H-1", opt_in("H-1", START, CARD, f"email:{EMAIL}")))
    return world


async def test_what_is_turned_away_is_said_with_check_trace_and_code(world, said, form, monkeypatch):
    switch_on(monkeypatch)
    points = request("reserve", "q1", "R1", START, CARD, points=10_000)
    await world.through(REDEMPTIONS, (CARD, points, NOW_MS, (PARENT,)))
    await world.through(CHECKS, (CARD, b"{", NOW_MS, (PARENT,)))
    if form == "text":
        refused, letter = (line.split(": ", 1)[1] for line in said())
        assert refused.startswith(
            f"refused: INSUFFICIENT_POINTS [check_id=q1 trace_id={TRACE} stage=ledger origin=pos.redemptions/3/"
        )
        assert letter.startswith(f"kept as a dead letter: NOT_JSON [trace_id={TRACE} stage=pos.checks origin=pos.checks/3/")
        return
    refused, letter = map(orjson.loads, said())
    assert refused.pop("origin").startswith("pos.redemptions/3/")
    assert refused.pop("timestamp").endswith("Z")
    assert refused == {
        "level": "INFO",
        "logger": "streams.tracing.journal",
        "message": "refused: INSUFFICIENT_POINTS",
        "check_id": "q1",
        "trace_id": TRACE,
        "code": "INSUFFICIENT_POINTS",
        "stage": "ledger",
    }
    assert (letter["code"], letter["trace_id"], "check_id" in letter) == ("NOT_JSON", TRACE, False)


async def test_nothing_personal_is_ever_said(world, said):
    """Whatever a till puts where, accepted, refused, malformed or malicious."""
    strange = [
        sale(EMAIL, [100], START, f"email:{EMAIL}"),
        sale(PHONE, [100], START, f"phone:{PHONE}"),
        {**sale("s1", [100], START, CARD), "customer": "Ann Lee", EMAIL: 1},
        {**sale("s2", [100], START, CARD), "check_id": f"Ann Lee {PHONE}"},
        {**sale("s4", [100], START, CARD), "check_id": PHONE.removeprefix("+"), "tenders": []},
        {**sale("s3", [100], START, CARD), "member": EMAIL, "check_id": {"Ann": "Lee"}},
        {"type": EMAIL, "data": {"cause": EMAIL}},
        [EMAIL],
    ]
    for value in strange:
        await world.through(CHECKS, (EMAIL, value if isinstance(value, dict) else orjson.dumps(value)))
    unknown = request("reserve", EMAIL.replace("@", "+"), "R1", START, f"email:x{EMAIL}", points=10)
    await world.through(
        REDEMPTIONS, (f"email:x{EMAIL}", unknown), (CARD, request("reserve", "q1", "R1", START, CARD, points=999))
    )
    twice = opt_in("H-2", START, f"email:{EMAIL}")
    await world.through(MEMBER_COMMANDS, ("H-2", twice), (EMAIL, b"Ann Lee"), (PHONE, None))
    text = "\n".join(said())
    assert text.count("dead letter") >= 7
    assert [word for word in PERSONAL if word.casefold() in text.casefold()] == []


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"check_id": "s1", "type": "sale"}, "s1"),
        ({"request_id": "q1", "check_id": "s1"}, "q1"),
        ({"command_id": "c1", "check_id": "s1"}, "c1"),
        ({"outlet": "B-1", "till": "2", "business_date": "2026-03-14", "receipt": "77"}, "B-1/2/20260314/77"),
        ({"id": "s1", "type": "sale", "check": {}}, "s1"),
        ({"id": "H-1/LOY/1", "data": {"cause": "s1"}}, "s1"),
        ({"outlet": "17", "till": "3", "business_date": "2026-11-22", "receipt": "000482"}, "17/3/20261122/000482"),
        ({"check_id": "17/3/20261122/000482"}, "17/3/20261122/000482"),
        ({"check_id": "00482"}, "00482"),
        ({"check_id": 5}, None),
        ({"check_id": "a" * 200}, None),
        ({}, None),
        ([], None),
    ],
)
def test_a_record_is_named_by_the_check_it_is_of(value, name):
    assert journal.named(orjson.dumps(value)) == name


@pytest.mark.parametrize(
    "name",
    ["5551234567", "15551234567", "555-123-4567", "001.555.123.4567", "0171/1234567", "4012888888881881", "123456",
     "phone:15551234567", "card:4012888888881881", "loyalty:H-1", "1/555/1234567/1"],
)  # fmt: skip
@pytest.mark.parametrize("field", ["check_id", "request_id", "command_id", "id"])
def test_an_id_that_may_be_a_phone_number_or_a_card_stays_unsaid(name, field):
    assert journal.named(orjson.dumps({field: name})) is None


def test_what_cannot_be_read_has_no_name():
    assert journal.named(b"\xff") is None
    assert journal.named(None) is None


def test_an_error_is_one_line_with_its_traceback_and_the_trace_it_happened_in(monkeypatch):
    monkeypatch.setattr(measuring, "current_trace", lambda: TRACE)
    try:
        int("why")
    except ValueError as error:
        record = logging.LogRecord(
            "streams.x", logging.ERROR, "", 0, "it %s", ("failed",), (ValueError, error, error.__traceback__)
        )
    line = orjson.loads(journal.formatter("json").format(record))
    assert (line["level"], line["message"], line["trace_id"]) == ("ERROR", "it failed", TRACE)
    assert line["exception"].startswith("Traceback (most recent call last)")
    assert line["exception"].endswith("base 10: 'why'")


def test_what_the_clock_caused_stays_unsaid_because_it_names_its_member():
    assert journal.named(b'{"data":{"cause":"s1"}}') == "s1"
    assert journal.named(b'{"data":{"cause":"tick:H-1:1795385045"}}') is None
    assert journal.named(b'{"type":"tick","id":"tick:H-1:1795385045"}') is None
