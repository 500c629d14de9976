"""What the app notes about itself, a batch at a time, and what can be read of it from outside while it works.

Law: nothing is paid for a record; reading is safe from another thread, also while the event loop stands still.
"""

import time
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from streams.runtime.batches import Batch, Record

BEAT_SECONDS = 0.5
KEPT_BEATS = 20


@dataclass(slots=True)
class _Line:
    """One source partition. Times are of the monotonic clock."""

    behind_since: float
    """When all was finished, the last time that was seen."""
    moved_at: float
    """When a batch was handed out or finished last."""
    batch: Batch | None = None
    last: Record | None = None
    """The newest record finished."""
    uncommitted_since: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one source partition is. Seconds are ages."""

    topic: str
    partition: int
    lag: int
    """Records not yet finished, as of the last fetch."""
    at_hand: bool
    """Whether a batch is at its handler."""
    oldest: Record | None
    """The first record of the batch at hand; else the last one finished: the oldest one not finished is no older."""
    behind: float
    """Since when not all is finished; 0 when all is."""
    still: float
    """Since when no batch was handed out or finished though there is something to do; 0 when all is finished."""
    uncommitted: float
    """For how long finished work has waited for its commit."""


class Vitals:
    """Belongs to one app. Its consumer and recovery note here what happens."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lines: dict[Any, _Line] = {}
        self._delays: list[float] = []
        self._beat: float | None = None
        self.taken_up = False
        """Partitions are shared out, tables restored, sources being read."""
        self.restored = 0
        """Changelog records restored since the start."""

    # ---------------------------------------------------------------- noted by the loop

    def started(self, tps: Iterable[Any]) -> None:
        """These source partitions, and no others, are read from now on."""
        now = time.monotonic()
        self._lines = {tp: self._lines.get(tp) or _Line(now, now) for tp in tps}

    def handed_out(self, tp: Any, batch: Batch) -> None:
        """The batch is at its handler now."""
        line = self._lines.get(tp)
        if line is not None:
            line.batch, line.moved_at = batch, time.monotonic()

    def finished(self, tp: Any) -> None:
        """The batch at hand is done."""
        line = self._lines.get(tp)
        if line is not None and line.batch is not None:
            line.last, line.batch, line.moved_at = line.batch.records[-1], None, time.monotonic()
            line.uncommitted_since = line.uncommitted_since or line.moved_at

    def committed(self, tps: Iterable[Any]) -> None:
        """All that was finished is committed; what is finished meanwhile comes with the next commit, a second later."""
        for tp in tps:
            line = self._lines.get(tp)
            if line is not None:
                line.uncommitted_since = None

    def beat(self, delay: float) -> None:
        """The event loop runs, so many seconds late."""
        self._beat = time.monotonic()
        self._delays = [*self._delays[-KEPT_BEATS + 1 :], delay]
        for tp, line in self._lines.items():
            if self._lag(tp) == 0:
                line.behind_since = self._beat

    # ---------------------------------------------------------------- read from outside

    def progress(self) -> Iterator[Progress]:
        """Each source partition of this worker whose lag is known."""
        now = time.monotonic()
        for tp, line in list(self._lines.items()):
            lag = self._lag(tp)
            if lag is None:
                continue
            batch = line.batch
            since = line.uncommitted_since
            yield Progress(
                tp.topic,
                tp.partition,
                lag,
                batch is not None,
                batch.records[0] if batch is not None else line.last,
                now - line.behind_since if lag else 0.0,
                now - max(line.moved_at, line.behind_since) if lag else 0.0,
                now - since if since is not None else 0.0,
            )

    def waiting(self, besides: Container[str]) -> int:
        """Records not yet finished, of all topics but those."""
        return sum(self._lag(tp) or 0 for tp in list(self._lines) if tp.topic not in besides)

    def _lag(self, tp: Any) -> int | None:
        consumer = self._app.consumer
        done, end = consumer.book.position(tp), None
        with suppress(Exception):  # it may be taken away at this very moment, or the consumer be stopped
            end = consumer.highwater(tp)
        return None if done is None or end is None else max(0, end - done)

    def beat_age(self) -> float | None:
        """Seconds since the event loop was seen running; None before its start."""
        return None if self._beat is None else time.monotonic() - self._beat

    def delay(self) -> float:
        """By how many seconds the loop was late at worst, of the last ten seconds; by more when it stands still."""
        age = self.beat_age() or 0.0
        return max([age - BEAT_SECONDS, 0.0, *self._delays])

    def recovering(self) -> bool:
        """Whether tables are being restored."""
        return bool(self._app.tables.recovery.in_recovery)

    def remaining(self) -> int:
        """Changelog records still to restore."""
        recovery = self._app.tables.recovery
        missing = 0
        for tp, end in list(recovery.active_highwaters.items()):
            offset = recovery.active_offsets.get(tp)
            missing += max(0, end - offset) if end is not None and offset is not None else 0
        return missing if recovery.in_recovery else 0
