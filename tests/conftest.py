"""What tests of several packages share: the real Kafka, started once per run and only when a test asks for it."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from streams.broker import Broker


@dataclass(frozen=True, slots=True)
class Cluster:
    bootstrap: str


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real Kafka on a free loopback port; LOY_TEST_BOOTSTRAP names a running one instead."""
    if running := os.environ.get("LOY_TEST_BOOTSTRAP"):
        yield Cluster(running)
        return
    with Broker.start(tmp_path_factory.mktemp("kafka")) as broker:
        yield Cluster(broker.bootstrap)


@pytest.fixture
def topic_prefix() -> str:
    """A name no other test has, to begin topic and group names with."""
    return f"test-{uuid.uuid4().hex[:10]}-"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker("broker")
