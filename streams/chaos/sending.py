"""Tills that do not give up: what is not acknowledged is sent again until it is, and how long each answer took is known.

Law: a record counts as sent when the broker has acknowledged it; from then on its answer is owed.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas.topics import DEAD_LETTERS, REPLIES
from streams.chaos.tills import Entry
from streams.log import open_log

REQUEST_MS = 10_000
BYTES_MAX = 2_000_000
NOTED_SECONDS = 0.1
"""A shorter silence is none."""
_AGAIN_SECONDS = 0.2
_POLL_MS = 100


class Answers:
    """Who waits for an answer since when, and the silences between answers. Times by the monotonic clock, in seconds."""

    def __init__(self) -> None:
        self.silences: list[tuple[float, float]] = []
        """From, to (those above NOTED_SECONDS): while somebody waited and nobody got an answer."""
        self.worst_wait = 0.0
        self.waiting: dict[str, float] = {}
        """Since when, by origin."""
        self._early: set[str] = set()
        """Answered before their acknowledgement was seen."""
        self._progress = time.monotonic()

    def owed(self, origin: str, since: float) -> None:
        """The log holds this record; its till has waited since then."""
        if origin in self._early:
            self._early.remove(origin)
            return
        if not self.waiting:
            self._progress = time.monotonic()
        self.waiting[origin] = since

    def heard(self, origin: str) -> None:
        """An answer, perhaps one more of the same."""
        now, since = time.monotonic(), self.waiting.pop(origin, None)
        if now - self._progress > NOTED_SECONDS:
            self.silences.append((self._progress, now))
        self._progress = now
        if since is None:
            self._early.add(origin)
        else:
            self.worst_wait = max(self.worst_wait, now - since)

    def worst_silence(self, since: float = 0.0, until: float = float("inf")) -> float:
        """The longest one that overlaps the time given."""
        return max((_length(one) for one in self.silences if one[1] >= since and one[0] <= until), default=0.0)


def _length(span: tuple[float, float]) -> float:
    return span[1] - span[0]


class Line:
    """The line between tills and cluster: sends, sends again, and listens."""

    def __init__(self, bootstrap: str) -> None:
        self.answers = Answers()
        self.sent: Counter[tuple[str, bytes | None, bytes | None]] = Counter()
        """Acknowledged records: topic, key, value."""
        self.resent = 0
        """How often a till had to send again, because no acknowledgement came."""
        self._bootstrap = bootstrap
        self._underway: set[asyncio.Task[None]] = set()
        self._producer = _producer(bootstrap)

    async def send_all(self, entries: Iterable[Entry], rate: float) -> None:
        """Send so many a second, bursts at once; back when everything is under way."""
        due = time.monotonic()
        for entry in entries:
            if not entry.at_once:
                due = max(due + 1 / rate, time.monotonic() - 1)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._send(entry))
            self._underway.add(task)
            task.add_done_callback(self._underway.discard)

    async def _send(self, entry: Entry) -> None:
        since = time.monotonic()
        while True:
            try:
                done = await self._producer.send_and_wait(
                    entry.topic, entry.value, entry.key, timestamp_ms=max(0, entry.timestamp_ms)
                )
                break
            except (KafkaError, TimeoutError):
                self.resent += 1
                await asyncio.sleep(_AGAIN_SECONDS)
        self.sent[entry.topic, entry.key, entry.value] += 1
        self.answers.owed(f"{done.topic}/{done.partition}/{done.offset}", since)

    async def acknowledged(self) -> None:
        """Back when everything under way is in the log."""
        while self._underway:
            await asyncio.wait(self._underway, timeout=1)

    async def answered(self, seconds: float) -> bool:
        """Back when nobody waits any more; False when somebody still does after so long."""
        end = time.monotonic() + seconds
        while self.answers.waiting or self._underway:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.05)
        return True

    async def _listen(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            found: dict[TopicPartition, list[ConsumerRecord]] = {}
            with suppress(KafkaError):
                found = await consumer.getmany(timeout_ms=_POLL_MS)
            for records in found.values():
                for record in records:
                    self.answers.heard(dict(record.headers)["origin"].decode())

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Line"]:
        """Connected for as long as the block runs."""
        async with open_log(self._bootstrap) as log:
            parts = list(await log.spans(REPLIES.name, DEAD_LETTERS.name))
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await self._producer.start()
        await consumer.start()
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        listening = asyncio.create_task(self._listen(consumer))
        try:
            yield self
        finally:
            for task in (listening, *self._underway):
                task.cancel()
            await asyncio.gather(listening, *self._underway, return_exceptions=True)
            await consumer.stop()
            await self._producer.stop()


def _producer(bootstrap: str) -> AIOKafkaProducer:
    """A till's, without sequence numbers: what it sends again may be there twice."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", linger_ms=2, request_timeout_ms=REQUEST_MS, max_request_size=BYTES_MAX
    )
