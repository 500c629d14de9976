"""Operating a sink by hand, on a real broker and a sandbox: everybody again, what was rejected again, drift found and repaired."""

import itertools

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from connectors import registry, sandbox
from connectors.delivery import ProfileChange
from schemas.dead_letters import DeadLetter
from schemas.topics import DEAD_LETTERS, EVENTS, MEMBERS
from streams import sink_tools
from streams.topic_admin import apply_topics
from tests.connectors.ground import PROFILE, contact_of, example

pytestmark = pytest.mark.timeout(120)
OFFSETS = itertools.count()


def event(member, sequence, kind="LOY_POINT_ACCRUAL", **fields):
    data = {**example(kind), "profile": {**PROFILE, "loyalty_id": member, **fields}, "occurred_at": "2026-11-21T10:00:00Z"}
    return orjson.dumps(
        {
            "id": f"{member}/e/{sequence}", "type": kind, "subject": member, "sequence": sequence,
            "time": "2026-11-21T10:00:00Z", "data": data,
        }
    )  # fmt: skip


def member_record(member):
    contact = contact_of(member)
    return orjson.dumps({"loyalty_id": member, "contact": contact, "updated_at": "2026-11-21T10:00:00Z"})


class Place:
    """A broker with members and events, and Infobip's sandbox."""

    def __init__(self, bootstrap, url, vendor):
        self.bootstrap, self.url, self.vendor = bootstrap, url, vendor

    def sink(self):
        settings = sandbox.sandbox_settings("infobip", self.url) | {"LOY_INFOBIP_RPS": "1000"}
        return registry.build("infobip", settings)

    async def write(self, *records):
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        try:
            for topic, key, value, headers in records:
                await producer.send_and_wait(topic, value, key=key.encode(), headers=list(headers))
        finally:
            await producer.stop()

    async def members(self, *names, **fields):
        await self.write(
            *((MEMBERS.name, name, member_record(name), ()) for name in names),
            *((EVENTS.name, name, event(name, next(OFFSETS) + 1, **fields), ()) for name in names),
        )


@pytest.fixture
async def place(kafka):
    await apply_topics(kafka.bootstrap, 4)
    vendor = sandbox.build("infobip", "data")
    vendor.limited = False
    async with sandbox.running(vendor) as url:
        yield Place(kafka.bootstrap, url, vendor)


def told(*_):
    """Nobody looks at the bar."""


async def test_J07_a_resync_tells_everybody_once_and_goes_on_where_it_was_stopped(place, tmp_path):
    await place.members("R-1", "R-2", "R-3")
    cursor = tmp_path / "cursor"
    cursor.write_text("R-1")
    await sink_tools.resync(place.bootstrap, place.sink(), cursor, told)
    assert {"R-2", "R-3"} <= set(place.vendor.people())
    assert "R-1" not in place.vendor.people()
    assert cursor.read_text() == ""
    done, rejected = await sink_tools.resync(place.bootstrap, place.sink(), cursor, told)
    assert {"R-1", "R-2", "R-3"} <= set(place.vendor.people())
    assert (done >= 3, rejected) == (True, 0)
    assert place.vendor.events() == []  # a resync tells profiles, never events


async def test_I04_drift_is_found_by_field_and_only_the_members_that_differ_are_told(place):
    await place.members("D-1", "D-2", current_tier="Gold")
    await sink_tools.reconcile(place.bootstrap, place.sink(), repair=True)
    clean = await sink_tools.reconcile(place.bootstrap, place.sink())
    assert (clean.members, clean.unknown) == ([], [])
    await place.members("D-2", current_tier="Silver")
    drift = await sink_tools.reconcile(place.bootstrap, place.sink())
    assert drift.members == ["D-2"]
    assert any("tier" in name for name in drift.fields)
    repaired = await sink_tools.reconcile(place.bootstrap, place.sink(), repair=True)
    assert repaired.repaired == 1
    assert (await sink_tools.reconcile(place.bootstrap, place.sink())).members == []


async def test_J07_what_the_vendor_rejected_is_sent_again_once(place, tmp_path):
    await place.members("X-1")
    await sink_tools.reconcile(place.bootstrap, place.sink(), repair=True)
    letter = DeadLetter.model_validate(
        {"code": "VENDOR_REJECTED", "reason": "400: ordered", "origin": "loy.events/0/0", "stage": "sink-infobip",
         "at": "2026-11-21T10:00:00Z"},
        strict=False,
    )  # fmt: skip
    await place.write((DEAD_LETTERS.name, "X-1", event("X-1", 77), letter.headers()))
    done = tmp_path / "done"
    delivered, refused = await sink_tools.replay_rejected(place.bootstrap, place.sink(), done)
    assert (delivered, refused) == (1, [])
    assert [seen.member for seen in place.vendor.events()] == ["X-1"]
    assert await sink_tools.replay_rejected(place.bootstrap, place.sink(), done) == (0, [])


async def test_a_dry_run_shows_requests_and_sends_none(place):
    await place.members("Y-1")
    calls = sink_tools.requests(place.sink(), [ProfileChange((await sink_tools.everybody(place.bootstrap)).person("Y-1"))])
    assert [(call.method, call.path) for call in calls] == [("PATCH", "/people/3/persons/upsert")]
    assert place.vendor.requests() == []
