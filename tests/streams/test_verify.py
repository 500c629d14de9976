"""`loy verify` on the real broker: it reads while others write, waits for what is on its way, and says what retention took."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from rich.console import Console

from schemas.topics import COMMANDS, EVENTS, REPLIES, TOPICS
from streams.broker import Broker
from streams.log import UnknownTopicError
from streams.proof import Law
from streams.topic_admin import apply_topics
from streams.verify import verify
from tests.kafka_topics import asking, clear
from tests.streams.written_topics import FEEDING, NOW, Topics

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A broker of its own: the catalogue's names must belong to these tests alone."""
    with Broker.start(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap


@pytest.fixture
async def admin(broker):
    async with asking(broker) as admin:
        yield admin


@pytest.fixture
async def catalogue(broker):
    await clear(broker, [topic.name for topic in TOPICS])
    assert (await apply_topics(broker, 1, keep_history=True)).ok
    return broker


@pytest.fixture
async def publish(broker):
    """Writes a log that was made in memory, from where it was written to before."""
    async with AIOKafkaProducer(bootstrap_servers=broker) as producer:
        done = {}

        async def write(topics, *names):
            for name in names or FEEDING:
                for record in topics.records[name][done.get(name, 0) :]:
                    sent = await producer.send_and_wait(
                        name, record.value, record.key, 0, record.timestamp_ms, list(record.headers)
                    )
                    assert sent.offset == record.offset
                done[name] = len(topics.records[name])

        yield write


@pytest.fixture
def sold():
    topics = Topics()
    for n in range(3):
        origin = topics.check()
        topics.command(f"C-{n}", origin=origin)
        topics.reply(origin, id_=f"C-{n}")
        topics.event(f"C-{n}", moves=[("issued", "available", 10, n + 1)])
    return topics


async def test_a_clean_log_is_proven_with_its_figures(catalogue, publish, sold):
    await publish(sold)
    seen = []
    findings = await verify(catalogue, settle_seconds=0, progress=lambda done, total: seen.append((done, total)))
    assert findings.ok, findings.violation
    assert findings.figures.points["available"] == 30
    assert findings.notes == ()
    assert seen[-1] == (12, 12)
    console = Console(record=True, width=100)
    console.print(findings.render())
    assert "Proven." in console.export_text()


async def test_empty_topics_are_proven_at_once(catalogue):
    assert (await verify(catalogue)).ok


async def test_an_outcome_that_is_on_its_way_is_waited_for(catalogue, publish, sold):
    origin = sold.check()
    sold.command("C-3", origin=origin)
    await publish(sold)

    async def finish(_done, _total):
        sold.reply(origin, id_="C-3")
        sold.event("C-3", moves=[("issued", "available", 10, 4)])
        await publish(sold)

    tasks = []

    def after_the_first_look(done, total):
        if done == total and not tasks:
            tasks.append(asyncio.create_task(finish(done, total)))

    findings = await verify(catalogue, settle_seconds=20, progress=after_the_first_look)
    assert findings.ok, findings.violation
    assert findings.seconds < 10
    await asyncio.gather(*tasks)


async def test_an_outcome_that_does_not_come_is_lost(catalogue, publish, sold):
    sold.check()
    await publish(sold)
    findings = await verify(catalogue, settle_seconds=0.3)
    assert findings.violation.law is Law.LOST
    assert findings.violation.where == ("pos.checks/0/3",)
    console = Console(record=True, width=100)
    console.print(findings.render())
    assert "lost" in console.export_text()


async def test_replies_that_are_gone_by_retention_are_said_and_not_judged(catalogue, publish, admin):
    topics = Topics()
    for n in range(4):
        topics.reply(topics.check(at=NOW + n), id_=f"C-{n}", at=NOW + n)
    await publish(topics)
    await admin.delete_records({TopicPartition(REPLIES.name, 0): RecordsToDelete(before_offset=2)})
    findings = await verify(catalogue, settle_seconds=0)
    assert findings.ok, findings.violation
    assert findings.figures.unjudged == 2
    assert "Older replies are gone" in findings.notes[0]


@pytest.mark.parametrize("topic", [COMMANDS, EVENTS])
async def test_without_the_beginning_of_the_log_nothing_is_proven(catalogue, publish, sold, admin, topic):
    await publish(sold)
    await admin.delete_records({TopicPartition(topic.name, 0): RecordsToDelete(before_offset=1)})
    findings = await verify(catalogue, settle_seconds=0)
    assert findings.violation.law is Law.TRIMMED
    assert findings.violation.where == (f"{topic.name}/0/1",)


async def test_topics_that_are_missing_are_named(catalogue):
    await clear(catalogue, [EVENTS.name])
    with pytest.raises(UnknownTopicError, match=EVENTS.name):
        await verify(catalogue)
