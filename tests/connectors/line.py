"""A sink's worker between a real broker and a sandbox: what is written to the topics, and what the worker says."""

import contextlib
from datetime import UTC, datetime, timedelta

import orjson
from aiokafka import AIOKafkaProducer

from schemas.events import SOURCE, dataschema
from schemas.topics import DEAD_LETTERS, EVENTS, MEMBERS, TOPICS
from streams.app import changelogs
from streams.broker import free_port
from streams.log import read_topic
from streams.settings import Settings
from streams.topic_admin import apply_topics
from tests.connectors.ground import PROFILE, contact_of, event_id_of, example
from tests.kafka_topics import clear
from tests.processes import Process, until

PARTITIONS = 2


class Line:
    """Fresh topics, and sink workers on them."""

    def __init__(self, bootstrap, folder, ground):
        self.settings = Settings.load(
            {}, kafka_bootstrap=bootstrap, partitions=PARTITIONS, group=f"line-{folder.name}", data=folder, session_seconds=6
        )
        self.ground = ground
        self.bootstrap = bootstrap
        self.workers = []
        self.sequences = {}

    @contextlib.asynccontextmanager
    async def running(self):
        names = [*(topic.name for topic in TOPICS), *(topic.name for topic in changelogs(self.settings))]
        await clear(self.bootstrap, names)
        await apply_topics(self.bootstrap, PARTITIONS, extra=changelogs(self.settings))
        self.producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=5)
        await self.producer.start()
        try:
            yield self
        finally:
            for worker in self.workers:
                worker.end()
            await self.producer.stop()
            await clear(self.bootstrap, names)

    def worker(self, name="w"):
        worker = SinkWorker(self.settings, self.ground, name)
        self.workers.append(worker)
        return worker

    # -- writing

    async def member(self, member, **parts):
        """Contact data comes."""
        body = {"loyalty_id": member, "updated_at": _now()}
        contact = contact_of(member, **parts)
        await self.producer.send_and_wait(MEMBERS.name, orjson.dumps({**body, "contact": contact}), member.encode())

    async def erased(self, member):
        await self.producer.send_and_wait(MEMBERS.name, None, member.encode())

    def event(self, member, kind="LOY_POINT_ACCRUAL", *, at=None, data=None, **fields):
        """The member's next event as a record: (key, value, its id at the vendor)."""
        number = self.sequences[member] = self.sequences.get(member, 0) + 1
        own = {"profile": {**PROFILE, "loyalty_id": member, **fields}, "occurred_at": at or _now(), **(data or {})}
        event = {
            "specversion": "1.0",
            "id": f"{member}/{kind}/{number}",
            "source": SOURCE,
            "type": kind,
            "subject": member,
            "time": _now(),
            "sequence": number,
            "datacontenttype": "application/json",
            "dataschema": dataschema(kind),
            "data": {**example(kind), **own},
        }
        return member.encode(), orjson.dumps(event), event_id_of(self.ground, event["id"])

    async def write(self, *events):
        """Write event records; their ids at the vendor come back."""
        for key, value, _ in events:
            await self.producer.send(EVENTS.name, value, key)
        await self.producer.flush()
        return [known for _, _, known in events]

    async def happens(self, member, *kinds, **parts):
        return await self.write(*(self.event(member, kind, **parts) for kind in kinds))

    async def letters(self, count):
        """So many dead letters, and no more."""
        found = []

        async def read():
            found[:] = [record async for record in read_topic(self.bootstrap, DEAD_LETTERS.name)]
            return len(found) >= count

        await until(read, f"{count} dead letters")
        assert len(found) == count
        return found


class SinkWorker(Process):
    """`loy sink` in a process of its own."""

    def __init__(self, settings, ground, name):
        own = settings.model_copy(update={"metrics_port": free_port()})
        environment = ground.bench.environment(ground.url) | ground.settings
        super().__init__(["sink", ground.bench.sink], own, name, environment)


def _now():
    return (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
