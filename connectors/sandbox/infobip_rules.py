"""What Infobip refuses in a person, an attribute, an event: pure rules, each answering the words of the refusal."""

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any, NamedTuple

LENGTHS = {
    "externalId": 256, "firstName": 255, "lastName": 255, "middleName": 50, "nickName": 50, "country": 50, "city": 50,
    "address": 256, "profilePicture": 2083,
}  # fmt: skip
STANDARD = (*LENGTHS, "gender", "birthDate", "preferredLanguage", "type")
DATA_TYPES = ("STRING", "DECIMAL", "INTEGER", "BOOLEAN", "DATE", "DATE_TIME", "LIST_OF_OBJECTS")
FIELD_TYPES = ("String", "Boolean", "DateTime", "Numeric", "Decimal", "List")
IDENTIFIERS = ("ID", "EXTERNAL_ID", "PHONE", "EMAIL")
NUMBER_MAX = 9_223_372_036_854_775_807
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_PHONE = re.compile(r"[0-9]{4,20}")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)")
_OCCURRED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:?\d\d)")
_EVENT_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
_DEFINITION = re.compile(r"[A-Za-z0-9]{1,36}")
_FIELD = re.compile(r"[a-z_][A-Za-z0-9_]{0,127}")


class Wrong(NamedTuple):
    """A property and what is wrong with it."""

    property: str
    message: str


def wrong_in_person(person: Any, attributes: Mapping[str, str]) -> Iterator[Wrong]:
    """`attributes`: dataType by name without case."""
    if not isinstance(person, dict):
        yield Wrong("", "must be an object")
        return
    for name, value in person.items():
        if name == "contactInformation":
            yield from _wrong_contacts(value)
        elif name == "customAttributes":
            yield from _wrong_attributes(value, attributes)
        elif name not in (*STANDARD, "tags"):
            yield Wrong(name, "Unknown property")
        elif value is not None and name != "tags":
            yield from _wrong_standard(name, value)


def _wrong_standard(name: str, value: Any) -> Iterator[Wrong]:
    if not isinstance(value, str):
        yield Wrong(name, "Must be a string")
    elif len(value) > LENGTHS.get(name, 50):
        yield Wrong(name, f"Length must be at most {LENGTHS.get(name, 50)}")
    elif name == "birthDate" and not is_day(value):
        yield Wrong(name, "Must be a date of the form yyyy-MM-dd")
    elif name == "gender" and value not in ("MALE", "FEMALE"):
        yield Wrong(name, "Must be MALE or FEMALE")
    elif name == "type" and value not in ("CUSTOMER", "LEAD"):
        yield Wrong(name, "Must be CUSTOMER or LEAD")
    elif name == "preferredLanguage" and not re.fullmatch(r"[a-z]{2}(-[A-Za-z]{2})?", value):
        yield Wrong(name, "Must be xx or xx-YY")


def _wrong_contacts(contacts: Any) -> Iterator[Wrong]:
    if not isinstance(contacts, list):
        yield Wrong("contactInformation", "Must be a list")
        return
    for n, one in enumerate(contacts):
        path = f"contactInformation[{n}]"
        if not isinstance(one, dict) or set(one) - {"type", "identifier", "sender", "primary"}:
            yield Wrong(path, "Must be an object of type, identifier, sender, primary")
        elif one.get("type") not in ("EMAIL", "PHONE"):
            yield Wrong(f"{path}.type", "Must not be null" if one.get("type") is None else "Unknown type")
        elif not is_contact(one["type"], one.get("identifier")):
            what = "Email address" if one["type"] == "EMAIL" else "Phone number"
            yield Wrong(f"{path}.identifier", f"{what} is invalid")


def is_contact(kind: str, identifier: Any) -> bool:
    """An address with a real domain; a number of digits alone."""
    pattern = _EMAIL if kind == "EMAIL" else _PHONE
    return isinstance(identifier, str) and len(identifier) <= 255 and pattern.fullmatch(identifier) is not None


def _wrong_attributes(values: Any, attributes: Mapping[str, str]) -> Iterator[Wrong]:
    if not isinstance(values, dict):
        yield Wrong("customAttributes", "Must be an object")
        return
    for name, value in values.items():
        kind = attributes.get(name.casefold())
        if kind is None:
            yield Wrong(f"customAttributes.{name}", "Custom attribute does not exist")
        elif value is not None and not is_attribute(kind, value):
            yield Wrong(f"customAttributes.{name}", f"Value is not {kind}")


def is_attribute(kind: str, value: Any) -> bool:
    """Whether a value has the dataType."""
    match kind:
        case "STRING":
            return isinstance(value, str) and len(value) <= 4096
        case "BOOLEAN":
            return isinstance(value, bool)
        case "INTEGER":
            return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= NUMBER_MAX
        case "DECIMAL":
            return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= NUMBER_MAX
        case "DATE":
            return is_day(value)
    return True


def is_day(value: Any) -> bool:
    """yyyy-MM-dd of a day that is."""
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def wrong_in_definition(body: Any) -> str | None:
    """Why an event definition is refused."""
    if not isinstance(body, dict) or not _DEFINITION.fullmatch(str(body.get("definitionId"))):
        return "definitionId: letters and digits only, at most 36"
    if not isinstance(body.get("title"), str) or not 0 < len(body["title"]) <= 100:
        return "title: 1 to 100 characters"
    return wrong_in_fields(body.get("fields"))


def wrong_in_fields(fields: Any) -> str | None:
    """Why the fields of a definition are refused."""
    if not isinstance(fields, list) or len(fields) > 120:
        return "fields: a list of at most 120"
    for field in fields:
        if not isinstance(field, dict) or not _FIELD.fullmatch(str(field.get("name"))) or field.get("type") not in FIELD_TYPES:
            return f"fields: bad name or type: {field}"
    names = [field["name"] for field in fields]
    if len(set(names)) < len(names) or sum(field["type"] == "List" for field in fields) > 1:
        return "fields: each name once, one List at most"
    return None


def wrong_in_event(event: Any, oldest: float) -> Iterator[Wrong]:
    """What is wrong with the envelope of an event that may not be older than `oldest`, epoch seconds."""
    if not isinstance(event, dict):
        yield Wrong("", "Must be an object")
        return
    for name in set(event) - {"eventId", "definitionId", "occurredTime", "identifier", "properties"}:
        yield Wrong(name, "Unknown property")
    if event.get("eventId") is not None and not _EVENT_ID.fullmatch(str(event["eventId"])):
        yield Wrong("eventId", "Must only include letters (A-Z, a-z), digits (0-9), underscores (_), and hyphens (-).")
    identifier = event.get("identifier")
    if not isinstance(identifier, dict) or not isinstance(identifier.get("id"), str) or not identifier["id"]:
        yield Wrong("identifier.id", "Must not be empty.")
    elif identifier.get("type") not in IDENTIFIERS:
        yield Wrong("identifier.type", f"Must be one of the following types: {', '.join(IDENTIFIERS)}.")
    occurred = event.get("occurredTime")
    if not isinstance(occurred, str) or not _OCCURRED.fullmatch(occurred):
        yield Wrong("occurredTime", "Must have the format yyyy-MM-dd'T'HH:mm:ss.SSSZ.")
    elif datetime.fromisoformat(occurred).timestamp() < oldest:
        yield Wrong("occurredTime", "Must not be more than 30 days ago.")


def wrong_in_properties(properties: Any, fields: Mapping[str, str]) -> str | None:
    """Why properties do not match their definition."""
    if not isinstance(properties, dict):
        return "properties must be an object"
    for name, value in properties.items():
        if name not in fields:
            return f"property {name} is not defined"
        if not _is_property(fields[name], value):
            return f"property {name} is not {fields[name]}"
    return None


def _is_property(kind: str, value: Any) -> bool:
    match kind:
        case "String":
            return isinstance(value, str)
        case "Boolean":
            return isinstance(value, bool)
        case "Numeric" | "Decimal":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "DateTime":
            return isinstance(value, str) and _INSTANT.fullmatch(value) is not None
    return isinstance(value, list)
