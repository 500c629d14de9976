"""A system that lives on history: `loy up --clock stream`, with the households and one week of baskets, once for all who ask."""

import pytest

from tests.living import living


@pytest.fixture(scope="session")
def history(tmp_path_factory):
    """The living system, and what `loy seed` and `loy replay` printed."""
    with living(tmp_path_factory.mktemp("history"), "--clock", "stream", monitoring=True) as system:
        yield system, system.loy("seed"), system.loy("replay", "--to", "1")


def pytest_collection_modifyitems(items):
    for item in items:
        if "history" in getattr(item, "fixturenames", ()):
            item.add_marker("broker")
