"""A sink beside its sandbox, for each sink."""

import contextlib

import pytest

from tests.connectors.benches import BENCHES
from tests.connectors.ground import ground as served


@pytest.fixture
async def ground_of():
    """`await ground_of(name, **settings)` gives the ground of that bench, served until the test ends."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(name, **parts):
            return await stack.enter_async_context(served(BENCHES[name], **parts))

        yield make


@pytest.fixture(params=list(BENCHES))
async def ground(request, ground_of):
    """The ground of every sink, one after another."""
    return await ground_of(request.param)
