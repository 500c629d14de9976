"""Dead letters are listed, shown and sent again: whole, to where they came from, and once."""

import time
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaProducer
from rich.console import Console

from schemas.codes import Code
from schemas.dead_letters import DeadLetter
from schemas.topics import CHECKS, DEAD_LETTERS, EVENTS, REDEMPTIONS, TOPICS
from streams.broker import Broker
from streams.dead_letters import Kept, UnknownDeadLetterError, newest, replay, show
from streams.log import Record, read_topic
from streams.metrics import due_ms
from streams.topic_admin import apply_topics
from tests.kafka_topics import clear

pytestmark = pytest.mark.broker
SENT = 1_750_000_000_000
NOT_JSON, SCHEMA, NULL = "pos.checks/1/7", "pos.redemptions/0/3", "pos.checks/0/9"


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A broker of its own: the catalogue's names must belong to these tests alone."""
    with Broker.start(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap


@pytest.fixture
async def catalogue(broker):
    await clear(broker, [topic.name for topic in TOPICS])
    assert (await apply_topics(broker, 2, keep_history=True)).ok
    return broker


@pytest.fixture
async def put_aside(catalogue):
    """Keeps a record as intake does."""
    async with AIOKafkaProducer(bootstrap_servers=catalogue, max_request_size=13_000_000) as producer:

        async def put(origin, code, value, *, key=b"card:1", second=0, stage="intake", headers=()):
            letter = DeadLetter(
                code=code,
                reason="lines.0.sku: no",
                origin=origin,
                stage=stage,
                at=datetime(2025, 6, 15, 12, 0, second, tzinfo=UTC),
            )
            everything = [*letter.headers(), *headers]
            await producer.send_and_wait(DEAD_LETTERS.name, value, key, timestamp_ms=SENT + second, headers=everything)

        yield put


@pytest.fixture
async def three(put_aside):
    await put_aside(NOT_JSON, Code.NOT_JSON, b"{", second=1, headers=[("trace", b"5"), ("sent-at", b"6")])
    await put_aside(SCHEMA, Code.SCHEMA, b"{}", second=3, key=None)
    await put_aside(NULL, Code.NULL_VALUE, None, second=2, key=b"")


def text(renderable):
    console = Console(record=True, width=160)
    console.print(renderable)
    return console.export_text()


async def door(bootstrap, topic=CHECKS):
    return sorted([r async for r in read_topic(bootstrap, topic.name)], key=lambda r: (r.partition, r.offset))


# ---------------------------------------------------------------- list


async def test_the_newest_come_first_and_all_are_counted(catalogue, three):
    listing = await newest(catalogue, 2)
    assert [kept.letter.origin for kept in listing.newest] == [SCHEMA, NULL]
    assert listing.codes == {"NOT_JSON": 1, "SCHEMA": 1, "NULL_VALUE": 1}
    shown = text(listing.render())
    assert SCHEMA in shown
    assert NOT_JSON not in shown
    assert "NOT_JSON 1" in shown


async def test_a_list_of_one_code(catalogue, three):
    listing = await newest(catalogue, code=Code.NOT_JSON)
    assert [kept.letter.origin for kept in listing.newest] == [NOT_JSON]


async def test_an_empty_list(catalogue):
    assert "By code: none" in text((await newest(catalogue)).render())


async def test_what_is_no_dead_letter_is_counted_and_passed_over(catalogue, three):
    async with AIOKafkaProducer(bootstrap_servers=catalogue) as producer:
        for value in (b"\xff", None):
            await producer.send_and_wait(DEAD_LETTERS.name, b"who am I", headers=[("code", value)])
    listing = await newest(catalogue)
    assert (len(listing.newest), listing.unreadable) == (3, 2)


# ---------------------------------------------------------------- show


async def test_a_dead_letter_is_shown_with_its_reason_and_path(catalogue, three):
    shown = text((await show(catalogue, SCHEMA)).render())
    for words in (SCHEMA, "lines.0.sku: no", "2025-06-15", Code.SCHEMA.meaning, "value (2 bytes)", "{}"):
        assert words in shown


async def test_an_unknown_origin_is_named(catalogue, three):
    with pytest.raises(UnknownDeadLetterError, match=r"pos\.checks/0/1"):
        await show(catalogue, "pos.checks/0/1")


def kept(value, *, topic="pos.checks", key=b"card:1"):
    letter = DeadLetter(
        code=Code.SCHEMA, reason="[bold]x", origin=f"{topic}/0/0", stage="intake", at=datetime(2025, 6, 15, tzinfo=UTC)
    )
    return Kept(letter, Record("loy.dead-letters", 0, 0, SENT, key, value, letter.headers()))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b'{"a": "\xc3\xa4"}', '{"a": "ä"}'),
        (b"\xff\x00AB", "00000000  ff 00 41 42"),
        (b"\x1b[31mred", "1b 5b 33 31"),
        (b"a" * 10_000, "... 6,000 more bytes"),
        (("é" * 5_000).encode()[1:], "c3"),
        (("x" + "é" * 5_000).encode(), "xéé"),
        (None, "(none)"),
        (b"[red]markup[/red]", "[red]markup[/red]"),
    ],
)
def test_the_value_is_shown_as_text_when_it_is_text_else_in_hex(value, shown):
    assert shown in text(kept(value).render())


def test_the_reason_is_never_taken_for_markup():
    assert "[bold]x" in text(kept(b"{}").render())


def test_what_is_wrong_today_is_said_with_its_path():
    assert kept(b"{").verdict().startswith("NOT_JSON")
    assert kept(b'{"type": "void", "of": "C-1"}').verdict().startswith("SCHEMA: void.outlet")
    assert "no door" in kept(b"{", topic="loy.events").verdict()


def test_what_would_be_taken_today_is_said():
    value = b'{"type":"void","of":"C-1","outlet":"S","till":"T","business_date":"2025-06-15","receipt":"9","at":"2025-06-15T12:00:00Z"}'
    assert kept(value).verdict().startswith("well formed")


# ---------------------------------------------------------------- replay


async def test_a_record_goes_back_whole_to_where_it_came_from(catalogue, three):
    done = await replay(catalogue, origins=[NOT_JSON])
    assert done.sent == (NOT_JSON,)
    [record] = await door(catalogue)
    assert (record.partition, record.key, record.value, record.timestamp_ms) == (1, b"card:1", b"{", SENT + 1)
    assert [(n, v) for n, v in record.headers if n != "sent-at"] == [("trace", b"5"), ("replayed-from", NOT_JSON.encode())]


async def test_answers_are_waited_for_from_the_sending_again_not_from_years_ago(catalogue, three):
    before = time.time_ns() // 1_000_000
    await replay(catalogue, origins=[NOT_JSON])
    [record] = await door(catalogue)
    assert before <= due_ms(record) <= time.time_ns() // 1_000_000


async def test_absent_keys_and_values_stay_absent(catalogue, three):
    await replay(catalogue, everything=True)
    assert (NULL, b"", None) in [(r.header("replayed-from"), r.key, r.value) for r in await door(catalogue)]
    [record] = await door(catalogue, REDEMPTIONS)
    assert (record.key, record.value) == (None, b"{}")


async def test_everything_is_sent_once_however_often_it_is_asked_for(catalogue, three):
    assert (await replay(catalogue, origins=[NOT_JSON])).sent == (NOT_JSON,)
    second = await replay(catalogue, everything=True)
    assert (sorted(second.sent), second.already) == ([NULL, SCHEMA], 1)
    third = await replay(catalogue, everything=True)
    assert (third.sent, third.already) == ((), 3)
    assert len(await door(catalogue)) == 2
    assert "0 sent again, 3 had been before" in text(third.render())


async def test_again_means_again(catalogue, three):
    await replay(catalogue, origins=[NOT_JSON])
    assert (await replay(catalogue, origins=[NOT_JSON], again=True)).sent == (NOT_JSON,)
    assert len(await door(catalogue)) == 2


async def test_what_a_till_calls_a_replay_is_none_unless_it_is_the_record_itself(catalogue, three):
    said = [("replayed-from", NOT_JSON.encode())]
    async with AIOKafkaProducer(bootstrap_servers=catalogue) as till:
        await till.send_and_wait(CHECKS.name, b"{ }", b"card:1", 1, headers=said)
        await till.send_and_wait(CHECKS.name, b"{", b"card:1", 0, headers=said)
        await till.send_and_wait(CHECKS.name, b"{", b"card:1", 1, headers=[("replayed-from", None)])
    assert (await replay(catalogue, origins=[NOT_JSON])).sent == (NOT_JSON,)
    assert (await replay(catalogue, origins=[NOT_JSON])).already == 1


async def test_a_record_put_aside_twice_is_sent_once(catalogue, put_aside):
    for second in (1, 2):
        await put_aside(NOT_JSON, Code.NOT_JSON, b"{", second=second)
    assert (await replay(catalogue, everything=True)).sent == (NOT_JSON,)
    assert len(await door(catalogue)) == 1


async def test_a_record_that_fails_again_can_be_sent_again(catalogue, put_aside, three):
    await replay(catalogue, origins=[NOT_JSON])
    [record] = await door(catalogue)
    await put_aside(record.origin, Code.NOT_JSON, record.value, second=9, headers=record.headers)
    done = await replay(catalogue, code=Code.NOT_JSON)
    assert (done.sent, done.already) == ((record.origin,), 1)
    last = (await door(catalogue))[-1]
    assert [name for name, _ in last.headers] == ["trace", "sent-at", "replayed-from"]
    assert last.header("replayed-from") == record.origin


@pytest.mark.parametrize("origin", ["loy.events/0/0", "loy.commands/0/0"])
async def test_what_the_ledger_or_a_sink_kept_never_goes_into_the_log_of_record(catalogue, put_aside, origin):
    await put_aside(origin, Code.SCHEMA, b"{}", stage="infobip")
    done = await replay(catalogue, everything=True)
    assert (done.sent, done.elsewhere) == ((), 1)
    assert await door(catalogue, EVENTS) == []
    assert "1 were not kept at" in text(done.render())


async def test_the_largest_record_goes_back_too(catalogue, put_aside):
    await put_aside(NOT_JSON, Code.TOO_LARGE, b"x" * 11_900_000)
    await replay(catalogue, code=Code.TOO_LARGE)
    assert [len(record.value) for record in await door(catalogue)] == [11_900_000]


async def test_an_unknown_origin_is_not_replayed_silently(catalogue, three):
    with pytest.raises(UnknownDeadLetterError, match=r"pos\.checks/0/1"):
        await replay(catalogue, origins=["pos.checks/0/1"])


async def test_a_replay_of_nothing_is_refused(catalogue):
    with pytest.raises(ValueError, match="say which"):
        await replay(catalogue)
