"""`loy verify`: reads the topics alone and proves that the points are right.

A worker may go on working meanwhile. Law: the ends of the doors are fixed before those of the events, of the commands and of the
replies, in this order, so that whatever is judged has had its time to show; `settle_seconds` is its grace.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiokafka import TopicPartition
from rich.console import Group, RenderableType
from rich.text import Text

from schemas.topics import BACKLOG, COMMANDS, DAY_MS, DEAD_LETTERS, EVENTS, REPLIES
from streams.log import Log, Record, Span, open_log
from streams.proof import DOORS, Figures, Law, Proof, Violation

SETTLE_SECONDS = 10.0
_ROUND_SECONDS = 0.2

Spans = dict[TopicPartition, Span]
Progress = Callable[[int, int], None]
"""Called with the records read so far and those there are."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What the proof came to."""

    figures: Figures
    violation: Violation | None
    """The first one found; the reading stopped there."""
    notes: tuple[str, ...]
    """What could not be judged, and why."""
    seconds: float

    @property
    def ok(self) -> bool:
        return self.violation is None

    def render(self) -> RenderableType:
        """For a terminal: figures, notes, verdict."""
        notes = [Text(f"Note: {note}", style="yellow") for note in self.notes]
        verdict = (
            Text(f"Violation: {self.violation}", style="bold red") if self.violation else Text("Proven.", style="bold green")
        )
        return Group(self.figures.table(), *notes, verdict, Text(f"{self.seconds:.1f} s", style="dim"))


async def verify(bootstrap: str, *, settle_seconds: float = SETTLE_SECONDS, progress: Progress | None = None) -> Findings:
    """Prove everything that the topics hold now. Outstanding outcomes are waited for, at most `settle_seconds`.

    Raises UnknownTopicError when a topic is missing, KafkaConnectionError when no broker answers.
    """
    began = time.monotonic()
    async with open_log(bootstrap) as log:
        reading = _Reading(log, await log.spans(*DOORS), await _later_spans(log), progress)
        violation = reading.trimmed() or await reading.all() or await reading.settle(settle_seconds)
    return Findings(reading.proof.tally(), violation, tuple(reading.notes()), time.monotonic() - began)


async def _later_spans(log: Log) -> dict[str, Spans]:
    """Fixed in this order: a cause is always there before its effect."""
    return {
        "events": await log.spans(EVENTS.name),
        "commands": await log.spans(COMMANDS.name),
        "answers": await log.spans(REPLIES.name, DEAD_LETTERS.name),
        "aside": await log.spans(BACKLOG.name),
    }


class _Reading:
    """One run over the topics."""

    def __init__(self, log: Log, doors: Spans, later: dict[str, Spans], progress: Progress | None) -> None:
        self._log = log
        self._doors = doors
        self._later = later
        self._progress = progress
        self._total = sum(span.end - span.start for spans in (doors, *later.values()) for span in spans.values())
        self._read = 0
        self._trimmed = {part for part, span in later["answers"].items() if part.topic == REPLIES.name and span.start > 0}
        self._replies_trimmed = bool(self._trimmed)
        self.proof = Proof({(part.topic, part.partition): span for part, span in doors.items()}, self._answers_since())

    def _answers_since(self) -> int:
        """Replies before this time (ms) may be gone; 0 when none is."""
        if not self._trimmed:
            return 0
        now = int(time.time() * 1000)
        spans = [self._later["answers"][part] for part in self._trimmed]
        all_gone = any(span.start == span.end for span in spans)
        return now if all_gone else now - (REPLIES.retention_days or 0) * DAY_MS

    def trimmed(self) -> Violation | None:
        """The log of record and its events must be whole."""
        for spans in (self._later["commands"], self._later["events"]):
            for part, span in spans.items():
                if span.start > 0:
                    what = f"the first {span.start} records are gone: balances cannot be proven from zero"
                    return Violation(Law.TRIMMED, what, (f"{part.topic}/{part.partition}/{span.start}",))
        return None

    async def all(self) -> Violation | None:
        """Feed everything up to the fixed ends, causes before effects."""
        for spans in (self._doors, self._later["aside"], self._later["answers"], self._later["commands"], self._later["events"]):
            if violation := await self._feed(spans):
                return violation
        self.proof.seal()
        return None

    async def settle(self, seconds: float) -> Violation | None:
        """Read on while something is outstanding, at most so long; what is outstanding then is lost."""
        deadline = time.monotonic() + seconds
        while outstanding := next(self.proof.outstanding(), None):
            if time.monotonic() >= deadline:
                return outstanding
            await asyncio.sleep(_ROUND_SECONDS)
            fresh = await _later_spans(self._log)
            for name in ("aside", "answers", "commands", "events"):
                before = self._later[name]
                if violation := await self._feed({part: Span(before[part].end, span.end) for part, span in fresh[name].items()}):
                    return violation
            self._later = fresh
        return None

    async def _feed(self, spans: Spans) -> Violation | None:
        async for batch in self._log.read(spans):
            self._note_first(batch[0])
            for record in batch:
                if violation := self.proof.feed(record):
                    return violation
            self._read += len(batch)
            if self._progress:
                self._progress(self._read, max(self._read, self._total))
        return None

    def _note_first(self, record: Record) -> None:
        """The first reply that is left of a trimmed partition tells until when replies are gone."""
        part = TopicPartition(record.topic, record.partition)
        if part in self._trimmed:
            self._trimmed.remove(part)
            self.proof.raise_answers_since(record.timestamp_ms)

    def notes(self) -> list[str]:
        """What retention took from the judgement."""
        notes = []
        if any(span.start > 0 for span in self._doors.values()):
            notes.append("Older records at the doors are gone by retention; judged is what is still there.")
        if self._replies_trimmed:
            notes.append("Older replies are gone by retention; records from before that are not judged for their outcome.")
        if waiting := self.proof.waiting():
            notes.append(f"{waiting:,} late checks wait in {BACKLOG.name} for their turn, and are not judged.")
        return notes
