"""What travels to Ometria: contacts and custom events, in its words by the mapping.

Law: Ometria answers "accepted" before it looks, so nothing leaves that it would refuse: each limit it publishes is kept here.
"""

import re
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import orjson
import phonenumbers

from connectors.delivery import Happening, Person, ProfileChange, Rejected
from connectors.mapping import EventTarget, MappingError, Target
from connectors.ometria.config import Config
from connectors.ometria.mapping import CUSTOM, CUSTOM_FIELDS_MAX, FIELD_TYPES, REWARDS, TEXT_MAX, OmetriaMapping

RECORD_BYTES_MAX = 60_000
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:loystream:loy.events")


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it is pushed, and what had to be done so that Ometria takes it."""

    body: bytes
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Field:
    """Where one of our fields goes."""

    target: Target
    to: str
    """The name at Ometria, the prefix included."""
    custom: bool


class Records:
    """Records by a mapping and settings. Raises MappingError when these names can never fit."""

    def __init__(self, config: Config, mapping: OmetriaMapping) -> None:
        self._config = config
        self._map = mapping
        self._fields = {name: self._field(target) for name, target in mapping.fields.items() if target is not None}
        self._lists = {*config.segments.values(), *([config.member_segment] if config.member_segment else [])}
        self._check()

    def _field(self, target: Target) -> _Field:
        custom = target.to.startswith(CUSTOM)
        return _Field(target, self._config.prefix + target.to.removeprefix(CUSTOM) if custom else target.to, custom)

    def _check(self) -> None:
        names = self.custom_fields()
        wrong = [
            f"spread_s: {name} is not an event that is sent" for name in self._config.spread_s if not self._map.events.get(name)
        ]
        if len(names) > CUSTOM_FIELDS_MAX:
            wrong.append(f"{len(names)} custom fields, Ometria has {CUSTOM_FIELDS_MAX}")
        if _size(dict.fromkeys(names)) > self._config.properties_max:
            wrong.append(f"the names of the custom fields alone are longer than {self._config.properties_max}")
        if wrong:
            raise MappingError("Ometria cannot hold this mapping:\n" + "\n".join(f"  {line}" for line in wrong))

    def custom_fields(self) -> dict[str, str]:
        """The custom fields of a contact: type by id."""
        text = self._config.properties_as_text
        return {one.to: "string" if text else FIELD_TYPES[one.target.type] for one in self._fields.values() if one.custom}

    def event_types(self) -> Iterator[EventTarget]:
        """The custom events."""
        return (event for event in self._map.events.values() if event is not None)

    # ------------------------------------------------------------ contacts

    def contact(self, change: ProfileChange) -> Record | Rejected:
        """The contact as it is pushed: whole, since nobody says whether a part would replace the rest."""
        notes: list[str] = []
        body = self._forgotten(change.person) if change.erased else self._contact(change, notes)
        return body if isinstance(body, Rejected) else _sealed(body, notes)

    def _contact(self, change: ProfileChange, notes: list[str]) -> dict[str, Any] | Rejected:
        person = change.person
        standard = self._standard(change, notes)
        if standard.get("email") is None and self._config.without_email == "reject":
            return Rejected("NO_EMAIL", "the member has no e-mail address that Ometria would take")
        properties = self._properties(person)
        if not self._fitted(person, properties, notes):
            return Rejected("PROPERTIES_TOO_LARGE", f"{_size(properties)} bytes of custom fields, whatever is dropped")
        return {
            **self._head(person),
            **self._account(person, "customer_id"),
            **standard,
            "properties": properties,
        } | self._segments(person)

    def _head(self, person: Person) -> dict[str, Any]:
        return {"@type": "contact", "@collection": self._config.collection, "@merge": True, "id": person.loyalty_id}

    def _account(self, person: Person, name: str) -> dict[str, str]:
        """The shop's own customer id, by either of its names: an event must say what the contact said."""
        value = person.field(self._config.customer_id_field) if self._config.customer_id_field else None
        return {name: str(value)} if value else {}

    def _standard(self, change: ProfileChange, notes: list[str]) -> dict[str, Any]:
        """Fields that every contact has. One without a value is emptied when the contact data changed, else left out."""
        emptied = change.moved and self._config.null_mode == "null"
        found: dict[str, Any] = {}
        for name, field in self._fields.items():
            if field.custom:
                continue
            given = self._map.value(change.person.field(name), field.target)
            value = self._addressed(field.to, given)
            if value is not None or (emptied and field.to != "email"):
                found[field.to] = value
            if value is None and given:
                notes.append(f"{field.to}_left_out")
        return found

    def _addressed(self, to: str, value: Any) -> Any:
        if to == "email":
            return _email(value)
        return self._e164(value) if to == "phone_number" else value or None

    def _e164(self, phone: str | None) -> str | None:
        """E.164 with its plus; None when it is no number."""
        if phone is None or _E164.fullmatch(phone):
            return phone
        try:
            number = phonenumbers.parse(phone, self._config.region)
        except phonenumbers.NumberParseException:
            return None
        possible = phonenumbers.is_possible_number(number)
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) if possible else None

    def _properties(self, person: Person) -> dict[str, Any]:
        """The custom fields."""
        pairs = (
            (field.to, self._formed(self._map.value(person.field(name), field.target), field.target))
            for name, field in self._fields.items()
            if field.custom
        )
        return {to: value for to, value in pairs if value is not None or self._config.null_mode == "null"}

    def _formed(self, value: Any, target: Target) -> Any:
        """A value of the mapping as Ometria has its type."""
        if value is None or value == "":
            return None
        if target.type == "date" and self._config.date_format == "datetime":
            return f"{value}T00:00:00Z"
        if self._config.properties_as_text and not isinstance(value, str):
            return orjson.dumps(value).decode()
        return value

    def _fitted(self, person: Person, properties: dict[str, Any], notes: list[str]) -> bool:
        """Cut until all fit together: rewards at an item, then whole fields in the mapping's order."""
        most, rewards, items = self._config.properties_max, self._fields.get(REWARDS), list(person.field(REWARDS) or ())
        if rewards and rewards.custom and items and _size(properties) > most:
            notes.append("shortened")
            while items and _size(properties) > most:
                items.pop()
                properties[rewards.to] = self._formed(self._map.value(items, rewards.target), rewards.target)
        for name in self._map.properties_drop_order:
            if _size(properties) <= most:
                break
            if properties.pop(self._fields[name].to, None) is not None:
                notes.append("dropped")
        return _size(properties) <= most

    def _segments(self, person: Person) -> dict[str, list[int]]:
        """The whole membership each time: those of the tier and of members in, all others out."""
        if not self._lists:
            return {}
        mine = {self._config.segments.get(str(person.field("current_tier"))), self._config.member_segment}
        kept = self._lists & mine if person.field("opt_in_status") else set()
        lists = {"@add_to_lists": sorted(kept), "@remove_from_lists": sorted(self._lists - kept)}
        return {name: ids for name, ids in lists.items() if ids}

    def _forgotten(self, person: Person) -> dict[str, Any]:
        """Everything the sink ever wrote, as null; but for the e-mail address, without which the contact could not be found."""
        standard = {field.to: None for field in self._fields.values() if not field.custom and field.to != "email"}
        lists = {"@remove_from_lists": sorted(self._lists)} if self._lists else {}
        return {**self._head(person), **standard, "properties": dict.fromkeys(self.custom_fields()), **lists}

    def email(self, person: Person) -> str | None:
        """The address that the contact has at Ometria."""
        fields = (
            _email(self._map.value(person.field(name), one.target)) for name, one in self._fields.items() if one.to == "email"
        )
        return next(fields, None)

    # ------------------------------------------------------------ events

    def event(self, happening: Happening, now: float) -> Record | Rejected:
        """The event as it is pushed. One that is too old to start an automation keeps its time."""
        email = self.email(happening.person)
        if email is None:
            return Rejected("NO_EMAIL", "an event belongs to an e-mail address, the member has none that Ometria would take")
        at, notes = self._time(happening), list[str]()
        if now - datetime.fromisoformat(at).timestamp() > self._config.late_after_s:
            if self._config.late_events == "dead_letter":
                return Rejected("EVENT_LATE", f"of {at}: it would start no automation any more")
            notes.append("late")
        event = cast("EventTarget", self._map.events[happening.type])
        body = {
            "@type": "custom_event",
            "id": event_id(self._map.identity(happening)),
            "event_type": event.name,
            "timestamp": at,
            "identity_email": email,
            **self._account(happening.person, "identity_account_id"),
            "properties": self._event_properties(happening, event, notes),
        }
        return _sealed(body, notes)

    def _event_properties(self, happening: Happening, event: EventTarget, notes: list[str]) -> dict[str, Any]:
        targets = {prop.to: prop for prop in event.properties}
        found: dict[str, Any] = {}
        for name, value in self._map.properties(happening).items():
            formed = value if targets[name].type != "date" else self._formed(value, targets[name])
            if isinstance(formed, str) and len(formed) > TEXT_MAX:
                formed = formed[:TEXT_MAX]
                notes.append("cut")
            found[name] = formed
        return {name: value for name, value in found.items() if value is not None}

    def _time(self, happening: Happening) -> str:
        """When it happened; a little later where events of one moment are spread, always the same for a member."""
        at, spread = happening.occurred_at.upper(), self._config.spread_s.get(happening.type)
        if not spread:
            return at
        later = zlib.crc32(happening.person.loyalty_id.encode()) % spread
        return (datetime.fromisoformat(at) + timedelta(seconds=later)).isoformat()

    # ------------------------------------------------------------ looking back

    def expected(self, person: Person) -> dict[str, Any]:
        """What `held` should say. Without what is left to others: fields that have no value here, or no room there."""
        body = self._contact(ProfileChange(person), [])
        if isinstance(body, Rejected):
            return {}
        standard = {field.to: body[field.to] for field in self._fields.values() if not field.custom and field.to in body}
        return self._comparable({**standard, **body["properties"]})

    def held(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a contact at Ometria says in our fields."""
        custom = body.get("properties") or {}
        return self._comparable({one.to: (custom if one.custom else body).get(one.to) for one in self._fields.values()})

    def _comparable(self, found: dict[str, Any]) -> dict[str, Any]:
        """Without what Ometria may write otherwise: case of addresses, times of dates."""
        dates = {field.to for field in self._fields.values() if field.target.type == "date"}
        days = {to: str(value)[:10] for to, value in found.items() if to in dates and value is not None}
        email = {"email": str(found["email"]).casefold()} if found.get("email") else {}
        return found | days | email


def event_id(ours: str) -> str:
    """A UUID that derives from ours: a repeat has the same, and nobody reads a receipt's number from it."""
    return str(uuid.uuid5(_NAMESPACE, ours))


def _email(value: Any) -> str | None:
    address = str(value or "").strip()
    return address if _EMAIL.fullmatch(address) else None


def _size(properties: Mapping[str, Any] | Sequence[str]) -> int:
    """Bytes as compact JSON."""
    return len(orjson.dumps(properties))


def _sealed(body: Mapping[str, Any], notes: Sequence[str]) -> Record | Rejected:
    record = Record(orjson.dumps(body), tuple(notes))
    if len(record.body) > RECORD_BYTES_MAX:
        return Rejected("RECORD_TOO_LARGE", f"{len(record.body)} bytes, Ometria takes {RECORD_BYTES_MAX}")
    return record
