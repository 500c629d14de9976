"""What could not be taken: how it is buried, and `loy dead-letters list | show | replay`: why, and how it is sent again.

Law: a dead letter is sent again with its own bytes, key, time and partition, once; the header `replayed-from` on the new record
is the only memory of that, so it lasts as long as the door keeps its records. On a record with other bytes it means nothing.
Its `sent-at` is of now: from its Kafka time, answers would be days late, and somebody be woken.
"""

import asyncio
import time
from codecs import getincrementaldecoder
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from heapq import heappush, heappushpop

from aiokafka import AIOKafkaProducer
from pydantic import ValidationError
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from schemas.codec import INBOUND, BadRecord, parse_inbound
from schemas.codes import Code
from schemas.dead_letters import DeadLetter
from schemas.topics import DEAD_LETTERS, INBOUND_BYTES_MAX
from streams import metrics, runtime, tracing
from streams.log import Log, Origin, Record, open_log
from streams.settings import reach

REPLAYED_FROM = "replayed-from"
PROFILE_REFUSED = ("refused", b"profile")
"""Header of a sink's letter when not the event was refused, but the member as the event left it."""
DOORS = tuple(INBOUND)
SHOWN_BYTES = 4_000
_IN_FLIGHT = 200
_LETTER_BYTES_MAX = DEAD_LETTERS.bytes_max - 100_000
_PIECE_BYTES = 1_000_000
# Headers that stay behind: the letter's own, and times from which latency would be measured.
_LEFT_BEHIND = frozenset({*DeadLetter.model_fields, REPLAYED_FROM, metrics.SENT_AT, metrics.TURN_AT})


def bury(  # whose, whence, which, and why
    outbox: runtime.Outbox,
    batch: runtime.Batch,
    record: runtime.Record,
    *,
    stage: str,
    code: Code,
    reason: str,
    more: tuple[tuple[str, bytes], ...] = (),
) -> None:
    """Keep a record that cannot be taken: its own bytes, with the reason, where it came from and when it was sent in headers."""
    key, value, left_out = _whole(record)
    letter = DeadLetter.model_validate(
        {
            "code": code,
            "reason": reason[:1900] + left_out,
            "origin": f"{batch.topic}/{batch.partition}/{record.offset}",
            "stage": stage,
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.timestamp_ms / 1000)),
        },
        strict=False,
    )
    headers = (*letter.headers(), *more, *tracing.passed_on(record))
    outbox.add(DEAD_LETTERS.name, key, value, timestamp_ms=record.timestamp_ms, headers=headers, bytes_max=_LETTER_BYTES_MAX)
    metrics.DEAD_LETTERS.labels(batch.topic, code).inc()
    tracing.journal.turned_away("kept as a dead letter", record, code=code, stage=stage, origin=letter.origin)


def _whole(record: runtime.Record) -> tuple[bytes | None, bytes | None, str]:
    """Key, value, and what the reason says when not all of them fits: a record that came compressed may be of any size."""
    size = len(record.key or b"") + len(record.value or b"")
    if size <= _LETTER_BYTES_MAX:
        return record.key, record.value, ""
    key, value = record.key and record.key[:_PIECE_BYTES], record.value and record.value[:_PIECE_BYTES]
    return key, value, f"; of {size} bytes are kept the first {_PIECE_BYTES} of key and value, the whole is at its origin"


class UnknownDeadLetterError(LookupError):
    """There is no dead letter of that origin."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One record that could not be taken: whole, with the reason."""

    letter: DeadLetter
    record: Record

    @property
    def origin(self) -> Origin:
        """Where it came in. The contract makes sure that it parses."""
        origin = Origin.parse(self.letter.origin)
        assert origin is not None, self.letter.origin  # noqa: S101
        return origin

    @property
    def sending(self) -> "Sending":
        """What is sent when it is sent again."""
        return _sending(self.record, self.letter.origin, self.origin.topic, self.origin.partition)

    def verdict(self) -> str:
        """What intake's reader says to the bytes today: the reason with its path, or that it would be taken."""
        if self.origin.topic not in DOORS:
            return "nothing: it came in at no door of a till or the CRM"
        try:
            parse_inbound(self.origin.topic, self.record.value)
        except BadRecord as bad:
            return f"{bad.code}: {bad.reason}"
        return "well formed: what it says was refused, or is taken today"

    def render(self) -> RenderableType:
        """For a terminal: why, whence, and what. Shows the value, which may hold personal data."""
        table = Table("", "", show_header=False, box=None)
        for name, value in self.letter.model_dump(mode="json").items():
            table.add_row(name, escape(str(value)))
        table.add_row("meaning", self.letter.code.meaning)
        table.add_row("read today", escape(self.verdict()))
        table.add_row("kept as", self.record.origin)
        table.add_row("key", escape(_text(self.record.key)))
        for name, raw in self.record.headers:
            if name not in DeadLetter.model_fields:
                table.add_row(f"header {escape(name)}", escape(_text(raw)))
        size = 0 if self.record.value is None else len(self.record.value)
        return Group(table, Text(f"value ({size:,} bytes):", style="dim"), Text(_text(self.record.value)))


Sending = tuple[str, int]
"""The origin that a record at a door names as replayed, and a hash of what was sent: a till may write that header too."""


def _sending(record: Record, origin: str, topic: str, partition: int) -> Sending:
    return origin, hash((topic, partition, record.key or b"", record.value))


def _text(raw: bytes | None) -> str:
    """As UTF-8 when it is that and printable, else a hex dump; the beginning of it when it is long."""
    if raw is None:
        return "(none)"
    shown, more = raw[:SHOWN_BYTES], len(raw) - SHOWN_BYTES
    try:
        # Incremental: a character cut in two by the limit is not the record's fault.
        text = getincrementaldecoder("utf-8")().decode(shown, final=more <= 0)
    except UnicodeDecodeError:
        text = "\0"
    readable = all(char.isprintable() or char in "\n\r\t" for char in text)
    return (text if readable else _hex(shown)) + (f"\n... {more:,} more bytes" if more > 0 else "")


def _hex(raw: bytes) -> str:
    rows = (raw[start : start + 16] for start in range(0, len(raw), 16))
    return "\n".join(
        f"{n * 16:08x}  {row.hex(' '):<47}  {''.join(chr(b) if 32 <= b < 127 else '.' for b in row)}"
        for n, row in enumerate(rows)
    )


@dataclass(frozen=True, slots=True)
class Listing:
    """The newest dead letters, and how many there are of each code."""

    newest: tuple[Kept, ...]
    codes: Counter[str]
    unreadable: int
    """Records on the topic that are no dead letters of ours."""

    def render(self) -> RenderableType:
        """For a terminal."""
        origin = Column("origin", no_wrap=True)  # what `show` and `replay` ask for
        table = Table("when", "code", origin, "stage", "reason", title="Dead letters, newest first")
        for kept in self.newest:
            letter = kept.letter
            when = f"{letter.at:%Y-%m-%d %H:%M:%S%z}"
            table.add_row(when, letter.code, letter.origin, escape(letter.stage), escape(letter.reason))
        counts = ", ".join(f"{code} {count:,}" for code, count in self.codes.most_common()) or "none"
        summary = [Text(f"By code: {counts}")]
        if self.unreadable:
            summary.append(Text(f"{self.unreadable:,} records are no dead letters of ours", style="yellow"))
        return Group(table, *summary)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did. Counts of dead letters."""

    sent: tuple[str, ...]
    """Their origins."""
    already: int
    """Sent again before."""
    elsewhere: int
    """Not kept at a door but by the ledger or a sink. Never sent from here: that would write the log of record twice."""

    def render(self) -> RenderableType:
        """For a terminal."""
        text = f"{len(self.sent):,} sent again, {self.already:,} had been before"
        return Text(text + (f", {self.elsewhere:,} were not kept at a till's or the CRM's door" if self.elsewhere else ""))


async def newest(bootstrap: str, count: int = 20, *, code: Code | None = None) -> Listing:
    """The newest `count` dead letters, by the time they were put aside; only those of `code` when given. Codes count all."""
    heap: list[tuple[float, int, int, Kept]] = []
    codes: Counter[str] = Counter()
    unreadable = 0
    async with open_log(bootstrap) as log:
        async for kept in _letters(log):
            if kept is None:
                unreadable += 1
                continue
            codes[kept.letter.code] += 1
            if count and (code is None or kept.letter.code == code):
                entry = (kept.letter.at.timestamp(), kept.record.partition, kept.record.offset, kept)
                heappush(heap, entry) if len(heap) < count else heappushpop(heap, entry)
    return Listing(tuple(entry[3] for entry in sorted(heap, reverse=True)), codes, unreadable)


async def show(bootstrap: str, origin: str) -> Kept:
    """The dead letter of a record, named topic/partition/offset. Raises UnknownDeadLetterError."""
    async with open_log(bootstrap) as log:
        async for kept in _letters(log):
            if kept and kept.letter.origin == origin:
                return kept
    raise UnknownDeadLetterError(f"There is no dead letter of {origin}.")


async def of_stage(bootstrap: str, stage: str) -> list[Kept]:
    """The dead letters of one stage, e.g. `sink-infobip`, oldest first."""
    async with open_log(bootstrap) as log:
        found = [kept async for kept in _letters(log) if kept is not None and kept.letter.stage == stage]
    return sorted(found, key=lambda kept: kept.record.timestamp_ms)


async def replay(
    bootstrap: str, *, origins: Iterable[str] = (), code: Code | None = None, everything: bool = False, again: bool = False
) -> Replayed:
    """Send dead letters to their doors again: those of `origins`, those of `code`, or everything.

    What was sent again before is left out, unless `again`. Raises UnknownDeadLetterError when an origin has no dead letter,
    ValueError when nothing is asked for, KafkaError when the broker does not take a record (what was sent stays sent).
    """
    wanted = set(origins)
    if not (wanted or code or everything):
        raise ValueError("say which: origins, a code, or everything")
    async with open_log(bootstrap) as log, _producer(bootstrap) as producer:
        done: set[Sending] = set() if again else await _replayed(log)
        run = _Replay(producer, done)
        async for kept in _letters(log):
            if kept and (everything or kept.letter.code == code or kept.letter.origin in wanted):
                wanted.discard(kept.letter.origin)
                await run.take(kept)
        await run.finish()
    if wanted:
        raise UnknownDeadLetterError(f"There is no dead letter of {', '.join(sorted(wanted))}.")
    return Replayed(tuple(run.sent), run.already, run.elsewhere)


def _producer(bootstrap: str) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **reach(bootstrap),
        client_id="loy-dead-letters",
        acks="all",
        enable_idempotence=True,
        max_request_size=INBOUND_BYTES_MAX + 1_000_000,
    )


class _Replay:
    """One run: each origin once, and not too many in flight."""

    def __init__(self, producer: AIOKafkaProducer, done: set[Sending]) -> None:
        self._producer = producer
        self._done = done
        self._here: set[str] = set()
        self._flying: list[asyncio.Future[object]] = []
        self.sent: list[str] = []
        self.already = 0
        self.elsewhere = 0

    async def take(self, kept: Kept) -> None:
        """Send it, unless that was done or is not ours to do."""
        origin = kept.letter.origin
        if origin in self._here:
            return  # put aside twice after a crash
        self._here.add(origin)
        if kept.origin.topic not in DOORS:
            self.elsewhere += 1
        elif kept.sending in self._done:
            self.already += 1
        else:
            await self._send(kept)
            self.sent.append(origin)

    async def _send(self, kept: Kept) -> None:
        record = kept.record
        others = [(name, raw) for name, raw in record.headers if name not in _LEFT_BEHIND]
        self._flying.append(
            await self._producer.send(
                kept.origin.topic,
                record.value,
                record.key if record.value is not None else record.key or b"",  # the client refuses to send two nulls
                kept.origin.partition,
                record.timestamp_ms,
                [*others, (metrics.SENT_AT, b"%d" % (time.time_ns() // 1_000_000)), (REPLAYED_FROM, kept.letter.origin.encode())],
            )
        )
        if len(self._flying) >= _IN_FLIGHT:
            await self.finish()

    async def finish(self) -> None:
        """Wait until the broker has everything. Raises KafkaError when it refuses one."""
        await asyncio.gather(*self._flying)
        self._flying = []


async def _replayed(log: Log) -> set[Sending]:
    """What was sent again: the records at the doors that say so."""
    found = set()
    async for batch in log.read(await log.spans(*DOORS)):
        for record in batch:
            if record.headers and (origin := record.header(REPLAYED_FROM)):
                found.add(_sending(record, origin, record.topic, record.partition))
    return found


async def _letters(log: Log) -> AsyncIterator[Kept | None]:
    """All dead letters in order of each partition; None for a record that is none of ours."""
    async for batch in log.read(await log.spans(DEAD_LETTERS.name)):
        for record in batch:
            try:
                yield Kept(DeadLetter.from_headers(record.headers), record)
            except (ValidationError, UnicodeDecodeError):
                yield None
