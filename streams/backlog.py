"""The backlog lane: checks that come long after their purchase go aside at the door, and are taken when nobody else waits.

Law: the lane decides when, never what. A record goes aside as it came, into the same partition, with its origin; when its turn
comes, intake is given what it would have been given at the door, so commands, replies and dead letters are the same bytes.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from schemas.codes import Code
from schemas.topics import BACKLOG
from streams import metrics
from streams.dead_letters import bury
from streams.domain.lateness import is_late
from streams.log import ASIDE_FROM, Origin, came_from
from streams.runtime import Batch, Outbox, Record

_BYTES_MAX = 1_000_000
"""More is taken at once, and refused if it must be: what just fitted through the door does not fit here, with one header more."""


class Lane:
    """Handlers around intake's: at the door of checks, at the other doors, and at the lane's own topic."""

    def __init__(
        self, take: Callable[[Batch], Awaitable[None]], outbox: Callable[[], Outbox], patience_minutes: float | None
    ) -> None:
        """`take` is intake's handler. Without patience nothing goes aside; what did before still gets its turn."""
        self._take = take
        self._outbox = outbox
        self._patience_ms = None if patience_minutes is None else patience_minutes * 60_000

    async def at_door(self, batch: Batch) -> None:
        """Take what is of now, and put aside what is of yesterday."""
        batch = _as_tills_may(batch)
        late = [] if self._patience_ms is None else self._late(batch.records, self._patience_ms)
        if not late:
            await self._take(batch)
            return
        gone = {record.offset for record in late}
        if live := [record for record in batch.records if record.offset not in gone]:
            await self._take(Batch(batch.topic, batch.partition, live))
        await self._put_aside(batch, late)

    async def past(self, batch: Batch) -> None:
        """Take what came to a door that has no lane."""
        await self._take(_as_tills_may(batch))

    def _late(self, records: Sequence[Record], patience_ms: float) -> list[Record]:
        return [one for one in records if is_late(one.value, one.timestamp_ms, patience_ms) and _size(one) <= _BYTES_MAX]

    async def _put_aside(self, batch: Batch, records: Sequence[Record]) -> None:
        meter, outbox = metrics.Meter("aside", records), self._outbox()
        for record in records:
            origin = Origin(batch.topic, batch.partition, record.offset)
            outbox.add(
                BACKLOG.name,
                record.key,
                record.value,
                timestamp_ms=record.timestamp_ms,
                headers=(*record.headers, (ASIDE_FROM, str(origin).encode())),
                partition=batch.partition,
                bytes_max=BACKLOG.bytes_max,
            )
        await outbox.flush()
        meter.stop()

    async def in_turn(self, batch: Batch) -> None:
        """Take a batch of the lane, as it stood at the door. What others put there is kept as a dead letter."""
        placed = [(came_from(record.headers), record) for record in batch.records]
        if foreign := [record for at, record in placed if at is None]:
            outbox = self._outbox()
            for record in foreign:
                bury(outbox, batch, record, stage=BACKLOG.name, code=Code.SCHEMA, reason="intake did not put it there")
            await outbox.flush()
        for again in _as_at_the_door((at, record) for at, record in placed if at is not None):
            await self._take(again)


def _as_tills_may(batch: Batch) -> Batch:
    """The batch without turns in the lane: only the lane gives them, and who had one is left out of the objective for answers."""
    if not any(metrics.has_waited(record) for record in batch.records if record.headers):
        return batch
    return replace(batch, records=[_without_turn(record) for record in batch.records])


def _without_turn(record: Record) -> Record:
    return record._replace(headers=tuple(header for header in record.headers if header[0] != metrics.TURN_AT))


def _size(record: Record) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def _as_at_the_door(placed: Iterable[tuple[Origin, Record]]) -> Iterator[Batch]:
    """The records with their own places again, and with the time of their turn, from which their speed is measured."""
    turn = (metrics.TURN_AT, b"%d" % (time.time_ns() // 1_000_000))
    for (topic, partition), run in groupby(placed, key=lambda one: one[0][:2]):
        yield Batch(
            topic, partition, [record._replace(offset=at.offset, headers=(*record.headers[:-1], turn)) for at, record in run]
        )
