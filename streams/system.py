"""The whole system on one machine: a real Kafka, its topics, a published program and a worker, as processes that end with us.

`loy demo`, `loy up` and `loy bench` stand on it; so do the end-to-end tests' ideas of a fresh installation.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from schemas.program import Program
from streams.app import changelogs
from streams.broker import Broker, free_port
from streams.publishing import publish
from streams.settings import PREFIX, Settings
from streams.topic_admin import TopicError, apply_topics

STOP_SECONDS = 30


class WorkerEndedError(RuntimeError):
    """A worker ended by itself; the message tells where its log is."""


@dataclass
class Worker:
    """A worker process."""

    process: subprocess.Popen[bytes]
    log: Path
    metrics_port: int
    _out: BinaryIO = field(repr=False)

    def check(self) -> None:
        """Raises WorkerEndedError when it runs no more."""
        code = self.process.poll()
        if code is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise WorkerEndedError(f"The worker ended with code {code}. Its log, {self.log}, ends with:\n{tail}")

    def stop(self) -> int:
        """Stop it in order. Answers its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._out.close()
        return code


def start_worker(settings: Settings, name: str) -> Worker:
    """A `loy worker` of its own, with a data folder and a metrics port of its own."""
    settings.data.mkdir(parents=True, exist_ok=True)
    log, port = settings.data / f"{name}.log", free_port()
    own = settings.model_copy(update={"data": settings.data / name, "metrics_port": port})
    out = log.open("wb")
    process = subprocess.Popen(  # our own module
        [sys.executable, "-m", "streams", "worker"], env=os.environ | _environment(own), stdout=out, stderr=out
    )
    return Worker(process, log, port, out)


def _environment(settings: Settings) -> dict[str, str]:
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    values["identity_key"] = settings.identity_key.get_secret_value()
    return {PREFIX + name.upper(): str(value) for name, value in values.items() if value is not None}


async def stop_workers(workers: Sequence[Worker]) -> None:
    """Stop them side by side."""
    await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in workers))


@asynccontextmanager
async def broker(data: Path, port: int | None = None) -> AsyncIterator[str]:
    """A real Kafka on this machine, or the cluster that LOY_KAFKA_BOOTSTRAP names. Yields where it answers."""
    elsewhere = os.environ.get(PREFIX + "KAFKA_BOOTSTRAP")
    if elsewhere:
        yield elsewhere
        return
    # Started from this thread, which outlives it: Java ends with the thread that started it.
    running = Broker.start(data, port)
    try:
        yield running.bootstrap
    finally:
        await asyncio.to_thread(running.stop)


async def install(settings: Settings, *programs: Program, keep_history: bool) -> None:
    """Topics and programs, as the worker needs them. Raises TopicError, and PublishError for another body of a version."""
    report = await apply_topics(
        settings.kafka_bootstrap, settings.partitions, keep_history=keep_history, extra=changelogs(settings)
    )
    if not report.ok:
        raise TopicError("\n".join(report.errors))
    for program in programs:
        await publish(settings.kafka_bootstrap, program)
