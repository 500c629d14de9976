"""Golden requests to Ometria, every answer of its contract, and the limits it publishes, kept for whatever people and events."""

import string
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.configuration import ConfigurationError
from connectors.delivery import Again, Delivered, Halt, Happening, ProfileChange, Rejected, Split
from connectors.mapping import MappingError
from connectors.ometria import Config, Ometria, event_id
from connectors.sandbox.ometria import CUSTOM_EVENTS, CUSTOM_FIELDS
from connectors.sink import Answer, Audited, Call, Demanding, Lost, Queueing
from schemas.events import EVENTS
from tests.connectors.ground import change, contact_of, event_types, example, happening, person, person_of, told

KEY = {"LOY_OMETRIA_API_KEY": "secret"}
SEGMENTS = {"LOY_OMETRIA_SEGMENTS": '{"Gold": 8400, "Silver": 8401}', "LOY_OMETRIA_MEMBER_SEGMENT": "8402"}
IN_SEGMENTS = Ometria.load(KEY | SEGMENTS)
OK = Answer(202, {}, b'{"status": "OK", "request_id": "e8d96762", "accepted": 1, "rejected": 0}')
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ANN = {
    "active_status": True,
    "loyalty_anniversary_date": "2024-03-01",
    "opt_in_status": True,
    "opt_in_date": "2023-03-01",
    "available_points": 1250,
    "earned_points": 4100,
    "used_points": 2800,
    "hold_points": 50,
    "next_expiring_points": 200,
    "points_expiration_date": "2026-12-31",
    "expired_points": 0,
    "current_tier": "Gold",
    "next_tier": "Platinum",
    "points_req_for_next_tier": 750,
    "tier_achieve_date": "2025-01-10",
    "available_rewards": ["$5 Reward", "$10 Reward", "$15 Reward"],
    "points_req_for_next_reward": 100,
    "highest_available_reward": "$15 Reward",
    "first_loyalty_activity_date": "2023-03-01",
    "last_loyalty_activity_date": "2026-09-30",
    "first_purchase_date": "2023-03-04",
    "last_purchase_date": "2026-09-28",
}
PROPERTIES = {
    "loy_id": "A1B2C3D4", "loy_active": True, "loy_anniv": "2024-03-01T00:00:00Z", "loy_zip": "SW1A 1AA",
    "loy_optin": True, "loy_optin_on": "2023-03-01T00:00:00Z",
    "loy_pts": 1250, "loy_pts_earned": 4100, "loy_pts_used": 2800, "loy_pts_hold": 50,
    "loy_pts_exp_next": 200, "loy_pts_exp_on": "2026-12-31T00:00:00Z", "loy_pts_expired": 0,
    "loy_tier": "Gold", "loy_tier_next": "Platinum", "loy_tier_gap": 750, "loy_tier_on": "2025-01-10T00:00:00Z",
    "loy_rewards": "$5 Reward | $10 Reward | $15 Reward", "loy_reward_gap": 100, "loy_reward_top": "$15 Reward",
    "loy_act_first": "2023-03-01T00:00:00Z", "loy_act_last": "2026-09-30T00:00:00Z",
    "loy_buy_first": "2023-03-04T00:00:00Z", "loy_buy_last": "2026-09-28T00:00:00Z",
}  # fmt: skip
ANN_CONTACT = orjson.loads(
    b'{"first_name": "Ann", "last_name": "Lee", "email": "ann.lee@example.com", "phone": "+447700900123",'
    b' "birthday": "1990-05-14", "zip_code": "SW1A 1AA"}'
)


@cache
def ometria(**variables):
    return Ometria.load({**KEY, **{f"LOY_OMETRIA_{name.upper()}": value for name, value in variables.items()}})


def at_noon(**variables):
    sink = ometria.__wrapped__(**variables)
    sink._now = NOW.timestamp
    return sink


def ann(*, contact=ANN_CONTACT, first=False, moved=False, erased=False, **fields):
    who = person_of("A1B2C3D4", contact, {**ANN, "loyalty_id": "A1B2C3D4", **fields}, 7)
    return ProfileChange(who, first=first, moved=moved, erased=erased)


def run(flow, *replies):
    """Drive a flow with these replies; (calls, what it returned)."""
    calls, answers = [], iter(replies)
    try:
        call = next(flow)
        while True:
            calls.append(call)
            call = flow.send(next(answers))
    except StopIteration as end:
        return calls, end.value


def delivered(sink, *batch, reply=OK):
    """(records pushed, outcomes) of one flow."""
    calls, outcomes = run(sink.flow(batch), *[reply] * 20)
    return [record for call in calls if call.operation == "push" for record in orjson.loads(call.content())], outcomes


def pushed(sink, one):
    (record,), _ = delivered(sink, one)
    return record


# ---------------------------------------------------------------- golden requests


def test_a_contact_as_the_contract_shows_it():
    calls, outcomes = run(ometria().flow([ann()]), OK)
    assert [(call.operation, call.method, call.path) for call in calls] == [("push", "POST", "/v2/push")]
    assert orjson.loads(calls[0].content()) == [
        {
            "@type": "contact",
            "@collection": "loyalty",
            "@merge": True,
            "id": "A1B2C3D4",
            "email": "ann.lee@example.com",
            "firstname": "Ann",
            "lastname": "Lee",
            "phone_number": "+447700900123",
            "date_of_birth": "1990-05-14",
            "properties": PROPERTIES,
        }
    ]
    assert outcomes == [Delivered()]
    assert len(orjson.dumps(PROPERTIES)) < 720


def test_the_key_travels_in_its_header_and_is_shown_nowhere():
    sink = ometria()
    assert sink.headers() == {"x-ometria-auth": "secret"}
    assert "secret" not in repr(sink)
    assert "secret" not in repr(sink._config)


def test_an_event_as_the_contract_shows_it():
    body = {**example("LOY_POINT_ACCRUAL"), "points": 120, "check_id": "T-991"}
    one = Happening(ann(available_points=1370).person, "A1/7", "LOY_POINT_ACCRUAL", "2026-11-20T11:59:00Z", told(body))
    assert pushed(at_noon(), one) == {
        "@type": "custom_event",
        "id": event_id("A1/7"),
        "event_type": "loy_point_accrual",
        "timestamp": "2026-11-20T11:59:00Z",
        "identity_email": "ann.lee@example.com",
        "properties": {
            "loyalty_id": "A1B2C3D4",
            "points": 120,
            "balance": 1370,
            "transaction_id": "T-991",
            "current_tier": "Gold",
        },
    }


NAMES = {
    "LOY_OPT_IN": "loy_opt_in",
    "LOY_POINT_ACCRUAL": "loy_point_accrual",
    "LOY_POINT_REDEMPTION": "loy_point_redeem",
    "LOY_OPT_OUT": "loy_opt_out",
    "LOY_TIER_UPGRADE": "tier_upgrade",
    "LOY_TIER_DOWNGRADE": "tier_downgrade",
    "LOY_TIER_ANNIVERSARY": "tier_anniversary",
    "LOY_CLOSE_TO_TIER_UPGRADE": "close_to_tier_upgrade",
}


@pytest.mark.parametrize(("kind", "name"), NAMES.items())
def test_L003_each_event_of_the_use_cases_has_its_name(kind, name):
    assert pushed(ometria(), happening("H-1", kind))["event_type"] == name


def test_L003_each_event_means_its_name_though_the_list_of_the_use_cases_swaps_two():
    close = pushed(ometria(), happening("H-1", "LOY_CLOSE_TO_TIER_UPGRADE"))
    year = pushed(ometria(), happening("H-1", "LOY_TIER_ANNIVERSARY"))
    assert "points_to_next_tier" in close["properties"]
    assert year["properties"]["years"] >= 1


def test_the_id_of_an_event_is_the_same_each_time_and_shows_no_receipt():
    one = happening("H-1", number=4711)
    assert pushed(ometria(), one)["id"] == pushed(ometria(), one)["id"] == event_id(one.event_id)
    assert "B-1" not in pushed(ometria(), one)["id"]


def test_what_somebody_has_to_create_is_listed_and_is_what_the_sandbox_has():
    sink = ometria()
    lines = sink.requirements()
    fields = dict(line.split(": ")[1].split(", ") for line in lines if line.startswith("Custom field"))
    assert fields == CUSTOM_FIELDS
    assert Counter(fields.values()) == {"string": 6, "boolean": 2, "number": 8, "date": 8}
    events = [line.split(": ")[1].split(" with ") for line in lines if line.startswith("Custom event")]
    assert {name: dict(one.split(" ") for one in told.split(", ")) for name, told in events} == CUSTOM_EVENTS
    assert "Static segment: 8400 for tier Gold" in IN_SEGMENTS.requirements()


def test_the_page_names_every_setting_and_all_that_somebody_has_to_create():
    page = Path("docs/sinks/ometria.md").read_text()
    names = [f"LOY_OMETRIA_{name.upper()}" for name in Config.model_fields]
    assert [name for name in (*names, *CUSTOM_FIELDS, *CUSTOM_EVENTS) if f"`{name}`" not in page] == []


def test_what_the_worker_may_ask_of_it():
    sink = ometria()
    assert isinstance(sink, Audited)
    assert isinstance(sink, Queueing)
    assert isinstance(sink, Demanding)


# ---------------------------------------------------------------- choices where Ometria is silent


def test_dates_may_be_days():
    sink = ometria(date_format="date")
    assert pushed(sink, ann())["properties"]["loy_anniv"] == "2024-03-01"
    assert len(pushed(sink, happening("H-1", "LOY_TIER_ANNIVERSARY"))["properties"]["tier_achieved_on"]) == 10


def test_custom_fields_may_be_texts():
    properties = pushed(ometria(properties_as_text="true"), ann())["properties"]
    assert properties["loy_pts"] == "1250"
    assert properties["loy_active"] == "true"


def test_custom_fields_without_a_value_are_null_or_left_out():
    gone = ann(next_tier=None, points_req_for_next_tier=None, available_rewards=[], first_purchase_date=None)
    properties = pushed(ometria(), gone)["properties"]
    assert properties["loy_tier_next"] is None
    assert properties["loy_rewards"] is None
    assert properties["loy_tier_gap"] == 0
    assert "loy_tier_next" not in pushed(ometria(null_mode="omit"), gone)["properties"]


def test_a_standard_field_is_emptied_only_when_the_contact_data_changed():
    poor = contact_of("H-1", last_name=None, phone=None)
    stays, emptied = pushed(ometria(), ann(contact=poor)), pushed(ometria(), ann(contact=poor, moved=True))
    assert "lastname" not in stays
    assert emptied["lastname"] is None
    assert emptied["phone_number"] is None
    assert "lastname" not in pushed(ometria(null_mode="omit"), ann(contact=poor, moved=True))


def test_the_prefix_and_the_collection_are_settings():
    record = pushed(ometria(prefix="acme_", collection="club"), ann())
    assert record["@collection"] == "club"
    assert record["properties"]["acme_pts"] == 1250


def test_customer_id_goes_out_by_setting_only_and_then_with_the_events_too():
    assert "customer_id" not in pushed(ometria(), ann())
    sink = ometria(customer_id_field="loyalty_id")
    assert pushed(sink, ann())["customer_id"] == "A1B2C3D4"
    assert pushed(sink, happening("H-1"))["identity_account_id"] == "H-1"
    with pytest.raises(ConfigurationError, match="LOY_OMETRIA_CUSTOMER_ID_FIELD"):
        ometria(customer_id_field="email_address")


def test_a_base_url_with_or_without_its_version():
    assert ometria(base_url="https://api.ometria.com/v2/").base_url == ometria().base_url == "https://api.ometria.com"
    with pytest.raises(ConfigurationError, match="https only"):
        ometria(base_url="http://api.ometria.com")


def test_pushes_are_four_a_second_unless_told_otherwise():
    assert ometria().rates == {"push": 4, "data": 4, "erase": 0.1}
    assert ometria(rps="8").rates["push"] == 8


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("+447700900123", "+447700900123"),
        ("(415) 555-2671", "+14155552671"),
        ("00447700900123", None),
        ("extension 12", None),
        ("12", None),
    ],
)
def test_a_phone_number_has_its_plus_or_is_left_out(given, sent):
    (record,), (outcome,) = delivered(ometria(), ann(contact=contact_of("H-1", phone=given)))
    assert record.get("phone_number") == sent
    assert outcome == Delivered(("phone_number_left_out",) if sent is None else ())


def test_phone_numbers_without_a_country_are_read_by_region():
    sink = Ometria.load(KEY | {"LOY_REGION": "GB"})
    assert pushed(sink, ann(contact=contact_of("H-1", phone="07700 900123")))["phone_number"] == "+447700900123"


@pytest.mark.parametrize("email", [None, "ann", "ann@", "a b@example.com", "ann@example"])
def test_without_an_address_that_ometria_would_take_a_contact_goes_without_and_an_event_not_at_all(email):
    contact = contact_of("H-1", email=email)
    assert "email" not in pushed(ometria(), ann(contact=contact))
    records, (outcome,) = delivered(ometria(without_email="reject"), ann(contact=contact))
    assert (records, outcome.code) == ([], "NO_EMAIL")
    records, (outcome,) = delivered(ometria(), happening("H-1", contact=contact))
    assert (records, outcome.code) == ([], "NO_EMAIL")


def test_what_fails_here_does_not_hold_up_the_others():
    batch = [happening("H-1"), happening("H-2", contact=None), happening("H-3")]
    records, outcomes = delivered(ometria(), *batch)
    assert [record["properties"]["loyalty_id"] for record in records] == ["H-1", "H-3"]
    assert [type(outcome) for outcome in outcomes] == [Delivered, Rejected, Delivered]
    _, outcomes = delivered(ometria(), *batch, reply=Answer(503, {}, b""))
    assert [type(outcome) for outcome in outcomes] == [Again, Rejected, Again]


# ---------------------------------------------------------------- consent

CONSENT = (b"marketing_optin", b"force_optin", b"timestamp_subscribed", b"timestamp_unsubscribed", b"channels", b"EXPLICITLY")


def test_no_request_ever_speaks_of_marketing_consent():
    consenting = contact_of("H-1") | {"marketing_consent": True}
    sink = IN_SEGMENTS
    people = [
        ann(), ann(opt_in_status=False), ann(contact=consenting), ann(contact=None), ann(erased=True), ann(moved=True, first=True),
    ]  # fmt: skip
    events = [happening("H-1", kind) for kind in event_types(sink)]
    for one in [*people, *events]:
        calls, _ = run(sink.flow([one]), *[OK] * 3)
        assert not [word for call in calls for word in CONSENT if word in call.content()]


# ---------------------------------------------------------------- segments


def test_L004_a_member_is_in_the_segments_of_the_tier_and_of_members_and_in_no_other():
    record = pushed(IN_SEGMENTS, ann())
    assert record["@add_to_lists"] == [8400, 8402]
    assert record["@remove_from_lists"] == [8401]
    assert "@add_to_lists" not in pushed(ometria(), ann())


def test_L004_a_tier_without_a_segment_leaves_those_of_the_others():
    record = pushed(IN_SEGMENTS, ann(current_tier="Platinum"))
    assert record["@add_to_lists"] == [8402]
    assert record["@remove_from_lists"] == [8400, 8401]


def test_L004_leaving_the_program_leaves_every_segment():
    record = pushed(IN_SEGMENTS, ann(opt_in_status=False, active_status=False))
    assert "@add_to_lists" not in record
    assert record["@remove_from_lists"] == [8400, 8401, 8402]
    assert record["properties"]["loy_optin"] is False
    assert record["properties"]["loy_active"] is False


def lists(*segments):
    return Answer(
        200, {}, orjson.dumps([{"@type": "list", "id": str(n), "title": f"S{n}", "type": kind} for n, kind in segments])
    )


def prepared(*replies):
    calls, problem = run(IN_SEGMENTS.prepare(), *replies)
    return [call.path for call in calls], problem


def test_at_the_start_each_segment_is_there_and_static():
    assert run(ometria().prepare()) == ([], None)
    assert prepared(lists((8400, "STATIC"), (8401, "static"), (8402, "STATIC"))) == (["/v2/lists"], None)
    _, problem = prepared(lists((8400, "STATIC"), (8401, "DYNAMIC"), (8402, "STATIC")))
    assert isinstance(problem, Halt)
    assert "8401 for tier Silver (S8401) is dynamic" in problem.why


def test_a_segment_that_the_list_does_not_show_is_asked_for():
    most = lists((8400, "STATIC"), (8402, "STATIC"))
    found = Answer(200, {}, b'{"id": "8401", "type": "STATIC"}')
    assert prepared(most, found) == (["/v2/lists", "/v2/lists/8401"], None)
    _, problem = prepared(most, Answer(404, {}, b""))
    assert problem == Halt("segment 8401 for tier Silver does not exist")


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (Answer(403, {}, b"no"), Halt),
        (Answer(404, {}, b"no"), Halt),
        (Answer(400, {}, b"no"), Halt),
        (Answer(503, {}, b""), Again),
        (Answer(200, {}, b"<html>"), Again),
        (Lost("ReadTimeout", sent=True), Again),
    ],
)
def test_a_list_of_segments_that_cannot_be_had(reply, problem):
    assert isinstance(prepared(reply)[1], problem)
    assert prepared(lists((8400, "STATIC")), reply)[1] is not None


def test_segments_are_whole_numbers():
    with pytest.raises(ConfigurationError, match="LOY_OMETRIA_SEGMENTS"):
        ometria(segments='{"Gold": "gold"}')


# ---------------------------------------------------------------- sizes


def rewards(count):
    return [f"${n} off your whole basket" for n in range(5, 5 * count + 5, 5)]


def test_a_long_list_of_rewards_is_shortened_at_an_item_and_counted():
    (record,), (outcome,) = delivered(ometria(), ann(available_rewards=rewards(40)))
    assert outcome == Delivered(("shortened",))
    kept = record["properties"]["loy_rewards"].split(" | ")
    assert kept == rewards(40)[: len(kept)]
    assert 900 < len(orjson.dumps(record["properties"])) <= 950
    assert record["properties"].keys() == PROPERTIES.keys()


def test_what_still_does_not_fit_is_dropped_in_the_order_of_the_mapping_and_counted():
    long = {"current_tier": "G" * 60, "next_tier": "P" * 60, "highest_available_reward": "R" * 60}
    (record,), (outcome,) = delivered(ometria(properties_max="700"), ann(available_rewards=rewards(3), **long))
    dropped = [name for name in PROPERTIES if name not in record["properties"]]
    assert dropped == ["loy_anniv", "loy_act_first", "loy_buy_first"]
    assert record["properties"]["loy_rewards"] is None
    assert outcome.notes == ("shortened", "dropped", "dropped", "dropped")
    assert len(orjson.dumps(record["properties"])) <= 700
    assert record["properties"]["loy_pts"] == 1250


def test_letters_of_two_bytes_count_twice():
    (record,), (outcome,) = delivered(ometria(), ann(available_rewards=["скидка на весь чек"] * 20))
    assert outcome == Delivered(("shortened",))
    assert len(orjson.dumps(record["properties"])) <= 950


def test_what_never_fits_is_rejected_before_it_is_sent():
    records, (outcome,) = delivered(ometria(properties_max="500"), ann(current_tier="x" * 600))
    assert records == []
    assert outcome.code == "PROPERTIES_TOO_LARGE"


def test_a_text_of_an_event_is_cut_and_counted():
    long = {"previous": "ж" * 600}
    (record,), (outcome,) = delivered(ometria(), happening("H-1", "LOY_TIER_UPGRADE", data=long))
    assert record["properties"]["previous_tier"] == "ж" * 512
    assert outcome == Delivered(("cut",))


def test_a_batch_has_a_hundred_records_of_one_kind():
    changes = [change(f"H-{n}") for n in range(250)]
    events = [happening(f"H-{n}") for n in range(101)]
    gone = [change(f"G-{n}", erased=True) for n in range(11)]
    sizes = [len(batch) for batch in ometria().batches([*changes, *events, *gone])]
    assert sizes == [100, 100, 50, 100, 1, 10, 1]


# ---------------------------------------------------------------- time


def test_an_event_too_old_to_start_anything_is_sent_as_it_is_and_counted():
    old = happening("H-1", at=NOW - timedelta(hours=4, seconds=1))
    (record,), (outcome,) = delivered(at_noon(), old)
    assert record["timestamp"] == old.occurred_at.upper()
    assert outcome == Delivered(("late",))
    _, (outcome,) = delivered(at_noon(), happening("H-1", at=NOW - timedelta(hours=3, minutes=59)))
    assert outcome == Delivered()


def test_or_it_is_a_dead_letter():
    records, (outcome,) = delivered(at_noon(late_events="dead_letter"), happening("H-1", at=NOW - timedelta(hours=5)))
    assert (records, outcome.code) == ([], "EVENT_LATE")


def test_events_of_one_moment_are_spread_and_a_repeat_has_the_same_time():
    sink = ometria(spread_s='{"LOY_BIRTHDAY": 600}')
    times = [pushed(sink, happening(f"H-{n}", "LOY_BIRTHDAY", at=NOW))["timestamp"] for n in range(50)]
    moments = {datetime.fromisoformat(one) for one in times}
    assert len(moments) > 40
    assert all(NOW <= one < NOW + timedelta(seconds=600) for one in moments)
    assert times == [pushed(sink, happening(f"H-{n}", "LOY_BIRTHDAY", at=NOW))["timestamp"] for n in range(50)]
    assert pushed(sink, happening("H-1", at=NOW))["timestamp"] == NOW.isoformat()
    with pytest.raises(MappingError, match="LOY_POINT_FREED is not an event that is sent"):
        ometria(spread_s='{"LOY_POINT_FREED": 600}')


# ---------------------------------------------------------------- answers

ANSWERS = {
    "accepted": (OK, Delivered()),
    "any 2xx": (Answer(200, {}, b'{"status": "OK"}'), Delivered()),
    "some rejected": (
        Answer(202, {}, b'{"accepted": 1, "rejected": 2}'),
        Split("REJECTED", '2 rejected: {"accepted": 1, "rejected": 2}'),
    ),
    "a page": (Answer(202, {}, b"<html>"), Again("an answer that cannot be read", unknown=True)),
    "nothing": (Answer(200, {}, b""), Again("an answer that cannot be read", unknown=True)),
    "a list": (Answer(200, {}, b"[]"), Again("an answer that cannot be read", unknown=True)),
    "400": (Answer(400, {}, b"Payload invalid: Record is too large."), Split("400", "Payload invalid: Record is too large.")),
    "422": (Answer(422, {}, b"no"), Split("422", "no")),
    "413": (Answer(413, {}, b""), Split("413", "the request is too large")),
    "401": (Answer(401, {}, b"no"), Halt("401: no")),
    "403": (Answer(403, {}, b"API key is not authorised"), Halt("403: API key is not authorised")),
    "404": (Answer(404, {}, b""), Halt("404 for this address: is the base URL right?")),
    "405": (Answer(405, {}, b""), Halt("405 for this address: is the base URL right?")),
    "302": (Answer(302, {}, b""), Halt("302: redirected; is the base URL right?")),
    "408": (Answer(408, {}, b""), Again("408")),
    "429": (Answer(429, {}, b""), Again("429")),
    "429 with a delay": (Answer(429, {}, b"", 2.0), Again("429", 2.0)),
    "500": (Answer(500, {}, b""), Again("500")),
    "504": (Answer(504, {}, b""), Again("504")),
    "not sent": (Lost("ConnectError", sent=False), Again("ConnectError")),
    "sent, answer lost": (Lost("ReadTimeout", sent=True), Again("ReadTimeout", unknown=True)),
}


@pytest.mark.parametrize(("reply", "outcome"), ANSWERS.values(), ids=ANSWERS)
def test_what_an_answer_means_for_everything_in_the_request(reply, outcome):
    for batch in ([change("H-1"), change("H-2")], [happening("H-1"), happening("H-2")]):
        _, outcomes = delivered(ometria(), *batch, reply=reply)
        assert outcomes == [outcome, outcome]


# ---------------------------------------------------------------- forgetting


def test_an_erased_member_is_emptied_and_leaves_every_segment():
    calls, outcomes = run(IN_SEGMENTS.flow([ann(erased=True)]), OK)
    (record,) = orjson.loads(calls[0].content())
    assert record["properties"] == dict.fromkeys(PROPERTIES)
    assert record["firstname"] is None
    assert record["@remove_from_lists"] == [8400, 8401, 8402]
    assert "email" not in record
    assert outcomes == [Delivered()]


def test_ometria_is_asked_to_forget_when_told_so():
    calls, outcomes = run(ometria(erase="true").flow([ann(erased=True), ann(erased=True, contact={})]), OK, OK)
    assert [(call.operation, call.path, call.json) for call in calls[1:]] == [
        ("erase", "/v2/data-deletion-requests", {"email": "ann.lee@example.com"})
    ]
    assert outcomes == [Delivered(), Delivered()]


def test_H04_who_is_erased_and_whose_address_nobody_knows_any_more_is_not_said_to_have_been_asked_for():
    """As when a request that Ometria refused is replayed: the contact data went with the member."""
    calls, outcomes = run(ometria(erase="true").flow([ann(erased=True, contact=None)]), OK)
    assert [call.operation for call in calls] == ["push"]
    assert [outcome.code for outcome in outcomes] == ["NO_EMAIL"]
    by_id = ometria(erase="true", erase_body='{"reference": "{loyalty_id}"}').flow([ann(erased=True, contact=None)])
    calls, outcomes = run(by_id, OK, OK)
    assert (calls[1].json, outcomes) == ({"reference": "A1B2C3D4"}, [Delivered()])


def test_what_is_asked_is_a_template():
    sink = ometria(erase="true", erase_body='{"email_address": "{email}", "reference": "{loyalty_id}", "really": true}')
    calls, _ = run(sink.flow([ann(erased=True)]), OK, OK)
    assert calls[1].json == {"email_address": "ann.lee@example.com", "reference": "A1B2C3D4", "really": True}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Answer(400, {}, b"what?"), Rejected),
        (Answer(429, {}, b""), Again),
        (Answer(403, {}, b""), Halt),
        (Answer(200, {}, b"<html>Sign in</html>"), Again),
    ],
)
def test_H04_an_erasure_that_fails_is_no_delivery(reply, kind):
    _, outcomes = run(ometria(erase="true").flow([ann(erased=True)]), OK, reply)
    assert isinstance(outcomes[0], kind)


# ---------------------------------------------------------------- looking back


def test_what_is_held_is_compared_without_case_of_addresses_and_times_of_dates():
    record = pushed(ometria(), ann())
    record["email"] = "Ann.Lee@Example.com"
    record["properties"] |= {"loy_anniv": "2024-03-01T00:00:00+00:00", "loy_pts": 1250.0}
    calls, held = run(ometria().read(["A1B2C3D4"]), Answer(200, {}, orjson.dumps(record)))
    assert calls == [Call("data", "GET", "/v2/contacts/loyalty/A1B2C3D4")]
    assert held == {"A1B2C3D4": ometria().expected(ann())}


def test_what_cannot_be_read_is_not_answered():
    _, held = run(
        ometria().read(["a", "b", "c", "d"]),
        Answer(404, {}, b""),
        Answer(503, {}, b""),
        Lost("x", sent=True),
        Answer(200, {}, b"[]"),
    )
    assert held == {"a": None}


def test_what_had_no_room_is_not_expected_there():
    expected = ometria().expected(ann(available_rewards=rewards(40)))
    assert len(expected["loy_rewards"]) < 400
    assert ometria(without_email="reject").expected(ann(contact=None)) == {}


def test_what_ometria_refused_afterwards_is_listed():
    listed = [{"error_message": "not a valid value", "error_path": "root > lastname"}, "?"]
    calls, found = run(ometria().audit(), Answer(200, {}, orjson.dumps(listed)))
    assert calls == [Call("data", "GET", "/v2/push/_errors")]
    assert found == ["root > lastname: not a valid value"]


@pytest.mark.parametrize("reply", [Answer(403, {}, b"[]"), Answer(200, {}, b"<html>"), Lost("x", sent=False)])
def test_an_audit_without_an_answer_says_nothing(reply):
    assert run(ometria().audit(), reply)[1] is None


# ---------------------------------------------------------------- mappings


def mapped(tmp_path, **changes):
    """The mapping that ships with some lines changed: fields by name, or an event's target."""
    import yaml  # noqa: PLC0415

    from connectors.configuration import MAPPINGS  # noqa: PLC0415

    raw = yaml.safe_load((MAPPINGS / "ometria.yaml").read_bytes())
    for name, target in changes.items():
        raw["events" if name in EVENTS else "fields" if name in raw["fields"] else name] = (
            raw["events" if name in EVENTS else "fields"] | {name: target} if name in EVENTS or name in raw["fields"] else target
        )
    path = tmp_path / "mapping.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


WRONG = {
    "consent": ({"opt_in_status": {"to": "marketing_optin"}}, "no field 'marketing_optin'"),
    "another standard field": ({"zip_code": {"to": "postcode"}}, "no field 'postcode'"),
    "a blank in the name": ({"zip_code": {"to": "properties.zip code"}}, "letters, digits and _ only"),
    "a list": ({"available_rewards": {"to": "properties.rewards", "type": "list"}}, "cannot be list"),
    "twice": ({"zip_code": {"to": "properties.pts"}}, "'properties.pts' is mapped twice"),
    "a long event type": ({"LOY_BIRTHDAY": {"name": "b" * 33}}, "at most 32"),
    "an event type for two": ({"LOY_BIRTHDAY": {"name": "tier_upgrade"}}, "'tier_upgrade' names several events"),
    "an event with a list": (
        {"LOY_BIRTHDAY": {"name": "b", "properties": [{"to": "r", "from": "available_rewards", "type": "list"}]}},
        "one value",
    ),
    "a property twice": (
        {"LOY_BIRTHDAY": {"name": "b", "properties": [{"to": "r", "from": "next_tier"}, {"to": "r", "from": "current_tier"}]}},
        "'r' twice",
    ),
    "an order of what is no custom field": ({"properties_drop_order": ["first_name"]}, "'first_name' is no custom field"),
}


@pytest.mark.parametrize(("changes", "words"), WRONG.values(), ids=WRONG)
def test_a_mapping_that_ometria_cannot_hold_is_refused_at_the_start(tmp_path, changes, words):
    with pytest.raises(MappingError, match=words):
        ometria(mapping=str(mapped(tmp_path, **changes)))


def test_names_that_leave_no_room_for_values_are_refused_at_the_start():
    with pytest.raises(MappingError, match="the names of the custom fields alone"):
        ometria(prefix="annex_cloud_loyalty_points_x_")


def test_an_integrator_may_rename_drop_and_add(tmp_path):
    path = mapped(
        tmp_path,
        zip_code=None,
        current_tier={"to": "properties.level"},
        LOY_POINT_ADJUSTED={
            "name": "points_corrected",
            "properties": [{"to": "points", "from": "data.points", "type": "number"}],
        },
        properties_drop_order=["current_tier"],
    )
    sink = ometria(mapping=str(path))
    properties = pushed(sink, ann())["properties"]
    assert properties["loy_level"] == "Gold"
    assert "loy_zip" not in properties
    assert pushed(sink, happening("H-1", "LOY_POINT_ADJUSTED"))["event_type"] == "points_corrected"


# ---------------------------------------------------------------- the limits, for whatever comes

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
LONG = st.builds(str.__mul__, TEXT, st.integers(0, 40))
POINTS = st.integers(0, 10**12)
DAYS = st.dates().map(str) | st.none()
EMAILS = st.none() | st.emails() | TEXT
PHONES = st.none() | TEXT | st.text("+0123456789 ()-", max_size=25)
PROFILES = st.fixed_dictionaries(
    {
        name: POINTS if "points" in name and "date" not in name and "next_tier" not in name else DAYS
        for name in ANN
        if name
        not in ("current_tier", "next_tier", "available_rewards", "highest_available_reward", "active_status", "opt_in_status")
    }
    | {
        "current_tier": TEXT,
        "next_tier": TEXT | st.none(),
        "available_rewards": st.lists(TEXT, max_size=60),
        "highest_available_reward": TEXT | st.none(),
        "active_status": st.booleans(),
        "opt_in_status": st.booleans(),
        "points_req_for_next_tier": POINTS | st.none(),
        "points_req_for_next_reward": POINTS | st.none(),
    }
)
IDS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=40)
CONTACTS = st.none() | st.builds(dict, first_name=TEXT, last_name=LONG, email=EMAILS, phone=PHONES, zip_code=TEXT, birthday=st.none() | st.dates().map(str), marketing_consent=st.booleans())  # fmt: skip


KINDS = list(event_types(ometria()))


@st.composite
def items(draw):
    loyalty_id = draw(IDS)
    who = person_of(loyalty_id, draw(CONTACTS), {**draw(PROFILES), "loyalty_id": loyalty_id}, 1)
    kind = draw(st.sampled_from([None, "erased", *KINDS]))
    if kind in (None, "erased"):
        return ProfileChange(who, draw(st.booleans()), kind == "erased", draw(st.booleans()), draw(st.booleans()))
    texts = {name: draw(LONG) for name, value in example(kind).items() if isinstance(value, str) and name != "occurred_at"}
    at = draw(st.datetimes(timezones=st.just(UTC))).isoformat()
    return Happening(who, draw(LONG), kind, at, told({**example(kind), **texts}))


@settings(max_examples=100, deadline=None)
@given(st.lists(items(), max_size=6), st.integers(1, 40))
def test_J04_every_request_keeps_the_limits_for_whatever_people_and_events(some, times):
    sink = IN_SEGMENTS
    batches = list(sink.batches(some * times))
    assert [item for batch in batches for item in batch] == some * times
    for batch in batches:
        records, outcomes = delivered(sink, *batch)
        assert len(outcomes) == len(batch)
        assert len(records) == sum(isinstance(one, Delivered) for one in outcomes)
        assert len(records) <= 100
        assert len({record["@type"] for record in records}) <= 1
        for record in records:
            assert len(orjson.dumps(record)) <= 60_000
            assert_flat(record)


def assert_flat(record):
    if record["@type"] == "contact":
        assert len(orjson.dumps(record["properties"]).decode()) < 1000
        assert record.get("email", "a@b.c").count("@") == 1
        assert (record.get("phone_number") or "+").startswith("+")
        return
    assert len(record["event_type"]) <= 32
    assert record["identity_email"]
    for value in record["properties"].values():
        assert isinstance(value, str | int | bool)
        assert not isinstance(value, str) or len(value) <= 512


def test_the_person_of_the_examples_is_whole():
    assert set(person("H-1").profile) >= set(ANN)
