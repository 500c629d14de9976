"""Into a Kafka that asks who one is: the worker and every tool, by one set of variables."""

import asyncio
import json
import sys

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.codec import encode
from schemas.topics import CHECKS, MEMBER_COMMANDS, REPLIES
from streams.broker import HOST
from streams.settings import PREFIX, Settings
from streams.system import start_worker
from tests.builders import START, program
from tests.living import ROOT, clean_environment
from tests.streams.guarded_broker import PASSWORD, USER, guarded_broker
from tests.tills import opt_in, sale


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with guarded_broker(tmp_path_factory.mktemp("guarded")) as running:
        yield running


@pytest.fixture
def access(node, tmp_path):
    """What a deployment would set."""
    (tmp_path / "password").write_text(PASSWORD + "\n")
    return {
        "LOY_KAFKA_BOOTSTRAP": f"{HOST}:{node.tls_port}",
        "LOY_KAFKA_PROTOCOL": "SASL_SSL",
        "LOY_KAFKA_USERNAME": USER,
        "LOY_KAFKA_PASSWORD_FILE": str(tmp_path / "password"),
        "LOY_KAFKA_CA": str(node.certificate.with_name("ca.pem")),
        "LOY_PARTITIONS": "4",
    }


async def loy(environment, *words):
    """Exit code, what it printed, and its complaint."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streams", *words),
        cwd=ROOT,
        env=clean_environment() | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def answers(bootstrap, count):
    """The first replies, read by the broker's open door."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as ear:
        await ear._client._wait_on_metadata(REPLIES.name)
        ear.assign([TopicPartition(REPLIES.name, n) for n in ear.partitions_for_topic(REPLIES.name)])
        return [json.loads((await ear.getone()).value) for _ in range(count)]


@pytest.mark.broker
async def test_the_worker_and_the_tools_are_let_in_by_scram_over_tls(node, access, tmp_path, monkeypatch):
    (tmp_path / "program.json").write_bytes(encode(program()))
    for command in ("topics apply", f"program publish {tmp_path / 'program.json'}"):
        code, _, complaint = await loy(access, *command.split())
        assert code == 0, complaint
    for name, value in access.items():
        monkeypatch.setenv(name, value)
    worker = start_worker(Settings.load(data=tmp_path / "workers"), "one")
    opened = f"{HOST}:{node.port}"
    try:
        now = int(START.timestamp() * 1000)
        async with AIOKafkaProducer(bootstrap_servers=opened) as till:
            for topic, key, body in ((MEMBER_COMMANDS, b"H-1", opt_in("H-1", START)), (CHECKS, b"", sale("c-1", [1000], START))):
                await till.send_and_wait(topic.name, json.dumps(body).encode(), key, timestamp_ms=now)
        replies = await asyncio.wait_for(answers(opened, 2), 60)
    finally:
        assert worker.stop() == 0, worker.log.read_text()[-3000:]
    assert {reply["code"] for reply in replies} == {"OK", "ANONYMOUS"}
    for command in ("verify", "state-hash --rebuild", "program list", "dead-letters list"):
        code, out, complaint = await loy(access, *command.split())
        assert code == 0, out + complaint


@pytest.mark.broker
async def test_plain_passwords_are_taken_too_as_clouds_want_them(node, access):
    asking = access | {"LOY_KAFKA_PROTOCOL": "SASL_PLAINTEXT", "LOY_KAFKA_BOOTSTRAP": f"{HOST}:{node.plain_port}"}
    del asking["LOY_KAFKA_CA"]
    code, _, complaint = await loy(asking | {"LOY_KAFKA_MECHANISM": "PLAIN"}, "topics", "apply")
    assert code == 0, complaint

    for wrong, why in (
        ({"LOY_KAFKA_PASSWORD": "another"}, "SaslAuthenticationFailed"),
        ({"LOY_KAFKA_BOOTSTRAP": access["LOY_KAFKA_BOOTSTRAP"], "LOY_KAFKA_PROTOCOL": "SASL_SSL"}, "CERTIFICATE_VERIFY_FAILED"),
    ):
        code, _, complaint = await loy(asking | wrong, "verify")
        assert code == 1
        assert "does not let us in" in complaint
        assert why in complaint
        assert complaint.count("\n") == 1


@pytest.mark.broker
async def test_a_broker_that_asks_is_named_to_whom_brings_nothing(node):
    code, _, complaint = await loy({PREFIX + "KAFKA_BOOTSTRAP": f"{HOST}:{node.plain_port}"}, "verify")
    assert code == 1
    assert complaint.startswith(f"loy: Kafka at {HOST}:{node.plain_port} does not let us in: Connection at")
