"""The daily file of service levels: made from the topics alone, fair to the tills, silent about other days."""

import csv
import io
from collections import defaultdict
from datetime import UTC, date, datetime

import orjson
import pytest
from aiokafka import TopicPartition

from schemas.topics import BACKLOG, CHECKS, DEAD_LETTERS, EVENTS, REDEMPTIONS, REPLIES
from streams.log import Record, Span
from streams.sink_rows import Row
from streams.sinks import LEASE, _encode
from streams.sla import DAY_MS, read_day, summary, yesterday

DAY = date(2026, 3, 4)
START = int(datetime(2026, 3, 4, tzinfo=UTC).timestamp() * 1000)
NOON = START + DAY_MS // 2
TABLE = "loy-sink-crm-members-changelog"
BALANCE = dict.fromkeys(("earned", "reversed", "adjusted", "used", "expired", "available", "pending", "held", "debt"), 0)


class Topics:
    """A log in memory, in the shape of `streams.log.Log`."""

    def __init__(self):
        self.records = defaultdict(list)

    def add(self, topic, value, at, *headers, key=b"k", partition=0):
        place = TopicPartition(getattr(topic, "name", topic), partition)
        raw = value if isinstance(value, bytes) else orjson.dumps(value)
        record = Record(
            *place, len(self.records[place]), at, key, raw, tuple((name, str(text).encode()) for name, text in headers)
        )
        self.records[place].append(record)
        return record

    def ask(self, outlet, at, *, topic=CHECKS, sent=None):
        return self.add(topic, {"outlet": outlet, "lines": []}, at, *([("sent-at", sent)] if sent else []))

    def answer(self, record, written, outcome="applied"):
        return self.add(
            REPLIES, {}, record.timestamp_ms, ("origin", record.origin), ("outcome", outcome), ("written-at", written)
        )

    def event(self, sequence, at, written, *, key=b"H-1", profile=True, **balance):
        value = {"sequence": sequence, "data": {"balance": BALANCE | balance, "profile": {"x": 1} if profile else None}}
        return self.add(EVENTS, value, at, ("written-at", written), key=key)

    async def spans(self, *topics):
        parts = {part for part in self.records if part.topic in topics} | {TopicPartition(topic, 0) for topic in topics}
        return {part: Span(0, len(self.records[part])) for part in parts}

    async def spans_since(self, at, *topics):
        spans = await self.spans(*topics)
        first = {part: [r.offset for r in self.records[part] if r.timestamp_ms >= at] for part in spans}
        return {part: Span(min(first[part], default=span.end), span.end) for part, span in spans.items()}

    async def read(self, spans):
        for part, span in spans.items():
            yield self.records[part][span.start : span.end]

    async def day(self, **sinks):
        return await read_day(self, DAY, sinks)


@pytest.fixture
def topics():
    return Topics()


def rows(figures):
    return {row["outlet"]: row for row in orjson.loads(figures.json())["outlets"]}


def objective(figures, name):
    return next(one for one in figures.objectives() if one["objective"] == name)


# ---------------------------------------------------------------- answers


async def test_an_answer_is_late_by_what_its_records_say_and_counts_for_its_outlet(topics):
    for outlet, sent, written in (("o1", NOON, NOON + 2000), ("o1", NOON, NOON + 2001), ("o2", NOON - 3000, NOON)):
        topics.answer(topics.ask(outlet, NOON, sent=sent), written)
    found = await topics.day()
    assert {name: (row["asked"], row["within_2s"], row["max_ms"]) for name, row in rows(found).items()} == {
        "o1": (2, 1, 2001),
        "o2": (1, 0, 3000),
    }
    assert objective(found, "answers")["share"] == pytest.approx(1 / 3, abs=1e-6)
    assert not found.met


async def test_without_the_tills_own_time_the_kafka_time_counts_and_redemptions_count_too(topics):
    topics.answer(topics.ask("o1", NOON, topic=REDEMPTIONS), NOON + 7, "refused")
    row = rows(await topics.day())["o1"]
    assert (row["p50_ms"], row["refused"], row["share"]) == (7, 1, 1.0)


async def test_the_earliest_answer_counts(topics):
    asked = topics.ask("o1", NOON)
    topics.answer(asked, NOON + 9000)
    topics.answer(asked, NOON + 50)
    topics.answer(asked, NOON + 8000)
    assert rows(await topics.day())["o1"]["max_ms"] == 50


async def test_what_went_by_the_backlog_lane_is_counted_apart_answered_or_not(topics):
    prompt, slow, waiting = (topics.ask("o1", NOON) for _ in range(3))
    for one in (slow, waiting):
        topics.add(BACKLOG, one.value, NOON, ("aside-from", one.origin))
    topics.answer(prompt, NOON + 100)
    topics.answer(slow, NOON + 600_000)
    row = rows(await topics.day())["o1"]
    assert (row["asked"], row["within_2s"], row["max_ms"], row["backlog"]) == (1, 1, 100, 2)
    assert (row["applied"], row["unanswered"]) == (2, 1)


async def test_events_of_the_backlog_are_no_late_events(topics):
    value = {"sequence": 1, "data": {"balance": BALANCE, "profile": {"x": 1}}}
    topics.add(EVENTS, value, NOON, ("written-at", NOON + 600_000), ("turn-at", NOON + 599_000))
    assert objective(await topics.day(), "events")["total"] == 0


async def test_what_has_no_answer_is_late(topics):
    topics.ask("o1", NOON)
    row = rows(await topics.day())["o1"]
    assert (row["asked"], row["within_2s"], row["unanswered"], row["p50_ms"]) == (1, 0, 1, None)


@pytest.mark.parametrize("value", [b"{", b"", b'{"outlet": "\xff"}', b'{"a": ' + b"[" * 100_000])
async def test_what_nobody_can_read_is_shown_and_not_held_against_us(topics, value):
    letter = topics.add(CHECKS, value, NOON)
    topics.add(DEAD_LETTERS, value, NOON, ("origin", letter.origin), ("stage", "pos.checks"))
    row = rows(await topics.day())["(unreadable)"]
    assert (row["asked"], row["dead_letter"], row["unanswered"]) == (0, 1, 0)


async def test_other_days_are_left_out(topics):
    for at in (START - 1, START, START + DAY_MS - 1, START + DAY_MS):
        topics.answer(topics.ask("o1", at), at + 5000)
    topics.ask("o1", START + 5)  # late in the log, and of the day
    assert rows(await topics.day())["o1"]["asked"] == 3


# ---------------------------------------------------------------- events, books, sinks


async def test_events_count_once_however_often_they_are_printed(topics):
    topics.event(1, NOON, NOON + 100)
    topics.event(2, NOON, NOON + 3000)
    topics.event(1, NOON, NOON + 9000)
    topics.event(1, NOON, NOON + 100, key=b"H-2")
    assert objective(await topics.day(), "events") | {"share": 0} == {
        "objective": "events", "target": 0.999, "total": 3, "within": 2, "share": 0, "met": False,
    }  # fmt: skip


async def test_a_balance_that_does_not_add_up_is_found(topics):
    topics.event(1, NOON, NOON, earned=5, available=5)
    topics.event(2, NOON, NOON, earned=5, available=4)
    assert objective(await topics.day(), "books") == {"objective": "books", "target": 0, "wrong": 1, "met": False}


@pytest.mark.parametrize("value", [b"", b"{", b'{"sequence": "\xff"}', b'{"sequence": 1}'])
async def test_an_event_that_cannot_be_read_is_wrong_and_the_others_count(topics, value):
    topics.add(EVENTS, value, NOON)
    topics.event(1, NOON, NOON + 100)
    figures = await topics.day()
    assert objective(figures, "books")["wrong"] == 1
    assert objective(figures, "events")["total"] == 1


async def test_a_sink_is_in_time_when_its_table_says_so(topics):
    for sequence in (1, 2, 3):
        topics.event(sequence, NOON, NOON)
    topics.event(1, NOON, NOON, key=b"receipt:1", profile=False)
    topics.add(TABLE, b"0", START - 5, key=LEASE)
    topics.add(TABLE, _encode(Row(sequence=2)), NOON + 60_000, key=b"H-1")
    found = await topics.day(crm=TABLE)
    told = objective(found, "deliveries")
    assert (told["sink"], told["total"], told["within"]) == ("crm", 3, 2)  # the third one is still on its way


async def test_a_sink_that_never_ran_promised_nothing(topics):
    topics.event(1, NOON, NOON)
    assert "deliveries" not in {one["objective"] for one in (await topics.day(crm=TABLE)).objectives()}


async def test_a_sink_that_stood_all_day_missed_everything(topics):
    topics.event(1, NOON, NOON)
    topics.add(TABLE, b"0", START - 5, key=LEASE)
    assert objective(await topics.day(crm=TABLE), "deliveries")["share"] == 0


async def test_what_was_written_before_the_sink_had_its_lease_was_never_to_be_told(topics):
    topics.event(1, NOON, NOON)
    topics.event(2, NOON, NOON)
    topics.add(TABLE, b"1", NOON + 5, key=LEASE)
    topics.add(TABLE, _encode(Row(sequence=2)), NOON + 90_000, key=b"H-1")
    assert objective(await topics.day(crm=TABLE), "deliveries")["total"] == 1


async def test_a_vendors_refusals_are_counted_by_sink(topics):
    event = topics.event(1, NOON, NOON)
    topics.add(DEAD_LETTERS, b"{}", NOON, ("origin", event.origin), ("stage", "sink-crm"))
    assert orjson.loads((await topics.day()).json())["rejected"] == {"crm": 1}


# ---------------------------------------------------------------- the files


async def test_the_table_has_a_row_for_each_outlet_and_one_for_all(topics):
    for outlet, late in (("o2", 10), ("o1", 3000), ("o1", 20)):
        topics.answer(topics.ask(outlet, NOON), NOON + late)
    figures = await topics.day()
    table = list(csv.DictReader(io.StringIO(figures.csv())))
    assert [(row["outlet"], row["asked"], row["within_2s"], row["max_ms"]) for row in table] == [
        ("o1", "2", "1", "3000"),
        ("o2", "1", "1", "10"),
        ("(all)", "3", "2", "3000"),
    ]
    assert figures.csv() == (await topics.day()).csv()
    assert next(iter(summary(figures))) == "answers              MISSED  2 of 3 in time, 66.667%"


async def test_a_quiet_day_kept_every_promise(topics):
    figures = await topics.day()
    assert figures.met
    assert rows(figures) == {}


def test_the_day_before_is_that_of_utc():
    assert yesterday(datetime(2026, 3, 5, 0, 30, tzinfo=UTC)) == DAY
