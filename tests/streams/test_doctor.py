"""`loy doctor`: a sound installation is good; each thing that can be wrong is named, with what helps."""

import json
import re
import time
from datetime import UTC, datetime, timedelta

import msgspec
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from typer.testing import CliRunner

from connectors.sandbox import sandbox_settings
from schemas.codec import encode
from schemas.topics import BACKLOG, CHECKS, EVENTS, PROGRAMS, REPLIES
from streams.app import changelogs, sink_group
from streams.broker import Broker, free_port
from streams.cli import app
from streams.doctor import examination
from streams.doctor.examination import _skewed, examine
from streams.publishing import PublishError, publish, published, versions
from streams.runtime import roll_topic
from streams.runtime.roll import Statement
from streams.settings import Settings
from streams.topic_admin import apply_topics
from tests.builders import program
from tests.kafka_topics import alter, clear

pytestmark = pytest.mark.broker
LONG_AGO = datetime.now(UTC) - timedelta(days=400)


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory):
    """A broker of its own: the catalogue's names belong to these tests alone."""
    with Broker.start(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap


@pytest.fixture
async def installed(bootstrap, monkeypatch, tmp_path):
    """Topics and a program, made right again for each test; the settings by environment, as a process has them."""
    for name, value in {
        "LOY_KAFKA_BOOTSTRAP": bootstrap,
        "LOY_PARTITIONS": "2",
        "LOY_DATA": str(tmp_path),
        "LOY_IDENTITY_KEY": "a key of this installation",
        "LOY_GROUP": f"loy-{tmp_path.name}"[:60],
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    await apply_topics(bootstrap, 2, extra=changelogs(settings))
    await publish(
        bootstrap,
        program(
            effective_from=LONG_AGO.replace(year=2024, month=1, day=1, hour=0, minute=0, second=0, microsecond=0).isoformat()
        ),
    )
    return settings


async def found(about, **options):
    """What is said about something, by state."""
    return {finding.state: finding for finding in await examine(**options) if finding.about == about}


class Member:
    """A worker of a group as others see it: it says that it lives, and has committed offsets."""

    def __init__(self, bootstrap, group, topics):
        self._consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        self._group = group
        self._parts = [TopicPartition(topic, n) for topic in topics for n in range(2)]

    async def __aenter__(self):
        await self._consumer.start()
        self._consumer.assign(self._parts)
        await self._consumer.commit({part: OffsetAndMetadata(0, "") for part in self._parts})
        await self._producer.start()
        await self._say(leaves=False)
        return self

    async def finish(self, topic):
        """All there is."""
        ends = await self._consumer.end_offsets([part for part in self._parts if part.topic == topic])
        await self._consumer.commit({part: OffsetAndMetadata(end, "") for part, end in ends.items()})

    async def __aexit__(self, *_):
        await self._say(leaves=True)
        await self._producer.stop()
        await self._consumer.stop()

    async def _say(self, *, leaves):
        said = Statement("one-1", (1, 0), 1 + leaves, 0, leaves=leaves)
        await self._producer.send_and_wait(roll_topic(self._group), msgspec.json.encode(said), partition=0)


async def write(bootstrap, topic, *, seconds_ago=0.0):
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        at = int((time.time() - seconds_ago) * 1000)
        await producer.send_and_wait(topic, b"{}", partition=0, timestamp_ms=at)


async def test_a_sound_installation_is_good(installed, bootstrap):
    async with Member(bootstrap, installed.group, [CHECKS.name]):
        findings = await examine()
    states = {finding.about: finding.state for finding in findings}
    assert {state for about, state in states.items() if about not in ("brokers", "disk")} == {"good"}, findings
    assert states["brokers"] == "warning"
    assert {"versions", "java", "settings", "disk", "kafka", "programs", "workers", "clock"} <= set(states)
    assert not any(finding.do for finding in findings if finding.state == "good")


async def test_nothing_of_the_catalogue_is_changed(installed, bootstrap):
    before = await apply_topics(bootstrap, 2, extra=changelogs(installed))
    await examine()
    after = await apply_topics(bootstrap, 2, extra=changelogs(installed))
    assert (before.existing, after.created, after.changes) == (after.existing, (), ())


async def test_a_missing_topic_is_named_with_what_creates_it(installed, bootstrap):
    await clear(bootstrap, [REPLIES.name])
    finding = (await found("topics"))["bad"]
    assert finding.says == f"missing: {REPLIES.name}"
    assert "loy topics apply" in finding.do


async def test_another_number_of_partitions_is_named_with_the_setting(installed, monkeypatch):
    monkeypatch.setenv("LOY_PARTITIONS", "3")
    finding = (await found("topics"))["bad"]
    assert "has 2 partitions instead of 3" in finding.says
    assert "LOY_PARTITIONS" in finding.do


async def test_a_setting_that_differs_is_named_unless_more_is_kept(installed, bootstrap):
    await alter(bootstrap, EVENTS.name, EVENTS.settings() | {"retention.ms": "1000"})
    assert "loy.events: retention.ms is 1000, should be -1" in (await found("topics"))["bad"].says
    await alter(bootstrap, EVENTS.name, EVENTS.settings() | {"retention.ms": "-1"})
    await alter(bootstrap, CHECKS.name, CHECKS.settings() | {"retention.ms": "-1"})
    assert "retention" not in (await found("topics")).get("bad", examination.Finding("", "good", "")).says


@pytest.fixture
async def unreadable(installed, bootstrap):
    """A version that only newer code can read, gone when the test is."""
    newer = orjson.loads(encode(program(program="newer", version=2))) | {"of_tomorrow": True}
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(PROGRAMS.name, orjson.dumps(newer), b"newer@2")
        yield "newer@2"
        await producer.send_and_wait(PROGRAMS.name, None, b"newer@2")


async def test_a_program_that_cannot_be_read_is_named_and_the_others_are_judged(unreadable):
    findings = await found("programs", probe=False)
    assert findings["bad"].says == f"cannot be read here: {unreadable}"
    assert findings["good"].says.startswith("main@1 counts")


@pytest.mark.parametrize(("version", "why"), [(1, "versions only go up"), (2, "give the change a new version")])
async def test_a_program_that_cannot_be_read_is_never_replaced(unreadable, bootstrap, version, why):
    with pytest.raises(PublishError, match=why):
        await publish(bootstrap, program(program="newer", version=version))


async def test_a_program_that_cannot_be_read_is_followed_by_its_next_version(unreadable, bootstrap):
    assert await publish(bootstrap, program(program="newer", version=3))
    assert {"main@1", "newer@3"} <= (await published(bootstrap)).keys()
    assert (await versions(bootstrap))[unreadable] is None


async def test_without_a_worker_one_is_asked_for(installed, bootstrap):
    assert "loy worker" in (await found("workers"))["bad"].do
    async with Member(bootstrap, installed.group, [CHECKS.name]):
        pass
    finding = (await found("workers"))["bad"]
    assert finding.says.startswith("0 at work")


async def test_a_worker_that_lags_is_named_in_records_and_seconds(installed, bootstrap):
    await write(bootstrap, CHECKS.name, seconds_ago=300)
    async with Member(bootstrap, installed.group, [CHECKS.name]):
        finding = (await found("workers"))["bad"]
    assert "records wait, the oldest for 30" in finding.says
    assert "/readyz" in finding.do


async def test_what_no_worker_says_on_the_roll_is_passed_over_as_workers_do(installed, bootstrap):
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for foreign in (b"{", None, b'{"worker": "\xff"}'):
            await producer.send_and_wait(roll_topic(installed.group), foreign, b"somebody", partition=0)
    async with Member(bootstrap, installed.group, [CHECKS.name]):
        [finding] = (await found("workers", probe=False)).values()
    assert finding.says.startswith("1 at work")


@pytest.mark.parametrize(("hours", "state"), [(0.5, "good"), (2, "warning"), (7, "bad")])
async def test_late_checks_may_wait_for_an_hour(installed, bootstrap, hours, state):
    async with Member(bootstrap, installed.group, [CHECKS.name, BACKLOG.name]) as member:
        await member.finish(BACKLOG.name)
        await write(bootstrap, BACKLOG.name, seconds_ago=hours * 3600)
        finding = (await found("backlog lane"))[state]
        assert re.search(rf"late checks wait, the oldest for {hours * 60:.0f} min", finding.says)
        assert ("LoyBacklogWaits" in finding.do) is (state != "good")
        await member.finish(BACKLOG.name)
        assert (await found("backlog lane"))["good"].says == "0 late checks wait"


async def test_a_sink_that_ended_is_noticed_and_one_that_never_ran_is_nobodys_fault(installed, bootstrap):
    assert await found("sink infobip") == {}
    async with Member(bootstrap, sink_group(installed, "infobip"), [EVENTS.name]):
        pass
    assert "loy sink infobip" in (await found("sink infobip"))["bad"].do


async def test_half_the_settings_of_a_sink_are_bad_and_whole_ones_good(installed, monkeypatch):
    for name, value in sandbox_settings("infobip", "http://127.0.0.1:1").items():
        monkeypatch.setenv(name, value)
    assert (await found("sink infobip"))["good"].says == "its settings are whole"
    monkeypatch.delenv("LOY_INFOBIP_API_KEY")
    finding = (await found("sink infobip"))["bad"]
    assert "LOY_INFOBIP_API_KEY" in finding.says
    assert "docs/sinks/infobip.md" in finding.do


async def test_no_program_and_one_that_does_not_count_yet_are_bad(installed, bootstrap, monkeypatch):
    monkeypatch.setenv("LOY_PROGRAM", "another")
    assert "no version of another was published" in (await found("programs"))["bad"].says
    later = (datetime.now(UTC) + timedelta(days=9)).replace(microsecond=0)
    await publish(bootstrap, program(program="another", effective_from=later.isoformat()))
    assert later.isoformat() in (await found("programs"))["bad"].says


async def test_a_kafka_that_does_not_answer_ends_the_examination_with_what_to_do(installed):
    findings = await examine(f"127.0.0.1:{free_port()}", probe=False)
    assert findings[-1].about == "kafka"
    assert findings[-1].state == "bad"
    assert "No Kafka answers at" in findings[-1].says
    assert "LOY_KAFKA_BOOTSTRAP" in findings[-1].do


async def test_settings_that_cannot_be_are_named(installed, monkeypatch):
    monkeypatch.setenv("LOY_KAFKA_PROTOCOL", "SASL_SSL")
    findings = await examine()
    assert findings[-1].about == "settings"
    assert "LOY_KAFKA_USERNAME" in findings[-1].says


async def test_the_key_that_everybody_knows_is_a_warning_at_home_and_bad_elsewhere(installed, monkeypatch):
    monkeypatch.delenv("LOY_IDENTITY_KEY")
    assert "warning" in await found("identity key", probe=False)
    there = list(examination._settings(Settings.load(kafka_bootstrap="kafka.example:9092"), examination.Access.load()))
    assert {(finding.about, finding.state) for finding in there} >= {("identity key", "bad"), ("kafka protocol", "warning")}


async def test_a_disk_without_room_and_one_that_cannot_be_written_are_bad(installed, monkeypatch, tmp_path):
    usage = examination.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(examination.shutil, "disk_usage", lambda _: usage._replace(free=usage.total // 100))
    assert "Make room" in (await found("disk", probe=False))["bad"].do
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOY_DATA", str(tmp_path / "file" / "below"))
    assert "cannot be written" in (await found("disk", probe=False))["bad"].says


@pytest.mark.parametrize(
    ("stamp", "state"), [(100.0, "good"), (100.9, "good"), (102.0, "warning"), (90.0, "bad"), (200.0, "bad")]
)
def test_only_a_difference_of_clocks_that_is_proven_counts(stamp, state):
    finding = _skewed(stamp, 100.0, 101.0)
    assert finding.state == state
    assert (state == "good") == (finding.do == "")


def test_exit_code_and_json_are_for_machines(bootstrap, monkeypatch):
    monkeypatch.setenv("LOY_KAFKA_BOOTSTRAP", bootstrap)
    monkeypatch.setenv("LOY_GROUP", "nobody")
    done = CliRunner().invoke(app, ["doctor", "--json", "--no-probe"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["ok"]) == (1, False)
    assert set(told["findings"][0]) == {"about", "state", "says", "do"}
    assert any(finding["about"] == "topics" and "nobody-workers" in finding["says"] for finding in told["findings"])
