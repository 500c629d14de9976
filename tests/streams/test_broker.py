"""The broker is Apache Kafka, keeps what it acknowledged, and leaves nothing behind."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import NewTopic
from aiokafka.errors import MessageSizeTooLargeError

from streams import broker
from streams.broker import Broker, Node, java_command
from streams.kafka_jars import POM, BrokerError
from tests.kafka_topics import asking, create

JUNE_2017 = 1_496_311_200_000
FOREVER = {"retention.ms": "-1"}
SERVE = """
import sys
from pathlib import Path
from streams.broker import serve
serve(Path(sys.argv[1]), int(sys.argv[2]), lambda line: print(line, flush=True))
"""


async def test_what_is_produced_is_consumed_with_its_key_and_headers(kafka, topic_prefix):
    topic = await created(kafka.bootstrap, f"{topic_prefix}checks")
    await produce(kafka.bootstrap, topic, b"a check", key=b"card:1", headers=[("origin", b"till 7")])
    (record,) = await consume(kafka.bootstrap, topic, 1)
    assert (record.key, record.value, record.headers) == (b"card:1", b"a check", (("origin", b"till 7"),))


async def test_a_record_of_2017_keeps_its_own_time(kafka, topic_prefix):
    topic = await created(kafka.bootstrap, f"{topic_prefix}history", FOREVER)
    await produce(kafka.bootstrap, topic, b"an old basket", timestamp_ms=JUNE_2017)
    (record,) = await consume(kafka.bootstrap, topic, 1)
    assert record.timestamp == JUNE_2017


async def test_a_record_of_one_and_a_half_megabytes_is_taken(kafka, topic_prefix):
    topic = await created(kafka.bootstrap, f"{topic_prefix}large")
    await produce(kafka.bootstrap, topic, bytes(1_500_000), max_request_size=20_000_000)
    (record,) = await consume(kafka.bootstrap, topic, 1)
    assert len(record.value) == 1_500_000


@pytest.mark.parametrize("limit", [1_048_576, 20_000_000], ids=["by the client", "by the broker"])
async def test_a_record_of_ten_megabytes_is_refused(kafka, topic_prefix, limit):
    topic = await created(kafka.bootstrap, f"{topic_prefix}huge")
    with pytest.raises(MessageSizeTooLargeError):
        await produce(kafka.bootstrap, topic, bytes(10_000_000), max_request_size=limit)


async def test_a_transactional_producer_is_served(kafka, topic_prefix):
    topic = await created(kafka.bootstrap, f"{topic_prefix}transactions")
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=topic)
    async with producer, producer.transaction():
        await producer.send_and_wait(topic, b"both or none")
    assert [record.value for record in await consume(kafka.bootstrap, topic, 1)] == [b"both or none"]


async def test_a_topic_nobody_created_does_not_come_to_be(kafka, topic_prefix):
    topic = await created(kafka.bootstrap, f"{topic_prefix}known")
    async with asking(kafka.bootstrap) as admin:
        await admin.describe_topics([f"{topic_prefix}misspelt"])
        topics = await admin.list_topics()
    assert [topic] == [name for name in topics if name.startswith(topic_prefix)]


async def test_a_stopped_broker_has_its_records_on_the_next_start(tmp_path):
    with Broker.start(tmp_path) as first:
        await created(first.bootstrap, "kept", FOREVER)
        await produce(first.bootstrap, "kept", b"of 2017", timestamp_ms=JUNE_2017)
    assert (tmp_path / "log" / ".kafka_cleanshutdown").exists()
    with Broker.start(tmp_path) as second:
        assert [record.value for record in await consume(second.bootstrap, "kept", 1)] == [b"of 2017"]


def test_the_data_folder_may_have_any_name(tmp_path):
    with Broker.start(tmp_path / "données, Zürich") as running:
        assert running.data.joinpath("log", "meta.properties").exists()


def test_a_cluster_id_may_begin_with_a_dash(tmp_path):
    node = Node(port=broker.free_port(), controller_port=broker.free_port(), cluster="-d4shDash_dash-dash-da0")
    with Broker.launch(node, tmp_path) as running:
        running.wait_ready()
    assert "cluster.id=-d4shDash_dash-dash-da0" in (tmp_path / "log" / "meta.properties").read_text()


async def test_a_killed_broker_has_its_acknowledged_records_on_the_next_start(tmp_path):
    with Broker.start(tmp_path) as first:
        await created(first.bootstrap, "kept")
        await produce(first.bootstrap, "kept", b"acknowledged")
        first.kill()
    with Broker.start(tmp_path) as second:
        assert [record.value for record in await consume(second.bootstrap, "kept", 1)] == [b"acknowledged"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_foreground_broker_cleanly(tmp_path, number):
    port = broker.free_port()
    with serving(tmp_path, port) as process:
        assert f"ready on 127.0.0.1:{port}, data in {tmp_path}\n" == process.stdout.readline()
        assert broker.live_nodes(port) == {1}
        process.send_signal(number)
        assert process.wait(30) == 0
    assert java_on(tmp_path) == []
    assert (tmp_path / "log" / ".kafka_cleanshutdown").exists()


def test_a_signal_while_starting_stops_the_foreground_broker_too(tmp_path):
    with serving(tmp_path, broker.free_port()) as process:
        eventually(lambda: java_on(tmp_path) or failed(process))
        process.terminate()
        assert process.wait(30) == 0
    assert java_on(tmp_path) == []


def test_a_killed_owner_leaves_no_java_behind(tmp_path):
    with serving(tmp_path, broker.free_port()) as process:
        assert process.stdout.readline().startswith("ready")
        assert len(java_on(tmp_path)) == 1
        process.kill()
    eventually(lambda: not java_on(tmp_path))


def test_an_owner_killed_while_kafka_starts_leaves_no_java_behind(tmp_path):
    with serving(tmp_path, broker.free_port()) as process:
        eventually(lambda: java_on(tmp_path) or failed(process))
        process.kill()
    eventually(lambda: not java_on(tmp_path))


def test_a_foreground_broker_that_dies_is_an_error_with_the_place_of_its_log(tmp_path):
    with serving(tmp_path, broker.free_port()) as process:
        process.stdout.readline()
        (java,) = java_on(tmp_path)
        signal.pidfd_send_signal(java_fd := os.pidfd_open(java), signal.SIGKILL)
        os.close(java_fd)
        assert process.wait(30) == 1
        assert "Kafka ended by itself with code -9" in process.stderr.read()


def test_kafka_starts_from_classes_that_were_laid_out_once():
    (said,) = [word for word in java_command() if word.startswith("-XX:SharedArchiveFile=")]
    archive = Path(said.partition("=")[2])
    assert archive.stat().st_size > 10_000_000
    changed = archive.stat().st_mtime_ns
    assert said in java_command()
    assert archive.stat().st_mtime_ns == changed


def test_a_taken_port_is_named(tmp_path, kafka):
    port = int(kafka.bootstrap.rpartition(":")[2])
    with pytest.raises(BrokerError, match=f"Port {port} on 127.0.0.1 is taken"):
        Broker.start(tmp_path, port)


def test_a_folder_in_use_is_refused_at_once(tmp_path):
    with Broker.start(tmp_path), pytest.raises(BrokerError, match=f"Another Kafka uses {tmp_path}"):
        Broker.start(tmp_path)


def test_a_broker_that_cannot_start_says_kafkas_own_reason(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "meta.properties").write_text("version=1\ncluster.id=another\nnode.id=9\n")
    with pytest.raises(BrokerError, match=r"(?s)Kafka ended with code 1 while starting.*node id 9.*broker\.log"):
        Broker.start(tmp_path)


def test_a_port_with_no_kafka_has_no_nodes():
    assert broker.live_nodes(broker.free_port()) == set()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        answering = threading.Thread(target=hang_up, args=[stranger])
        answering.start()
        assert broker.live_nodes(port) == set()
        answering.join()


def test_three_nodes_vote_together_and_replicate():
    nodes = {1: 9193, 2: 9293, 3: 9393}
    properties = Node(port=9192, controller_port=9193, voters=nodes).properties()
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:9193,2@127.0.0.1:9293,3@127.0.0.1:9393"
    assert (properties["offsets.topic.replication.factor"], properties["min.insync.replicas"]) == ("3", "2")


def test_the_container_runs_the_same_version_and_settings():
    service = yaml.safe_load((POM.parents[1] / "compose.yaml").read_text())["services"]["kafka"]
    version = re.search("<kafka.version>(.*)</", POM.read_text())
    assert version
    assert f"apache/kafka:{version[1]}" == service["image"]
    there = {name.removeprefix("KAFKA_").lower().replace("_", "."): str(v) for name, v in service["environment"].items()}
    of_the_place = re.compile("listeners$|voters$|^log.dirs$|protocol.map$")  # the other containers have a listener of their own
    here = Node(port=9092, controller_port=9093).properties()
    assert {k: v for k, v in here.items() if there.get(k) != v and not of_the_place.search(k)} == {}


async def created(bootstrap: str, topic: str, settings: dict[str, str] | None = None) -> str:
    await create(bootstrap, NewTopic(topic, 1, 1, topic_configs=settings or {}))
    return topic


async def produce(bootstrap: str, topic: str, value: bytes, *, max_request_size: int = 1_048_576, **record: object) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=max_request_size) as producer:
        await producer.send_and_wait(topic, value, **record)


async def consume(bootstrap: str, topic: str, count: int) -> list[ConsumerRecord]:
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=f"{topic}-readers", auto_offset_reset="earliest"
    ) as consumer:
        return [await asyncio.wait_for(consumer.getone(), 30) for _ in range(count)]


def hang_up(server: socket.socket) -> None:
    server.accept()[0].close()


@contextmanager
def serving(data: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    call = [sys.executable, "-c", SERVE, str(data), str(port)]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def failed(process: subprocess.Popen[str]) -> bool:
    """False while it runs; when it has ended, fail with what it said."""
    assert process.poll() is None, process.stderr.read()
    return False


def java_on(data: Path) -> list[int]:
    """The living processes that run a Kafka on this folder."""
    folders = [file.parent for file in Path("/proc").glob("[0-9]*/cmdline") if b"\0kafka.Kafka\0" in content(file)]
    return [int(folder.name) for folder in folders if runs_in(folder, data)]


def content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it has just ended
        return b""


def runs_in(process: Path, data: Path) -> bool:
    try:
        return (process / "cwd").readlink() == data
    except OSError:
        return False


def eventually(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
