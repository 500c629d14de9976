"""Oracle Sales: golden requests, and every shape of answer that the contract knows or leaves open."""

from base64 import b64decode

import pytest

from connectors.crm import interaction_key
from connectors.delivery import Again, Delivered, Halt, Rejected, Split
from connectors.sink import Lost
from tests.connectors.crm_flows import drive, sink, told
from tests.connectors.ground import change, happening

API = "/crmRestApi/resources/11.13.18.05"
TWO = [change("M-1", version=7), change("M-2", version=9)]
NOBODY = told(200, {"items": []})
ALL = told(200, {"parts": [{"id": "p0"}, {"id": "p1"}]})


def error(words="why", code="27004", path="/LastName"):
    return {
        "title": "Bad Request",
        "status": "400",
        "o:errorDetails": [{"detail": words, "o:errorCode": code, "o:errorPath": path}],
    }


def outcomes(batch, *replies, **settings):
    calls, result = drive(sink("oracle", **settings).flow(batch), *replies)
    return result, calls


def test_several_rows_are_the_parts_of_one_batch_at_the_root():
    result, calls = outcomes(TWO, ALL)
    assert result == [Delivered(), Delivered()]
    assert (calls[0].method, calls[0].path) == ("POST", API)
    assert calls[0].headers["content-type"] == "application/vnd.oracle.adf.batch+json"
    assert "application/vnd.oracle.adf.error+json" in calls[0].headers["accept"]
    first, second = calls[0].json["parts"]
    assert (first["id"], first["path"], first["operation"]) == ("p0", "/contacts", "upsert")
    assert (first["payload"]["PartyNumber"], first["payload"]["LoyVersion_c"]) == ("M-1", 7)
    assert second["payload"]["PartyNumber"] == "M-2"


def test_a_single_row_is_a_post_in_upsert_mode():
    result, calls = outcomes([change("M-1")], told(200, {"PartyNumber": "M-1"}))
    assert result == [Delivered()]
    assert (calls[0].method, calls[0].path) == ("POST", f"{API}/contacts")
    headers = sink("oracle").headers()
    assert headers["upsert-mode"] == "true"
    assert headers["rest-framework-version"] == "4"
    assert b64decode(headers["authorization"].removeprefix("Basic ")) == b"user:s3~+/="


def test_an_activity_carries_our_key_its_contact_and_a_description_in_base64():
    one = happening("M-1", "LOY_POINT_REDEMPTION")
    _, calls = outcomes([one], told(201, {"ActivityNumber": "x"}))
    row = calls[0].json
    assert calls[0].path == f"{API}/activities"
    assert row["ActivityNumber"] == interaction_key(one.event_id)
    assert len(row["ActivityNumber"]) <= 64
    assert row["ActivityContact"] == [{"ContactPartyNumber": "M-1"}]
    assert b64decode(row["ActivityDescription"]).decode() == one.event_id
    assert (row["Subject"], row["ActivityFunctionCode"]) == ("Used points", "TASK")


def test_of_a_refused_batch_the_part_that_is_named_goes_and_the_rest_is_sent_again():
    refused = told(400, {"parts": [{"id": "p0", "path": "/contacts", "operation": "upsert", **error()}]})
    result, calls = outcomes(TWO, refused, told(200, {"parts": [{"id": "p1"}]}))
    assert result == [Rejected("27004", "/LastName why"), Delivered()]
    assert [part["id"] for part in calls[1].json["parts"]] == ["p1"]


def test_a_failing_part_in_an_answer_of_success_is_believed():
    odd = told(200, {"parts": [{"id": "p1", **error()}]})
    assert outcomes(TWO, odd, told(200, {"parts": []}))[0] == [Delivered(), Rejected("27004", "/LastName why")]


def test_a_part_that_nobody_sent_names_nobody():
    odd = told(400, {"parts": [{"id": "p9", **error()}]})
    assert {type(one) for one in outcomes(TWO, odd)[0]} == {Split}


WHOLE = {
    "refused, and no part is named": (told(400, error()), Split),
    "older frameworks answer text": (told(400, b"JBO-27014: Attribute LastName is required"), Split),
    "throttled": (told(429, retry_after=9.0), Again),
    "down": (told(503, b"<html>"), Again),
    "a page": (told(200, b"<html>"), Again),
    "JSON that is no batch": (told(200, {"items": []}), Again),
    "no answer": (Lost("ReadTimeout", sent=True), Again),
    "wrong credentials": (told(401), Halt),
    "a role is missing": (told(403, b"no"), Halt),
    "no such address": (told(404), Halt),
    "too large": (told(413), Split),
}


@pytest.mark.parametrize(("answer", "kind"), WHOLE.values(), ids=WHOLE)
def test_an_answer_that_names_no_part_counts_for_all(answer, kind):
    result, _ = outcomes(TWO, answer)
    assert [type(one) for one in result] == [kind, kind]


SINGLE = {
    "created": (told(201, {"PartyNumber": "M-1"}), Delivered()),
    "refused": (told(400, error()), Rejected("27004", "/LastName why")),
    "refused in plain text": (told(400, b"JBO-27014: required"), Rejected("400", "JBO-27014: required")),
    "a version older than the row's": (told(400, error("JBO-FND:::: LOY_STALE: has 9")), Delivered()),
    "another writer was first": (
        told(400, error("JBO-25013: Too many objects match the primary key")),
        Again("another writer created the row: /LastName JBO-25013: Too many objects match the primary key", at_most=5),
    ),
    "changed since": (told(412, b"etag"), Rejected("412", "etag")),
    "no code": (told(400, {"status": "400", "o:errorDetails": [{"detail": "why"}]}), Rejected("400", "why")),
    "a page": (told(200, b"<html>"), Again("the answer is no JSON object")),
    "no such resource": (told(404, b""), Halt("404 for this address: is the base URL right?")),
    "down": (told(500, b""), Again("500")),
}


@pytest.mark.parametrize(("answer", "expected"), SINGLE.values(), ids=SINGLE)
def test_a_single_answer_says_what_became_of_the_row(answer, expected):
    assert outcomes([change("M-1")], answer)[0] == [expected]


def test_an_interaction_of_a_missing_member_gets_one_more_try_with_the_member_written_first():
    refused = told(400, error("no such contact"))
    result, calls = outcomes([happening("M-1")], refused, NOBODY, told(200, {}), told(200, {}))
    assert result == [Delivered()]
    assert [(call.method, call.path.partition("?")[0]) for call in calls] == [
        ("POST", f"{API}/activities"),
        ("GET", f"{API}/contacts"),
        ("POST", f"{API}/contacts"),
        ("POST", f"{API}/activities"),
    ]


def test_an_interaction_of_a_member_who_is_there_is_rejected_and_the_member_not_touched():
    refused = told(400, error("bad subject"))
    somebody = told(200, {"items": [{"PartyNumber": "M-1"}]})
    result, calls = outcomes([happening("M-1")], refused, somebody, refused)
    assert result == [Rejected("27004", "/LastName bad subject")]
    assert calls[1].path.endswith("&fields=PartyNumber&onlyData=true&limit=1")
    assert outcomes([happening("M-1")], refused, somebody, told(200, {}))[0] == [Delivered()], "somebody wrote it meanwhile"


def test_if_it_was_not_that_the_interaction_is_rejected_with_the_words():
    refused = told(400, error("bad subject"))
    answers = (refused, NOBODY, told(200, {}), refused, told(200, {"items": [{"PartyNumber": "M-1"}]}), refused)
    assert outcomes([happening("M-1")], *answers)[0] == [Rejected("27004", "/LastName bad subject")]


def test_while_nobody_can_say_whether_the_member_is_there_nothing_is_decided():
    result, _ = outcomes([happening("M-1")], told(400, error()), told(503))
    assert result == [Again("refused, and whether its member is there could not be asked: /LastName why")]


def test_a_tenant_without_upserts_in_batches_gets_single_requests():
    one = sink("oracle", batch="1")
    assert [len(batch) for batch in one.batches([*TWO, happening("M-1")])] == [1, 1, 1]


# ---------------------------------------------------------------- set-up and reading


def described(one, table, *, without=()):
    mapping = one._mapping
    columns = {
        "contacts": {mapping.member.key, *mapping.member_columns()},
        "activities": {mapping.interaction.key, *mapping.interaction_columns()},
    }[table]
    attributes = [{"name": name} for name in columns - set(without)]
    return told(200, {"Resources": {table: {"attributes": attributes, "children": {"ActivityContact": {}}}}})


def test_set_up_asks_each_resource_for_its_attributes():
    one = sink("oracle")
    calls, problem = drive(one.prepare(), described(one, "contacts"), described(one, "activities"))
    assert problem is None
    assert [call.path for call in calls] == [f"{API}/contacts/describe", f"{API}/activities/describe"]


def test_what_is_missing_is_named_and_nothing_is_delivered():
    one = sink("oracle")
    lacking = described(one, "contacts", without=["LoyVersion_c", "DateOfBirth"])
    assert drive(one.prepare(), lacking)[1] == Halt("resource 'contacts' has no DateOfBirth, LoyVersion_c")
    assert drive(one.prepare(), told(401))[1] == Halt("401: ")
    assert drive(one.prepare(), told(503))[1] == Again("503")
    assert drive(sink("oracle", check="false").prepare()) == ([], None)


def test_members_are_read_by_a_query():
    one = sink("oracle")
    rows = {"items": [{"PartyNumber": "M-1", "LastName": "Lee", "links": []}]}
    calls, held = drive(one.read(["M-1", "M-2"]), told(200, rows))
    assert held["M-1"]["LastName"] == "Lee"
    assert held["M-2"] is None
    assert "q=PartyNumber%20in%20%28%27M-1%27%2C%27M-2%27%29&fields=PartyNumber,FirstName" in calls[0].path
    assert drive(one.read(["M-1"]), told(503))[1] == {}
