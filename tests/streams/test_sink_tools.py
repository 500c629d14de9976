"""Operating a sink by hand, on a real broker and a sandbox: everybody again, what was rejected again, drift found and repaired."""

import contextlib
import io
import itertools
import logging

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from rich.console import Console

from connectors import registry, sandbox
from connectors.delivery import Happening, ProfileChange, Unreadable
from schemas.dead_letters import DeadLetter
from schemas.events import EVENTS as EVENT_TYPES
from schemas.topics import DEAD_LETTERS, EVENTS, MEMBERS
from streams import sink_tools
from streams.log import Record
from streams.topic_admin import apply_topics
from tests.connectors import tryton_bench
from tests.connectors.benches import BENCHES
from tests.connectors.ground import PROFILE, contact_of, example
from tests.kafka_topics import clear

pytestmark = pytest.mark.timeout(120)
OFFSETS = itertools.count()
PLACES = itertools.count(1)


def event(member, sequence, kind="LOY_POINT_ACCRUAL", *, erased=False, **fields):
    data = {**example(kind), "profile": {**PROFILE, "loyalty_id": member, **fields}, "occurred_at": "2026-11-21T10:00:00Z"}
    data |= {"erased": True} if erased else {}
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
    """A broker with members and events, and a vendor: its sandbox, or a real one."""

    def __init__(self, bootstrap, url, vendor, bench):
        self.bootstrap, self.url, self.vendor, self.bench = bootstrap, url, vendor, bench
        self._own = next(PLACES)

    def sink(self):
        return registry.build(self.bench.sink, self.bench.environment(self.url))

    def named(self, *parts):
        """Members that no other test has."""
        return [f"N{self._own}-{part}" for part in parts]

    def told_of(self, *members):
        """Whose events arrived, each as often as one did."""
        return [seen.member for seen in self.vendor.events() if seen.member in members]

    async def write(self, *records):
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        try:
            for topic, key, value, headers in records:
                await producer.send_and_wait(topic, value, key=key.encode(), headers=list(headers))
        finally:
            await producer.stop()

    async def forget_letters(self):
        """What another test, or another CRM's, has left: they are of the same sink."""
        await clear(self.bootstrap, [DEAD_LETTERS.name])
        await apply_topics(self.bootstrap, 4)

    async def members(self, *names, **fields):
        await self.write(
            *((MEMBERS.name, name, member_record(name), ()) for name in names),
            *((EVENTS.name, name, event(name, next(OFFSETS) + 1, **fields), ()) for name in names),
        )


@contextlib.asynccontextmanager
async def sandboxed(bench):
    vendor = sandbox.build(bench.sandbox, "data")
    vendor.limited = False
    async with sandbox.running(vendor) as url:
        yield url, vendor


@pytest.fixture(params=["infobip", "ometria", "dataverse", "salesforce", "oracle", "tryton", "webhook"])
async def place(kafka, request):
    await apply_topics(kafka.bootstrap, 4)
    if request.param == "tryton":
        server = request.getfixturevalue("tryton")
        yield Place(kafka.bootstrap, server.url, tryton_bench.Seen(server), tryton_bench.bench(server))
        return
    bench = BENCHES[request.param]
    async with sandboxed(bench) as (url, vendor):
        yield Place(kafka.bootstrap, url, vendor, bench)


def letter_of(sink, code, origin):
    """Why a sink keeps a record, and whence."""
    said = {"code": code, "reason": "400: ordered", "origin": origin, "stage": f"sink-{sink}", "at": "2026-11-21T10:00:00Z"}
    return DeadLetter.model_validate(said, strict=False)


@pytest.fixture
async def webhook(kafka):
    """A webhook's place, where nothing was rejected yet."""
    bench = BENCHES["webhook"]
    async with sandboxed(bench) as (url, vendor):
        place = Place(kafka.bootstrap, url, vendor, bench)
        await place.forget_letters()
        yield place


def told(*_):
    """Nobody looks at the bar."""


async def test_J07_a_resync_tells_everybody_once_and_goes_on_where_it_was_stopped(place, tmp_path):
    first, *others = members = place.named("R-1", "R-2", "R-3")
    await place.members(*members)
    cursor = tmp_path / "cursor"
    cursor.write_text(first)
    await sink_tools.resync(place.bootstrap, place.sink(), cursor, told)
    assert set(others) <= set(place.vendor.people())
    assert first not in place.vendor.people()
    assert cursor.read_text() == ""
    done, rejected = await sink_tools.resync(place.bootstrap, place.sink(), cursor, told)
    assert set(members) <= set(place.vendor.people())
    assert (done >= 3, rejected) == (True, 0)
    assert place.told_of(*members) == []  # a resync tells profiles, never events


async def test_I04_drift_is_found_by_field_and_only_the_members_that_differ_are_told(place):
    if not place.bench.readable:
        with pytest.raises(sink_tools.MuteError, match=r"cannot be asked what it holds.*--resync"):
            await sink_tools.reconcile(place.bootstrap, place.sink(), repair=True)
        assert place.vendor.requests() == []
        return
    same, other = place.named("D-1", "D-2")
    await place.members(same, other, current_tier="Gold")
    await sink_tools.reconcile(place.bootstrap, place.sink(), repair=True)
    clean = await sink_tools.reconcile(place.bootstrap, place.sink())
    assert (clean.members, clean.unknown) == ([], [])
    await place.members(other, current_tier="Silver")
    drift = await sink_tools.reconcile(place.bootstrap, place.sink())
    assert drift.members == [other]
    assert any("tier" in name.lower() for name in drift.fields)
    await place.members(same, opt_in_status=False)  # who left, and was not told of: a tag stays at Infobip
    repaired = await sink_tools.reconcile(place.bootstrap, place.sink(), repair=True)
    assert repaired.repaired == 2
    assert (await sink_tools.reconcile(place.bootstrap, place.sink())).members == []


async def test_J07_what_the_vendor_rejected_is_sent_again_once(place, tmp_path):
    (member,) = place.named("X-1")
    await place.members(member)
    await sink_tools.resync(place.bootstrap, place.sink(), tmp_path / "cursor", told)
    letter = letter_of(place.bench.sink, "VENDOR_REJECTED", "loy.events/0/0")
    await place.forget_letters()
    await place.write((DEAD_LETTERS.name, member, event(member, 77), letter.headers()))
    done = tmp_path / "done"
    delivered, refused = await sink_tools.replay_rejected(place.bootstrap, place.sink(), done)
    assert (delivered, refused) == (1, [])
    assert place.told_of(member) == [member]
    assert await sink_tools.replay_rejected(place.bootstrap, place.sink(), done) == (0, [])
    assert place.told_of(member) == [member]


async def test_J07_what_was_kept_more_than_once_is_sent_once(place, tmp_path):
    (member,) = place.named("W-1")
    await place.members(member)
    await clear(place.bootstrap, [DEAD_LETTERS.name])
    await apply_topics(place.bootstrap, 4)
    kept = [(event(member, 77), "loy.events/0/7")] * 2  # after a crash
    kept += [(member_record(member), f"loy.members/0/{offset}") for offset in (3, 4)]
    letters = ((value, letter_of(place.bench.sink, "VENDOR_REJECTED", origin)) for value, origin in kept)
    await place.write(*((DEAD_LETTERS.name, member, value, letter.headers()) for value, letter in letters))
    told_of = []
    sink = place.sink()
    flow = sink.flow
    sink.flow = lambda batch: told_of.extend(type(item) for item in batch) or flow(batch)
    assert await sink_tools.replay_rejected(place.bootstrap, sink, tmp_path / "done") == (3, [])
    assert told_of == [ProfileChange, Happening]
    assert await sink_tools.replay_rejected(place.bootstrap, place.sink(), tmp_path / "done") == (0, [])


FIRST = {
    "infobip": ("PATCH", "/people/3/persons/upsert"),
    "ometria": ("POST", "/v2/push"),
    "dataverse": ("PATCH", "/api/data/v9.2/contacts(loy_loyaltyid='{member}')"),
    "salesforce": ("PATCH", "/services/data/v61.0/composite/sobjects/Contact/Loyalty_Id__c"),
    "oracle": ("POST", "/crmRestApi/resources/11.13.18.05/contacts"),
    "tryton": ("GET", "/loy/rest/model/party.party"),
    "webhook": ("POST", ""),
}


async def test_a_dry_run_shows_requests_and_sends_none(place):
    (member,) = place.named("Y-1")
    await place.members(member)
    change = ProfileChange((await sink_tools.everybody(place.bootstrap)).person(member))
    call = sink_tools.first_request(place.sink(), [change])
    method, path = FIRST[place.bench.sandbox]
    assert (call.method, call.path.partition("?")[0]) == (method, path.format(member=member))
    out = Console(width=200, record=True, file=io.StringIO())
    out.print(await sink_tools.dry_run(place.bootstrap, place.sink(), count=10_000))
    shown = out.export_text()
    assert f"{member.lower()}@example.com" in shown
    assert not any(secret in shown for secret in ("whsec_", "Bearer", "Basic", "secret", "s3cret"))
    assert member not in place.vendor.people()
    if place.bench.sandbox in sandbox.SANDBOXES:
        assert place.vendor.requests() == []


async def test_J07_a_replay_that_is_stopped_goes_on_where_it_was(webhook, tmp_path, monkeypatch):
    monkeypatch.setattr(sink_tools, "CHUNK", 1)
    (member,) = webhook.named("V-1")
    await webhook.members(member)
    kept = [(event(member, number), letter_of("webhook", "VENDOR_REJECTED", f"loy.events/0/{number}")) for number in (77, 78)]
    await webhook.write(*((DEAD_LETTERS.name, member, value, letter.headers()) for value, letter in kept))
    sink, flows = webhook.sink(), [webhook.sink().flow]

    def flow_once(batch):
        return flows.pop()(batch)

    sink.flow = flow_once
    with pytest.raises(ExceptionGroup):  # as when somebody ends it because the vendor is down
        await sink_tools.replay_rejected(webhook.bootstrap, sink, tmp_path / "done")
    assert webhook.told_of(member) == [member]
    assert await sink_tools.replay_rejected(webhook.bootstrap, webhook.sink(), tmp_path / "done") == (1, [])
    assert webhook.told_of(member) == [member, member]


async def test_a_dry_run_says_so_when_the_sink_itself_refuses_everybody(kafka):
    await apply_topics(kafka.bootstrap, 4)
    bench = BENCHES["infobip"]
    async with sandboxed(bench) as (url, vendor):
        place = Place(kafka.bootstrap, url, vendor, bench)
        nameless, *_ = names = place.named("T-1", "T-2")
        await place.write(*((EVENTS.name, name, event(name, 1), ()) for name in names))  # the CRM has not said who they are
        sink = registry.build("infobip", bench.environment(url) | {"LOY_INFOBIP_IDENTIFY_BY": "EMAIL"})
        change = ProfileChange((await sink_tools.everybody(place.bootstrap)).person(nameless))
        assert [why.code for why in sink_tools.first_request(sink, [change])] == ["NO_IDENTIFIER"]
        sink.batches = lambda items: [[change]]
        out = Console(width=200, record=True, file=io.StringIO())
        out.print(await sink_tools.dry_run(place.bootstrap, sink))
        assert "NO_IDENTIFIER" in out.export_text()
        assert vendor.requests() == []


# ---------------------------------------------------------------- what the log says of members, without a broker


def record_of(value, member="M-1", topic=EVENTS.name, **headers):
    return Record(topic, 0, 0, 0, member.encode(), value, tuple((name, text.encode()) for name, text in headers.items()))


def knowing(*events, contact=True):
    found = sink_tools.Everybody()
    if contact:
        found.contact(record_of(member_record("M-1"), topic=MEMBERS.name))
    for value in events:
        found.event(record_of(value))
    return found


ACCRUED, FORGOTTEN, EXPIRED = event("M-1", 1), event("M-1", 2, "LOY_OPT_OUT", erased=True), event("M-1", 3, "LOY_POINT_EXPIRED")
JOINED = event("M-1", 4, "LOY_OPT_IN")


@pytest.mark.parametrize(
    ("events", "ids"),
    [
        ([], []),
        ([ACCRUED], ["M-1"]),
        ([ACCRUED, FORGOTTEN], []),
        ([ACCRUED, FORGOTTEN, EXPIRED], []),
        ([ACCRUED, FORGOTTEN, EXPIRED, JOINED], ["M-1"]),
    ],
)
def test_H04_an_erased_member_stays_untold_whatever_happens_until_the_member_joins_again(events, ids):
    assert knowing(*events, contact=False).ids() == ids


@pytest.mark.parametrize(
    ("rejected", "events", "told_"),
    [
        (record_of(ACCRUED), [ACCRUED], [(Happening, False)]),
        (record_of(member_record("M-1"), origin="loy.members/0/3"), [ACCRUED], [(ProfileChange, False)]),
        (record_of(ACCRUED), [ACCRUED, FORGOTTEN], []),
        (record_of(member_record("M-1"), origin="loy.members/0/3"), [ACCRUED, FORGOTTEN], []),
        (record_of(FORGOTTEN), [ACCRUED, FORGOTTEN, EXPIRED], [(ProfileChange, True)]),
        (record_of(None, origin="loy.members/0/4"), [ACCRUED, FORGOTTEN], [(ProfileChange, True)]),
        (record_of(ACCRUED), [ACCRUED, FORGOTTEN, EXPIRED, JOINED], []),  # of the time before
        (record_of(FORGOTTEN), [ACCRUED, FORGOTTEN, EXPIRED, JOINED], [(ProfileChange, False)]),  # no farewell to who is back
    ],
)
def test_H04_of_what_was_rejected_an_erased_member_brings_nothing_but_the_erasure(rejected, events, told_):
    items = sink_tools._item(rejected, knowing(*events), frozenset(EVENT_TYPES))
    assert [(type(item), getattr(item, "erased", False)) for item in items] == told_


def test_H04_who_has_no_contact_data_any_more_is_not_told_of_before_the_event_of_the_erasure_comes():
    """The running sink has taken back what was told; nobody would take it back again."""
    found = knowing(ACCRUED)
    found.contact(record_of(None, topic=MEMBERS.name))
    assert found.ids() == []
    found.contact(record_of(member_record("M-1"), topic=MEMBERS.name))
    assert found.ids() == ["M-1"]


@pytest.mark.parametrize("rejected", [record_of(ACCRUED, refused="profile"), record_of(event("M-1", 1, "LOY_POINT_RESERVED"))])
def test_J07_of_a_rejected_profile_todays_is_sent_and_not_the_event_that_changed_it(rejected):
    (item,) = sink_tools._item(rejected, knowing(ACCRUED), frozenset(EVENT_TYPES) - {"LOY_POINT_RESERVED"})
    assert isinstance(item, ProfileChange)


def test_what_is_passed_over_is_said_also_where_libraries_are_silent(monkeypatch, caplog):
    monkeypatch.setattr(logging.root, "level", logging.CRITICAL)  # as every command has it
    sink_tools._read(sink_tools.Everybody().event, record_of(b"{"))
    assert "loy.events/0/0 is passed over" in caplog.text


def test_who_has_contact_data_that_nobody_can_read_is_not_told_of_without_it():
    found = knowing(ACCRUED)
    with pytest.raises(Unreadable):
        found.contact(record_of(b"{", topic=MEMBERS.name))
    assert found.ids() == []


async def test_H04_resync_and_repair_tell_what_the_log_says_when_they_get_there(kafka, tmp_path, monkeypatch):
    """They take hours; the running sink goes on meanwhile, and what it has told or taken back is not to be undone."""
    await apply_topics(kafka.bootstrap, 4)
    bench = BENCHES["infobip"]
    async with sandboxed(bench) as (url, vendor):
        place = Place(kafka.bootstrap, url, vendor, bench)
        moving, *leaving = place.named("S-1", "S-2", "S-3")
        await place.members(moving, *leaving, current_tier="Gold")

        def meanwhile(tier, gone, catch_up=sink_tools.Everybody.catch_up):
            async def once(self, log):
                await catch_up(self, log)
                monkeypatch.setattr(sink_tools.Everybody, "catch_up", catch_up)
                await place.members(moving, current_tier=tier)
                await place.write((EVENTS.name, gone, event(gone, next(OFFSETS) + 1, "LOY_OPT_OUT", erased=True), ()))

            monkeypatch.setattr(sink_tools.Everybody, "catch_up", once)

        meanwhile("Silver", leaving[0])
        await sink_tools.resync(place.bootstrap, place.sink(), tmp_path / "cursor", told)
        assert vendor.people()[moving]["loyalty_current_tier"] == "Silver"
        assert leaving[0] not in vendor.people()
        meanwhile("Platinum", leaving[1])
        before = len(vendor.requests())
        await sink_tools.reconcile(place.bootstrap, place.sink(), repair=True)
        assert vendor.people()[moving]["loyalty_current_tier"] == "Platinum"
        assert not any(leaving[1] in str(request.json()) for request in vendor.requests()[before:] if request.method == "PATCH")


async def test_J07_records_that_nobody_can_read_hold_up_no_tool(webhook, tmp_path, caplog):
    (member,) = webhook.named("U-1")
    await webhook.members(member)
    (broken,) = webhook.named("U-2")
    await webhook.write(
        (EVENTS.name, broken, b'{"id"', ()),
        (MEMBERS.name, broken, b"[]", ()),
        (DEAD_LETTERS.name, broken, b'{"id"', letter_of("webhook", "SCHEMA", "loy.events/3/7").headers()),
        (DEAD_LETTERS.name, member, event(member, 77), letter_of("webhook", "VENDOR_REJECTED", "loy.events/3/8").headers()),
    )
    told_, rejected = await sink_tools.resync(webhook.bootstrap, webhook.sink(), tmp_path / "cursor", told)
    assert (told_ >= 1, rejected) == (True, 0)
    assert member in webhook.vendor.people()
    assert caplog.text.count("is passed over") >= 2
    delivered, refused = await sink_tools.replay_rejected(webhook.bootstrap, webhook.sink(), tmp_path / "done")
    assert delivered == 1
    assert [(origin, why.code) for origin, why in refused] == [("loy.events/3/7", "UNREADABLE")]
