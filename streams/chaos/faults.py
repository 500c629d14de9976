"""Each kind of fault, done and healed. Law: whatever happens in between, what was stopped runs again afterwards."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from aiokafka.errors import KafkaError

from streams.chaos.cluster import NODES, Cluster
from streams.chaos.fleet import Fleet
from streams.chaos.leaders import LeaderError, move_leaders
from streams.chaos.schedule import BROKERS, WORKERS, Fault, Kind

_TRIES = 20


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that was done. Times by the monotonic clock, in seconds."""

    fault: Fault
    began: float
    healed: float


class Faults:
    """What a plan can do to this cluster and these workers."""

    def __init__(self, cluster: Cluster, fleet: Fleet, session_seconds: float, tell: Callable[[str], None]) -> None:
        self.struck: list[Struck] = []
        self._cluster = cluster
        self._fleet = fleet
        self._session = session_seconds
        self._tell = tell
        self._seconds = 0.0

    async def carry_out(self, plan: Sequence[Fault], seconds: float) -> None:
        """What of it comes to pass within so many seconds, and each kind once; back when everything is healed.

        Raises ClusterError when the cluster does not come back.
        """
        self._seconds = seconds
        began = time.monotonic()
        async with asyncio.TaskGroup() as lanes:
            lanes.create_task(self._lane([fault for fault in plan if fault.kind in WORKERS], began))
            lanes.create_task(self._lane([fault for fault in plan if fault.kind in BROKERS], began))

    async def _lane(self, faults: Sequence[Fault], began: float) -> None:
        for fault in faults:
            await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
            if time.monotonic() > began + self._seconds and any(one.fault.kind is fault.kind for one in self.struck):
                continue  # healing took longer than planned
            self._tell(f"{time.monotonic() - began:6.1f} s  {fault.kind}")
            at = time.monotonic()
            await self._strike[fault.kind](self, fault)
            self.struck.append(Struck(fault, at, time.monotonic()))

    # ------------------------------------------------------------ workers

    async def _kill_worker(self, fault: Fault) -> None:
        seat = self._fleet.seat(fault.target)
        await seat.kill()
        if fault.wiped:
            seat.wipe()
        await asyncio.sleep(fault.seconds)
        seat.release()
        await seat.up()

    async def _pause_worker(self, fault: Fault) -> None:
        async with self._fleet.seat(fault.target).paused():
            await asyncio.sleep(fault.seconds * self._session)

    async def _roll_workers(self, fault: Fault) -> None:
        for seat in self._fleet.seats:
            code = await seat.stop()
            self._fleet.exits[code] += 1
            await asyncio.sleep(fault.seconds)
            seat.release()
            await seat.up()

    async def _fill_disk(self, fault: Fault) -> None:
        seat = self._fleet.seat(fault.target)
        with seat.disk_full():
            await asyncio.sleep(fault.seconds)
        await seat.up()

    async def _block_store(self, fault: Fault) -> None:
        seat = self._fleet.seat(fault.target)
        await seat.kill()
        with seat.unwritable():
            seat.release()
            await asyncio.sleep(fault.seconds)
            await seat.kill()
        seat.release()
        await seat.up()

    # ------------------------------------------------------------ brokers

    async def _kill_broker(self, fault: Fault) -> None:
        number = fault.target % NODES
        await self._cluster.kill(number)
        await asyncio.sleep(fault.seconds)
        await self._cluster.start(number)
        await self._cluster.in_sync()

    async def _lose_brokers(self, fault: Fault) -> None:
        numbers = [fault.target % NODES, (fault.target + 1) % NODES]
        await self._cluster.kill(*numbers)
        await asyncio.sleep(fault.seconds)
        await self._cluster.start(*numbers)
        await self._cluster.in_sync()

    async def _pause_broker(self, fault: Fault) -> None:
        async with self._cluster.paused(fault.target % NODES):
            await asyncio.sleep(fault.seconds)
        await self._cluster.in_sync()

    async def _roll_brokers(self, _: Fault) -> None:
        for number in range(NODES):
            await self._cluster.stop(number)
            await self._cluster.start(number)
            await self._cluster.in_sync()

    async def _move_leaders(self, fault: Fault) -> None:
        for attempt in range(_TRIES):
            try:
                moved = await move_leaders(self._cluster.bootstrap, Random(fault.target))  # noqa: S311  # to be had again
            except (KafkaError, LeaderError, OSError, TimeoutError) as failure:
                if attempt == _TRIES - 1:
                    raise
                self._tell(f"          leaders stay: {failure}")
                await asyncio.sleep(0.5)
            else:
                self._tell(f"          {moved} leaders moved")
                return

    _strike: Mapping[Kind, Callable[["Faults", Fault], Awaitable[None]]] = {
        Kind.WORKER_KILLED: _kill_worker,
        Kind.WORKER_PAUSED: _pause_worker,
        Kind.WORKERS_ROLLED: _roll_workers,
        Kind.DISK_FULL: _fill_disk,
        Kind.STORE_UNWRITABLE: _block_store,
        Kind.BROKER_KILLED: _kill_broker,
        Kind.BROKERS_LOST: _lose_brokers,
        Kind.BROKER_PAUSED: _pause_broker,
        Kind.BROKERS_ROLLED: _roll_brokers,
        Kind.LEADERS_MOVED: _move_leaders,
    }
