"""The sinks' benchmark: its members are valid, what arrived is counted, and whatever is lost or doubled ends it."""

import io
import re

import pytest
from rich.console import Console

from schemas.events import parse_event
from schemas.members import Member
from schemas.topics import EVENTS, MEMBERS
from streams.bench.sink_load import records
from streams.bench.sinks import bench_sinks, check_arrived
from streams.bench.topics import BenchError
from streams.settings import Settings


def test_the_members_are_what_the_topics_hold():
    written = list(records([1, 2]))
    assert [topic for topic, _, _ in written] == [MEMBERS.name] * 2 + [EVENTS.name] * 2
    for topic, key, value in written:
        assert key.decode() == (
            Member.model_validate_json(value).loyalty_id if topic == MEMBERS.name else parse_event(value)[0].subject
        )


def seen(people, events):
    return {"people": {member: {} for member in people}, "events": [{"member": member} for member in events]}


def test_everybody_once_is_right():
    check_arrived("webhook", {"A", "B"}, seen("AB", "BA"))


@pytest.mark.parametrize(
    ("people", "events", "words"),
    [
        ("A", "AB", "2 people were told, 1 arrived"),
        ("ABC", "AB", "1 are strangers"),
        ("AB", "A", "1 events of LOY_POINT_ACCRUAL are missing, the first of B"),
        ("AB", "ABB", "came twice"),
    ],
)
def test_anything_else_is_an_error(people, events, words):
    with pytest.raises(BenchError, match=words):
        check_arrived("webhook", {"A", "B"}, seen(people, events))


@pytest.mark.broker
@pytest.mark.timeout(120)
async def test_a_small_run_ends_with_every_figure_and_leaves_nothing(tmp_path):
    out = io.StringIO()
    (result,) = await bench_sinks(Console(file=out, width=200), Settings(data=tmp_path), members=200, sinks=["ometria"])
    assert result.members == 200
    assert result.narrow_requests >= 4
    assert result.seconds > 0
    assert result.cpu_seconds > 0
    assert not list(tmp_path.iterdir())
    shown = re.sub(r"\s+", " ", out.getvalue())
    for figure in ("ometria", "limit/s", "used", "items/s", "drained", "allowed", "CPU", "not 2xx", "Apache Kafka", "cores"):
        assert figure in shown
