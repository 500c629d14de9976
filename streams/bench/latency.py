"""Latency from till to event: a steady sender beside a worker that has nothing else to do, and a reader of the events.

Both ends are timed by the same wall clock: the moment a check was due, and the moment its event was read.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from schemas.topics import EVENTS, REPLIES
from streams.bench.processes import Theft, child
from streams.bench.topics import BenchError, Ends, ends, grown, of
from streams.log import Log
from streams.replay import SENT_AT
from streams.report import Latencies
from streams.settings import reach


@dataclass(frozen=True, slots=True)
class Delay:
    """What a rate gave. Milliseconds."""

    rate: float
    checks: int
    events: int
    p50: int
    p99: int
    p999: int
    late_ms: float
    """By how much the sender was late at worst; it is part of the latency of that check."""
    stolen: float
    """The share of the cores that the host gave to others meanwhile, 0 to 1."""


async def delay(log: Log, bootstrap: str, path: Path, rate: float, check: Callable[[], None]) -> Delay:
    """Send the saved load at `rate` a second, and time its events. Raises BenchError."""
    before = await ends(log, EVENTS.name, REPLIES.name)
    theft = Theft()
    ear = Ear(bootstrap, of(before, EVENTS.name))
    listening = asyncio.create_task(ear.listen())
    try:
        told = await child("streams.bench.sender", bootstrap, str(path), str(rate))
        sent = int(told["sent"])
        await grown(log, REPLIES.name, of(before, REPLIES.name), sent, check)
        if listening.done():
            await listening  # raises what ended it
        await ear.reach(await ends(log, EVENTS.name))
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    p50, p99, p999 = ear.latencies.percentiles(0.5, 0.99, 0.999)
    return Delay(rate, sent, len(ear.latencies), p50, p99, p999, told["late_ms"], theft.share())


class Ear:
    """Reads events from where they ended, and notes how old each one's check is."""

    def __init__(self, bootstrap: str, since: Ends) -> None:
        self._consumer = AIOKafkaConsumer(**reach(bootstrap), enable_auto_commit=False, fetch_max_wait_ms=20)
        self._at = dict(since)
        self._moved = asyncio.Condition()
        self.latencies = Latencies()

    async def listen(self) -> None:
        """Until cancelled."""
        await self._consumer.start()
        self._consumer._fetcher._fetcher_timeout = 0.02  # noqa: SLF001 - else L10 (runtime/repairs.py) makes the reader 200 ms late
        try:
            self._consumer.assign(list(self._at))
            for part, end in self._at.items():
                self._consumer.seek(part, end)
            while True:
                await self._take()
        finally:
            await self._consumer.stop()

    async def _take(self) -> None:
        batches = await self._consumer.getmany(timeout_ms=1000)
        now_ms = time.time() * 1000
        for part, records in batches.items():
            for record in records:
                for name, value in record.headers:
                    if name == SENT_AT:
                        self.latencies.add(round(now_ms - int(value)))
            self._at[part] = records[-1].offset + 1
        async with self._moved:
            self._moved.notify_all()

    async def reach(self, ends: Ends, seconds: float = 30) -> None:
        """Back when everything up to `ends` was read. Raises BenchError."""
        try:
            async with asyncio.timeout(seconds), self._moved:
                await self._moved.wait_for(lambda: all(self._at[part] >= end for part, end in ends.items()))
        except TimeoutError:
            raise BenchError("the events could not be read to their end") from None


def rank(values: Iterable[float], share: float) -> float:
    """The value that so large a share does not exceed; 0 of none."""
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
