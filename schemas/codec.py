"""Bytes and models: the only place that parses or prints the wire."""

import re
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from schemas.checks import AnyCheck, Check, Sale
from schemas.codes import Code
from schemas.commands import AnyCommand, Command
from schemas.members import AnyMemberCommand, MemberCommand
from schemas.redemptions import AnyRedemption, RedemptionRequest
from schemas.topics import CHECKS, MEMBER_COMMANDS, RECORD_BYTES_MAX, REDEMPTIONS

_KEYS_ONLY = ConfigDict(cache_strings="keys")
"""Names of fields come again, their texts hardly: to look each of them up costs a tenth of the parsing."""
_CHECK: TypeAdapter[AnyCheck] = TypeAdapter(Check, config=_KEYS_ONLY)
_REDEMPTION: TypeAdapter[AnyRedemption] = TypeAdapter(RedemptionRequest)
_MEMBER: TypeAdapter[AnyMemberCommand] = TypeAdapter(MemberCommand)
_COMMAND: TypeAdapter[AnyCommand] = TypeAdapter(Command, config=_KEYS_ONLY)

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


def parse_command(value: bytes) -> AnyCommand:
    """A command of our own log. Raises ValidationError: on our own log that is a bug, not bad input.

    Fields that it does not know are left alone: a newer version writes them while this one still runs. The doors stay strict.
    """
    return _COMMAND.validate_json(value, extra="ignore")


def encode(model: BaseModel) -> bytes:
    """The model as compact JSON; what has its default and was not given is left out."""
    return model.model_dump_json(exclude_defaults=True).encode()


def dumps(value: dict[str, Any]) -> bytes:
    """A plain record as compact JSON, keys in the order given."""
    return orjson.dumps(value)


def parse_sale(value: bytes) -> Sale:
    """A sale that this system printed before. Raises ValidationError: that is a bug."""
    return Sale.model_validate_json(value)
