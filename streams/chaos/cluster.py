"""Three brokers on the loopback, each a controller too, that can be killed, paused and restarted one by one.

Law: they are started from one thread that outlives them, since each ends with the thread that started it.
"""

import asyncio
import os
import signal
import uuid
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from streams.broker import HOST, Broker, Node, free_port
from streams.chaos.leaders import in_sync

T = TypeVar("T")
NODES = 3
IN_SYNC_SECONDS = 90.0
_LOOK_SECONDS = 0.3


class ClusterError(RuntimeError):
    """The cluster does not come back; the message says how far it is."""


class Cluster:
    """Running brokers, by number from 0."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, "brokers")
        ports = {id_: (free_port(), free_port()) for id_ in range(1, NODES + 1)}
        voters = {id_: controller for id_, (_, controller) in ports.items()}
        name = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self.nodes = [Node(port, controller, id_, voters, name) for id_, (port, controller) in ports.items()]
        self._running: dict[int, Broker] = {}

    @property
    def bootstrap(self) -> str:
        """Where clients connect: all of them."""
        return ",".join(f"{HOST}:{node.port}" for node in self.nodes)

    async def start(self, *numbers: int) -> None:
        """Start these brokers, side by side; back when each serves. Raises BrokerError."""
        for number in numbers:
            await self._launch(number)
        await asyncio.gather(*(asyncio.to_thread(self._running[number].wait_ready) for number in numbers))

    async def _launch(self, number: int) -> None:
        node = self.nodes[number]
        self._running[number] = await self._in_thread(lambda: Broker.launch(node, self._folder / f"broker-{node.id}"))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def kill(self, *numbers: int) -> None:
        """End these at once, as a crash would."""
        for number in numbers:
            os.kill(self._running[number].pid, signal.SIGKILL)
        await asyncio.gather(*(asyncio.to_thread(self._running[number].kill) for number in numbers))

    async def stop(self, *numbers: int) -> None:
        """End these in good order, side by side: alone none of them would find its quorum."""
        await asyncio.gather(*(asyncio.to_thread(self._running[number].stop) for number in numbers))

    @asynccontextmanager
    async def paused(self, number: int) -> AsyncIterator[None]:
        """It stands still while the block runs."""
        pid = self._running[number].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    async def in_sync(self) -> None:
        """Back when every replica has everything. Raises ClusterError after IN_SYNC_SECONDS."""
        try:
            async with asyncio.timeout(IN_SYNC_SECONDS):
                while not await in_sync(self.bootstrap):  # noqa: ASYNC110  # nothing tells
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise ClusterError(f"not every replica was in sync after {IN_SYNC_SECONDS:.0f} s") from None

    async def close(self) -> None:
        """Stop whatever runs."""
        await self.stop(*self._running)
        self._thread.shutdown()


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    """A fresh cluster for as long as the block runs. Raises BrokerError."""
    running = Cluster(folder)
    try:
        await running.start(*range(NODES))
        yield running
    finally:
        await running.close()
