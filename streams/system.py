"""The whole system on one machine: a real Kafka, its topics, a published program and a worker, as processes that end with us.

`loy demo`, `loy up` and `loy bench` stand on it; so do the end-to-end tests' ideas of a fresh installation.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

from connectors.sandbox import sandbox_settings
from schemas.program import Program
from streams.app import changelogs
from streams.broker import HOST, Broker, free_port
from streams.publishing import publish
from streams.settings import PREFIX, Settings
from streams.topic_admin import TopicError, apply_topics

STOP_SECONDS = 30
VENDORS = {"infobip": "infobip", "ometria": "ometria", "crm": "dataverse"}
"""By sink: the sandbox it talks to on one machine."""
WORDS_MAX = 12  # lines of a log
_DATED = re.compile(r"\d{4}-\d\d-\d\d ")


class WorkerEndedError(RuntimeError):
    """A worker ended by itself; the message tells where its log is."""


@dataclass
class Worker:
    """A process of ours: a worker, a sink, a sandbox."""

    process: subprocess.Popen[bytes]
    log: Path
    metrics_port: int
    _out: BinaryIO = field(repr=False)
    page: str = ""
    """Where a sink's vendor shows what arrived."""

    def check(self) -> None:
        """Raises WorkerEndedError when it runs no more."""
        code = self.process.poll()
        if code is not None:
            words = "\n".join(_last_words(self.log.read_text(errors="replace").splitlines()))
            raise WorkerEndedError(f"{self.log.stem} ended with code {code}. In its log, {self.log}:\n{words}")

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


def _last_words(lines: list[str]) -> list[str]:
    """Why it ended: the last critical message, with the end of its traceback. Without one, how the log ends."""
    said = next((number for number in reversed(range(len(lines))) if " CRITICAL " in lines[number]), None)
    if said is None:
        return lines[-WORDS_MAX:]
    trace = list(takewhile(lambda line: not _DATED.match(line), lines[said + 1 :]))
    return [lines[said], *trace[-WORDS_MAX:]]


def start_worker(settings: Settings, name: str, *, again: bool = False) -> Worker:
    """A `loy worker` of its own, with a data folder and a metrics port of its own. `again` goes on in its former self's log."""
    return _start(settings, name, "worker", again=again)


def start_sinks(settings: Settings) -> list[Worker]:
    """Each vendor's sandbox, and the sink that tells it: history is not too old there, since they follow the data's clock."""
    started = []
    for sink, sandbox in VENDORS.items():
        port = free_port()
        url = f"http://{HOST}:{port}"
        started.append(start_sandbox(settings, sandbox, port, clock="data"))
        started.append(start_sink(settings, sink, sandbox_settings(sandbox, url), page=url))
    return started


def start_sandbox(settings: Settings, name: str, port: int, *, clock: str) -> Worker:
    """A vendor's API on loopback, in a process of its own."""
    return _start(settings, f"sandbox-{name}", "sandbox", name, "--port", str(port), "--clock", clock)


def start_sink(settings: Settings, name: str, environment: Mapping[str, str], page: str = "") -> Worker:
    """A `loy sink` of its own; `environment` has the settings of that sink."""
    return _start(settings, f"sink-{name}", "sink", name, environment=environment, page=page)


def _start(
    settings: Settings,
    name: str,
    *command: str,
    environment: Mapping[str, str] | None = None,
    page: str = "",
    again: bool = False,
) -> Worker:
    settings.data.mkdir(parents=True, exist_ok=True)
    log, port = settings.data / f"{name}.log", free_port()
    own = settings.model_copy(update={"data": settings.data / name, "metrics_port": port})
    out = log.open("ab" if again else "wb")
    process = subprocess.Popen(  # noqa: S603  # our own module
        [sys.executable, "-m", "streams", *command],
        env=os.environ | _environment(own) | dict(environment or {}),
        stdout=out,
        stderr=out,
    )
    return Worker(process, log, port, out, page)


def _environment(settings: Settings) -> dict[str, str]:
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    values["identity_key"] = settings.identity_key.get_secret_value()
    return {PREFIX + name.upper(): str(value) for name, value in values.items() if value is not None}


async def stop_workers(workers: Sequence[Worker]) -> None:
    """Stop them side by side."""
    await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in workers))


@asynccontextmanager
async def broker(data: Path, port: int | None = None) -> AsyncIterator[str]:
    """A real Kafka on this machine, or the cluster that LOY_KAFKA_BOOTSTRAP names elsewhere. Yields where it answers."""
    named = os.environ.get(PREFIX + "KAFKA_BOOTSTRAP")
    if named and named != f"{HOST}:{port}":  # our own address is exported by whoever reached us last time
        yield named
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
