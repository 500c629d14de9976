"""Reading topics to a fixed end, on the real broker."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError
from aiokafka.protocol.commit import OffsetFetchResponse_v3

from streams.log import Record, Span, UnknownTopicError, keep_latest, latest_by_key, offsets_of, open_log, read_topic
from streams.topic_admin import Changelog, apply_topics
from tests.kafka_topics import asking


@pytest.fixture
async def topic(kafka, topic_prefix):
    name = f"{topic_prefix}log"
    await apply_topics(kafka.bootstrap, 3, topics=[Changelog(name, bytes_max=13_000_000)])
    return name


@pytest.fixture
async def producer(kafka):
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, max_request_size=13_000_000) as producer:
        yield producer


async def test_reading_an_empty_topic_ends_at_once(kafka, topic):
    assert [record async for record in read_topic(kafka.bootstrap, topic)] == []


async def test_every_record_comes_whole_and_in_order_within_its_partition(kafka, topic, producer):
    for n in range(300):
        await producer.send(topic, b"%d" % n, b"k%d" % n, partition=n % 2, timestamp_ms=1_000 + n, headers=[("n", b"%d" % n)])
    await producer.flush()
    records = [record async for record in read_topic(kafka.bootstrap, topic)]
    assert len(records) == 300
    for partition in (0, 1):
        own = [r for r in records if r.partition == partition]
        assert [r.offset for r in own] == list(range(150))
        assert [r.timestamp_ms for r in own] == [1_000 + partition + 2 * n for n in range(150)]
    last = max(records, key=lambda r: r.timestamp_ms)
    assert (last.key, last.value, last.header("n"), last.origin) == (b"k299", b"299", "299", f"{topic}/1/149")


async def test_what_is_written_after_the_spans_were_taken_is_not_read(kafka, topic, producer):
    await producer.send_and_wait(topic, b"before", b"k", partition=0)
    async with open_log(kafka.bootstrap) as log:
        spans = await log.spans(topic)
        await producer.send_and_wait(topic, b"after", b"k", partition=0)
        assert [r.value async for batch in log.read(spans) for r in batch] == [b"before"]
        assert [r.value async for batch in log.read(await log.spans(topic)) for r in batch] == [b"before", b"after"]


async def test_a_record_larger_than_a_fetch_is_read(kafka, topic, producer):
    await producer.send_and_wait(topic, b"x" * 12_000_000, b"big", partition=0)
    await producer.send_and_wait(topic, b"small", b"small", partition=0)
    assert [len(r.value) async for r in read_topic(kafka.bootstrap, topic)] == [12_000_000, 5]


async def test_L11_a_reader_whose_fetcher_has_ended_raises_instead_of_waiting(kafka, topic, producer):
    await producer.send_and_wait(topic, b"1", b"k", partition=0)
    async with open_log(kafka.bootstrap) as log:
        spans, fetcher = await log.spans(topic), log._consumer._fetcher
        fetcher._get_actions_per_node = lambda _: 1 / 0
        with pytest.raises(KafkaError, match="Unexpected error"):
            await asyncio.wait_for(anext(log.read(spans)), 30)
        fetcher._fetch_task = asyncio.create_task(asyncio.sleep(0))  # with the one that ended, stopping would raise too


@pytest.mark.parametrize("code", [14, 15, 16], ids=["still loading", "not available", "another one coordinates"])
async def test_L9_who_does_not_know_what_was_committed_is_asked_again(code):
    asked = Asked(OffsetFetchResponse_v3(0, [], code), OffsetFetchResponse_v3(0, [("t", [(2, 4503, "", 0)])], 0))
    assert await offsets_of(asked, "loy") == {TopicPartition("t", 2): 4503}
    assert asked.answers == []


@pytest.mark.parametrize("answer", [OffsetFetchResponse_v3(0, [], 30), OffsetFetchResponse_v3(0, [("t", [(2, 7, "", 30)])], 0)])
async def test_who_may_not_ask_is_told(answer):
    with pytest.raises(GroupAuthorizationFailedError):
        await offsets_of(Asked(answer), "loy")


async def test_what_a_group_has_committed(kafka, topic):
    part = TopicPartition(topic, 1)
    async with AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=topic, enable_auto_commit=False) as consumer:
        consumer.assign([part])
        await consumer.commit({part: 7})
    async with asking(kafka.bootstrap) as admin:
        assert await offsets_of(admin, topic) == {part: 7}
        assert await offsets_of(admin, f"{topic}-of-nobody") == {}


class Asked:
    """An admin client whose coordinator answers so."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def find_coordinator(self, _group):
        return 1

    async def _send_request(self, _request, _node):
        return self.answers.pop(0)


async def test_transaction_markers_at_the_end_do_not_hold_up_the_reader(kafka, topic):
    async with (
        AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=topic) as producer,
        producer.transaction(),
    ):
        await producer.send(topic, b"value", b"key", partition=0)
    assert [r.value async for r in read_topic(kafka.bootstrap, topic)] == [b"value"]


async def test_a_trimmed_partition_starts_where_its_log_starts(kafka, topic, producer):
    for n in range(10):
        await producer.send_and_wait(topic, b"%d" % n, b"k", partition=0)
    await apply_topics(kafka.bootstrap, 3, topics=[Plain(topic)])
    async with asking(kafka.bootstrap) as admin:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=4)})
    async with open_log(kafka.bootstrap) as log:
        spans = await log.spans(topic)
        assert spans[TopicPartition(topic, 0)] == Span(4, 10)
        assert [r.offset async for batch in log.read(spans) for r in batch] == list(range(4, 10))


class Plain:
    """Not compacted: records of a compacted topic cannot be deleted by offset."""

    partitions = None

    def __init__(self, name):
        self.name = name

    def settings(self, *, keep_history=False):
        return {"cleanup.policy": "delete"}


async def test_an_unknown_topic_is_named(kafka, topic_prefix):
    with pytest.raises(UnknownTopicError, match=f"{topic_prefix}nowhere"):
        [record async for record in read_topic(kafka.bootstrap, f"{topic_prefix}nowhere")]


async def test_the_latest_record_of_a_key_counts_and_a_tombstone_removes_it(kafka, topic, producer):
    for key, value in ((b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", None)):
        await producer.send_and_wait(topic, value, key, partition=1)
    latest = await latest_by_key(kafka.bootstrap, topic)
    assert {key: record.value for key, record in latest.items()} == {b"a": b"2"}


def test_a_key_comes_back_after_its_tombstone():
    latest = {}
    keep_latest(latest, [Record("t", 0, n, 0, b"a", value, ()) for n, value in enumerate((b"1", None, b"3"))])
    assert latest[b"a"].offset == 2


def test_the_last_of_several_headers_of_one_name_counts():
    record = Record("t", 0, 0, 0, None, None, (("outcome", b"applied"), ("outcome", b"repeated")))
    assert record.header("outcome") == "repeated"
    assert record.header("origin") is None
