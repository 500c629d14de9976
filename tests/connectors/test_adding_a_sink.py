"""docs/adding-a-sink.md is followed here: the file it shows is a sink that delivers."""

import re
from pathlib import Path

import pytest

from connectors.delivery import Again, Delivered, Halt
from connectors.mapping import VendorMapping
from connectors.sink import Answer, Lost
from tests.connectors.ground import change, happening

PAGE = Path("docs/adding-a-sink.md").read_text()


@pytest.fixture(scope="module")
def beacon():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    space = {"__name__": "beacon"}
    exec(compile(code, "beacon.py", "exec"), space)  # noqa: S102  # our own page
    return space["Beacon"].load({"LOY_BEACON_BASE_URL": "http://127.0.0.1:1", "LOY_BEACON_TOKEN": "secret"})


@pytest.mark.parametrize(("reply", "outcome"), [
    (Answer(200, {}, b"{}"), Delivered), (Answer(429, {}, b"", 2.0), Again), (Answer(401, {}, b""), Halt),
    (Lost("ReadTimeout", sent=True), Again),
])  # fmt: skip
def test_the_sink_of_the_page_understands_its_vendor(beacon, reply, outcome):
    flow = beacon.flow([happening("H-1")])
    assert next(flow).json["member"] == "H-1"
    with pytest.raises(StopIteration) as end:
        flow.send(reply)
    assert isinstance(end.value.value[0], outcome)


def test_the_sink_of_the_page_tells_profiles_and_keeps_its_token_to_itself(beacon):
    (batch,) = beacon.batches([change("H-1")])
    assert next(beacon.flow(batch)).json["available_points"] == beacon.expected(change("H-1"))["available_points"]
    assert "secret" not in repr(beacon)


def test_a_mapping_like_the_page_s_must_be_complete():
    with pytest.raises(ValueError, match="neither mapped nor dropped"):
        VendorMapping.model_validate({"fields": {"loyalty_id": {"to": "id"}}, "events": {}})
