"""`loy up` as a process of its own, on a free port and fresh data, for tests that try the product as its users do."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from streams.broker import free_port

ROOT = Path(__file__).parents[1]
DEADLINE = 60.0
LIVING = frozenset(f"tests/streams/test_{name}.py" for name in ("explain", "feeding", "monitoring", "publishing", "system"))
"""Files that look at the one living system of the fixture `history`, which takes long to make."""


@dataclass(frozen=True)
class Living:
    bootstrap: str
    process: subprocess.Popen[bytes]
    out: Path

    def environment(self) -> dict[str, str]:
        """For programs that are to talk to it."""
        return clean_environment() | {"LOY_KAFKA_BOOTSTRAP": self.bootstrap}

    def said(self) -> str:
        return self.out.read_text(errors="replace")

    def children(self) -> list[int]:
        """Process ids of its broker and workers."""
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in listed.stdout.split()]

    def loy(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of a user who set LOY_KAFKA_BOOTSTRAP."""
        command = [sys.executable, "-m", "streams", *words]
        return subprocess.run(command, cwd=ROOT, env=self.environment(), capture_output=True, text=True, check=False, timeout=120)


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LOY_") or name == "LOY_CACHE"}


def until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {DEADLINE:.0f} s in vain: {what()}")
        time.sleep(0.05)


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@contextlib.contextmanager
def living(folder: Path, *options: str, monitoring: bool = False) -> Iterator[Living]:
    """The system, once it says that it is up. At the end of the block it is stopped, and must leave nothing running."""
    port, out = free_port(), folder / "up.out"
    environment = clean_environment() | {
        "LOY_DATA": str(folder / "data"),
        "LOY_PARTITIONS": "4",
        "LOY_MONITORING": str(monitoring),
    }
    with out.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams", "up", "--port", str(port), "--no-sinks", *options],
            cwd=ROOT,
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # the shell may have it ignored
        )
    system = Living(f"127.0.0.1:{port}", process, out)
    try:
        until(lambda: "Stop it" in system.said() or process.poll() is not None, system.said)
        assert process.poll() is None, system.said()
        yield system
    finally:
        children = system.children()
        process.terminate()
        process.wait(DEADLINE)
        until(lambda: not any(map(alive, children)), lambda: f"{children} end")
