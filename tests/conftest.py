"""What tests of several packages share: the real Kafka, started only when a test asks for it; and how they go on side by side.

`pytest -n 3` takes three processes. The tests of a file go to one of them, in their order, so that what a file starts is started once.
Each process has a Kafka of its own: names of topics that two files use never meet.
"""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from streams.broker import Broker
from tests.connectors import tryton_server
from tests.living import LIVING


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


@pytest.fixture(scope="session")
def tryton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tryton_server.Tryton]:
    """A real Tryton with an empty database, of which tests take members of their own."""
    with tryton_server.running(tmp_path_factory.mktemp("tryton")) as server:
        yield server


@pytest.fixture
def topic_prefix() -> str:
    """A name no other test has, to begin topic and group names with."""
    return f"test-{uuid.uuid4().hex[:10]}-"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from tests.spreading import FileByFile  # noqa: PLC0415  # pytest-xdist is there when it asks

    config.option.loadscopereorder = False  # the order is ours, below
    return FileByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker("broker")
        if "history" in getattr(item, "fixturenames", ()) and item.location[0] not in LIVING:
            raise pytest.UsageError(f"{item.location[0]} looks at `history`: name it in LIVING of tests/living.py")
    if hasattr(config, "workerinput"):  # what waits for brokers and processes goes first, what only reckons fills the gaps
        slow = {item.location[0] for item in items if item.get_closest_marker("broker")}
        items.sort(key=lambda item: item.location[0] not in slow)
