"""The published contract is true: examples, schemas, models and documents say the same.

Examples: `schemas/examples/<topic>/<type>/valid/<name>.json` and `invalid/<name>.<CODE>[.<path of the field>].json`.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from schemas import export
from schemas.codec import INBOUND, BadRecord, encode, parse_command, parse_inbound
from schemas.codes import Code
from schemas.commands import Command
from schemas.dead_letters import DeadLetter
from schemas.events import parse_event
from schemas.records import AnyCommand
from schemas.topics import BACKLOG, COMMANDS, EVENTS, TOPICS

EXAMPLES = export.ROOT / "schemas" / "examples"
WIRE = {(topic.name, kind): model for topic in TOPICS for kind, model in export.wire_types(topic).items()}

# What only the models can say. Numbers: to JSON Schema 1093.0 is an integer. Calendars and other tables are beyond a pattern.
BEYOND_JSON_SCHEMA = {
    "pos.checks/sale/unknown-currency",
    "pos.checks/return/unknown-currency",
    "pos.checks/sale/money-as-whole-decimal",
    "pos.checks/sale/time-that-never-was",
    "pos.checks/sale/names-too-long-for-an-id",
    "loy.events/LOY_POINT_REDEMPTION/wrong-value-minor",
    "loy.programs/program/unknown-currency",
    "loy.programs/program/unknown-time-zone",
    "loy.programs/program/group-not-defined",
    "loy.programs/program/tier-not-defined",
    "loy.programs/program/wallet-not-defined",
    "loy.programs/program/lowest-tier-asks",
    "loy.programs/program/same-rule-twice",
    "loy.programs/program/cap-per-check-over-all-members",
}


@dataclass(frozen=True)
class Example:
    """One file, and what its place and name say of it."""

    path: Path

    @property
    def wire(self) -> tuple[str, str]:
        return self.path.parts[-4], self.path.parts[-3]

    @property
    def name(self) -> str:
        return "/".join((*self.wire, self.path.name.split(".")[0]))

    @property
    def code(self) -> str:
        return self.path.name.split(".")[1]

    @property
    def field(self) -> str:
        return ".".join(self.path.name.split(".")[2:-1])

    @property
    def raw(self) -> bytes:
        return self.path.read_bytes()


def _examples(kind: str) -> list[Any]:
    found = sorted(EXAMPLES.glob(f"*/*/{kind}/*.json"))
    return [pytest.param(Example(path), id=f"{path.parts[-4]}/{path.parts[-3]}/{path.stem}") for path in found]


VALID, INVALID = _examples("valid"), _examples("invalid")
SCHEMAS: dict[tuple[str, str], dict[str, Any]] = {
    wire: json.loads((export.ROOT / export.JSON / wire[0] / f"{wire[1]}.json").read_text("utf-8")) for wire in WIRE
}
VALIDATORS = {wire: Draft202012Validator(schema) for wire, schema in SCHEMAS.items()}


@pytest.mark.parametrize("example", VALID)
def test_a_valid_example_is_taken_by_the_model_and_by_the_published_schema(example: Example) -> None:
    VALIDATORS[example.wire].validate(json.loads(example.raw))
    parsed = WIRE[example.wire].model_validate_json(example.raw)
    assert WIRE[example.wire].model_validate_json(encode(parsed)) == parsed
    VALIDATORS[example.wire].validate(json.loads(encode(parsed)))


@pytest.mark.parametrize("example", [case for case in VALID if case.values[0].wire[0] in INBOUND])
def test_a_valid_inbound_example_passes_the_door(example: Example) -> None:
    assert parse_inbound(example.wire[0], example.raw).type == example.wire[1]


@pytest.mark.parametrize("example", [case for case in VALID if case.values[0].wire[0] == COMMANDS.name])
def test_a_valid_command_is_read_back_from_the_log(example: Example) -> None:
    command: AnyCommand = parse_command(example.raw)
    assert command.type == example.wire[1]
    assert parse_command(encode(command)) == command


@pytest.mark.parametrize("example", [case for case in VALID if case.values[0].wire[0] == EVENTS.name])
def test_a_valid_event_is_read_with_its_data_and_its_points_add_up(example: Example) -> None:
    event, data = parse_event(example.raw)
    assert event.type == example.wire[1]
    b = data.balance
    assert b.earned - b.reversed + b.adjusted - b.used - b.expired == b.available + b.pending + b.held - b.debt
    assert data.profile is None or data.profile.available_points == b.available


@pytest.mark.parametrize("example", [case for case in VALID if case.values[0].wire[0] == "loy.dead-letters"])
def test_a_dead_letter_survives_kafka_headers(example: Example) -> None:
    letter = DeadLetter.model_validate_json(example.raw)
    assert DeadLetter.from_headers((*letter.headers(), ("traceparent", b"of somebody else"))) == letter


def test_fields_of_a_newer_version_are_left_alone_in_our_own_records_and_refused_at_the_doors() -> None:
    """While old and new run side by side, each reads what the other writes."""

    def newer(value: dict[str, Any]) -> dict[str, Any]:
        inner = {name: newer(value[name]) for name in ("data", "balance", "profile") if isinstance(value.get(name), dict)}
        return value | inner | {"of_tomorrow": {"a": [1]}}

    for case in VALID:
        example = case.values[0]
        raw = json.dumps(newer(json.loads(example.raw))).encode()
        if example.wire[0] == COMMANDS.name:
            assert parse_command(raw) == parse_command(example.raw)
        elif example.wire[0] == EVENTS.name:
            assert parse_event(raw)[1] == parse_event(example.raw)[1]
        elif example.wire[0] in INBOUND:
            with pytest.raises(BadRecord):
                parse_inbound(example.wire[0], raw)


@pytest.mark.parametrize("example", INVALID)
def test_an_invalid_example_is_refused_at_the_field_its_name_says(example: Example) -> None:
    topic = example.wire[0]
    if topic in INBOUND:
        with pytest.raises(BadRecord) as bad:
            parse_inbound(topic, example.raw)
        assert bad.value.code == example.code
        assert bad.value.reason.startswith(f"{example.field or '(root)'}: ")
        return
    with pytest.raises(ValidationError) as refused:
        # Our own log is read by older code too, which leaves new fields alone: what is written is held to the strict model.
        TypeAdapter(Command).validate_json(example.raw) if topic == COMMANDS.name else WIRE[example.wire].model_validate_json(
            example.raw
        )
    assert example.field in [".".join(map(str, error["loc"])) for error in refused.value.errors()]
    assert example.code == Code.SCHEMA


@pytest.mark.parametrize("example", INVALID)
def test_an_invalid_example_is_refused_by_the_published_schema_too_where_json_schema_can_say_it(example: Example) -> None:
    valid = VALIDATORS[example.wire].is_valid(json.loads(example.raw))
    assert valid == (example.name in BEYOND_JSON_SCHEMA)


@pytest.mark.parametrize(
    ("topic", "kind"), [wire for wire in WIRE if wire[0] != BACKLOG.name]
)  # it holds what came in as pos.checks
def test_every_wire_type_has_examples_of_both_sorts(topic: str, kind: str) -> None:
    assert len([case for case in VALID if case.values[0].wire == (topic, kind)]) >= 1
    assert len([case for case in INVALID if case.values[0].wire == (topic, kind)]) >= 2


def test_no_example_lies_where_nothing_reads_it() -> None:
    known = {case.values[0].path for case in (*VALID, *INVALID) if case.values[0].wire in WIRE}
    assert {path for path in EXAMPLES.rglob("*") if path.is_file()} == known


@pytest.mark.parametrize(("topic", "kind"), WIRE)
def test_a_schema_is_draft_2020_12_with_id_title_and_words_for_every_field(topic: str, kind: str) -> None:
    schema = SCHEMAS[topic, kind]
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:loystream:{topic}:{kind}"
    assert schema["title"]
    assert schema["description"]
    parts = {kind: schema} | schema.get("$defs", {})
    silent = [f"{part}.{name}" for part in parts for name, field in parts[part].get("properties", {}).items() if not _says(field)]
    assert silent == []


def _says(field: dict[str, Any]) -> bool:
    """Described itself, or by the type it refers to."""
    inner = [*field.get("anyOf", []), *([field["items"]] if "items" in field else [])]
    return bool({"description", "const", "$ref"} & field.keys()) or any(_says(each) for each in inner)


@pytest.mark.parametrize(("topic", "kind"), WIRE)
def test_who_writes_to_us_must_be_exact_and_who_reads_from_us_may_ignore(topic: str, kind: str) -> None:
    schema = SCHEMAS[topic, kind]
    objects = [part for part in (schema, *schema.get("$defs", {}).values()) if part.get("type") == "object"]
    open_ = topic in {"pos.replies", "loy.events"}
    assert {part.get("additionalProperties", True) for part in objects} == {open_}


def test_what_is_committed_is_what_the_models_say() -> None:
    assert export.drift() == []


def test_printing_twice_gives_the_same_bytes() -> None:
    assert export.documents() == export.documents()


def _asyncapi() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((export.ROOT / "schemas" / "asyncapi.yaml").read_text("utf-8"))
    return document


def test_the_asyncapi_document_has_every_topic_with_its_types_and_settings() -> None:
    channels = _asyncapi()["channels"]
    assert list(channels) == [topic.name for topic in TOPICS]
    for topic in TOPICS:
        channel, kafka = channels[topic.name], channels[topic.name]["bindings"]["kafka"]
        assert channel["address"] == topic.name
        assert set(channel["messages"]) == set(export.wire_types(topic))
        assert f"Key: {topic.key}." in channel["description"]
        configured = {key: ",".join(v) if isinstance(v, list) else str(v) for key, v in kafka["topicConfiguration"].items()}
        assert configured.items() <= topic.settings().items()
        assert kafka.get("partitions") == topic.partitions


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    document = _asyncapi()
    references = list(_references(document))
    files = {reference for reference in references if reference.startswith("./")}
    assert files == {f"./json/{topic}/{kind}.json" for topic, kind in WIRE}
    for reference in references:
        if reference.startswith("#/"):
            node = document
            for step in reference[2:].split("/"):
                node = node[step]
        else:
            assert (export.ROOT / "schemas" / reference).is_file()


def _references(node: Any) -> Any:
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _references(each)


def test_the_asyncapi_document_names_each_writer_and_each_reader() -> None:
    operations = _asyncapi()["operations"].values()
    said = {(each["tags"][0]["name"], each["action"], each["channel"]["$ref"].removeprefix("#/channels/")) for each in operations}
    writers = {(who, "send", topic.name) for topic in TOPICS for who in topic.writer.split(", ")}
    assert said == writers | {(who, "receive", topic.name) for topic in TOPICS for who in topic.readers}


def test_every_code_is_in_the_table_for_people() -> None:
    table = (export.ROOT / "docs" / "codes.md").read_text("utf-8")
    assert all(f"| `{code}` | {code.meaning} |" in table for code in Code)


def test_patterns_mean_the_same_to_every_reader_of_the_schemas() -> None:
    r"""No `\d`, `\w`, `\s` (other scripts differ), no look-around (Rust has none), all anchored."""
    for name, text in export.documents().items():
        for pattern in re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', text):
            spelt = json.loads(pattern)
            assert re.search(r"\\[dwsDWSb]|\(\?", spelt) is None, (name, spelt)
            assert spelt.startswith("^"), (name, spelt)
            assert spelt.endswith("$"), (name, spelt)
