"""The comparison with other engines: one job for all, and an engine that does less of it is found out."""

import asyncio

import orjson
import pytest
from aiokafka import ConsumerRecord

from streams.baskets import Arrival
from streams.bench.compare import Comparison, Kept, Reference
from streams.bench.load import receipts, resent
from streams.bench.peers.engines import ENGINES, Engine, EngineMissingError
from streams.bench.peers.job import KEPT, accrue, balance_of
from streams.bench.peers.plain import Job
from streams.bench.topics import BenchError
from streams.log import Record

MEMBER = b"card:9840000000009006"


def check(number, *lines):
    body = {"outlet": "1", "till": "1-1", "business_date": "2026-01-02", "receipt": str(number), "at": "2026-01-02T03:04:05Z"}
    rows = [{"amount_minor": amount, "discount_minor": off, "category": category} for amount, off, category in lines]
    return orjson.dumps(body | {"lines": rows})


# ---------------------------------------------------------------- the job


def test_points_are_by_category_each_line_rounded_down():
    done = accrue(None, MEMBER, check(1, (1000, 0, "GROCERY/TEA"), (1000, 100, "PRODUCE"), (199, 0, None)))
    told = orjson.loads(done.event)
    assert told["data"] == {"check_id": "1/1-1/2026-01-02/1", "points": 30 + 36 + 3, "balance": 69, "outlet": "1"}
    assert told["id"] == f"{MEMBER.decode()}/1/1-1/2026-01-02/1"
    assert balance_of(done.row) == 69


def test_a_check_among_the_last_32_is_left_and_an_older_one_is_not():
    row = None
    for number in range(KEPT + 1):
        row = accrue(row, MEMBER, check(number, (5000, 0, None))).row
    assert all(accrue(row, MEMBER, check(number, (5000, 0, None))) is None for number in range(1, KEPT + 1))
    assert balance_of(row) == 100 * (KEPT + 1)
    assert balance_of(accrue(row, MEMBER, check(0, (5000, 0, None))).row) == 100 * (KEPT + 2)


def polled(records):
    return [ConsumerRecord("", 0, n, one.at_ms, 0, one.key, one.value, None, 0, 0, ()) for n, one in enumerate(records)]


def test_the_plain_loop_does_the_job():
    sent, reference, job = list(resent(list(receipts_of(200)))), Reference(), Job()
    assert reference.take(sent) == 200
    events, changes = job.take(polled(sent))
    assert sorted(event for _, event in events) == sorted(reference.events)
    assert dict(changes) == reference.rows


def receipts_of(count):
    for _, one in zip(range(count), receipts(1), strict=False):
        yield one


# ---------------------------------------------------------------- being held to it


class Written:
    """The topics of an engine that has done its work."""

    def __init__(self, events):
        self.events = events

    async def spans(self, *_topics):
        return {}

    async def read(self, _spans):
        yield [Record("", 0, n, 0, b"", event, ()) for n, event in enumerate(self.events)]


@pytest.fixture
def reference():
    reference = Reference()
    reference.take([Arrival(0, "", MEMBER, check(n, (5000, 0, None))) for n in range(3)])
    return reference


def proving(reference, events, rows, monkeypatch, tmp_path):
    async def latest(_bootstrap, _topic):
        return {key: Record("", 0, 0, 0, key, row, ()) for key, row in rows.items()}

    monkeypatch.setattr("streams.bench.compare.latest_by_key", latest)
    comparison = Comparison(Written(events), "", 0, tmp_path, 1)
    return asyncio.run(comparison._prove(ENGINES[0], reference))


def test_an_engine_that_does_the_whole_job_passes(reference, monkeypatch, tmp_path):
    proving(reference, list(reference.events), reference.rows, monkeypatch, tmp_path)


@pytest.mark.parametrize(
    "spoil", [lambda events: events[1:], lambda events: [*events, events[0]], lambda events: [b"{}", *events[1:]]]
)
def test_an_event_too_few_too_many_or_other_is_an_error(reference, spoil, monkeypatch, tmp_path):
    with pytest.raises(BenchError, match=r"Plain aiokafka loop wrote [234] events, and [23] of the 3"):
        proving(reference, spoil(sorted(reference.events)), reference.rows, monkeypatch, tmp_path)


def test_a_row_that_is_not_in_the_changelog_is_an_error(reference, monkeypatch, tmp_path):
    with pytest.raises(BenchError, match="other rows"):
        proving(reference, list(reference.events), {}, monkeypatch, tmp_path)


async def test_an_engine_that_cannot_be_had_is_left_out_and_why_is_said(tmp_path):
    def refuse(*_):
        raise EngineMissingError("javac is needed once")

    found = await Comparison(None, "", 0, tmp_path, 1).run(Engine("x", "X", refuse, "", ""), [], [])
    assert (found.rate, found.missing) == (None, "javac is needed once")


def test_a_topic_of_history_forgets_nothing():
    assert Kept("x", 1).settings()["retention.ms"] == "-1"
    assert Kept("x", 1).settings()["cleanup.policy"] == "delete"
