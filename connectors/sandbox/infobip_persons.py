"""The persons of an Infobip account: found by any of their identifiers, changed in part."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from connectors.sandbox import infobip_rules as rules
from connectors.sandbox.base import Refusal


class Person:
    """A person as the account has it."""

    def __init__(self, number: int) -> None:
        self.id = number
        self.fields: dict[str, Any] = {}
        self.custom: dict[str, Any] = {}
        self.emails: list[str] = []
        self.phones: list[str] = []
        self.tags: list[str] = []

    def v2(self) -> dict[str, Any]:
        """As v2 shows it: contact information is an object of lists."""
        contacts = {"email": [{"address": one} for one in self.emails], "phone": [{"number": one} for one in self.phones]}
        contacts = {kind: some for kind, some in contacts.items() if some}
        known = {name: value for name, value in self.fields.items() if value is not None}
        return {"id": self.id, **known, "tags": self.tags, "customAttributes": self.custom, "contactInformation": contacts}

    @property
    def member(self) -> str:
        """The loyalty id, where one can be told."""
        custom = next((str(value) for name, value in self.custom.items() if name.casefold() == "loyalty_id" and value), "")
        return str(self.fields.get("externalId") or custom or f"#{self.id}")

    def flat(self) -> dict[str, Any]:
        """One row of the page."""
        names = {name: value for name, value in self.fields.items() if value is not None and name != "externalId"}
        return {**names, "emails": self.emails, "phones": self.phones, "tags": self.tags, **self.custom}


class Persons:
    """All of an account."""

    def __init__(self) -> None:
        self._persons: dict[int, Person] = {}
        self._known: dict[tuple[str, str], int] = {}
        self._numbers = itertools.count(1)

    def all(self) -> Iterable[Person]:
        return self._persons.values()

    def find(self, kind: str, identifier: str) -> Person | None:
        if kind == "ID":
            return self._persons.get(int(identifier)) if identifier.isdigit() else None
        number = self._known.get((kind, identifier.casefold() if kind == "EMAIL" else identifier))
        return self._persons.get(number) if number is not None else None

    def upsert(self, body: Any, types: Mapping[str, str]) -> dict[str, Any]:
        """Create or change one. Raises Refusal with the item's error."""
        if wrong := list(rules.wrong_in_person(body, types)):
            raise refused(400100, wrong)
        keys = _keys(body)
        if not keys:
            raise refused(400104, [rules.Wrong("externalId", "One of externalId, email, phone is required")])
        found = {self._known[key] for key in keys if key in self._known}
        person = self._persons[found.pop()] if found else None
        own = person.fields.get("externalId") if person else None
        if found or (own and body.get("externalId") not in (None, own)):
            raise refused(409100, [rules.Wrong("", "identifiers of different persons")])
        if person is None:
            person = self._new()
            self._apply(person, body)
            return {"id": person.id, "status": "CREATED"}
        before = orjson.dumps(person.v2())
        self._apply(person, body)
        return {"id": person.id, "status": "NOT_MODIFIED" if orjson.dumps(person.v2()) == before else "UPDATED"}

    def _new(self) -> Person:
        person = Person(next(self._numbers))
        self._persons[person.id] = person
        return person

    def _apply(self, person: Person, body: Mapping[str, Any]) -> None:
        """Partial: what is given changes, addresses are added, null clears."""
        person.fields |= {name: value for name, value in body.items() if name in rules.STANDARD}
        for name, value in (body.get("customAttributes") or {}).items():
            person.custom.pop(name, None)
            if value is not None:
                person.custom[name] = value
        person.custom = dict(sorted(person.custom.items()))
        for one in body.get("contactInformation") or []:
            addresses = person.emails if one["type"] == "EMAIL" else person.phones
            if one["identifier"] not in addresses:
                addresses.append(one["identifier"])
        for key in _keys(body):
            self._known[key] = person.id

    def create(self, kind: str, identifier: str) -> Person:
        """A person of whom nothing else is known."""
        person = self._new()
        self._apply(person, _body_of(kind, identifier))
        return person

    def delete(self, person: Person) -> None:
        del self._persons[person.id]
        self._known = {key: number for key, number in self._known.items() if number != person.id}

    def move(self, person: Person, emails: list[str], phones: list[str]) -> None:
        """These addresses in place of those before."""
        person.emails, person.phones = emails, phones
        contact = ("EMAIL", "PHONE")
        self._known = {key: number for key, number in self._known.items() if number != person.id or key[0] not in contact}
        pairs = [("EMAIL", one) for one in emails] + [("PHONE", one) for one in phones]
        self._known |= {(kind, one.casefold()): person.id for kind, one in pairs}


def _keys(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a person is found by: addresses without case, the rest exactly."""
    own = [("EXTERNAL_ID", body["externalId"])] if body.get("externalId") else []
    contacts = body.get("contactInformation") or []
    return own + [(one["type"], one["identifier"].casefold()) for one in contacts]


def _body_of(kind: str, identifier: str) -> dict[str, Any]:
    if kind == "EXTERNAL_ID":
        return {"externalId": identifier}
    return {"contactInformation": [{"type": kind, "identifier": identifier}]}


def refused(code: int, wrong: Iterable[rules.Wrong]) -> Refusal:
    """The error of one person."""
    details = [one._asdict() for one in wrong]
    return Refusal(207, {"code": code, "message": "One or more properties of the person are invalid", "details": details})
