"""Publishes records in time order, each with its own Kafka timestamp, as fast as asked.

Law: what is sent has the timestamp and bytes of its source; only the header `sent-at` (wall clock, ms since 1970 UTC) is
added, so that the way from till to event can be measured although the timestamps are history.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Container, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from datetime import date
from itertools import islice
from typing import Protocol, TypeVar

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.topics import IDENTITIES, INBOUND_BYTES_MAX
from streams.settings import reach

SENT_AT = "sent-at"

_BATCH_BYTES = 512 * 1024
_LINGER_MS = 5
_TAKE = 256


class Arrival(Protocol):
    """What can be replayed, see `streams.baskets.Arrival`."""

    @property
    def at_ms(self) -> int: ...
    @property
    def topic(self) -> str: ...
    @property
    def key(self) -> bytes: ...
    @property
    def value(self) -> bytes: ...
    @property
    def unless_refused(self) -> str: ...


A = TypeVar("A", bound=Arrival)


class NotRegisteredError(TimeoutError):
    """The members were not all registered in time; the message says how far it got and where to look."""


class SendError(RuntimeError):
    """Kafka did not take a record; the cause is chained."""


def speed_of(text: str) -> float | None:
    """How many times faster than life: `full` is None (no pause at all), `live` is 1, `100x` is 100. Raises ValueError."""
    if text == "full":
        return None
    number = "1" if text == "live" else text.removesuffix("x")
    try:
        speed = float(number)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1_000_000:
        raise ValueError(f"unknown speed {text!r}: say full, live, or a number such as 100x")
    return speed


def days_to_today(start: date, today: date) -> int:
    """By how many whole weeks history from `start` on must move so that it goes on today, on the same weekday."""
    return (today - start).days // 7 * 7


def from_now(source: Iterable[A], now_ms: int) -> Iterator[A]:
    """The source without what lies before `now_ms`: a live replay leaves out the part of the day that is over."""
    return (arrival for arrival in source if arrival.at_ms >= now_ms)


async def replay(
    bootstrap: str,
    source: Iterable[Arrival],
    *,
    speed: float | None = None,
    progress: Callable[[int], None] = lambda _sent: None,
    gate: Callable[[int], Awaitable[None]] | None = None,
    refused: Container[str] = frozenset(),
) -> int:
    """Send everything `source` yields, in its order, and return how many records Kafka took. Cancelling stops it cleanly.

    `speed` is how many times faster than life, by the arrivals' own times; None is as fast as can be. `gate` is awaited with
    the count so far before more is sent: `Tally.gate` lets only so many be without an answer, so that two topics stay in step
    and latency is the system's own, not that of a queue before it. `refused` holds ids of refused requests, see
    `Arrival.unless_refused`. `progress` is told the count so far. Raises SendError, and what `source` and `gate` raise.
    """
    sent = 0
    async with _outlet(bootstrap) as outlet, aclosing(_paced(source, speed)) as ready:
        async for arrivals in ready:
            if gate is not None:
                await gate(sent)
            for arrival in arrivals:
                if not arrival.unless_refused or arrival.unless_refused not in refused:
                    await outlet.send(arrival)
                    sent += 1
            progress(sent)
    return sent


async def _paced(source: Iterable[Arrival], speed: float | None) -> AsyncGenerator[list[Arrival], None]:
    """The source in pieces, each when it is due. It is read in a thread: reading a month of baskets takes a while."""
    records, began, first = iter(source), 0.0, 0
    while piece := await asyncio.to_thread(lambda: list(islice(records, _TAKE))):
        if speed is None:
            yield piece
            continue
        if not began:
            began, first = time.monotonic(), piece[0].at_ms
        for arrival in piece:
            early = began + (arrival.at_ms - first) / 1000 / speed - time.monotonic()
            if early > 0:
                await asyncio.sleep(early)
            yield [arrival]


class _Outlet:
    """A producer that remembers its first failure, so that sending need not wait for each record."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._failure: BaseException | None = None

    async def send(self, arrival: Arrival) -> None:
        self.check()
        headers = [(SENT_AT, str(time.time_ns() // 1_000_000).encode())]
        try:
            taken = await self._producer.send(
                arrival.topic, arrival.value, key=arrival.key or None, timestamp_ms=arrival.at_ms, headers=headers
            )
        except KafkaError as failure:
            raise _not_taken(failure) from failure
        taken.add_done_callback(self._note)

    def _note(self, taken: asyncio.Future[object]) -> None:
        if not taken.cancelled() and self._failure is None:
            self._failure = taken.exception()

    def check(self) -> None:
        if self._failure is not None:
            raise _not_taken(self._failure) from self._failure


def _not_taken(cause: BaseException) -> SendError:
    return SendError(f"Kafka did not take a record: {cause!r}")


@asynccontextmanager
async def _outlet(bootstrap: str) -> AsyncIterator[_Outlet]:
    """Open until left; then everything sent is with the broker, or SendError says why not."""
    producer = AIOKafkaProducer(
        **reach(bootstrap),
        client_id="loy-replay",
        acks="all",
        enable_idempotence=True,
        linger_ms=_LINGER_MS,
        max_batch_size=_BATCH_BYTES,
        max_request_size=INBOUND_BYTES_MAX,
    )
    await producer.start()
    outlet = _Outlet(producer)
    try:
        yield outlet
    finally:
        await producer.stop()  # sends what is still waiting
    outlet.check()


async def await_registered(bootstrap: str, identifiers: int, *, seconds: float = 60, topic: str = IDENTITIES.name) -> None:
    """Return when `loy.identities` holds that many identifiers beside loyalty ids. Raises NotRegisteredError."""
    part = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(**reach(bootstrap), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest")
    known: set[bytes] = set()
    try:
        async with asyncio.timeout(seconds):
            await consumer.start()
            consumer.assign([part])
            while len(known) < identifiers:
                for record in (await consumer.getmany(timeout_ms=200)).get(part, []):
                    _note_identity(known, record.key, record.value)
    except TimeoutError:
        raise NotRegisteredError(
            f"{len(known)} of {identifiers} identifiers were registered within {seconds:.0f} s. "
            f"Is a worker running? What it could not take is shown by `loy dead-letters list`."
        ) from None
    finally:
        await consumer.stop()


def _note_identity(known: set[bytes], key: bytes, value: bytes | None) -> None:
    if value is None:
        known.discard(key)
    elif orjson.loads(value)["kind"] != "loyalty":
        known.add(key)
