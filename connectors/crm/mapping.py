"""The mapping file of a CRM: the fields and events of every sink, and the tables and keys they go to."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from connectors.crm.port import InteractionRow, MemberRow, interaction_key
from connectors.delivery import Happening, Person
from connectors.mapping import Property, Target, VendorMapping

Column = Annotated[str, Field(min_length=1, max_length=256)]
_COMMON = ("occurred_at", "event_id")


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    table: Column
    """The vendor's name of the table, as it stands in addresses."""
    key: Column
    """The column of the unique key: loyalty id, or event."""
    always: dict[str, str | int | bool] = {}
    """Columns that are the same in every row."""


class MemberTable(_Table):
    """Where members go."""

    version: Column | None = None
    """Takes the version, so that a rule in the CRM can refuse older rows."""


class InteractionTable(_Table):
    """Where interactions go."""

    member: Column
    """What binds a row to its member; what it looks like is the adapter's."""
    name: Column
    """Takes the event's `name`."""
    subject: Target
    """Takes the event's `title`."""
    columns: tuple[Property, ...] = ()
    """Of every event: `occurred_at`, `event_id` or a profile field."""


class CrmMapping(VendorMapping):
    member: MemberTable
    interaction: InteractionTable

    @model_validator(mode="after")
    def _common(self) -> Self:
        for column in self.interaction.columns:
            if column.source not in (*_COMMON, *self.fields):
                raise ValueError(f"interaction.columns: {column.source!r} is not in every event")
        return self

    def member_row(self, person: Person, *, erased: bool = False) -> MemberRow:
        """The person as a row."""
        person = known(person, erased=erased)
        version = {self.member.version: person.version} if self.member.version else {}
        return MemberRow(person.loyalty_id, {**self.member.always, **self.profile(person), **version})

    def interaction_row(self, happening: Happening) -> InteractionRow:
        """The event as a row; one key for each event, or for each member and value where the mapping says `once`."""
        event = self.events[happening.type]
        assert event is not None  # noqa: S101  # the sink is told of mapped events alone
        table = self.interaction
        own = {table.name: event.name, table.subject.to: self.value(event.title or event.name, table.subject)}
        common = {column.to: self.value(_common(happening, column.source), column) for column in table.columns}
        columns = {**table.always, **common, **own, **self.properties(happening)}
        return InteractionRow(interaction_key(self.identity(happening)), happening.person.loyalty_id, columns)

    def member_columns(self) -> set[str]:
        """Every column that a member's row may have, without the key."""
        version = {self.member.version} if self.member.version else set()
        return {*self.member.always, *(target.to for target in self.fields.values() if target), *version}

    def interaction_columns(self) -> set[str]:
        """Every column that an interaction's row may have, without key and binding."""
        table = self.interaction
        own = {prop.to for event in self.events.values() if event for prop in event.properties}
        return {*table.always, table.name, table.subject.to, *(column.to for column in table.columns), *own}


def known(person: Person, *, erased: bool) -> Person:
    """What a CRM may know of the person: of one who is erased, nothing of ours."""
    return Person(person.loyalty_id, version=person.version) if erased else person


def _common(happening: Happening, source: str) -> Any:
    return getattr(happening, source) if source in _COMMON else happening.person.field(source)
