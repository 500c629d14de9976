"""Bytes, models and records: the only place that parses or prints the wire.

What others write is read as models (pydantic, strict), what we wrote ourselves as records (msgspec): docs/adr/0010.
"""

import re
from collections.abc import Iterator
from typing import Any, TypeVar, get_args, get_origin

import msgspec
import orjson
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from schemas import records
from schemas.checks import AnyCheck, Check
from schemas.codes import Code
from schemas.members import AnyMemberCommand, MemberCommand
from schemas.records import AnyCommand, Record
from schemas.redemptions import AnyRedemption, RedemptionRequest
from schemas.topics import CHECKS, MEMBER_COMMANDS, RECORD_BYTES_MAX, REDEMPTIONS

_KEYS_ONLY = ConfigDict(cache_strings="keys")
"""Names of fields come again, their texts hardly: to look each of them up costs a tenth of the parsing."""
_CHECK: TypeAdapter[AnyCheck] = TypeAdapter(Check, config=_KEYS_ONLY)
_REDEMPTION: TypeAdapter[AnyRedemption] = TypeAdapter(RedemptionRequest)
_MEMBER: TypeAdapter[AnyMemberCommand] = TypeAdapter(MemberCommand)

INBOUND: dict[str, TypeAdapter[Any]] = {
    CHECKS.name: _CHECK,
    REDEMPTIONS.name: _REDEMPTION,
    MEMBER_COMMANDS.name: _MEMBER,
}


_FIELD = re.compile(r"[A-Za-z_][A-Za-z_]{0,39}|[0-9]{1,6}")


class BadRecord(Exception):  # noqa: N818  # it is data: it becomes a dead letter
    """A record that cannot be taken. `code` is stable; `reason` says where, never what it held."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


def parse_inbound(topic: str, value: bytes | None) -> AnyCheck | AnyRedemption | AnyMemberCommand:
    """What arrived at one of the three doors. Raises BadRecord with a stable code."""
    if value is None:
        raise BadRecord(Code.NULL_VALUE, Code.NULL_VALUE.meaning)
    if len(value) > RECORD_BYTES_MAX:
        raise BadRecord(Code.TOO_LARGE, f"{len(value)} bytes; at most {RECORD_BYTES_MAX}")
    try:
        return INBOUND[topic].validate_json(value)  # type: ignore[no-any-return]  # one of the three by the map above
    except ValidationError as failure:
        raise _bad_record(failure) from None


def _bad_record(failure: ValidationError) -> BadRecord:
    first = failure.errors(include_url=False, include_input=False)[0]
    path = _path(first["loc"])
    match first["type"]:
        case "json_invalid":
            return BadRecord(Code.NOT_JSON, first["msg"])
        case "value_error" if path.endswith("currency"):
            return BadRecord(Code.UNKNOWN_CURRENCY, f"{path}: {Code.UNKNOWN_CURRENCY.meaning}")
        case "greater_than_equal" if path.endswith("quantity"):
            return BadRecord(Code.NEGATIVE_QUANTITY, f"{path}: {Code.NEGATIVE_QUANTITY.meaning}")
        case "union_tag_invalid":  # pydantic's own words quote the tag
            return BadRecord(Code.SCHEMA, f"{path}: type should be one of {first['ctx']['expected_tags']}")
    return BadRecord(Code.SCHEMA, f"{path}: {first['msg']}")


def _path(steps: tuple[int | str, ...]) -> str:
    """Where in the record. A field we do not know is named only when it looks like a field: it may be anything, of any length."""
    return ".".join(str(step) if _FIELD.fullmatch(str(step)) else "?" for step in steps) or "(root)"


# ---------------------------------------------------------------- our own records


class _Kind(msgspec.Struct):
    """What a command is; and what it carries, where that comes in kinds of its own."""

    type: str = ""
    request: "_Kind | None" = None
    decision: "_Kind | None" = None


def type_of(record: type[Record]) -> str:
    """What `type` says in every record of that kind."""
    return str(record.__annotations__["type"].__args__[0])


def _forms() -> Iterator[tuple[tuple[str, str], Any]]:
    """Every command by its kind and that of what it carries."""
    for command in get_args(AnyCommand):
        record, carried = get_origin(command) or command, get_args(command)
        for part in get_args(carried[0]) if carried else ():
            yield (type_of(record), type_of(part)), record[part]
        if not carried:
            yield (type_of(record), ""), record


R = TypeVar("R", bound=Record)
_KIND = msgspec.json.Decoder(_Kind)
_DECODERS: dict[tuple[str, str], msgspec.json.Decoder[AnyCommand]] = {kind: msgspec.json.Decoder(form) for kind, form in _forms()}
_SALE = msgspec.json.Decoder(records.Sale)
_ENCODE = msgspec.json.Encoder().encode


def parse_command(value: bytes) -> AnyCommand:
    """A command of our own log. Raises msgspec.DecodeError, UnicodeDecodeError, LookupError: there that is a bug, not bad input.

    Fields that it does not know are left alone: a newer version writes them while this one still runs. The doors stay strict.
    """
    kind = _KIND.decode(value)
    carried = kind.request or kind.decision
    return _DECODERS[kind.type, carried.type if carried else ""].decode(value)


def parse_sale(value: bytes) -> records.Sale:
    """A sale that this system printed before. Raises msgspec.DecodeError: that is a bug."""
    return _SALE.decode(value)


def record_of(model: BaseModel, kind: type[R]) -> R:
    """What the core takes of a model that was read at a door."""
    return msgspec.convert(model, kind, from_attributes=True)


def encode(record: BaseModel | Record) -> bytes:
    """As compact JSON; what has its default is left out. A record is printed to the very bytes of its model."""
    if isinstance(record, Record):
        return _ENCODE(record)
    return record.model_dump_json(exclude_defaults=True).encode()


def dumps(value: dict[str, Any]) -> bytes:
    """A plain record as compact JSON, keys in the order given."""
    return orjson.dumps(value)
