"""What a stretch of records did, told on one screen: outcomes, points, tiers, speed and latency.

Law: it only listens, to replies, events and dead letters, and counts each answer and each event once, however often it comes.
"""

import asyncio
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from math import ceil

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from schemas.earning import MAIN
from schemas.topics import CHECKS, DEAD_LETTERS, EVENTS, MEMBER_COMMANDS, REDEMPTIONS, REPLIES
from streams.replay import SENT_AT
from streams.settings import reach

PATIENCE_SECONDS = 30.0

_ASKED = (CHECKS.name, REDEMPTIONS.name, MEMBER_COMMANDS.name)
_TOLD = (REPLIES.name, EVENTS.name, DEAD_LETTERS.name)
_OF_A_CHECK = {
    "LOY_POINT_ACCRUAL",
    "LOY_POINT_REVERSED",
    "LOY_POINT_RESTORED",
    "LOY_FRAUD_SUSPECTED",
    "LOY_CHECK_PARKED",
}

Offsets = Mapping[tuple[str, int], int]


class StalledError(TimeoutError):
    """Answers stopped coming while some were still due; the message says how many, and where to look."""


class Tally:
    """Counts what happened. `take` is all it knows of Kafka."""

    def __init__(self, since: Offsets | None = None) -> None:
        """`since`: where the topics of the tills ended at the start; answers to what came before are left out."""
        self.outcomes: Counter[tuple[str, str, str]] = Counter()
        """How often by topic, outcome (applied, repeated, refused, parked, dead letter) and code."""
        self.points: Counter[tuple[str, str]] = Counter()
        """Points moved by source and target book, of the main wallet, see `schemas.standing.Posting`."""
        self.tiers: Counter[tuple[str, str]] = Counter()
        """How often by event type and tier reached."""
        self.events: Counter[str] = Counter()
        """How often by event type."""
        self.refused: set[str] = set()
        """Ids of refused redemption requests."""
        self.members: set[str] = set()
        """Accounts of members that had an event."""
        self.to_event = Latencies()
        self.to_reply = Latencies()
        self.answered = 0
        """How many records have their outcome."""
        self._since = since or {}
        self._origins: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
        self._sequences: dict[str, int] = {}
        self._first_ms = self._last_ms = 0
        self._deaf = False
        self._moved = asyncio.Condition()

    def take(self, record: ConsumerRecord, now_ms: int) -> None:
        """Count one record of the three topics listened to, read at `now_ms` (ms since 1970 UTC)."""
        headers = {name: value.decode() for name, value in record.headers}
        if record.topic == EVENTS.name:
            self._take_event(orjson.loads(record.value), headers, now_ms)
        elif record.topic == REPLIES.name:
            self._take_reply(record.value, headers, now_ms)
        elif topic := self._first_answer(headers):
            self.outcomes[topic, "dead letter", headers["code"]] += 1

    def _take_reply(self, value: bytes, headers: dict[str, str], now_ms: int) -> None:
        topic = self._first_answer(headers)
        if not topic:
            return
        reply = orjson.loads(value)
        self.outcomes[topic, headers["outcome"], reply["code"]] += 1
        if topic == REDEMPTIONS.name and reply["status"] == "refused":
            self.refused.add(reply["id"])
        if topic == CHECKS.name and SENT_AT in headers:
            sent_ms = int(headers[SENT_AT])
            self.to_reply.add(now_ms - sent_ms)
            self._first_ms = min(self._first_ms or sent_ms, sent_ms)
            self._last_ms = max(self._last_ms, now_ms)

    def _first_answer(self, headers: dict[str, str]) -> str:
        """The topic of the record answered; empty when it was answered before, or is none of ours."""
        topic, partition, offset = headers["origin"].rsplit("/", 2)
        place, at = (topic, int(partition)), int(offset)
        if topic not in _ASKED or at < self._since.get(place, 0) or at in self._origins[place]:
            return ""
        self._origins[place].add(at)
        self.answered += 1
        return topic

    def _take_event(self, event: dict[str, object], headers: dict[str, str], now_ms: int) -> None:
        account, kind, data = str(event["subject"]), str(event["type"]), event["data"]
        assert isinstance(event["sequence"], int)  # noqa: S101  # the contract, for the type checker
        assert isinstance(data, dict)  # noqa: S101
        if event["sequence"] <= self._sequences.get(account, 0):
            return  # the same event again: a repeat of its check
        self._sequences[account] = event["sequence"]
        self.events[kind] += 1
        if data["profile"] is not None:
            self.members.add(account)
        for posting in data["postings"] if data.get("wallet", MAIN) == MAIN else ():
            self.points[posting["source"], posting["target"]] += posting["points"]
        if kind in ("LOY_TIER_UPGRADE", "LOY_TIER_DOWNGRADE"):
            self.tiers[kind, data["tier"]] += 1
        if kind in _OF_A_CHECK and SENT_AT in headers:
            self.to_event.add(now_ms - int(headers[SENT_AT]))

    @property
    def seconds(self) -> float:
        """From the first check sent to the last check answered."""
        return (self._last_ms - self._first_ms) / 1000

    def count(self, topic: str, outcome: str | None = None) -> int:
        """How many records of the topic have that outcome, or any."""
        return sum(n for (of, what, _), n in self.outcomes.items() if of == topic and outcome in (None, what))

    def gone(self, *, source: str | None = None, target: str | None = None) -> int:
        """How many points left the book `source`, or came to `target`, or both."""
        return sum(n for (a, b), n in self.points.items() if source in (None, a) and target in (None, b))

    def gate(self, ahead: int = 500) -> Callable[[int], Awaitable[None]]:
        """For `replay`: waits while more than `ahead` of what is sent from now on has no outcome yet."""
        before = self.answered

        async def wait(sent: int) -> None:
            await self.reach(before + sent - ahead)

        return wait

    async def reach(self, count: int, *, patience: float = PATIENCE_SECONDS) -> None:
        """Return when so many records have their outcome. Raises StalledError after `patience` seconds without a further one."""
        while (had := self.answered) < count:
            if self._deaf:
                raise StalledError("Listening has failed.")  # `listening` raises the cause
            try:
                async with asyncio.timeout(patience), self._moved:
                    await self._moved.wait_for(lambda had=had: self._deaf or self.answered > had)  # type: ignore[misc]
            except TimeoutError:
                raise StalledError(
                    f"{count - had} of {count} records have no answer, and for {patience:.0f} s none came. "
                    f"Is a worker running, and on this broker?"
                ) from None

    async def listen(self, consumer: AIOKafkaConsumer) -> None:
        """Count what the consumer brings, until cancelled."""
        try:
            while True:
                batches = await consumer.getmany(timeout_ms=1000)
                now_ms = time.time_ns() // 1_000_000
                for records in batches.values():
                    for record in records:
                        self.take(record, now_ms)
                async with self._moved:
                    self._moved.notify_all()
        except Exception:
            async with self._moved:
                self._deaf = True
                self._moved.notify_all()
            raise


@asynccontextmanager
async def listening(bootstrap: str) -> AsyncIterator[Tally]:
    """A tally of what happens from now on until left, to the last record. Raises what goes wrong while listening."""
    consumer = AIOKafkaConsumer(
        **reach(bootstrap),
        client_id="loy-report",
        group_id=None,
        enable_auto_commit=False,
        max_partition_fetch_bytes=2_000_000,
        fetch_max_wait_ms=100,
    )
    try:
        await consumer.start()
        tally = Tally(await _ends(consumer, _ASKED))
        ends = await _ends(consumer, _TOLD)
        consumer.assign([TopicPartition(*place) for place in ends])
        for place, end in ends.items():
            consumer.seek(TopicPartition(*place), end)
        ear = asyncio.create_task(tally.listen(consumer))
        try:
            yield tally
            await _hear_out(consumer, ear)
        finally:
            ear.cancel()
            with suppress(asyncio.CancelledError):
                await ear
    finally:
        await consumer.stop()


async def _hear_out(consumer: AIOKafkaConsumer, ear: asyncio.Task[None]) -> None:
    """Whatever has been written by now is counted: nothing that was told is missing on the screen."""
    ends = await consumer.end_offsets(list(consumer.assignment()))
    while not ear.done() and any([await consumer.position(part) < end for part, end in ends.items()]):
        await asyncio.wait({ear}, timeout=0.1)


async def _ends(consumer: AIOKafkaConsumer, topics: tuple[str, ...]) -> dict[tuple[str, int], int]:
    await consumer.topics()
    parts = []
    for topic in topics:
        await consumer._client._wait_on_metadata(topic)  # noqa: SLF001  # there is no public way without a subscription
        parts += [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
    return {(part.topic, part.partition): end for part, end in (await consumer.end_offsets(parts)).items()}


class Latencies:
    """Milliseconds, all kept: percentiles are exact, eight bytes each."""

    def __init__(self) -> None:
        self._all = array("q")

    def __len__(self) -> int:
        return len(self._all)

    def add(self, ms: int) -> None:
        self._all.append(ms)

    def extend(self, others: "Latencies") -> None:
        self._all.extend(others._all)  # noqa: SLF001  # its own kind

    def percentiles(self, *shares: float) -> list[int]:
        """The smallest latency that at least this share (0 to 1) did not exceed, for each share; empty without any."""
        ordered = sorted(self._all)
        return [ordered[max(0, ceil(share * len(ordered)) - 1)] for share in shares] if ordered else []


# ---------------------------------------------------------------- on the screen


def render(tally: Tally, title: str = "What happened") -> RenderableType:
    """One screen of figures for `rich`."""
    columns = Table.grid(expand=True, padding=(0, 2))
    for _ in range(3):
        columns.add_column(ratio=1)
    columns.add_row(_asked(tally), _points(tally), _people(tally))
    return Panel(Group(columns, Text(), _speed(tally)), title=f"[bold]{title}", title_align="left", padding=(1, 2))


_Rows = list[tuple[str, int]]


def _figures(title: str, rows: _Rows) -> Table:
    table = Table(title=f"[bold]{title}", title_justify="left", box=None, show_header=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column(ratio=1)
    table.add_column(justify="right", no_wrap=True)
    for name, figure in rows:
        table.add_row(name, f"{figure:,}")
    return table


def _asked(tally: Tally) -> RenderableType:
    """Checks and redemptions by outcome."""
    return Group(
        _figures("Checks", [("received", tally.count(CHECKS.name)), *_outcomes(tally, CHECKS.name)]),
        Text(),
        _figures("Redemptions", [("received", tally.count(REDEMPTIONS.name)), *_outcomes(tally, REDEMPTIONS.name)]),
    )


def _outcomes(tally: Tally, topic: str) -> _Rows:
    """What was done, then what was not with its codes."""
    rows: _Rows = [(what, tally.count(topic, what)) for what in ("applied", "repeated")]
    for what in ("refused", "parked", "dead letter"):
        codes = sorted((code, n) for (of, is_, code), n in tally.outcomes.items() if (of, is_) == (topic, what))
        if codes:
            rows.append((what, tally.count(topic, what)))
            rows += [(f" [dim]{code}", n) for code, n in codes]
    return rows


def _points(tally: Tally) -> Table:
    rows: _Rows = [
        ("earned", tally.gone(source="issued")),
        ("used", tally.gone(target="used")),
        ("expired", tally.gone(target="expired")),
        ("returns took", tally.gone(target="reversed")),
        ("returns gave", tally.gone(source="used")),
    ]
    rows += [(name, tally.gone(target=book) - tally.gone(source=book)) for name, book in _STANDING]
    return _figures("Points", rows)


_STANDING = (("usable now", "available"), ("pending", "pending"), ("reserved", "reserved"), ("on hold", "held"))


def _people(tally: Tally) -> RenderableType:
    rows: _Rows = [("seen", len(tally.members)), ("joined", tally.events["LOY_OPT_IN"])]
    for kind, way in (("LOY_TIER_UPGRADE", "up"), ("LOY_TIER_DOWNGRADE", "down")):
        rows += [(f"{way} to {tier}", n) for (is_, tier), n in tally.tiers.most_common() if is_ == kind]
    rows.append(("tier in sight", tally.events["LOY_CLOSE_TO_TIER_UPGRADE"]))
    also: _Rows = [
        ("redeemed", tally.events["LOY_POINT_REDEMPTION"]),
        ("fraud suspected", tally.events["LOY_FRAUD_SUSPECTED"]),
        ("dead letters", sum(n for (_, what, _), n in tally.outcomes.items() if what == "dead letter")),
    ]
    return Group(_figures("Members", rows), Text(), _figures("Also", also))


def _speed(tally: Tally) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0))
    rate = f"{tally.count(CHECKS.name) / tally.seconds:,.0f} checks/s" if tally.seconds > 0 else ""
    table.add_column(f"[bold]{rate}[/] over {tally.seconds:,.1f} s" if rate else "")
    for share in ("p50", "p99", "p99.9"):
        table.add_column(share, justify="right", header_style="dim")
    for name, latencies in (("till to event", tally.to_event), ("till to reply", tally.to_reply)):
        table.add_row(name, *(f"{ms:,} ms" for ms in latencies.percentiles(0.5, 0.99, 0.999)))
    return table
