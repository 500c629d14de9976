"""The sandbox of Ometria refuses what Ometria would, when Ometria would; and the sink lives with that."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import orjson
import pytest

from connectors import sandbox
from connectors.delivery import Halt
from connectors.sandbox.ometria import OmetriaSandbox
from streams import metrics
from streams.sinks import Auditor
from tests.connectors.benches import BENCHES
from tests.connectors.ground import change, happening, until
from tests.connectors.ground import ground as served

ANN = {"@type": "contact", "@collection": "loyalty", "id": "A1", "email": "ann@example.com"}


@pytest.fixture
async def vendor():
    """(the sandbox, a client of it)."""
    one = OmetriaSandbox(limited=False)
    async with sandbox.running(one) as url, httpx.AsyncClient(base_url=url, headers={"X-Ometria-Auth": "key"}) as client:
        yield one, client
    assert not one.bugs


def now(**ago):
    return (datetime.now(UTC) - timedelta(**ago)).isoformat()


def event(**parts):
    return {
        "@type": "custom_event",
        "id": "E1",
        "event_type": "loy_birthday",
        "timestamp": now(),
        "identity_email": "ann@example.com",
        "properties": {"loyalty_id": "A1", "current_tier": "Gold"},
        **parts,
    }


# ---------------------------------------------------------------- the request as a whole


async def test_accepted_means_queued(vendor):
    one, client = vendor
    answer = await client.post("/v2/push", json=[ANN])
    assert answer.status_code == 202
    body = answer.json()
    assert (body["status"], body["accepted"], body["rejected"]) == ("OK", 1, 0)
    assert body["request_id"]
    assert answer.headers["X-QueueSize-Limit"] == "50000"
    assert answer.headers["X-QueueSize-Remaining"] == "49999"
    assert one.people()["A1"]["email"] == "ann@example.com"


REFUSED = {
    "no array": (ANN, "an array"),
    "nothing": ([], "an array"),
    "too many": ([ANN] * 101, "an array of 1 to 100"),
    "two kinds": ([ANN, event()], "one object type"),
    "no kind": ([{"id": "A1"}], "one object type"),
    "another kind": ([{**ANN, "@type": "wish"}], "one object type"),
    "no object": ([1], "one object type"),
    "too large": ([{**ANN, "firstname": "x" * 62_000}], "Record is too large."),
}


@pytest.mark.parametrize(("body", "words"), REFUSED.values(), ids=REFUSED)
async def test_a_request_that_is_not_in_order_is_refused_whole(vendor, body, words):
    one, client = vendor
    answer = await client.post("/v2/push", json=body)
    assert answer.status_code == 400
    assert words in answer.text
    assert not one.people()


async def test_no_key_no_json_no_such_page(vendor):
    _, client = vendor
    assert (await client.post("/v2/push", json=[ANN], headers={"X-Ometria-Auth": ""})).status_code == 403
    assert (await client.post("/v2/push", content=b"[{]", headers={"content-type": "application/json"})).status_code == 400
    assert (await client.post("/v2/push", content=b"[]")).status_code == 415
    assert (await client.post("/v2/pull", json=[])).status_code == 404


async def test_a_record_without_an_id_is_counted_but_not_named(vendor):
    one, client = vendor
    answer = await client.post("/v2/push", json=[ANN, {**ANN, "id": None}])
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (1, 1)
    assert set(one.people()) == {"A1"}


async def test_a_full_queue_is_429(vendor):
    one, client = vendor
    one.ahead = 49_999
    assert (await client.post("/v2/push", json=[ANN, {**ANN, "id": "A2"}])).status_code == 429
    assert (await client.post("/v2/push", json=[ANN])).status_code == 202


async def test_more_than_eight_pushes_a_second_are_429():
    one = OmetriaSandbox(monotonic=lambda: 5.0)
    async with sandbox.running(one) as url, httpx.AsyncClient(base_url=url, headers={"X-Ometria-Auth": "key"}) as client:
        statuses = [(await client.post("/v2/push", json=[ANN])).status_code for _ in range(9)]
        assert statuses == [202] * 8 + [429]
        assert [(await client.get("/v2/lists")).status_code for _ in range(5)] == [200] * 4 + [429]


# ---------------------------------------------------------------- what it finds afterwards

BAD_CONTACTS = {
    "root > id": {"id": "ann@example.com"},
    "root > email": {"email": "ann"},
    "root > phone_number": {"phone_number": "447700900123"},
    "root > date_of_birth": {"date_of_birth": "14/05/1990"},
    "root > gender": {"gender": "female"},
    "root > marketing_optin": {"marketing_optin": "EXPLICITYLY_OPTEDOUT"},
    "root > timestamp_subscribed": {"timestamp_subscribed": "2026-01-01"},
    "root > firstname": {"firstname": 1},
    "root > zip": {"zip": "SW1A 1AA"},
    "root > @collection": {"@collection": ""},
    "root > @add_to_lists": {"@add_to_lists": ["8400"]},
    "root > @remove_from_lists": {"@remove_from_lists": [8499]},
    "root > properties": {"properties": {"loy_rewards": "x" * 500, "loy_zip": "y" * 500}},
    "root > properties > loy_pts": {"properties": {"loy_pts": "12"}},
    "root > properties > loy_active": {"properties": {"loy_active": "true"}},
    "root > properties > loy_anniv": {"properties": {"loy_anniv": "yesterday"}},
    "root > properties > loyalty_points": {"properties": {"loyalty_points": 1}},
}


@pytest.mark.parametrize(("path", "parts"), BAD_CONTACTS.items(), ids=list(BAD_CONTACTS))
async def test_a_contact_that_is_wrong_is_accepted_then_listed_without_its_id(vendor, path, parts):
    one, client = vendor
    answer = await client.post("/v2/push", json=[{**ANN, **parts}])
    assert (answer.status_code, answer.json()["rejected"]) == (202, 0)
    errors = (await client.get("/v2/push/_errors")).json()
    assert path in [found["error_path"] for found in errors]
    assert all(found.keys() == {"error_message", "error_path"} for found in errors)
    assert not one.people()


BAD_EVENTS = {
    "root > timestamp": {"timestamp": "2026-01-01T10:00:00"},
    "root > identity_email": {"identity_email": "nobody@example.com"},
    "root > event_type": {"event_type": ""},
    "root > customer": {"customer": "A1"},
    "root > properties": {"properties": [1]},
    "root > properties > current_tier": {"properties": {"current_tier": "x" * 513}},
    "root > properties > tiers": {"properties": {"tiers": ["Gold"]}},
}


@pytest.mark.parametrize(("path", "parts"), BAD_EVENTS.items(), ids=list(BAD_EVENTS))
async def test_an_event_that_is_wrong_is_accepted_then_listed(vendor, path, parts):
    one, client = vendor
    await client.post("/v2/push", json=[ANN])
    assert (await client.post("/v2/push", json=[event(**parts)])).status_code == 202
    assert path in [found["error_path"] for found in (await client.get("/v2/push/_errors")).json()]
    assert not one.events()


async def test_an_event_of_another_customer_id_belongs_to_nobody(vendor):
    one, client = vendor
    await client.post("/v2/push", json=[{**ANN, "customer_id": "C-1"}])
    await client.post("/v2/push", json=[event(identity_account_id="C-2"), event(id="E2", identity_account_id="C-1")])
    assert [seen.key for seen in one.events()] == ["E2"]


async def test_only_the_latest_hundred_are_listed(vendor):
    _, client = vendor
    for _ in range(3):
        await client.post("/v2/push", json=[{**ANN, "email": "ann"}] * 50)
    assert len((await client.get("/v2/push/_errors")).json()) == 100


async def test_an_event_starts_something_when_its_type_is_set_up_and_it_is_not_too_late(vendor):
    one, client = vendor
    await client.post("/v2/push", json=[ANN])
    sent = [event(), event(), event(id="E2", event_type="unheard_of"), event(id="E3", timestamp=now(hours=5))]
    await client.post("/v2/push", json=sent)
    assert [seen.key for seen in one.events()] == ["E1", "E2", "E3"]
    assert [seen.key for seen in one.started] == ["E1"]


async def test_a_long_event_type_is_truncated(vendor):
    one, client = vendor
    await client.post("/v2/push", json=[ANN])
    await client.post("/v2/push", json=[event(event_type="x" * 40)])
    assert one.events()[0].name == "x" * 32


async def test_in_a_replay_now_is_the_newest_event():
    one = OmetriaSandbox("data", limited=False)
    async with sandbox.running(one) as url, httpx.AsyncClient(base_url=url, headers={"X-Ometria-Auth": "key"}) as client:
        await client.post("/v2/push", json=[ANN])
        await client.post(
            "/v2/push", json=[event(timestamp="2017-05-01T10:00:00Z"), event(id="E2", timestamp="2017-05-01T05:00:00Z")]
        )
    assert [seen.key for seen in one.started] == ["E1"]


async def test_contacts_are_merged_and_null_empties(vendor):
    _, client = vendor
    await client.post("/v2/push", json=[{**ANN, "firstname": "Ann", "properties": {"loy_tier": "Gold", "loy_pts": 1}}])
    await client.post("/v2/push", json=[{**ANN, "lastname": "Lee", "properties": {"loy_tier": "Silver", "loy_zip": None}}])
    await client.post("/v2/push", json=[{"@type": "contact", "@collection": "loyalty", "id": "A1", "firstname": None}])
    (found,) = (await client.get("/v2/contacts", params={"email": "Ann@example.com"})).json()
    assert found == {**ANN, "lastname": "Lee", "properties": {"loy_tier": "Silver"}}
    assert (await client.get("/v2/contacts/loyalty/A1")).json() == found
    assert (await client.get("/v2/contacts/shop/A1")).status_code == 404
    assert (await client.get("/v2/contacts")).status_code == 400


async def test_an_account_may_demand_an_address(vendor):
    one, client = vendor
    one.requires_email = True
    await client.post("/v2/push", json=[{"@type": "contact", "@collection": "loyalty", "id": "A1"}])
    assert not one.people()
    assert one.errors[0]["error_path"] == "root > email"


async def test_six_erasures_a_minute():
    one = OmetriaSandbox(monotonic=iter(range(1000)).__next__)
    async with sandbox.running(one) as url, httpx.AsyncClient(base_url=url, headers={"X-Ometria-Auth": "key"}) as client:
        await client.post("/v2/push", json=[ANN])
        answers = [await client.post("/v2/data-deletion-requests", json={"email": "ANN@example.com"}) for _ in range(7)]
        assert [answer.status_code for answer in answers] == [202] * 6 + [429]
        assert (await client.post("/v2/data-deletion-requests", json={})).status_code in (400, 429)
        assert not one.people()


async def test_the_page_shows_what_arrived_and_what_was_refused_afterwards(vendor):
    _, client = vendor
    await client.post("/v2/push", json=[{**ANN, "@add_to_lists": [8400]}, {**ANN, "id": "A2", "email": "ann"}])
    await client.post("/v2/push", json=[event()])
    page = (await client.get("/")).text
    for words in (
        "ann@example.com",
        "loy_birthday",
        "1 refused after they were accepted",
        "Loyalty Gold",
        "1 automations started",
    ):
        assert words in page


# ---------------------------------------------------------------- the sink beside it


@pytest.fixture
async def ground():
    async with served(BENCHES["ometria"]) as one:
        yield one


async def test_L001_L002_L004_a_member_arrives_with_all_attributes_and_in_the_segments(ground):
    assert await ground.deliver(change("H-1", first=True, current_tier="Gold")) == []
    found = ground.sandbox.people()["H-1"]
    assert found["firstname"] == "Ann"
    assert found["loy_tier"] == "Gold"
    assert found["segments"] == ["Loyalty Gold", "Loyalty members"]
    assert len([name for name in found if name.startswith("loy_")]) == 24


async def test_L004_a_change_of_tier_moves_and_leaving_removes(ground):
    await ground.deliver(change("H-1", current_tier="Gold"))
    await ground.deliver(change("H-1", current_tier="Silver"))
    assert ground.sandbox.people()["H-1"]["segments"] == ["Loyalty Silver", "Loyalty members"]
    await ground.deliver(change("H-1", current_tier="Silver", opt_in_status=False))
    assert ground.sandbox.people()["H-1"]["segments"] == []


async def test_nothing_that_the_sink_sends_is_refused_afterwards(ground):
    kinds = sorted(ground.sink().events)
    odd = change("H-2", contact=None, next_tier=None, available_rewards=[f"${n} Reward" for n in range(200)])
    await ground.deliver(change("H-1"), odd, *[happening("H-1", kind) for kind in kinds], change("H-1", erased=True))
    assert list(ground.sandbox.errors) == []
    assert len(ground.sandbox.events()) == len(ground.sandbox.started) == len(kinds)
    assert ground.ears.outcomes["shortened"] == 1


async def test_contacts_go_before_events_each_in_requests_of_their_own(ground):
    await ground.deliver(*[change(f"H-{n}") for n in range(150)], *[happening(f"H-{n}") for n in range(150)])
    kinds = [{record["@type"] for record in one.json()} for one in ground.sandbox.requests("POST /v2/push")]
    assert all(len(kind) == 1 for kind in kinds)
    for number in range(150):
        seen = [(record["@type"]) for one in ground.sandbox.requests("POST /v2/push") for record in one.json() if f'"H-{number}"' in orjson.dumps(record).decode()]  # fmt: skip
        assert seen == ["contact", "custom_event"]
    assert list(ground.sandbox.errors) == []


async def test_a_dynamic_segment_stops_the_sink_before_anything_is_sent(ground):
    ground.settings = {"LOY_OMETRIA_SEGMENTS": '{"Gold": 8499}'}
    delivering = asyncio.create_task(ground.deliver(change("H-1")))
    await until(lambda: ground.ears.halts, "it has stopped")
    assert "dynamic" in ground.ears.halts[0]
    assert not ground.sandbox.people()
    ground.sandbox.lists[8499].type = "STATIC"
    assert await delivering == []


async def test_an_unknown_segment_stops_it_too(ground):
    ground.settings = {"LOY_OMETRIA_MEMBER_SEGMENT": "99"}
    courier = ground.courier()
    problem = await courier.run(courier.sink.prepare())
    assert problem == Halt("segment 99 for all members does not exist")


async def test_a_queue_that_fills_up_is_pushed_at_half_the_rate(ground):
    courier = ground.courier()
    await ground.deliver(change("H-1"), courier=courier)
    assert not courier._buckets["push"]._eased_until
    ground.sandbox.ahead = 45_000
    await ground.deliver(change("H-2"), courier=courier)
    assert courier._buckets["push"]._eased_until > courier._patience.clock()
    ground.sandbox.ahead, ground.sandbox.says_room = 49_000, False
    assert await ground.deliver(change("H-3"), courier=courier) == []


async def test_a_full_queue_is_waited_for(ground):
    ground.sandbox.ahead = 50_000
    delivering = asyncio.create_task(ground.deliver(change("H-1")))
    await until(lambda: ground.ears.outcomes["again"] >= 2, "it was told to wait")
    ground.sandbox.ahead = 0
    assert await delivering == []
    assert set(ground.sandbox.people()) == {"H-1"}


async def test_what_is_refused_afterwards_is_found_by_the_audit(ground):
    courier = ground.courier()
    await ground.deliver(change("H-1"), courier=courier)
    assert await courier.run(courier.sink.audit()) == []
    del ground.sandbox.fields["loy_zip"]
    await ground.deliver(change("H-2"), courier=courier)
    assert await courier.run(courier.sink.audit()) == ["root > properties > loy_zip: unknown custom field"]
    ground.sandbox.fault(kind="garbage")
    assert await courier.run(courier.sink.audit()) is None


async def test_the_worker_is_loud_about_what_is_new_and_counts_it(ground, caplog):
    courier = ground.courier()
    auditor = Auditor("ometria", courier.sink, courier)
    before = metrics.SINK_REFUSED_LATER.labels("ometria")._value.get()
    del ground.sandbox.fields["loy_zip"]
    for members, told in (["H-1"], 0), (["H-2", "H-3"], 2), ([], 2):
        await ground.deliver(*map(change, members), courier=courier)
        await auditor.look()
        assert metrics.SINK_REFUSED_LATER.labels("ometria")._value.get() - before == told
    ground.sandbox.fault(kind="status", status=503)
    await auditor.look()
    alarms = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert alarms == [
        "ometria refused afterwards what it had accepted: root > properties > loy_zip: unknown custom field (2 times)"
    ]


async def test_one_that_ometria_cannot_take_is_found_by_halving_and_the_rest_arrives_once(ground):
    await ground.ordered(kind="reject", match="H-77")
    rejected = await ground.deliver(*[change(f"H-{n}") for n in range(100)])
    assert [(item.person.loyalty_id, why.code) for item, why in rejected] == [("H-77", "REJECTED")]
    assert "1 rejected" in rejected[0][1].words
    assert len(ground.sandbox.people()) == 99
    assert len(ground.sandbox.requests("POST /v2/push")) <= 1 + 2 * 7


async def test_a_member_who_asks_for_it_is_forgotten(ground):
    ground.settings = {"LOY_OMETRIA_ERASE": "true"}
    ground.patience |= {"sleep": lambda _: asyncio.sleep(0)}
    await ground.deliver(change("H-1"), change("H-2"))
    assert await ground.deliver(change("H-1", erased=True)) == []
    assert ground.sandbox.forgotten == ["h-1@example.com"]
    assert set(ground.sandbox.people()) == {"H-2"}
