"""A sink's worker between a real broker and a sandbox: what is written to the topics, and what the worker says."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from schemas.events import SOURCE, dataschema
from schemas.topics import DEAD_LETTERS, EVENTS, MEMBERS, TOPICS
from streams.app import changelogs
from streams.broker import free_port
from streams.log import read_topic
from streams.settings import Settings
from streams.topic_admin import apply_topics
from tests.connectors.ground import PROFILE, contact_of, event_id_of, example

PARTITIONS = 2
DEADLINE = 60.0


async def until(condition, what, seconds=DEADLINE):
    """Wait for a condition, plain or async; fail with its name."""
    end = time.monotonic() + seconds
    while True:
        holds = condition()
        if await holds if asyncio.iscoroutine(holds) else holds:
            return
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain: {what}"
        await asyncio.sleep(0.05)


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
        await _clear(self.bootstrap, names)
        await apply_topics(self.bootstrap, PARTITIONS, extra=changelogs(self.settings))
        self.producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=5)
        await self.producer.start()
        try:
            yield self
        finally:
            for worker in self.workers:
                worker.end()
            await self.producer.stop()
            await _clear(self.bootstrap, names)

    def worker(self, name="w"):
        worker = SinkWorker(self, name)
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


class SinkWorker:
    """`loy sink` in a process of its own."""

    def __init__(self, line, name):
        self._line = line
        folder = line.settings.data
        self.log = folder / f"{name}.log"
        self.metrics_port = free_port()
        values = line.settings.model_dump(exclude={"identity_key"}, exclude_none=True)
        values |= {"data": folder / name, "metrics_port": self.metrics_port}
        sandboxed = line.ground.bench.environment(line.ground.url) | line.ground.settings
        self._env = os.environ | {f"LOY_{key.upper()}": str(value) for key, value in values.items()} | dict(sandboxed)
        self.process = None

    def start(self):
        with self.log.open("ab") as out:
            command = [sys.executable, "-m", "streams", "sink", self._line.ground.bench.sink]
            self.process = subprocess.Popen(command, env=self._env, stdout=out, stderr=out)
        return self

    async def ready(self, times=1):
        await until(lambda: self.said().count("Worker ready") >= times or not self.runs, f"{self.log} ready")
        assert self.runs, self.said()[-3000:]
        return self

    def said(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def runs(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()

    async def stop(self):
        """Ask it to end in good order; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, DEADLINE * 2)

    def end(self):
        if self.process is not None and self.runs:
            self.kill()
        print(f"---- {self.log}\n{self.said()[-3000:]}")  # noqa: T201  # pytest shows it when the test failed

    async def metrics(self):
        """Every series with its value."""

        def scrape():
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
                return answer.read().decode()

        lines = (await asyncio.to_thread(scrape)).splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))}


def _now():
    return (datetime.now(UTC) - timedelta(seconds=1)).isoformat()


async def _clear(bootstrap, names):
    """Delete topics; back when they are gone."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        there = set(await admin.list_topics()) & set(names)
        if there:
            await admin.delete_topics(sorted(there))

        async def gone():
            return not set(await admin.list_topics()) & there

        await until(gone, "the old topics are gone")
    finally:
        await admin.close()
