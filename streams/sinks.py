"""A sink's worker: joins contact data with events, and hands a courier what the vendor should know.

Law: offsets are committed after the vendor has everything, so nothing is lost. An event is sent once, when its sequence is beyond
what was delivered, and only if it was written after the sink had its lease on the partition: a replay of history cannot notify.
"""

import asyncio
import hashlib
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import orjson

from connectors.courier import Courier
from connectors.delivery import Happening, Item, Person, ProfileChange, Rejected
from connectors.sink import Sink
from schemas.codes import Code
from schemas.dead_letters import DeadLetter
from schemas.members import Member
from schemas.topics import DEAD_LETTERS, EVENTS, MEMBERS, Topic
from streams import metrics, runtime
from streams.log import open_log
from streams.runtime import Batch, Outbox, PartitionedTable, Record

MEMBERS_TABLE = "members"
LEASE = b"\x00lease"
"""Row of each partition: the offset of loy.events from which on this sink may notify."""
_URGENT = ("LOY_TIER_UPGRADE", "LOY_TIER_DOWNGRADE", "LOY_OPT_IN", "LOY_OPT_OUT")


class Row(msgspec.Struct, array_like=True):
    """What a sink remembers of a member."""

    member: bytes = b""
    """`loy.members` value, empty when erased or never sent."""
    profile: bytes = b""
    """Profile of the latest event."""
    sequence: int = 0
    """Of the latest event that was delivered, or passed over as history."""
    sent: bytes = b""
    """Digest of what the vendor was told last."""

    def person(self, loyalty_id: str) -> Person:
        contact = Member.model_validate_json(self.member).contact if self.member else None
        return Person(loyalty_id, contact, orjson.loads(self.profile) if self.profile else {}, self.sequence)

    def digest(self) -> bytes:
        return hashlib.blake2b(self.member + b"\0" + self.profile, digest_size=8).digest()


_decode = msgspec.msgpack.Decoder(Row).decode
_encode = msgspec.msgpack.Encoder().encode


class Work:
    """What one batch asks for: the latest profile of each member touched, and events in order."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}
        self.urgent: set[bytes] = set()
        self.erased: set[bytes] = set()
        self.happenings: list[Happening] = []
        self.causes: dict[int, Record] = {}
        self.latest: dict[bytes, Record] = {}

    def items(self) -> list[Item]:
        """Profiles whose content changed, urgent ones first; then the events."""
        changed = [key for key, row in self.rows.items() if (row.profile and row.digest() != row.sent) or key in self.erased]
        changed.sort(key=lambda key: key not in self.urgent)
        profiles: list[Item] = []
        for key in changed:
            change = ProfileChange(self.rows[key].person(key.decode()), key in self.urgent, key in self.erased)
            self.causes[id(change)] = self.latest[key]
            profiles.append(change)
        return [*profiles, *self.happenings]


class SinkAgent:
    """One handler for both topics. A partition's rows are changed by one batch at a time."""

    def __init__(self, sink: Sink, courier: Courier, table: PartitionedTable, outbox: Callable[[], Outbox]) -> None:
        self._sink = sink
        self._courier = courier
        self._table = table
        self._outbox = outbox
        self._ready = asyncio.Lock()
        self._prepared = False
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def handle(self, batch: Batch) -> None:
        """Deliver one batch; back when the vendor has it and the rows say so."""
        async with self._turns[batch.partition]:
            metrics.SINK_AGE.labels(self._sink.name).set(max(0.0, time.time() - batch.records[0].timestamp_ms / 1000))
            await self._prepare()
            work, outbox = self._work(batch), self._outbox()
            await self._courier.deliver(work.items(), lambda item, why: self._bury(outbox, batch, work, item, why))
            for row in work.rows.values():
                row.sent = row.digest()
            outbox.write(self._table, batch.partition, {key: _encode(row) for key, row in work.rows.items()})
            await outbox.flush()
            metrics.SINK_AGE.labels(self._sink.name).set(0)

    async def _prepare(self) -> None:
        """The vendor's side is checked once, before the first delivery; while it cannot be used, everything waits."""
        async with self._ready:
            if not self._prepared:
                await self._courier.prepare()
                self._prepared = True

    def _work(self, batch: Batch) -> Work:
        work = Work()
        lease = int(self._table.get(batch.partition, LEASE) or b"0")
        for record in batch.records:
            key = record.key or b""
            row = work.rows.get(key) or self._row(batch.partition, key)
            work.rows[key] = row
            work.latest[key] = record
            if batch.topic == MEMBERS.name:
                row.member = record.value or b""
                work.erased |= {key} if record.value is None else set()
            else:
                self._event(work, row, record, notify=record.offset >= lease)
        return work

    def _row(self, partition: int, key: bytes) -> Row:
        stored = self._table.get(partition, key)
        return _decode(stored) if stored is not None else Row()

    def _event(self, work: Work, row: Row, record: Record, *, notify: bool) -> None:
        event = orjson.loads(record.value or b"{}")
        data = event["data"]
        if data["profile"] is None or event["sequence"] <= row.sequence:
            return  # an unclaimed receipt, or a repeat
        row.sequence = event["sequence"]
        row.profile = orjson.dumps(data["profile"])
        kind = event["type"]
        if kind in _URGENT:
            work.urgent.add(record.key or b"")
        if not notify:
            metrics.SINK_ITEMS.labels(self._sink.name, "skipped").inc()
        elif kind in self._sink.events:
            person = row.person(event["subject"])
            happening = Happening(person, event["id"], kind, data["occurred_at"], data)
            work.happenings.append(happening)
            work.causes[id(happening)] = record

    def _bury(self, outbox: Outbox, batch: Batch, work: Work, item: Item, why: Rejected) -> None:
        """Keep the event (or the latest cause of the profile) with the vendor's words."""
        record = work.causes[id(item)]
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.timestamp_ms / 1000))
        letter = DeadLetter.model_validate(
            {
                "code": Code.VENDOR_REJECTED,
                "reason": f"{why.code}: {why.words}"[:2000],
                "origin": f"{batch.topic}/{batch.partition}/{record.offset}",
                "stage": f"sink-{self._sink.name}",
                "at": at,
            },
            strict=False,
        )
        outbox.add(DEAD_LETTERS.name, record.key, record.value, timestamp_ms=record.timestamp_ms, headers=letter.headers())
        metrics.DEAD_LETTERS.labels(batch.topic, Code.VENDOR_REJECTED).inc()


# ---------------------------------------------------------------- the worker


def build(app: runtime.App, sink: Sink, partitions: int) -> None:
    """Declare the sink's table and its two agents on the app."""
    http = httpx.AsyncClient(limits=httpx.Limits(max_connections=20, max_keepalive_connections=20), follow_redirects=False)
    courier = Courier(sink, http, metrics.SinkObserver(sink.name))
    table = app.table(MEMBERS_TABLE, partitions=partitions)
    agent = SinkAgent(sink, courier, table, app.outbox)

    @table.on_recovered
    async def prepare(owned: frozenset[int]) -> None:
        courier.share(len(owned) / partitions)
        await _lease(app, table, owned)

    for topic in (EVENTS, MEMBERS):
        _serve(app, topic, agent)

    async def close(*_: Any, **__: Any) -> None:
        await http.aclose()

    app.on_before_shutdown.connect(close)


def _serve(app: runtime.App, topic: Topic, agent: SinkAgent) -> None:
    @app.agent(topic.name, name=f"sink-{topic.name}", compacted=topic.compacted)
    async def serve(stream: Any) -> None:
        await runtime.serve(stream, agent.handle)


async def _lease(app: runtime.App, table: PartitionedTable, owned: frozenset[int]) -> None:
    """Where the sink sees a partition for the first time, it may notify of what is written from now on."""
    fresh = [partition for partition in owned if table.get(partition, LEASE) is None]
    if not fresh:
        return
    async with open_log(app.config.bootstrap) as log:
        ends = {part.partition: span.end for part, span in (await log.spans(EVENTS.name)).items()}
    for partition in fresh:
        await table.write_batch(partition, {LEASE: str(ends[partition]).encode()})
