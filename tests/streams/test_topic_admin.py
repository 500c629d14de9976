"""The broker agrees with the catalogue afterwards, or the report says why not."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from schemas.topics import CHECKS, COMMANDS, MEMBERS, PROGRAMS, REPLIES, TOPICS
from streams.log import open_log
from streams.topic_admin import Change, Changelog, TopicError, _described, acknowledged, apply_topics
from tests.kafka_topics import alter, settings


@pytest.fixture
def catalogue(topic_prefix):
    return [replace(topic, name=topic_prefix + topic.name) for topic in TOPICS]


@pytest.fixture
def named(topic_prefix):
    return lambda topic, **changes: replace(topic, name=topic_prefix + topic.name, **changes)


async def test_the_whole_catalogue_is_created_with_its_settings(kafka, catalogue, topic_prefix):
    changelog = Changelog(f"{topic_prefix}accounts-changelog")
    report = await apply_topics(kafka.bootstrap, 4, topics=catalogue, extra=[changelog])
    assert report.ok
    assert len(report.created) == len(TOPICS) + 1
    for topic in (*catalogue, changelog):
        found = await settings(kafka.bootstrap, topic.name)
        assert {name: found[name] for name in topic.settings()} == topic.settings()
    async with open_log(kafka.bootstrap) as log:
        assert len(await log.spans(topic_prefix + CHECKS.name)) == 4
        assert len(await log.spans(topic_prefix + PROGRAMS.name)) == 1
        assert len(await log.spans(changelog.name)) == 4


async def test_applying_twice_changes_nothing(kafka, catalogue):
    await apply_topics(kafka.bootstrap, 2, topics=catalogue)
    again = await apply_topics(kafka.bootstrap, 2, topics=catalogue)
    assert (again.created, again.changes, again.errors) == ((), (), ())
    assert len(again.existing) == len(catalogue)


async def test_a_setting_that_differs_is_corrected_and_others_set_there_are_kept(kafka, named):
    topic = named(REPLIES)
    await apply_topics(kafka.bootstrap, 1, topics=[topic])
    await alter(
        kafka.bootstrap,
        topic.name,
        {"retention.ms": "5000", "segment.bytes": "2000000", "max.message.bytes": "2000000"},
    )
    report = await apply_topics(kafka.bootstrap, 1, topics=[topic])
    assert report.changes == (Change(topic.name, "retention.ms", "5000", "259200000"),)
    found = await settings(kafka.bootstrap, topic.name)
    assert (found["retention.ms"], found["segment.bytes"]) == ("259200000", "2000000")


async def test_history_is_kept_when_asked_for(kafka, named):
    topics = [named(CHECKS), named(MEMBERS)]
    await apply_topics(kafka.bootstrap, 1, topics=topics)
    report = await apply_topics(kafka.bootstrap, 1, topics=topics, keep_history=True)
    assert report.changes == (Change(topics[0].name, "retention.ms", "604800000", "-1"),)


async def test_what_is_kept_for_ever_is_never_trimmed_by_applying_topics_again(kafka, named):
    topic = named(CHECKS)
    await apply_topics(kafka.bootstrap, 1, topics=[topic], keep_history=True)
    again = await apply_topics(kafka.bootstrap, 1, topics=[topic])
    assert again.changes == ()
    assert (await settings(kafka.bootstrap, topic.name))["retention.ms"] == "-1"


async def test_what_is_kept_for_ever_stays_so_when_something_else_is_corrected(kafka, named):
    topic = named(CHECKS)
    await apply_topics(kafka.bootstrap, 1, topics=[topic], keep_history=True)
    await alter(kafka.bootstrap, topic.name, topic.settings(keep_history=True) | {"max.message.bytes": "5000"})
    again = await apply_topics(kafka.bootstrap, 1, topics=[topic])
    assert again.changes == (Change(topic.name, "max.message.bytes", "5000", "12000000"),)
    assert (await settings(kafka.bootstrap, topic.name))["retention.ms"] == "-1"


@pytest.mark.parametrize(
    ("of", "setting", "was", "now"),
    [
        (COMMANDS, "retention.bytes", "1000000", "-1"),  # it deletes what nobody has read
        (REPLIES, "min.insync.replicas", "2", "1"),  # how many copies acknowledge
    ],
)
async def test_what_is_not_of_the_topic_alone_is_corrected_too(kafka, named, of, setting, was, now):
    topic = named(of)
    await apply_topics(kafka.bootstrap, 1, topics=[topic])
    await alter(kafka.bootstrap, topic.name, topic.settings() | {setting: was})
    report = await apply_topics(kafka.bootstrap, 1, topics=[topic])
    assert report.changes == (Change(topic.name, setting, was, now),)


async def test_a_topic_that_should_be_compacted_becomes_so(kafka, named):
    await apply_topics(kafka.bootstrap, 1, topics=[named(MEMBERS, compacted=False)])
    report = await apply_topics(kafka.bootstrap, 1, topics=[named(MEMBERS)])
    assert [(c.setting, c.was, c.now) for c in report.changes] == [("cleanup.policy", "delete", "compact")]


async def test_another_number_of_partitions_is_refused_and_left_alone(kafka, named):
    topic = named(CHECKS)
    await apply_topics(kafka.bootstrap, 2, topics=[topic])
    report = await apply_topics(kafka.bootstrap, 3, topics=[topic])
    assert not report.ok
    assert f"{topic.name} has 2 partitions instead of 3." in report.errors[0]
    async with open_log(kafka.bootstrap) as log:
        assert len(await log.spans(topic.name)) == 2


async def test_what_the_broker_refuses_is_said_in_words(kafka, topic_prefix):
    with pytest.raises(TopicError, match=r"could not be created: .*replication"):
        await apply_topics(kafka.bootstrap, 1, replication=3, topics=[Changelog(f"{topic_prefix}three-copies")])


async def test_the_table_has_a_row_for_each_topic(kafka, named):
    report = await apply_topics(kafka.bootstrap, 1, topics=[named(CHECKS), named(REPLIES)])
    assert report.table().row_count == 2


@pytest.mark.parametrize(("copies", "in_sync"), [(1, "1"), (2, "1"), (3, "2"), (5, "4")])
def test_one_copy_may_be_away_and_a_single_one_left_is_not_enough(copies, in_sync):
    assert acknowledged(copies) == {"min.insync.replicas": in_sync}


class Forgetful:
    """A broker that has not heard of the topic yet, the first times it is asked."""

    def __init__(self, times):
        self.times = times

    async def describe_configs(self, _resources):
        self.times -= 1
        return [SimpleNamespace(resources=[(3 if self.times >= 0 else 0, None, 2, "t", [])])]


async def test_a_broker_that_has_not_heard_yet_is_asked_again():
    (answer,) = await _described(Forgetful(3), [])
    assert answer.resources[0][0] == 0
