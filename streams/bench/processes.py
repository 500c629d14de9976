"""Processes beside us: what they have used, by the Linux kernel's own account (proc(5)), and helpers that answer in JSON."""

import asyncio
import gc
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from streams.bench.topics import BenchError
from streams.system import Worker

_SCHEDULED = 2  # which of a process's clocks, as clock_getcpuclockid(3) of Linux numbers them
_TICK = os.sysconf("SC_CLK_TCK")
_READY = "Worker ready"
_READY_SECONDS = 600
_LOOK_SECONDS = 0.02
_REST_SECONDS = 20
_REST_CPU = 0.1  # seconds a second


def cpu_seconds(pid: int) -> float:
    """User and system time of a running process, of all its threads, seconds; proc(5) would count it in ticks of 10 ms."""
    return time.clock_gettime(~pid << 3 | _SCHEDULED)


def peak_bytes(pid: int) -> int:
    """The largest resident size the process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


class Theft:
    """What other machines of the same host take away from this one's cores, from the making of this on."""

    def __init__(self) -> None:
        self._began, self._stolen = time.monotonic(), _stolen_seconds()

    def share(self) -> float:
        """Of all the time of all cores until now, how much was wanted here and given to others, 0 to 1."""
        wall = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return (_stolen_seconds() - self._stolen) / wall


def _stolen_seconds() -> float:
    """Since boot, of all cores. The kernel knows it where the hypervisor says so; elsewhere it is 0."""
    return int(Path("/proc/stat").read_text().split(maxsplit=9)[8]) / _TICK


def folder_bytes(folder: Path) -> int:
    """What the files below a folder take up on disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


@contextmanager
def heap_at_rest() -> Iterator[None]:
    """Garbage is looked for among new objects only: a large heap of what was measured before would make whoever reads late."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def standing_still(*pids: int) -> Iterator[None]:
    """The processes stop for so long. Shorter than a session, or they lose their partitions."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """The work goes on while the block runs, and ends with it. Raises at the end what it raised."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for failure in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(failure, Exception):
                raise failure


async def at_rest(pid: int) -> None:
    """Back when the process does next to nothing any more: a Java virtual machine compiles on when the work is done."""
    used, deadline = cpu_seconds(pid), time.monotonic() + _REST_SECONDS
    while time.monotonic() < deadline:
        await asyncio.sleep(1)
        used, before = cpu_seconds(pid), used
        if used - before < _REST_CPU:
            return


async def ready(worker: Worker) -> None:
    """Back when the worker takes work. Raises WorkerEndedError and BenchError."""
    deadline = time.monotonic() + _READY_SECONDS
    while _READY not in worker.log.read_text(errors="replace"):
        worker.check()
        if time.monotonic() > deadline:
            raise BenchError(f"the worker was not ready within {_READY_SECONDS} s; its log is {worker.log}")
        await asyncio.sleep(_LOOK_SECONDS)


async def child(module: str, *arguments: str) -> dict[str, float]:
    """Run a module as a process of its own; answers the JSON it prints. Raises BenchError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, complaint = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        raise BenchError(f"{module} ended with code {process.returncode}:\n{complaint.decode()[-2000:]}")
    figures: dict[str, float] = json.loads(out)
    return figures
