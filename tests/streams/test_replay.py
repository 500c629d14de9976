import asyncio
import time
from datetime import date

import pytest
from aiokafka import AIOKafkaProducer

from schemas.topics import Topic
from streams import replay
from streams.baskets import Arrival
from streams.log import read_topic
from streams.topic_admin import apply_topics

NOON = 1_483_290_000_000  # 2017-01-01 12:00 in New York


def arrivals(topic, count=10, every_ms=1000):
    return [Arrival(NOON + n * every_ms, topic, f"card:{n % 3}".encode(), f"value {n}".encode()) for n in range(count)]


@pytest.fixture
async def topic(kafka, topic_prefix):
    name = topic_prefix + "checks"
    await apply_topics(kafka.bootstrap, topics=[Topic(name, "", None, "", "", (), partitions=3)])
    return name


async def stored(kafka, topic):
    return [record async for record in read_topic(kafka.bootstrap, topic)]


async def test_records_keep_their_time_key_and_bytes_and_tell_when_they_were_sent(kafka, topic):
    before = time.time_ns() // 1_000_000
    sent = arrivals(topic, 300)
    assert await replay.replay(kafka.bootstrap, sent) == 300
    after = time.time_ns() // 1_000_000
    found = await stored(kafka, topic)
    assert sorted((r.timestamp_ms, r.key, r.value) for r in found) == sorted((a.at_ms, a.key, a.value) for a in sent)
    assert all(before <= int(record.header("sent-at")) <= after for record in found)


async def test_records_of_one_key_stay_in_order(kafka, topic):
    await replay.replay(kafka.bootstrap, arrivals(topic, 1000))
    found = await stored(kafka, topic)
    for key in (b"card:0", b"card:1", b"card:2"):
        times = [record.timestamp_ms for record in found if record.key == key]
        assert times == sorted(times)
        assert len({record.partition for record in found if record.key == key}) == 1


async def test_an_empty_key_is_no_key(kafka, topic):
    await replay.replay(kafka.bootstrap, [Arrival(NOON, topic, b"", b"anonymous")])
    assert [record.key for record in await stored(kafka, topic)] == [None]


async def test_speed_paces_by_the_records_own_time(kafka, topic):
    began = time.monotonic()
    await replay.replay(kafka.bootstrap, arrivals(topic, 11), speed=20)
    assert 0.5 <= time.monotonic() - began < 5  # ten seconds of life


async def test_progress_counts_up_to_the_end(kafka, topic):
    told = []
    await replay.replay(kafka.bootstrap, arrivals(topic, 700), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 700


async def test_the_gate_holds_back_what_is_too_far_ahead(kafka, topic):
    shut, opened = asyncio.Event(), asyncio.Event()
    asked = []

    async def gate(sent):
        asked.append(sent)
        if sent:
            shut.set()
            await opened.wait()

    going = asyncio.create_task(replay.replay(kafka.bootstrap, arrivals(topic, 600), gate=gate))
    await shut.wait()
    assert not going.done()
    assert 0 < asked[-1] < 600
    opened.set()
    assert await going == 600


async def test_a_confirmation_of_what_was_refused_is_not_sent(kafka, topic):
    reserve = Arrival(NOON, topic, b"card:1", b"reserve")
    confirm = Arrival(NOON, topic, b"card:1", b"confirm", unless_refused="r-1")
    other = Arrival(NOON, topic, b"card:2", b"other", unless_refused="r-2")
    assert await replay.replay(kafka.bootstrap, [reserve, confirm, other], refused={"r-1"}) == 2
    assert sorted(record.value for record in await stored(kafka, topic)) == [b"other", b"reserve"]


async def test_cancelling_leaves_a_clean_prefix_of_each_key(kafka, topic):
    sent = arrivals(topic, 50_000, every_ms=1)
    enough = asyncio.Event()

    def progress(count):
        if count >= 1000:
            enough.set()

    going = asyncio.create_task(replay.replay(kafka.bootstrap, sent, progress=progress))
    await enough.wait()
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    found = await stored(kafka, topic)
    assert 1000 <= len(found) < 50_000
    for key in (b"card:0", b"card:1", b"card:2"):
        mine = [arrival.value for arrival in sent if arrival.key == key]
        kept = [record.value for record in found if record.key == key]
        assert kept == mine[: len(kept)]


@pytest.mark.parametrize("size", [3_000_000, 13_000_000])
async def test_what_kafka_refuses_is_an_error(kafka, topic, size):
    too_large = Arrival(NOON, topic, b"card:1", b"x" * size)
    with pytest.raises(replay.SendError, match="did not take"):
        await replay.replay(kafka.bootstrap, [too_large])


async def test_what_the_source_raises_comes_out(kafka, topic):
    def broken():
        yield from arrivals(topic, 1)
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        await replay.replay(kafka.bootstrap, broken())


@pytest.fixture
async def identities(kafka, topic_prefix):
    name = topic_prefix + "identities"
    await apply_topics(kafka.bootstrap, topics=[Topic(name, "", None, "", "", (), compacted=True, partitions=1)])
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    yield name, producer
    await producer.stop()


def identity(kind):
    return f'{{"loyalty_id":"H-1","program":"main","kind":"{kind}"}}'.encode()


async def test_registration_is_awaited_until_every_identifier_is_there(kafka, identities):
    topic, producer = identities
    await producer.send_and_wait(topic, identity("loyalty"), key=b"a")
    await producer.send_and_wait(topic, identity("card"), key=b"b")
    waiting = asyncio.create_task(replay.await_registered(kafka.bootstrap, 2, topic=topic))
    await producer.send_and_wait(topic, identity("card"), key=b"b")
    assert not waiting.done()
    await producer.send_and_wait(topic, identity("phone"), key=b"c")
    await waiting


async def test_registration_that_does_not_come_says_how_far_it_got(kafka, identities):
    topic, producer = identities
    await producer.send_and_wait(topic, identity("card"), key=b"b")
    await producer.send_and_wait(topic, None, key=b"gone")
    with pytest.raises(replay.NotRegisteredError, match="1 of 2 identifiers"):
        await replay.await_registered(kafka.bootstrap, 2, topic=topic, seconds=1)


@pytest.mark.parametrize(("text", "speed"), [("full", None), ("live", 1), ("1x", 1), ("100x", 100), ("0.5", 0.5)])
def test_speeds_are_said_as_words_or_factors(text, speed):
    assert replay.speed_of(text) == speed


@pytest.mark.parametrize("text", ["", "x", "fast", "0x", "-1", "nan", "inf"])
def test_an_unknown_speed_is_refused(text):
    with pytest.raises(ValueError, match="unknown speed"):
        replay.speed_of(text)


def test_moving_to_today_keeps_the_weekday_and_stays_in_the_past():
    start = date(2017, 1, 2)
    for day in range(7):
        today = date(2026, 11, 16 + day)
        moved = replay.days_to_today(start, today)
        assert moved % 7 == 0
        assert 0 <= (today - start).days - moved < 7


def test_a_live_replay_leaves_out_what_is_over():
    assert [a.at_ms for a in replay.from_now(arrivals("t", 5), NOON + 2500)] == [NOON + 3000, NOON + 4000]
