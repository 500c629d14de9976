"""`loy report sla`: how well a day kept its promises, over all and for each outlet, from the topics alone.

Law: a check belongs to the day of its Kafka time (UTC). It is late by what its records say: from its sending (`sent-at`, else its
Kafka time) to the earliest `written-at` of its answers. What has no answer is late; what nobody can read asked for none, and what
went by the backlog lane was promised none in time: it is counted apart.
"""

import csv
import io
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import orjson
from aiokafka import TopicPartition

from schemas.topics import BACKLOG, CHECKS, DEAD_LETTERS, EVENTS, REDEMPTIONS, REPLIES
from streams import metrics
from streams.app import sink_group
from streams.log import Log, Origin, Record, Span, came_from, open_log
from streams.report import Latencies
from streams.runtime import changelog_topic
from streams.settings import Settings
from streams.sink_rows import Row
from streams.sinks import LEASE, MEMBERS_TABLE

ANSWER_MS, EVENT_MS, DELIVERY_MS = 2000, 2000, 60_000
TARGETS = {"answers": 0.999, "events": 0.999, "deliveries": 0.99}
DAY_MS = 86_400_000
DOORS = (CHECKS.name, REDEMPTIONS.name)
_UNREADABLE = "(unreadable)"
_UNREAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # the last: brackets in brackets


Sent = dict[bytes, list[tuple[int, int, int]]]
"""By member: sequence, time of sending (ms since 1970 UTC) and offset of its events, in order."""


class _Asked(msgspec.Struct):
    """Of a check or request: whose it is."""

    outlet: str


class _Books(msgspec.Struct):
    earned: int
    reversed: int
    adjusted: int
    used: int
    expired: int
    available: int
    pending: int
    held: int
    debt: int

    @property
    def right(self) -> bool:
        """The equation of the books."""
        ended = self.earned - self.reversed + self.adjusted - self.used - self.expired
        return ended == self.available + self.pending + self.held - self.debt


class _Anything(msgspec.Struct):
    """Of which only matters that it is there."""


class _Told(msgspec.Struct):
    balance: _Books
    profile: _Anything | None


class _Event(msgspec.Struct):
    sequence: int
    data: _Told


_asked = msgspec.json.Decoder(_Asked).decode
_event = msgspec.json.Decoder(_Event).decode
_row = msgspec.msgpack.Decoder(Row).decode


@dataclass(slots=True)
class Share:
    """How many of how many were in time."""

    total: int = 0
    within: int = 0

    def add(self, late_ms: int | None, limit_ms: int) -> None:
        """One more; None was not done at all."""
        self.total += 1
        self.within += late_ms is not None and late_ms <= limit_ms

    @property
    def share(self) -> float:
        """1 when there was nothing to do."""
        return self.within / self.total if self.total else 1.0


@dataclass(slots=True)
class Outlet:
    """What one outlet asked, and how it was served."""

    answers: Share = field(default_factory=Share)
    late: Latencies = field(default_factory=Latencies)
    outcomes: Counter[str] = field(default_factory=Counter)
    backlog: int = 0
    """Checks that came long after their purchase, and waited in the backlog lane: nobody was promised to be quick."""

    def row(self, name: str) -> dict[str, Any]:
        """For the file: milliseconds, counts, a share of 1."""
        p50, p99, most = self.late.percentiles(0.5, 0.99, 1.0) or (None, None, None)
        counts = {what: self.outcomes[what] for what in ("applied", "repeated", "refused", "parked", "dead_letter", "unanswered")}
        share = {"asked": self.answers.total, "within_2s": self.answers.within, "share": round(self.answers.share, 6)}
        return {"outlet": name, **share, "p50_ms": p50, "p99_ms": p99, "max_ms": most, **counts, "backlog": self.backlog}


class _Line:
    """The records of one partition of a door, by their place from the first of the day."""

    def __init__(self, start: int, outlets: list[str]) -> None:
        self.first = start
        self._outlets = outlets
        self.sent = array("q")
        """-1: not of this day."""
        self.outlet = array("l")
        self.written = array("q")
        """Of the earliest answer; 0: none."""
        self.outcome: dict[int, str] = {}
        self.waited: set[int] = set()

    def wait(self, offset: int) -> None:
        """One of them, or another day's, went aside."""
        self.waited.add(offset - self.first)

    def ask(self, record: Record, outlet: int) -> None:
        """A record of the day."""
        gap = record.offset - self.first - len(self.sent)
        self.sent.extend([-1] * gap + [metrics.sent_ms(record)])
        self.outlet.extend([0] * gap + [outlet])
        self.written.extend([0] * (gap + 1))

    def answer(self, offset: int, outcome: str, written_ms: int) -> None:
        """An answer to one of them, or to another day's."""
        at = offset - self.first
        if 0 <= at < len(self.sent) and self.sent[at] >= 0 and (not self.written[at] or written_ms < self.written[at]):
            self.written[at] = written_ms
            self.outcome[at] = outcome

    def count(self, outlets: Mapping[str, Outlet]) -> None:
        """Give each record to its outlet."""
        for at, sent in enumerate(self.sent):
            if sent < 0:
                continue
            outlet, written = outlets[self._outlets[self.outlet[at]]], self.written[at]
            outcome, late = self.outcome.get(at, "unanswered"), max(0, written - sent) if written else None
            outlet.outcomes[outcome] += 1
            if at in self.waited:
                outlet.backlog += 1
                continue
            if late is not None:
                outlet.late.add(late)
            if outcome != "dead_letter":
                outlet.answers.add(late, ANSWER_MS)


@dataclass(slots=True)
class Day:
    """The figures of a day."""

    day: date
    outlets: dict[str, Outlet] = field(default_factory=dict)
    events: Share = field(default_factory=Share)
    sinks: dict[str, Share] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    """By sink: what the vendor refused."""
    wrong: int = 0
    """Events whose balance does not fulfil the equation of the books, or that cannot be read."""

    @property
    def answers(self) -> Share:
        """Of all outlets."""
        shares = [outlet.answers for outlet in self.outlets.values()]
        return Share(sum(share.total for share in shares), sum(share.within for share in shares))

    def objectives(self) -> list[dict[str, Any]]:
        """Each promise, and whether it was kept."""
        kept = [_objective("answers", self.answers), _objective("events", self.events)]
        kept += [_objective("deliveries", share, sink) for sink, share in sorted(self.sinks.items())]
        return [*kept, {"objective": "books", "target": 0, "wrong": self.wrong, "met": self.wrong == 0}]

    @property
    def met(self) -> bool:
        """Every promise was kept."""
        return all(objective["met"] for objective in self.objectives())

    def json(self) -> bytes:
        """The whole file."""
        rows = [outlet.row(name) for name, outlet in sorted(self.outlets.items())]
        told = {"day": self.day.isoformat(), "met": self.met, "objectives": self.objectives()}
        return orjson.dumps(
            told | {"rejected": dict(sorted(self.rejected.items())), "outlets": rows},
            option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
        )

    def csv(self) -> str:
        """A row for each outlet, and one for all of them."""
        out = io.StringIO()
        rows = [outlet.row(name) for name, outlet in sorted(self.outlets.items())]
        writer = csv.DictWriter(out, list(Outlet().row("")), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, self._everybody()])
        return out.getvalue()

    def _everybody(self) -> dict[str, Any]:
        every = Outlet(self.answers)
        for outlet in self.outlets.values():
            every.outcomes += outlet.outcomes
            every.late.extend(outlet.late)
            every.backlog += outlet.backlog
        return every.row("(all)")


def _objective(name: str, share: Share, sink: str | None = None) -> dict[str, Any]:
    of = {"sink": sink} if sink else {}
    met = share.share >= TARGETS[name]
    return {"objective": name, **of, "target": TARGETS[name], **asdict(share), "share": round(share.share, 6), "met": met}


# ---------------------------------------------------------------- reading


async def read_day(log: Log, day: date, changelogs: Mapping[str, str]) -> Day:
    """The figures of a day (UTC). `changelogs`: by sink, the topic behind its table. Raises UnknownTopicError."""
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    figures = Day(day)
    await _Doors(start).read(log, figures)
    tables = {sink: await log.spans_since(start, topic) for sink, topic in changelogs.items() if await _used(log, topic)}
    for part, span in (await log.spans_since(start, EVENTS.name)).items():
        await _tell(log, figures, start, part, span, tables)
    return figures


async def _used(log: Log, topic: str) -> bool:
    """A sink that ever ran has noted its leases at least."""
    return any(span.start < span.end for span in (await log.spans(topic)).values())


class _Doors:
    """What tills asked on a day, and what they were answered."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._names = [_UNREADABLE]
        self._numbers = {_UNREADABLE: 0}
        self._lines: dict[tuple[str, int], _Line] = {}

    async def read(self, log: Log, figures: Day) -> None:
        async for record in _of_day(log, self._start, await log.spans_since(self._start, *DOORS)):
            line = self._lines.get((record.topic, record.partition))
            if line is None:
                line = self._lines[record.topic, record.partition] = _Line(record.offset, self._names)
            line.ask(record, self._number(record))
        async for record in _of_day(log, self._start, await log.spans_since(self._start, BACKLOG.name)):
            at_door = came_from(record.headers)
            if at_door is not None and (waiting := self._lines.get((at_door.topic, at_door.partition))):
                waiting.wait(at_door.offset)
        async for record in _of_day(log, self._start, await log.spans_since(self._start, REPLIES.name, DEAD_LETTERS.name)):
            self._answer(record, figures)
        figures.outlets = {name: Outlet() for name in self._names}
        for line in self._lines.values():
            line.count(figures.outlets)
        figures.outlets = {name: outlet for name, outlet in figures.outlets.items() if outlet.outcomes}

    def _number(self, record: Record) -> int:
        try:
            outlet = _asked(record.value or b"").outlet
        except _UNREAD:
            return 0
        if outlet not in self._numbers:
            self._numbers[outlet] = len(self._names)
            self._names.append(outlet)
        return self._numbers[outlet]

    def _answer(self, record: Record, figures: Day) -> None:
        """A reply, or the dead letter of what could not be read. A dead letter has no time of writing: it is no answer."""
        stage = record.header("stage") or ""
        if stage.startswith("sink-"):
            figures.rejected[stage.removeprefix("sink-")] += 1
        origin = Origin.parse(record.header("origin"))
        line = self._lines.get((origin.topic, origin.partition)) if origin else None
        if origin is None or line is None:
            return
        written = _number_of(record.header(metrics.WRITTEN_AT))
        if written is not None:
            line.answer(origin.offset, record.header("outcome") or "applied", written)
        elif record.topic == DEAD_LETTERS.name:
            line.outcome.setdefault(origin.offset - line.first, "dead_letter")


async def _tell(
    log: Log, figures: Day, start: int, part: TopicPartition, span: Span, tables: Mapping[str, Mapping[TopicPartition, Span]]
) -> None:
    """The events of one partition, and when each sink was done with them: tables have the partitions of their source."""
    latest: dict[bytes, int] = {}
    sent: Sent = {}
    async for record in _of_day(log, start, {part: span}):
        key = record.key or b""
        try:
            event = _event(record.value or b"")
        except _UNREAD:
            figures.wrong += 1
            continue
        if event.sequence <= latest.get(key, 0):
            continue  # printed once more, for a repeat
        latest[key] = event.sequence
        at = metrics.due_ms(record)
        written = _number_of(record.header(metrics.WRITTEN_AT))
        if not metrics.has_waited(record):
            figures.events.add(None if written is None else written - at, EVENT_MS)
        figures.wrong += not event.data.balance.right
        if event.data.profile is not None:
            sent.setdefault(key, []).append((event.sequence, at, record.offset))
    for sink, spans in tables.items():
        mine = {table: held for table, held in spans.items() if table.partition == part.partition}
        await _deliver(log, figures.sinks.setdefault(sink, Share()), mine, sent)


async def _deliver(log: Log, share: Share, spans: Mapping[TopicPartition, Span], sent: Sent) -> None:
    """A row of a sink's table says up to which event its member was served, and its Kafka time when.

    Of rows that compaction has taken since, the next one speaks, later: so ask on the day after. What was written before the
    sink's lease was never to be told.
    """
    waiting, lease = {key: events[::-1] for key, events in sent.items()}, 0
    async for batch in log.read(spans):
        for record in batch:
            lease = int(record.value or 0) if record.key == LEASE else lease
            events = waiting.get(record.key or b"")
            done = _row(record.value).sequence if events and record.value else 0
            while events and events[-1][0] <= done:
                _, at, offset = events.pop()
                if offset >= lease:
                    share.add(record.timestamp_ms - at, DELIVERY_MS)
    for _, _, offset in (event for events in waiting.values() for event in events):
        if offset >= lease:
            share.add(None, DELIVERY_MS)


async def _of_day(log: Log, start: int, spans: Mapping[TopicPartition, Span]) -> AsyncIterator[Record]:
    async for batch in log.read(spans):
        for record in batch:
            if start <= record.timestamp_ms < start + DAY_MS:
                yield record


def _number_of(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def yesterday(now: datetime) -> date:
    """The last day that is over, UTC."""
    return now.astimezone(UTC).date() - timedelta(days=1)


def summary(figures: Day) -> Iterable[str]:
    """For the terminal: a line for each promise."""
    for one in figures.objectives():
        name = f"{one['objective']} {one.get('sink', '')}".strip()
        kept = "kept" if one["met"] else "MISSED"
        told = (
            f"{one['wrong']} wrong" if name == "books" else f"{one['within']:,} of {one['total']:,} in time, {one['share']:.3%}"
        )
        yield f"{name:<20} {kept:<7} {told}"


async def read(settings: Settings, day: date, sinks: Sequence[str]) -> Day:
    """The figures of a day (UTC) on the Kafka of the settings. Raises UnknownTopicError."""
    tables = {sink: changelog_topic(sink_group(settings, sink), MEMBERS_TABLE) for sink in sinks}
    async with open_log(settings.kafka_bootstrap) as log:
        return await read_day(log, day, tables)


def write(figures: Day, folder: Path) -> list[Path]:
    """`sla-DAY.json` and `sla-DAY.csv`, whole or not at all. Answers where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"sla-{figures.day}.json": figures.json(), folder / f"sla-{figures.day}.csv": figures.csv().encode()}
    for path, content in files.items():
        fresh = path.with_suffix(path.suffix + ".new")
        fresh.write_bytes(content)
        fresh.replace(path)
    return list(files)
