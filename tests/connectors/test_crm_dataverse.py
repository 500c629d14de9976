"""Dataverse: golden requests, and every shape of answer that the contract knows."""

import pytest

from connectors.crm import interaction_key, multipart
from connectors.delivery import Again, Delivered, Halt, Rejected, Split
from connectors.sink import Answer, Call, Lost
from tests.connectors.crm_flows import drive, sink, told
from tests.connectors.ground import change, happening

DONE = (204, None)
NO_SUCH = (404, {"error": {"code": "0x80060891", "message": "A record with the specified key values does not exist"}})
TAKEN = (412, {"error": {"code": "0x80060892", "message": "A record that has the attribute values already exists."}})


def parts(*answers, boundary="batchresponse_1", end="--"):
    """A batch's answer: (status, JSON or bytes or None) for each part."""
    body = b""
    for status, content in answers:
        raw = content if isinstance(content, bytes) else b"" if content is None else told(0, content).body
        body += (
            (
                f"--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
                f"HTTP/1.1 {status} Whatever\r\nOData-Version: 4.0\r\n\r\n"
            ).encode()
            + raw
            + b"\r\n"
        )
    return Answer(200, {"content-type": f"multipart/mixed; boundary={boundary}"}, body + f"--{boundary}{end}\r\n".encode())


def error(status, code, words="why"):
    return status, {"error": {"code": code, "message": words}}


def outcomes(batch, *replies, **settings):
    """What came of the batch, and the calls."""
    one = sink("dataverse", **settings)
    calls, result = drive(one.flow(batch), *replies)
    return result, calls


TWO = [change("M-1", version=7), change("M-2", version=9)]


def test_a_batch_is_crlf_throughout_with_one_patch_by_key_a_part():
    _, calls = outcomes(TWO, parts(DONE, DONE))
    call = calls[0]
    assert (call.method, call.path) == ("POST", "/api/data/v9.2/$batch")
    assert call.headers["content-type"] == 'multipart/mixed; boundary="batch_loystream"'
    assert call.headers["prefer"] == "odata.continue-on-error"
    assert b"\n" not in call.body.replace(b"\r\n", b"")
    assert call.body.endswith(b"--batch_loystream--\r\n")
    first = call.body.split(b"--batch_loystream")[1]
    head = b"\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    assert first.startswith(
        head + b"PATCH /api/data/v9.2/contacts(loy_loyaltyid='M-1') HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{"
    )
    assert first.endswith(b"}\r\n")
    assert b'"loy_version":7' in first
    assert b'loy_loyaltyid"' not in first, "the key is in the address alone"


def test_a_single_row_goes_without_a_batch():
    result, calls = outcomes([change("M-1")], told(204))
    assert result == [Delivered()]
    assert (calls[0].method, calls[0].path) == ("PATCH", "/api/data/v9.2/contacts(loy_loyaltyid='M-1')")
    assert calls[0].json["firstname"] == "Ann"
    assert calls[0].json["birthdate"] == "1990-05-14"


def test_an_interaction_is_bound_to_its_contact_by_the_contacts_key():
    one = happening("M-1", "LOY_POINT_REDEMPTION", number=5)
    _, calls = outcomes([one], told(204))
    assert calls[0].path == f"/api/data/v9.2/loy_interactions(loy_eventkey='{interaction_key(one.event_id)}')"
    assert calls[0].json["loy_ContactId@odata.bind"] == "/contacts(loy_loyaltyid='M-1')"
    assert calls[0].json["loy_kind"] == "points_used"
    assert calls[0].json["loy_sourceevent"] == one.event_id


def test_the_headers_speak_odata_4_with_the_token():
    one = sink("dataverse")
    drive(one.flow([change("M-1")]), told(204))
    assert one.headers() == {"authorization": "Bearer T1", "odata-version": "4.0", "odata-maxversion": "4.0"}


def test_rows_are_cut_into_small_batches_members_before_interactions():
    items = [*(change(f"M-{n}") for n in range(25)), *(happening(f"M-{n}") for n in range(3)), change("M-0", erased=True)]
    assert [len(batch) for batch in sink("dataverse", batch="10").batches(items)] == [10, 10, 5, 3, 1]


PARTS = {
    "created or changed": (DONE, Delivered()),
    "a column that is not there": (error(400, "0x0", "Invalid property"), Rejected("0x0", "Invalid property")),
    "a bad payload": (error(400, "0x80048d19"), Rejected("0x80048d19", "why")),
    "a value too long": (error(400, "0x80044331"), Rejected("0x80044331", "why")),
    "a choice that is none": (error(400, "0x8004431A"), Rejected("0x8004431A", "why")),
    "no code": (error(400, ""), Rejected("400", "why")),
    "a version older than the row's": (error(400, "0x80040265", "LOY_STALE: has 9"), Delivered()),
    "a key that is not declared": (
        error(400, "0x0", "The key in the request URI is not valid for resource 'contact'."),
        Halt("400: The key in the request URI is not valid for resource 'contact'."),
    ),
    "the token ran out in between": ((401, b""), Halt("401: ")),
    "a privilege is missing": (error(403, "0x80040220"), Halt('403: {"error":{"code":"0x80040220","message":"why"}}')),
    "no such table": (error(404, "0x8006088a"), Halt("404: why")),
    "the primary key exists": (error(412, "0x80040237"), Delivered()),
    "a duplicate detection rule": (error(412, "0x80040333"), Rejected("0x80040333", "why")),
    "too large": ((413, b"<html>"), Rejected("413", "<html>")),
    "throttled": (error(429, "0x80072322"), Again("429")),
    "a gateway's page": ((502, b"<html>bad</html>"), Again("502")),
    "a success that is none": ((200, b"<html>"), Again("not the answer to an upsert", unknown=True)),
}


@pytest.mark.parametrize(("answer", "expected"), PARTS.values(), ids=PARTS)
def test_each_part_says_what_became_of_its_row(answer, expected):
    assert outcomes(TWO, parts(DONE, answer))[0] == [Delivered(), expected]


WHOLE = {
    "a malformed batch": (told(400, {"error": {"code": "0x80048d19"}}), Split),
    "throttled": (told(429, {"error": {"code": "0x80072326"}}, retry_after=17.0), Again),
    "down": (told(503), Again),
    "a page": (told(200, b"<html>", content_type="text/html"), Again),
    "no answer": (Lost("ReadTimeout", sent=True), Again),
    "no such address": (told(404, b"<html>"), Halt),
    "a privilege is missing": (told(403, {"error": {"code": "0x80040220"}}), Halt),
    "more answers than questions": (parts(DONE, DONE, DONE), Again),
}


@pytest.mark.parametrize(("answer", "kind"), WHOLE.values(), ids=WHOLE)
def test_an_answer_that_is_no_list_of_parts_counts_for_all(answer, kind):
    result, _ = outcomes(TWO, answer)
    assert [type(one) for one in result] == [kind, kind]
    assert result[0] == result[1]


def test_the_wait_that_is_asked_for_is_passed_on():
    assert outcomes(TWO, told(429, retry_after=17.0))[0] == [Again("429", 17.0)] * 2
    late = Answer(
        200, {"content-type": "multipart/mixed; boundary=b"}, b"--b\r\n\r\nHTTP/1.1 429 x\r\nRetry-After: 9\r\n\r\n\r\n--b--"
    )
    assert multipart.answers(late)[0].retry_after == 9.0


def test_a_batch_that_breaks_off_leaves_the_rest_for_later():
    result, _ = outcomes(TWO, parts(DONE))
    assert result == [Delivered(), Again("the batch was answered in part", unknown=True)]
    assert outcomes(TWO, parts(DONE, DONE, end=""))[0][0] == Delivered(), "without the closing line"


def test_who_lost_the_race_for_a_new_key_writes_again_and_updates():
    result, calls = outcomes(TWO, parts(DONE, TAKEN), told(204))
    assert result == [Delivered(), Delivered()]
    assert (calls[1].method, calls[1].path) == ("PATCH", "/api/data/v9.2/contacts(loy_loyaltyid='M-2')")


def test_a_row_that_is_always_taken_is_given_up_at_last():
    result, _ = outcomes([change("M-1")], told(*TAKEN), told(*TAKEN))
    assert result == [Again("another writer created the row", at_most=5)]


def test_an_interaction_of_an_unknown_member_waits_for_the_member():
    one = happening("M-1", number=3)
    result, calls = outcomes([one], told(*NO_SUCH), told(204), told(204))
    assert result == [Delivered()]
    assert [call.path.partition("(")[0] for call in calls] == [
        "/api/data/v9.2/loy_interactions",
        "/api/data/v9.2/contacts",
        "/api/data/v9.2/loy_interactions",
    ]
    assert calls[1].json["loy_version"] == 3


def test_if_the_member_cannot_be_written_the_interaction_shares_its_fate():
    one = happening("M-1")
    assert outcomes([one], told(*NO_SUCH), told(503))[0] == [Again("503")]
    assert outcomes([one], told(*NO_SUCH), told(*error(400, "0x80044331")))[0] == [Rejected("0x80044331", "why")]
    assert outcomes([one], told(*NO_SUCH), told(204), told(*NO_SUCH))[0] == [
        Rejected("0x80060891", NO_SUCH[1]["error"]["message"])
    ]


def test_a_member_that_waits_keeps_its_interactions_waiting():
    batch = [change("M-1"), happening("M-1"), happening("M-2")]
    result, calls = outcomes(batch, told(503), told(204))
    assert result == [Again("503"), Again("its member goes first"), Delivered()]
    assert len(calls) == 2


def test_a_member_that_was_refused_does_not_keep_a_known_one_from_its_interactions():
    result, _ = outcomes([change("M-1"), happening("M-1")], told(*error(400, "0x80044331")), told(204))
    assert result == [Rejected("0x80044331", "why"), Delivered()]


def test_only_the_latest_of_a_member_is_sent_and_counts_for_all():
    result, calls = outcomes([change("M-1", version=1), change("M-1", version=2)], told(204))
    assert result == [Delivered(), Delivered()]
    assert calls[0].json["loy_version"] == 2


# ---------------------------------------------------------------- set-up and reading


def definition(name, *, key, state="Active", columns=(), navigation=()):
    keys = [{"KeyAttributes": [key], "EntityKeyIndexStatus": state}]
    attributes = [{"LogicalName": column} for column in columns]
    relations = [{"ReferencingEntityNavigationPropertyName": one} for one in navigation]
    one = {"LogicalName": name, "Keys": keys, "Attributes": attributes, "ManyToOneRelationships": relations}
    return told(200, {"value": [one]})


def tables(one, **changes):
    mapping = one._mapping
    member = {"key": "loy_loyaltyid", "columns": mapping.member_columns()}
    interaction = {"key": "loy_eventkey", "columns": mapping.interaction_columns(), "navigation": ["loy_ContactId"]}
    return definition("contact", **{**member, **changes.get("member", {})}), definition(
        "loy_interaction", **{**interaction, **changes.get("interaction", {})}
    )


def test_set_up_asks_for_columns_keys_and_the_navigation_name():
    one = sink("dataverse")
    calls, problem = drive(one.prepare(), *tables(one))
    assert problem is None
    assert "EntitySetName%20eq%20'contacts'" in calls[0].path
    assert " " not in calls[0].path


SETUPS = {
    "a key that is still being built": (
        {"interaction": {"state": "InProgress"}},
        "table 'loy_interactions' has no active alternate key on 'loy_eventkey' alone: InProgress",
    ),
    "another key": (
        {"interaction": {"key": "other"}},
        "table 'loy_interactions' has no active alternate key on 'loy_eventkey' alone: none at all",
    ),
    "a wrong navigation name": (
        {"interaction": {"navigation": ["loy_contactid"]}},
        "table 'loy_interactions' has no loy_ContactId",
    ),
}


@pytest.mark.parametrize(("changes", "words"), SETUPS.values(), ids=SETUPS)
def test_what_is_missing_is_named_and_nothing_is_delivered(changes, words):
    one = sink("dataverse")
    assert drive(one.prepare(), *tables(one, **changes))[1] == Halt(words)


def test_a_table_that_is_not_there_is_named():
    assert drive(sink("dataverse").prepare(), told(200, {"value": []}))[1] == Halt("there is no table 'contacts'")


def test_set_up_waits_for_an_environment_that_is_down_and_can_be_left_out():
    assert drive(sink("dataverse").prepare(), told(503))[1] == Again("503")
    assert drive(sink("dataverse").prepare(), told(400, b"no"))[1] == Halt("400: no")
    assert drive(sink("dataverse").prepare(), told(200, b"<html>"))[1] == Again("the answer is no JSON object")
    assert drive(sink("dataverse", check="false").prepare()) == ([], None)


def test_members_are_read_by_key_and_who_could_not_be_read_is_not_called_missing():
    one = sink("dataverse")
    there = (200, {"firstname": "Ann", "other": 1})
    calls, held = drive(one.read(["M-1", "M-2", "M-3"]), parts(there, NO_SUCH, (503, None)))
    assert set(held) == {"M-1", "M-2"}
    assert held["M-1"]["firstname"] == "Ann"
    assert "other" not in held["M-1"]
    assert held["M-2"] is None
    assert b"GET /api/data/v9.2/contacts(loy_loyaltyid='M-1')?$select=firstname,lastname," in calls[0].body
    assert drive(one.read(["M-1", "M-2"]), told(503))[1] == {}


def test_a_batch_of_calls_is_printed_as_odata_says():
    assert multipart.printed([Call("api", "GET", "/a")]) == (
        b"--batch_loystream\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        b"GET /a HTTP/1.1\r\n\r\n\r\n--batch_loystream--\r\n"
    )


def test_a_body_that_only_looks_like_a_batch_is_none():
    assert multipart.answers(Answer(200, {}, b"")) is None
    assert multipart.answers(Answer(200, {"content-type": "multipart/mixed; boundary=b"}, b"--b\r\nno status\r\n--b--")) is None
    empty = Answer(200, {"content-type": "multipart/mixed; boundary=b"}, b"")
    assert multipart.answers(empty) == []


# ---------------------------------------------------------------- reading first


def held(version=3, etag='W/"1"', **columns):
    """What a contact says of itself; the rest is as `change` has it."""
    one = sink("dataverse")
    return 200, {"@odata.etag": etag, **one._mapping.member_row(change("M-1").person).columns, "loy_version": version, **columns}


def first(batch, *replies):
    return outcomes(batch, *replies, read_first="true")


def test_only_what_changed_is_written_and_only_on_top_of_what_was_read():
    result, calls = first([change("M-1", version=4, available_points=5)], told(*held()), told(204))
    assert result == [Delivered()]
    assert [call.method for call in calls] == ["GET", "PATCH"]
    assert "loy_version" in calls[0].path
    assert calls[1].json == {"loy_availablepoints": 5, "loy_version": 4}
    assert calls[1].headers["if-match"] == 'W/"1"'


def test_in_a_batch_the_conditions_stand_with_their_parts():
    _, calls = first(TWO, parts(held(etag='W/"8"'), NO_SUCH), parts(DONE, DONE))
    assert b'HTTP/1.1\r\nContent-Type: application/json\r\nif-match: W/"8"\r\n\r\n' in calls[1].body
    assert b"HTTP/1.1\r\nContent-Type: application/json\r\nif-none-match: *\r\n\r\n" in calls[1].body


def test_what_is_older_or_the_same_is_not_written_at_all():
    assert first([change("M-1", version=2)], told(*held(version=3)))[0] == [Delivered()]
    assert first([change("M-1", version=3)], told(*held(version=3)))[0] == [Delivered()]
    assert first([change("M-1", version=3)], told(*held(version=None)), told(204))[0] == [Delivered()]


@pytest.mark.parametrize("code", ["0x80060882", "0x80060892", "0x80040237", ""])
def test_who_comes_in_between_makes_us_read_again(code):
    result, _ = first([change("M-1", version=4)], told(*held()), told(*error(412, code)))
    assert result == [Again("another writer changed the row", at_most=20)]


READS = {
    "down": (told(503), Again("503")),
    "a page": (told(200, b"<html>"), Again("not the answer to an upsert", unknown=True)),
    "a column that is not there": (told(*error(400, "0x80060888")), Rejected("0x80060888", "why")),
    "no such table": (told(*error(404, "0x8006088a")), Halt("404: why")),
    "no answer": (Lost("ReadTimeout", sent=True), Again("ReadTimeout", unknown=True)),
}


@pytest.mark.parametrize(("answer", "expected"), READS.values(), ids=READS)
def test_what_cannot_be_read_is_not_written(answer, expected):
    assert first([change("M-1")], answer)[0] == [expected]


def test_reading_first_every_row_keeps_its_own_outcome():
    three = [*TWO, change("M-3", version=1)]
    result, _ = first(three, parts(held(version=3), error(403, "0x80040220"), NO_SUCH), parts(DONE, error(412, "0x80040333")))
    assert [type(one) for one in result] == [Delivered, Halt, Rejected]
    late = Again("the batch was answered in part", unknown=True)
    assert first(TWO, parts(NO_SUCH), told(204))[0] == [Delivered(), late]
    assert first(TWO, parts(NO_SUCH, NO_SUCH), parts(DONE))[0] == [Delivered(), late]
    assert first(TWO, parts(NO_SUCH, NO_SUCH), told(503))[0] == [Again("503")] * 2
