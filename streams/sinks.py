"""A sink's worker: joins contact data with events, and hands a courier what the vendor should know.

Law: offsets are committed after the vendor has everything, so nothing is lost. An event is sent once, when its sequence is beyond
what was delivered, and only if it was written after the sink had its lease on the partition: a replay of history cannot notify.
Of an erased member nothing is told any more, and nothing is kept but how far was read.
"""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

import httpx
import msgspec

from connectors.courier import Courier, OnRejected
from connectors.delivery import Happening, Item, Person, ProfileChange, Rejected, Unreadable, contact_of
from connectors.sink import Audited, Demanding, Sink
from schemas.codes import Code
from schemas.topics import EVENTS, MEMBERS, Topic
from streams import metrics, runtime, tracing
from streams.dead_letters import PROFILE_REFUSED, bury
from streams.log import open_log
from streams.runtime import Batch, Outbox, PartitionedTable, Record
from streams.sink_rows import Row, event_of, joined_after

log = logging.getLogger(__name__)
MEMBERS_TABLE = "members"
LEASE = b"\x00lease"
"""Row of each partition: the offset of loy.events from which on this sink may notify."""
LEAVE_SECONDS = 10.0
"""How long a batch at hand may still take when its partition is given up; a vendor that is down must not hold up the group."""
WORDS_SHOWN = 10
"""Of what a vendor refused afterwards, so many different complaints a look are logged."""
_UNSURE = b"?"
"""For the digest of what the vendor has, when it refused what came after that."""
_URGENT = ("LOY_TIER_UPGRADE", "LOY_TIER_DOWNGRADE", "LOY_OPT_IN", "LOY_OPT_OUT")


_decode = msgspec.msgpack.Decoder(Row).decode
_encode = msgspec.msgpack.Encoder().encode


class Work:
    """What one batch asks for: the latest profile of each member touched, events in order, erasures."""

    def __init__(self, events: Collection[str]) -> None:
        self._events = events
        self.rows: dict[bytes, Row] = {}
        self._urgent: set[bytes] = set()
        self._moved: set[bytes] = set()
        self._latest: dict[bytes, Record] = {}
        self._erasures: list[Item] = []
        self._happenings: list[Happening] = []
        self._changes: dict[int, tuple[bytes, bool]] = {}
        self._told: dict[bytes, bytes] = {}
        """Contact data as the vendor knows it, of those for whom other has come since."""
        self._causes: dict[int, Record] = {}
        self._people: dict[bytes, Person] = {}
        """As the last event of the batch left them."""

    def _person(self, key: bytes, row: Row) -> Person:
        known = self._people.get(key)
        return known or Person(key.decode(), row.member, row.profile or b"{}", row.sequence)

    def member(self, key: bytes, row: Row, record: Record) -> None:
        """Contact data came, or a tombstone. Raises Unreadable."""
        if record.value is None:
            self._erase(key, row, record)
            row.member = b""
        else:
            self._told.setdefault(key, row.member)
            if contact_of(record.value) != contact_of(row.member):
                self._moved.add(key)
            row.member, row.erased = record.value, False
            self._people.pop(key, None)
        self._touch(key, row, record)

    def event(self, key: bytes, row: Row, record: Record, *, notify: bool) -> bool:
        """An event came. Answers whether the vendor would have been told, were it not history. Raises Unreadable."""
        event, profile = event_of(record.value or b"")
        if profile is None or not row.hear(event, profile):
            return False  # an unclaimed receipt, or a repeat
        self._touch(key, row, record)
        if event.erases:
            self._erase(key, row, record)
            row.member = row.member if joined_after(row.member, event) else b""
        if row.erased:
            return False
        person = self._people[key] = Person(key.decode(), row.member, profile, event.sequence)
        if event.type in _URGENT:
            self._urgent.add(key)
        told = event.type in self._events
        if told and notify:
            happening = Happening(person, event.id, event.type, event.data.occurred_at, record.value or b"")
            self._happenings.append(happening)
            self._causes[id(happening)] = record
        return told and not notify

    def _touch(self, key: bytes, row: Row, record: Record) -> None:
        self.rows[key] = row
        self._latest[key] = record

    def _erase(self, key: bytes, row: Row, record: Record) -> None:
        """What was not told yet is not told any more; what was told is taken back, if anything was."""
        who = key.decode()
        self._people.pop(key, None)
        self._happenings = [one for one in self._happenings if one.person.loyalty_id != who]
        if row.sent:
            person = Person(who, self._told.get(key, row.member), row.profile or b"{}", row.sequence)
            erasure = ProfileChange(person, urgent=True, erased=True)
            self._erasures.append(erasure)
            self._causes[id(erasure)] = record
        row.profile, row.sent, row.erased = b"", b"", True

    def items(self) -> list[Item]:
        """Erasures; profiles whose content changed, urgent ones first; then the events."""
        digests = {key: row.digest() for key, row in self.rows.items() if row.profile}
        changed = [key for key, digest in digests.items() if digest != self.rows[key].sent]
        changed.sort(key=lambda key: key not in self._urgent)
        return [*self._erasures, *(self._change(key, digests[key]) for key in changed), *self._happenings]

    def _change(self, key: bytes, digest: bytes) -> ProfileChange:
        row = self.rows[key]
        first = row.sent in (b"", _UNSURE)
        change = ProfileChange(self._person(key, row), urgent=key in self._urgent, first=first, moved=key in self._moved)
        self._causes[id(change)] = self._latest[key]
        self._changes[id(change)] = key, bool(row.sent)
        row.sent = digest
        return change

    def refuse(self, item: Item) -> Record:
        """The vendor does not have it, and will not. Answers the record to blame."""
        if id(item) in self._changes:
            key, has_older = self._changes[id(item)]
            # To be told as the first time, when anything of it changes; what it has is taken back when the member is erased.
            self.rows[key].sent = _UNSURE if has_older else b""
        return self._causes[id(item)]


class SinkAgent:
    """One handler for both topics. A partition's rows are changed by one batch at a time."""

    def __init__(self, sink: Sink, courier: Courier, table: PartitionedTable, app: runtime.App) -> None:
        self._sink = sink
        self._stage = f"sink-{sink.name}"
        self._courier = courier
        self._table = table
        self._app = app
        self._ready = asyncio.Lock()
        self._prepared = False
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._oldest: dict[int, float] = {}
        metrics.SINK_AGE.labels(sink.name).set_function(self._age)

    async def handle(self, batch: Batch) -> None:
        """Deliver one batch; back when the vendor has it and the rows say so."""
        taken_ns = time.time_ns()
        if batch.topic == EVENTS.name:  # whose event it is was said before it happened, but in another topic
            await self._while_ours(self._app.caught_up(MEMBERS.name, batch.partition))
        async with self._turns[batch.partition]:
            self._oldest[batch.partition] = metrics.due_ms(batch.records[0]) / 1000
            try:
                await self._deliver(batch, taken_ns)
            finally:
                self._oldest.pop(batch.partition, None)

    async def _deliver(self, batch: Batch, taken_ns: int) -> None:
        batch, meter = tracing.begin("sink", batch, taken_ns)
        outbox = self._app.outbox()
        work = self._work(batch, outbox)

        def refuse(item: Item, why: Rejected) -> None:
            words, more = f"{why.code}: {why.words}", (PROFILE_REFUSED,) if isinstance(item, ProfileChange) else ()
            bury(outbox, batch, work.refuse(item), stage=self._stage, code=Code.VENDOR_REJECTED, reason=words, more=more)

        with meter.delivering(self._sink.name):
            await self._while_ours(self._send(work.items(), refuse))
        outbox.write(self._table, batch.partition, {key: _encode(row) for key, row in work.rows.items()})
        await outbox.flush()
        meter.stop()
        self._time(batch)

    def _time(self, batch: Batch) -> None:
        """How long it took from the till to the vendor; what happened before the sink's lease was never meant to be in time."""
        if batch.topic == EVENTS.name:
            lease = int(self._table.get(batch.partition, LEASE) or b"0")
            live = [record for record in batch.records if record.offset >= lease]
            metrics.observe_ages(metrics.SINK_DELIVERY_SECONDS, self._sink.name, live, time.time() * 1000)

    async def _send(self, items: Sequence[Item], rejected: OnRejected) -> None:
        await self._prepare()
        await self._courier.deliver(items, rejected)

    async def _while_ours(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it while the partition is ours, and a short while longer. Raises runtime.Abandoned: it is another's then."""
        doing, leaving = asyncio.create_task(work), asyncio.create_task(self._app.leaving())
        try:
            await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({doing}, timeout=0 if doing.done() else LEAVE_SECONDS)
            if not doing.done():
                raise runtime.Abandoned
            doing.result()
        finally:
            doing.cancel()
            leaving.cancel()
            await asyncio.gather(doing, leaving, return_exceptions=True)

    def _age(self) -> float:
        """Of the oldest record being delivered."""
        return max((time.time() - at for at in self._oldest.values()), default=0.0)

    async def _prepare(self) -> None:
        """The vendor's side is checked once, before the first delivery; while it cannot be used, everything waits."""
        async with self._ready:
            if not self._prepared:
                if isinstance(self._sink, Demanding):
                    log.info("%s needs this, which people make:\n  %s", self._sink.name, "\n  ".join(self._sink.requirements()))
                await self._courier.prepare()
                self._prepared = True

    def _work(self, batch: Batch, outbox: Outbox) -> Work:
        work, history = Work(self._sink.events), 0
        lease = int(self._table.get(batch.partition, LEASE) or b"0")
        for record in batch.records:
            key = record.key or b""
            row = work.rows.get(key) or self._row(batch.partition, key)
            try:
                key.decode()  # what cannot be read later either
                if batch.topic == MEMBERS.name:
                    work.member(key, row, record)
                else:
                    history += work.event(key, row, record, notify=record.offset >= lease)
            except (Unreadable, UnicodeDecodeError) as failure:
                bury(outbox, batch, record, stage=self._stage, code=Code.SCHEMA, reason=str(failure))
        metrics.SINK_ITEMS.labels(self._sink.name, "skipped").inc(history)
        return work

    def _row(self, partition: int, key: bytes) -> Row:
        stored = self._table.get(partition, key)
        return _decode(stored) if stored is not None else Row()


class Auditor:
    """Asks a vendor that accepts first what it refused afterwards, and is loud about what is new.

    It names no record, so nothing can be a dead letter. Of a list that is full of the same words nobody can tell what is new.
    """

    def __init__(self, name: str, sink: Audited, courier: Courier) -> None:
        self._name = name
        self._sink = sink
        self._courier = courier
        self._known: Counter[str] | None = None

    async def look(self) -> None:
        """Once. What the first look finds is of the time before."""
        found = await self._courier.run(self._sink.audit())
        if found is None:
            return
        listed = Counter(found)
        new = listed - self._known if self._known is not None else Counter[str]()
        self._known = listed
        metrics.SINK_REFUSED_LATER.labels(self._name).inc(new.total())
        for words, count in new.most_common(WORDS_SHOWN):
            log.error("%s refused afterwards what it had accepted: %s (%d times)", self._name, words[:200], count)


# ---------------------------------------------------------------- the worker


def build(app: runtime.App, sink: Sink, partitions: int) -> None:
    """Declare the sink's table and its two agents on the app."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every address asked, and addresses name people
    http = tracing.client(httpx.Limits(max_connections=20, max_keepalive_connections=20))
    courier = Courier(sink, http, metrics.SinkObserver(sink.name))
    metrics.REGISTRY.register(metrics.SinkLimits(sink.name, courier.limits))
    table = app.table(MEMBERS_TABLE, partitions=partitions)
    agent = SinkAgent(sink, courier, table, app)

    @table.on_recovered
    async def prepare(owned: frozenset[int]) -> None:
        courier.share(len(owned) / partitions)
        await _lease(app, table, owned)

    for topic in (EVENTS, MEMBERS):
        _serve(app, topic, agent)
    if isinstance(sink, Audited):
        _audit(app, Auditor(sink.name, sink, courier), sink.audit_seconds, table)

    async def close(*_: Any, **__: Any) -> None:
        await http.aclose()

    app.on_before_shutdown.connect(close)


def _audit(app: runtime.App, auditor: Auditor, seconds: float, table: PartitionedTable) -> None:
    async def look() -> None:
        if 0 in table.owned:  # one worker of the group is enough
            await auditor.look()

    app.timer(seconds, name="audit")(look)


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
