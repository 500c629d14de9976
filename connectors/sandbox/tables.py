"""Tables of a CRM in memory: columns with types and lengths, one unique key each, made as the shipped mapping wants them.

Law: a row is written whole or refused with the reason; a row whose version is older than the stored one is refused, as the rule
that docs/sinks/crm.md tells to create in the CRM does.
"""

import asyncio
import binascii
from base64 import b64decode
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

from connectors.configuration import MAPPINGS
from connectors.crm.mapping import CrmMapping
from connectors.mapping import Kind, Target, load_mapping

TEXT_MAX = 4000


class Column(NamedTuple):
    """What a column takes; None empties it, unless it is required."""

    kind: Kind = "text"
    length: int = TEXT_MAX
    required: bool = False


class Wrong(NamedTuple):
    """Why a value is refused."""

    why: Literal["unknown", "type", "length", "required"]
    column: str


class Taken(Exception):  # noqa: N818  # an answer, not an accident
    """Another writer is just creating the row of this key."""


@dataclass
class Table:
    """Rows by key."""

    name: str
    key: str
    columns: Mapping[str, Column]
    version: str | None = None
    create_seconds: float = 0.0
    """How long a row takes to be created; who comes meanwhile is `Taken`."""
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    creating: set[str] = field(default_factory=set)

    def wrong(self, values: Mapping[str, Any], *, creates: bool) -> Wrong | None:
        """The first value that is refused."""
        for name, value in values.items():
            column = self.columns.get(name)
            if column is None:
                return Wrong("unknown", name)
            if (why := _refused(column, value)) is not None:
                return Wrong(why, name)
        missing = (name for name, column in self.columns.items() if column.required and creates and name not in values)
        return next((Wrong("required", name) for name in missing), None)

    def is_stale(self, key: str, values: Mapping[str, Any]) -> bool:
        """Whether the stored row is newer."""
        stored = self.rows.get(key, {}).get(self.version or "")
        return isinstance(stored, int) and isinstance(values.get(self.version or ""), int) and values[self.version or ""] < stored

    def write(self, key: str, values: Mapping[str, Any]) -> None:
        """Create or change."""
        self.rows[key] = {**self.rows.get(key, {}), **values}

    @asynccontextmanager
    async def creation(self, key: str) -> Any:
        """The time it takes until a row of this key is there. Raises Taken."""
        if key in self.rows:
            yield
            return
        if key in self.creating:
            raise Taken
        self.creating.add(key)
        try:
            if self.create_seconds:
                await asyncio.sleep(self.create_seconds)
            yield
        finally:
            self.creating.discard(key)


def _refused(column: Column, value: Any) -> Literal["type", "length", "required"] | None:
    if value is None:
        return "required" if column.required else None
    if isinstance(value, str) and len(value) > column.length:
        return "length"
    return None if _fits(column.kind, value) else "type"


def _fits(kind: Kind, value: Any) -> bool:  # noqa: PLR0911  # one return a kind
    match kind:
        case "text":
            return isinstance(value, str)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "list":
            return isinstance(value, list)
        case "date":
            return isinstance(value, str) and _is(date.fromisoformat, value)
        case "datetime":
            return isinstance(value, str) and _is(lambda text: datetime.fromisoformat(text).utcoffset(), value)
        case "base64":
            return isinstance(value, str) and _is(lambda text: b64decode(text, validate=True).decode(), value)


def _is(read: Any, text: str) -> bool:
    try:
        return read(text) is not None
    except (ValueError, binascii.Error):
        return False


# ---------------------------------------------------------------- as the shipped mapping wants them


def shipped(vendor: str, standard: Mapping[str, Column]) -> tuple[CrmMapping, Table, Table]:
    """The vendor's mapping, and the tables of members and interactions for it. `standard` columns are as the vendor has them."""
    mapping = load_mapping(MAPPINGS / f"{vendor}.yaml", CrmMapping)
    targets = [target for target in mapping.fields.values() if target is not None]
    events = [prop for event in mapping.events.values() if event is not None for prop in event.properties]
    told = mapping.interaction
    member = Table(
        mapping.member.table, mapping.member.key, _columns(targets, mapping.member.always, standard), mapping.member.version
    )
    columns = _columns([*told.columns, *events, told.subject], {**told.always, told.name: ""}, standard)
    interaction = Table(told.table, told.key, columns)
    if member.version is not None:
        member.columns = {**member.columns, member.version: Column("number")}
    return mapping, member, interaction


def _columns(targets: list[Any], always: Mapping[str, Any], standard: Mapping[str, Column]) -> dict[str, Column]:
    made = {target.to: _column(target) for target in targets}
    fixed = {
        name: Column("boolean" if isinstance(value, bool) else "number" if isinstance(value, int) else "text")
        for name, value in always.items()
    }
    return {name: standard.get(name, column) for name, column in {**made, **fixed}.items()}


def _column(target: Target) -> Column:
    kind: Kind = "text" if target.type == "list" else target.type
    return Column(kind, TEXT_MAX if kind == "base64" else target.length or TEXT_MAX)
