"""The lane of late checks: what goes aside, what it is when its turn comes, and what is measured of it."""

import time

import orjson
import pytest

from schemas.topics import BACKLOG, CHECKS, COMMANDS, DEAD_LETTERS, REDEMPTIONS, REPLIES
from streams import metrics
from streams.backlog import Lane
from streams.domain.lateness import is_late, purchased_ms
from streams.log import came_from
from streams.runtime import Batch, Record
from streams.settings import Settings
from tests.builders import START
from tests.streams.agent_world import NOW_MS, PARTITION, AgentWorld, FakeOutbox
from tests.tills import sale

MINUTE = 60_000


def raw(receipt, **parts):
    return orjson.dumps(sale(receipt, [100], START, **parts))


class LaneWorld(AgentWorld):
    """The agents with the lane around intake; `turn` takes what lies in it."""

    def __init__(self, minutes=10.0):
        super().__init__()
        self.lane = Lane(self.intake_agent.handle, lambda: FakeOutbox(self), minutes)

    async def arrive(self, *records):
        before = len(self.sent)
        await self.lane.at_door(self.batch(CHECKS, *records))
        return self.sent[before:]

    async def turn(self, aside):
        before = len(self.sent)
        records = [Record(one.key, one.value, one.timestamp_ms, one.headers, at) for at, one in enumerate(aside)]
        await self.lane.in_turn(Batch(BACKLOG.name, PARTITION, records))
        return self.sent[before:]


def of(topic, sent):
    return [one for one in sent if one.topic == topic.name]


# ---------------------------------------------------------------- a glance


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-22T17:04:05-05:00", 1795385045),
        ("2026-11-22T22:04:05Z", 1795385045),
        ("2026-11-22T22:04:05.250+00:00", 1795385045.25),
    ],
)
@pytest.mark.parametrize("spelling", ['{"type":"sale","at":"%s"}', '{ "at" : "%s", "x": 1}', '{"a":"\\"at\\":","at":"%s"}'])
def test_a_glance_finds_the_purchase_time_however_it_is_spelled(text, seconds, spelling):
    assert purchased_ms((spelling % text).encode()) == seconds * 1000


@pytest.mark.parametrize(
    "value",
    [
        None, b"", b"{", b'{"at":1}', b'{"at":"yesterday, about noon"}', b'{"at":"2026-11-22T17:04:05"}',
        b'{"at":"2026-13-22T17:04:05Z"}', b'{"\\u0061t":"2026-11-22T17:04:05Z"}',
        b'{"at":"2026-11-22T17:04:05Z"}' + b" " * 750_000, b"\xff\xfe" * 50,
    ],
)  # fmt: skip
def test_where_a_glance_sees_nothing_the_record_is_taken_at_once(value):
    assert purchased_ms(value) is None
    assert not is_late(value, NOW_MS, 0)


def test_late_is_what_was_bought_longer_ago_than_patience_when_it_arrived():
    check = b'{"at":"1970-01-01T00:10:00Z"}'
    assert not is_late(check, 20 * MINUTE, 10 * MINUTE)
    assert is_late(check, 20 * MINUTE + 1, 10 * MINUTE)
    assert not is_late(check, 0, 10 * MINUTE), "a record without a Kafka time, and one from the future"


# ---------------------------------------------------------------- aside, and in turn


async def test_a_late_check_goes_aside_as_it_came_and_others_are_taken():
    world = LaneWorld()
    late, live = raw("late"), raw("live")
    at_ms = NOW_MS + 11 * MINUTE
    sent = await world.arrive((b"", late, at_ms, (("sent-at", b"5"), ("of", b"theirs"))), (b"", live, NOW_MS))
    (aside,) = of(BACKLOG, sent)
    assert (aside.key, aside.value, aside.timestamp_ms, aside.partition) == (b"", late, at_ms, PARTITION)
    assert aside.headers == (("sent-at", b"5"), ("of", b"theirs"), ("aside-from", f"pos.checks/{PARTITION}/0".encode()))
    assert [one.json["id"] for one in of(COMMANDS, sent)] == ["live"]


async def test_in_its_turn_it_becomes_the_very_bytes_that_it_would_have_been_at_the_door():
    records = [
        (b"", raw("good"), NOW_MS + 11 * MINUTE, ()),
        (b"", raw("bad", tenders=[]), NOW_MS + 12 * MINUTE, ()),
        (b"", b'{"at":"2001-01-01T00:00:00Z","type":"sale"', NOW_MS, ()),
    ]
    at_once, by_lane = LaneWorld(None), LaneWorld()
    expected = await at_once.arrive(*records)
    expected += await at_once.decide(expected)
    aside = await by_lane.arrive(*records)
    assert len(of(BACKLOG, aside)) == len(aside) == 3
    taken = await by_lane.turn(aside)
    taken += await by_lane.decide(taken)

    def said(sent):
        untold = {"turn-at", "written-at"}
        return [(one.topic, one.key, one.value, one.timestamp_ms, [h for h in one.headers if h[0] not in untold]) for one in sent]

    assert said(taken) == said(expected)
    assert {one.topic for one in taken} >= {COMMANDS.name, REPLIES.name, DEAD_LETTERS.name}
    assert {one.header("origin") for one in of(REPLIES, taken) + of(DEAD_LETTERS, taken)} == {
        f"pos.checks/{PARTITION}/{n}" for n in range(3)
    }


async def test_without_patience_nothing_goes_aside_and_what_did_before_still_gets_its_turn():
    record = (b"", raw("old"), NOW_MS + 11 * MINUTE, ())
    aside = await LaneWorld().arrive(record)
    world = LaneWorld(None)
    assert not of(BACKLOG, await world.arrive(record))
    assert [one.json["id"] for one in of(COMMANDS, await world.turn(aside))] == ["old"]


def test_history_is_never_late():
    assert Settings.load({}).patience_minutes == 10
    assert Settings.load({"LOY_BACKLOG_MINUTES": "2.5"}).patience_minutes == 2.5
    assert Settings.load({"LOY_BACKLOG_MINUTES": "off"}).patience_minutes is None
    assert Settings.load({"LOY_CLOCK": "stream"}).patience_minutes is None
    assert Settings.load({"LOY_CLOCK": "stream", "LOY_BACKLOG_MINUTES": "10"}).patience_minutes == 10, "unless it is asked for"


@pytest.mark.parametrize("more", [{"key": b"k" * 11_950_000}, {"headers": (("x", b"x" * 11_950_000),)}])
async def test_a_late_record_that_is_too_large_for_the_lane_is_taken_at_once(more):
    world = LaneWorld()
    record = Record(b"o1", raw("s1"), NOW_MS + 60 * MINUTE, (), 0)._replace(**more)
    await world.lane.at_door(Batch(CHECKS.name, PARTITION, [record]))
    assert of(BACKLOG, world.sent) == []
    assert of(COMMANDS, world.sent) or of(DEAD_LETTERS, world.sent)


@pytest.mark.parametrize(
    "headers",
    [(), (("aside-from", b"here"),), (("aside-from", b"pos.checks/1/2"), ("more", b"")), (("aside-from", b"loy.events/1/2"),)],
)
async def test_a_record_in_the_lane_that_intake_did_not_put_there_is_kept_and_the_others_are_taken(headers):
    world = LaneWorld()
    foreign = Record(b"", raw("s1"), NOW_MS, headers, 0)
    own = Record(b"", raw("s2"), NOW_MS, (("aside-from", b"pos.checks/3/7"),), 1)
    assert came_from(headers) is None
    await world.lane.in_turn(Batch(BACKLOG.name, PARTITION, [foreign, own]))
    assert len(of(DEAD_LETTERS, world.sent)) == 1
    assert len(of(COMMANDS, world.sent)) == 1


# ---------------------------------------------------------------- what is measured


def counts():
    names = ("loy_answer_seconds_count", "loy_answer_seconds_sum")
    doors = {
        door: [metrics.REGISTRY.get_sample_value(name, {"door": door}) or 0 for name in names] for door in ("check", "backlog")
    }
    events = {at: metrics.REGISTRY.get_sample_value("loy_event_seconds_count", {"since": at}) or 0 for at in ("till", "backlog")}
    return doors, events


async def test_a_late_check_is_counted_apart_by_how_long_its_till_really_waited():
    world, sent_at = LaneWorld(), str(time.time_ns() // 1_000_000 - 90_000).encode()
    doors, events = counts()
    aside = await world.arrive((b"", raw("slow"), NOW_MS + 11 * MINUTE, (("sent-at", sent_at),)))
    ages = metrics.REGISTRY.get_sample_value("loy_record_seconds_sum", {"stage": "ledger"}) or 0
    await world.decide(await world.turn(aside))
    after, events_after = counts()
    assert after["check"] == doors["check"]
    assert after["backlog"][0] == doors["backlog"][0] + 1
    assert after["backlog"][1] - doors["backlog"][1] == pytest.approx(90, abs=5)
    assert events_after["till"] == events["till"]
    since_turn = metrics.REGISTRY.get_sample_value("loy_record_seconds_sum", {"stage": "ledger"}) - ages
    assert since_turn == pytest.approx(0, abs=5), "a stage is as quick as it was since the turn came"


@pytest.mark.parametrize("turn", [b"%d", b"9", b"", b"soon"])
async def test_a_till_that_says_it_was_in_the_lane_is_measured_as_any_other(turn):
    world, turn = LaneWorld(), turn.replace(b"%d", b"%d" % (time.time_ns() // 1_000_000))
    forged = (("turn-at", turn), ("sent-at", b"%d" % (time.time_ns() // 1_000_000 - 90_000)), ("turn-at", turn))
    doors, _ = counts()
    sent = await world.arrive((b"", raw("s1"), NOW_MS, forged), (b"", raw("s2"), NOW_MS))
    sent += await world.decide(sent)
    after, _ = counts()
    assert after["check"][0] == doors["check"][0] + 2
    assert after["backlog"] == doors["backlog"]
    assert not any(name == "turn-at" for one in sent for name, _ in one.headers)


async def test_at_the_other_doors_no_one_had_a_turn_either():
    world = LaneWorld()
    await world.lane.past(world.batch(REDEMPTIONS, (b"card:1", b"{", NOW_MS, (("turn-at", b"9"), ("sent-at", b"5")))))
    (letter,) = of(DEAD_LETTERS, world.sent)
    assert ("sent-at", b"5") in letter.headers
    assert not any(name == "turn-at" for name, _ in letter.headers)


async def test_what_goes_aside_has_one_turn_whatever_its_till_said():
    world = LaneWorld()
    aside = await world.arrive((b"", raw("late"), NOW_MS + 11 * MINUTE, (("turn-at", b"9"), ("aside-from", b"pos.checks/0/1"))))
    (command,) = of(COMMANDS, await world.turn(aside))
    ((name, at),) = command.headers
    assert name == "turn-at"
    assert int(at) > NOW_MS
    assert came_from(aside[0].headers).offset == 0, "its own place, the last one"


INTERNAL = ("turn-at", "aside-from", "written-at", "replayed-from", "origin", "outcome", "code", "reason", "stage", "at")


@pytest.mark.parametrize("value", [raw("s1"), b"{", raw("bad", tenders=[])])
async def test_no_header_of_ours_on_a_tills_record_gets_into_what_we_write(value):
    forged = tuple((name, b"pos.checks/9/9") for name in INTERNAL)
    assert await _written(LaneWorld(), value, forged) == await _written(LaneWorld(), value, ())


async def _written(world, value, headers):
    sent = await world.arrive((b"", value, NOW_MS, headers))
    sent += await world.decide(sent) if of(COMMANDS, sent) else []
    return [(one.topic, one.value, [header for header in one.headers if header[0] != "written-at"]) for one in sent]
