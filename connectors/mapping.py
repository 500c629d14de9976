"""Names and types per vendor as data: a file that an integrator can edit, checked at start.

Law: each of the 29 fields and each event is either mapped or dropped by name; forgetting one is an error, not a silence.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from connectors.delivery import Happening, Person
from schemas.events import EVENTS, PERSONAL_FIELDS, PROFILE_FIELDS

Kind = Literal["text", "number", "boolean", "date", "datetime", "list", "base64"]
Form = Callable[[Any], Any]
"""Gives a JSON value the form that a vendor takes."""


class MappingError(ValueError):
    """The mapping file cannot be used; one line for each mistake, with its path."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Target(_Model):
    """Where a value goes, and as what."""

    to: Annotated[str, Field(min_length=1, max_length=256)]
    """The vendor's name; dots go down into objects."""
    type: Kind = "text"
    length: Annotated[int, Field(ge=1)] | None = None
    """The longest text the vendor takes; longer ones are cut, lists at an item."""
    cut: bool = True
    """False: what is too long is left out. An address that was cut is somebody else's."""
    absent: str | int | bool | None = None
    """Sent when there is no value, for what the vendor will not have empty."""


class Property(Target):
    """A property of an event, taken `from` a profile field or from `data.NAME` of the event."""

    source: Annotated[str, Field(alias="from", min_length=1)]


class EventTarget(_Model):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    """The vendor's name or id of the event."""
    title: str | None = None
    properties: tuple[Property, ...] = ()
    once: str | None = None
    """Told once per member and value of this source (e.g. an offer), in place of once per event."""


class VendorMapping(_Model):
    fields: dict[str, Target | None]
    """By our field name; null drops it, on purpose."""
    events: dict[str, EventTarget | None]
    """By LOY_ name; null drops it, on purpose."""
    join: str = " | "
    """Between the items of a list that becomes a text."""
    _profile: "Plan" = PrivateAttr()
    _properties: dict[str, tuple[tuple[str, Callable[[Happening], Any], Form], ...]] = PrivateAttr()

    def model_post_init(self, _: Any) -> None:
        """Work out once what is needed for every item."""
        self._profile = self.plan((name, target.to, target) for name, target in self.fields.items() if target is not None)
        self._properties = {
            name: tuple((prop.to, _taking(prop.source), self.form(prop)) for prop in event.properties)
            for name, event in self.events.items()
            if event is not None
        }

    @model_validator(mode="after")
    def _complete(self) -> "VendorMapping":
        _same("fields", set(self.fields), set(PROFILE_FIELDS))
        _same("events", set(self.events), set(EVENTS))
        for name, event in self.events.items():
            for prop in event.properties if event else ():
                _known_source(name, prop.source)
            if event and event.once:
                _known_source(name, event.once)
        return self

    def plan(self, fields: Iterable[tuple[str, str, Target]]) -> "Plan":
        """The values of these fields (ours, the name to give it, its target), all at once."""
        return Plan([(name, to, self.form(target)) for name, to, target in fields])

    def profile(self, person: Person) -> dict[str, Any]:
        """The person's mapped fields by the vendor's names; values that are absent come as None."""
        return self._profile.values(person)

    def properties(self, happening: Happening) -> dict[str, Any]:
        """The event's mapped properties; absent values are left out."""
        found = ((to, form(take(happening))) for to, take, form in self._properties.get(happening.type, ()))
        return {name: value for name, value in found if value is not None}

    def identity(self, happening: Happening) -> str:
        """What a repeat of it has too: its id, or its member and the value of which it is told once."""
        event = self.events[happening.type]
        value = _taking(event.once)(happening) if event and event.once else None
        if event is None or value is None:
            return happening.event_id
        return f"{happening.person.loyalty_id}/{event.once}/{value}"

    def form(self, target: Target) -> Form:
        """What `value` does for this target; what most values are goes as it is, and is only looked at."""
        if target.type in ("number", "boolean"):
            return lambda value: value if isinstance(value, int) else self.value(value, target)
        if target.type not in ("text", "date"):
            return lambda value: self.value(value, target)
        most = 10 if target.type == "date" else target.length or 1 << 30
        return lambda value: value if value.__class__ is str and len(value) <= most else self.value(value, target)

    def value(self, value: Any, target: Target) -> Any:  # noqa: PLR0911  # one return a type
        """A JSON value as the target's type. Texts and lists are cut to its length."""
        if value is None:
            return target.absent
        if isinstance(value, list | tuple) and target.type != "list":
            return self._joined([str(item) for item in value], target.length)
        if target.type in ("text", "base64"):
            text = str(value)[: target.length]
            if not target.cut and text != str(value):
                return target.absent
            return text if target.type == "text" else b64encode(text.encode()).decode()
        if target.type == "datetime" and len(str(value)) == len("2026-01-01"):
            return f"{value}T00:00:00Z"
        if target.type == "date":
            return str(value)[:10]
        return value

    def _joined(self, items: list[str], length: int | None) -> str:
        while length is not None and len(self.join.join(items)) > length and items:
            items = items[:-1]
        return self.join.join(items)


class Plan:
    """Fields of a person and their forms, worked out once: a hundred thousand persons are told of after an outage."""

    def __init__(self, fields: Iterable[tuple[str, str, Form]]) -> None:
        fields = list(fields)
        self._personal = [one for one in fields if one[0] in PERSONAL_FIELDS]
        self._loyalty = [one for one in fields if one[0] not in PERSONAL_FIELDS]

    def values(self, person: Person) -> dict[str, Any]:
        """By the given names; None for what is absent."""
        known = person.profile.get
        values = {to: form(known(name)) for name, to, form in self._loyalty}
        for name, to, form in self._personal:
            values[to] = form(person.field(name))
        return values


def _same(path: str, given: set[str], wanted: set[str]) -> None:
    if missing := wanted - given:
        raise ValueError(f"{path}: {', '.join(sorted(missing))} neither mapped nor dropped (null)")
    if unknown := given - wanted:
        raise ValueError(f"{path}: {', '.join(sorted(unknown))} unknown")


def _known_source(event: str, source: str) -> None:
    model, _ = EVENTS[event]
    name = source.removeprefix("data.")
    known = model.model_fields if source.startswith("data.") else {*PROFILE_FIELDS, "occurred_at", "event_id"}
    if name not in known:
        raise ValueError(f"events.{event}: there is no {source!r} to take a property from")


def _taking(source: str) -> Callable[[Happening], Any]:
    """How a source is taken from an event."""
    if source.startswith("data."):
        name = source.removeprefix("data.")
        return lambda happening: happening.data.get(name)
    if source in ("occurred_at", "event_id"):
        return attrgetter(source)
    if source in PERSONAL_FIELDS:
        return lambda happening: happening.person.field(source)
    return lambda happening: happening.person.profile.get(source)


M = TypeVar("M", bound=VendorMapping)


def load_mapping(path: Path, model: type[M] = VendorMapping) -> M:  # type: ignore[assignment]  # the default is a VendorMapping
    """Read and check a mapping file (YAML or JSON). Raises MappingError."""
    try:
        raw = yaml.safe_load(path.read_bytes())
        return model.model_validate_json(orjson.dumps(raw), strict=True)
    except ValidationError as failure:
        lines = (f"  {'.'.join(map(str, e['loc'])) or '(file)'}: {e['msg']}" for e in failure.errors(include_url=False))
        raise MappingError(f"{path.name} is no mapping:\n" + "\n".join(lines)) from None
    except (OSError, yaml.YAMLError, TypeError) as failure:
        raise MappingError(f"{path.name}: {failure}") from None


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    whole: dict[str, Any] = {}
    for name, value in flat.items():
        *path, last = name.split(".")
        place = whole
        for step in path:
            place = place.setdefault(step, {})
        place[last] = value
    return whole
