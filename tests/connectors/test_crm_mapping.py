"""The mapping files of the CRM systems: complete, checked at start, and the keys that make a row one."""

import re

import pytest
import yaml

from connectors import crm
from connectors.configuration import MAPPINGS, ConfigurationError
from connectors.crm import CrmMapping, interaction_key
from connectors.crm.mapping import known
from connectors.mapping import MappingError, load_mapping
from schemas.events import EVENTS, PROFILE_FIELDS
from tests.connectors.crm_flows import ENVIRONMENTS, environment, sink
from tests.connectors.ground import happening, person

LEGAL_EVERYWHERE = re.compile(r"[A-Za-z0-9._-]{1,64}")
adapters = pytest.mark.parametrize("adapter", ENVIRONMENTS)


def edited(tmp_path, adapter, change):
    """The shipped mapping with a change, loaded."""
    raw = yaml.safe_load((MAPPINGS / f"{adapter}.yaml").read_text())
    change(raw)
    path = tmp_path / "mapping.yaml"
    path.write_text(yaml.safe_dump(raw))
    return load_mapping(path, CrmMapping)


def shipped(adapter):
    return load_mapping(MAPPINGS / f"{adapter}.yaml", CrmMapping)


@adapters
def test_all_fields_but_the_key_and_all_events_are_mapped(adapter):
    mapping = shipped(adapter)
    assert [name for name in PROFILE_FIELDS if mapping.fields[name] is None] == ["loyalty_id"]
    assert [name for name in EVENTS if mapping.events[name] is None] == []
    assert sink(adapter).events == set(EVENTS)


@adapters
def test_no_two_values_go_to_one_column(adapter):
    mapping = shipped(adapter)
    targets = [target.to for target in mapping.fields.values() if target]
    assert len(set(targets)) == len(targets)
    for event in mapping.events.values():
        columns = [prop.to for prop in event.properties]
        assert len(set(columns)) == len(columns)


@adapters
def test_a_row_carries_the_version_of_the_profile(adapter):
    mapping = shipped(adapter)
    row = mapping.member_row(person("M-1", version=47))
    assert row.columns[mapping.member.version] == 47
    assert row.loyalty_id == "M-1"
    assert mapping.member.key not in row.columns


@adapters
def test_a_row_names_every_column_that_the_set_up_asks_for(adapter):
    mapping = shipped(adapter)
    assert set(mapping.member_row(person("M-1")).columns) == mapping.member_columns()
    rows = [mapping.interaction_row(happening("M-1", kind, data={"reward": "coffee"})) for kind in EVENTS]
    assert {name for row in rows for name in row.columns} == mapping.interaction_columns()
    needed = sink(adapter).requirements()
    assert all(any(line.endswith(f": {name}") for line in needed) for name in mapping.member_columns())


@adapters
def test_of_an_erased_member_nothing_of_ours_is_left(adapter):
    mapping = shipped(adapter)
    kept = {mapping.member.version, *(target.to for target in mapping.fields.values() if target and target.absent)}
    row = mapping.member_row(person("M-1"), erased=True)
    assert {name for name, value in row.columns.items() if value is not None} == kept
    assert known(person("M-1"), erased=False) == person("M-1")


@adapters
def test_every_key_is_legal_and_the_same_for_a_repeat(adapter):
    mapping = shipped(adapter)
    first, other = happening("M-1", number=1), happening("M-1", number=2)
    again = happening("M-1", number=1)
    assert re.search(r"[/:]", first.event_id), "our own id would not do as a key"
    assert LEGAL_EVERYWHERE.fullmatch(mapping.interaction_row(first).key)
    assert mapping.interaction_row(first).key == mapping.interaction_row(again).key
    assert mapping.interaction_row(first).key != mapping.interaction_row(other).key


def test_the_key_of_an_event_never_changes_between_releases():
    assert interaction_key("H-1/rq-4/47") == "b8441ec8-9bcb-5419-80dd-85b8e0794dd4"


@adapters
def test_an_offer_has_one_row_for_each_member_whatever_the_answer(tmp_path, adapter):
    def once(raw):
        for kind in ("LOY_POINT_RESERVED", "LOY_POINT_FREED"):  # stand for accepted and rejected: both name what they are about
            raw["events"][kind]["once"] = "data.reservation"

    mapping = edited(tmp_path, adapter, once)

    def key(member, kind, number, about):
        return mapping.interaction_row(happening(member, kind, number=number, data={"reservation": about})).key

    accepted = key("M-1", "LOY_POINT_RESERVED", 1, "offer-7")
    assert key("M-1", "LOY_POINT_RESERVED", 2, "offer-7") == accepted
    assert key("M-1", "LOY_POINT_FREED", 3, "offer-7") == accepted
    assert key("M-2", "LOY_POINT_RESERVED", 1, "offer-7") != accepted
    assert key("M-1", "LOY_POINT_RESERVED", 1, "offer-8") != accepted


def test_a_value_that_is_missing_leaves_the_event_its_own_key(tmp_path):
    mapping = edited(tmp_path, "dataverse", lambda raw: raw["events"]["LOY_POINT_REDEMPTION"].update(once="data.reward"))
    one = happening("M-1", "LOY_POINT_REDEMPTION", data={"reward": None})
    assert mapping.identity(one) == one.event_id


WRONG = {
    "a value of once that the event does not have": (
        lambda raw: raw["events"]["LOY_OPT_IN"].update(once="data.offer"),
        "there is no 'data.offer'",
    ),
    "a column that not every event can fill": (
        lambda raw: raw["interaction"]["columns"].append({"from": "data.points", "to": "x"}),
        "is not in every event",
    ),
    "no table": (lambda raw: raw.pop("member"), "member: Field required"),
    "a field forgotten": (lambda raw: raw["fields"].pop("next_tier"), "next_tier neither mapped nor dropped"),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
def test_a_mapping_that_cannot_be_is_refused_at_start_with_the_place(tmp_path, change, words):
    with pytest.raises(MappingError, match=words):
        edited(tmp_path, "dataverse", change)


@adapters
def test_an_address_that_is_too_long_is_left_out_and_not_cut(adapter):
    mapping = shipped(adapter)
    target = mapping.fields["email_address"]
    assert mapping.value("a" * target.length, target) == "a" * target.length
    assert mapping.value("a" * (target.length + 1), target) is None


SETTINGS = {
    "no adapter": ({}, "LOY_CRM_ADAPTER: nothing is none of"),
    "an adapter that does not exist": ({"LOY_CRM_ADAPTER": "siebel"}, "siebel is none of"),
    "a secret is missing": ({"LOY_CRM_ADAPTER": "oracle", "LOY_CRM_BASE_URL": "https://x.example"}, "LOY_CRM_USERNAME"),
    "credentials in the open": ({**environment("dataverse"), "LOY_CRM_BASE_URL": "http://crm.example.org"}, "https only"),
    "more rows than a batch has": (environment("salesforce", batch="201"), "LOY_CRM_BATCH"),
}


@pytest.mark.parametrize(("given", "words"), SETTINGS.values(), ids=SETTINGS)
def test_settings_that_cannot_be_are_refused_by_name(given, words):
    with pytest.raises(ConfigurationError, match=words):
        crm.load(given)
