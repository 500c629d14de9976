"""One run of the benchmark, step by step: members, warm-up, backlog, other engines, two rates, proof, recovery."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice

from rich.console import Console

from schemas.topics import CHECKS, COMMANDS, REPLIES
from streams import system
from streams.baskets import Arrival
from streams.bench import load
from streams.bench.accounts import Sizes, templates
from streams.bench.compare import Compared, Comparison, topics
from streams.bench.latency import Delay, delay
from streams.bench.peers.engines import ENGINES
from streams.bench.processes import Theft, child, heap_at_rest, ready
from streams.bench.recovery import Recovery, disk_bytes_each, recover
from streams.bench.show import Result, table
from streams.bench.throughput import WATCHED, Rate, count, lay_ready, work_off
from streams.bench.topics import BenchError, committed, ends, grown
from streams.broker import Broker
from streams.log import Log, open_log
from streams.program_files import SHIPPED, load_program
from streams.replay import await_registered, replay
from streams.settings import Settings
from streams.topic_admin import apply_topics
from streams.verify import verify

PROGRAM = SHIPPED / "grocer.yaml"
FIRST = SHIPPED / "first.yaml"
PARTITIONS = 4
RATE = 250.0  # checks a second: the worst peak of the sized load
BRISK = 1_000.0  # four of these; measured where it is less than what follows
SHARE = 0.7  # of the measured maximum


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured. The same scale is the same input, on any machine."""

    seconds: int
    accounts: int
    clones: int = 8
    """Members of each of the 2,469 households."""
    checks_a_second: int = 1500
    """Sizes warm-up and backlog: so many checks for each of the seconds."""
    engines: tuple[str, ...] = tuple(engine.name for engine in ENGINES)
    """Whom we are compared with."""
    warm_up: int = 200_000
    """Checks that each of them takes before it is measured: a Java virtual machine needs that many."""

    @property
    def checks(self) -> int:
        """Of the warm-up, and again of the backlog."""
        return self.seconds * self.checks_a_second


async def measure(console: Console, settings: Settings, scale: Scale) -> Result:
    """Measure at a scale, show and answer the figures. Leaves nothing running and nothing behind. Raises BenchError."""
    folder = settings.data / "bench"
    shutil.rmtree(folder, ignore_errors=True)
    # Started from this thread, which outlives it: Java ends with the thread that started it.
    broker = Broker.start(folder / "kafka")
    try:
        own = {"kafka_bootstrap": broker.bootstrap, "data": folder, "clock": "stream", "partitions": PARTITIONS}
        result = await _Run(console, settings.model_copy(update=own), broker.pid, scale).all()
    finally:
        await asyncio.to_thread(broker.stop)
        shutil.rmtree(folder, ignore_errors=True)
    console.print(table(result))
    return result


class _Run:
    def __init__(self, console: Console, settings: Settings, broker_pid: int, scale: Scale) -> None:
        self._console = console
        self._settings = settings
        self._bootstrap = settings.kafka_bootstrap
        self._broker_pid = broker_pid
        self._scale = scale
        self._busy = os.getloadavg()[0]
        self._theft = Theft()
        self._receipts: Iterator[Arrival] = load.receipts(scale.clones)

    async def all(self) -> Result:
        """Every measurement, one after another, and between them the proof."""
        await system.install(self._settings, load_program(PROGRAM), keep_history=True)
        async with open_log(self._bootstrap) as log:
            members = await self._warm_up(log)
            checks = list(load.resent(self._next(self._scale.checks)))
            ours = await self._throughput(log, checks)
            theirs = await self._compare(log, checks)
            delays = await self._latencies(log, ours)
        await self._prove()
        core = await self._core()
        sizes, recovery = await self._recovery()
        return Result(self._settings, self._busy, self._theft.share(), members, ours, theirs, delays, core, sizes, recovery)

    def _say(self, what: str) -> None:
        self._console.print(f"{what} ...", highlight=False)

    def _next(self, count: int) -> list[Arrival]:
        found = list(islice(self._receipts, count))
        if len(found) < count:
            raise BenchError("the year has no more receipts: measure for fewer seconds")
        return found

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[system.Worker]:
        worker = system.start_worker(self._settings, "worker")
        try:
            yield worker
        finally:
            code = await asyncio.to_thread(worker.stop)
        if code:
            raise BenchError(f"the worker ended with code {code}; its log is {worker.log}")

    async def _rested(self, log: Log) -> None:
        """Nothing is left to do or to repeat."""
        await committed(log, self._bootstrap, self._settings.group, CHECKS.name, COMMANDS.name)

    async def _warm_up(self, log: Log) -> int:
        members, checks = list(load.members(self._scale.clones)), self._next(self._scale.checks)
        async with self._worker() as worker:
            self._say(f"{len(members):,} members join")
            await replay(self._bootstrap, members)
            await await_registered(self._bootstrap, len(members), seconds=600)
            self._say(f"{len(checks):,} checks to warm up")
            before = await ends(log, REPLIES.name)
            await replay(self._bootstrap, checks)
            await grown(log, REPLIES.name, before, len(checks), worker.check)
            await self._rested(log)
        return len(members)

    async def _throughput(self, log: Log, checks: list[Arrival]) -> Rate:
        backlog = await lay_ready(log, self._settings, checks)
        self._say(f"{backlog.count:,} checks lie ready: one worker, as fast as it can")
        async with self._worker() as worker:
            rate = await work_off(log, worker, self._broker_pid, backlog)
            await self._rested(log)
        await count(log, backlog.before)
        return rate

    async def _compare(self, log: Log, checks: list[Arrival]) -> list[Compared]:
        """The same checks by others. They have seen other receipts before, the year's first and those after ours."""
        engines = [engine for engine in ENGINES if engine.name in self._scale.engines]
        await apply_topics(self._bootstrap, PARTITIONS, keep_history=True, extra=topics(engines, PARTITIONS))
        others, count = load.receipts(self._scale.clones), self._scale.checks
        warm_up = list(islice(others, count))
        warm_up += islice(others, count, max(count, self._scale.warm_up))
        comparison = Comparison(log, self._bootstrap, self._broker_pid, self._settings.data, PARTITIONS)
        found = []
        for engine in engines:
            self._say(f"The reference job, on the same checks: {engine.title}")
            found.append(await comparison.run(engine, warm_up[-2 * count :] if engine.slow else warm_up, checks))
        return found

    async def _latencies(self, log: Log, ours: Rate) -> list[Delay]:
        delays, path = [], self._settings.data / "load"
        async with self._worker() as worker:
            await ready(worker)
            high = round(ours.per_second * SHARE, -1)
            for rate in (RATE, *((BRISK,) if high > BRISK else ()), high):
                self._say(f"{rate:,.0f} checks a second for {self._scale.seconds} s")
                before = await ends(log, *WATCHED)
                load.save(path, self._next(int(rate * self._scale.seconds)))
                with heap_at_rest():
                    delays.append(await delay(log, self._bootstrap, path, rate, worker.check))
                await self._rested(log)
                await count(log, before)
        return delays

    async def _prove(self) -> None:
        self._say("Proving it from the topics alone (`loy verify`)")
        findings = await verify(self._bootstrap)
        if findings.violation:
            raise BenchError(f"what was measured is wrong: {findings.violation}")

    async def _core(self) -> dict[str, dict[str, float]]:
        self._say("The pure core, without broker and stores")
        members = str(self._scale.accounts)  # of 2,469 households
        return {program.stem: await child("streams.bench.deciding", str(program), members) for program in (FIRST, PROGRAM)}

    async def _recovery(self) -> tuple[Sizes, Recovery]:
        self._say(f"{self._scale.accounts:,} accounts to recover, cold and warm")
        some = templates(load_program(PROGRAM))
        settings = self._settings.model_copy(update={"group": "bench-recovery"})
        await system.install(settings, keep_history=True)
        recovery = await recover(settings, some, self._scale.accounts)
        disk = disk_bytes_each(settings.data / "rows", some.quiet, self._scale.accounts)
        return Sizes.of(some, disk), recovery
