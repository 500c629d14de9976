"""One run of chaos from a fresh cluster to its verdict: `loy chaos`.

Law: the seed decides the faults and every byte the tills send; what the machine makes of their coincidence is its own.
"""

import asyncio
import shutil
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console

from streams import system
from streams.app import changelogs
from streams.chaos.cluster import Cluster, cluster
from streams.chaos.faults import Faults
from streams.chaos.fleet import Fleet, fleet
from streams.chaos.judge import judge
from streams.chaos.oracle import as_program
from streams.chaos.report import Report
from streams.chaos.schedule import Kind, plan
from streams.chaos.sending import Line
from streams.chaos.tills import RATE, RULES, Tills, card
from streams.rebuild import StateHash, rebuilt_hash, state_hash
from streams.settings import Settings
from streams.verify import verify

PARTITIONS = 6
SESSION_SECONDS = 6.0
ANSWER_SECONDS = 180.0
REST_SECONDS = 60.0
RECORDS_A_MEMBER = 20
JOIN_RATE = 400.0


async def chaos(
    console: Console, settings: Settings, *, seed: int, minutes: float, workers: int, only: Kind | None = None, keep: bool = False
) -> Report:
    """Faults for so many minutes, then the verdict. Raises BrokerError, ClusterError.

    The folder with all logs stays when something was wrong, or when asked for.
    """
    folder = settings.data / "chaos"
    shutil.rmtree(folder, ignore_errors=True)
    async with AsyncExitStack() as stack:
        run = await _Run.begin(stack, settings, folder, workers, console.print)
        report = await run.through(seed, minutes, only)
    if keep or not report.ok:
        console.print(f"What brokers and workers said is in {folder}.")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return report


class _Run:
    """A cluster, its workers, and what is done to them."""

    def __init__(self, settings: Settings, nodes: Cluster, workers: Fleet, line: Line, tell: Callable[[str], None]) -> None:
        self._settings = settings
        self._line = line
        self._fleet = workers
        self._tell = tell
        self._faults = Faults(nodes, workers, settings.session_seconds, tell)

    @classmethod
    async def begin(
        cls, stack: AsyncExitStack, settings: Settings, folder: Path, workers: int, tell: Callable[[str], None]
    ) -> "_Run":
        """Start everything."""
        tell("Starting three brokers ...")
        nodes = await stack.enter_async_context(cluster(folder / "kafka"))
        changes = {
            "kafka_bootstrap": nodes.bootstrap,
            "data": folder,
            "group": "chaos",
            "partitions": PARTITIONS,
            "clock": "stream",
            "clock_seconds": 0.05,
            "backlog_minutes": 10.0,
            "session_seconds": SESSION_SECONDS,
            "store": "rocksdb",
        }
        own = settings.model_copy(update=changes)
        await system.install(own, as_program(RULES), keep_history=True)
        tell(f"Starting {workers} workers ...")
        running = await stack.enter_async_context(fleet(own, workers))
        line = await stack.enter_async_context(Line(nodes.bootstrap).open())
        return cls(own, nodes, running, line, tell)

    async def through(self, seed: int, minutes: float, only: Kind | None) -> Report:
        """Members join; tills and faults run side by side; everything comes to rest and is judged."""
        seconds = minutes * 60
        faults = plan(seed, seconds, only)
        tills = Tills(seed, max(60, int(RATE * seconds) // RECORDS_A_MEMBER), only)
        await self._line.send_all(tills.joining(), JOIN_RATE)
        await self._line.answered(ANSWER_SECONDS)
        self._tell(f"{len(tills.members):,} members shop; {len(faults)} faults are planned (seed {seed}).")
        ends = time.monotonic() + seconds
        try:
            async with asyncio.TaskGroup() as side_by_side:
                striking = side_by_side.create_task(self._faults.carry_out(faults, seconds))
                shopping = tills.shopping(lambda: not striking.done() or time.monotonic() < ends)
                side_by_side.create_task(self._line.send_all(shopping, RATE))
        except ExceptionGroup as failures:
            raise _first(failures) from failures
        last = time.monotonic()
        answered = await self._line.answered(ANSWER_SECONDS)
        caught_up = time.monotonic() - last
        self._tell("Everything is answered; judging." if answered else "Not everything is answered; judging.")
        return await self._judged(seed, minutes, tills, caught_up, all_answered=answered)

    async def _judged(self, seed: int, minutes: float, tills: Tills, caught_up: float, *, all_answered: bool) -> Report:
        bootstrap = self._settings.kafka_bootstrap
        stored, rebuilt = await self._rest()
        findings = await verify(bootstrap)
        members = {card(member): member for member in tills.members} | {member: member for member in tills.members}
        changelog = changelogs(self._settings)[0].name
        return Report(
            seed=seed,
            minutes=minutes,
            workers=len(self._fleet.seats),
            sent=self._line.sent.total(),
            resent=self._line.resent,
            mishaps=tills.mishaps,
            struck=self._faults.struck,
            exits=self._fleet.exits,
            answers=self._line.answers,
            catch_up=caught_up,
            all_answered=all_answered,
            verdict=await judge(bootstrap, changelog, RULES, members, self._line.sent),
            findings=findings,
            stored=stored,
            rebuilt=rebuilt,
        )

    async def _rest(self) -> tuple[StateHash, StateHash]:
        """The hash of the accounts and of those rebuilt from the log, once they agree, or after REST_SECONDS."""
        end = time.monotonic() + REST_SECONDS
        while True:
            stored = await state_hash(self._settings.kafka_bootstrap, self._settings.group)
            rebuilt = await rebuilt_hash(self._settings.kafka_bootstrap)
            if stored == rebuilt or time.monotonic() > end:
                return stored, rebuilt
            await asyncio.sleep(0.5)


def _first(failure: Exception) -> Exception:
    """The first one of a group, however deep: what is told to people."""
    while isinstance(failure, ExceptionGroup):
        failure = failure.exceptions[0]
    return failure
