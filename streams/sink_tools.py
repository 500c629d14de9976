"""Operating a sink by hand: look at its requests, tell the vendor of everybody again, send what was rejected again, compare.

Law: no event is ever told by these but those that were rejected before; a resync tells profiles alone. All of them keep the
vendor's limits, of which they take a share so that the running sink keeps the rest.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from connectors.courier import Courier
from connectors.delivery import Happening, Item, Person, ProfileChange, Rejected
from connectors.sink import Answer, Call, Sink
from schemas.topics import EVENTS, MEMBERS
from streams import dead_letters, metrics
from streams.log import Record, latest_by_key, read_topic

CHUNK = 1000
SHARE = 0.5
"""Of the vendor's limits."""
Progress = Callable[[int, int, float], None]
"""Called with how many are done, of how many, and the seconds still to go."""


@dataclass(slots=True)
class Everybody:
    """All members as the log knows them now."""

    contacts: dict[str, bytes] = field(default_factory=dict)
    profiles: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """By member (sequence, profile as JSON) of the latest event."""

    def person(self, loyalty_id: str) -> Person:
        version, profile = self.profiles[loyalty_id]
        return Person(loyalty_id, self.contacts.get(loyalty_id, b""), profile, version)

    def ids(self) -> list[str]:
        """Those that a vendor may be told of, in a lasting order."""
        return sorted(self.profiles)


async def everybody(bootstrap: str) -> Everybody:
    """Read contact data and the latest profile of each member. Raises UnknownTopicError."""
    found = Everybody()
    for key, record in (await latest_by_key(bootstrap, MEMBERS.name)).items():
        if record.value is not None:
            found.contacts[key.decode()] = record.value
    async for record in read_topic(bootstrap, EVENTS.name):
        _note(found, orjson.loads(record.value or b"{}"))
    return found


def _note(found: Everybody, event: Mapping[str, Any]) -> None:
    member, sequence, data = event["subject"], event["sequence"], event["data"]
    if data["profile"] is None or sequence <= found.profiles.get(member, (0, b""))[0]:
        return
    if event["type"] == "LOY_OPT_OUT" and data.get("erased"):
        found.profiles.pop(member, None)
    else:
        found.profiles[member] = (sequence, orjson.dumps(data["profile"]))


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


def first_request(sink: Sink, batch: Sequence[Item]) -> Call:
    """As it would be sent; who asks for a token first is given one that opens nothing."""
    token = Answer(200, {}, orjson.dumps({"access_token": "dry-run", "expires_in": 3600, "instance_url": sink.base_url}))
    flow = sink.flow(batch)
    call = next(flow)
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
    found = await everybody(bootstrap)
    done = _noted(cursor)
    waiting = [member for member in found.ids() if member > done]
    rejected: list[Rejected] = []
    began = time.monotonic()
    async with courier_of(sink, share) as courier:
        for start in range(0, len(waiting), CHUNK):
            members = waiting[start : start + CHUNK]
            changes = [ProfileChange(found.person(member), first=True) for member in members]
            await courier.deliver(changes, lambda _item, why: rejected.append(why))
            _note_down(cursor, members[-1])
            told = start + len(members)
            progress(told, len(waiting), (time.monotonic() - began) / told * (len(waiting) - told))
    _note_down(cursor, "")
    return len(waiting) - len(rejected), len(rejected)


# ---------------------------------------------------------------- dead letters


async def replay_rejected(bootstrap: str, sink: Sink, done: Path, share: float = SHARE) -> tuple[int, list[tuple[str, Rejected]]]:
    """Send what this sink's vendor rejected again, oldest first: (delivered, [(origin, why not)]).

    What was delivered is noted in the file `done`, so that a second replay does not send it again.
    """
    letters = await dead_letters.of_stage(bootstrap, f"sink-{sink.name}")
    known = set(_noted(done).split())
    found = await everybody(bootstrap)
    items = {
        id(item): (kept.letter.origin, item)
        for kept in letters
        for item in _item(kept.record, found)
        if kept.letter.origin not in known
    }
    refused: list[tuple[str, Rejected]] = []
    async with courier_of(sink, share) as courier:
        await courier.deliver([item for _, item in items.values()], lambda item, why: refused.append((items[id(item)][0], why)))
    again = {origin for origin, _ in refused}
    delivered = {origin for origin, _ in items.values()} - again
    _note_down(done, "\n".join(sorted(known | delivered)))
    return len(delivered), refused


def _item(record: Record, found: Everybody) -> Iterable[Item]:
    """An event is told as it was; of contact data only today's is worth telling."""
    if (record.header("origin") or "").startswith(MEMBERS.name):
        member = (record.key or b"").decode()
        return [ProfileChange(found.person(member), first=True)] if member in found.profiles else []
    value = record.value or b"{}"
    event = orjson.loads(value)
    contact = found.contacts.get(event["subject"], b"")
    person = Person(event["subject"], contact, orjson.dumps(event["data"]["profile"]), event["sequence"])
    return [Happening(person, event["id"], event["type"], event["data"]["occurred_at"], value)]


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
    found, drift = await everybody(bootstrap), Drift()
    members = found.ids()[:: max(1, len(found.ids()) // sample) if sample else 1]
    async with courier_of(sink, share) as courier:
        for start in range(0, len(members), CHUNK):
            part = members[start : start + CHUNK]
            held = await courier.run(sink.read(part))
            drift.unanswered += len(part) - len(held)
            drift.compared += len(held)
            differing = [member for member in part if member in held and _differs(sink, found, member, held[member], drift)]
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
