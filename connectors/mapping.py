"""Names and types per vendor as data: a file that an integrator can edit, checked at start.

Law: each of the 29 fields and each event is either mapped or dropped by name; forgetting one is an error, not a silence.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from connectors.delivery import IN_CONTACT, Happening, Person
from schemas.events import EVENTS, PROFILE_FIELDS

Kind = Literal["text", "number", "boolean", "date", "datetime", "list", "base64"]
Known = Callable[[str], Any]
"""A JSON value by its name."""
_OF_THE_EVENT = ("occurred_at", "event_id")
T = TypeVar("T")


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

    def plan(self, fields: Iterable[tuple[str, str, Target]]) -> "Plan[Person]":
        """The values of these fields (ours, the name to give it, its target), all at once."""
        return Plan(_OF_PERSON, ((*_origin(name), to, target) for name, to, target in fields), self.value)

    @cached_property
    def _profile(self) -> "Plan[Person]":
        return self.plan((name, target.to, target) for name, target in self.fields.items() if target is not None)

    @cached_property
    def _properties(self) -> dict[str, "Plan[Happening]"]:
        return {
            name: Plan(
                _of_event(one.source for one in event.properties),
                ((*_origin(one.source), one.to, one) for one in event.properties),
                self.value,
            )
            for name, event in self.events.items()
            if event is not None
        }

    @cached_property
    def _once(self) -> dict[str, Callable[[Happening], Any]]:
        return {name: _source(event.once) for name, event in self.events.items() if event is not None and event.once}

    def profile(self, person: Person) -> dict[str, Any]:
        """The person's mapped fields by the vendor's names; values that are absent come as None."""
        return self._profile.values(person)

    def properties(self, happening: Happening) -> dict[str, Any]:
        """The event's mapped properties; absent values are left out."""
        plan = self._properties.get(happening.type)
        return {name: value for name, value in plan.values(happening).items() if value is not None} if plan else {}

    def identity(self, happening: Happening) -> str:
        """What a repeat of it has too: its id, or its member and the value of which it is told once."""
        event = self.events[happening.type]
        if event is None or event.once is None:
            return happening.event_id
        value = self._once[happening.type](happening)
        return happening.event_id if value is None else f"{happening.person.loyalty_id}/{event.once}/{value}"

    def value(self, value: Any, target: Target) -> Any:  # noqa: PLR0911  # one return a type
        """A JSON value as the target's type. Texts and lists are cut to its length."""
        if value is None:
            return target.absent
        if isinstance(value, _LISTS) and target.type != "list":
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


class Plan(Generic[T]):
    """Fields of a thing and the form of each, worked out once: a hundred thousand are told of after an outage."""

    def __init__(
        self,
        origins: Mapping[str, Callable[[T], Known]],
        fields: Iterable[tuple[str, str, str, Target]],
        value: Callable[[Any, Target], Any],
    ) -> None:
        """`fields`: where in the thing, its name there, the name to give it, its target; `value` gives any value its form."""
        fields = list(fields)
        self._parts = [
            (known, part.add)
            for origin, known in origins.items()
            if (part := _Part([(name, to, target) for where, name, to, target in fields if where == origin], value))
        ]

    def values(self, thing: T) -> dict[str, Any]:
        """By the given names; None for what is absent."""
        values: dict[str, Any] = {}
        for known, add in self._parts:
            add(values, known(thing))
        return values


class _Part:
    """Fields from one place. What most values are goes as it is, and is only looked at."""

    def __init__(self, fields: list[tuple[str, str, Target]], value: Callable[[Any, Target], Any]) -> None:
        self._value = value
        self._figures = [one for one in fields if one[2].type in _FIGURES]
        self._texts = [(*one, _longest(one[2])) for one in fields if one[2].type in _TEXTS]
        self._others = [one for one in fields if one[2].type not in _FIGURES + _TEXTS]

    def __len__(self) -> int:
        return len(self._figures) + len(self._texts) + len(self._others)

    def add(self, values: dict[str, Any], known: Known) -> None:
        """The values of all."""
        for name, to, target in self._figures:
            value = known(name)
            values[to] = value if isinstance(value, int) else self._value(value, target)
        for name, to, target, longest in self._texts:
            value = known(name)
            values[to] = value if value.__class__ is str and len(value) <= longest else self._value(value, target)
        for name, to, target in self._others:
            values[to] = self._value(known(name), target)


_LISTS = (list, tuple)
_FIGURES: tuple[Kind, ...] = ("number", "boolean")
_TEXTS: tuple[Kind, ...] = ("text", "date")
_OF_PERSON: dict[str, Callable[[Person], Known]] = {
    "profile": lambda person: person.profile.get,
    "contact": lambda person: (person.contact or {}).get,
}


def _of_event(sources: Iterable[str]) -> dict[str, Callable[[Happening], Known]]:
    """Of `data` only these sources are read; the rest of an event, most of it, is skipped."""
    wanted = {name for origin, name in map(_origin, sources) if origin == "data"}
    data: Any = msgspec.defstruct("Data", [(name, Any, None) for name in sorted(wanted)])
    read: Callable[[bytes], Any] = msgspec.json.Decoder(msgspec.defstruct("Event", [("data", data)])).decode
    return {
        "profile": lambda happening: happening.person.profile.get,
        "contact": lambda happening: (happening.person.contact or {}).get,
        "data": lambda happening: partial(getattr, read(happening.event).data),
        "event": lambda happening: partial(getattr, happening),
    }


def _source(source: str) -> Callable[[Happening], Any]:
    origin, name = _origin(source)
    known = _of_event([source])[origin]
    return lambda happening: known(happening)(name)


def _origin(source: str) -> tuple[str, str]:
    """Where a source lies, and its name there."""
    if source.startswith("data."):
        return "data", source.removeprefix("data.")
    if source in _OF_THE_EVENT:
        return "event", source
    return ("contact", IN_CONTACT[source]) if source in IN_CONTACT else ("profile", source)


def _longest(target: Target) -> int:
    return len("2026-01-01") if target.type == "date" else target.length or 1 << 30


def _same(path: str, given: set[str], wanted: set[str]) -> None:
    if missing := wanted - given:
        raise ValueError(f"{path}: {', '.join(sorted(missing))} neither mapped nor dropped (null)")
    if unknown := given - wanted:
        raise ValueError(f"{path}: {', '.join(sorted(unknown))} unknown")


def _known_source(event: str, source: str) -> None:
    model, _ = EVENTS[event]
    name = source.removeprefix("data.")
    known = model.model_fields if source.startswith("data.") else {*PROFILE_FIELDS, *_OF_THE_EVENT}
    if name not in known:
        raise ValueError(f"events.{event}: there is no {source!r} to take a property from")


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
