"""Operating a sink by hand: look at its requests, tell the vendor of everybody again, send what was rejected again, compare.

Law: no event is ever told by these but those that were rejected before; a resync tells profiles alone. All of them keep the
vendor's limits, also beside the running sink.
What takes hours tells what the log says by then.
"""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
from aiokafka import TopicPartition
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from connectors.courier import Courier
from connectors.delivery import Happening, Item, Outcome, Person, ProfileChange, Rejected, Unreadable, contact_of
from connectors.sink import Answer, Call, Sink, chunks
from schemas.topics import EVENTS, MEMBERS
from streams import dead_letters, metrics
from streams.log import Log, Record, Span, open_log
from streams.sink_rows import Row, event_of

log = logging.getLogger(__name__)
log.setLevel(logging.WARNING)  # these commands have libraries be silent
CHUNK = 1000
SHARE = 0.25
"""Of what the sink may take itself: its 4 calls a second and 1 of these are the 5 that Infobip allows."""
Progress = Callable[[int, int, float], None]
"""Called with how many are done, of how many, and the seconds still to go."""


@dataclass(slots=True)
class Everybody:
    """All members as the log knows them now."""

    rows: defaultdict[str, Row] = field(default_factory=lambda: defaultdict(Row))
    unclear: set[str] = field(default_factory=set)
    """Whose contact data cannot be read, or is no more: without it a vendor would be told to empty what it has, or told again."""
    forgotten: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Sequence of the latest event by which a member was erased."""
    read: dict[TopicPartition, int] = field(default_factory=dict)
    """How far the log was read."""

    async def catch_up(self, log: Log) -> None:
        """Read what was written since, the first time everything. Raises UnknownTopicError."""
        spans = await log.spans(MEMBERS.name, EVENTS.name)
        ahead = {part: Span(max(span.start, self.read.get(part, 0)), span.end) for part, span in spans.items()}
        async for batch in log.read(ahead):
            for record in batch:
                _read(self.contact if record.topic == MEMBERS.name else self.event, record)
        self.read = {part: span.end for part, span in spans.items()}

    def person(self, loyalty_id: str) -> Person:
        row = self.rows[loyalty_id]
        return Person(loyalty_id, row.member, row.profile or b"{}", row.sequence)

    def may_be_told(self, loyalty_id: str) -> bool:
        """Whether a vendor may hear of the member: not before the first event, nor after the wish to be forgotten."""
        row = self.rows[loyalty_id]
        return bool(row.profile) and not row.erased and loyalty_id not in self.unclear

    def ids(self) -> list[str]:
        """Those that a vendor may be told of, in a lasting order."""
        return sorted(filter(self.may_be_told, self.rows))

    def contact(self, record: Record) -> None:
        """The latest contact data of a member, or a tombstone. Raises Unreadable."""
        member = _member(record)
        self.unclear.add(member)
        contact_of(record.value)
        if record.value is not None:
            self.unclear.discard(member)
        self.rows[member].member = record.value or b""

    def event(self, record: Record) -> None:
        """What happened to a member, in order. Raises Unreadable."""
        event, profile = event_of(record.value or b"")
        if profile is not None:
            self.rows[_member(record)].hear(event, profile)
            if event.erases:
                self.forgotten[_member(record)] = event.sequence


def _member(record: Record) -> str:
    return (record.key or b"").decode(errors="replace")


async def everybody(bootstrap: str) -> Everybody:
    """Read contact data and the latest profile of each member. Raises UnknownTopicError."""
    found = Everybody()
    async with open_log(bootstrap) as log:
        await found.catch_up(log)
    return found


def _read(into: Callable[[Record], None], record: Record) -> None:
    """What the running sink has made a dead letter of is passed over here, and said."""
    try:
        into(record)
    except Unreadable as failure:
        log.warning("%s is passed over: %s", record.origin, failure)


@asynccontextmanager
async def courier_of(sink: Sink, share: float = SHARE) -> AsyncIterator[Courier]:
    """A courier with that share of the vendor's limits, its vendor's side checked."""
    async with httpx.AsyncClient(follow_redirects=False) as client:
        courier = Courier(sink, client, metrics.SinkObserver(sink.name))
        courier.share(share)
        await courier.prepare()
        yield courier


def _noted(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _note_down(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


# ---------------------------------------------------------------- dry run


def first_request(sink: Sink, batch: Sequence[Item]) -> Call | Sequence[Outcome]:
    """As it would be sent, or what becomes of each when nothing is; who asks for a token is given one that opens nothing."""
    token = Answer(200, {}, orjson.dumps({"access_token": "dry-run", "expires_in": 3600, "instance_url": sink.base_url}))
    flow = sink.flow(batch)
    try:
        call = next(flow)
    except StopIteration as end:
        outcomes: Sequence[Outcome] = end.value
        return outcomes
    call = flow.send(token) if call.secret else call
    flow.close()
    return call


async def dry_run(bootstrap: str, sink: Sink, count: int = 3) -> RenderableType:
    """What the vendor would be told of a few members; nothing is sent."""
    found = await everybody(bootstrap)
    items = [ProfileChange(found.person(member), first=True) for member in found.ids()[:count]]
    parts: list[RenderableType] = []
    for batch in sink.batches(items):
        call = first_request(sink, batch)
        if not isinstance(call, Call):
            parts += [Text(f"nothing is sent: {outcome}") for outcome in call]
            continue
        address = call.path if call.path.startswith("http") else sink.base_url + call.path
        parts.append(Text(f"{call.method} {address}  ({call.operation})", style="bold"))
        parts.append(Text(_body(call) if call.content() else _asked_first(sink, batch)))
    return Group(*parts) if parts else Text("There is nobody to tell of.")


def _asked_first(sink: Sink, batch: Sequence[Item]) -> str:
    """Of a vendor that is asked what it holds before it is told: what it shall hold in the end."""
    wanted = orjson.dumps([sink.expected(item) for item in batch], option=orjson.OPT_INDENT_2).decode()
    return f"asks, and writes what the answer lacks of this:\n{wanted}"


def _body(call: Call) -> str:
    """Indented when it is JSON."""
    body = call.content() or b""
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return body.decode(errors="replace")


# ---------------------------------------------------------------- resync


async def resync(bootstrap: str, sink: Sink, cursor: Path, progress: Progress, share: float = SHARE) -> tuple[int, int]:
    """Tell the vendor of every member; (told, rejected). Stopped, it goes on where `cursor` says; at the end it is empty."""
    found, done, told = Everybody(), _noted(cursor), 0
    rejected: list[Rejected] = []
    began = time.monotonic()
    async with open_log(bootstrap) as log, courier_of(sink, share) as courier:
        await found.catch_up(log)
        waiting = [member for member in found.ids() if member > done]
        for start in range(0, len(waiting), CHUNK):
            members = waiting[start : start + CHUNK]
            await found.catch_up(log)
            changes = [ProfileChange(found.person(member), first=True) for member in members if found.may_be_told(member)]
            await courier.deliver(changes, lambda _item, why: rejected.append(why))
            _note_down(cursor, members[-1])
            told, over = told + len(changes), start + len(members)
            progress(over, len(waiting), (time.monotonic() - began) / over * (len(waiting) - over))
    _note_down(cursor, "")
    return told - len(rejected), len(rejected)


# ---------------------------------------------------------------- dead letters


async def replay_rejected(bootstrap: str, sink: Sink, done: Path, share: float = SHARE) -> tuple[int, list[tuple[str, Rejected]]]:
    """Send what this sink's vendor rejected again, oldest first: (delivered, [(origin, why not)]).

    What was delivered is noted in the file `done`, so that a second replay does not send it again.
    """
    letters = await dead_letters.of_stage(bootstrap, f"sink-{sink.name}")
    known = set(_noted(done).split())
    found = await everybody(bootstrap)
    items: dict[str, Item] = {}
    asked: defaultdict[str, set[str]] = defaultdict(set)
    """By origin the names of what its letters ask for: the profile, the event, or both."""
    refused: list[tuple[str, Rejected]] = []
    for kept in letters:
        if (origin := kept.letter.origin) not in known:
            try:
                for item in _item(kept.record, found, sink.events):
                    asked[origin].add(_name(item))
                    items.setdefault(_name(item), item)
            except Unreadable as failure:
                refused.append((origin, Rejected("UNREADABLE", str(failure))))
    waiting = sorted(items.values(), key=lambda item: isinstance(item, Happening))
    sent: set[str] = set()
    delivered: set[str] = set()
    why_not: dict[str, Rejected] = {}
    async with courier_of(sink, share) as courier:
        for some in chunks(waiting, CHUNK):
            await courier.deliver(some, lambda item, why: why_not.update({_name(item): why}))
            sent |= {_name(item) for item in some} - why_not.keys()
            delivered = {origin for origin, names in asked.items() if names <= sent}
            _note_down(done, "\n".join(sorted(known | delivered)))
    again = [(origin, why_not[name]) for origin, names in asked.items() for name in sorted(names & why_not.keys())]
    return len(delivered), refused + again


def _name(item: Item) -> str:
    """What was kept more than once is sent once: an event, or the profile of a member."""
    return item.event_id if isinstance(item, Happening) else item.person.loyalty_id


def _item(record: Record, found: Everybody, told: Collection[str]) -> Iterable[Item]:
    """An event as it was, if it was refused itself and the vendor is `told` of such; of a refused profile, today's.

    Of an erased member nothing but that, also when the member has joined again since. Raises Unreadable.
    """
    member, value = _member(record), record.value or b""
    row, person = found.rows[member], found.person(member)
    of_contact = (record.header("origin") or "").startswith(MEMBERS.name)
    event, profile = (None, None) if of_contact else event_of(value)
    if row.erased:
        asked = event.erases if event else not value
        return [ProfileChange(person, urgent=True, erased=True)] if asked else []
    if not found.may_be_told(member):
        return []
    if event is None or event.erases or event.type not in told or dead_letters.PROFILE_REFUSED in record.headers:
        return [ProfileChange(person, first=True)]
    if event.sequence < found.forgotten[member]:
        return []
    as_it_was = Person(member, row.member, profile or b"{}", event.sequence)
    return [Happening(as_it_was, event.id, event.type, event.data.occurred_at, value)]


# ---------------------------------------------------------------- reconcile


class MuteError(ValueError):
    """A vendor cannot be asked what it holds; the message says what can be done instead."""


@dataclass(slots=True)
class Drift:
    """Where the vendor holds something else than we do."""

    compared: int = 0
    unknown: list[str] = field(default_factory=list)
    """Members that the vendor does not have."""
    unanswered: int = 0
    """Members about whom the vendor said nothing."""
    fields: Counter[str] = field(default_factory=Counter)
    """How often by the vendor's name of the field."""
    members: list[str] = field(default_factory=list)
    """Members with any difference."""
    repaired: int = 0
    rejected: list[str] = field(default_factory=list)
    """Members whose repair the vendor refused."""

    @property
    def agrees(self) -> bool:
        """The vendor holds what the log says, now."""
        return self.repaired == len(self.members) + len(self.unknown) and not self.unanswered

    def render(self) -> RenderableType:
        """For a terminal. Members are named, values are not: they may be personal."""
        table = Table("field", "differs for", title=f"{self.compared:,} members compared")
        for name, count in self.fields.most_common():
            table.add_row(name, f"{count:,}")
        said = f"{len(self.unknown):,} unknown to the vendor, {len(self.members):,} differ, {self.repaired:,} repaired"
        said += f"; {self.unanswered:,} without an answer" if self.unanswered else ""
        said += f"; the vendor refused {', '.join(self.rejected[:20])}" if self.rejected else ""
        return Group(table, Text(said))


async def reconcile(
    bootstrap: str, sink: Sink, *, sample: int | None = None, repair: bool = False, share: float = SHARE
) -> Drift:
    """Compare what the vendor holds with the log, field by field; `repair` tells it of the members that differ, and no others.

    Raises MuteError for a vendor that cannot be asked.
    """
    if sink.mute:
        raise MuteError(f"{sink.name}: {sink.mute}. `loy sink {sink.name} --resync` tells it of everybody.")
    found, drift = Everybody(), Drift()
    async with open_log(bootstrap) as log, courier_of(sink, share) as courier:
        await found.catch_up(log)
        members = found.ids()[:: max(1, len(found.ids()) // sample) if sample else 1]
        for start in range(0, len(members), CHUNK):
            part = members[start : start + CHUNK]
            held = await courier.run(sink.read(part))
            await found.catch_up(log)
            answered = [member for member in part if member in held and found.may_be_told(member)]
            drift.unanswered += len(part) - len(held)
            drift.compared += len(answered)
            differing = [member for member in answered if _differs(sink, found, member, held[member], drift)]
            if repair and differing:
                await _repair(courier, [ProfileChange(found.person(member), first=True) for member in differing], drift)
    return drift


async def _repair(courier: Courier, changes: Sequence[ProfileChange], drift: Drift) -> None:
    before = len(drift.rejected)
    await courier.deliver(changes, lambda item, _: drift.rejected.append(item.person.loyalty_id))
    drift.repaired += len(changes) - (len(drift.rejected) - before)


def _differs(sink: Sink, found: Everybody, member: str, held: Mapping[str, Any] | None, drift: Drift) -> bool:
    if held is None:
        drift.unknown.append(member)
        return True
    wanted = sink.expected(ProfileChange(found.person(member)))
    wrong = [name for name, value in wanted.items() if held.get(name) != value]
    drift.fields.update(wrong)
    drift.members.extend([member] if wrong else [])
    return bool(wrong)
