"""What a process says of itself: lines for people, or for machines a JSON object a line, with the check and trace they are of.

Law: no personal data. A line names a check by its id, a record by its origin, a reason by its stable code; never a key, a value,
an identifier, a name or an address.
"""

import logging
import re
import time
from typing import Any, Literal

import orjson

from streams import metrics
from streams.metrics import measuring
from streams.runtime import Record

log = logging.getLogger(__name__)
FIELDS = ("check_id", "trace_id", "code", "stage", "origin", "sink")
"""What a line may be about, beside its words."""
_PLAIN = re.compile(r"(?!(?:tick|card|phone|email|app|loyalty):)[A-Za-z0-9][A-Za-z0-9._:/-]{0,159}")
_DIALLED = re.compile(r"(?:[^A-Za-z0-9]*[0-9]){6}[^A-Za-z]*")
"""Digits and signs alone, enough of them for a phone number or a card."""
_MADE = re.compile(r"[^/]+/[^/]+/[0-9]{8}/[^/]+")
"""Outlet, till, day and receipt, as we put them together: of digits as well."""
_RECEIPT = ("outlet", "till", "business_date", "receipt")


def named(value: bytes | None) -> str | None:
    """The id of the check, request or command that a record is, or is of. None when it has none that may be shown.

    An id is what its owner made of it: one that looks like an address, a card or a phone number stays unsaid, and so is one that
    is all digits; the record's origin names it as well. So does what the clock caused: its id names the member.
    """
    try:
        said = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(said, dict):
        return None
    known = _id_in(said)
    return known if isinstance(known, str) and _may_be_said(known) else None


def _may_be_said(known: str) -> bool:
    return _PLAIN.fullmatch(known) is not None and (not _DIALLED.fullmatch(known) or _MADE.fullmatch(known) is not None)


def _id_in(said: dict[str, Any]) -> Any:
    data = said.get("data")
    if isinstance(data, dict):
        return data.get("cause")  # an event
    for field in ("request_id", "command_id", "check_id"):
        if field in said:
            return said[field]
    if all(isinstance(said.get(part), str) for part in _RECEIPT):
        outlet, till, day, receipt = (said[part] for part in _RECEIPT)
        return f"{outlet}/{till}/{day.replace('-', '')}/{receipt}"
    return said.get("id")  # a command


def turned_away(what: str, record: Record, *, code: str, stage: str, origin: str) -> None:
    """Say that a check was refused, parked or kept as a dead letter; its trace, if it has one, tells the rest."""
    if log.isEnabledFor(logging.INFO):
        about = {"check_id": named(record.value), "trace_id": metrics.trace_of(record.headers)}
        log.info("%s: %s", what, code, extra={**about, "code": str(code), "stage": stage, "origin": origin})


class _Lines(logging.Formatter):
    """For people: what it is about follows the words."""

    def format(self, record: logging.LogRecord) -> str:
        words = super().format(record)
        about = " ".join(f"{name}={value}" for name, value in _about(record) if name != "code")
        return f"{words} [{about}]" if about else words


class _Json(logging.Formatter):
    """For machines: names as OpenTelemetry has them for logs outside of it."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "timestamp": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **dict(_about(record)),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def _about(record: logging.LogRecord) -> list[tuple[str, str]]:
    found = [(name, value) for name in FIELDS if (value := getattr(record, name, None))]
    if getattr(record, "trace_id", None) is None and (trace := measuring.current_trace()):
        found.append(("trace_id", trace))
    return found


def formatter(form: Literal["text", "json"]) -> logging.Formatter:
    """How lines are written."""
    return _Json() if form == "json" else _Lines("%(asctime)s %(levelname)s %(name)s: %(message)s")


def begin(level: str, form: Literal["text", "json"]) -> None:
    """Speak in this form from now on, on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(form))
    logging.basicConfig(level=level, handlers=[handler])
