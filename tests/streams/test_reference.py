"""Mirrors of the compacted topics: complete when they say so, unharmed by what cannot be read."""

import asyncio
import os
import time

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from schemas.codec import encode
from schemas.members import Identity
from streams import metrics
from streams.domain.plan import Plan
from streams.reference import Directory, Mirror, StoredMirror, version_in_force
from streams.runtime.stores import KEPT_SECONDS, Stores
from tests.builders import START, after, program
from tests.kafka_topics import create

AT = int(START.timestamp())


@pytest.fixture
async def topic(kafka, topic_prefix):
    await create(kafka.bootstrap, NewTopic(f"{topic_prefix}rows", 1, 1, topic_configs={"cleanup.policy": "compact"}))
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


async def test_L11_nobody_goes_on_with_a_mirror_whose_fetcher_has_ended(mirror, monkeypatch):
    ended = asyncio.get_running_loop().create_future()
    monkeypatch.setattr("os._exit", ended.set_result)
    await mirror.start()
    fetcher = mirror._reader._fetcher
    fetcher._get_actions_per_node = lambda _: 1 / 0
    async with asyncio.timeout(30):
        assert await ended == 70
    fetcher._fetch_task = asyncio.create_task(asyncio.sleep(0))  # with the one that ended, stopping would raise


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


# ---------------------------------------------------------------- on disk

ANNA, BERT = (Identity(loyalty_id=f"H-{n}", program="main", kind="card") for n in (1, 2))


def checked(raw):
    Identity.model_validate_json(raw)
    return raw


@pytest.fixture
def stored(kafka, topic, tmp_path):
    """A mirror of a new process over the same folder, each time it is called; the one before has ended."""
    mirrors = []

    def again():
        for one in mirrors:
            one.close()
        mirrors.append(StoredMirror(kafka.bootstrap, topic, checked, tmp_path))
        return mirrors[-1]

    yield again
    for one in mirrors:
        one.close()


async def test_rows_on_disk_are_kept_as_they_came(stored, put):
    await put(b"00", encode(ANNA))
    mirror = stored()
    assert mirror.get("00") is None
    await mirror.start()
    assert mirror.get("00") == encode(ANNA)
    await put(b"00", None)
    await put(b"01", b"no identity")
    await mirror.catch_up()
    assert (mirror.get("00"), mirror.get("01")) == (None, None)
    await mirror.stop()


async def test_what_was_read_once_is_not_read_again(stored, put, monkeypatch):
    await put(b"00", encode(ANNA))
    first = stored()
    await first.start()
    await first.stop()
    assert first.get("00") == encode(ANNA)
    await put(b"01", encode(BERT))
    seen, second = [], stored()
    monkeypatch.setattr(second, "_parse", lambda raw: seen.append(raw) or raw)
    await second.start()
    assert (second.get("00"), second.get("01")) == (encode(ANNA), encode(BERT))
    assert seen == [encode(BERT)]
    await second.stop()


@pytest.mark.parametrize("kept", [(41, 0), (0, KEPT_SECONDS + 60)], ids=["of another topic", "old"])
async def test_rows_that_may_be_wrong_are_forgotten(stored, put, topic, tmp_path, caplog, kept):
    offset, age = kept
    before = Stores(tmp_path, topic)
    before.of(0).write([(b"00", encode(ANNA))], offset)
    before.close()
    for file in (tmp_path / f"{topic}-0.db").iterdir():
        os.utime(file, (time.time() - age, time.time() - age))
    await put(b"01", encode(BERT))
    mirror = stored()
    await mirror.start()
    assert (mirror.get("00"), mirror.get("01")) == (None, encode(BERT))
    assert "is read from its start" in caplog.text or "begins anew" in caplog.text
    await mirror.stop()
