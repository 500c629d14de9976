"""What Ometria refuses in a record, as far as it says so; where it is silent, the stricter reading.

Each rule yields (path, message) as `/push/_errors` lists them: without the record's id.
"""

import re
from collections.abc import Container, Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson

PROPERTIES_LIMIT = 1000
TEXT_MAX = 512
Complaint = tuple[str, str]
_INVALID = "not a valid value"
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_OFFSET = re.compile(r"(Z|[+-][0-9]{2}:?[0-9]{2})$")
_TEXTS = {"prefix", "firstname", "middlename", "lastname", "country_id", "timezone", "customer_id"}
_TIMES = {"timestamp_acquired", "timestamp_subscribed", "timestamp_unsubscribed"}
_OPTIN = {"EXPLICITLY_OPTEDIN", "EXPLICITLY_OPTEDOUT", "NOT_SPECIFIED"}
_CONTACT = _TEXTS | _TIMES | {
    "@type", "@collection", "@merge", "@force_optin", "@add_to_lists", "@remove_from_lists", "id", "email", "phone_number",
    "gender", "date_of_birth", "store_ids", "marketing_optin", "channels", "properties",
}  # fmt: skip
_EVENT = {"@type", "id", "event_type", "timestamp", "identity_email", "identity_account_id", "profile_id", "properties"}


def contact(record: Mapping[str, Any], fields: Mapping[str, str], statics: Container[int]) -> Iterator[Complaint]:
    """What is wrong with a contact: `fields` are the account's custom fields, `statics` its static segments."""
    yield from (("root > " + name, "unexpected field") for name in record if name not in _CONTACT)
    if not isinstance(record.get("@collection"), str) or not record["@collection"]:
        yield "root > @collection", _INVALID
    if "@" in str(record["id"]):
        yield "root > id", "ids must not hold personal data"
    for name, value in record.items():
        if not _contact_value(name, value, statics):
            yield f"root > {name}", _INVALID
    properties = record.get("properties") or {}
    if isinstance(properties, dict):
        yield from custom(properties, fields)


def _contact_value(name: str, value: Any, statics: Container[int]) -> bool:  # noqa: PLR0911  # one return a field
    """Whether a field of a contact can have this value."""
    match name:
        case "email":
            return isinstance(value, str) and bool(_EMAIL.fullmatch(value))
        case "properties":
            return isinstance(value, dict)
        case "marketing_optin":
            return value in _OPTIN
        case "@add_to_lists" | "@remove_from_lists":
            return isinstance(value, list) and all(type(one) is int and one in statics for one in value)
        case "phone_number":
            return value is None or (isinstance(value, str) and bool(_E164.fullmatch(value)))
        case "date_of_birth":
            return value is None or (isinstance(value, str) and bool(_DAY.fullmatch(value)) and moment(value) is not None)
        case "gender":
            return value in ("m", "f", "o", None)
    if name in _TEXTS:
        return value is None or isinstance(value, str)
    return name not in _TIMES or zoned(value) is not None


def custom(properties: Mapping[str, Any], fields: Mapping[str, str]) -> Iterator[Complaint]:
    """The custom fields of a contact: each is known, of its type, and all together are short."""
    if len(orjson.dumps(properties)) >= PROPERTIES_LIMIT:
        yield "root > properties", "must be smaller than 1 kB"
    for name, value in properties.items():
        kind = fields.get(name)
        if kind is None or (value is not None and not typed(value, kind)):
            yield f"root > properties > {name}", _INVALID if kind else "unknown custom field"


def event(record: Mapping[str, Any], properties: Mapping[str, str] | None) -> Iterator[Complaint]:
    """What is wrong with a custom event: `properties` are those set up for its type, None when nobody set it up."""
    yield from (("root > " + name, "unexpected field") for name in record if name not in _EVENT)
    if not isinstance(record.get("event_type"), str) or not record["event_type"]:
        yield "root > event_type", _INVALID
    if zoned(record.get("timestamp")) is None:
        yield "root > timestamp", _INVALID
    if not isinstance(record.get("identity_email"), str) or not _EMAIL.fullmatch(record["identity_email"]):
        yield "root > identity_email", _INVALID
    given = record.get("properties", {})
    if not isinstance(given, dict):
        yield "root > properties", _INVALID
    elif properties is not None:
        yield from (
            (f"root > properties > {name}", _INVALID)
            for name, value in given.items()
            if name not in properties or not typed(value, properties[name])
        )


def typed(value: Any, kind: str) -> bool:
    """Whether a value has this type."""
    match kind:
        case "string":
            return isinstance(value, str) and len(value) <= TEXT_MAX
        case "boolean":
            return isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str) and (bool(_DAY.fullmatch(value)) or zoned(value) is not None)


def zoned(value: Any) -> float | None:
    """Epoch seconds of an ISO 8601 time with its offset, None for anything else."""
    return moment(value) if isinstance(value, str) and "T" in value and _OFFSET.search(value) else None


def moment(value: str) -> float | None:
    """Epoch seconds, None when it is no time."""
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        return None
