"""`loy up`: the whole system on this machine, until a signal."""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console

from streams import system
from streams.program_files import SHIPPED, load_program
from streams.settings import Settings


async def up(console: Console, settings: Settings, *, port: int, workers: int, program: Path | None) -> None:
    """Broker, topics, program and workers; then wait. Raises WorkerEndedError when a worker ends by itself."""
    async with AsyncExitStack() as stack:
        bootstrap = await stack.enter_async_context(system.broker(settings.data / "kafka", port))
        running = settings.model_copy(update={"kafka_bootstrap": bootstrap})
        await system.install(running, load_program(program or SHIPPED / "grocer.yaml"), keep_history=True)
        processes = [system.start_worker(running, f"worker-{n}") for n in range(1, workers + 1)]
        for worker in processes:
            stack.callback(worker.stop)
        _announce(console, running, processes)
        await _until_signalled(processes)
        console.print("Stopping ...")


def _announce(console: Console, settings: Settings, processes: list[system.Worker]) -> None:
    console.print(f"Kafka      {settings.kafka_bootstrap}", highlight=False)
    for worker in processes:
        console.print(f"Worker     metrics http://127.0.0.1:{worker.metrics_port}/metrics, log {worker.log}", highlight=False)
    console.print(
        f"Feed it    LOY_KAFKA_BOOTSTRAP={settings.kafka_bootstrap} loy seed; then loy replay --speed live\n"
        f"Prove it   LOY_KAFKA_BOOTSTRAP={settings.kafka_bootstrap} loy verify\n"
        "Stop it    Ctrl-C; data stays",
        highlight=False,
    )


async def _until_signalled(processes: list[system.Worker]) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    while not asked.is_set():
        for worker in processes:
            worker.check()
        try:
            await asyncio.wait_for(asked.wait(), 1)
        except TimeoutError:
            continue
