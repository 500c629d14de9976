"""The page of the Infobip sink says what the code does."""

import re
from pathlib import Path

import pytest

from connectors.infobip import Config, Infobip, sink
from tests.connectors.ground import event_types

PAGE = Path("docs/sinks/infobip.md").read_text()
ROWS = {
    cells[1]: cells[2]
    for line in PAGE.splitlines()
    if (cells := [cell.strip(" `") for cell in line.split("|")])[1:] and len(cells) > 3
}
INFOBIP = Infobip.load({"LOY_INFOBIP_BASE_URL": "https://x", "LOY_INFOBIP_API_KEY": "k"})


@pytest.mark.parametrize("name", list(Config.model_fields))
def test_each_setting_is_told_with_its_default(name):
    told = ROWS[f"LOY_INFOBIP_{name.upper()}"]
    default = Config.model_fields[name].get_default(call_default_factory=True, validated_data={})
    if name in ("base_url", "api_key", "mapping"):
        assert told in ("-", "shipped")
    else:
        assert told == (str(default).lower() if isinstance(default, bool) else str(default))


def test_no_setting_is_told_that_is_none():
    assert {name.removeprefix("LOY_INFOBIP_").lower() for name in re.findall(r"LOY_INFOBIP_[A-Z_]+", PAGE)} <= set(
        Config.model_fields
    )


def test_the_numbers_of_the_page_are_those_of_the_code():
    assert f"{len(INFOBIP._bodies.attributes())} custom attributes" in PAGE
    assert f"{len(list(event_types(INFOBIP)))} event definitions" in PAGE
    assert f"{sink.EVENTS_MAX} events, {sink.BATCH_BYTES_MAX:,} bytes" in PAGE
    assert f"up to {sink.SINGLES_MAX} events" in PAGE
