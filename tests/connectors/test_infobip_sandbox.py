"""The Infobip sandbox refuses what Infobip refuses. Set-up runs against it from every state that an account can be in."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from connectors import sandbox
from connectors.sandbox.base import Fault
from tests.connectors.ground import change, contact_of, happening, until

AUTH = {"Authorization": "App key"}
NOW = datetime.now(UTC)
UPSERT, EVENTS, ATTRIBUTES = "/people/3/persons/upsert", "/people/3/events", "/people/2/customAttributes"
DEFINITIONS, TAGS = "/peopleevents/2/definitions", "/people/2/tags"
ANN = {"externalId": "A", "contactInformation": [{"type": "EMAIL", "identifier": "ann@example.com"}]}


@pytest.fixture
async def ground(ground_of):
    return await ground_of("infobip")


@pytest.fixture
def ask(ground):
    async def ask(method, path, json=None, **more):
        return await ground.client.request(
            method, ground.url + path, json=json, headers={**AUTH, **more.pop("headers", {})}, **more
        )

    return ask


@pytest.fixture
def upsert(ask):
    """Upsert persons; (errors by index, statuses by index)."""

    async def upsert(*persons):
        answer = await ask("PATCH", UPSERT, {"persons": persons})
        assert answer.status_code == 207, answer.text
        body = answer.json()
        return {one["index"]: one for one in body["errors"]}, {one["index"]: one["status"] for one in body["results"]}

    return upsert


def occurred(**ago):
    return (NOW - timedelta(**ago)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def event(member="A", **parts):
    who = {"type": "EXTERNAL_ID", "id": member}
    base = {"eventId": "e-1", "definitionId": "bought", "occurredTime": occurred(hours=1), "identifier": who}
    return {**base, "properties": {"points": 7}, **parts}


@pytest.fixture
async def ready(ask, upsert):
    """An account with a person, an attribute of each type and a definition."""
    for kind in ("STRING", "DECIMAL", "INTEGER", "BOOLEAN", "DATE"):
        assert (await ask("POST", ATTRIBUTES, {"name": kind.title(), "dataType": kind})).status_code == 200
    fields = [{"name": "points", "type": "Decimal"}, {"name": "at", "type": "DateTime"}, {"name": "text", "type": "String"}]
    assert (await ask("POST", DEFINITIONS, {"definitionId": "bought", "title": "Bought", "fields": fields})).status_code == 201
    await upsert(ANN)


# ---------------------------------------------------------------- at the door


@pytest.mark.parametrize("value", [None, "", "App", "Bearer x", "Basic eDp5"])
async def test_only_an_app_key_opens(ground, value):
    headers = {} if value is None else {"Authorization": value}
    answer = await ground.client.get(ground.url + ATTRIBUTES, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["requestError"]["serviceException"]["messageId"] == "UNAUTHORIZED"


@pytest.mark.parametrize("path", ["/people/2/nothing", "/people/4/events"])
async def test_an_unknown_address_is_404(ask, path):
    assert (await ask("GET", path)).status_code == 404


async def test_a_wrong_method_is_405(ask):
    assert (await ask("PUT", UPSERT, {})).status_code in (404, 405)


async def test_a_body_must_be_json_by_name_and_by_content(ask):
    assert (await ask("PATCH", UPSERT, content=b"{}", headers={"content-type": "text/plain"})).status_code == 400
    broken = await ask("PATCH", UPSERT, content=b"{", headers={"content-type": "application/json"})
    assert (broken.status_code, broken.json()["code"]) == (400, 400103)


async def test_more_than_five_a_second_of_one_operation_are_refused_and_another_is_not(ground_of):
    now = [100.0]
    ground = await ground_of("infobip", limited=True, monotonic=lambda: now[0])

    async def status(path):
        return (await ground.client.get(ground.url + path, headers=AUTH)).status_code

    assert [await status(ATTRIBUTES) for _ in range(7)] == [200] * 5 + [429] * 2
    assert await status(TAGS) == 200
    now[0] += 0.9
    assert await status(ATTRIBUTES) == 429
    now[0] += 0.2
    assert await status(ATTRIBUTES) == 200


async def test_a_courier_at_four_a_second_never_meets_the_limit(ground_of):
    """On a clock that both share and nobody waits for."""
    now = [100.0]

    async def sleep(seconds):
        now[0] += seconds
        await asyncio.sleep(0)

    ground = await ground_of("infobip", limited=True, monotonic=lambda: now[0])
    ground.settings = {"LOY_INFOBIP_RPS": "4"}
    ground.patience = {"clock": lambda: now[0], "sleep": sleep}
    await ground.deliver(*(change(f"H-{n}", first=True) for n in range(3000)), *(happening(f"H-{n}") for n in range(100)))
    assert {status for _, status in ground.sandbox.answers} <= {200, 201, 202, 207, 404}
    assert len(ground.sandbox.people()) == 3000
    assert now[0] - 100 > 5


# ---------------------------------------------------------------- persons


@pytest.mark.parametrize(
    ("person", "wrong"),
    [
        ({"zipCode": "1"}, "zipCode"),
        ({"id": 7}, "id"),
        ({"createdAt": "x"}, "createdAt"),
        ({"firstName": "x" * 256}, "firstName"),
        ({"firstName": 7}, "firstName"),
        ({"birthDate": "14.05.1990"}, "birthDate"),
        ({"birthDate": "1990-02-30"}, "birthDate"),
        ({"gender": "F"}, "gender"),
        ({"type": "MEMBER"}, "type"),
        ({"preferredLanguage": "english"}, "preferredLanguage"),
        ({"contactInformation": {"email": [{"address": "a@b.co"}]}}, "contactInformation"),
        ({"contactInformation": [{"type": "EMAIL", "identifier": "john.doe@example"}]}, "contactInformation[0].identifier"),
        ({"contactInformation": [{"type": "PHONE", "identifier": "+447700900123"}]}, "contactInformation[0].identifier"),
        ({"contactInformation": [{"identifier": "a@b.co"}]}, "contactInformation[0].type"),
        ({"contactInformation": [{"type": "FAX", "identifier": "1"}]}, "contactInformation[0].type"),
        ({"customAttributes": {"Nothing": 1}}, "customAttributes.Nothing"),
        ({"customAttributes": {"Decimal": "100"}}, "customAttributes.Decimal"),
        ({"customAttributes": {"Decimal": True}}, "customAttributes.Decimal"),
        ({"customAttributes": {"Decimal": 10**19}}, "customAttributes.Decimal"),
        ({"customAttributes": {"Integer": 1.5}}, "customAttributes.Integer"),
        ({"customAttributes": {"Boolean": 1}}, "customAttributes.Boolean"),
        ({"customAttributes": {"Date": "2026-1-1"}}, "customAttributes.Date"),
        ({"customAttributes": {"String": "x" * 4097}}, "customAttributes.String"),
        ({"customAttributes": []}, "customAttributes"),
    ],
)
async def test_a_wrong_person_is_refused_with_the_property_and_the_others_are_taken(ready, upsert, person, wrong):
    errors, results = await upsert({"externalId": "B", **person}, {"externalId": "C", "firstName": "Cy"})
    assert errors[0]["code"] == 400100
    assert errors[0]["details"][0]["property"] == wrong
    assert results == {1: "CREATED"}


async def test_a_person_needs_something_to_be_known_by(upsert):
    errors, _ = await upsert({"firstName": "Nobody"})
    assert errors[0]["code"] == 400104


async def test_an_upsert_creates_changes_and_notices_when_nothing_changed(ready, upsert, ground):
    b = {"externalId": "B", "firstName": "Bo", "customAttributes": {"Decimal": 1.5, "Date": "2026-01-01", "string": "x"}}
    assert (await upsert(b))[1] == {0: "CREATED"}
    assert (await upsert(b))[1] == {0: "NOT_MODIFIED"}
    assert (await upsert({"externalId": "B", "lastName": "Day"}))[1] == {0: "UPDATED"}
    assert (await upsert({"externalId": "B", "customAttributes": {"Date": None}}))[1] == {0: "UPDATED"}
    assert ground.sandbox.people()["B"] == {
        "firstName": "Bo",
        "lastName": "Day",
        "emails": [],
        "phones": [],
        "tags": [],
        "Decimal": 1.5,
        "string": "x",
    }


async def test_addresses_are_added_and_found_without_case(upsert, ground):
    await upsert(ANN)
    await upsert({"externalId": "A", "contactInformation": [{"type": "EMAIL", "identifier": "new@example.com"}]})
    assert ground.sandbox.people()["A"]["emails"] == ["ann@example.com", "new@example.com"]
    by_mail = {"contactInformation": [{"type": "EMAIL", "identifier": "NEW@example.com"}], "firstName": "Ann"}
    assert (await upsert(by_mail))[1] == {0: "UPDATED"}
    assert len(ground.sandbox.people()) == 1


async def test_identifiers_of_two_persons_are_a_conflict(upsert):
    await upsert(ANN, {"externalId": "B"})
    errors, _ = await upsert({**ANN, "externalId": "B"}, {**ANN, "externalId": "new"})
    assert {index: one["code"] for index, one in errors.items()} == {0: 409100, 1: 409100}


@pytest.mark.parametrize(("persons", "code"), [(None, 400104), ([], 400100), ([ANN] * 1001, 400100), ("x", 400100)])
async def test_a_batch_has_one_to_a_thousand_persons(ask, persons, code):
    body = {} if persons is None else {"persons": persons}
    answer = await ask("PATCH", UPSERT, body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_a_person_is_read_in_the_shape_of_v2_and_deleted(ask, upsert):
    await upsert(ANN)
    query = "/people/2/persons?type=EXTERNAL_ID&identifier=A"
    body = (await ask("GET", query)).json()
    assert body["contactInformation"] == {"email": [{"address": "ann@example.com"}]}
    assert (await ask("GET", "/people/2/persons?type=CRM&identifier=A")).status_code == 400
    assert (await ask("DELETE", query)).status_code == 200
    assert (await ask("GET", query)).status_code == (await ask("DELETE", query)).status_code == 404


async def test_addresses_are_replaced_in_the_shape_of_v2(ask, upsert, ground):
    await upsert(ANN)
    path = "/people/2/persons/contactInformation?type=EXTERNAL_ID&identifier=A"
    assert (await ask("PUT", path, [{"type": "EMAIL", "identifier": "x@example.com"}])).status_code == 400
    assert (await ask("PUT", path, {"email": [{"address": "x@example"}]})).status_code == 400
    assert (await ask("PUT", path, {"email": [{"address": "x@example.com"}]})).status_code == 200
    assert ground.sandbox.people()["A"]["emails"] == ["x@example.com"]
    assert (await upsert(ANN | {"externalId": "B"}))[1] == {0: "CREATED"}


# ---------------------------------------------------------------- attributes, tags


@pytest.mark.parametrize(
    "body", [{"name": "a[", "dataType": "STRING"}, {"name": "", "dataType": "STRING"}, {"name": "a", "dataType": "TEXT"}, [], {}]
)
async def test_an_attribute_has_a_legal_name_and_type(ask, body):
    assert (await ask("POST", ATTRIBUTES, body)).status_code == 400


async def test_an_attribute_is_there_once_whatever_its_case(ask):
    assert (await ask("POST", ATTRIBUTES, {"name": "Points", "dataType": "DECIMAL"})).status_code == 200
    again = await ask("POST", ATTRIBUTES, {"name": "points", "dataType": "INTEGER"})
    assert (again.status_code, again.json()["message"]) == (400, "Duplicate")
    assert (await ask("GET", f"{ATTRIBUTES}/POINTS")).json() == {"name": "Points", "dataType": "DECIMAL"}


async def test_attributes_come_in_pages(ask, ground):
    ground.sandbox.attributes = {f"a{n}": {"name": f"a{n}", "dataType": "STRING"} for n in range(25)}
    assert len((await ask("GET", ATTRIBUTES)).json()["customAttributes"]) == 20
    assert len((await ask("GET", f"{ATTRIBUTES}?limit=20&page=2")).json()["customAttributes"]) == 5
    assert (await ask("GET", f"{ATTRIBUTES}?limit=1001")).status_code == 400
    assert (await ask("GET", f"{ATTRIBUTES}?page=0")).status_code == 400


async def test_a_tag_is_assigned_and_taken_away_in_bulk(ask, upsert, ground):
    people = {
        "people": [{"query": {"type": "EXTERNAL_ID", "identifier": "A"}}, {"query": {"type": "EMAIL", "identifier": "x@y.co"}}]
    }
    await upsert(ANN)
    assert (await ask("PATCH", f"{TAGS}/Loyalty/persons", people)).status_code == 404
    assert (await ask("POST", TAGS, {"name": "Loyalty"})).status_code == 200
    assert (await ask("POST", TAGS, {"name": "LOYALTY"})).status_code == 400
    for _ in range(2):
        answer = await ask("PATCH", f"{TAGS}/loyalty/persons", people)
        assert (answer.status_code, answer.content) == (200, b"")
    assert ground.sandbox.people()["A"]["tags"] == ["Loyalty"]
    await ask("DELETE", f"{TAGS}/Loyalty/persons", people)
    assert ground.sandbox.people()["A"]["tags"] == []
    for bad in (
        {"people": []},
        {"people": [1]},
        {"people": people["people"] * 501},
        {},
        {"people": [{"query": {"type": "CRM", "identifier": "1"}}]},
    ):
        assert (await ask("PATCH", f"{TAGS}/Loyalty/persons", bad)).status_code == 400


# ---------------------------------------------------------------- definitions and events


@pytest.mark.parametrize(
    "change_",
    [
        {"definitionId": "LOY_OPT_IN"},
        {"definitionId": "x" * 37},
        {"title": "x" * 101},
        {"title": None},
        {"fields": [{"name": "Points", "type": "Decimal"}]},
        {"fields": [{"name": "points", "type": "Float"}]},
        {"fields": [{"name": "a", "type": "List"}, {"name": "b", "type": "List"}]},
        {"fields": [{"name": "a", "type": "String"}] * 2},
        {"fields": [{"name": f"a{n}", "type": "String"} for n in range(121)]},
        {"fields": None},
    ],
)
async def test_a_definition_keeps_the_rules(ask, change_):
    assert (await ask("POST", DEFINITIONS, {"definitionId": "ok", "title": "OK", "fields": [], **change_})).status_code == 400


async def test_a_definition_grows_and_never_shrinks(ready, ask):
    body = (await ask("GET", f"{DEFINITIONS}/bought")).json()
    assert (await ask("POST", DEFINITIONS, body)).status_code == 409
    more = [*body["fields"], {"name": "more", "type": "String"}]
    assert (await ask("POST", f"{DEFINITIONS}/bought", {"fields": more})).status_code == 200
    assert (await ask("POST", f"{DEFINITIONS}/bought", {"fields": body["fields"]})).status_code == 400
    assert (await ask("POST", f"{DEFINITIONS}/bought", {"fields": [{**more[0], "type": "String"}, *more[1:]]})).status_code == 400
    assert (await ask("GET", f"{DEFINITIONS}/nothing")).status_code == 404


async def test_an_event_is_taken_without_a_word_and_once(ready, ask, ground):
    for _ in range(2):
        answer = await ask("POST", EVENTS, [event()])
        assert (answer.status_code, answer.content) == (202, b"")
    assert [(seen.key, seen.member, seen.name) for seen in ground.sandbox.events()] == [("e-1", "A", "bought")]


@pytest.mark.parametrize(
    ("wrong", "code", "index"),
    [
        ({"eventId": "a/b"}, 400504, 1),
        ({"eventId": "x" * 37}, 400504, 1),
        ({"identifier": {"type": "EXTERNAL_ID", "id": ""}}, 400504, 1),
        ({"identifier": {"type": "CRM", "id": "A"}}, 400504, 1),
        ({"occurredTime": occurred(days=31)}, 400504, 1),
        ({"occurredTime": "2026-09-30"}, 400504, 1),
        ({"occurredTime": "2026-09-30T10:15:00Z"}, 400504, 1),
        ({"occurredTime": None}, 400504, 1),
        ({"surplus": 1}, 400504, 1),
        ({"properties": {"text": "x" * 600_000}}, 400504, 1),
        ({"identifier": {"type": "EXTERNAL_ID", "id": "nobody"}}, 400505, 1),
        ({"definitionId": "unknown"}, 400501, -1),
        ({"properties": {"points": "7"}}, 400501, -1),
        ({"properties": {"points": None}}, 400501, -1),
        ({"properties": {"at": "yesterday"}}, 400501, -1),
        ({"properties": {"surplus": 1}}, 400501, -1),
    ],
)
async def test_one_wrong_event_spoils_its_batch(ready, ask, ground, wrong, code, index):
    answer = await ask("POST", EVENTS, [event(), event(eventId="e-2") | wrong, event(eventId="e-3")])
    assert answer.status_code == 400
    assert [(one["code"], one["index"]) for one in answer.json()["errors"]] == [(code, index)]
    assert ground.sandbox.events() == []


@pytest.mark.parametrize(("body", "code"), [({}, 400500), ("x", 400500), ([], 400502)])
async def test_events_are_a_list_with_something_in_it(ask, body, code):
    answer = await ask("POST", EVENTS, body)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, code)


async def test_a_batch_is_bounded_by_count_and_by_bytes(ready, ask):
    answer = await ask("POST", EVENTS, [event(eventId=f"e-{n}") for n in range(5001)])
    assert answer.json()["errors"][0]["code"] == 400503
    large = [event(eventId=f"e-{n}", properties={"text": "x" * 500_000}) for n in range(32)]
    assert (await ask("POST", EVENTS, large)).status_code == 413


async def test_history_is_not_too_old_when_now_follows_the_data(ground_of):
    ground = await ground_of("infobip", clock="data")
    ground.settings = {"LOY_INFOBIP_EVENT_MAX_AGE_DAYS": "0"}
    start = datetime(2017, 3, 1, tzinfo=UTC)
    await ground.deliver(change("H-1"), *(happening("H-1", at=start + timedelta(days=n)) for n in range(20)))
    assert len(ground.keys()) == 20
    late = happening("H-1", at=start - timedelta(days=20))
    assert [why.code for _, why in await ground.deliver(late)] == ["400504"]


async def test_single_events_are_recorded_and_counted_once(ready, ask, ground):
    path = "/peopleevents/2/persons/A/definitions/bought/events?identifierType=EXTERNAL_ID"
    for _ in range(2):
        assert (await ask("POST", path, {"eventId": "e-9", "properties": {"points": 1}})).status_code == 201
    assert ground.keys() == ["e-9"]
    assert (await ask("POST", path.replace("/A/", "/nobody/"), {"properties": {}})).status_code == 404
    assert (await ask("POST", path.replace("/A/", "/new/") + "&createPerson=true", {"properties": {}})).status_code == 201
    assert (await ask("POST", path.replace("bought", "sold"), {"properties": {}})).status_code == 404
    assert (await ask("POST", path, {"properties": {"surplus": 1}})).status_code == 400
    assert (await ask("POST", path, {"occurredTime": occurred(hours=1)})).status_code == 400


async def test_a_flow_is_entered_by_address_while_it_is_active(ask, ground):
    path = "/moments/1/flows/7/participants"
    good = {"participants": [{"identifyBy": {"type": "EMAIL", "identifier": "a@b.co"}, "variables": {}}]}
    assert "operationId" in (await ask("POST", path, good)).json()
    assert (
        await ask("POST", path, {"participants": [{"identifyBy": {"type": "EXTERNAL_ID", "identifier": "A"}}]})
    ).status_code == 400
    ground.sandbox.closed_flows.add("7")
    assert (await ask("POST", path, good)).json()["errorCode"] == "40401"
    assert len(ground.sandbox.participants) == 1


# ---------------------------------------------------------------- set-up against it


async def test_set_up_creates_everything_once(ground):
    await ground.deliver()
    assert len(ground.sandbox.attributes) == 24
    assert ground.sandbox.attributes["loyalty_available_points"]["dataType"] == "DECIMAL"
    assert ground.sandbox.tags == {"loyalty": "Loyalty"}
    titles = {one["title"] for one in ground.sandbox.definitions.values()}
    assert {"LOY_OPT_IN", "LOY_OPT_OUT", "LOY_POINT_ACCRUAL", "LOY_POINT_REDEMPTION"} < titles
    assert {"Tier_Upgrade", "Tier_Downgrade", "Tier Anniversary", "Close to Tier Upgrade"} < titles
    before = ground.sandbox.seen()["answers"]
    await ground.deliver()
    assert [
        name for name, n in ground.sandbox.seen()["answers"].items() if name.startswith("POST") and n != before.get(name)
    ] == []


async def test_set_up_finds_what_is_there_on_any_page(ground):
    await ground.deliver()
    others = {f"other{n}": {"name": f"other{n}", "dataType": "STRING"} for n in range(1500)}
    ground.sandbox.attributes = others | ground.sandbox.attributes
    ground.settings = {"LOY_INFOBIP_PROVISION": "verify"}
    assert await ground.deliver(change("H-1")) == []
    assert ground.ears.halts == []


async def test_set_up_adds_the_fields_that_a_definition_lacks(ground):
    await ground.deliver()
    definition = ground.sandbox.definitions["loyPointAccrual"]
    definition["fields"] = [{"name": "own", "type": "List"}, *definition["fields"][:2]]
    await ground.deliver()
    names = [field["name"] for field in ground.sandbox.definitions["loyPointAccrual"]["fields"]]
    assert names[0] == "own"
    assert {"points", "transactionId"} < set(names)


def other_type(served):
    served.attributes["loyalty_available_points"]["dataType"] = "INTEGER"


def other_field(served):
    served.definitions["loyPointAccrual"]["fields"][4]["type"] = "String"


@pytest.mark.parametrize(("spoil", "words"), [(other_type, "is INTEGER, not DECIMAL"), (other_field, "is String, not Decimal")])
async def test_set_up_stops_at_another_type_and_goes_on_when_it_is_put_right(ground, spoil, words):
    await ground.deliver()
    kept = [
        {**one} for one in (ground.sandbox.attributes["loyalty_available_points"], ground.sandbox.definitions["loyPointAccrual"])
    ]
    fields = [{**field} for field in kept[1]["fields"]]
    spoil(ground.sandbox)
    delivering = asyncio.create_task(ground.deliver(change("H-1")))
    await until(lambda: len(ground.ears.halts) > 1, "it stopped")
    assert words in ground.ears.halts[0]
    assert ground.sandbox.people() == {}
    ground.sandbox.attributes["loyalty_available_points"] = kept[0]
    ground.sandbox.definitions["loyPointAccrual"] = kept[1] | {"fields": fields}
    assert await delivering == []
    assert "H-1" in ground.sandbox.people()


@pytest.mark.parametrize("missing", ["attributes", "tags", "definitions"])
async def test_verifying_creates_nothing_and_says_what_is_missing(ground, missing):
    await ground.deliver()
    kept = dict(getattr(ground.sandbox, missing))
    name = next(iter(kept))
    del getattr(ground.sandbox, missing)[name]
    ground.settings = {"LOY_INFOBIP_PROVISION": "verify"}
    delivering = asyncio.create_task(ground.deliver(change("H-1")))
    await until(lambda: ground.ears.halts, "it stopped")
    assert name.casefold() in ground.ears.halts[0].casefold()
    assert name not in getattr(ground.sandbox, missing)
    getattr(ground.sandbox, missing)[name] = kept[name]
    assert await delivering == []


async def test_without_set_up_nothing_is_asked_for(ground):
    ground.settings = {"LOY_INFOBIP_PROVISION": "off"}
    await ground.deliver()
    assert not ground.sandbox.answers


async def test_two_workers_may_set_up_at_once(ground):
    await asyncio.gather(ground.deliver(), ground.deliver(), ground.deliver())
    assert len(ground.sandbox.attributes) == 24
    assert ground.ears.halts == []


async def test_members_that_share_an_address_are_a_conflict_with_the_vendors_words(ground):
    shared = {"email": "family@example.com"}
    first, second = (change(name, first=True, contact=contact_of(name, **shared)) for name in ("H-1", "H-2"))
    ((item, why),) = await ground.deliver(first, second)
    assert (item, why.code) == (second, "409100")


async def test_a_person_deleted_over_there_is_made_known_again_by_the_next_event(ground, ask):
    await ground.deliver(change("H-1"))
    await ask("DELETE", "/people/2/persons?type=EXTERNAL_ID&identifier=H-1")
    one = happening("H-1")
    assert await ground.deliver(one) == []
    assert ground.keys("H-1") == [ground.key(one)]


async def test_what_was_deleted_over_there_while_it_ran_is_created_again(ground, ask):
    courier = ground.courier()
    await ground.deliver(courier=courier)
    ground.sandbox.attributes.pop("loyalty_opt_in")
    ground.sandbox.tags.clear()
    assert await ground.deliver(change("H-1", first=True), courier=courier, prepare=False) == []
    assert ground.sandbox.people()["H-1"]["loyalty_opt_in"] is True
    assert ground.sandbox.people()["H-1"]["tags"] == ["Loyalty"]


async def test_a_flow_is_entered_with_the_event(ground):
    ground.settings = {"LOY_INFOBIP_FLOWS": '{"LOY_TIER_UPGRADE": "77"}'}
    batch = [change("H-1"), happening("H-1"), happening("H-1", "LOY_TIER_UPGRADE")]
    assert await ground.deliver(*batch) == []
    ((campaign, participant),) = ground.sandbox.participants
    assert campaign == "77"
    assert participant["identifyBy"]["identifier"] == "h-1@example.com"


async def test_a_member_that_moved_has_the_new_address_alone_by_setting(ground):
    ground.settings = {"LOY_INFOBIP_REPLACE_CONTACTS": "true"}
    await ground.deliver(change("H-1"))
    await ground.deliver(change("H-1", moved=True, contact=contact_of("H-1", email="new@example.com")))
    assert ground.sandbox.people()["H-1"]["emails"] == ["new@example.com"]


async def test_members_known_by_mail_leave_external_id_alone(ground, upsert):
    await upsert({"externalId": "shop-7", "contactInformation": [{"type": "EMAIL", "identifier": "h-1@example.com"}]})
    ground.settings = {"LOY_INFOBIP_IDENTIFY_BY": "EMAIL"}
    assert await ground.deliver(change("H-1", first=True), happening("H-1")) == []
    (person,) = ground.sandbox.persons.all()
    assert person.fields["externalId"] == "shop-7"
    assert person.custom["loyalty_id"] == "H-1"
    assert person.tags == ["Loyalty"]
    assert ground.keys("shop-7")


# ---------------------------------------------------------------- what people see


async def test_the_page_shows_what_arrived_and_no_markup_of_it(ground):
    await ground.deliver(
        change("H-1", first=True, contact=contact_of("H-1", first_name="<script>alert(1)</script>")), happening("H-1")
    )
    page = (await ground.client.get(ground.url)).text
    assert "loyPointAccrual" in page
    assert "h-1@example.com" in page
    assert "<script>" not in page
    seen = (await ground.client.get(f"{ground.url}/_seen")).json()
    assert seen["people"]["H-1"]["tags"] == ["Loyalty"]
    assert seen["events"][0]["member"] == "H-1"
    assert seen["bugs"] == []


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"kind": "flood"}', b'{"kind": "status", "colour": "red"}', b"7"])
async def test_a_fault_that_cannot_be_is_refused(ground, body):
    assert (await ground.client.post(f"{ground.url}/_faults", content=body)).status_code == 400


async def test_a_fault_strikes_as_often_as_ordered_and_where(ground, ask):
    await ground.ordered(kind="status", status=502, count=2, path="tags")
    assert [(await ask("GET", path)).status_code for path in (ATTRIBUTES, TAGS, TAGS, TAGS)] == [200, 502, 502, 200]


async def test_clear_ends_every_fault(ground, ask):
    for fault in ({"kind": "revoke"}, {"kind": "reject", "match": "x"}, {"kind": "status", "count": 9}):
        await ground.ordered(**fault)
    await ground.ordered(kind="clear")
    assert (await ask("GET", TAGS)).status_code == 200
    assert ground.sandbox.rejects == []


async def test_serving_says_where_and_ends_when_cancelled():
    told = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(sandbox.serve("infobip", ready=told.set_result))
    url = await told
    assert url.startswith("http://127.0.0.1:")
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


def test_an_unknown_sandbox_is_no_sandbox():
    with pytest.raises(KeyError):
        sandbox.build("nobody")


def test_faults_are_data():
    assert Fault(kind="cut").when == "before"
