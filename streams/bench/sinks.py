"""`loy bench-sinks`: each sink against its vendor's sandbox with the vendor's limits on, from a real Kafka, one backlog each.

What holds a sink back should be the limit alone, so the honest figures are the share of the limit that was used and the CPU of
the sink's own process. Law: people and events are counted where they arrived; one that is missing or doubled ends the run.
"""

import asyncio
import math
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from rich.console import Console
from rich.progress import Progress

from connectors import registry
from connectors.infobip.sink import EVENTS_MAX, PERSONS_MAX
from connectors.ometria.sink import RECORDS_MAX
from connectors.sandbox import sandbox_settings
from schemas.topics import DEAD_LETTERS, EVENTS, MEMBERS
from streams import runtime, system
from streams.app import changelogs, sink_group
from streams.bench.processes import cpu_seconds, ready
from streams.bench.sink_load import ACCRUAL, member, records
from streams.bench.sink_show import Drained, table
from streams.bench.topics import BenchError, between, ends
from streams.broker import HOST, Broker, free_port
from streams.log import Log, offsets_of, open_log, read_topic
from streams.settings import Settings, reach
from streams.sinks import LEASE, MEMBERS_TABLE
from streams.topic_admin import apply_topics

PARTITIONS = 4
PATIENCE = 10
"""Times the seconds that the limit allows; and a minute."""
_LOOK_SECONDS = 0.1
_PROGRESS_SECONDS = 3.0
_SERIES = re.compile(r"^(\w+)\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Course:
    """How a sink is measured."""

    sandbox: str
    carries: Mapping[str, Sequence[int]]
    """By operation with a limit of its own: for each thing to tell of a member, how many of them a request takes."""
    settings: Mapping[str, str] = field(default_factory=dict)
    checked: Mapping[str, str] = field(default_factory=dict)
    """Settings once the vendor's side has been provisioned: that is not measured."""
    divisor: int = 1
    """Of the members: a sink with one item a request would take hours."""


COURSES = {
    "infobip": Course(
        "infobip",
        {"upsert": [PERSONS_MAX], "tag": [PERSONS_MAX], "events": [EVENTS_MAX]},
        checked={"LOY_INFOBIP_PROVISION": "off"},
    ),
    "ometria": Course(
        "ometria", {"push": [RECORDS_MAX, RECORDS_MAX]}, {"LOY_OMETRIA_RPS": "7"}
    ),  # of 8: at 8 a late one is too many
    "crm": Course("dataverse", {"api": [25, 25]}, {"LOY_CRM_BATCH": "25"}, {"LOY_CRM_CHECK": "false"}),
    "webhook": Course("webhook", {"send": [1, 1]}, {"LOY_WEBHOOK_RPS": "100"}, divisor=10),
}


async def bench_sinks(
    console: Console, settings: Settings, *, members: int = 20_000, sinks: Sequence[str] = tuple(COURSES)
) -> list[Drained]:
    """Measure and show; leaves nothing running and nothing behind. Raises BenchError when anything was lost or doubled."""
    results = []
    for name in sinks:
        one = await _measured(console, settings, name, max(1, members // COURSES[name].divisor))
        took = f"{one.seconds:,.1f} s where the limit allows {one.allowed_seconds:,.1f} s; {one.item_us:,.1f} us of CPU an item"
        console.print(f"{name}: {took}", highlight=False)
        results.append(one)
    console.print(table(results, PARTITIONS))
    return results


async def _measured(console: Console, settings: Settings, name: str, members: int) -> Drained:
    """One sink on a Kafka of its own: what others were told would be history to it."""
    folder = settings.data / "bench-sinks"
    shutil.rmtree(folder, ignore_errors=True)
    # Started from this thread, which outlives it: Java ends with the thread that started it.
    broker = Broker.start(folder / "kafka")
    try:
        own = {"kafka_bootstrap": broker.bootstrap, "data": folder, "partitions": PARTITIONS}
        return await _Run(console, settings.model_copy(update=own), name, members).all()
    finally:
        await asyncio.to_thread(broker.stop)
        shutil.rmtree(folder, ignore_errors=True)


class _Run:
    def __init__(self, console: Console, settings: Settings, name: str, members: int) -> None:
        self._console = console
        self._settings = settings
        self._name = name
        self._course = COURSES[name]
        self._members = range(1, members + 1)  # 0 warms up
        self._url = f"http://{HOST}:{free_port()}"
        self._environment = sandbox_settings(self._course.sandbox, self._url) | dict(self._course.settings)
        self._rates = registry.build(name, self._environment).rates
        self._group = sink_group(settings, name)

    async def all(self) -> Drained:
        """Lease and set-up, backlog, draining, counting."""
        await apply_topics(self._settings.kafka_bootstrap, PARTITIONS, extra=changelogs(self._settings))
        port = int(self._url.rpartition(":")[2])
        vendor = system.start_sandbox(self._settings, self._course.sandbox, port, clock="wall")
        try:
            async with open_log(self._settings.kafka_bootstrap) as log:
                await self._prepare(log)
                await self._write(self._members)
                result = await self._drain(log)
                await self._count(log)
            return result
        finally:
            await asyncio.to_thread(vendor.stop)

    @asynccontextmanager
    async def _sink(self, settings: Mapping[str, str]) -> AsyncIterator[system.Worker]:
        worker = system.start_sink(self._settings, self._name, self._environment | dict(settings))
        try:
            await ready(worker)
            yield worker
        finally:
            code = await asyncio.to_thread(worker.stop)
        if code:
            raise BenchError(f"the sink ended with code {code}; its log is {worker.log}")

    async def _write(self, members: Sequence[int]) -> None:
        async with AIOKafkaProducer(
            **reach(self._settings.kafka_bootstrap), acks="all", linger_ms=20, max_batch_size=1 << 18
        ) as producer:
            for topic, key, value in records(members):
                await producer.send(topic, value, key)

    async def _prepare(self, log: Log) -> None:
        """The sink gets its lease, and its vendor's side is provisioned for a first member."""
        async with self._sink({}) as worker:
            await _until(self._leased, 60, "the sink has no lease", worker)
            await self._write([0])
            await _until(lambda: self._finished(log), 120, "the vendor's side is not ready", worker)

    async def _leased(self) -> bool:
        topic = runtime.changelog_topic(self._group, MEMBERS_TABLE)
        held = {one.partition async for one in read_topic(self._settings.kafka_bootstrap, topic) if one.key == LEASE}
        return len(held) == PARTITIONS

    async def _finished(self, log: Log) -> bool:
        """The group has committed everything there is."""
        at = await ends(log, MEMBERS.name, EVENTS.name)
        admin = AIOKafkaAdminClient(**reach(self._settings.kafka_bootstrap))
        await admin.start()
        try:
            done = await offsets_of(admin, self._group)
        finally:
            await admin.close()
        return all(done.get(part, 0) >= end for part, end in at.items())

    # ------------------------------------------------------------ measuring

    async def _drain(self, log: Log) -> Drained:
        needed = self._needed()
        allowed = max(count / self._rates[operation] for operation, count in needed.items())
        items = 2 * len(self._members)
        said = f"{self._name}: {items:,} items; the limit allows {allowed:,.0f} s"
        async with self._sink(self._course.checked) as worker:
            began, cpu = perf_counter(), cpu_seconds(worker.process.pid)
            with Progress(console=self._console, transient=True) as bars:
                watching = asyncio.create_task(_watch(bars, said, worker, self._name, items))
                try:
                    await _until(lambda: self._finished(log), 60 + PATIENCE * allowed, "the backlog is not drained", worker)
                finally:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)
            seconds, cpu = perf_counter() - began, cpu_seconds(worker.process.pid) - cpu
            calls = _calls(await _metrics(worker), self._name)
        made: Counter[str] = Counter()
        for (operation, _), count in calls.items():
            made[operation] += count
        narrow = max(needed, key=lambda operation: made[operation] / self._rates[operation])
        return Drained(
            self._name,
            self._course.sandbox,
            len(self._members),
            seconds,
            allowed,
            cpu,
            narrow,
            self._rates[narrow],
            made[narrow],
            made.total(),
            sum(count for (_, status), count in calls.items() if not status.startswith("2")),
        )

    def _needed(self) -> dict[str, int]:
        """Requests of each operation, were all of them full."""
        count = len(self._members)
        return {name: sum(math.ceil(count / most) for most in each) for name, each in self._course.carries.items()}

    # ------------------------------------------------------------ counting

    async def _count(self, log: Log) -> None:
        async with httpx.AsyncClient(timeout=300) as client:
            seen = (await client.get(f"{self._url}/_seen")).json()
        if letters := between({}, await ends(log, DEAD_LETTERS.name)):
            raise BenchError(f"{self._name}: {letters} dead letters, and nothing was wrong")
        if seen["bugs"]:
            raise BenchError(f"the sandbox of {self._course.sandbox} failed: {seen['bugs'][0]}")
        check_arrived(self._name, {member(number) for number in (0, *self._members)}, seen)


def check_arrived(name: str, sent: set[str], seen: Mapping[str, Any]) -> None:
    """Raises BenchError unless these members are there, and nobody else, and each one's accrual came once."""
    people = set(seen["people"])
    if people != sent:
        raise BenchError(
            f"{name}: {len(sent)} people were told, {len(people & sent)} arrived, {len(people - sent)} are strangers"
        )
    told = Counter(event["member"] for event in seen["events"])
    if missing := sent - told.keys():
        raise BenchError(f"{name}: {len(missing)} events of {ACCRUAL} are missing, the first of {min(missing)}")
    if told.total() != len(sent):
        raise BenchError(f"{name}: {told.total() - len(sent)} events came twice or of strangers")


async def _until(holds: Callable[[], Awaitable[bool]], seconds: float, what: str, worker: system.Worker) -> None:
    """Raises BenchError when it takes longer, WorkerEndedError when the sink is gone."""
    end = perf_counter() + seconds
    while not await holds():
        worker.check()
        if perf_counter() > end:
            raise BenchError(f"after {seconds:.0f} s {what}; the sink's log is {worker.log}")
        await asyncio.sleep(_LOOK_SECONDS)


async def _metrics(worker: system.Worker) -> list[tuple[str, dict[str, str], float]]:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://{HOST}:{worker.metrics_port}/metrics")).text
    return [(name, dict(_LABEL.findall(labels)), float(value)) for name, labels, value in _SERIES.findall(text)]


def _calls(metrics: list[tuple[str, dict[str, str], float]], sink: str) -> Counter[tuple[str, str]]:
    """By operation and status."""
    found: Counter[tuple[str, str]] = Counter()
    for name, labels, value in metrics:
        if name == "loy_sink_call_seconds_count" and labels["sink"] == sink:
            found[labels["operation"], labels["status"]] += int(value)
    return found


async def _watch(bars: Progress, said: str, worker: system.Worker, sink: str, items: int) -> None:
    """What the vendor has, and the time still to go at that pace."""
    bar, began = bars.add_task(said, total=items), perf_counter()
    while True:
        metrics = await _metrics(worker)
        done = sum(
            value
            for name, labels, value in metrics
            if name == "loy_sink_items_total" and labels == {"sink": sink, "outcome": "delivered"}
        )
        left = (items - done) * (perf_counter() - began) / done if done else 0.0
        bars.update(bar, completed=done, description=f"{said}; {left:,.0f} s to go" if done else said)
        await asyncio.sleep(_PROGRESS_SECONDS)
