"""The composition root: which topics stand behind the tables, and what a worker is made of."""

import pytest

from schemas.topics import BACKLOG, CHECKS, COMMANDS, MEMBER_COMMANDS, REDEMPTIONS
from streams.app import changelogs, worker
from streams.settings import Settings
from streams.topology import ACCOUNTS


@pytest.fixture
def settings(tmp_path):
    return Settings.load({}, kafka_bootstrap="127.0.0.1:1", data=tmp_path / "w", group="g", partitions=4, session_seconds=6)


def test_the_accounts_changelog_is_created_with_the_partitions_of_the_sources(settings):
    accounts = changelogs(settings)[0]
    assert (accounts.name, accounts.partitions) == ("g-accounts-changelog", 4)
    assert accounts.settings()["cleanup.policy"] == "compact"


async def test_a_worker_reads_the_three_doors_the_backlog_and_the_log_of_record_and_keeps_the_accounts(settings):
    app = worker(settings)
    topics = {topic for agent in app.agents.values() for topic in agent.channel.topics}
    assert topics == {door.name for door in (CHECKS, REDEMPTIONS, MEMBER_COMMANDS, BACKLOG, COMMANDS)}
    assert set(app.tables) == {ACCOUNTS}
    assert app.tables[ACCOUNTS].partitions == 4
    assert (app.config.session_timeout, app.config.heartbeat_interval, app.config.store) == (6, 0.5, "rocksdb://")
