"""The fence, on a real broker; and the folder that one worker works in at a time."""

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import ProducerFenced

from streams.runtime.fencing import fence
from streams.runtime.premises import Premises
from tests.kafka_topics import create


@pytest.fixture
async def changelog(kafka, topic_prefix):
    """A changelog of two partitions."""
    await create(kafka.bootstrap, NewTopic(f"{topic_prefix}c", 2, 1, topic_configs={"cleanup.policy": "compact"}))
    return f"{topic_prefix}c"


@pytest.fixture
async def owner(kafka):
    """A worker's producer."""
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all", enable_idempotence=True) as producer:
        yield producer


def identity(producer: AIOKafkaProducer) -> tuple[int, int]:
    ids = producer._txn_manager
    return ids.producer_id, ids.producer_epoch


async def rows(kafka, topic: str, partition: int) -> list[tuple[bytes, bytes | None]]:
    place = TopicPartition(topic, partition)
    async with AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        found: list = []
        while await consumer.position(place) < end:
            found.extend((r.key, r.value) for r in (await consumer.getmany(place, timeout_ms=500)).get(place, ()))
        return found


@pytest.mark.parametrize("wrote", [True, False], ids=["it wrote there", "it never did"])
async def test_a_former_owner_is_refused_where_it_is_shut_out_and_nowhere_else(kafka, changelog, owner, wrote):
    clients = {"bootstrap_servers": kafka.bootstrap}
    if wrote:
        for partition in (0, 1):
            await owner.send_and_wait(changelog, b"old", b"k", partition)
    for _ in range(2):  # whoever takes over after one that died half-way does it again
        await fence(clients, {identity(owner): [(changelog, 0)]})
    await owner.send_and_wait(changelog, b"mine", b"k", 1)
    with pytest.raises(ProducerFenced):
        await owner.send_and_wait(changelog, b"stale", b"k", 0)
    async with AIOKafkaProducer(**clients, acks="all", enable_idempotence=True) as heir:
        await heir.send_and_wait(changelog, b"new", b"k", 0)
    found = dict(await rows(kafka, changelog, 0))
    assert found.pop(b"k") == b"new"
    assert list(found.values()) == [None], "of the fence no reader of the table sees anything"


async def test_two_heirs_shut_the_same_worker_out_of_a_partition_each(kafka, changelog, owner):
    clients = {"bootstrap_servers": kafka.bootstrap}
    for partition in (0, 1):
        await fence(clients, {identity(owner): [(changelog, partition)]})
    for partition in (0, 1):
        with pytest.raises(ProducerFenced):
            await owner.send_and_wait(changelog, b"stale", b"k", partition)


def test_a_folder_has_one_worker_at_a_time_and_remembers_the_last(tmp_path, monkeypatch):
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        raise SystemExit(code)

    monkeypatch.setattr("os._exit", leave)
    first = Premises(tmp_path, "loy")
    assert not first.move_in("one")
    with pytest.raises(SystemExit):
        Premises(tmp_path, "loy")
    assert codes == [70]
    first.leave()
    second = Premises(tmp_path, "loy")
    assert second.move_in("two") == "one"
    second.leave()
