"""Workers under a supervisor, as systemd or Kubernetes would keep them: whoever ends is started again.

Law: a worker that ends by itself is no fault of the run, it is counted by its exit code; one that cannot start is tried again.
"""

import asyncio
import os
import resource
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import httpx

from streams.broker import HOST
from streams.settings import Settings
from streams.system import Worker, start_worker

RESTART_SECONDS = 1.0
"""How long the supervisor waits before it starts a worker again."""
FILE_BYTES = 32_768
"""What a file may have on a full disk: less than the write-ahead log of any store in use."""
UP_SECONDS = 60.0
_LOOK_SECONDS = 0.1


class Seat:
    """One worker's place: its name, its data folder, and whichever process sits there now."""

    def __init__(self, settings: Settings, number: int, exits: Counter[int]) -> None:
        self.name = f"worker-{number}"
        self._settings = settings
        self._exits = exits
        self._worker: Worker | None = None
        self._wanted = True
        self._full = False

    @property
    def folder(self) -> Path:
        """Its data."""
        return self._settings.data / self.name

    def start(self) -> None:
        """Put a process there."""
        self._worker = start_worker(self._settings, self.name, again=True)
        if self._full:
            self._limit(FILE_BYTES)

    async def keep(self) -> None:
        """Start it again whenever it ends, for ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._wanted and self._worker is not None and (code := self._worker.process.poll()) is not None:
                self._worker.stop()  # closes its log
                self._exits[code] += 1
                self._worker = None
            elif self._wanted and self._worker is None:
                await asyncio.sleep(RESTART_SECONDS)
                if self._wanted and self._worker is None:  # it may have been released meanwhile
                    self.start()

    async def kill(self) -> None:
        """End it at once. It stays away until `release`."""
        self._wanted = False
        if self._worker is not None:
            with suppress(ProcessLookupError):
                os.kill(self._worker.process.pid, signal.SIGKILL)
            await asyncio.to_thread(self._worker.stop)

    async def stop(self) -> int:
        """End it in good order and answer its exit code. It stays away until `release`."""
        self._wanted = False
        return await asyncio.to_thread(self._worker.stop) if self._worker is not None else 0

    def release(self) -> None:
        """Let it come back."""
        self._worker, self._wanted = None, True
        self.start()

    async def up(self) -> None:
        """Back when it says that it is ready, or after UP_SECONDS: somebody else has its work then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(UP_SECONDS), httpx.AsyncClient(timeout=2, trust_env=False) as client:
                while not await self._answers(client):  # noqa: ASYNC110  # nothing tells
                    await asyncio.sleep(_LOOK_SECONDS)

    async def _answers(self, client: httpx.AsyncClient) -> bool:
        if self._worker is None:
            return False
        with suppress(httpx.HTTPError):
            page = await client.get(f"http://{HOST}:{self._worker.metrics_port}/readyz")
            return page.is_success
        return False

    def wipe(self) -> None:
        """Its data folder is gone."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """The process stands still while the block runs."""
        pid = self._worker.process.pid if self._worker is not None else 0
        _signal(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(pid, signal.SIGCONT)

    @contextmanager
    def disk_full(self) -> Iterator[None]:
        """None of its files can grow while the block runs, whichever process sits there."""
        self._full = True
        self._limit(FILE_BYTES)
        try:
            yield
        finally:
            self._full = False
            self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        if self._worker is not None:
            with suppress(ProcessLookupError):
                _, hard = resource.prlimit(self._worker.process.pid, resource.RLIMIT_FSIZE)
                resource.prlimit(self._worker.process.pid, resource.RLIMIT_FSIZE, (size, hard))

    @contextmanager
    def unwritable(self) -> Iterator[None]:
        """A file lies in the place of its data folder while the block runs. For a worker that is away."""
        aside = self.folder.with_suffix(".aside")
        if self.folder.exists():
            self.folder.rename(aside)
        self.folder.write_text("not a folder")
        try:
            yield
        finally:
            self.folder.unlink()
            if aside.exists():
                aside.rename(self.folder)


def _signal(pid: int, number: signal.Signals) -> None:
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Fleet:
    """All workers."""

    def __init__(self, settings: Settings, count: int) -> None:
        self.exits: Counter[int] = Counter()
        """Exit codes of workers that ended by themselves."""
        self.seats = [Seat(settings, number, self.exits) for number in range(1, count + 1)]

    def seat(self, number: int) -> Seat:
        """By number, counted round."""
        return self.seats[number % len(self.seats)]


@asynccontextmanager
async def fleet(settings: Settings, count: int) -> AsyncIterator[Fleet]:
    """So many workers under a supervisor for as long as the block runs; back when the first of them works."""
    running = Fleet(settings, count)
    keepers: list[asyncio.Task[None]] = []
    try:
        for seat in running.seats:
            seat.start()
            keepers.append(asyncio.create_task(seat.keep()))
        await running.seats[0].up()
        yield running
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        await asyncio.gather(*(seat.stop() for seat in running.seats))
