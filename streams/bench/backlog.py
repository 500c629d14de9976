"""A chain comes back with days of offline checks while others sell: how long a live check waits, and how long the backlog takes.

Both ends are timed by the same wall clock: the moment a live check was due, and the moment its first reply was read.
"""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from schemas.topics import CHECKS, REPLIES
from streams import system
from streams.baskets import Arrival
from streams.bench import load
from streams.bench.latency import rank
from streams.bench.processes import beside, child, ready
from streams.bench.topics import BenchError
from streams.broker import Broker
from streams.program_files import SHIPPED, load_program
from streams.replay import SENT_AT, await_registered, replay
from streams.settings import Settings, reach
from streams.system import Worker
from streams.verify import Findings, verify

PROGRAM = SHIPPED / "grocer.yaml"
PARTITIONS = 12
CLONES = 40
BASKETS = 100_000  # few members with all those checks would have accounts like nobody has
THROWN_A_SECOND = 50_000.0  # as fast as the sender can
CALM_SECONDS = 15.0
PATIENCE_SECONDS = 120.0
LATE_PREFIX = "late-"
DAY = 86_400
_LOOK_SECONDS = 0.1


@dataclass(slots=True)
class Phase:
    """How long live checks waited that were due in it, seconds."""

    name: str
    since: float
    waits: list[float] = field(default_factory=list)

    def rank(self, share: float) -> float:
        """The wait that so large a share did not exceed."""
        return rank(self.waits, share)


@dataclass(frozen=True, slots=True)
class Course:
    """What one run showed. Seconds."""

    minutes: str
    late: int
    live: int
    thrown: float
    """How long it took to send the late checks."""
    taken: float
    """From the first of them sent to the last one answered."""
    phases: tuple[Phase, ...]
    proof: Findings


async def course(console: Console, settings: Settings, *, late: int, minutes: str, rate: float) -> Course:
    """One run on a Kafka of its own. Leaves nothing running and nothing behind. Raises BenchError."""
    folder = settings.data / "bench-backlog"
    shutil.rmtree(folder, ignore_errors=True)
    # Started from this thread, which outlives it: Java ends with the thread that started it.
    broker = Broker.start(folder / "kafka")
    try:
        own = {"kafka_bootstrap": broker.bootstrap, "data": folder, "clock": "wall", "partitions": PARTITIONS}
        return await _course(console, settings.model_copy(update=own | {"backlog_minutes": minutes}), late, rate)
    finally:
        await asyncio.to_thread(broker.stop)
        shutil.rmtree(folder, ignore_errors=True)


async def _course(console: Console, settings: Settings, late: int, rate: float) -> Course:
    await system.install(settings, load_program(PROGRAM), keep_history=True)
    worker = system.start_worker(settings, "worker")
    try:
        await ready(worker)
        now_ms = time.time_ns() // 1_000_000  # who joined years ago would have years of ticks coming
        members = [one._replace(at_ms=now_ms) for one in load.members(CLONES)]
        await replay(settings.kafka_bootstrap, members)
        await await_registered(settings.kafka_bootstrap, len(members), seconds=300)
        console.print(f"lane {settings.backlog_minutes}: {len(members):,} members have joined", highlight=False)
        chain = await asyncio.to_thread(lambda: [*islice(load.receipts(CLONES), BASKETS)])
        saved = settings.data / "late"
        await asyncio.to_thread(load.save, saved, offline(chain, late))
        till = _Till(settings, worker, chain, rate)
        thrown, taken = await till.work(saved, late)
        console.print(f"lane {settings.backlog_minutes}: {late:,} late checks took {taken:.0f} s", highlight=False)
        proof = await verify(settings.kafka_bootstrap)
    finally:
        await system.stop_workers([worker])
    _require(proof, late + till.sent)
    return Course(str(settings.backlog_minutes), late, till.sent, thrown, taken, tuple(till.phases), proof)


def _require(proof: Findings, checks: int) -> None:
    if proof.violation or proof.notes:
        raise BenchError(f"what was measured is wrong: {proof.violation or proof.notes}")
    if (taken := proof.figures.records[CHECKS.name]) != checks:
        raise BenchError(f"of {checks} checks {taken} are at the door")


# ---------------------------------------------------------------- checks of today and of yesterday


def of_now(baskets: list[Arrival], prefix: str, at: Callable[[int], float]) -> Iterator[Arrival]:
    """The baskets again and again, bought at the time that `at` gives for each number, in epoch seconds; sent now."""
    number = 0
    while True:
        for one in baskets:
            check, when = orjson.loads(one.value), datetime.fromtimestamp(at(number), UTC)
            check |= {"check_id": f"{prefix}{number}", "receipt": str(number), "at": when.isoformat(timespec="seconds")}
            check |= {"business_date": f"{when:%Y-%m-%d}"}
            yield one._replace(at_ms=time.time_ns() // 1_000_000, value=orjson.dumps(check))
            number += 1


def offline(baskets: list[Arrival], count: int) -> Iterator[Arrival]:
    """What a chain kept while its line was down: bought from three days ago to one, in order."""
    began = time.time() - 3 * DAY
    return islice(of_now(baskets, LATE_PREFIX, lambda n: began + 2 * DAY * n / count), count)


class _Till:
    """Sends live checks at an even pace, has the late ones thrown in between, and hears every answer."""

    def __init__(self, settings: Settings, worker: Worker, baskets: list[Arrival], rate: float) -> None:
        self._settings = settings
        self._worker = worker
        self._live = of_now(baskets, "live-", lambda _: time.time())
        self._rate = rate
        self._due: dict[str, tuple[Phase, float]] = {}
        self._answered: set[str] = set()
        """Late checks with a reply."""
        self.phases = [Phase("warming up", 0.0)]
        self.sent = 0

    async def work(self, saved: Path, late: int) -> tuple[float, float]:
        """Calm, the storm, calm again. Answers how long sending the late checks took, and all of them."""
        access = reach(self._settings.kafka_bootstrap)
        consumer = AIOKafkaConsumer(**access, enable_auto_commit=False, fetch_max_wait_ms=10)
        async with AIOKafkaProducer(**access, acks="all") as producer, consumer:
            parts = [TopicPartition(REPLIES.name, n) for n in range(PARTITIONS)]
            consumer.assign(parts)
            await consumer.seek_to_end(*parts)
            async with beside(self._hear(consumer), self._sell(producer)):
                return await self._storm(saved, late)

    async def _storm(self, saved: Path, late: int) -> tuple[float, float]:
        await asyncio.sleep(CALM_SECONDS)
        self.phases = []
        self._enter("before")
        await asyncio.sleep(CALM_SECONDS)
        began = self._enter("during")
        await child("streams.bench.sender", self._settings.kafka_bootstrap, str(saved), str(THROWN_A_SECOND))
        thrown = time.time() - began
        await self._until(lambda: len(self._answered), late)
        taken = self._enter("after") - began
        await asyncio.sleep(CALM_SECONDS)
        end = self._enter("ending")
        await self._until(lambda: -sum(due < end for _, due in self._due.values()), 0)
        self.phases.pop()
        self._rate = 0
        await self._until(lambda: -len(self._due), 0)
        return thrown, taken

    def _enter(self, phase: str) -> float:
        self.phases.append(Phase(phase, time.time()))
        return self.phases[-1].since

    async def _until(self, figure: Callable[[], int], enough: int) -> None:
        seen, since = figure(), time.monotonic()
        while seen < enough:
            await asyncio.sleep(_LOOK_SECONDS)
            self._worker.check()
            if (now := figure()) > seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > PATIENCE_SECONDS:
                raise BenchError(f"for {PATIENCE_SECONDS:.0f} s nothing moved: {seen} of {enough}")

    async def _sell(self, producer: AIOKafkaProducer) -> None:
        due = time.time()
        while self._rate:
            due += 1 / self._rate
            if (early := due - time.time()) > 0:
                await asyncio.sleep(early)
            check = next(self._live)
            self._due[f"live-{self.sent}"] = (self.phases[-1], due)
            self.sent += 1
            header = (SENT_AT, b"%d" % (due * 1000))
            await producer.send(check.topic, check.value, key=check.key, timestamp_ms=check.at_ms, headers=[header])
        await producer.flush()

    async def _hear(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                now = time.time()
                for record in records:
                    self._note(orjson.loads(record.value)["id"], now)

    def _note(self, check: str, now: float) -> None:
        if check.startswith(LATE_PREFIX):
            self._answered.add(check)
        elif asked := self._due.pop(check, None):
            phase, due = asked
            phase.waits.append(now - due)


# ---------------------------------------------------------------- shown


def table(found: list[Course], rate: float, busy: float) -> RenderableType:
    """One line a phase of each run. `busy` is the machine's load average before."""
    rows = Table(title="[bold]A backlog beside live checks", title_justify="left", expand=False)
    for name in ("lane", "phase", "live checks", "p50", "p99", "p99.9", "max", "over 2 s"):
        rows.add_column(name, justify="left" if name in ("lane", "phase") else "right")
    for one in found:
        for phase in one.phases:
            waits = (f"{phase.rank(share):.2f} s" for share in (0.5, 0.99, 0.999, 1.0))
            rows.add_row(one.minutes, phase.name, f"{len(phase.waits):,}", *waits, f"{sum(w > 2 for w in phase.waits):,}")
    return Group(rows, *(Text(_told(one), style="dim") for one in found), Text(_conditions(rate, busy), style="dim"))


def _told(one: Course) -> str:
    return (
        f"Lane {one.minutes}: {one.late:,} late checks were sent in {one.thrown:.0f} s and all answered after {one.taken:.0f} s, "
        f"{one.late / one.taken:,.0f}/s; {one.late + one.live:,} checks proven, each once."
    )


def _conditions(rate: float, busy: float) -> str:
    return f"{rate:.0f} live checks/s all the while, one worker, {PARTITIONS} partitions; load average before {busy:.1f}."
