"""`loy up`: the whole system on this machine, until a signal."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console

from streams import monitoring, system, vendors
from streams.program_files import SHIPPED, load_program
from streams.settings import Settings


async def up(console: Console, settings: Settings, *, port: int, workers: int, sinks: bool, program: Path | None) -> None:
    """Broker, topics, program and workers, until this task is cancelled: that is how it ends, and no error.

    Raises WorkerEndedError when a worker ends by itself.
    """
    try:
        async with AsyncExitStack() as stack:
            running = await _started(stack, settings, port, program)
            processes: list[system.Worker] = []
            stack.push_async_callback(system.stop_workers, processes)
            for number in range(1, workers + 1):
                processes.append(system.start_worker(running, f"worker-{number}"))  # noqa: PERF401  # each is stopped, come what may
            if sinks:
                processes.extend(system.start_sinks(running))
                await vendors.leased(running)  # before, what happens would be history to them
            _announce(console, running, processes, _watched(stack, running, processes))
            await _watch(console, processes)
    except asyncio.CancelledError:
        console.print("Stopped.")


async def _started(stack: AsyncExitStack, settings: Settings, port: int, program: Path | None) -> Settings:
    """Kafka runs, with topics and a program; the settings to reach it."""
    bootstrap = await stack.enter_async_context(system.broker(settings.data / "kafka", port))
    running = settings.model_copy(update={"kafka_bootstrap": bootstrap})
    await system.install(running, load_program(program or SHIPPED / "grocer.yaml"), keep_history=True)
    return running


def _watched(stack: AsyncExitStack, settings: Settings, processes: list[system.Worker]) -> list[monitoring.Onlooker]:
    """Prometheus and Alertmanager look on, where they are installed and wanted."""
    if not settings.monitoring:
        return []
    ports = {process.log.stem: process.metrics_port for process in processes if "sandbox" not in process.log.stem}
    onlookers = monitoring.start(settings, ports)
    for onlooker in onlookers:
        stack.callback(onlooker.stop)
    return onlookers


def _announce(console: Console, settings: Settings, processes: list[system.Worker], onlookers: list[monitoring.Onlooker]) -> None:
    rows = [("Kafka", settings.kafka_bootstrap)]
    rows += [(process.log.stem, _about(process)) for process in processes if "sandbox" not in process.log.stem]
    rows += [(onlooker.name.capitalize(), onlooker.url) for onlooker in onlookers]
    if settings.kafka_bootstrap != Settings.model_fields["kafka_bootstrap"].default:
        rows.append(("Reach it", f"export LOY_KAFKA_BOOTSTRAP={settings.kafka_bootstrap}"))
    speed = "full" if settings.clock == "stream" else "live"
    rows += [
        ("Feed it", f"loy seed && loy replay --speed {speed}"),
        ("Prove it", "loy verify"),
        ("Stop it", f"Ctrl-C; data stays in {settings.data}"),
    ]
    said = "\n".join(f"{label:<13} {text}" for label, text in rows)
    console.print(said, highlight=False, markup=False, soft_wrap=True)


def _about(process: system.Worker) -> str:
    page = f", what arrived: {process.page}" if process.page else ""
    return f"http://127.0.0.1:{process.metrics_port}/metrics, log {process.log}{page}"


async def _watch(console: Console, processes: list[system.Worker]) -> None:
    """For ever, while all workers live."""
    try:
        while True:
            for worker in processes:
                worker.check()
            await asyncio.sleep(1)
    except asyncio.CancelledError:
        console.print("Stopping ...")
        raise
