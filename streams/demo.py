"""`loy demo` (what `make run` runs): weeks of real-looking baskets through a real Kafka and a real worker, then the proof.

It ends by itself and leaves nothing running and nothing behind. `loy up` is the one that stays.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.rule import Rule

from streams import report, system, vendors
from streams.baskets import enrolments, identifiers, weeks
from streams.feeding import journey
from streams.program_files import SHIPPED, load_program
from streams.replay import await_registered, replay
from streams.settings import Settings
from streams.verify import Findings, verify

T = TypeVar("T")
PROGRAM = SHIPPED / "grocer.yaml"
PARTITIONS = 4


async def demo(console: Console, settings: Settings, *, last_week: int) -> bool:
    """Show it working on weeks 1 to `last_week`. Answers whether the proof held."""
    folder = settings.data / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        async with system.broker(folder / "kafka") as bootstrap:
            changes = {"kafka_bootstrap": bootstrap, "data": folder, "clock": "stream", "partitions": PARTITIONS}
            found = await _show(console, settings.model_copy(update=changes), last_week)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found.ok


async def _show(console: Console, settings: Settings, last_week: int) -> Findings:
    console.print(Rule("Loystream: a check becomes points, on the log"))
    console.print(f"Apache Kafka answers at {settings.kafka_bootstrap}; program {PROGRAM.name}; one worker.")
    await system.install(settings, load_program(PROGRAM), keep_history=True)
    # The worker goes on until all is proven: when the last reply is there, budgets may still be asked and answer.
    async with worker(settings) as running, vendors.beside(settings) as sinks:
        async with report.listening(settings.kafka_bootstrap) as tally:
            await feed(console, settings, tally, running, last_week)
            console.print("Waiting for Infobip, Ometria and the CRM (sandboxes, inside the vendors' limits) ...")
            await vendors.drained(settings)
            found = await vendors.arrived(sinks)
        console.print(report.render(tally, f"Weeks 1 to {last_week} of the Complete Journey baskets (simulated by their source)"))
        console.print(found)
        console.print("Proving it from the topics alone (`loy verify`) ...")
        findings = await verify(settings.kafka_bootstrap)
        console.print(findings.render())
    return findings


@asynccontextmanager
async def worker(settings: Settings) -> AsyncIterator[system.Worker]:
    """A worker for as long as the block runs."""
    running = system.start_worker(settings, "worker")
    try:
        yield running
    finally:
        await asyncio.to_thread(running.stop)


async def feed(console: Console, settings: Settings, tally: report.Tally, running: system.Worker, last_week: int) -> None:
    """Register the households, then replay the weeks; back when every record has its answer."""
    bootstrap = settings.kafka_bootstrap
    households = list(enrolments())
    with _bars(console) as bars:
        joined = bars.add_task(f"{len(households):,} households join", total=len(households))
        await replay(bootstrap, households, progress=lambda n: bars.update(joined, completed=n))
        await _with(running, await_registered(bootstrap, identifiers()))
        arrivals = list(journey(weeks(1, last_week)))
        shopping = bars.add_task(f"{len(arrivals):,} receipts and requests", total=len(arrivals))
        sent = await _with(
            running,
            replay(
                bootstrap,
                arrivals,
                gate=tally.gate(),
                refused=tally.refused,
                progress=lambda n: bars.update(shopping, completed=n),
            ),
        )
        bars.update(shopping, total=sent, completed=sent)
        await _with(running, tally.reach(len(households) + sent))


async def _with(running: system.Worker, work: Awaitable[T]) -> T:
    """Do the work; when the worker ends meanwhile, say that instead of waiting for what will never come."""
    doing = asyncio.ensure_future(work)
    while not doing.done():
        await asyncio.wait({doing}, timeout=1)
        try:
            running.check()
        except system.WorkerEndedError:
            doing.cancel()
            raise
    return doing.result()


def _bars(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console)
