"""The CRM sink: members and what happened with them, to whichever CRM a setting names.

Law: the member first, then the interactions; each row once by its key, however often it is sent.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from connectors.crm.mapping import CrmMapping, known
from connectors.crm.port import Adapter, InteractionRow, MemberFirst, MemberRow, Reading
from connectors.delivery import Again, Delivered, Happening, Item, Outcome, Person, ProfileChange, Rejected
from connectors.sink import Call, Flow, Reply, Setup, chunks

Members = Generator[Call, Reply, dict[str, Outcome]]
"""By loyalty id."""
Told = Generator[Call, Reply, dict[str, Outcome | MemberFirst]]
"""By key."""


class Crm:
    """One sink for all CRM systems; the adapter speaks their language."""

    name = "crm"
    mute = ""

    def __init__(self, adapter: Adapter, mapping: CrmMapping) -> None:
        self._adapter = adapter
        self._mapping = mapping
        self.rates = adapter.rates
        self.events = frozenset(name for name, event in mapping.events.items() if event is not None)

    @property
    def base_url(self) -> str:
        """The adapter's."""
        return self._adapter.base_url

    def headers(self) -> Mapping[str, str]:
        """The adapter's."""
        return self._adapter.headers()

    def prepare(self) -> Setup:
        """The adapter's."""
        return self._adapter.prepare()

    def batches(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """In the order given, each of one kind: many CRMs take rows of one table at a time."""
        for _, same in groupby(items, type):
            yield from chunks(list(same), self._adapter.most)

    def requirements(self) -> Sequence[str]:
        """What must be there before the sink starts: tables, unique keys, columns."""
        member, told = self._mapping.member, self._mapping.interaction
        return [
            f"{member.table}: unique key {member.key}",
            *(f"{member.table}: {column}" for column in sorted(self._mapping.member_columns())),
            f"{told.table}: unique key {told.key}",
            f"{told.table}: {told.member}, binding it to {member.table}",
            *(f"{told.table}: {column}" for column in sorted(self._mapping.interaction_columns())),
        ]

    def flow(self, batch: Sequence[Item]) -> Flow:
        """Write the members, then the interactions of those that do not wait themselves."""
        changes = {item.person.loyalty_id: item for item in batch if isinstance(item, ProfileChange)}
        members = yield from self._members([self._mapping.member_row(one.person, erased=one.erased) for one in changes.values()])
        rows = {id(item): self._mapping.interaction_row(item) for item in batch if isinstance(item, Happening)}
        ready = {row.key: row for row in rows.values() if isinstance(members.get(row.loyalty_id), Delivered | Rejected | None)}
        unknown = {item.person.loyalty_id: item.person for item in batch if item.person.loyalty_id not in members}
        told = yield from self._interactions(ready, unknown)
        waits = Again("its member goes first")
        return [
            told.get(rows[id(item)].key, waits) if isinstance(item, Happening) else members[item.person.loyalty_id]
            for item in batch
        ]

    def _members(self, rows: Sequence[MemberRow]) -> Members:
        if not rows:
            return {}
        outcomes = yield from self._adapter.members(rows)
        return {row.loyalty_id: outcome for row, outcome in zip(rows, outcomes, strict=True)}

    def _interactions(
        self, rows: Mapping[str, InteractionRow], people: Mapping[str, Person]
    ) -> Generator[Call, Reply, dict[str, Outcome]]:
        """By key. One of these people that the CRM turns out not to know is written first, once."""
        told = yield from self._write(rows.values())
        lost = {rows[key].loyalty_id for key, outcome in told.items() if isinstance(outcome, MemberFirst)} & people.keys()
        written = yield from self._members([self._mapping.member_row(people[member]) for member in sorted(lost)])
        told |= yield from self._write([rows[key] for key in told if _now(told[key], written.get(rows[key].loyalty_id))])
        return {key: _settled(outcome, written.get(rows[key].loyalty_id)) for key, outcome in told.items()}

    def _write(self, rows: Iterable[InteractionRow]) -> Told:
        sent = list(rows)
        if not sent:
            return {}
        outcomes = yield from self._adapter.interactions(sent)
        return {row.key: outcome for row, outcome in zip(sent, outcomes, strict=True)}

    def read(self, loyalty_ids: Sequence[str]) -> Reading:
        """The mapped fields of these members, by the vendor's names."""
        columns = [target.to for target in self._mapping.fields.values() if target is not None]
        found: dict[str, Mapping[str, Any] | None] = {}
        for some in chunks(loyalty_ids, self._adapter.most):
            found |= yield from self._adapter.read(some, columns)
        return found

    def expected(self, item: Item) -> Mapping[str, Any]:
        """The person's mapped fields."""
        return self._mapping.profile(known(item.person, erased=isinstance(item, ProfileChange) and item.erased))


def _now(outcome: Outcome | MemberFirst, written: Outcome | None) -> bool:
    """The member is there now: the row can be written again."""
    return isinstance(outcome, MemberFirst) and isinstance(written, Delivered)


def _settled(outcome: Outcome | MemberFirst, written: Outcome | None) -> Outcome:
    """What a row comes to whose member may have been written in between."""
    if not isinstance(outcome, MemberFirst):
        return outcome
    return Rejected(outcome.code, outcome.words) if written is None or isinstance(written, Delivered) else written
