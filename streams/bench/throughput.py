"""Whole path, flat out: a backlog of checks lies ready, and one worker is measured from taking the first to answering the last.

Law: what was measured is then read back and counted: one answer for each record, and the points of each check in one accrual. A
check that is missing is an error, not a slower result.
"""

import time
from collections import Counter
from dataclasses import dataclass

import orjson

from schemas.topics import CHECKS, COMMANDS, DEAD_LETTERS, EVENTS, REPLIES
from streams.baskets import Arrival
from streams.bench.processes import cpu_seconds, peak_bytes, ready
from streams.bench.topics import BenchError, Ends, between, ends, grown, of, stretch
from streams.log import Log
from streams.replay import replay
from streams.settings import Settings
from streams.system import Worker

WATCHED = tuple(topic.name for topic in (CHECKS, COMMANDS, EVENTS, REPLIES, DEAD_LETTERS))


@dataclass(frozen=True, slots=True)
class Backlog:
    """Checks that lie ready."""

    before: Ends
    """Where all topics ended before them."""
    count: int


@dataclass(frozen=True, slots=True)
class Rate:
    """What a stretch of work took. CPU is user and system time of the process, all threads."""

    checks: int
    seconds: float
    cpu_seconds: float
    broker_cpu_seconds: float = 0.0
    peak_bytes: int = 0
    ticks: int = 0
    """Commands of the clock that were decided beside the checks."""
    events: int = 0

    @property
    def per_second(self) -> float:
        """Checks a second."""
        return self.checks / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU-microseconds a check."""
        return self.cpu_seconds / self.checks * 1e6


async def lay_ready(log: Log, settings: Settings, load: list[Arrival]) -> Backlog:
    """Produce the checks while no worker runs."""
    before = await ends(log, *WATCHED)
    return Backlog(before, await replay(settings.kafka_bootstrap, load))


async def work_off(log: Log, worker: Worker, broker_pid: int, backlog: Backlog) -> Rate:
    """Measure a worker that has just been started, from the moment it takes work. Raises BenchError."""
    await ready(worker)
    first = _look(worker.process.pid, broker_pid)
    await grown(log, REPLIES.name, of(backlog.before, REPLIES.name), backlog.count, worker.check)
    last = _look(worker.process.pid, broker_pid)
    after = await ends(log, *WATCHED)
    return Rate(
        backlog.count,
        last.at - first.at,
        last.cpu - first.cpu,
        last.broker_cpu - first.broker_cpu,
        peak_bytes(worker.process.pid),
        ticks=between(backlog.before, of(after, COMMANDS.name)) - backlog.count,
        events=between(backlog.before, of(after, EVENTS.name)),
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """What was used up to a moment."""

    at: float
    cpu: float
    broker_cpu: float


def _look(worker_pid: int, broker_pid: int) -> _Look:
    return _Look(time.perf_counter(), cpu_seconds(worker_pid), cpu_seconds(broker_pid))


# ---------------------------------------------------------------- counting


async def count(log: Log, before: Ends) -> None:
    """Read back everything since `before`. Raises BenchError unless every check has its one answer and all of its points."""
    after = await ends(log, *WATCHED)
    if letters := between(before, of(after, DEAD_LETTERS.name)):
        raise BenchError(f"{letters} records became dead letters, and none of them is wrong")
    earned, again = await _answers(log, before, after)
    told: Counter[str] = Counter()
    async for record in stretch(log, before, of(after, EVENTS.name)):
        event = orjson.loads(record.value or b"")
        data = event["data"]
        if event["type"] == "LOY_POINT_ACCRUAL" and data["cause"] == data["check_id"]:  # what a budget grants comes later
            check = data["check_id"]
            told[check] += 1
            if earned.get(check) != data["points"] or told[check] > 1 + again[check]:  # a repeat tells its events again
                raise BenchError(f"{record.origin}: {event['id']} does not agree with the answer, or came twice")
    if missing := [check for check, points in earned.items() if points and not told[check]]:
        raise BenchError(f"{len(missing)} checks earned points without an event, the first is {missing[0]}")


async def _answers(log: Log, before: Ends, after: Ends) -> tuple[dict[str, int], Counter[str]]:
    """Of the checks since `before`, points by id, and how often each came again. Each was applied once, and answered alike."""
    earned: dict[str, int] = {}
    again: Counter[str] = Counter()
    origins: set[str | None] = set()
    async for record in stretch(log, before, of(after, REPLIES.name)):
        reply, outcome = orjson.loads(record.value or b""), record.header("outcome")
        check, points = reply["id"], reply["earned"]
        if outcome != ("repeated" if check in earned else "applied"):
            raise BenchError(f"{record.origin}: {check} was {outcome}: {reply['code']}")
        again[check] += check in earned
        if earned.setdefault(check, points) != points:
            raise BenchError(f"{check} was answered otherwise when it came again")
        origins.add(record.header("origin"))
    sent = between(before, of(after, CHECKS.name))
    if not len(earned) + again.total() == len(origins) == sent:
        raise BenchError(f"{sent} checks were sent, {len(earned)} answered, {again.total()} of them again")
    return earned, again
