"""Salesforce: golden requests, and every shape of answer that the contract knows."""

import pytest

from connectors.crm import interaction_key
from connectors.delivery import Again, Delivered, Halt, Rejected, Split
from connectors.sink import Lost
from tests.connectors.crm_flows import TOKEN, drive, sink, told
from tests.connectors.ground import change, happening

API = "/services/data/v61.0"
DONE = {"id": "003x", "success": True, "created": False, "errors": []}
UNKNOWN = ("INVALID_FIELD", "Foreign key external ID: m-1 not found for field Loyalty_Id__c in entity Contact")
TWO = [change("M-1", version=7), change("M-2", version=9)]


def failed(code, words="why"):
    return {"success": False, "errors": [{"statusCode": code, "message": words, "fields": []}]}


def refused(status, code, words="why", **parts):
    return told(status, [{"message": words, "errorCode": code, "fields": []}], **parts)


def outcomes(batch, *replies, **settings):
    calls, result = drive(sink("salesforce", **settings).flow(batch), *replies)
    return result, calls


def test_contacts_are_upserted_together_by_external_id_and_judged_alone():
    result, calls = outcomes(TWO, told(200, [DONE, DONE]))
    assert result == [Delivered(), Delivered()]
    assert (calls[0].method, calls[0].path) == ("PATCH", f"{API}/composite/sobjects/Contact/Loyalty_Id__c")
    assert calls[0].json["allOrNone"] is False
    first = calls[0].json["records"][0]
    assert first["attributes"] == {"type": "Contact"}
    assert (first["Loyalty_Id__c"], first["Loyalty_Version__c"], first["LastName"]) == ("M-1", 7, "Lee")


def test_an_interaction_is_bound_by_the_contacts_external_id():
    one = happening("M-1", "LOY_POINT_REDEMPTION")
    _, calls = outcomes([one], told(200, [DONE]))
    record = calls[0].json["records"][0]
    assert calls[0].path == f"{API}/composite/sobjects/Loyalty_Interaction__c/Event_Key__c"
    assert record["Event_Key__c"] == interaction_key(one.event_id)
    assert record["Contact__r"] == {"Loyalty_Id__c": "M-1"}
    assert record["Kind__c"] == "points_used"


def test_a_name_is_never_empty_where_the_object_wants_one():
    _, calls = outcomes([change("M-1", contact=None)], told(200, [DONE]))
    assert calls[0].json["records"][0]["LastName"] == "Member"
    assert calls[0].json["records"][0]["FirstName"] is None


def test_two_hundred_records_at_most_go_together_and_of_one_object():
    items = [*(change(f"M-{n}") for n in range(450)), *(happening(f"M-{n}") for n in range(3))]
    assert [len(batch) for batch in sink("salesforce").batches(items)] == [200, 200, 50, 3]


@pytest.mark.parametrize(("setting", "header"), [("true", "allowSave=true"), ("false", "allowSave=false")])
def test_a_duplicate_rule_that_only_warns_is_passed_or_kept(setting, header):
    assert sink("salesforce", save_duplicates=setting).headers()["sforce-duplicate-rule-header"] == header


def test_calls_go_to_the_instance_that_the_token_names():
    one = sink("salesforce")
    assert one.base_url == "https://crm.example.org"
    drive(one.flow([change("M-1")]), told(200, [DONE]), token={**TOKEN, "instance_url": "https://eu7.example.org"})
    assert one.base_url == "https://eu7.example.org"


ROWS = {
    "a value too long": (failed("STRING_TOO_LONG"), Rejected("STRING_TOO_LONG", "why")),
    "the record is being written": (failed("UNABLE_TO_LOCK_ROW"), Again("UNABLE_TO_LOCK_ROW: why")),
    "the limit was reached in the middle": (failed("REQUEST_LIMIT_EXCEEDED"), Again("REQUEST_LIMIT_EXCEEDED: why", 300.0)),
    "storage is full": (failed("STORAGE_LIMIT_EXCEEDED"), Halt("STORAGE_LIMIT_EXCEEDED: why")),
    "another writer was first": (
        failed("DUPLICATE_VALUE", "duplicate value found: Loyalty_Id__c duplicates value on record with id: 003"),
        Again(
            "another writer created the record: duplicate value found: Loyalty_Id__c duplicates value on record with id: 003",
            at_most=5,
        ),
    ),
    "another unique field": (
        failed("DUPLICATE_VALUE", "duplicate value found: Email2__c duplicates value"),
        Rejected("DUPLICATE_VALUE", "duplicate value found: Email2__c duplicates value"),
    ),
    "a version older than the record's": (failed("FIELD_CUSTOM_VALIDATION_EXCEPTION", "LOY_STALE: has 9"), Delivered()),
    "another rule": (failed("FIELD_CUSTOM_VALIDATION_EXCEPTION"), Rejected("FIELD_CUSTOM_VALIDATION_EXCEPTION", "why")),
    "a duplicate rule that blocks": (failed("DUPLICATES_DETECTED"), Rejected("DUPLICATES_DETECTED", "why")),
    "no reason": ({"success": False}, Rejected("", "")),
    "nothing": (None, Again("a result is missing", unknown=True)),
}


@pytest.mark.parametrize(("row", "expected"), ROWS.values(), ids=ROWS)
def test_each_result_says_what_became_of_its_record(row, expected):
    assert outcomes(TWO, told(200, [DONE, row]))[0] == [Delivered(), expected]


WHOLE = {
    "the limit of 24 hours is used up": (refused(403, "REQUEST_LIMIT_EXCEEDED"), Again("why", 300.0)),
    "a permission is missing": (
        refused(403, "INSUFFICIENT_ACCESS"),
        Halt('403: [{"message":"why","errorCode":"INSUFFICIENT_ACCESS","fields":[]}]'),
    ),
    "several records have the key": (told(300, ["/a", "/b"]), Split("300", "several records have this External Id")),
    "a field that is not there": (
        refused(400, "INVALID_FIELD"),
        Split("400", '[{"message":"why","errorCode":"INVALID_FIELD","fields":[]}]'),
    ),
    "a lock for all": (refused(400, "UNABLE_TO_LOCK_ROW"), Again("UNABLE_TO_LOCK_ROW")),
    "no such field": (told(404, b"x"), Halt("404 for this address: is the base URL right?")),
    "down": (refused(503, "SERVER_UNAVAILABLE"), Again("503")),
    "a page": (told(200, b"<html>"), Again("the answer is no list of results", unknown=True)),
    "fewer results than records": (told(200, [DONE]), Again("the answer is no list of results", unknown=True)),
    "no answer": (Lost("ReadTimeout", sent=True), Again("ReadTimeout", unknown=True)),
}


@pytest.mark.parametrize(("answer", "expected"), WHOLE.values(), ids=WHOLE)
def test_an_answer_that_is_no_list_of_results_counts_for_all(answer, expected):
    assert outcomes(TWO, answer)[0] == [expected, expected]


def test_an_interaction_of_an_unknown_member_waits_for_the_member():
    result, calls = outcomes([happening("M-1")], told(200, [failed(*UNKNOWN)]), told(200, [DONE]), told(200, [DONE]))
    assert result == [Delivered()]
    assert [call.path.rsplit("/", 2)[1] for call in calls] == ["Loyalty_Interaction__c", "Contact", "Loyalty_Interaction__c"]


def test_a_contact_whose_own_lookup_leads_nowhere_is_refused():
    assert outcomes([change("M-1")], told(200, [failed(*UNKNOWN)]))[0] == [Rejected(*UNKNOWN)]


# ---------------------------------------------------------------- set-up and reading


def description(one, kind, *, unique=True, without=()):
    mapping = one._mapping
    key, columns = {
        "Contact": (mapping.member.key, mapping.member_columns()),
        "Loyalty_Interaction__c": (mapping.interaction.key, {*mapping.interaction_columns()}),
    }[kind]
    fields = [{"name": name} for name in columns - set(without)]
    fields.append({"name": key, "externalId": True, "unique": unique})
    fields.append({"name": "Contact__c", "relationshipName": "Contact__r"})
    return told(200, {"name": kind, "fields": fields})


def test_set_up_asks_for_fields_and_unique_external_ids():
    one = sink("salesforce")
    calls, problem = drive(one.prepare(), description(one, "Contact"), description(one, "Loyalty_Interaction__c"))
    assert problem is None
    assert [call.path for call in calls] == [
        f"{API}/sobjects/Contact/describe",
        f"{API}/sobjects/Loyalty_Interaction__c/describe",
    ]


def test_what_is_missing_is_named_and_nothing_is_delivered():
    one = sink("salesforce")
    lacking = description(one, "Contact", without=["Loyalty_Version__c"])
    words = "object 'Contact' has no Loyalty_Version__c, or the integration user may not see it"
    assert drive(one.prepare(), lacking)[1] == Halt(words)
    ambiguous = description(one, "Contact", unique=False)
    assert drive(one.prepare(), ambiguous)[1] == Halt("Contact.Loyalty_Id__c is no unique External Id")
    assert drive(one.prepare(), told(503))[1] == Again("503")
    assert drive(sink("salesforce", check="false").prepare()) == ([], None)


def test_members_are_read_by_a_query_over_all_its_pages():
    one = sink("salesforce")
    first = {"records": [{"Loyalty_Id__c": "M-1", "LastName": "Lee"}], "done": False, "nextRecordsUrl": f"{API}/query/01g-200"}
    second = {"records": [{"Loyalty_Id__c": "M-2", "LastName": "Ray"}], "done": True}
    calls, held = drive(one.read(["M-1", "M-2", "M-3"]), told(200, first), told(200, second))
    assert held["M-1"]["LastName"] == "Lee"
    assert held["M-2"]["LastName"] == "Ray"
    assert held["M-3"] is None
    assert "WHERE%20Loyalty_Id__c%20IN%20%28%27M-1%27%2C%27M-2%27" in calls[0].path
    assert calls[1].path == f"{API}/query/01g-200"


def test_who_could_not_be_read_is_not_called_missing():
    assert drive(sink("salesforce").read(["M-1"]), told(503))[1] == {}
