"""`loy explain`: how each point of a member arose and where it went, from the log alone.

Law: nothing is computed anew but sums; every line shown is an event with its cause, rule, program version and lot.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic import ValidationError
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from schemas.earning import MAIN
from schemas.events import parse_event
from schemas.topics import EVENTS
from streams.log import Record, open_log
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
    unread: tuple[str, ...] = ()
    """Where records under the member's key lie that are no events."""

    def render(self, check_id: str | None = None) -> RenderableType:
        """The whole account, or one check: its points by line and rule, and what became of its lot."""
        left_out = [Text(f"{origin} cannot be read here, and is left out.", style="yellow") for origin in self.unread]
        return Group(self._account() if check_id is None else self._check(check_id), *left_out)

    def _account(self) -> RenderableType:
        table = Table(*_columns(), "balance", title=f"{self.member} (times in UTC)")
        for step in self.steps:
            table.add_row(*_row(step), _balance(step.data))
        return Group(table, _standing(self.steps[-1]))

    def _check(self, check_id: str) -> RenderableType:
        own = [step for step in self.steps if check_id in (step.data.get("check_id"), step.data.get("of"))]
        if not own:
            return Text(f"No event of {self.member} names {check_id}: it moved no point. Its reply tells why.")
        earned = [step for step in own if step.type == "LOY_POINT_ACCRUAL" or step.data.get("change") == "accrued"]
        lots = {(_wallet(step), move["lot"]) for step in earned for move in step.data["postings"]}
        told = [step for step in own if step in earned or step.type == "LOY_POINT_CUT"]
        fate = Table(*_columns(), title=f"What became of it (lot {_join(lots)}; times in UTC)")
        for step in self.steps:
            if step in own or any((_wallet(step), move["lot"]) in lots for move in step.data["postings"]):
                fate.add_row(*_row(step, None if step in own else lots))
        return Group(*map(_awards, told), fate)


def _columns() -> tuple[Column, ...]:
    """New ones each time: a column keeps the cells of its table."""
    return Column("no.", justify="right"), Column("when", no_wrap=True), Column("event", overflow="fold", ratio=1)


async def explain(bootstrap: str, member: str) -> Story:
    """Read the member's events. Raises UnknownMemberError, UnknownTopicError."""
    found: dict[int, Step] = {}
    unread: list[str] = []
    async with open_log(bootstrap) as log:
        spans = await log.spans(EVENTS.name)
        mine = partition_of(member.encode(), len(spans))
        async for batch in log.read({part: span for part, span in spans.items() if part.partition == mine}):
            for record in batch:
                if record.key != member.encode():
                    continue
                if (step := _step(record)) is None:
                    unread.append(record.origin)
                else:
                    found.setdefault(step.sequence, step)
    if not found:
        lie = f" that can be read; under that key lie {', '.join(unread)}" if unread else ""
        raise UnknownMemberError(f"There is no event of {member}{lie}.")
    return Story(member, tuple(found[number] for number in sorted(found)), tuple(unread))


def _step(record: Record) -> Step | None:
    """The event; None when it is none, or of a type that only newer code knows."""
    try:
        event, _ = parse_event(record.value or b"")
    except (ValidationError, KeyError):
        return None
    return Step(record.origin, event.sequence, event.type, event.time.isoformat(), event.data)


Lots = set[tuple[str, int]]
"""By wallet."""


def _wallet(step: Step) -> str:
    """Whose points it moves."""
    return str(step.data.get("wallet", MAIN))


def _row(step: Step, lots: Lots | None = None) -> tuple[str, str, Text]:
    """Its number, when it happened in the world, and what it is: its own fields and its postings, of those lots at most."""
    event = Text(step.type)
    for line in (_what(step), *_moves(step, lots)):
        event.append(f"\n{line}" if line else "", style="dim")
    return str(step.sequence), step.data["occurred_at"][:16].replace("T", " "), event


def _what(step: Step) -> str:
    """The event's own fields in a few words."""
    shared = {"cause", "program", "occurred_at", "postings", "balance", "wallets", "profile", "awards", "cuts", "hits"}
    fields = {name: value for name, value in step.data.items() if name not in shared and value}
    return ", ".join(f"{name} {value}" for name, value in fields.items())


def _moves(step: Step, lots: Lots | None) -> list[str]:
    moves = [move for move in step.data["postings"] if lots is None or (_wallet(step), move["lot"]) in lots]
    return [f"{m['points']} {m['source']} > {m['target']}" + (f" (lot {m['lot']})" if m["lot"] else "") for m in moves]


def _balance(data: dict[str, Any]) -> str:
    """What can be used, and what cannot; then what other wallets hold."""
    elsewhere = (f"{wallet}: {_stands(balance, ', ')}" for wallet, balance in data.get("wallets", {}).items())
    return "\n".join((_stands(data["balance"], "\n"), *elsewhere))


def _stands(balance: dict[str, int], between: str) -> str:
    others = (f"{balance[book]} {book}" for book in ("pending", "held", "debt") if balance[book])
    return between.join((str(balance["available"]), *others))


def _awards(step: Step) -> Table:
    data = step.data
    table = Table(
        "line",
        "rule",
        "points",
        "rounded off (millionths)",
        title=f"{data['check_id']}: {data.get('points', 0)} {data.get('wallet', 'points')} by {data['program']}",
    )
    for award in data.get("awards", ()):
        table.add_row(str(award["line"]), award["rule"], str(award["points"]), str(award["remainder"]))
    for cut in data.get("cuts", ()):
        table.add_row("", cut["rule"] or "all", f"-{cut['points']}", escape(cut["by"]), style="dim")
    return table


def _standing(last: Step) -> Text:
    """All books, wallet by wallet."""
    elsewhere = (f"{wallet}: {_books(balance)}" for wallet, balance in last.data.get("wallets", {}).items())
    return Text("\n".join((_books(last.data["balance"]), *elsewhere)))


def _books(balance: dict[str, int]) -> str:
    books: Sequence[str] = ("earned", "reversed", "adjusted", "used", "expired", "available", "pending", "held", "debt")
    return ", ".join(f"{book} {balance[book]}" for book in books if balance[book]) or "no points ever moved"


def _join(lots: Lots) -> str:
    """As events name them: with the wallet, where it is not the main one."""
    return ", ".join(str(lot) if wallet == MAIN else f"{wallet} {lot}" for wallet, lot in sorted(lots)) or "none"
