"""The core's records are the models' twins: the same bytes, the same values, and what they let pass is no other type."""

from collections.abc import Iterator
from datetime import datetime
from random import Random
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas import export, records
from schemas.checks import AnyCheck
from schemas.codec import INBOUND, BadRecord, encode, parse_command, parse_inbound, parse_sale, record_of
from schemas.commands import Command
from schemas.topics import CHECKS, COMMANDS
from streams.chaos.mutations import Mutations

EXAMPLES = export.ROOT / "schemas" / "examples"
ARRIVING = [(topic, path.read_bytes()) for topic in INBOUND for path in sorted(EXAMPLES.glob(f"{topic}/*/valid/*.json"))]
SALE = next(value for topic, value in ARRIVING if topic == CHECKS.name and b'"sale"' in value)
LOGGED = [path.read_bytes() for path in sorted(EXAMPLES.glob(f"{COMMANDS.name}/*/*/*.json"))]
ASKING = (EXAMPLES / COMMANDS.name / "ask_budget" / "valid" / "plain.json").read_bytes()
EARLIEST, LATEST = datetime(1970, 1, 2), datetime(8999, 12, 30)  # noqa: DTZ001  # the offset comes with the text
OFFSET = st.sampled_from(("Z", "z", "+00:00", "-00:00", "+05:30", "-03:00", "+23:59", "-23:59"))
MODEL: TypeAdapter[Any] = TypeAdapter(Command)

# What a record may hold that its model refuses: texts by their pattern and length, an instant as ISO 8601 also writes it, how
# many lines. Intake's models judge these before anything is written, and the core works with none of them.
UNJUDGED = {
    "string_pattern_mismatch",
    "string_too_short",
    "string_too_long",
    "too_short",
    "too_long",
    "badly_written",
    "value_error",
}


def mutated(seed: int, values: list[Any], times: int) -> Iterator[Any]:
    random = Random(seed)
    mutations = Mutations(random)
    for _ in range(times):
        value = random.choice(values)
        yield (value[0], mutations.of(value[1])) if isinstance(value, tuple) else mutations.of(value)


def content(model: Any) -> bytes:
    """A model as it stands in a command: of a check, without who showed which card."""
    return encode(model.model_copy(update={"member": None}) if isinstance(model, AnyCheck) else model)


def kept_as(model: Any) -> Any:
    """The record of the same name, where the core knows one."""
    return getattr(records, type(model).__name__, None)


@settings(max_examples=60)
@given(st.integers())
def test_what_passes_a_door_becomes_a_record_with_the_bytes_of_its_model(seed: int) -> None:
    for topic, value in [*ARRIVING, *mutated(seed, ARRIVING, 60)]:
        try:
            model = parse_inbound(topic, value)
        except (BadRecord, RecursionError):
            continue
        if (kind := kept_as(model)) is not None:
            record = record_of(model, kind)
            assert encode(record) == content(model)
            assert msgspec.json.decode(encode(record), type=kind) == record


@settings(max_examples=200)
@given(st.datetimes(EARLIEST, LATEST), st.integers(0, 10**9 - 1), st.integers(1, 9), OFFSET)
def test_an_instant_is_printed_alike_whatever_its_fraction_and_offset(
    at: datetime, fraction: int, digits: int, offset: str
) -> None:
    text = f"{at.replace(microsecond=0).isoformat()}.{f'{fraction:09}'[:digits]}{offset}"
    sale = parse_inbound(CHECKS.name, orjson.dumps(orjson.loads(SALE) | {"at": text}))
    record = record_of(sale, records.Sale)
    assert encode(record) == content(sale)
    assert parse_sale(encode(record)) == record


@settings(max_examples=60)
@given(st.integers())
def test_a_command_that_its_model_takes_is_read_as_the_same_and_printed_as_the_same(seed: int) -> None:
    for value in [*LOGGED, *mutated(seed, LOGGED, 60)]:
        model = taken(value)
        if model is not None and (said := encode(model)) and not getattr(getattr(model, "check", None), "member", None):
            assert encode(parse_command(said)) == said
            assert MODEL.validate_json(said) == model


def taken(value: bytes) -> Any:
    try:
        return MODEL.validate_json(value, extra="ignore")
    except ValidationError:
        return None


@settings(max_examples=60)
@given(st.integers())
def test_a_command_that_its_model_refuses_is_refused_or_differs_in_texts_alone(seed: int) -> None:
    for value in [*LOGGED, *mutated(seed, LOGGED, 60)]:
        try:
            said = encode(parse_command(value))
        except (msgspec.DecodeError, UnicodeDecodeError, LookupError):
            continue
        assert why_not(said) <= UNJUDGED, said


def why_not(value: bytes) -> set[str]:
    try:
        MODEL.validate_json(value)
    except ValidationError as refused:
        return {error["type"] for error in refused.errors()}
    return set()


@pytest.mark.parametrize("points", ["true", "1.5", "1e3", '"1"', "null", "NaN", "0", "-1", "1000000000001", "9" * 40])
def test_a_number_of_points_is_a_number_within_bounds(points: str) -> None:
    value = ASKING.replace(b'"points": 50', b'"points": %b' % points.encode())
    assert taken(ASKING) is not None
    assert taken(value) is None
    parse_command(ASKING)
    with pytest.raises(msgspec.DecodeError):
        parse_command(value)
