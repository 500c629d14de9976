"""A whole installation for one test: topics, programs, worker processes, tills that send and ears that hear every answer."""

import asyncio
import contextlib
import shutil
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.dead_letters import DeadLetter
from schemas.events import parse_event
from schemas.replies import Reply
from schemas.topics import (
    CHECKS,
    COMMANDS,
    DEAD_LETTERS,
    EVENTS,
    IDENTITIES,
    MEMBER_COMMANDS,
    MEMBERS,
    REDEMPTIONS,
    REPLIES,
    TOPICS,
)
from streams.app import changelogs
from streams.broker import free_port
from streams.domain.account import due_of
from streams.domain.plan import Plan
from streams.log import latest_by_key, read_topic
from streams.publishing import publish, published
from streams.rebuild import fold, rebuilt_hash, state_hash
from streams.settings import Settings
from streams.system import install
from streams.verify import verify
from tests.kafka_topics import clear
from tests.processes import DEADLINE, Process, until

PARTITIONS = 4
START = datetime(2024, 3, 4, 10, 0, tzinfo=UTC)  # a Monday
HEARD = (EVENTS.name, REPLIES.name, DEAD_LETTERS.name, IDENTITIES.name, MEMBERS.name)


class Worker(Process):
    """A worker process with a data folder and a metrics port of its own."""

    def __init__(self, settings, name, **more):
        super().__init__(["worker"], settings.model_copy(update={"metrics_port": free_port()}), name, **more)
        self.start()

    def wipe(self):
        shutil.rmtree(self.settings.data)


class System:
    """Fresh topics on a broker, and everything that was sent and heard since."""

    def __init__(self, bootstrap, folder, **settings):
        self.bootstrap = bootstrap
        usual = {"partitions": PARTITIONS, "clock": "stream", "clock_seconds": 0.05, "session_seconds": 6}
        own = {"kafka_bootstrap": bootstrap, "group": f"e2e-{folder.name}", "data": folder}
        self.settings = Settings.load({}, **usual | own | settings)
        self.workers = []
        self.heard = defaultdict(list)
        self.sent = set()
        self.answered = set()
        """Origins that have a reply or a dead letter."""
        self.at = START

    @contextlib.asynccontextmanager
    async def running(self, *programs):
        await clear(self.bootstrap, [*(topic.name for topic in TOPICS), *(topic.name for topic in changelogs(self.settings))])
        await install(self.settings, *programs, keep_history=True)
        self._producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=2, max_request_size=12_500_000)
        await self._producer.start()
        self._consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, fetch_max_wait_ms=50, enable_auto_commit=False)
        await self._consumer.start()
        listening = asyncio.create_task(self._listen())
        try:
            yield self
        finally:
            for worker in self.workers:
                worker.end()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await self._consumer.stop()
            await self._producer.stop()

    async def _listen(self):
        partitions = []
        for topic in HEARD:
            await self._consumer._client._wait_on_metadata(topic)
            partitions += [TopicPartition(topic, n) for n in self._consumer.partitions_for_topic(topic)]
        self._consumer.assign(partitions)
        await self._consumer.seek_to_beginning(*partitions)
        while True:
            for part, records in (await self._consumer.getmany(timeout_ms=500)).items():
                self.heard[part.topic].extend(records)
                if part.topic in (REPLIES.name, DEAD_LETTERS.name):
                    self.answered.update(dict(record.headers)["origin"].decode() for record in records)

    def worker(self, name="w", **more):
        worker = Worker(self.settings, name, **more)
        self.workers.append(worker)
        return worker

    async def publish(self, program):
        await publish(self.bootstrap, program)

    # -- sending

    def wait(self, **span):
        """Let the tills' day go on."""
        self.at += timedelta(**span)
        return self

    def put(self, topic, key, value, *, at=None, headers=None):
        """Put a record on its way; awaiting the result gives its origin."""
        key = key.encode() if isinstance(key, str) else key
        value = orjson.dumps(value) if isinstance(value, dict) else value
        at_ms = int((at or self.at).timestamp() * 1000)
        return asyncio.ensure_future(self._put(topic, key, value, at_ms, headers or []))

    async def _put(self, topic, key, value, at_ms, headers):
        sent = await self._producer.send_and_wait(topic, value, key, timestamp_ms=at_ms, headers=headers)
        origin = f"{topic}/{sent.partition}/{sent.offset}"
        self.sent.add(origin)
        return origin

    async def check(self, body, **at):
        return await self.put(CHECKS.name, body.get("member", ""), body, **at)

    async def redemption(self, body, **at):
        return await self.put(REDEMPTIONS.name, body["member"], body, **at)

    async def member(self, body, **at):
        return await self.put(MEMBER_COMMANDS.name, body["loyalty_id"], body, **at)

    async def ask(self, body, **at):
        """Send to the door it is for, and wait for its reply."""
        door = self.member if "command_id" in body else self.redemption if "request_id" in body else self.check
        return await self.reply(await door(body, **at))

    # -- hearing

    def replies(self, origin):
        """The distinct replies to a record, each with its outcome."""
        found = {}
        for record in list(self.heard[REPLIES.name]):
            headers = dict(record.headers)
            if headers["origin"].decode() == origin:
                found[record.value, headers["outcome"].decode()] = None
        return [(Reply.model_validate_json(value), outcome) for value, outcome in found]

    async def reply(self, origin):
        return (await until(lambda: self.replies(origin), f"a reply to {origin}"))[0][0]

    async def outcome(self, origin):
        return (await until(lambda: self.replies(origin), f"a reply to {origin}"))[0][1]

    def letters(self, origin):
        """Dead letters of a record: (what the headers say, the record)."""
        read = ((DeadLetter.from_headers(record.headers), record) for record in list(self.heard[DEAD_LETTERS.name]))
        return [(letter, record) for letter, record in read if letter.origin == origin]

    async def letter(self, origin):
        return (await until(lambda: self.letters(origin), f"a dead letter of {origin}"))[0]

    def events(self, account):
        """(event, data) of an account in order, each once."""
        read = (parse_event(record.value) for record in list(self.heard[EVENTS.name]) if record.key == account.encode())
        return list({event.sequence: (event, data) for event, data in read}.values())

    def types(self, account):
        return [event.type.removeprefix("LOY_") for event, _ in self.events(account)]

    def balances(self):
        """The last balance of each account."""
        last = {}
        for record in list(self.heard[EVENTS.name]):
            event = orjson.loads(record.value)
            known = last.get(event["subject"])
            if known is None or event["sequence"] > known["sequence"]:
                last[event["subject"]] = event
        return {subject: event["data"]["balance"] for subject, event in last.items()}

    async def all_answered(self, seconds=DEADLINE):
        """Wait until every record sent has its answer."""

        def missing():
            return self.sent - self.answered

        await until(lambda: not missing(), lambda: f"answers to {len(missing())} records, e.g. {sorted(missing())[:3]}", seconds)

    # -- proving

    async def quiet(self):
        """Nothing is on its way any more, and the accounts are what the log of record says; their hash."""
        unrest = []

        async def at_rest():
            unrest[:] = await self._unrest()
            return not unrest

        await until(at_rest, lambda: f"at rest are not {len(unrest)} accounts: {unrest[:3]}")
        return await state_hash(self.bootstrap, self.settings.group)

    async def _unrest(self):
        """Accounts that have something due, or are not what the log of record says."""
        last, plans = defaultdict(int), {key: Plan(program) for key, program in (await published(self.bootstrap)).items()}
        rows, rebuilt = await self.rows(), {}
        async for record in read_topic(self.bootstrap, COMMANDS.name):
            last[record.partition] = max(last[record.partition], record.timestamp_ms // 1000)
            fold([record], plans, rebuilt)
        due = [("due", key) for key, row in rows.items() if 0 < due_of(row.value).next_due <= last[row.partition]]
        kept = {key: row.value for key, row in rows.items()}
        return due + [("differs", key) for key in kept.keys() | rebuilt.keys() if kept.get(key) != rebuilt.get(key)]

    async def rows(self):
        """The accounts as their changelog has them: records by key."""
        return await latest_by_key(self.bootstrap, changelogs(self.settings)[0].name)

    async def prove(self):
        """`loy verify` is clean; the accounts are what the log of record says. Returns the figures and the hash."""
        kept = await self.quiet()
        findings = await verify(self.bootstrap)
        assert findings.ok, findings.violation
        assert kept == await rebuilt_hash(self.bootstrap)
        return findings.figures, kept
