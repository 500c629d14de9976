"""What agents meet, in memory: an outbox that notes the order of its flushes, a directory, a table that counts its readers."""

from dataclasses import dataclass, field

import orjson
from pydantic import TypeAdapter

from schemas.codec import encode
from schemas.commands import Command
from schemas.members import Identity
from schemas.replies import Reply
from schemas.topics import COMMANDS, DEAD_LETTERS, EVENTS, IDENTITIES, MEMBERS, REPLIES
from streams.agents import IntakeAgent, LedgerAgent
from streams.domain.account import unpack
from streams.domain.intake import Rules
from streams.domain.plan import Plan
from streams.reference import version_in_force
from streams.runtime import Batch, Record, TableView
from streams.standing import Standing
from tests.builders import START, program

COMMAND = TypeAdapter(Command)
NOW_MS = int(START.timestamp() * 1000)
PARTITION = 3


@dataclass(frozen=True)
class Sent:
    """A record that the broker acknowledged."""

    topic: str
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple
    partition: int | None

    @property
    def json(self):
        return orjson.loads(self.value)

    def header(self, name):
        return dict(self.headers)[name].decode()


class FakeOutbox:
    def __init__(self, world):
        self._world, self._records, self._writes = world, [], []

    def add(self, topic, key, value, *, timestamp_ms, headers=(), partition=None, bytes_max=1_900_000):
        assert len(key or b"") + len(value or b"") <= bytes_max
        if topic == COMMANDS.name:
            COMMAND.validate_json(value)  # records are made unjudged: what is written must be what their models say
        self._records.append(Sent(topic, key, value, timestamp_ms, tuple(headers), partition))

    def write(self, table, partition, changes):
        self._writes.append((partition, dict(changes)))

    async def flush(self):
        await self._world.on_flush(self._records)
        self._world.sent += self._records
        for partition, changes in self._writes:
            self._world.writes.append((partition, changes))
            self._world.rows.update(changes)
        for record in self._records:
            if record.topic == IDENTITIES.name:
                self._world.unseen[record.key.decode()] = record.value
        self._records, self._writes = [], []


@dataclass
class FakeIdentities:
    """Sees what was written when it is asked to catch up."""

    world: "AgentWorld"
    rows: dict = field(default_factory=dict)
    asked: int = 0

    async def catch_up(self):
        self.asked += 1
        for key, raw in self.world.unseen.items():
            self.rows[key] = Identity.model_validate_json(raw) if raw else None
        self.world.unseen.clear()


class AgentWorld:
    """Both agents over one memory: `intake` a door's records, `ledger` the commands that came of them."""

    def __init__(self, *programs):
        self.plans = {one.key: Plan(one) for one in programs or (program(),)}
        self.sent, self.writes, self.rows, self.unseen, self.reads, self.notes = [], [], {}, {}, [], []
        self.identities = FakeIdentities(self)
        self.intake_agent = IntakeAgent(self, Rules(b"secret", "US", "main"), lambda: FakeOutbox(self))
        self.standing = Standing(lambda: 0)
        self.standing.begin({PARTITION})
        self.ledger_agent = LedgerAgent(self, self, lambda: FakeOutbox(self), self, self.standing)
        self.offset = 0

    async def on_flush(self, records):
        """Tests look here at what is about to be sent."""

    # the directory
    def identity(self, key):
        return self.identities.rows.get(key)

    def version(self, name, at):
        return version_in_force(iter(self.plans.values()), name, at)

    async def plan(self, key):
        return self.plans[key]

    # the table and the index
    def view(self, partition):
        assert partition == PARTITION

        def read(key):
            self.reads.append(key)
            return self.rows.get(key)

        return TableView(read)

    def note(self, partition, key, account, now):
        self.notes.append((partition, key, account.next_due, now))

    # driving
    def batch(self, topic, *records):
        """Of (key, value) or (key, value, timestamp_ms, headers); values are bytes, JSON or models."""
        made = []
        for key, value, *more in records:
            at_ms, headers = more[0] if more else NOW_MS, more[1] if len(more) > 1 else ()
            made.append(Record(_raw(key), _raw(value), at_ms, headers, self.offset))
            self.offset += 1
        return Batch(topic.name, PARTITION, made)

    async def take(self, topic, *records):
        """Through intake; answers what was sent."""
        before = len(self.sent)
        await self.intake_agent.handle(self.batch(topic, *records))
        return self.sent[before:]

    async def decide(self, commands):
        """Through the ledger, as one batch; answers what was sent."""
        before = len(self.sent)
        records = [(one.key, one.value, one.timestamp_ms, one.headers) for one in commands if one.topic == COMMANDS.name]
        await self.ledger_agent.handle(self.batch(COMMANDS, *records))
        return self.sent[before:]

    async def through(self, topic, *records):
        """Through both, the second half of a claim included; answers all that was sent."""
        sent = todo = await self.take(topic, *records)
        while any(one.topic == COMMANDS.name for one in todo):
            todo = await self.decide(todo)
            sent = sent + todo
        return sent

    def account(self, key):
        return unpack(self.rows[key.encode()], key)


def _raw(value):
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    return orjson.dumps(value) if isinstance(value, dict) else encode(value)


def of(sent, topic):
    return [one for one in sent if one.topic == topic.name]


def commands(sent):
    return [one.json for one in of(sent, COMMANDS)]


def replies(sent):
    """(the reply, its outcome header) in the order sent."""
    return [(Reply.model_validate_json(one.value), one.header("outcome")) for one in of(sent, REPLIES)]


def codes(sent):
    return [str(reply.code) for reply, _ in replies(sent)]


def events(sent):
    return [one.json["type"].removeprefix("LOY_") for one in of(sent, EVENTS)]


def letters(sent):
    return [one.header("code") for one in of(sent, DEAD_LETTERS)]


def contacts(sent):
    return [(one.key, one.value) for one in of(sent, MEMBERS)]


def identities(sent):
    return [one.json if one.value else None for one in of(sent, IDENTITIES)]
