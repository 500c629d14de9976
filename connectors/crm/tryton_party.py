"""What a member is in Tryton: a party with contact mechanisms, an address, categories, and a card for what has no other place.

Law: what people wrote into the party stays. Ours are the mapped columns, what bears the label, and categories below the label's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import model_validator

from connectors.crm.mapping import CrmMapping
from connectors.delivery import Person
from connectors.mapping import Target

PLACES = ("card", "tag", "category", "mechanism", "address")
_TYPES = ("phone", "mobile", "fax", "email", "website", "skype", "sip", "irc", "jabber")
_CARD = "other"
"""The card is a contact mechanism of this type: so it is written in one transaction with the party."""
Path = tuple[str, ...]
"""Of a category, from the label down."""


class TrytonMapping(CrmMapping):
    """Targets are columns of `party.party`, or `card.LINE`, `tag.NAME`, `category.GROUP`, `mechanism.TYPE`, `address.COLUMN`."""

    label: str = "Loyalty"
    """Name of our contact mechanisms and of the category above ours."""

    @model_validator(mode="after")
    def _places(self) -> Self:
        for name, target in self.fields.items():
            if target is not None:
                _check(name, target)
        return self

    def profile(self, person: Person) -> dict[str, Any]:
        """As ever; fields of one target are joined by a space, in the order of the file, e.g. both names."""
        row: dict[str, Any] = {}
        for name, target in self.fields.items():
            if target is not None:
                values = (row.get(target.to), self.value(person.field(name), target))
                known = [value for value in values if value is not None]
                row[target.to] = " ".join(map(str, known)) if len(known) > 1 else next(iter(known), None)
        return row


def _check(name: str, target: Target) -> None:
    place, dot, rest = target.to.partition(".")
    if dot and (place not in PLACES or not rest):
        raise ValueError(f"fields.{name}: {target.to!r} is neither a column nor in {', '.join(PLACES)}")
    if place == "tag" and dot and target.type != "boolean":
        raise ValueError(f"fields.{name}: a tag is there or not: its type is boolean")
    if place == "mechanism" and dot and rest not in _TYPES:
        raise ValueError(f"fields.{name}: {rest!r} is none of {', '.join(_TYPES)}")


@dataclass(frozen=True, slots=True)
class Party:
    """A party as Tryton answers it to `Shape.fields`."""

    raw: Mapping[str, Any]
    label: str

    @property
    def id(self) -> int:
        return int(self.raw["id"])

    @property
    def active(self) -> bool:
        return bool(self.raw["active"])

    def ours(self, kind: str) -> list[Mapping[str, Any]]:
        """Contact mechanisms of that type that bear the label, the current one first."""
        found = [one for one in self.raw["contact_mechanisms"] if one["type"] == kind and one["name"] == self.label]
        return sorted(found, key=lambda one: (not one["active"], -_version(one), one["id"]))

    @property
    def card(self) -> Mapping[str, Any] | None:
        return next(iter(self.ours(_CARD)), None)

    @property
    def version(self) -> int:
        """Of the member's data; 0 for a party that we never wrote to."""
        return _version(self.card) if self.card else 0

    @property
    def address(self) -> Mapping[str, Any] | None:
        """The first."""
        return next((one for one in self.raw["addresses"] if one["active"]), None)


def _version(card: Mapping[str, Any]) -> int:
    number = str(card["value"]).rpartition(" ")[2]
    return int(number) if number.isdecimal() else 0


class Shape:
    """Turns rows into what is written to a party, and a party back into a row."""

    def __init__(self, mapping: TrytonMapping) -> None:
        self._label = mapping.label
        self._version = mapping.member.version
        self._types = {target.to: target.type for target in mapping.fields.values() if target}
        self._columns = mapping.member_columns() - {mapping.member.version}
        self.plain = sorted(column for column in self._columns if "." not in column)
        """Columns of `party.party`."""
        self._placed = {place: self._names(place) for place in PLACES}
        """By place: what is behind the dot, and the whole."""

    def _names(self, place: str) -> dict[str, str]:
        return {name.removeprefix(f"{place}."): name for name in self._types if name.startswith(f"{place}.")}

    @property
    def fields(self) -> list[str]:
        """What to ask of a party."""
        mechanism = [f"contact_mechanisms.{name}" for name in ("type", "name", "value", "value_compact", "comment", "active")]
        address = [f"addresses.{name}" for name in ("active", *self._placed["address"])]
        return [*self.plain, "code", "active", "categories.name", "categories.parent", *mechanism, *address]

    @property
    def address_columns(self) -> list[str]:
        """Columns of `party.address`."""
        return list(self._placed["address"])

    @property
    def groups(self) -> list[Path]:
        """Categories that are there before any member: the label's, each tag, each group."""
        return [(self._label,), *((self._label, name) for place in ("tag", "category") for name in self._placed[place])]

    def categories(self, columns: Mapping[str, Any]) -> list[Path]:
        """Those that the member shall have."""
        tags = [(self._label, name) for name, column in self._placed["tag"].items() if columns.get(column)]
        groups = self._placed["category"].items()
        return [*tags, *((self._label, name, str(columns[column])) for name, column in groups if columns.get(column) is not None)]

    # ------------------------------------------------------------ writing

    def changes(self, columns: Mapping[str, Any], party: Party | None, known: Mapping[Path, int]) -> dict[str, Any]:
        """What to write, nothing when all is as it shall be. `known` are categories, those that are wanted among them."""
        held = party.raw if party else {}
        plain = {name: columns.get(name) for name in self.plain if columns.get(name) != held.get(name)}
        parts = {
            "categories": self._category_steps(columns, party, known),
            "addresses": self._address_steps(columns, party),
            "contact_mechanisms": [*self._mechanism_steps(columns, party), *self._card_steps(columns, party)],
        }
        changed = plain | {name: steps for name, steps in parts.items() if steps}
        if changed and party and party.card and not self._card_steps(columns, party):
            changed.setdefault("contact_mechanisms", []).extend(_swap(party, {}))
        return changed

    def _category_steps(self, columns: Mapping[str, Any], party: Party | None, known: Mapping[Path, int]) -> list[Any]:
        wanted = {known[path] for path in self.categories(columns)}
        held = {one["id"] for one in party.raw["categories"]} if party else set()
        old = self._ours(party, known) - wanted
        steps = (("remove", sorted(old)), ("add", sorted(wanted - held)))
        return [[step, ids] for step, ids in steps if ids]

    def _ours(self, party: Party | None, known: Mapping[Path, int]) -> set[int]:
        """The party's categories that are ours to take away: tags, and whatever is in a group."""
        tags = {known.get((self._label, name)) for name in self._placed["tag"]}
        groups = {known.get((self._label, name)) for name in self._placed["category"]}
        held = party.raw["categories"] if party else ()
        return {one["id"] for one in held if one["id"] in tags or (one["parent"] is not None and one["parent"] in groups)}

    def _mechanism_steps(self, columns: Mapping[str, Any], party: Party | None) -> list[Any]:
        steps: list[Any] = []
        for kind, column in self._placed["mechanism"].items():
            value, held = columns.get(column), party.ours(kind) if party else []
            if value is None:
                steps += [["delete", [one["id"] for one in held]]] if held else []
            elif not held or not held[0]["active"]:
                steps.append(["create", [{"type": kind, "name": self._label, "value": value}]])
            elif value not in (held[0]["value"], held[0]["value_compact"]):
                steps.append(["write", [held[0]["id"]], {"value": value}])
        return steps

    def _address_steps(self, columns: Mapping[str, Any], party: Party | None) -> list[Any]:
        wanted = {name: columns.get(column) for name, column in self._placed["address"].items()}
        held = party.address if party else None
        if held is None:
            return [["create", [wanted]]] if any(wanted.values()) else []
        return [["write", [held["id"]], wanted]] if any(held[name] != value for name, value in wanted.items()) else []

    def _card_steps(self, columns: Mapping[str, Any], party: Party | None) -> list[Any]:
        version = max(int(columns.get(self._version or "") or 0), party.version if party else 0)
        card = {"value": f"Version {version}", "comment": self._card_text(columns)}
        held = party.card if party else None
        if held is None or party is None:
            return [["create", [{"type": _CARD, "name": self._label, **card}]]]
        if (held["value"], held["comment"] or "") == (card["value"], card["comment"]):
            return []
        return _swap(party, card)

    def _card_text(self, columns: Mapping[str, Any]) -> str:
        values = {name: columns.get(column) for name, column in self._placed["card"].items()}
        return "\n".join(f"{name}: {written(value)}" for name, value in values.items() if value is not None)

    # ------------------------------------------------------------ reading

    def row(self, party: Party, known: Mapping[Path, int]) -> dict[str, Any]:
        """The mapped columns as the party has them."""
        lines = (line.partition(": ") for line in ((party.card or {}).get("comment") or "").splitlines())
        card = {name: text for name, _, text in lines}
        held = {one["id"]: one for one in party.raw["categories"]}
        address = party.address or {}
        row = {name: party.raw.get(name) for name in self.plain}
        row |= {column: self._typed(column, card.get(name)) for name, column in self._placed["card"].items()}
        row |= {column: known.get((self._label, name)) in held for name, column in self._placed["tag"].items()}
        row |= {
            column: _child(held.values(), known.get((self._label, name))) for name, column in self._placed["category"].items()
        }
        row |= {column: _value(party.ours(kind)) for kind, column in self._placed["mechanism"].items()}
        return row | {column: address.get(name) for name, column in self._placed["address"].items()}

    def _typed(self, column: str, text: str | None) -> Any:
        if text is None:
            return None
        match self._types[column]:
            case "number":
                return float(text) if "." in text else int(text)
            case "boolean":
                return text == "yes"
        return text


def _swap(party: Party, card: Mapping[str, Any]) -> list[Any]:
    """A new card in place of the one that was read: refused when that is gone, since another writer was here meanwhile.

    Copying a row that is gone is refused, deleting it is not. A copy is made before anything is deleted.
    """
    cards = party.ours(_CARD)
    return [["copy", [cards[0]["id"]], {"active": True, **card}], ["delete", [one["id"] for one in cards]]]


def written(value: Any) -> str:
    """A value on a line of its own."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).replace("\n", " ")


def _child(held: Any, group: int | None) -> str | None:
    return next((str(one["name"]) for one in held if group is not None and one["parent"] == group), None)


def _value(held: Sequence[Mapping[str, Any]]) -> Any:
    """Telephone numbers without the spaces that Tryton may put in."""
    current = held[0] if held and held[0]["active"] else None
    return current and (current["value_compact"] or current["value"])
