"""Additive only: what may change in a published schema, and what breaks somebody."""

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from schemas import export
from schemas.compatibility import breaking_changes
from schemas.topics import CHECKS, EVENTS, REPLIES, TOPICS

Schema = dict[str, Any]

OLD: Schema = {
    "$defs": {
        "Card": {"type": "object", "properties": {"kind": {"const": "card"}, "pan": {"type": "string"}}, "required": ["kind"]},
        "Cash": {"type": "object", "properties": {"kind": {"const": "cash"}}, "required": ["kind"]},
        "Line": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"sku": {"type": "string", "maxLength": 20}, "points": {"type": "integer"}},
            "required": ["sku"],
        },
    },
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "type": {"const": "sale", "type": "string"},
        "amount": {"type": "integer", "minimum": 0, "maximum": 100},
        "channel": {"type": "string", "enum": ["store", "web"], "default": "store"},
        "outlet": {"type": "string", "pattern": "^[A-Z]+$", "minLength": 1, "maxLength": 9},
        "note": {"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}], "default": None},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}, "minItems": 1, "maxItems": 9},
        "paid": {"oneOf": [{"$ref": "#/$defs/Card"}, {"$ref": "#/$defs/Cash"}]},
    },
    "required": ["type", "amount", "lines"],
}

AMOUNT, OUTLET, LINES = "properties.amount", "properties.outlet", "properties.lines"

# path of the change, new value (None: taken away), broken for who writes to us, broken for who reads from us
CHANGES: list[tuple[str, str, Any, str | None, str | None]] = [
    ("new optional field", "properties.colour", {"type": "string"}, None, None),
    ("field removed", "properties.outlet", None, "outlet: removed", "outlet: removed"),
    ("words", "description", "A sale.", None, None),
    ("field required", "required", ["type", "amount", "lines", "outlet"], "outlet: required, and was not before", None),
    ("field not required", "required", ["type", "lines"], None, "amount: no longer always there"),
    ("minimum raised", f"{AMOUNT}.minimum", 1, "amount: minimum 0 -> 1", None),
    ("minimum lowered", f"{AMOUNT}.minimum", -1, None, "amount: minimum 0 -> -1"),
    ("minimum gone", f"{AMOUNT}.minimum", None, None, "amount: minimum 0 -> 'none'"),
    ("exclusive minimum added", f"{AMOUNT}.exclusiveMinimum", 0, "amount: exclusiveMinimum 'none' -> 0", None),
    ("maximum lowered", f"{AMOUNT}.maximum", 99, "amount: maximum 100 -> 99", None),
    ("maximum raised", f"{AMOUNT}.maximum", 101, None, "amount: maximum 100 -> 101"),
    ("maximum gone", f"{AMOUNT}.maximum", None, None, "amount: maximum 100 -> 'none'"),
    ("type changed", f"{AMOUNT}.type", "string", "amount: type 'integer' -> 'string'", "amount: type 'integer' -> 'string'"),
    ("type widened", f"{AMOUNT}.type", "number", None, "amount: type 'integer' -> 'number'"),
    ("type made open", f"{AMOUNT}.type", ["integer", "null"], None, "amount: type 'integer' -> ['integer', 'null']"),
    ("type gone", f"{AMOUNT}.type", None, None, "amount: type 'integer' -> 'none'"),
    ("shorter", f"{OUTLET}.maxLength", 8, "outlet: maxLength 9 -> 8", None),
    ("longer", f"{OUTLET}.maxLength", 10, None, "outlet: maxLength 9 -> 10"),
    ("empty allowed", f"{OUTLET}.minLength", None, None, "outlet: minLength 1 -> 'none'"),
    ("other pattern", f"{OUTLET}.pattern", "^[A-Z]*$", "outlet: pattern", "outlet: pattern"),
    ("pattern added", f"{AMOUNT}.pattern", "^1", "amount: pattern 'none' -> '^1'", None),
    ("pattern gone", f"{OUTLET}.pattern", None, None, "outlet: pattern '^[A-Z]+$' -> 'none'"),
    ("format added", f"{OUTLET}.format", "uri", "outlet: format 'none' -> 'uri'", None),
    ("enum value added", "properties.channel.enum", ["store", "web", "app"], None, None),
    ("enum value removed", "properties.channel.enum", ["web"], "channel: enum ['store', 'web'] -> ['web']", None),
    ("enum opened", "properties.channel.enum", None, None, "channel: enum ['store', 'web'] -> 'none'"),
    ("enum where there was none", f"{OUTLET}.enum", ["A"], "outlet: enum 'none' -> ['A']", None),
    ("other default", "properties.channel.default", "web", "channel: default 'store' -> 'web'", None),
    ("const changed", "properties.type.const", "sell", "type: const 'sale' -> 'sell'", "type: const 'sale' -> 'sell'"),
    ("fewer items", f"{LINES}.maxItems", 8, "lines: maxItems 9 -> 8", None),
    ("more items", f"{LINES}.maxItems", 10, None, "lines: maxItems 9 -> 10"),
    ("no items allowed", f"{LINES}.minItems", 0, None, "lines: minItems 1 -> 0"),
    ("null no longer", "properties.note.anyOf", [{"type": "string", "maxLength": 9}], "note: type", None),
    ("narrower in a union", "properties.note.anyOf.0.maxLength", 8, "note: maxLength 9 -> 8", None),
    ("null allowed", AMOUNT, {"anyOf": [OLD["properties"]["amount"], {"type": "null"}]}, None, "amount: type"),
    ("kind removed", "properties.paid.oneOf", [{"$ref": "#/$defs/Cash"}], "paid<card>: alternative removed", None),
    ("kind added", "properties.paid.oneOf.2", {"type": "object", "properties": {"kind": {"const": "coin"}}, "required": ["kind"]}, None, "paid<coin>: alternative added"),
    ("narrower in a kind", "$defs.Card.properties.pan.maxLength", 19, "paid<card>.pan: maxLength 'none' -> 19", None),
    ("nested field removed", "$defs.Line.properties.points", None, "lines[].points: removed", "lines[].points: removed"),
    ("nested field required", "$defs.Line.required", ["sku", "points"], "lines[].points: required, and was not before", None),
    ("nested field narrower", "$defs.Line.properties.sku.maxLength", 19, "lines[].sku: maxLength 20 -> 19", None),
    ("opened", "additionalProperties", None, None, None),
    ("nested opened", "$defs.Line.additionalProperties", None, None, None),
]  # fmt: skip


def _changed(path: str, value: Any) -> Schema:
    schema = deepcopy(OLD)
    *steps, last = path.split(".")
    node: Any = schema
    for step in steps:
        node = node[int(step)] if step.isdigit() else node[step]
    if last.isdigit():
        node.insert(int(last), value)
    elif value is None:
        del node[last]
    else:
        node[last] = value
    return schema


@pytest.mark.parametrize(("path", "value", "wrong_in", "wrong_out"), [pytest.param(*row, id=name) for name, *row in CHANGES])
def test_a_change_breaks_whom_it_breaks(path: str, value: Any, wrong_in: str | None, wrong_out: str | None) -> None:
    new = _changed(path, value)
    inward, outward = breaking_changes(OLD, new, "in"), breaking_changes(OLD, new, "out")
    for said, expected in ((inward, wrong_in), (outward, wrong_out)):
        assert [sentence[: len(expected or "")] for sentence in said] == ([expected] if expected else []), said
    assert set(breaking_changes(OLD, new, "both")) == {*inward, *outward}


def test_the_same_schema_breaks_nobody() -> None:
    assert breaking_changes(OLD, deepcopy(OLD)) == []


def test_a_field_that_was_always_there_and_is_gone_is_named_once() -> None:
    new = _changed("required", ["type", "lines"])
    del new["properties"]["amount"]
    assert breaking_changes(OLD, new) == ["amount: removed"]


def test_closing_an_open_type_breaks_who_writes() -> None:
    assert breaking_changes(_changed("additionalProperties", None), OLD, "in") == [
        "(root): closed: unknown fields would be refused"
    ]
    assert breaking_changes(_changed("additionalProperties", None), OLD, "out") == []


def test_a_rule_beside_the_fields_that_cannot_be_compared_counts_as_broken() -> None:
    ruled = OLD | {"oneOf": [{"required": ["note"]}, {"required": ["outlet"]}]}
    assert len(breaking_changes(OLD, ruled, "in")) == 1
    assert breaking_changes(ruled, OLD, "in") == []


def test_a_type_that_contains_itself_is_compared_without_end() -> None:
    tree: Schema = {
        "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
        "$ref": "#/$defs/Node",
    }
    assert breaking_changes(tree, deepcopy(tree)) == []


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_no_published_schema_breaks_itself(topic: Any) -> None:
    for kind, model in export.wire_types(topic).items():
        schema = export.json_schema(topic, kind, model)
        assert breaking_changes(schema, json.loads(json.dumps(schema))) == []


def test_each_topic_keeps_the_promise_its_readers_need() -> None:
    assert {topic.name: export.direction(topic) for topic in (CHECKS, REPLIES, EVENTS)} == {
        "pos.checks": "in",
        "pos.replies": "out",
        "loy.events": "both",
    }


# ---------------------------------------------------------------- the command


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    export.write(tmp_path)
    return tmp_path


def _edit(path: Path, **fields: Any) -> None:
    """Make the committed schema another one than the models'."""
    schema = json.loads(path.read_text("utf-8"))
    schema["properties"] |= fields
    path.write_text(json.dumps(schema), "utf-8")


def test_a_tree_just_written_is_in_order(tree: Path) -> None:
    assert export.main(["--check"], tree) is None


def test_an_additive_difference_only_asks_to_print_again(tree: Path) -> None:
    path = tree / export.JSON / "pos.checks" / "void.json"
    schema = json.loads(path.read_text("utf-8"))
    del schema["properties"]["cashier"]
    path.write_text(json.dumps(schema), "utf-8")
    assert export.main(["--check"], tree) == "Not what the models say; run: make schemas:\n  schemas/json/pos.checks/void.json"
    assert export.main([], tree) is None
    assert export.main(["--check"], tree) is None


def test_a_breaking_difference_is_named_and_not_written_unless_told(tree: Path) -> None:
    path = tree / export.JSON / "pos.checks" / "void.json"
    _edit(path, colour={"type": "string"})
    before = path.read_bytes()
    for arguments in (["--check"], []):
        said = export.main(arguments, tree)
        assert said is not None
        assert "schemas/json/pos.checks/void.json: colour: removed" in said
        assert "--allow-breaking" in said
        assert path.read_bytes() == before
    assert export.main(["--allow-breaking"], tree) is None
    assert export.main(["--check"], tree) is None


def test_a_type_that_vanished_is_breaking_and_its_file_goes_only_when_told(tree: Path) -> None:
    path = tree / export.JSON / "pos.checks" / "refund.json"
    path.write_text("{}", "utf-8")
    assert export.breaks(tree) == ["schemas/json/pos.checks/refund.json: the type is gone"]
    assert export.main(["--allow-breaking"], tree) is None
    assert not path.exists()


def test_a_missing_or_edited_document_is_drift(tree: Path) -> None:
    (tree / "schemas" / "asyncapi.yaml").unlink()
    (tree / "docs" / "codes.md").write_text("", "utf-8")
    assert export.drift(tree) == ["docs/codes.md", "schemas/asyncapi.yaml"]


def test_the_command_says_nothing_when_all_is_well() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "schemas.export", "--check"],
        cwd=export.ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
