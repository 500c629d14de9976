"""The mapping file of Ometria, and what Ometria can hold of it.

Law: consent to marketing is not the program's to say: no mapping can send it.
"""

import re
from collections.abc import Iterator
from typing import Self

from pydantic import model_validator

from connectors.mapping import EventTarget, Target, VendorMapping

CUSTOM = "properties."
CUSTOM_FIELDS_MAX = 100
EVENT_TYPE_MAX = 32
TEXT_MAX = 512
FIELD_TYPES = {"text": "string", "number": "number", "boolean": "boolean", "date": "date", "datetime": "date"}
_STANDARD = {
    "email", "phone_number", "prefix", "firstname", "middlename", "lastname", "gender", "date_of_birth", "country_id", "timezone",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
REWARDS = "available_rewards"


class OmetriaMapping(VendorMapping):
    """Fields go to a standard field of a contact, or to `properties.NAME`: a custom field, the prefix before its name."""

    properties_drop_order: tuple[str, ...] = ()
    """Our fields. When all custom fields together are too long, rewards are shortened, then these dropped, the first first."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        wrong = [f"fields.{name}: {why}" for name, target in self.fields.items() if target and (why := _unfit(target))]
        wrong += [f"events.{name}: {why}" for name, event in self.events.items() if event for why in _unfit_event(event)]
        wrong += [f"{name!r} is mapped twice" for name in _twice(self.targets())]
        wrong += [f"{name!r} names several events" for name in _twice(event.name for event in self.events.values() if event)]
        wrong += [
            f"properties_drop_order: {name!r} is no custom field"
            for name in self.properties_drop_order
            if not self.is_custom(name)
        ]
        if wrong:
            raise ValueError("Ometria cannot hold this: " + "; ".join(wrong))
        return self

    def targets(self) -> Iterator[str]:
        """Where fields go."""
        return (target.to for target in self.fields.values() if target)

    def is_custom(self, name: str) -> bool:
        """Whether this field of ours becomes a custom field."""
        target = self.fields.get(name)
        return target is not None and target.to.startswith(CUSTOM)


def _unfit(target: Target) -> str | None:
    name = target.to.removeprefix(CUSTOM)
    if target.to in _STANDARD:
        return None
    if target.to == name:
        return f"a contact has no field {name!r} that the program could say; custom fields are {CUSTOM}NAME"
    if not _NAME.fullmatch(name):
        return f"a custom field has letters, digits and _ only, not {name!r}"
    if target.type not in FIELD_TYPES:
        return f"a custom field cannot be {target.type}"
    return None


def _unfit_event(event: EventTarget) -> Iterator[str]:
    if not _NAME.fullmatch(event.name) or len(event.name) > EVENT_TYPE_MAX:
        yield f"an event type has at most {EVENT_TYPE_MAX} letters, digits and _, not {event.name!r}"
    for prop in event.properties:
        if not _NAME.fullmatch(prop.to) or prop.type not in FIELD_TYPES:
            yield f"a property has letters, digits and _ only, and one value: not {prop.to!r} of type {prop.type}"
    yield from (f"{name!r} twice" for name in _twice(prop.to for prop in event.properties))


def _twice(names: Iterator[str]) -> list[str]:
    seen = list(names)
    return sorted({name for name in seen if seen.count(name) > 1})
