"""Mirrors of the compacted topics: complete when they say so, unharmed by what cannot be read."""

import asyncio
import time

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.codec import encode
from schemas.members import Identity
from streams import metrics
from streams.domain.plan import Plan
from streams.reference import Directory, Mirror, version_in_force
from tests.builders import START, after, program

AT = int(START.timestamp())


@pytest.fixture
async def topic(kafka, topic_prefix):
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(f"{topic_prefix}rows", 1, 1, topic_configs={"cleanup.policy": "compact"})])
    await admin.close()
    return f"{topic_prefix}rows"


@pytest.fixture
async def put(kafka, topic):
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:

        async def put(key, value):
            await producer.send_and_wait(topic, value, key)

        yield put


@pytest.fixture
async def mirror(kafka, topic):
    mirror = Mirror(kafka.bootstrap, topic, lambda raw: int(raw.decode()))
    yield mirror
    await mirror.stop()


async def test_an_empty_topic_is_mirrored_at_once(mirror):
    await mirror.start()
    assert len(mirror) == 0


async def test_once_started_everything_written_before_is_there(mirror, put):
    for n in range(50):
        await put(b"k%d" % (n % 10), b"%d" % n)
    await mirror.start()
    assert dict(mirror.items()) == {f"k{n}": 40 + n for n in range(10)}


async def test_catching_up_shows_what_was_written_a_moment_ago(mirror, put):
    await mirror.start()
    for n in range(20):
        await put(b"k", b"%d" % n)
        await mirror.catch_up()
        assert mirror.get("k") == n


async def test_catching_up_with_nothing_new_does_not_wait_for_the_readers_long_poll(mirror, put):
    await put(b"k", b"1")
    await mirror.start()
    await mirror.catch_up()
    began = time.perf_counter()
    for _ in range(20):
        await mirror.catch_up()
    assert time.perf_counter() - began < 1.0  # 20 long polls would take two seconds


async def test_starting_again_catches_up(mirror, put):
    await mirror.start()
    await put(b"k", b"7")
    await mirror.start()
    assert mirror.get("k") == 7


async def test_a_tombstone_removes(mirror, put):
    await put(b"k", b"1")
    await mirror.start()
    await put(b"k", None)
    await put(b"never", None)
    await mirror.catch_up()
    assert mirror.get("k") is None


async def test_a_row_that_cannot_be_read_leaves_the_one_before_and_is_counted(mirror, put, topic, caplog):
    await put(b"k", b"1")
    await mirror.start()
    await put(b"k", b"a secret")
    await put(b"\xff", b"2")
    await put(b"other", b"3")
    await mirror.catch_up()
    assert dict(mirror.items()) == {"k": 1, "other": 3}
    assert metrics.REGISTRY.get_sample_value("loy_reference_errors_total", {"topic": topic}) == 2
    assert f"{topic}/0/1 cannot be read" in caplog.text
    assert "secret" not in caplog.text


async def test_several_may_catch_up_at_once(mirror, put):
    await mirror.start()
    await put(b"k", b"1")
    await asyncio.gather(*(mirror.catch_up() for _ in range(10)))
    assert mirror.get("k") == 1


async def test_a_mirror_that_never_started_stops(mirror):
    await mirror.stop()


# ---------------------------------------------------------------- which version


def plans(*programs):
    return iter([Plan(one) for one in programs])


def test_the_version_that_took_effect_last_is_in_force():
    versions = [program(version=n, effective_from=after(days=10 * n).isoformat()) for n in (3, 1, 2)]
    day = 86_400

    def at(seconds):
        found = version_in_force(plans(*versions), "main", AT + seconds)
        return found and found.key

    assert [at(9 * day), at(10 * day), at(20 * day - 1), at(20 * day), at(400 * day)] == [
        None,
        "main@1",
        "main@1",
        "main@2",
        "main@3",
    ]


def test_of_two_that_took_effect_at_once_the_higher_version_counts():
    found = version_in_force(plans(program(version=9), program(version=10)), "main", AT)
    assert found.key == "main@10"


def test_other_programs_do_not_count():
    assert version_in_force(plans(program(program="staff")), "main", AT) is None


def test_a_directory_answers_nothing_of_what_it_has_not_seen():
    directory = Directory("127.0.0.1:1")
    assert directory.identity("00") is None
    assert directory.version("main", AT) is None


def test_an_identity_is_kept_as_it_came():
    identity = Identity(loyalty_id="H-1", program="main", kind="card")
    directory = Directory("127.0.0.1:1")
    directory.identities._rows["00"] = encode(identity)
    assert directory.identity("00") == identity
