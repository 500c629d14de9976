"""What travels to Infobip: persons, events and what names them, in its words by the mapping.

Law: only what is ours is written; what the program never says stays as other systems wrote it.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, cast

from connectors.delivery import Happening, Item, Person
from connectors.infobip.config import Config
from connectors.infobip.setup import ATTRIBUTE_TYPES, PROPERTY_TYPES
from connectors.mapping import EventTarget, MappingError, Plan, Target, VendorMapping
from connectors.sink import segment

_CUSTOM = "customAttributes."
_CONTACT = "contactInformation."
_STANDARD = {"firstName", "lastName", "middleName", "nickName", "birthDate", "country", "city", "address"}
_EVENT_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
_DEFINITION = re.compile(r"[A-Za-z0-9]{1,36}")
_PROPERTY = re.compile(r"[a-z_][A-Za-z0-9_]{0,127}")
_UTC = ("+00:00", "Z")
_NO_DIGITS = re.compile(r"[^0-9]+")


class Bodies:
    """Bodies by a mapping and settings. Raises MappingError when the mapping asks for what Infobip cannot hold."""

    def __init__(self, config: Config, mapping: VendorMapping) -> None:
        self._config = config
        self._map = mapping
        self._fields = {name: (target, *self._place(target)) for name, target in mapping.fields.items() if target is not None}
        self._check()
        self._standard, self._custom, self._contacts = (self._plan(place) for place in ("standard", "custom", "contact"))

    def _plan(self, wanted: str) -> Plan[Person]:
        return self._map.plan((name, to, target) for name, (target, place, to) in self._fields.items() if place == wanted)

    def _place(self, target: Target) -> tuple[str, str]:
        """Where a field goes: (custom, name), (contact, type) or (standard, name)."""
        if target.to.startswith(_CUSTOM):
            return "custom", self._config.prefix + target.to.removeprefix(_CUSTOM)
        if target.to.startswith(_CONTACT):
            return "contact", target.to.removeprefix(_CONTACT)
        return "standard", target.to

    def _check(self) -> None:
        """What can be known of a mapping before Infobip is asked."""
        wrong = [
            f"fields.{name}: {why}" for name, (target, place, to) in self._fields.items() if (why := _unfit(target, place, to))
        ]
        for name, event in self._map.events.items():
            wrong += [f"events.{name}: {why}" for why in (_unfit_event(event) if event else ())]
        unsent = [name for name in self._config.flows if self._map.events.get(name) is None]
        wrong += [f"flows: {name} is not an event that is sent" for name in unsent]
        wrong += [f"events: {name} is one definitionId for several" for name in _twice(self._map)]
        if wrong:
            raise MappingError("Infobip cannot hold this mapping:\n" + "\n".join(f"  {line}" for line in wrong))

    def attributes(self) -> dict[str, str]:
        """The custom attributes: dataType by name."""
        return {to: ATTRIBUTE_TYPES[target.type] for target, place, to in self._fields.values() if place == "custom"}

    def definitions(self) -> Iterator[dict[str, Any]]:
        """The event definitions, as they are posted."""
        for name, event in self._map.events.items():
            if event is not None:
                fields = [{"name": prop.to, "type": PROPERTY_TYPES[prop.type]} for prop in event.properties]
                title = event.title or name
                yield {"definitionId": event.name, "title": title, "description": f"Loyalty: {title}", "fields": fields}

    # ------------------------------------------------------------ bodies

    def identifier(self, person: Person) -> str | None:
        """What the person is known by, None when there is none."""
        match self._config.identify_by:
            case "EXTERNAL_ID":
                return person.loyalty_id
            case "EMAIL":
                return person.field("email_address") or None
            case "PHONE":
                return _digits(person.field("phone_no"))

    def known(self, person: Person) -> dict[str, Any]:
        """What names the person, and nothing else: upserting it changes nothing."""
        kind, identifier = self._config.identify_by, self.identifier(person)
        return (
            {"externalId": identifier}
            if kind == "EXTERNAL_ID"
            else {"contactInformation": [{"type": kind, "identifier": identifier}]}
        )

    def person(self, person: Person) -> dict[str, Any]:
        """The person as it is upserted. What the program never says stays as other systems wrote it."""
        body: dict[str, Any] = {"externalId": person.loyalty_id} if self._config.identify_by == "EXTERNAL_ID" else {}
        custom = self._custom.values(person)
        if self._config.null_mode == "omit":
            custom = {to: value for to, value in custom.items() if value is not None}
        body |= {to: value for to, value in self._standard.values(person).items() if value is not None}
        if contacts := self.contacts(person):
            body["contactInformation"] = contacts
        body["customAttributes"] = custom
        return body

    def contacts(self, person: Person) -> list[dict[str, str]]:
        """Addresses, as v3 lists them."""
        contacts = []
        for kind, value in self._contacts.values(person).items():
            identifier = _digits(value) if kind == "PHONE" else value
            if identifier:
                contacts.append({"type": kind, "identifier": identifier})
        return contacts

    def forgotten(self, person: Person) -> dict[str, Any]:
        """Everything the sink ever wrote, as null; but for addresses, which are only added to."""
        standard = {to: None for _, place, to in self._fields.values() if place == "standard"}
        return self.known(person) | standard | {"customAttributes": dict.fromkeys(self.attributes())}

    def event(self, happening: Happening) -> dict[str, Any]:
        """The event as it is recorded."""
        return {
            "eventId": event_id(self._map.identity(happening)),
            "definitionId": cast("EventTarget", self._map.events[happening.type]).name,
            "occurredTime": _time(happening.occurred_at),
            "identifier": {"type": self._config.identify_by, "id": self.identifier(happening.person)},
            "properties": self._map.properties(happening),
        }

    def query(self, person: Person) -> str:
        """The query string that names the person."""
        return f"type={self._config.identify_by}&identifier={segment(self.identifier(person) or '')}"

    def participant(self, happening: Happening) -> dict[str, Any] | None:
        """Who enters a flow, by e-mail or else by phone, None for who has neither; without other data, which would merge."""
        contacts = self.contacts(happening.person)
        return {"identifyBy": contacts[0], "variables": self._map.properties(happening)} if contacts else None

    def held(self, body: dict[str, Any]) -> dict[str, Any]:
        """What a person at Infobip says in our fields, as `expected` has it."""
        custom, contacts = body.get("customAttributes") or {}, body.get("contactInformation") or {}
        found: dict[str, Any] = {}
        for _, place, to in self._fields.values():
            if place == "contact":
                kind, key = ("email", "address") if to == "EMAIL" else ("phone", "number")
                found[to] = next((str(one.get(key)).casefold() for one in reversed(contacts.get(kind) or [])), None)
            else:
                found[to] = (custom if place == "custom" else body).get(to)
        return found | ({f"tag {self._config.tag}": self._config.tag in (body.get("tags") or [])} if self._config.tag else {})

    def expected(self, item: Item) -> dict[str, Any]:
        """Without what is left to others: standard fields that have no value here."""
        body = self.person(item.person)
        contacts = {one["type"]: one["identifier"].casefold() for one in body.pop("contactInformation", ())}
        custom: dict[str, Any] = body.pop("customAttributes")
        body.pop("externalId", None)
        member = bool(item.person.field("opt_in_status"))
        told = self._config.tag and (member or self._config.untag_on_opt_out)
        return body | contacts | custom | ({f"tag {self._config.tag}": member} if told else {})


def _twice(mapping: VendorMapping) -> set[str]:
    names = [event.name.casefold() for event in mapping.events.values() if event is not None]
    return {name for name in names if names.count(name) > 1}


def event_id(ours: str) -> str:
    """Ours when Infobip takes it, else one that derives from it: a repeat has the same."""
    return ours if _EVENT_ID.fullmatch(ours) else blake2b(ours.encode(), digest_size=16).hexdigest()


def _digits(phone: str | None) -> str | None:
    bare = (phone or "").removeprefix("+")
    return bare if bare.isascii() and bare.isdecimal() else _NO_DIGITS.sub("", bare) or None


def seconds(instant: str) -> float:
    """Epoch seconds of an RFC 3339 instant."""
    return datetime.fromisoformat(instant).timestamp()


def _time(instant: str) -> str:
    """yyyy-MM-dd'T'HH:mm:ss.SSSZ, in UTC as in Infobip's examples; ours are in UTC already."""
    if not instant.endswith(_UTC):
        instant = datetime.fromisoformat(instant).astimezone(UTC).isoformat()
    whole, _, fraction = instant.removesuffix("Z").removesuffix("+00:00").partition(".")
    return f"{whole}.{fraction[:3]:0<3}Z"


def _unfit(target: Target, place: str, to: str) -> str | None:
    if place == "contact":
        return None if to in ("EMAIL", "PHONE") else f"contact information is EMAIL or PHONE, not {to!r}"
    if place == "standard":
        return None if to in _STANDARD else f"a person has no field {to!r} that could be written"
    if target.type not in ATTRIBUTE_TYPES:
        return f"a custom attribute cannot be {target.type}"
    return "a name has at most 256 characters and none of {}[]" if len(to) > 256 or set(to) & set("{}[]") else None


def _unfit_event(event: EventTarget) -> Iterator[str]:
    if not _DEFINITION.fullmatch(event.name):
        yield f"a definitionId has letters and digits only, at most 36, not {event.name!r}"
    if len(event.properties) > 120 or len({prop.to for prop in event.properties}) < len(event.properties):
        yield "at most 120 properties, each name once"
    for prop in event.properties:
        if not _PROPERTY.fullmatch(prop.to) or prop.type not in PROPERTY_TYPES:
            yield f"a property is lower case first, then letters, digits, _; and no list: not {prop.to!r}"
