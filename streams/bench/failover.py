"""Fail-over, measured: two workers under an even load, one of them killed again and again, restarted in order, joined by a third.

Both clocks are the tills': when a check was due, and when its reply was read. A check *moves* when its till's partition or its
member's changed owner, and *stays* when neither did. Law: at the end every check has its answer and `loy verify` finds nothing.
"""

import asyncio
import re
import shutil
import time
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from rich.console import Console
from rich.table import Table

from schemas.topics import CHECKS, COMMANDS, MEMBER_COMMANDS, REPLIES
from streams import system
from streams.baskets import Arrival
from streams.bench import load
from streams.bench.latency import rank
from streams.bench.processes import beside
from streams.bench.topics import BenchError
from streams.broker import HOST, Broker
from streams.program_files import SHIPPED, load_program
from streams.replay import await_registered, replay
from streams.runtime import partition_of
from streams.settings import Settings, reach
from streams.verify import verify

PROGRAM = SHIPPED / "grocer.yaml"
RATE = 100.0
SETTLE_SECONDS = 90.0
BREATH_SECONDS = 3.0
_LOOK_SECONDS = 0.05
_OWNED = re.compile(rf'^loy_lag_records{{partition="(\d+)",topic="{re.escape(COMMANDS.name)}"}}', re.MULTILINE)


@dataclass(slots=True)
class Asked:
    """A check on its way: when it was due, and through which partitions it goes."""

    due: float
    source: int
    ledger: int
    answered: float = 0.0


@dataclass(frozen=True, slots=True)
class Moment:
    """What one disturbance did. Seconds."""

    kind: str
    moved: float
    """The longest that a check waited whose partitions changed their owner: until they were processed again, and caught up."""
    kept: float
    """The longest that a check waited whose partitions kept their owner."""


@dataclass(slots=True)
class Findings:
    """All that was seen."""

    moments: list[Moment] = field(default_factory=list)
    checks: int = 0


async def bench_failover(console: Console, settings: Settings, *, kills: int, partitions: int = 12) -> Findings:
    """Measure, show and answer the figures. Leaves nothing running and nothing behind. Raises BenchError."""
    folder = settings.data / "bench-failover"
    shutil.rmtree(folder, ignore_errors=True)
    # Started from this thread, which outlives it: Java ends with the thread that started it.
    broker = Broker.start(folder / "kafka")
    try:
        own = {"kafka_bootstrap": broker.bootstrap, "data": folder, "partitions": partitions}
        own |= {"clock": "stream", "clock_seconds": 0.05}
        findings = await _course(console, settings.model_copy(update=own), kills)
    finally:
        await asyncio.to_thread(broker.stop)
        shutil.rmtree(folder, ignore_errors=True)
    console.print(table(findings, settings))
    return findings


async def _course(console: Console, settings: Settings, kills: int) -> Findings:
    await system.install(settings, load_program(PROGRAM), keep_history=True)
    findings = Findings()
    async with _tills(settings) as tills:
        crew = _Crew(settings, tills, findings, console)
        try:
            await crew.muster("one", "two")
            await tills.open()
            for wiped in (False, True):
                for n in range(kills):
                    await crew.kill(("one", "two")[n % 2], wiped=wiped)
            for n in range(kills):
                await crew.crash(("one", "two")[n % 2])
            for name in ("one", "two"):
                await crew.restart(name)
            await crew.joined_and_left("three")
            findings.checks = await tills.close()
        finally:
            await system.stop_workers(list(crew.workers.values()))
    proof = await verify(settings.kafka_bootstrap)
    if proof.violation:
        raise BenchError(f"what was measured is wrong: {proof.violation}")
    return findings


class _Tills:
    """Sends checks at an even pace, and notes when each was due and when its first reply came."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._producer = producer
        self._consumer = consumer
        self._asked: dict[str, Asked] = {}
        self._early: dict[str, float] = {}
        self._open = asyncio.Event()
        self._owners: dict[bytes, int] = {}
        self._sending: set[asyncio.Task[None]] = set()

    async def join(self) -> None:
        """Every member of the load opts in, through running workers."""
        members = list(load.members(1))
        self._owners = dict(_cards(members, self._settings.partitions))
        await replay(self._settings.kafka_bootstrap, members)
        await await_registered(self._settings.kafka_bootstrap, len(members), seconds=120)

    async def open(self) -> None:
        """From now on checks are sent."""
        self._open.set()

    async def close(self) -> int:
        """No more checks; all that were sent are answered. Answers how many. Raises BenchError."""
        self._open.clear()
        await asyncio.gather(*self._sending)
        await _until(lambda: not self.waiting(time.time()), "every check is answered")
        return len(self._asked)

    async def send(self) -> None:
        """At an even pace while open, until cancelled."""
        checks: Iterator[Arrival] = (one for one in load.receipts(2) if one.key in self._owners)
        await self._open.wait()
        due = time.time()
        for check in checks:
            await self._open.wait()
            due = max(due + 1 / RATE, time.time() - 1.0)
            if (early := due - time.time()) > 0:
                await asyncio.sleep(early)
            task = asyncio.create_task(self._send(check, due))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        raise BenchError("the year has no more receipts: fewer kills, please")

    async def _send(self, check: Arrival, due: float) -> None:
        sent = await self._producer.send_and_wait(CHECKS.name, check.value, check.key, timestamp_ms=check.at_ms)
        origin = f"{sent.topic}/{sent.partition}/{sent.offset}"
        answered = self._early.pop(origin, 0.0)
        self._asked[origin] = Asked(due, sent.partition, self._owners[check.key], answered)

    async def listen(self) -> None:
        """Until cancelled."""
        parts = [TopicPartition(REPLIES.name, n) for n in range(self._settings.partitions)]
        self._consumer.assign(parts)
        await self._consumer.seek_to_end(*parts)
        while True:
            for records in (await self._consumer.getmany(timeout_ms=200)).values():
                now = time.time()
                for record in records:
                    self._hear(dict(record.headers)["origin"].decode(), now)

    def _hear(self, origin: str, now: float) -> None:
        asked = self._asked.get(origin)
        if asked is None:
            self._early.setdefault(origin, now)
        elif not asked.answered:
            asked.answered = now

    def since(self, at: float) -> list[Asked]:
        """What was asked from this time on."""
        return [asked for asked in self._asked.values() if asked.due >= at]

    def waiting(self, until: float) -> bool:
        """Whether anything asked before `until` is without an answer."""
        return any(not asked.answered for asked in self._asked.values() if asked.due < until)


def _cards(members: list[Arrival], partitions: int) -> Iterator[tuple[bytes, int]]:
    """The ledger's partition of each member, by the card that checks name."""
    import orjson  # noqa: PLC0415

    for member in members:
        if member.topic == MEMBER_COMMANDS.name:
            for identifier in orjson.loads(member.value)["identifiers"]:
                yield identifier.encode(), partition_of(member.key, partitions)


@asynccontextmanager
async def _tills(settings: Settings) -> AsyncIterator[_Tills]:
    access = reach(settings.kafka_bootstrap)
    consumer = AIOKafkaConsumer(**access, enable_auto_commit=False, fetch_max_wait_ms=10)
    async with AIOKafkaProducer(**access, acks="all") as producer, consumer:
        tills = _Tills(settings, producer, consumer)
        async with beside(tills.listen(), tills.send()):
            yield tills


class _Crew:
    """The workers, what is done to them, and what that did to the checks."""

    def __init__(self, settings: Settings, tills: _Tills, findings: Findings, console: Console) -> None:
        self.workers: dict[str, system.Worker] = {}
        self._settings = settings
        self._tills = tills
        self._findings = findings
        self._console = console

    async def muster(self, *names: str) -> None:
        """Start them, let the members join through them."""
        for name in names:
            self._start(name)
        await self._shared()
        await self._tills.join()

    async def kill(self, name: str, *, wiped: bool) -> None:
        """Kill a worker; when all is well again start it anew, with its folder or without."""
        kind = "wiped" if wiped else "kept"
        if wiped:  # the heir's too: it must read the changelog from its start
            for other in self.workers.keys() - {name}:
                await self._renew(other)
        await self._disturb(f"kill, state {kind}", lambda: self._kill(name))
        if wiped:
            shutil.rmtree(self._settings.data / name, ignore_errors=True)
        await self._disturb(f"return, state {kind}", lambda: self._start(name))

    async def _renew(self, name: str) -> None:
        """Stop and start it without its folder, unmeasured."""
        await asyncio.to_thread(self.workers.pop(name).stop)
        shutil.rmtree(self._settings.data / name, ignore_errors=True)
        self._start(name)
        await self._shared()
        await asyncio.sleep(BREATH_SECONDS)

    async def crash(self, name: str) -> None:
        """Kill a worker that its supervisor starts again at once."""

        def deed() -> None:
            self._kill(name)
            self._start(name)

        await self._disturb("kill, started at once", deed, victim=name)

    async def restart(self, name: str) -> None:
        """As a rolling restart does."""
        await self._disturb("orderly stop", lambda: asyncio.to_thread(self.workers.pop(name).stop))
        await self._disturb("start after it", lambda: self._start(name))

    async def joined_and_left(self, name: str) -> None:
        """One more worker, for a while."""
        await self._disturb("scale-out", lambda: self._start(name))
        await self._disturb("scale-in", lambda: asyncio.to_thread(self.workers.pop(name).stop))

    def _kill(self, name: str) -> None:
        worker = self.workers.pop(name)
        worker.process.kill()
        worker.stop()

    def _start(self, name: str) -> None:
        self.workers[name] = system.start_worker(self._settings, name)

    async def _disturb(self, kind: str, deed: Callable[[], object], victim: str = "") -> None:
        before, began = await self._owners(), time.time()
        done = deed()
        if asyncio.iscoroutine(done):
            await done
        after = await self._shared()
        settled = time.time()
        await _until(lambda: not self._tills.waiting(settled), f"{kind}: all is answered")
        await asyncio.sleep(BREATH_SECONDS)
        moved = {part for part, owner in after.items() if before.get(part) not in {owner} - {victim}}
        moment = _judged(kind, self._tills.since(began - 0.2), moved)
        self._findings.moments.append(moment)
        said = f"{kind}: {len(moved)} partitions moved, their checks waited {moment.moved:.2f} s, all others {moment.kept:.2f} s"
        self._console.print(said, highlight=False)

    async def _shared(self) -> dict[int, str]:
        """Wait until the partitions are shared out evenly among those who run; who has which."""
        found: dict[int, str] = {}

        async def fair() -> bool:
            for worker in self.workers.values():
                worker.check()
            found.clear()
            found.update(await self._owners())
            shares = [list(found.values()).count(name) for name in self.workers]
            return len(found) == self._settings.partitions and max(shares) - min(shares) <= 1

        await _until(fair, "the partitions are shared out")
        return found

    async def _owners(self) -> dict[int, str]:
        owners: dict[int, str] = {}
        for name, worker in self.workers.items():
            for part in await asyncio.to_thread(_partitions_of, worker.metrics_port):
                if part in owners:
                    return {}  # in the middle of a move
                owners[part] = name
        return owners


def _partitions_of(port: int) -> list[int]:
    """Partitions of the log of record that the worker has, as its metrics tell; none when it does not answer."""
    with suppress(OSError), urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5) as answer:
        return [int(part) for part in _OWNED.findall(answer.read().decode())]
    return []


def _judged(kind: str, asked: list[Asked], moved: set[int]) -> Moment:
    waits: dict[bool, float] = {True: 0.0, False: 0.0}
    for one in asked:
        touched = bool({one.source, one.ledger} & moved)
        waits[touched] = max(waits[touched], (one.answered or time.time()) - one.due)
    return Moment(kind, waits[True], waits[False])


async def _until(condition: Callable[[], object], what: str, seconds: float = SETTLE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return
        if time.monotonic() > end:
            raise BenchError(f"waited {seconds:.0f} s in vain: {what}")
        await asyncio.sleep(_LOOK_SECONDS)


def table(findings: Findings, settings: Settings) -> Table:
    """One row a kind of disturbance."""
    shown = Table(
        title=f"Fail-over: {findings.checks:,} checks at {RATE:.0f}/s, a worker is dead after {settings.session_seconds:g} s"
    )
    for name in ("disturbance", "times", "moved p50", "p99", "kept p50", "max"):
        shown.add_column(name, justify="left" if name == "disturbance" else "right")
    by_kind: dict[str, list[Moment]] = defaultdict(list)
    for moment in findings.moments:
        by_kind[moment.kind].append(moment)
    for kind, moments in by_kind.items():
        moved, kept = [one.moved for one in moments], [one.kept for one in moments]
        figures = (rank(moved, 0.5), rank(moved, 0.99), rank(kept, 0.5), max(kept))
        shown.add_row(kind, str(len(moments)), *(f"{figure:.2f} s" for figure in figures))
    return shown
