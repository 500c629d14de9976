"""`loy explain`: how each point of a member arose and where it went, from the log alone.

Law: nothing is computed anew but sums; every line shown is an event with its cause, rule, program version and lot.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from schemas.events import parse_event
from schemas.topics import EVENTS
from streams.log import open_log
from streams.runtime import partition_of


class UnknownMemberError(LookupError):
    """No event names this member."""


class Step(msgspec.Struct, frozen=True):
    """One event of the member, once, however often it lies in the log."""

    origin: str
    sequence: int
    type: str
    time: str
    data: dict[str, Any]


class Story(msgspec.Struct, frozen=True):
    """A member's events in order, for a terminal."""

    member: str
    steps: tuple[Step, ...]

    def render(self, check_id: str | None = None) -> RenderableType:
        """The whole account, or one check: its points by line and rule, and what became of its lot."""
        return self._account() if check_id is None else self._check(check_id)

    def _account(self) -> RenderableType:
        table = Table("no.", "when", "event", "what", "points", "available", "pending", "held", "debt", title=self.member)
        for step in self.steps:
            balance = step.data["balance"]
            table.add_row(
                str(step.sequence),
                step.data["occurred_at"],
                step.type,
                escape(_what(step)),
                _moves(step),
                *(str(balance[book]) for book in ("available", "pending", "held", "debt")),
            )
        return Group(table, _standing(self.steps[-1]))

    def _check(self, check_id: str) -> RenderableType:
        own = [step for step in self.steps if check_id in (step.data.get("check_id"), step.data.get("of"))]
        if not own:
            return Text(f"No event of {self.member} names {check_id}: it moved no point. Its reply tells why.")
        lots = {move["lot"] for step in own if step.type == "LOY_POINT_ACCRUAL" for move in step.data["postings"]}
        parts: list[RenderableType] = [_awards(step) for step in own if step.type == "LOY_POINT_ACCRUAL"]
        fate = Table("no.", "when", "event", "what", "postings", title=f"What became of it (lot {_join(lots)})")
        for step in self.steps:
            if step in own or any(move["lot"] in lots for move in step.data["postings"]):
                fate.add_row(str(step.sequence), step.data["occurred_at"], step.type, escape(_what(step)), _moves(step, lots))
        return Group(*parts, fate)


async def explain(bootstrap: str, member: str) -> Story:
    """Read the member's events. Raises UnknownMemberError, UnknownTopicError."""
    found: dict[int, Step] = {}
    async with open_log(bootstrap) as log:
        spans = await log.spans(EVENTS.name)
        mine = partition_of(member.encode(), len(spans))
        async for batch in log.read({part: span for part, span in spans.items() if part.partition == mine}):
            for record in batch:
                if record.key == member.encode() and record.value is not None:
                    event, _ = parse_event(record.value)
                    found.setdefault(
                        event.sequence,
                        Step(record.origin, event.sequence, event.type, event.time.isoformat(), event.data),
                    )
    if not found:
        raise UnknownMemberError(f"There is no event of {member}.")
    return Story(member, tuple(found[number] for number in sorted(found)))


def _what(step: Step) -> str:
    """The event's own fields in a few words."""
    shared = {"cause", "program", "occurred_at", "postings", "balance", "profile", "awards", "cuts", "hits"}
    fields = {name: value for name, value in step.data.items() if name not in shared and value not in (None, "", [])}
    return ", ".join(f"{name} {value}" for name, value in fields.items())


def _moves(step: Step, lots: set[int] | None = None) -> str:
    moves = [move for move in step.data["postings"] if lots is None or move["lot"] in lots]
    return "\n".join(f"{m['points']} {m['source']} > {m['target']} (lot {m['lot']})" for m in moves)


def _awards(step: Step) -> Table:
    data = step.data
    table = Table(
        "line",
        "rule",
        "points",
        "rounded off (millionths)",
        title=f"{data['check_id']}: {data['points']} points by {data['program']}",
    )
    for award in data["awards"]:
        table.add_row(str(award["line"]), award["rule"], str(award["points"]), str(award["remainder"]))
    for cut in data["cuts"]:
        table.add_row("", cut["rule"] or "all", f"-{cut['points']}", escape(cut["by"]), style="dim")
    return table


def _standing(last: Step) -> Text:
    balance = last.data["balance"]
    books: Sequence[str] = ("earned", "reversed", "adjusted", "used", "expired", "available", "pending", "held", "debt")
    return Text(", ".join(f"{book} {balance[book]}" for book in books))


def _join(lots: set[int]) -> str:
    return ", ".join(map(str, sorted(lots))) or "none"
