"""One broker for all end-to-end tests, and a fresh installation on it for each."""

import contextlib

import pytest

from streams.broker import Broker
from tests.e2e.harness import System


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory):
    """A broker of its own: the catalogue's names belong to these tests alone."""
    with Broker.start(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap


@pytest.fixture
async def installed(bootstrap, tmp_path):
    """`await installed(*programs, **settings)` gives a system with these programs published and no worker yet."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(*programs, **settings):
            return await stack.enter_async_context(System(bootstrap, tmp_path, **settings).running(*programs))

        yield make


def pytest_collection_modifyitems(items):
    for item in items:
        if "installed" in getattr(item, "fixturenames", ()):
            item.add_marker("broker")
