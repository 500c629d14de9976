"""A sink's worker on a real broker: from the topics to the vendor, through crashes and outages. Infobip stands for all."""

import asyncio
from collections import Counter

import pytest

from connectors import registry
from streams import sink_tools
from tests.connectors.line import Line, until

pytestmark = pytest.mark.timeout(180)
MEMBERS = [f"H-{n}" for n in range(1, 9)]


@pytest.fixture
async def line(kafka, tmp_path, ground_of):
    async with Line(kafka.bootstrap, tmp_path, await ground_of("infobip")).running() as line:
        yield line


def sent_ids(line):
    """How often each event id was sent, whatever became of the request."""
    bodies = [one.json() for one in line.ground.sandbox.requests("POST /people/3/events")]
    return Counter(event["eventId"] for body in bodies for event in body)


async def test_profiles_are_coalesced_and_events_keep_their_order(line):
    await line.worker().start().ready()
    for member in MEMBERS:
        await line.member(member)
    records = [line.event(member, available_points=points) for points in range(40) for member in MEMBERS]
    ids = await line.write(*records)
    sandbox = line.ground.sandbox
    await until(lambda: len(sandbox.events()) == len(records), "all events")
    for number, member in enumerate(MEMBERS):
        assert line.ground.keys(member) == ids[number :: len(MEMBERS)]
        assert sandbox.people()[member]["loyalty_available_points"] == 39
        assert sandbox.people()[member]["emails"] == [f"{member.lower()}@example.com"]
    persons = sum(len(one.json()["persons"]) for one in sandbox.requests("PATCH /people/3/persons/upsert"))
    assert persons < len(records) / 2
    assert set(sent_ids(line).values()) == {1}


async def test_a_worker_killed_while_the_vendor_works_loses_nothing(line):
    worker = await line.worker().start().ready()
    await asyncio.gather(*(line.member(member) for member in MEMBERS))
    sandbox = line.ground.sandbox
    sandbox.fault(kind="slow", seconds=1.5, path="/people/3/events")
    ids = await line.write(*(line.event(member) for _ in range(20) for member in MEMBERS))
    await until(lambda: not sandbox.faults, "the batch is on its way")
    await worker.kill()
    await line.worker("again").start().ready()
    await until(lambda: {seen.key for seen in sandbox.events()} == set(ids), "all events")
    for number, member in enumerate(MEMBERS):
        assert line.ground.keys(member) == ids[number :: len(MEMBERS)]


async def test_history_is_shown_but_never_told(line):
    await line.member("H-1")
    await line.happens("H-1", "LOY_OPT_IN", "LOY_POINT_ACCRUAL", available_points=70)
    worker = await line.worker().start().ready()
    sandbox = line.ground.sandbox
    await until(lambda: "H-1" in sandbox.people() and sandbox.people()["H-1"]["tags"] == ["Loyalty"], "the profile and the tag")
    assert sandbox.people()["H-1"]["loyalty_available_points"] == 70
    told = await line.happens("H-1", "LOY_TIER_UPGRADE")
    await until(sandbox.events, "the event of now")
    assert line.ground.keys() == told
    assert (await worker.metrics())['loy_sink_items_total{outcome="skipped",sink="infobip"}'] == 2


async def test_a_worker_without_its_local_state_tells_nothing_again(line):
    worker = await line.worker().start().ready()
    ids = await line.happens("H-1", "LOY_OPT_IN", "LOY_POINT_ACCRUAL")
    await until(lambda: line.ground.keys() == ids, "both events")
    assert await worker.stop() == 0
    await line.worker("elsewhere").start().ready()
    more = await line.happens("H-1", "LOY_POINT_ACCRUAL")
    await until(lambda: line.ground.keys() == ids + more, "the third event")
    assert set(sent_ids(line).values()) == {1}


async def test_an_event_that_comes_twice_is_sent_once(line):
    await line.worker().start().ready()
    first, second = line.event("H-1"), line.event("H-1")
    await line.write(first, first)
    await until(line.ground.keys, "the first event")
    await line.write(first, second, first)
    await until(lambda: len(line.ground.keys()) == 2, "the second event")
    assert sent_ids(line) == {first[2]: 1, second[2]: 1}


async def test_an_erased_member_is_cleared_and_nothing_more_is_told(line):
    await line.worker().start().ready()
    sandbox = line.ground.sandbox
    for member in ("H-1", "H-2"):
        await line.member(member)
        await line.happens(member, "LOY_OPT_IN")
    await until(lambda: len(sandbox.events()) == 2 and "firstName" in sandbox.people().get("H-1", {}), "both members, whole")
    await line.erased("H-1")
    await until(lambda: sandbox.people()["H-1"]["tags"] == [], "the erasure")
    assert "firstName" not in sandbox.people()["H-1"]
    assert "loyalty_available_points" not in sandbox.people()["H-1"]
    await line.happens("H-1", "LOY_POINT_EXPIRED")
    told = await line.happens("H-2", "LOY_POINT_EXPIRED")
    await until(lambda: told[0] in line.ground.keys("H-2"), "the other member's event")
    assert "loyalty_available_points" not in sandbox.people()["H-1"]
    assert len(line.ground.keys("H-1")) == 1
    rejoined = await line.happens("H-1", "LOY_OPT_IN")
    await until(lambda: rejoined[0] in line.ground.keys("H-1"), "the member is back")
    assert sandbox.people()["H-1"]["tags"] == ["Loyalty"]


async def test_a_vendor_down_for_a_while_gets_everything_later(line):
    await line.worker().start().ready()
    sandbox = line.ground.sandbox
    before = await line.happens("H-1", "LOY_OPT_IN")
    await until(lambda: line.ground.keys() == before, "the first event")
    sandbox.fault(kind="status", status=503, count=100_000)
    ids = []
    for _ in range(10):
        ids += await line.write(*(line.event(member) for member in MEMBERS))
    await until(lambda: sum(n for (_, status), n in sandbox.answers.items() if status == 503) >= 4, "some attempts in vain")
    assert line.ground.keys() == before
    sandbox.fault(kind="clear")
    await until(lambda: len(line.ground.keys()) == len(ids) + 1, "all events")
    for number, member in enumerate(MEMBERS):
        assert [key for key in line.ground.keys(member) if key not in before] == ids[number :: len(MEMBERS)]


async def test_a_worker_stops_and_another_takes_over_while_the_vendor_is_down(line):
    first = await line.worker("first").start().ready()
    sandbox = line.ground.sandbox
    sandbox.fault(kind="status", status=503, count=100_000)
    ids = await line.write(*(line.event(member) for member in MEMBERS))
    await until(lambda: sandbox.answers, "an attempt in vain")
    second = await line.worker("second").start().ready()
    assert await first.stop() == 0
    sandbox.fault(kind="clear")
    await until(lambda: {seen.key for seen in sandbox.events()} == set(ids), "all events")
    assert second.running


async def test_what_the_vendor_refuses_is_a_dead_letter_with_its_words(line):
    await line.worker().start().ready()
    sandbox = line.ground.sandbox
    await line.happens("H-1", "LOY_OPT_IN")
    await until(line.ground.keys, "the first event")
    bad = line.event("H-1")
    sandbox.fault(kind="reject", match=bad[2])
    good = line.event("H-1")
    await line.write(bad, good)
    await until(lambda: good[2] in line.ground.keys("H-1"), "the event after it")
    (letter,) = await line.letters(1)
    headers = {name: value.decode() for name, value in letter.headers}
    assert headers["code"] == "VENDOR_REJECTED"
    assert headers["stage"] == "sink-infobip"
    assert headers["reason"].startswith("400504: ")
    assert (letter.key, letter.value) == bad[:2]


async def test_J07_of_a_refused_profile_the_replay_tells_the_profile_and_of_no_event(line, tmp_path):
    await line.worker().start().ready()
    sandbox = line.ground.sandbox
    sandbox.fault(kind="reject", match="Platinum")
    await line.happens("H-1", "LOY_POINT_RESERVED", current_tier="Platinum")  # Infobip is not told of such
    await line.letters(1)
    sandbox.fault(kind="clear")
    sink = registry.build("infobip", line.ground.bench.environment(line.ground.url))
    assert await sink_tools.replay_rejected(line.bootstrap, sink, tmp_path / "done") == (1, [])
    assert sandbox.people()["H-1"]["loyalty_current_tier"] == "Platinum"
    assert sandbox.events() == []


async def test_a_record_that_is_none_is_a_dead_letter_and_the_rest_goes_on(line):
    await line.worker().start().ready()
    await line.producer.send_and_wait("loy.events", b"not json", b"H-1")
    await line.producer.send_and_wait("loy.members", b'{"loyalty_id": 7}', b"H-1")
    await line.producer.send_and_wait("loy.events", line.event("H-9")[1], b"\xff")
    ids = await line.happens("H-1", "LOY_OPT_IN")
    await until(lambda: line.ground.keys() == ids, "the event after it")
    letters = await line.letters(3)
    assert {dict(letter.headers)["code"] for letter in letters} == {b"SCHEMA"}
