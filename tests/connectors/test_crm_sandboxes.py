"""The CRM sandboxes validate, they do not nod: each rule of the contract, broken once."""

import httpx
import orjson
import pytest

from connectors import sandbox
from connectors.sandbox import dataverse, oracle, salesforce
from tests.connectors.ground import change, happening

V9 = "/api/data/v9.2"
ODATA = {"OData-Version": "4.0", "OData-MaxVersion": "4.0"}
SF = "/services/data/v61.0"
FUSION = oracle.API


@pytest.fixture
async def served():
    """`await served(name)` gives the sandbox and a client for it."""
    closing = []

    async def make(name, **parts):
        one = sandbox.SANDBOXES[name]("wall", **parts)
        running = sandbox.running(one)
        client = httpx.AsyncClient(base_url=await running.__aenter__())
        closing.append((running, client))
        return one, client

    yield make
    for running, client in closing:
        await client.aclose()
        await running.__aexit__(None, None, None)


# ---------------------------------------------------------------- Dataverse


def form(**parts):
    whole = {
        "grant_type": "client_credentials",
        "client_id": dataverse.CLIENT,
        "client_secret": dataverse.SECRET,
        "scope": "https://crm/.default",
    }
    return {**whole, **parts}


async def environment(served, **parts):
    one, client = await served("dataverse", **parts)
    answer = await client.post("/tenant/oauth2/v2.0/token", data=form())
    client.headers = {**ODATA, "Authorization": f"Bearer {answer.json()['access_token']}"}
    return one, client


TOKENS = {
    "another grant": ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    "a scope without .default": ({"scope": "https://crm/user_impersonation"}, 400, "invalid_scope"),
    "a wrong secret": ({"client_secret": "no"}, 401, "invalid_client"),
    "another client": ({"client_id": "no"}, 401, "invalid_client"),
}


@pytest.mark.parametrize(("parts", "status", "error"), TOKENS.values(), ids=TOKENS)
async def test_entra_refuses(served, parts, status, error):
    _, client = await served("dataverse")
    answer = await client.post("/tenant/oauth2/v2.0/token", data=form(**parts))
    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_entra_wants_a_form_and_a_tenant_it_knows(served):
    _, client = await served("dataverse")
    assert (await client.post("/tenant/oauth2/v2.0/token", json=form())).status_code == 400
    assert (await client.post("/other/oauth2/v2.0/token", data=form())).json()["error"] == "invalid_request"


async def test_dataverse_takes_only_tokens_that_live(served):
    one, client = await environment(served)
    path = f"{V9}/contacts(loy_loyaltyid='M-1')"
    assert (await client.patch(path, json={})).status_code == 204
    assert (await client.patch(path, json={}, headers={"Authorization": "Bearer other"})).status_code == 401
    one.expire()
    answer = await client.patch(path, json={})
    assert (answer.status_code, answer.content) == (401, b"")


PATCHES = {
    "a table that is not there": ("contact(loy_loyaltyid='M-1')", {}, 404, "0x8006088a"),
    "another key": ("contacts(emailaddress1='a')", {}, 400, "0x0"),
    "a forbidden character": ("contacts(loy_loyaltyid='card:1')", {}, 400, "0x80060888"),
    "a column that is not there": ("contacts(loy_loyaltyid='M-1')", {"Firstname": "A"}, 400, "0x0"),
    "a text too long": ("contacts(loy_loyaltyid='M-1')", {"firstname": "x" * 51}, 400, "0x80044331"),
    "a number as text": ("contacts(loy_loyaltyid='M-1')", {"loy_availablepoints": "5"}, 400, "0x80048d19"),
    "a truth as a number": ("contacts(loy_loyaltyid='M-1')", {"loy_active": 1}, 400, "0x80048d19"),
    "a date with a time": ("contacts(loy_loyaltyid='M-1')", {"birthdate": "1990-05-14T00:00:00Z"}, 400, "0x80048d19"),
    "a wrong navigation name": (
        "loy_interactions(loy_eventkey='e')",
        {"loy_contactid@odata.bind": "/contacts(loy_loyaltyid='M-1')"},
        400,
        "0x80048d19",
    ),
    "a member that is not there": (
        "loy_interactions(loy_eventkey='e')",
        {"loy_ContactId@odata.bind": "/contacts(loy_loyaltyid='M-9')"},
        404,
        "0x80060891",
    ),
    "a binding to nothing": ("loy_interactions(loy_eventkey='e')", {"loy_ContactId@odata.bind": "M-1"}, 400, "0x80048d19"),
}


@pytest.mark.parametrize(("target", "body", "status", "code"), PATCHES.values(), ids=PATCHES)
async def test_dataverse_refuses(served, target, body, status, code):
    _, client = await environment(served)
    answer = await client.patch(f"{V9}/{target}", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_dataverse_wants_odata_4_and_json(served):
    _, client = await environment(served)
    path = f"{V9}/contacts(loy_loyaltyid='M-1')"
    assert (await client.patch(path, json={}, headers={"OData-Version": "3.0"})).status_code == 400
    assert (await client.patch(path, content=b"{}", headers={"Content-Type": "text/plain"})).status_code == 415
    assert (await client.patch(path, content=b"{", headers={"Content-Type": "application/json"})).status_code == 400
    assert (await client.delete(path)).status_code == 405


async def test_dataverse_drops_a_key_in_the_body_on_change_and_believes_it_on_creation(served):
    one, client = await environment(served)
    await client.patch(f"{V9}/contacts(loy_loyaltyid='M-1')", json={"loy_loyaltyid": "M-2"})
    assert set(one.people()) == {"M-2"}
    await client.patch(f"{V9}/contacts(loy_loyaltyid='M-2')", json={"loy_loyaltyid": "M-3"})
    assert set(one.people()) == {"M-2"}


def part(line="PATCH /api/data/v9.2/contacts(loy_loyaltyid='M-1') HTTP/1.1", body="{}", outer="application/http"):
    head = f"Content-Type: {outer}\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    return f"--b\r\n{head}{line}\r\nContent-Type: application/json\r\n\r\n{body}\r\n"


async def batch(client, content, **headers):
    kind = {"Content-Type": 'multipart/mixed; boundary="b"', **headers}
    return await client.post(f"{V9}/$batch", content=content.encode(), headers=kind)


BATCHES = {
    "line feeds": part().replace("\r\n", "\n") + "--b--\n",
    "no line end at the end": part() + "--b--",
    "a part that is no call": part(outer="application/json") + "--b--\r\n",
    "a batch in a batch": part(line="POST /api/data/v9.2/$batch HTTP/1.1") + "--b--\r\n",
    "another address": part(line="PATCH /contacts HTTP/1.1") + "--b--\r\n",
    "too many parts": part() * 1001 + "--b--\r\n",
}


@pytest.mark.parametrize("content", BATCHES.values(), ids=BATCHES)
async def test_dataverse_refuses_a_batch_with(served, content):
    one, client = await environment(served)
    assert (await batch(client, content)).status_code == 400
    assert one.people() == {}


async def test_without_leave_to_go_on_a_batch_ends_at_its_first_error_with_that_status(served):
    one, client = await environment(served)
    content = (
        part() + part(body='{"no":1}') + part(line="PATCH /api/data/v9.2/contacts(loy_loyaltyid='M-3') HTTP/1.1") + "--b--\r\n"
    )
    stopped = await batch(client, content)
    assert stopped.status_code == 400
    assert stopped.text.count("HTTP/1.1 ") == 2
    assert set(one.people()) == {"M-1"}, "what came before the error stays done"
    went_on = await batch(client, content, Prefer="odata.continue-on-error")
    assert went_on.status_code == 200
    assert [line.split()[1] for line in went_on.text.split("\r\n") if line.startswith("HTTP/1.1")] == ["204", "400", "204"]


async def test_who_sends_on_while_told_to_wait_waits_longer(served):
    one, client = await environment(served)
    one.requests_max = 1
    path = f"{V9}/contacts(loy_loyaltyid='M-1')"
    assert (await client.patch(path, json={})).status_code == 204
    waits = []
    for _ in range(3):
        answer = await client.patch(path, json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "0x80072322")
        waits.append(int(answer.headers["Retry-After"]))
    assert waits == sorted(waits)
    assert waits[0] >= 299


async def test_a_fifty_third_at_once_is_one_too_many(served):
    one, client = await environment(served)
    one.at_once = 52
    answer = await client.patch(f"{V9}/contacts(loy_loyaltyid='M-1')", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "0x80072326")


# ---------------------------------------------------------------- Salesforce


async def org(served, **parts):
    one, client = await served("salesforce", **parts)
    login = {"grant_type": "client_credentials", "client_id": salesforce.CLIENT, "client_secret": salesforce.SECRET}
    answer = (await client.post("/services/oauth2/token", data=login)).json()
    assert answer["instance_url"] == str(client.base_url).rstrip("/")
    client.headers = {"Authorization": f"Bearer {answer['access_token']}"}
    return one, client


def contact(key="M-1", **parts):
    return {"attributes": {"type": "Contact"}, "Loyalty_Id__c": key, "LastName": "Lee", **parts}


async def upsert(client, *records, path="Contact/Loyalty_Id__c", **parts):
    return await client.patch(f"{SF}/composite/sobjects/{path}", json={"allOrNone": False, "records": records, **parts})


LOGINS = {
    "another grant": ({"grant_type": "password"}, "unsupported_grant_type"),
    "another client": ({"client_id": "no"}, "invalid_client_id"),
    "a wrong secret": ({"client_secret": "no"}, "invalid_client"),
}


@pytest.mark.parametrize(("parts", "error"), LOGINS.values(), ids=LOGINS)
async def test_salesforce_login_refuses(served, parts, error):
    _, client = await served("salesforce")
    whole = {"grant_type": "client_credentials", "client_id": salesforce.CLIENT, "client_secret": salesforce.SECRET, **parts}
    answer = await client.post("/services/oauth2/token", data=whole)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


REQUESTS = {
    "too many records": ([contact(f"M-{n}") for n in range(201)], "EXCEEDED_ID_LIMIT"),
    "none": ([], "EXCEEDED_ID_LIMIT"),
    "records of two objects": ([contact(), {**contact("M-2"), "attributes": {"type": "Lead"}}], "INVALID_INPUT"),
    "no type": ([{"Loyalty_Id__c": "M-1"}], "INVALID_INPUT"),
    "no key": ([{"attributes": {"type": "Contact"}, "LastName": "Lee"}], "MISSING_ARGUMENT"),
    "an id besides the key": ([contact(Id="003")], "MISSING_ARGUMENT"),
    "a field that is not there": ([contact(Nickname__c="A")], "INVALID_FIELD"),
}


@pytest.mark.parametrize(("records", "code"), REQUESTS.values(), ids=REQUESTS)
async def test_salesforce_refuses_a_request_with(served, records, code):
    one, client = await org(served)
    answer = await upsert(client, *records)
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, code)
    assert one.people() == {}


RECORDS = {
    "a text too long": (contact(FirstName="x" * 41), "STRING_TOO_LONG"),
    "no last name": (contact(LastName=None), "REQUIRED_FIELD_MISSING"),
    "a number as text": (contact(Loyalty_Available_Points__c="5"), "INVALID_TYPE_ON_FIELD_IN_RECORD"),
}


@pytest.mark.parametrize(("record", "code"), RECORDS.values(), ids=RECORDS)
async def test_salesforce_refuses_a_record_with_and_takes_the_others(served, record, code):
    one, client = await org(served)
    answer = await upsert(client, record, contact("M-2"))
    assert answer.status_code == 200
    refused, taken = answer.json()
    assert (refused["success"], refused["errors"][0]["statusCode"]) == (False, code)
    assert taken["success"]
    assert taken["created"]
    assert set(one.people()) == {"M-2"}


async def test_salesforce_has_rules_for_keys_sessions_and_the_day(served):
    one, client = await org(served)
    twice = (await upsert(client, contact(), contact())).json()
    assert {row["errors"][0]["statusCode"] for row in twice} == {"DUPLICATE_VALUE"}
    assert (await upsert(client, contact(), path="Contact/Email")).status_code == 404
    assert (await upsert(client, contact(), path="Lead/Loyalty_Id__c")).status_code == 404
    assert (await upsert(client, contact(), allOrNone=True)).status_code == 400
    one.requests_left = 0
    answer = await upsert(client, contact())
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (403, "REQUEST_LIMIT_EXCEEDED")
    one.expire()
    answer = await upsert(client, contact())
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")


async def test_salesforce_wants_the_member_of_an_interaction(served):
    _, client = await org(served)
    one = {"attributes": {"type": "Loyalty_Interaction__c"}, "Event_Key__c": "e"}
    path = "Loyalty_Interaction__c/Event_Key__c"
    [row] = (await upsert(client, one, path=path)).json()
    assert row["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    [row] = (await upsert(client, {**one, "Contact__r": {"Loyalty_Id__c": "M-9"}}, path=path)).json()
    assert row["errors"][0]["message"].startswith("Foreign key external ID: m-9 not found")


@pytest.mark.parametrize("query", ["DELETE", "SELECT Nope__c FROM Contact WHERE Loyalty_Id__c IN ('M-1')"])
async def test_salesforce_refuses_a_query_it_cannot_read(served, query):
    _, client = await org(served)
    assert (await client.get(f"{SF}/query", params={"q": query})).status_code == 400


# ---------------------------------------------------------------- Oracle


async def tenant(served, **parts):
    one, client = await served("oracle", **parts)
    client.auth = (oracle.USER, oracle.PASSWORD)
    client.headers = {"REST-Framework-Version": "4", "Upsert-Mode": "true"}
    return one, client


def piece(number, payload, **parts):
    return {"id": f"p{number}", "path": "/contacts", "operation": "upsert", "payload": payload, **parts}


async def fusion_batch(client, *parts, kind=oracle.BATCH):
    return await client.post(FUSION, content=orjson.dumps({"parts": parts}), headers={"Content-Type": kind})


ROWS = {
    "no key": ({"LastName": "Lee"}, "contacts"),
    "a key too long": ({"PartyNumber": "x" * 31, "LastName": "Lee"}, "contacts"),
    "an activity's key too long": ({"ActivityNumber": "x" * 65, "Subject": "s", "ActivityFunctionCode": "TASK"}, "activities"),
    "no last name": ({"PartyNumber": "M-1"}, "contacts"),
    "an attribute that is not there": ({"PartyNumber": "M-1", "LastName": "Lee", "Nope_c": 1}, "contacts"),
    "a number as text": ({"PartyNumber": "M-1", "LastName": "Lee", "LoyVersion_c": "1"}, "contacts"),
    "a description in the clear": (
        {"ActivityNumber": "e", "Subject": "s", "ActivityFunctionCode": "TASK", "ActivityDescription": "offer accepted!"},
        "activities",
    ),
    "a contact that is not there": (
        {
            "ActivityNumber": "e",
            "Subject": "s",
            "ActivityFunctionCode": "TASK",
            "ActivityContact": [{"ContactPartyNumber": "M-9"}],
        },
        "activities",
    ),
    "no contact": ({"ActivityNumber": "e", "Subject": "s", "ActivityFunctionCode": "TASK"}, "activities"),
}


@pytest.mark.parametrize(("payload", "resource"), ROWS.values(), ids=ROWS)
async def test_oracle_refuses_a_row_with(served, payload, resource):
    _, client = await tenant(served)
    answer = await client.post(f"{FUSION}/{resource}", json=payload)
    assert answer.status_code == 400
    assert answer.json()["o:errorDetails"][0]["detail"]


async def test_oracle_does_a_batch_whole_or_not_at_all_and_names_what_failed(served):
    one, client = await tenant(served)
    await client.post(f"{FUSION}/contacts", json={"PartyNumber": "M-1", "LastName": "Lee"})
    good = piece(1, {"PartyNumber": "M-1", "LastName": "Ray"})
    new = piece(2, {"PartyNumber": "M-2", "LastName": "Ray"})
    answer = await fusion_batch(client, good, new, piece(3, {"PartyNumber": "M-3"}), piece(4, {"PartyNumber": "M-4"}))
    assert answer.status_code == 400
    assert [part["id"] for part in answer.json()["parts"]] == ["p3"]
    assert set(one.people()) == {"M-1"}
    assert one.people()["M-1"]["LastName"] == "Lee"
    done = await fusion_batch(client, good, new)
    assert done.status_code == 200
    assert one.people()["M-1"]["LastName"] == "Ray"


BATCH_RULES = {
    "the same id twice": [piece(1, {}), piece(1, {})],
    "an operation that is none": [piece(1, {}, operation="merge")],
    "no parts": [],
    "a part without payload": [{"id": "p1", "path": "/contacts", "operation": "upsert"}],
}


@pytest.mark.parametrize("parts", BATCH_RULES.values(), ids=BATCH_RULES)
async def test_oracle_refuses_a_batch_with(served, parts):
    _, client = await tenant(served)
    assert (await fusion_batch(client, *parts)).status_code == 400


async def test_oracle_wants_credentials_a_framework_and_its_media_type(served):
    _, client = await tenant(served)
    row = {"PartyNumber": "M-1", "LastName": "Lee"}
    assert (await client.post(f"{FUSION}/contacts", json=row, auth=("integration", "no"))).status_code == 401
    assert (await client.post(f"{FUSION}/contacts", json=row, headers={"REST-Framework-Version": "2"})).status_code == 400
    assert (await client.post(f"{FUSION}/contacts", content=b"{}", headers={"Content-Type": "text/plain"})).status_code == 415
    assert (await fusion_batch(client, piece(1, row), kind="application/json")).status_code == 415
    assert (await client.post(f"{FUSION}/leads", json=row)).status_code == 404


async def test_oracle_creates_only_once_without_upsert_mode(served):
    _, client = await tenant(served)
    row = {"PartyNumber": "M-1", "LastName": "Lee"}
    plain = {"Upsert-Mode": "false"}
    assert (await client.post(f"{FUSION}/contacts", json=row, headers=plain)).status_code == 201
    again = await client.post(f"{FUSION}/contacts", json=row, headers=plain)
    assert again.status_code == 400
    assert "JBO-25013" in again.text


# ---------------------------------------------------------------- all


@pytest.mark.parametrize("name", ["dataverse", "salesforce", "oracle"])
async def test_people_can_look_at_what_arrived(ground_of, name):
    ground = await ground_of(name)

    await ground.deliver(change("M-1"), happening("M-1"))
    page = (await ground.client.get(f"{ground.url}/")).text
    assert "M-1" in page
    assert "points_earned" in page
    seen = (await ground.client.get(f"{ground.url}/_seen")).json()
    assert set(seen["people"]) == {"M-1"}
    assert seen["bugs"] == []
