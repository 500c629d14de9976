"""Other engines on the same checks and the same broker: each does the reference job, and is held to what it claims.

Each runs alone. It takes a warm-up first, then stands still (SIGSTOP) while the backlog is laid ready, and is measured from the
moment it may go on until everything is written and committed; that is rehearsed once, because the first time is dear in Java.
Law: its events and its changelog are read back and compared, byte for byte, with what `peers.job` makes of the same checks; a
figure of an engine that skips work is not shown.
"""

import asyncio
import os
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.app import Roll
from streams.baskets import Arrival
from streams.bench.filling import fill
from streams.bench.peers.engines import ROOT, Engine, EngineMissingError
from streams.bench.peers.job import accrue
from streams.bench.processes import at_rest, cpu_seconds, peak_bytes, standing_still
from streams.bench.throughput import Rate
from streams.bench.topics import BenchError, committed, grown
from streams.log import Log, latest_by_key
from streams.runtime import roll_topic
from streams.system import Worker
from streams.topic_admin import Changelog


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of one engine: a rate, or why there is none."""

    engine: Engine
    rate: Rate | None
    missing: str = ""


class Reference:
    """What the job makes of checks in their order: each member's row, and all events."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.events: Counter[bytes] = Counter()

    def take(self, load: Sequence[Arrival]) -> int:
        """Go on with these; answers how many events there are by now."""
        for check in load:
            done = accrue(self.rows.get(check.key), check.key, check.value)
            if done is not None:
                self.rows[check.key] = done.row
                self.events[done.event] += 1
        return self.events.total()


@dataclass(frozen=True, slots=True)
class Kept:
    """A topic that forgets nothing, however old the timestamps of its records are."""

    name: str
    partitions: int

    def settings(self, *, keep_history: bool = False) -> dict[str, str]:  # noqa: ARG002  # always
        return {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}


def topics(engines: Sequence[Engine], partitions: int) -> tuple[Kept | Changelog | Roll, ...]:
    """What must exist before the engines start; Quix Streams and Kafka Streams make their changelogs themselves."""
    rolls = (Roll(roll_topic(engine.group)) for engine in engines if engine.name == "shell")
    kept = (Kept(name, partitions) for engine in engines for name in (engine.checks, engine.events))
    made = (Changelog(engine.changelog, partitions) for engine in engines if engine.name in {"plain", "shell", "stock"})
    return (*kept, *made, *rolls)


class Comparison:
    """One load for all engines, one after another."""

    def __init__(self, log: Log, bootstrap: str, broker_pid: int, folder: Path, partitions: int) -> None:
        self._log = log
        self._bootstrap = bootstrap
        self._broker_pid = broker_pid
        self._folder = folder
        self._partitions = partitions

    async def run(self, engine: Engine, warm_up: Sequence[Arrival], load: Sequence[Arrival]) -> Compared:
        """Measure one. Raises BenchError when its output is not that of the job."""
        folder = self._folder / engine.name
        try:
            command = await asyncio.to_thread(engine.command, self._bootstrap, folder, self._partitions)
        except EngineMissingError as problem:
            return Compared(engine, None, str(problem))
        reference, rehearsed = Reference(), len(warm_up) - len(load)
        await self._lay(engine.checks, warm_up[:rehearsed])
        async with _running(command, folder) as process:
            await self._done(engine, process, reference.take(warm_up[:rehearsed]))
            for part in (warm_up[rehearsed:], load):
                rate = await self._backlog(engine, process, reference, part)
        await self._prove(engine, reference)
        return Compared(engine, rate)

    async def _backlog(self, engine: Engine, process: Worker, reference: Reference, load: Sequence[Arrival]) -> Rate:
        pid = process.process.pid
        await at_rest(pid)
        with standing_still(pid):
            await self._lay(engine.checks, load)
            events = reference.take(load)
            first = self._look(process)
        await grown(self._log, engine.events, {}, events, process.check)
        seconds = time.perf_counter() - first.at
        await self._done(engine, process, events)
        last = self._look(process)
        return Rate(len(load), seconds, last.cpu - first.cpu, last.broker_cpu - first.broker_cpu, peak_bytes(pid))

    async def _done(self, engine: Engine, process: Worker, events: int) -> None:
        """So many events are written, and all checks are committed."""
        await grown(self._log, engine.events, {}, events, process.check)
        await committed(self._log, self._bootstrap, engine.group, engine.checks)

    def _look(self, process: Worker) -> "_Look":
        return _Look(time.perf_counter(), cpu_seconds(process.process.pid), cpu_seconds(self._broker_pid))

    async def _lay(self, topic: str, load: Sequence[Arrival]) -> None:
        await fill(self._bootstrap, topic, ((check.key, check.value, check.at_ms) for check in load))

    async def _prove(self, engine: Engine, reference: Reference) -> None:
        """Its events are those of the job, each once, and its changelog ends with the job's rows."""
        found: Counter[bytes] = Counter()
        async for batch in self._log.read(await self._log.spans(engine.events)):
            found.update(record.value or b"" for record in batch)
        if found != reference.events:
            raise BenchError(
                f"{engine.title} wrote {found.total()} events, and {(found & reference.events).total()} "
                f"of the {reference.events.total()} that the job makes: {next(iter(found - reference.events), b'')!r}"
            )
        latest = await latest_by_key(self._bootstrap, engine.changelog)
        rows = {engine.member(key): record.value for key, record in latest.items()}
        if rows != reference.rows:
            raise BenchError(f"{engine.title} keeps other rows than the job makes: {len(rows)} of {len(reference.rows)}")


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    cpu: float
    broker_cpu: float


@asynccontextmanager
async def _running(command: Sequence[str], folder: Path) -> AsyncIterator[Worker]:
    worker = await asyncio.to_thread(_started, command, folder)
    try:
        yield worker
    finally:
        await asyncio.to_thread(worker.stop)


def _started(command: Sequence[str], folder: Path) -> Worker:
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix(".log")
    out = log.open("wb")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)  # noqa: S603  # of our own making
    return Worker(process, log, 0, out)
