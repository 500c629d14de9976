"""Processes of ours that a test starts, kills and listens to."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.request

DEADLINE = 60.0


async def until(condition, what, seconds=DEADLINE):
    """Wait for a condition (plain or async); fail with its name, which may be a function."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what() if callable(what) else what}")
        await asyncio.sleep(0.05)


class Process:
    """`loy COMMAND` with a data folder and a metrics port of its own; its log is beside the folder."""

    def __init__(self, command, settings, name, environment=None, module="streams"):
        self._module = module
        self.settings = settings.model_copy(update={"data": settings.data / name})
        self.log = settings.data / f"{name}.log"
        self._command = command
        self._environment = environment or {}

    def start(self):
        values = self.settings.model_dump(exclude={"identity_key"}, exclude_none=True)
        own = {f"LOY_{name.upper()}": str(value) for name, value in values.items()}
        with self.log.open("ab") as out:
            command = [sys.executable, "-m", self._module, *self._command]
            env = os.environ | own | self._environment
            self.process = subprocess.Popen(command, env=env, stdout=out, stderr=out)
        return self

    def said(self):
        return self.log.read_text(errors="replace")

    @property
    def running(self):
        return self.process.poll() is None

    async def ready(self, times=1):
        """Wait until it has taken up its partitions for the n-th time."""
        await until(lambda: self.said().count("Worker ready") >= times or not self.running, f"{self.log} ready")
        assert self.running, self.said()[-3000:]
        return self

    async def ended(self):
        await until(lambda: not self.running, f"{self.log} ends")
        return self.process.returncode

    async def stop(self):
        """Ask it to stop in good order; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self):
        self.process.kill()
        await self.ended()

    def end(self):
        """Whatever it does; pytest shows what it said when the test failed."""
        if self.running:
            self.process.kill()
        self.process.wait()
        print(f"---- {self.log}\n{self.said()[-3000:]}")  # noqa: T201  # pytest shows it when the test failed

    async def metrics(self):
        """Every series with its value, as scraped."""
        url = f"http://127.0.0.1:{self.settings.metrics_port}/metrics"

        def scrape():
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.read().decode()

        lines = (await asyncio.to_thread(scrape)).splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))}
