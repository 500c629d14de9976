"""The Infobip sink by itself: golden requests, and every shape of answer that its contract knows. No network."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.configuration import MAPPINGS, ConfigurationError
from connectors.delivery import Again, Delivered, Halt, Rejected, Split
from connectors.infobip import Config, Infobip, event_id
from connectors.infobip.answers import ATTEMPTS_MAX
from connectors.mapping import MappingError, VendorMapping, load_mapping
from connectors.sink import Answer, Lost
from tests.connectors.ground import change, contact_of, happening, person

ZONES = [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=8))]

NOW = datetime(2026, 10, 1, 12, 0, tzinfo=UTC)
UPSERT, TAG, UNTAG = "upsert", "tag", "untag"


def sink(mapping=None, **settings):
    config = Config.load("infobip", {}, **{"base_url": "https://x.api.infobip.com", "api_key": "key", **settings})
    return Infobip(config, mapping, now=NOW.timestamp)


def said(status, body=None, **headers):
    raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    return Answer(status, headers, raw)


def drive(flow, *replies):
    """Answer a flow's calls in turn; its calls and its outcomes."""
    calls, answers = [], iter(replies)
    try:
        call = next(flow)
        while True:
            calls.append(call)
            call = flow.send(next(answers))
    except StopIteration as end:
        assert next(answers, None) is None, "not everything was asked"
        return calls, end.value


def body_of(call):
    return json.loads(call.content())


def ok(*statuses):
    return said(207, {"errors": [], "results": [{"id": n, "index": n, "status": status} for n, status in enumerate(statuses)]})


def event_of(member, **parts):
    return happening(member, at=NOW - timedelta(minutes=5), **parts)


# ---------------------------------------------------------------- golden requests


def test_a_person_is_upserted_as_the_contract_shows():
    made = change(
        "A1B2C3D4",
        contact=contact_of("A1B2C3D4", email="ann.lee@example.com", phone="+44 (7700) 900-123"),
        active_status=True,
        loyalty_anniversary_date="2024-03-01",
        opt_in_status=True,
        opt_in_date="2023-03-01",
        available_points=1250,
        earned_points=4100,
        used_points=2800,
        hold_points=50,
        next_expiring_points=200,
        points_expiration_date="2026-12-31",
        expired_points=0,
        current_tier="Gold",
        next_tier="Platinum",
        points_req_for_next_tier=750,
        tier_achieve_date="2025-01-10",
        available_rewards=["$5 Reward", "$10 Reward", "$15 Reward"],
        points_req_for_next_reward=100,
        highest_available_reward="$15 Reward",
        first_loyalty_activity_date="2023-03-01",
        last_loyalty_activity_date="2026-09-30",
        first_purchase_date="2023-03-04",
        last_purchase_date="2026-09-28",
    )
    (call,), outcomes = drive(sink().flow([made]), ok("CREATED"))
    assert (call.operation, call.method, call.path) == ("upsert", "PATCH", "/people/3/persons/upsert")
    assert body_of(call) == {
        "persons": [
            {
                "externalId": "A1B2C3D4",
                "firstName": "Ann",
                "lastName": "Lee",
                "birthDate": "1990-05-14",
                "contactInformation": [
                    {"type": "EMAIL", "identifier": "ann.lee@example.com"},
                    {"type": "PHONE", "identifier": "447700900123"},
                ],
                "customAttributes": {
                    "loyalty_id": "A1B2C3D4",
                    "loyalty_active": True,
                    "loyalty_anniversary_date": "2024-03-01",
                    "loyalty_zip_code": "SW1A 1AA",
                    "loyalty_opt_in": True,
                    "loyalty_opt_in_date": "2023-03-01",
                    "loyalty_available_points": 1250,
                    "loyalty_earned_points": 4100,
                    "loyalty_used_points": 2800,
                    "loyalty_hold_points": 50,
                    "loyalty_next_expiring_points": 200,
                    "loyalty_points_expiration_date": "2026-12-31",
                    "loyalty_expired_points": 0,
                    "loyalty_current_tier": "Gold",
                    "loyalty_next_tier": "Platinum",
                    "loyalty_points_to_next_tier": 750,
                    "loyalty_tier_achieve_date": "2025-01-10",
                    "loyalty_available_rewards": "$5 Reward | $10 Reward | $15 Reward",
                    "loyalty_points_to_next_reward": 100,
                    "loyalty_highest_reward": "$15 Reward",
                    "loyalty_first_activity_date": "2023-03-01",
                    "loyalty_last_activity_date": "2026-09-30",
                    "loyalty_first_purchase_date": "2023-03-04",
                    "loyalty_last_purchase_date": "2026-09-28",
                },
            }
        ]
    }
    assert outcomes == [Delivered()]


def test_an_event_is_recorded_as_the_contract_shows():
    one = happening(
        "A1B2C3D4",
        at=datetime(2026, 9, 30, 10, 15, tzinfo=UTC),
        data={"points": 120, "check_id": "T-991"},
        available_points=1370,
        current_tier="Gold",
    )
    (call,), outcomes = drive(sink().flow([one]), said(202))
    assert (call.operation, call.method, call.path) == ("events", "POST", "/people/3/events")
    assert body_of(call) == [
        {
            "eventId": event_id(one.event_id),
            "definitionId": "loyPointAccrual",
            "occurredTime": "2026-09-30T10:15:00.000Z",
            "identifier": {"type": "EXTERNAL_ID", "id": "A1B2C3D4"},
            "properties": {
                "loyaltyId": "A1B2C3D4",
                "points": 120,
                "balance": 1370,
                "transactionId": "T-991",
                "currentTier": "Gold",
                "occurredAt": one.occurred_at,
            },
        }
    ]
    assert outcomes == [Delivered()]


def test_the_loyalty_tag_is_one_call_for_all_that_join_and_one_for_all_that_leave():
    batch = [
        change("H-1", first=True),
        change("H-2", urgent=True),
        change("H-3"),
        change("H-4", urgent=True, opt_in_status=False),
        change("H-5", first=True, opt_in_status=False),
    ]
    (_, joined, left), outcomes = drive(sink().flow(batch), ok(*["UPDATED"] * 5), said(200), said(200))
    assert (joined.operation, joined.method, joined.path) == ("tag", "PATCH", "/people/2/tags/Loyalty/persons")
    assert body_of(joined) == {"people": [{"query": {"type": "EXTERNAL_ID", "identifier": one}} for one in ("H-1", "H-2")]}
    assert (left.operation, left.method, left.path) == ("untag", "DELETE", "/people/2/tags/Loyalty/persons")
    # H-5 may have had the tag: a repair, a resync and what was refused before are told as the first time.
    assert body_of(left) == {"people": [{"query": {"type": "EXTERNAL_ID", "identifier": one}} for one in ("H-4", "H-5")]}
    assert outcomes == [Delivered()] * 5


def test_the_key_is_in_the_header_and_nowhere_else():
    made = sink(api_key="s3cret")
    assert made.headers() == {"authorization": "App s3cret"}
    assert "s3cret" not in repr(vars(made)["_config"])


@pytest.mark.parametrize("key", ["", " ", "a\nb", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key):
    with pytest.raises(ConfigurationError, match="LOY_INFOBIP_API_KEY") as failure:
        sink(api_key=key)
    assert key.strip() == "" or key not in str(failure.value)


def test_the_line_end_of_a_file_does_not_belong_to_the_key():
    assert sink(api_key="s3cret\n").headers() == {"authorization": "App s3cret"}


# ---------------------------------------------------------------- settings


def test_values_that_are_gone_are_cleared_or_left_by_setting():
    empty = change("H-1", contact=None, points_expiration_date=None, next_tier=None, points_req_for_next_tier=None)
    cleared = sink()._bodies.person(empty.person)
    assert cleared["customAttributes"]["loyalty_points_expiration_date"] is None
    assert cleared["customAttributes"]["loyalty_next_tier"] is None
    assert cleared["customAttributes"]["loyalty_points_to_next_tier"] == 0
    assert set(cleared) == {"externalId", "customAttributes"}, "what others may have written is not touched"
    left = sink(null_mode="omit")._bodies.person(empty.person)
    assert "loyalty_points_expiration_date" not in left["customAttributes"]
    assert "loyalty_zip_code" not in left["customAttributes"]


def test_the_prefix_names_the_attributes():
    made = sink(prefix="vip ")._bodies.person(person("H-1"))["customAttributes"]
    assert all(name.startswith("vip ") for name in made)


@pytest.mark.parametrize(("kind", "identifier"), [("EMAIL", "h-1@example.com"), ("PHONE", "447")])
def test_members_may_be_known_by_address(kind, identifier):
    made = sink(identify_by=kind)
    (upsert, tag), _ = drive(made.flow([change("H-1", first=True)]), ok("CREATED"), said(200))
    assert "externalId" not in body_of(upsert)["persons"][0]
    assert body_of(upsert)["persons"][0]["customAttributes"]["loyalty_id"] == "H-1"
    query = body_of(tag)["people"][0]["query"]
    assert query["type"] == kind
    assert query["identifier"].startswith(identifier)
    (call,), _ = drive(made.flow([event_of("H-1")]), said(202))
    assert body_of(call)[0]["identifier"] == {"type": kind, "id": query["identifier"]}


@pytest.mark.parametrize("kind", ["EMAIL", "PHONE"])
def test_a_member_without_the_address_to_be_known_by_is_rejected_and_the_others_are_not(kind):
    batch = [change("H-1", contact=None), change("H-2"), change("H-3", contact=None)]
    (call,), outcomes = drive(sink(identify_by=kind).flow(batch), ok("CREATED"))
    assert [one["customAttributes"]["loyalty_id"] for one in body_of(call)["persons"]] == ["H-2"]
    assert [type(one) for one in outcomes] == [Rejected, Delivered, Rejected]
    assert outcomes[0].code == "NO_IDENTIFIER"
    assert drive(sink(identify_by=kind).flow(batch[:1]))[0] == []


def test_without_a_tag_no_tag_is_set():
    (call,), _ = drive(sink(tag="").flow([change("H-1", first=True, urgent=True)]), ok("CREATED"))
    assert call.operation == "upsert"


def test_the_tag_may_stay_after_leaving():
    flow = sink(untag_on_opt_out=False).flow([change("H-1", urgent=True, opt_in_status=False)])
    assert [call.operation for call in drive(flow, ok("UPDATED"))[0]] == ["upsert"]
    assert "tag Loyalty" not in sink(untag_on_opt_out=False).expected(change("H-1", opt_in_status=False))
    assert sink(untag_on_opt_out=False).expected(change("H-1"))["tag Loyalty"] is True


def test_the_addresses_of_a_member_that_moved_are_replaced_by_setting():
    batch = [change("H-1", moved=True), change("H-2"), change("H-3", moved=True, contact=None)]
    (_, put), outcomes = drive(sink(replace_contacts=True).flow(batch), ok(*["UPDATED"] * 3), said(200, {}))
    assert (put.method, put.path) == ("PUT", "/people/2/persons/contactInformation?type=EXTERNAL_ID&identifier=H-1")
    assert set(body_of(put)) == {"email", "phone"}
    assert body_of(put)["email"] == [{"address": "h-1@example.com"}]
    assert outcomes == [Delivered()] * 3


def test_a_page_in_place_of_an_answer_has_replaced_no_address():
    flow = sink(replace_contacts=True).flow([change("H-1", moved=True)])
    _, outcomes = drive(flow, ok("UPDATED"), said(200, b"<html>Sign in</html>"))
    assert isinstance(outcomes[0], Again)


@pytest.mark.parametrize("url", ["http://x.api.infobip.com", "ftp://x", "x.api.infobip.com"])
def test_infobip_is_reached_by_https_alone(url):
    with pytest.raises(ConfigurationError, match="LOY_INFOBIP_BASE_URL"):
        sink(base_url=url)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("identify_by", "ID"),
        ("null_mode", "zero"),
        ("provision", "maybe"),
        ("rps", "0"),
        ("erase", "all"),
        ("flows", "{"),
        ("prefix", "a{"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_its_variable(setting, value):
    with pytest.raises(ConfigurationError, match=f"LOY_INFOBIP_{setting.upper()}"):
        Config.load(
            "infobip", {"LOY_INFOBIP_BASE_URL": "https://x", "LOY_INFOBIP_API_KEY": "k", f"LOY_INFOBIP_{setting.upper()}": value}
        )


def test_what_is_missing_is_named():
    with pytest.raises(ConfigurationError, match=r"LOY_INFOBIP_BASE_URL(.|\n)*LOY_INFOBIP_API_KEY"):
        Config.load("infobip", {})


# ---------------------------------------------------------------- mappings that Infobip cannot hold


def changed(part, name, values):
    raw = load_mapping(MAPPINGS / "infobip.yaml").model_dump(mode="json", by_alias=True)
    raw[part][name] = {**raw[part][name], **values}
    return VendorMapping.model_validate_json(orjson.dumps(raw))


@pytest.mark.parametrize(
    ("part", "name", "values", "words"),
    [
        ("events", "LOY_OPT_IN", {"name": "LOY_OPT_IN"}, "letters and digits only"),
        ("events", "LOY_OPT_IN", {"name": "x" * 37}, "at most 36"),
        ("events", "LOY_OPT_IN", {"name": "loyOptOut"}, "one definitionId for several"),
        ("events", "LOY_OPT_IN", {"properties": [{"to": "Points", "from": "available_points"}]}, "lower case first"),
        ("events", "LOY_OPT_IN", {"properties": [{"to": "a-b", "from": "available_points"}]}, "a-b"),
        ("events", "LOY_OPT_IN", {"properties": [{"to": "a", "from": "current_tier"}] * 2}, "each name once"),
        ("fields", "zip_code", {"to": "zipCode"}, "no field 'zipCode'"),
        ("fields", "zip_code", {"to": "contactInformation.FAX"}, "FAX"),
        ("fields", "zip_code", {"to": "customAttributes.zip", "type": "datetime"}, "cannot be datetime"),
        ("fields", "zip_code", {"to": "customAttributes.a[0]"}, "none of"),
    ],
)
def test_a_mapping_that_infobip_cannot_hold_is_refused_at_the_start(part, name, values, words):
    with pytest.raises(MappingError) as failure:
        sink(changed(part, name, values))
    assert words in str(failure.value)


def test_a_flow_of_an_event_that_is_not_sent_is_refused_at_the_start():
    with pytest.raises(MappingError, match="LOY_CHECK_PARKED"):
        sink(flows='{"LOY_CHECK_PARKED": "1"}')


# ---------------------------------------------------------------- answers to an upsert


def error(index, code, *details, **parts):
    listed = [{"property": name, "message": words} for name, words in details]
    return {"code": code, "message": "no", "index": index, "details": listed, **parts}


BATCH = [change(f"H-{n}") for n in range(3)]


def test_207_is_read_item_by_item():
    answer = said(
        207,
        {
            "errors": [error(1, 400100, ("persons[1].contactInformation[0].identifier", "Email address is invalid"))],
            "results": [{"id": 1, "index": 0, "status": "NOT_MODIFIED"}, {"id": 2, "index": 2, "status": "CREATED"}],
        },
    )
    _, outcomes = drive(sink().flow(BATCH), answer)
    words = "no; persons[1].contactInformation[0].identifier: Email address is invalid"
    assert outcomes == [Delivered(), Rejected("400100", words), Delivered()]


@pytest.mark.parametrize(
    ("errors", "results"),
    [
        (error(0, "409100"), {"id": 1, "index": 1, "status": "UPDATED"}),
        ({"0": error(0, "409100")}, {"a": {"id": 1, "index": 1, "status": "UPDATED"}}),
        ([error(0, 409100)], [{"id": 1, "index": 1, "status": "UPDATED"}]),
    ],
)
def test_errors_and_results_may_be_objects_and_codes_may_be_texts(errors, results):
    _, outcomes = drive(sink().flow(BATCH[:2]), said(207, {"errors": errors, "results": results}))
    assert outcomes == [Rejected("409100", "no"), Delivered()]


@pytest.mark.parametrize("code", [400100, 400103, 400104, 400107, 404100, 404101, 405100, 409100, 999999])
def test_a_person_at_fault_is_rejected_with_infobips_words(code):
    _, outcomes = drive(sink().flow(BATCH[:1]), said(207, {"errors": [error(0, code)], "results": []}))
    assert outcomes == [Rejected(str(code), "no")]


def test_a_person_that_infobip_failed_on_goes_again():
    _, outcomes = drive(sink().flow(BATCH[:1]), said(207, {"errors": [error(0, 500100)], "results": []}))
    assert isinstance(outcomes[0], Again)
    assert outcomes[0].at_most is None


def test_a_person_that_is_not_mentioned_goes_again_for_a_while():
    _, outcomes = drive(sink().flow(BATCH), ok("CREATED", "CREATED"))
    assert outcomes[:2] == [Delivered()] * 2
    assert outcomes[2].at_most == ATTEMPTS_MAX


@pytest.mark.parametrize("index", [7, -1, None, "1"])
def test_an_error_that_names_nobody_splits_the_batch(index):
    _, outcomes = drive(sink().flow(BATCH), said(207, {"errors": [error(index, 400100)], "results": []}))
    assert outcomes == [Split("400100", "no")] * 3


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"[]", b"null", b'"ok"', b"{"])
def test_an_answer_that_cannot_be_read_is_the_third_outcome(body):
    _, outcomes = drive(sink().flow(BATCH), said(207, body))
    assert all(isinstance(one, Again) and one.unknown for one in outcomes)


@pytest.mark.parametrize("entries", [[1, "x", None], {"index": "x"}, 7, "text", [{"no": "index"}]])
def test_entries_that_cannot_be_read_raise_nothing(entries):
    _, outcomes = drive(sink().flow(BATCH), said(207, {"errors": entries, "results": entries}))
    assert len(outcomes) == 3


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (said(400, {"code": 400104, "message": "Missing required property 'persons'", "details": []}), Split),
        (said(401, {"requestError": {}}), Halt),
        (said(403, {"requestError": {}}), Halt),
        (said(413), Split),
        (said(429, {"errorCode": "E429"}), Again),
        (said(500, b"<html>"), Again),
        (said(503), Again),
        (said(302), Halt),
        (Lost("ReadTimeout", sent=True), Again),
    ],
)
def test_an_answer_to_the_whole_request_is_everybodys(reply, kind):
    _, outcomes = drive(sink().flow(BATCH), reply)
    assert [type(one) for one in outcomes] == [kind] * 3


def test_an_attribute_that_somebody_deleted_is_created_again_and_the_person_sent_once_more():
    gone = ("persons[1].customAttributes.loyalty_opt_in", "does not exist")
    first = said(207, {"errors": [error(1, 400100, gone)], "results": [{"id": 1, "index": 0}, {"id": 3, "index": 2}]})
    attributes = [
        {"name": name, "dataType": kind} for name, kind in sink()._bodies.attributes().items() if name != "loyalty_opt_in"
    ]
    calls, outcomes = drive(sink().flow(BATCH), first, said(200, {"customAttributes": attributes}), said(200, {}), ok("CREATED"))
    assert [call.operation for call in calls] == ["upsert", "attributes", "attributes.create", "upsert"]
    assert body_of(calls[2]) == {"name": "loyalty_opt_in", "dataType": "BOOLEAN"}
    assert [one["externalId"] for one in body_of(calls[3])["persons"]] == ["H-1"]
    assert outcomes == [Delivered()] * 3


def test_a_person_waits_when_the_attribute_cannot_be_created_now():
    gone = ("persons[0].customAttributes.x", "does not exist")
    _, outcomes = drive(sink().flow(BATCH[:1]), said(207, {"errors": [error(0, 400100, gone)]}), said(503))
    assert isinstance(outcomes[0], Again)


def test_nobody_creates_attributes_when_only_verifying():
    gone = ("persons[0].customAttributes.x", "does not exist")
    _, outcomes = drive(sink(provision="verify").flow(BATCH[:1]), said(207, {"errors": [error(0, 400100, gone)]}))
    assert isinstance(outcomes[0], Rejected)


# ---------------------------------------------------------------- answers to a tag


def test_a_tag_has_no_body_to_read():
    _, outcomes = drive(sink().flow([change("H-1", first=True)]), ok("CREATED"), said(200, b"whatever"))
    assert outcomes == [Delivered()]


def test_a_tag_that_somebody_deleted_is_created_again():
    replies = ok("CREATED"), said(404), said(404), said(200, {}), said(200)
    calls, outcomes = drive(sink().flow([change("H-1", first=True)]), *replies)
    assert [call.operation for call in calls] == ["upsert", "tag", "tag", "tag.create", "tag"]
    assert outcomes == [Delivered()]


def test_a_tag_that_cannot_be_is_a_matter_for_people():
    replies = ok("CREATED"), said(404), said(404)
    _, outcomes = drive(sink(provision="verify").flow([change("H-1", first=True)]), *replies)
    assert isinstance(outcomes[0], Halt)


def test_only_those_whose_tag_is_in_question_go_again():
    batch = [change("H-1"), change("H-2", first=True), change("H-3", first=True)]
    refused = said(207, {"errors": [error(2, 409100)], "results": [{"index": 0}, {"index": 1}]})
    calls, outcomes = drive(sink().flow(batch), refused, said(503))
    assert [one["query"]["identifier"] for one in body_of(calls[1])["people"]] == ["H-2"]
    assert [type(one) for one in outcomes] == [Delivered, Again, Rejected]


# ---------------------------------------------------------------- answers to events


def refusal(*errors):
    return said(400, {"errors": list(errors), "traceId": "t", "type": "u", "title": "wrong", "status": 400})


def ids(call):
    return [one["properties"]["loyaltyId"] for one in body_of(call)]


def test_named_events_are_taken_out_and_the_rest_is_recorded():
    batch = [event_of(f"H-{n}") for n in range(4)]
    bad = [error(0, 400504, ("eventId", "wrong")), error(2, 400506)]
    calls, outcomes = drive(sink().flow(batch), refusal(*bad), said(202))
    assert [ids(call) for call in calls] == [["H-0", "H-1", "H-2", "H-3"], ["H-1", "H-3"]]
    assert outcomes == [Rejected("400504", "no; eventId: wrong"), Delivered(), Rejected("400506", "no"), Delivered()]


def test_a_second_refusal_names_events_of_the_second_request():
    batch = [event_of(f"H-{n}") for n in range(4)]
    calls, outcomes = drive(sink().flow(batch), refusal(error(0, 400504)), refusal(error(1, 400504)), said(202))
    assert ids(calls[-1]) == ["H-1", "H-3"]
    assert [type(one) for one in outcomes] == [Rejected, Delivered, Rejected, Delivered]


@pytest.mark.parametrize("code", [400500, 400501, 400502, 400503])
def test_a_refusal_that_names_nobody_splits_the_batch(code):
    batch = [event_of(f"H-{n}") for n in range(3)]
    _, outcomes = drive(sink().flow(batch), refusal(error(-1, code)))
    assert all(isinstance(one, Split) for one in outcomes)
    assert len(outcomes) == 3


@pytest.mark.parametrize("body", [None, b"<html>", {"requestError": {"serviceException": {"text": "no"}}}, {"errors": []}])
def test_a_refusal_that_says_nothing_splits_the_batch(body):
    _, outcomes = drive(sink().flow([event_of("H-1"), event_of("H-2")]), said(400, body))
    assert [type(one) for one in outcomes] == [Split, Split]


def test_an_unknown_person_is_made_known_and_the_events_sent_again():
    batch = [event_of("H-1"), event_of("H-2"), event_of("H-1")]
    calls, outcomes = drive(sink().flow(batch), refusal(error(0, 400505), error(2, 400505)), ok("CREATED"), said(202))
    assert [call.operation for call in calls] == ["events", "upsert", "events"]
    assert body_of(calls[1]) == {"persons": [{"externalId": "H-1"}]}
    assert ids(calls[2]) == ["H-1", "H-2", "H-1"]
    assert outcomes == [Delivered()] * 3


def test_events_behind_one_that_must_wait_wait_too():
    batch = [event_of("H-1"), event_of("H-2"), event_of("H-1")]
    stranger = refusal(error(0, 400505))
    calls, outcomes = drive(sink().flow(batch), stranger, ok("CREATED"), stranger, said(202))
    assert ids(calls[-1]) == ["H-2"]
    assert [type(one) for one in outcomes] == [Again, Delivered, Again]
    assert (outcomes[0].at_most, outcomes[2].at_most) == (ATTEMPTS_MAX, None)


@pytest.mark.parametrize(("reply", "kind"), [(said(503), Again), (said(401), Halt), (Lost("x", sent=True), Again)])
def test_an_unknown_person_that_cannot_be_made_known_now_uses_up_no_attempt(reply, kind):
    _, outcomes = drive(sink().flow([event_of("H-1")]), refusal(error(0, 400505)), reply)
    assert isinstance(outcomes[0], kind)
    assert getattr(outcomes[0], "at_most", None) is None


def test_events_older_than_thirty_days_are_rejected_before_they_are_sent():
    old = happening("H-1", at=NOW - timedelta(days=30, seconds=1))
    young = happening("H-1", at=NOW - timedelta(days=29, hours=23))
    (call,), outcomes = drive(sink().flow([old, young]), said(202))
    assert len(body_of(call)) == 1
    assert outcomes[0].code == "EVENT_TOO_OLD"
    assert old.occurred_at in outcomes[0].words
    assert outcomes[1] == Delivered()
    assert drive(sink().flow([old]))[0] == []
    assert len(drive(sink(event_max_age_days="0").flow([old]), said(202))[0]) == 1


def test_an_event_larger_than_infobip_takes_is_rejected_alone():
    large = event_of("H-1", data={"check_id": "x" * 600_000})
    (call,), outcomes = drive(sink().flow([large, event_of("H-2")]), said(202))
    assert ids(call) == ["H-2"]
    assert outcomes[0].code == "EVENT_TOO_LARGE"


def test_a_batch_larger_than_infobip_takes_is_split_before_it_is_sent():
    batch = [event_of(f"H-{n}", data={"check_id": "x" * 500_000}) for n in range(40)]
    calls, outcomes = drive(sink().flow(batch))
    assert calls == []
    assert {type(one) for one in outcomes} == {Split}


def test_a_page_in_place_of_202_is_the_third_outcome():
    answer = said(200, b"<html>", **{"content-type": "text/html"})
    _, outcomes = drive(sink().flow([event_of("H-1")]), answer)
    assert outcomes[0].unknown


@pytest.mark.parametrize("body", [b"", b"{}", b"accepted"])
def test_202_needs_no_body(body):
    assert drive(sink().flow([event_of("H-1")]), said(202, body))[1] == [Delivered()]


def test_batches_keep_the_limits_and_one_kind_each():
    items = [*(change(f"H-{n}") for n in range(1500)), *([event_of("H-1")] * 7000), change("H-1", erased=True)]
    cut = list(sink().batches(items))
    assert [len(one) for one in cut] == [1000, 500, 5000, 2000, 1]
    assert [item for one in cut for item in one] == items


def test_ids_that_infobip_takes_stay_and_others_become_the_same_one_each_time():
    assert event_id("abc_DEF-123") == "abc_DEF-123"
    made = event_id("H-1/B-017/1/20260314/000512/45")
    assert made == event_id("H-1/B-017/1/20260314/000512/45")
    assert re.fullmatch("[A-Za-z0-9_-]{1,36}", made)
    assert made != event_id("H-1/B-017/1/20260314/000512/46")


@pytest.mark.parametrize(
    ("instant", "written"),
    [
        ("2026-09-30T10:15:00Z", "2026-09-30T10:15:00.000Z"),
        ("2026-09-30T12:15:00.123456+02:00", "2026-09-30T10:15:00.123Z"),
        ("2026-09-30T10:15:00.999999999Z", "2026-09-30T10:15:00.999Z"),
    ],
)
def test_times_are_written_in_utc_with_milliseconds(instant, written):
    one = happening("H-1", data={"occurred_at": instant})
    assert sink()._bodies.event(one)["occurredTime"] == written


@given(micros=st.integers(0, 4_000_000_000_000_000), zone=st.sampled_from(ZONES))
def test_any_instant_is_written_in_utc_to_the_millisecond(micros, zone):
    at = datetime.fromtimestamp(0, zone) + timedelta(microseconds=micros)
    written = sink()._bodies.event(happening("H-1", at=at))["occurredTime"]
    assert written == f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{micros // 1000 % 1000:03}Z"


# ---------------------------------------------------------------- single events


def fresh(member, **parts):
    return happening(member, at=NOW - timedelta(seconds=2), **parts)


def test_a_few_fresh_events_go_one_by_one_by_setting():
    made = sink(single_event_max_age_s="60")
    one = fresh("H-1")
    (call,), outcomes = drive(made.flow([one]), said(201, {}))
    assert call.operation == "event"
    assert call.path == "/peopleevents/2/persons/H-1/definitions/loyPointAccrual/events?identifierType=EXTERNAL_ID"
    assert set(body_of(call)) == {"eventId", "properties"}
    assert outcomes == [Delivered()]
    assert drive(made.flow([event_of("H-1")]), said(202))[0][0].operation == "events"
    assert drive(made.flow([fresh("H-1")] * 26), said(202))[0][0].operation == "events"
    assert drive(sink().flow([one]), said(202))[0][0].operation == "events"


def test_single_events_behind_one_that_failed_wait():
    made = sink(single_event_max_age_s="60")
    batch = [fresh("H-1"), fresh("H-2"), fresh("H-1")]
    calls, outcomes = drive(made.flow(batch), said(503), said(201, {}))
    assert len(calls) == 2
    assert [type(one) for one in outcomes] == [Again, Delivered, Again]


def test_a_single_event_of_an_unknown_person_makes_the_person_known():
    calls, outcomes = drive(sink(single_event_max_age_s="60").flow([fresh("H-1")]), said(404), ok("CREATED"))
    assert [call.operation for call in calls] == ["event", "upsert"]
    assert outcomes[0].at_most == ATTEMPTS_MAX


def test_a_single_event_that_is_refused_is_rejected():
    _, outcomes = drive(sink(single_event_max_age_s="60").flow([fresh("H-1"), fresh("H-1")]), said(400, {"a": 1}), said(201, {}))
    assert [type(one) for one in outcomes] == [Rejected, Delivered]


# ---------------------------------------------------------------- flows

FLOWS = {"flows": '{"LOY_POINT_ACCRUAL": "200000000000001"}'}


def test_a_flow_is_entered_after_the_event_by_address_and_with_nothing_that_merges():
    calls, outcomes = drive(sink(**FLOWS).flow([event_of("H-1")]), said(202), said(200, {"operationId": "x"}))
    entered = calls[1]
    assert (entered.operation, entered.path) == ("flow", "/moments/1/flows/200000000000001/participants")
    (participant,) = body_of(entered)["participants"]
    assert participant["identifyBy"] == {"type": "EMAIL", "identifier": "h-1@example.com"}
    assert set(participant) == {"identifyBy", "variables"}
    assert outcomes == [Delivered()]


def test_events_without_a_flow_enter_none():
    other = happening("H-1", "LOY_BIRTHDAY", at=NOW - timedelta(minutes=1))
    assert len(drive(sink(**FLOWS).flow([other]), said(202))[0]) == 1


@pytest.mark.parametrize("reply", [Lost("ReadTimeout", sent=True), said(200, b"<html>")])
def test_a_flow_whose_answer_was_lost_is_not_entered_again_unless_asked_for(reply):
    _, outcomes = drive(sink(**FLOWS).flow([event_of("H-1")]), said(202), reply)
    assert outcomes[0].code == "FLOW_UNKNOWN"
    _, outcomes = drive(sink(**FLOWS, flow_retry_on_unknown="true").flow([event_of("H-1")]), said(202), reply)
    assert outcomes[0].unknown


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (said(404, {"errorCode": "40401"}), Rejected),
        (said(429), Again),
        (said(503), Again),
        (said(401), Halt),
        (said(400, {"errorCode": "400"}), Split),
        (Lost("ConnectError", sent=False), Again),
    ],
)
def test_answers_to_entering_a_flow(reply, kind):
    _, outcomes = drive(sink(**FLOWS).flow([event_of("H-1")]), said(202), reply)
    assert isinstance(outcomes[0], kind)


def test_who_has_no_address_enters_no_flow():
    _, outcomes = drive(sink(**FLOWS).flow([event_of("H-1", contact=None)]), said(202))
    assert outcomes[0].code == "NO_CONTACT"


# ---------------------------------------------------------------- the right to be forgotten


def test_forgetting_clears_what_was_ours_and_the_tag():
    (call, untag), outcomes = drive(sink().flow([change("H-1", erased=True)]), ok("UPDATED"), said(200))
    (cleared,) = body_of(call)["persons"]
    assert cleared.pop("externalId") == "H-1"
    assert {name for name, value in cleared.items() if value is None} == {"firstName", "lastName", "birthDate"}
    assert len(cleared["customAttributes"]) == 24
    assert set(cleared["customAttributes"].values()) == {None}
    assert untag.operation == "untag"
    assert outcomes == [Delivered()]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (said(200), Delivered),
        (said(404), Delivered),
        (said(503), Again),
        (said(401), Halt),
        (said(200, b"<html>Sign in</html>"), Again),  # a gateway's: Infobip was not asked
        (said(404, b"<html>Not here</html>"), Halt),
    ],
)
def test_H04_forgetting_may_delete_the_person(reply, kind):
    (call,), outcomes = drive(sink(erase="person").flow([change("H-1", erased=True)]), reply)
    assert (call.method, call.path) == ("DELETE", "/people/2/persons?type=EXTERNAL_ID&identifier=H-1")
    assert isinstance(outcomes[0], kind)


# ---------------------------------------------------------------- looking back


def test_a_person_is_read_back_in_our_fields():
    made = sink()
    one = change("H-1")
    body = made._bodies.person(one.person)
    emails = [{"address": "OLD@example.com"}, {"address": "H-1@Example.com"}]
    phones = [{"number": item["identifier"]} for item in body["contactInformation"] if item["type"] == "PHONE"]
    held = {**body, "contactInformation": {"email": emails, "phone": phones}, "tags": ["Loyalty", "VIP"]}
    calls, found = drive(made.read(["H-1", "H-2", "H-3"]), said(200, held), said(404), said(503))
    assert calls[0].path == "/people/2/persons?type=EXTERNAL_ID&identifier=H-1"
    assert found["H-2"] is None
    assert "H-3" not in found
    expected = made.expected(one)
    assert {name: found["H-1"][name] for name in expected} == expected
    assert len(expected) == 24 + 3 + 2 + 1


def test_ids_are_quoted_in_addresses():
    made = sink(identify_by="EMAIL", erase="person")
    contact = contact_of("H-1", email="a+b&c@example.com")
    (call,), _ = drive(made.flow([change("H-1", erased=True, contact=contact)]), said(200))
    assert call.path.endswith("identifier=a%2Bb%26c%40example.com")
