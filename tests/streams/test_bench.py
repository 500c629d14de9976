"""The benchmark: what it sends is shaped like the baskets, what it measures is counted, and whatever is lost ends it."""

import io
import re
from collections import Counter
from itertools import islice

import orjson
import pytest
from aiokafka import TopicPartition
from rich.console import Console

from schemas.checks import check_id
from schemas.codec import parse_inbound
from schemas.topics import CHECKS, DEAD_LETTERS, EVENTS, MEMBER_COMMANDS, REPLIES
from streams.bench.accounts import templates
from streams.bench.load import REGULARS, RESENT, SELDOM, members, receipts, resent, save, saved
from streams.bench.recovery import disk_bytes_each
from streams.bench.run import PROGRAM, Scale, measure
from streams.bench.throughput import count
from streams.bench.topics import BenchError
from streams.domain.account import unpack
from streams.log import Record, Span
from streams.program_files import load_program
from streams.settings import Settings

# ---------------------------------------------------------------- the load


def test_every_member_has_a_card_of_its_own_that_a_till_would_take():
    joining = [parse_inbound(MEMBER_COMMANDS.name, one.value) for one in islice(members(4), 400)]
    assert len({one.loyalty_id for one in joining}) == len({one.identifiers for one in joining}) == 400
    assert all(record.key.decode() == one.loyalty_id for record, one in zip(members(4), joining, strict=False))


def test_receipts_are_the_baskets_on_the_cards_of_the_clones_with_ids_of_their_own():
    cards = {parse_inbound(MEMBER_COMMANDS.name, one.value).identifiers[0] for one in members(4)}
    sent = list(islice(receipts(4), 2000))
    sold = [parse_inbound(CHECKS.name, one.value) for one in sent]
    assert {one.member for one in sold} <= cards
    assert [one.member for one in sold] == [record.key.decode() for record in sent]
    assert len({check_id(one) for one in sold}) == 2000
    assert [one.at_ms for one in sent] == sorted(one.at_ms for one in sent)


def test_some_clones_are_regulars_and_the_others_come_seldom():
    cards = [parse_inbound(MEMBER_COMMANDS.name, one.value).identifiers[0] for one in members(4)]
    clone_of = {card: number % 4 for number, card in enumerate(cards)}
    shopped = Counter(clone_of[one.key.decode()] for one in islice(receipts(4), 4000))
    assert shopped[0] == pytest.approx(shopped[1], abs=1)
    assert shopped[REGULARS] == pytest.approx(shopped[0] / SELDOM, rel=0.02)


def test_a_saved_load_is_the_load(tmp_path):
    load = list(islice(receipts(2), 50))
    assert save(tmp_path / "load", load) == 50
    assert saved(tmp_path / "load") == load


def test_one_check_in_a_hundred_comes_again_soon_after_itself():
    sent = list(resent(islice(receipts(2), 1000)))
    seen = {one.value: number for number, one in reversed(list(enumerate(sent)))}
    again = [number - seen[one.value] for number, one in enumerate(sent) if seen[one.value] != number]
    assert len(again) == 1000 / RESENT
    assert max(again) <= 12


# ---------------------------------------------------------------- counting


class Topics:
    """A log in memory."""

    def __init__(self):
        self.records = {name: [] for name in (CHECKS.name, "loy.commands", EVENTS.name, REPLIES.name, DEAD_LETTERS.name)}

    def add(self, topic, value, **headers):
        rows = self.records[topic]
        sent = tuple((name, text.encode()) for name, text in headers.items())
        rows.append(Record(topic, 0, len(rows), 0, b"", orjson.dumps(value), sent))

    async def spans(self, *topics):
        return {TopicPartition(topic, 0): Span(0, len(self.records[topic])) for topic in topics}

    async def read(self, spans):
        for part, span in spans.items():
            if rows := self.records[part.topic][span.start : span.end]:
                yield rows


@pytest.fixture
def topics():
    topics = Topics()
    for n in range(3):
        topics.add(CHECKS.name, {})
        topics.add(REPLIES.name, {"id": f"C-{n}", "code": "OK", "earned": 5 * n}, outcome="applied", origin=f"pos.checks/0/{n}")
        if n:
            topics.add(
                EVENTS.name,
                {"id": f"E-{n}", "type": "LOY_POINT_ACCRUAL", "data": {"check_id": f"C-{n}", "cause": f"C-{n}", "points": 5 * n}},
            )
    return topics


async def test_a_whole_result_counts(topics):
    await count(topics, {})


async def test_a_missing_answer_is_an_error(topics):
    topics.records[REPLIES.name].pop()
    with pytest.raises(BenchError, match="3 checks were sent, 2 answered"):
        await count(topics, {})


async def test_a_missing_event_is_an_error(topics):
    topics.records[EVENTS.name].pop()
    with pytest.raises(BenchError, match="1 checks earned points without an event, the first is C-2"):
        await count(topics, {})


async def test_an_event_that_came_twice_is_an_error(topics):
    topics.records[EVENTS.name] *= 2
    with pytest.raises(BenchError, match="came twice"):
        await count(topics, {})


async def test_a_dead_letter_is_an_error(topics):
    topics.add(DEAD_LETTERS.name, {})
    with pytest.raises(BenchError, match="dead letters"):
        await count(topics, {})


def answer_again(topics, outcome, earned):
    topics.add(CHECKS.name, {})
    topics.add(REPLIES.name, {"id": "C-2", "code": "OK", "earned": earned}, outcome=outcome, origin="pos.checks/0/3")


async def test_a_check_that_came_again_is_answered_again(topics):
    answer_again(topics, "repeated", 10)
    await count(topics, {})


async def test_another_answer_to_a_check_that_came_again_is_an_error(topics):
    answer_again(topics, "repeated", 15)
    with pytest.raises(BenchError, match="C-2 was answered otherwise when it came again"):
        await count(topics, {})


@pytest.mark.parametrize("outcome", ["applied", "refused"])
async def test_a_check_applied_twice_or_refused_is_an_error(topics, outcome):
    answer_again(topics, outcome, 10)
    with pytest.raises(BenchError, match=f"C-2 was {outcome}"):
        await count(topics, {})


# ---------------------------------------------------------------- accounts


@pytest.fixture(scope="module")
def some():
    return templates(load_program(PROGRAM))


def test_a_quiet_account_keeps_its_points_and_forgets_its_receipts(some):
    regular, quiet = (unpack(packed[0], "") for packed in (some.regular, some.quiet))
    assert quiet.key == regular.key
    assert quiet.owned == regular.owned > 0
    assert regular.applied
    assert all(known.kind == "tick" for known in quiet.applied)


def test_a_quiet_account_takes_2_kb_at_most_packed_and_on_disk(some, tmp_path):
    ordered = sorted(map(len, some.quiet))
    assert ordered[len(ordered) // 2] <= 2048
    assert disk_bytes_each(tmp_path, some.quiet, 2000) <= 2048


def test_stamped_accounts_differ_in_their_key_alone_and_one_in_four_is_a_regulars(some):
    rows = list(some.stamped(8))
    assert [key for key, _ in rows] == [f"R-{n:07d}" for n in range(8)]
    assert all(unpack(stored, "").key == key for key, stored in rows)
    assert [len(stored) > 0 and len(unpack(stored, "").applied) > 1 for _, stored in rows].count(True) == 2


# ---------------------------------------------------------------- the whole


@pytest.mark.broker
@pytest.mark.timeout(900)
async def test_a_small_run_ends_with_every_figure_and_leaves_nothing(tmp_path):
    out = io.StringIO()
    ours_alone = ("plain", "shell")  # the others are fetched, which is for `make bench`
    scale = Scale(seconds=1, accounts=200, clones=1, checks_a_second=400, warm_up=1200, engines=ours_alone)
    result = await measure(Console(file=out, width=150), Settings(data=tmp_path, max_batch=50), scale)
    assert result.members == 2469
    assert result.ours.checks == 404
    assert [one.engine.name for one in result.theirs] == ["plain", "shell"]
    assert all(one.rate.checks == 404 and one.rate.cpu_us > 0 for one in result.theirs)
    assert result.delays[0].checks == 250
    assert result.ours.events > result.ours.checks
    assert all(0 <= share < 1 for share in (result.stolen, *(one.stolen for one in result.delays)))
    assert result.recovery.accounts == 200
    for costs in (result.core["first"], result.core["grocer"]):
        assert list(costs) == ["read", "unpack", "decide", "pack", "print"]
        assert min(costs.values()) > 0
    assert not list(tmp_path.iterdir())
    shown = re.sub(r"\s+", " ", out.getvalue())
    for figure in (
        "checks/s, one worker", "CPU-us per check, worker", "peak memory", "whole path / it", "at 250 checks/s", "p50 / p99 / p99.9",
        "quiet, packed", "quiet, on disk", "cold: seconds", "warm: seconds", "Apache Kafka", "batches of at most", "linger",
        "store rocksdb", "cores", "Load average", "stolen", "The reference job", "Pure core", "a million checks decided", "Plain aiokafka loop",
    ):  # fmt: skip
        assert figure in shown
