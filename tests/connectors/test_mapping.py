"""Mapping files: complete or refused, whole values or cut where it does no harm."""

import orjson
import pytest
import yaml

from connectors.configuration import MAPPINGS
from connectors.mapping import MappingError, Target, VendorMapping, load_mapping, nested
from schemas.events import EVENTS, PERSONAL_FIELDS, PROFILE_FIELDS
from schemas.standing import Profile
from tests.connectors.ground import example, happening, person, person_of

BASE = {"fields": dict.fromkeys(PROFILE_FIELDS), "events": dict.fromkeys(EVENTS)}


def mapping(fields=None, events=None, **parts):
    raw = {"fields": BASE["fields"] | (fields or {}), "events": BASE["events"] | (events or {}), **parts}
    return VendorMapping.model_validate_json(orjson.dumps(raw))


def written(tmp_path, **parts):
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump({**BASE, **parts}))
    return path


def test_there_are_29_fields_and_every_event_of_the_catalogue():
    assert len(PROFILE_FIELDS) == 29
    assert set(PERSONAL_FIELDS).isdisjoint(Profile.model_fields)


@pytest.mark.parametrize("field", ["zip_code", "available_points", "last_purchase_date"])
def test_a_forgotten_field_is_named(tmp_path, field):
    fields = {name: None for name in PROFILE_FIELDS if name != field}
    with pytest.raises(MappingError, match=f"fields: {field} neither mapped nor dropped"):
        load_mapping(written(tmp_path, fields=fields))


def test_a_forgotten_event_is_named(tmp_path):
    events = {name: None for name in EVENTS if name != "LOY_BIRTHDAY"}
    with pytest.raises(MappingError, match="events: LOY_BIRTHDAY neither mapped nor dropped"):
        load_mapping(written(tmp_path, events=events))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"fields": {**BASE["fields"], "shoe_size": None}}, "shoe_size unknown"),
        ({"events": {**BASE["events"], "LOY_PARTY": None}}, "LOY_PARTY unknown"),
        ({"fields": {**BASE["fields"], "zip_code": {"to": ""}}}, "fields.zip_code.to"),
        ({"fields": {**BASE["fields"], "zip_code": {"to": "zip", "type": "integer"}}}, "fields.zip_code.type"),
        ({"fields": {**BASE["fields"], "zip_code": {"to": "zip", "length": 0}}}, "fields.zip_code.length"),
        ({"fields": {**BASE["fields"], "zip_code": {"too": "zip"}}}, "fields.zip_code.too"),
        ({"shape": 1}, "shape"),
    ],
)
def test_a_mistake_is_named_with_its_path(tmp_path, parts, words):
    with pytest.raises(MappingError) as failure:
        load_mapping(written(tmp_path, **parts))
    assert words in str(failure.value)
    assert "m.yaml" in str(failure.value)


@pytest.mark.parametrize("source", ["data.pointz", "pointz", "data.profile.points", "points"])
def test_a_source_that_does_not_exist_is_named(tmp_path, source):
    event = {"name": "accrual", "properties": [{"to": "points", "from": source}]}
    with pytest.raises(MappingError, match="LOY_POINT_ACCRUAL: there is no"):
        load_mapping(written(tmp_path, events={**BASE["events"], "LOY_POINT_ACCRUAL": event}))


@pytest.mark.parametrize("text", ["a: [", "- 1", "\t", "fields: 7", ""])
def test_a_file_that_is_no_mapping_is_one_clear_error(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(MappingError, match=r"broken\.yaml"):
        load_mapping(path)


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(MappingError, match=r"nowhere\.yaml"):
        load_mapping(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("path", sorted(MAPPINGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_mapping_maps_every_profile_and_every_event_without_a_mistake(path):
    raw = yaml.safe_load(path.read_text())
    assert set(raw["fields"]) == set(PROFILE_FIELDS)
    assert set(raw["events"]) == set(EVENTS)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("target", "value", "expected"),
    [
        ({}, "Ann", "Ann"),
        ({"length": 2}, "Ann", "An"),
        ({"length": 2, "cut": False}, "Ann", None),
        ({"length": 3, "cut": False}, "Ann", "Ann"),
        ({}, 7, "7"),
        ({"type": "number"}, 7, 7),
        ({"type": "number", "absent": 0}, None, 0),
        ({"type": "boolean"}, False, False),
        ({"type": "date"}, "2026-01-02", "2026-01-02"),
        ({"type": "date"}, "2026-01-02T03:04:05Z", "2026-01-02"),
        ({"type": "datetime"}, "2026-01-02", "2026-01-02T00:00:00Z"),
        ({"type": "datetime"}, "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ({"type": "list"}, ["a", "b"], ["a", "b"]),
        ({}, ["$5", "$10", "$15"], "$5 | $10 | $15"),
        ({"length": 10}, ["$5", "$10", "$15"], "$5 | $10"),
        ({"length": 1}, ["$5", "$10"], ""),
        ({}, [], ""),
        ({}, None, None),
    ],
)
def test_values_take_the_type_of_their_target(target, value, expected):
    names, wanted = mapping(), Target.model_validate({"to": "x", **target})
    planned = names.plan([("current_tier", "x", wanted)]).values(person_of("M-1", None, {"current_tier": value}))
    for made in (names.value(value, wanted), planned["x"]):
        assert made == expected
        assert type(made) is type(expected)


def test_a_profile_has_every_mapped_name_and_no_other():
    made = mapping({"first_name": {"to": "given"}, "available_points": {"to": "points", "type": "number"}})
    assert made.profile(person("H-1", available_points=12)) == {"given": "Ann", "points": 12}
    assert made.profile(person("H-1", contact=None, available_points=12)) == {"given": None, "points": 12}


def test_properties_come_from_the_event_and_from_the_profile_and_absent_ones_are_left_out():
    event = {
        "name": "redeemed",
        "properties": [
            {"to": "points", "from": "data.points", "type": "number"},
            {"to": "reward", "from": "data.reward"},
            {"to": "tier", "from": "current_tier"},
            {"to": "at", "from": "occurred_at", "type": "datetime"},
            {"to": "id", "from": "event_id"},
        ],
    }
    one = happening("H-1", "LOY_POINT_REDEMPTION", data={"reward": None, "points": 5}, current_tier="Gold")
    made = mapping(events={"LOY_POINT_REDEMPTION": event}).properties(one)
    assert made == {"points": 5, "tier": "Gold", "at": one.occurred_at, "id": one.event_id}


def test_what_is_told_once_has_the_same_identity_for_every_event_about_it():
    event = {"name": "redeemed", "once": "data.reward"}
    made = mapping(events={"LOY_POINT_REDEMPTION": event})
    first, second = (happening("H-1", "LOY_POINT_REDEMPTION", data={"reward": "mug"}) for _ in range(2))
    other = happening("H-2", "LOY_POINT_REDEMPTION", data={"reward": "mug"})
    assert made.identity(first) == made.identity(second) != made.identity(other)
    assert mapping(events={"LOY_POINT_REDEMPTION": {"name": "r"}}).identity(first) == first.event_id


def test_names_with_dots_go_down():
    assert nested({"a": 1, "b.c": 2, "b.d.e": 3}) == {"a": 1, "b": {"c": 2, "d": {"e": 3}}}


def test_every_type_of_event_has_an_example_with_a_profile():
    for kind in EVENTS:
        assert example(kind)["profile"] is not None
