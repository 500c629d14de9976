"""Whatever arrives at one of the three doors is a record or a BadRecord: nothing else is ever raised."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas import export
from schemas.codec import INBOUND, BadRecord, encode, parse_inbound
from schemas.codes import Code
from schemas.topics import CHECKS

EXAMPLES = export.ROOT / "schemas" / "examples"


def _never_raises_anything_else(topic: str, value: bytes | None) -> None:
    try:
        record = parse_inbound(topic, value)
    except BadRecord as refused:
        bad = refused
    else:
        assert parse_inbound(topic, encode(record)) == record
        return
    assert bad.code in Code
    assert len(bad.reason) < 500


TOPIC = st.sampled_from(sorted(INBOUND))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
SEEDS = [path.read_bytes() for topic in INBOUND for path in sorted(EXAMPLES.glob(f"{topic}/*/*/*.json"))]


@given(TOPIC, st.none() | st.binary(max_size=200))
@example(CHECKS.name, b"\xff")
def test_any_bytes_are_a_record_or_a_bad_record(topic: str, value: bytes | None) -> None:
    _never_raises_anything_else(topic, value)


@given(TOPIC, JSON)
def test_any_json_is_a_record_or_a_bad_record(topic: str, value: Any) -> None:
    _never_raises_anything_else(topic, json.dumps(value).encode())


@settings(max_examples=300)
@given(TOPIC, st.sampled_from(SEEDS), st.data())
def test_any_damaged_record_is_a_record_or_a_bad_record(topic: str, seed: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(seed)))
    end = data.draw(st.integers(start, min(len(seed), start + 12)))
    _never_raises_anything_else(topic, seed[:start] + data.draw(st.binary(max_size=8)) + seed[end:])


def _replaced(node: Any, pick: Callable[[int], int], value: Any) -> Any:
    """The record with one part, anywhere in it, replaced."""
    if isinstance(node, dict) and node:
        key = sorted(node)[pick(len(node))]
        return node | {key: _replaced(node[key], pick, value)}
    if isinstance(node, list) and node:
        n = pick(len(node))
        return [*node[:n], _replaced(node[n], pick, value), *node[n + 1 :]]
    return value


@settings(max_examples=300)
@given(st.sampled_from(SEEDS), JSON, st.data())
def test_any_field_may_hold_anything(seed: bytes, value: Any, data: st.DataObject) -> None:
    record = _replaced(json.loads(seed), lambda n: data.draw(st.integers(0, n - 1)), value)
    for topic in INBOUND:
        _never_raises_anything_else(topic, json.dumps(record).encode())
