"""The catalogue is the log of the design: these topics, these keys, kept this long."""

import pytest

from schemas.codec import INBOUND
from schemas.topics import DAY_MS, INBOUND_BYTES_MAX, RECORD_BYTES_MAX, TOPICS, Topic

FOR_EVER = None

# name, key, compacted, days kept: section 3 of the design, and the lane of late checks (ADR 9). `loy.commands` and `loy.events` are keyed by account: the loyalty id, or
# `receipt:<check id>` for a receipt that nobody has claimed yet. Replies are kept for three days, not for one: a day's service levels
# are made of them when it is over.
CATALOGUE: list[tuple[str, str, bool, int | None]] = [
    ("pos.checks", "identifier as the till sent it, or empty", False, 7),
    ("pos.redemptions", "identifier", False, 7),
    ("pos.replies", "outlet", False, 3),
    ("crm.members", "loyalty id", False, 7),
    ("loy.members", "loyalty id", True, FOR_EVER),
    ("loy.identities", "keyed hash of the identifier", True, FOR_EVER),
    ("loy.programs", "program@version", True, FOR_EVER),
    ("loy.commands", "account", False, FOR_EVER),
    ("loy.events", "account", False, FOR_EVER),
    ("loy.dead-letters", "original key", False, 30),
    ("loy.backlog", "as at the door", False, 7),
]

BY_NAME = {topic.name: topic for topic in TOPICS}


def test_the_catalogue_has_each_topic_once_and_no_other() -> None:
    assert [topic.name for topic in TOPICS] == [name for name, *_ in CATALOGUE]


@pytest.mark.parametrize(("name", "key", "compacted", "days"), CATALOGUE)
def test_a_topic_has_its_key_and_is_kept_as_designed(name: str, key: str, compacted: bool, days: int | None) -> None:
    topic = BY_NAME[name]
    assert (topic.key, topic.compacted, topic.retention_days) == (key, compacted, days)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_the_brokers_settings_say_the_same(topic: Topic) -> None:
    settings = topic.settings()
    if topic.compacted:
        assert settings["cleanup.policy"] == "compact"
        assert "retention.ms" not in settings
    else:
        days = topic.retention_days
        assert settings["cleanup.policy"] == "delete"
        assert settings["retention.ms"] == (str(days * DAY_MS) if days else "-1")
    assert settings["message.timestamp.type"] == "CreateTime"  # time is data: the record's timestamp is its source's


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_history_can_be_kept_for_replays_of_years(topic: Topic) -> None:
    kept = topic.settings(keep_history=True)
    assert kept.get("retention.ms", "-1") == "-1"
    assert kept["cleanup.policy"] == topic.settings()["cleanup.policy"]


def test_topics_that_are_joined_by_key_have_the_same_partitions() -> None:
    assert {topic.name for topic in TOPICS if topic.partitions is not None} == {"loy.identities", "loy.programs"}


@pytest.mark.parametrize("name", [*INBOUND, "loy.commands", "loy.dead-letters", "loy.backlog"])
def test_what_is_too_large_for_a_check_still_fits_where_it_is_kept(name: str) -> None:
    assert BY_NAME[name].bytes_max >= INBOUND_BYTES_MAX > 10_000_000 > RECORD_BYTES_MAX


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_says_what_it_is_for_who_writes_and_who_reads(topic: Topic) -> None:
    assert topic.about.endswith(".")
    assert topic.writer
    assert topic.readers
