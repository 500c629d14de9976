"""`loy bench-scaling`: the same load with more workers, and with more members. What grows that should not?

Every stage has a Kafka of its own with so many members in it, written as the workers would have left them. A worker starts twice,
cold and warm; then the workers take a warm-up, stand still while the load is laid ready, and are measured until the last answer.
Law: every stage answers every check, for the accounts that were there before; and however many workers did it, the accounts are
the same to the byte (`loy state-hash`). The clock is off: when its ticks come depends on the machine, and they are remembered.
Rules with a cap over all members are left out: who comes first there depends on the machine too.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice

from rich.console import Console

from schemas.program import Program
from schemas.topics import CHECKS, COMMANDS, REPLIES
from streams import system
from streams.baskets import Arrival, checks, weeks
from streams.bench.accounts import Templates, key_of, templates
from streams.bench.filling import fill
from streams.bench.processes import cpu_seconds, peak_bytes, ready, standing_still
from streams.bench.recovery import Recovery, recover
from streams.bench.run import PROGRAM
from streams.bench.throughput import WATCHED, count
from streams.bench.topics import BenchError, committed, ends, grown, of, stretch
from streams.broker import Broker
from streams.log import Log, open_log
from streams.program_files import load_program
from streams.rebuild import StateHash, state_hash
from streams.settings import Settings

PARTITIONS = 12
SESSION_SECONDS = 30.0  # workers stand still for a moment
HASHED = 100_000  # members at most, when the accounts of a stage are hashed
_STRIDE = 7_919  # the members' turns: a prime, so that everybody's comes


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing to measure."""

    members: int
    workers: int


@dataclass(frozen=True, slots=True)
class Scaled:
    """What came of a stage. CPU is of all workers together."""

    stage: Stage
    checks: int
    seconds: float
    cpu_seconds: float
    broker_cpu_seconds: float
    peak_bytes: tuple[int, ...]
    """Of each worker."""
    recovery: Recovery
    state: StateHash | None

    @property
    def summary(self) -> str:
        """One line, at once: a later stage may end the run."""
        each, cold, warm = self.cpu_seconds / self.checks * 1e6, self.recovery.cold, self.recovery.warm
        starts = f"cold {cold.seconds:.1f} s ({cold.cpu_seconds:.1f} of CPU), warm {warm.seconds:.1f} s ({warm.cpu_seconds:.1f})"
        state = f"state {self.state}" if self.state else "state not hashed"
        return f"{self.checks / self.seconds:,.0f} checks/s, {each:,.0f} CPU-us a check, {starts}, {state}"


def stages(members: Sequence[int], workers: Sequence[int]) -> list[Stage]:
    """More workers with the fewest members, then more members with the fewest workers."""
    fewest, alone = min(members), min(workers)
    return [Stage(fewest, count) for count in sorted(workers)] + [Stage(count, alone) for count in sorted(members)[1:]]


def load(members: int) -> Iterator[Arrival]:
    """The baskets from the 13th week on, when all accounts have been quiet for a while, for the members in turn."""
    for number, sale in enumerate(checks(weeks(13, 53), clean=True)):
        identifier = f"app:{key_of(number * _STRIDE % members)}".encode()
        yield sale._replace(key=identifier, value=sale.value.replace(sale.key, identifier, 1))


def rules() -> Program:
    """The shipped program, but for what depends on who comes first."""
    program = load_program(PROGRAM)
    kept = tuple(rule for rule in program.earning.rules if rule.cap is None or rule.cap.over == "member")
    return program.model_copy(update={"earning": program.earning.model_copy(update={"rules": kept})})


async def scale(console: Console, settings: Settings, plan: Sequence[Stage], *, count: int) -> list[Scaled]:
    """Measure every stage with `count` checks. Leaves nothing behind. Raises BenchError, also when the accounts differ."""
    some, found = templates(rules()), list[Scaled]()
    for stage in plan:
        console.print(f"{stage.members:,} members, {stage.workers} workers ...", highlight=False)
        found.append(await _measure(settings, stage, some, count))
        console.print(f"  {found[-1].summary}", highlight=False)
    require_equal(found)
    return found


def require_equal(found: Sequence[Scaled]) -> None:
    """Raises BenchError when the accounts of the same members differ after the same load."""
    by_members: dict[int, StateHash] = {}
    for one in found:
        if one.state is not None and by_members.setdefault(one.stage.members, one.state) != one.state:
            raise BenchError(f"{one.stage.workers} workers left other accounts: {one.state}, not {by_members[one.stage.members]}")


async def _measure(settings: Settings, stage: Stage, some: Templates, count: int) -> Scaled:
    folder = settings.data / "scaling"
    shutil.rmtree(folder, ignore_errors=True)
    broker = Broker.start(folder / "kafka")  # from this thread, which outlives it
    try:
        own = {"kafka_bootstrap": broker.bootstrap, "data": folder, "clock": "off", "partitions": PARTITIONS}
        own |= {"session_seconds": SESSION_SECONDS}
        return await _Stage(settings.model_copy(update=own), broker.pid, stage).run(some, count)
    finally:
        await asyncio.to_thread(broker.stop)
        shutil.rmtree(folder, ignore_errors=True)


class _Stage:
    def __init__(self, settings: Settings, broker_pid: int, stage: Stage) -> None:
        self._settings = settings
        self._bootstrap = settings.kafka_bootstrap
        self._broker_pid = broker_pid
        self._stage = stage

    async def run(self, some: Templates, count: int) -> Scaled:
        await system.install(self._settings, rules(), keep_history=True)
        recovery = await recover(self._settings, some, self._stage.members)
        sent = load(self._stage.members)
        async with open_log(self._bootstrap) as log, self._workers() as workers:
            await self._warm_up(log, workers, list(islice(sent, count // 2)))
            return await self._load(log, workers, list(islice(sent, count)), recovery)

    @asynccontextmanager
    async def _workers(self) -> AsyncIterator[list[system.Worker]]:
        """The first one has the folder that was recovered."""
        names = ["recovering", *(f"worker-{n}" for n in range(2, self._stage.workers + 1))]
        workers = [system.start_worker(self._settings, name) for name in names]
        try:
            for worker in workers:
                await ready(worker)
            yield workers
        finally:
            await system.stop_workers(workers)

    async def _warm_up(self, log: Log, workers: Sequence[system.Worker], checks: Sequence[Arrival]) -> None:
        before = await ends(log, REPLIES.name)
        await self._lay(checks)
        await grown(log, REPLIES.name, before, len(checks), lambda: _check(workers))
        await committed(log, self._bootstrap, self._settings.group, CHECKS.name, COMMANDS.name)

    async def _load(self, log: Log, workers: Sequence[system.Worker], checks: Sequence[Arrival], recovery: Recovery) -> Scaled:
        pids = [worker.process.pid for worker in workers]
        before = await ends(log, *WATCHED)
        with standing_still(*pids):
            await self._lay(checks)
            cpu, broker_cpu, began = sum(map(cpu_seconds, pids)), cpu_seconds(self._broker_pid), time.perf_counter()
        await grown(log, REPLIES.name, of(before, REPLIES.name), len(checks), lambda: _check(workers))
        seconds = time.perf_counter() - began
        cpu, broker_cpu = sum(map(cpu_seconds, pids)) - cpu, cpu_seconds(self._broker_pid) - broker_cpu
        peaks = tuple(map(peak_bytes, pids))
        await committed(log, self._bootstrap, self._settings.group, CHECKS.name, COMMANDS.name)
        await count(log, before)
        await self._require_known(log, before)
        state = await state_hash(self._bootstrap, self._settings.group) if self._stage.members <= HASHED else None
        return Scaled(self._stage, len(checks), seconds, cpu, broker_cpu, peaks, recovery, state)

    async def _lay(self, checks: Sequence[Arrival]) -> None:
        await fill(self._bootstrap, CHECKS.name, ((check.key, check.value, check.at_ms) for check in checks))

    async def _require_known(self, log: Log, before: dict[object, int]) -> None:
        """All checks were for the accounts that were there."""
        after = await ends(log, COMMANDS.name)
        async for record in stretch(log, before, after):
            if not (record.key or b"").startswith(b"R-"):
                raise BenchError(f"{record.origin} is for {record.key!r}, whom nobody wrote")


def _check(workers: Sequence[system.Worker]) -> None:
    for worker in workers:
        worker.check()
