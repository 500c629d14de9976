"""Bytes and models: the only place that parses or prints the wire."""

from typing import Any

import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError

from schemas.checks import AnyCheck, Check
from schemas.codes import Code
from schemas.commands import AnyCommand, Command
from schemas.members import AnyMemberCommand, MemberCommand
from schemas.redemptions import AnyRedemption, RedemptionRequest
from schemas.topics import CHECKS, MEMBER_COMMANDS, RECORD_BYTES_MAX, REDEMPTIONS

_CHECK: TypeAdapter[AnyCheck] = TypeAdapter(Check)
_REDEMPTION: TypeAdapter[AnyRedemption] = TypeAdapter(RedemptionRequest)
_MEMBER: TypeAdapter[AnyMemberCommand] = TypeAdapter(MemberCommand)
_COMMAND: TypeAdapter[AnyCommand] = TypeAdapter(Command)

INBOUND: dict[str, TypeAdapter[Any]] = {
    CHECKS.name: _CHECK,
    REDEMPTIONS.name: _REDEMPTION,
    MEMBER_COMMANDS.name: _MEMBER,
}


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
    first = failure.errors(include_url=False, include_input=False, include_context=False)[0]
    path = ".".join(str(step) for step in first["loc"]) or "(root)"
    if first["type"] == "json_invalid":
        return BadRecord(Code.NOT_JSON, first["msg"])
    if path.endswith("currency") and first["type"] == "value_error":
        return BadRecord(Code.UNKNOWN_CURRENCY, f"{path}: {Code.UNKNOWN_CURRENCY.meaning}")
    if path.endswith("quantity") and first["type"] == "greater_than_equal":
        return BadRecord(Code.NEGATIVE_QUANTITY, f"{path}: {Code.NEGATIVE_QUANTITY.meaning}")
    return BadRecord(Code.SCHEMA, f"{path}: {first['msg']}")


def parse_command(value: bytes) -> AnyCommand:
    """A command of our own log. Raises ValidationError: on our own log that is a bug, not bad input."""
    return _COMMAND.validate_json(value)


def encode(model: BaseModel) -> bytes:
    """The model as compact JSON; what has its default and was not given is left out."""
    return model.model_dump_json(exclude_defaults=True).encode()


def dumps(value: dict[str, Any]) -> bytes:
    """A plain record as compact JSON, keys in the order given."""
    return orjson.dumps(value)
