"""The judge passes what is right, and finds each thing that can be wrong when it is planted."""

from itertools import islice

import orjson
import pytest

from schemas.topics import COMMANDS, DEAD_LETTERS, EVENTS, REPLIES
from streams.chaos.judge import Judge
from streams.chaos.memory import Memory
from streams.chaos.oracle import as_program
from streams.chaos.sending import Answers
from streams.chaos.tills import RULES, Tills, card
from streams.domain.account import pack, unpack
from streams.log import Record
from streams.proof import DOORS

RECORDS = 1500
KINDS = ("sent", "doors", "answers", "commands", "rows")


@pytest.fixture
async def evidence():
    """What a clean run leaves: what was sent, and the records of each topic."""
    tills, memory = Tills(5, 40), Memory(as_program(RULES))
    entries = [*tills.joining(), *islice(tills.shopping(lambda: True), RECORDS)]
    for entry in entries:
        await memory.take(entry.topic, [(entry.key, entry.value, entry.timestamp_ms, ())])
    topics = memory.topics
    return {
        "sent": {(entry.topic, entry.key, entry.value): 1 for entry in entries},
        "doors": [record for door in DOORS for record in topics[door]],
        "answers": topics[REPLIES.name] + topics[DEAD_LETTERS.name],
        "commands": topics[COMMANDS.name],
        "events": topics[EVENTS.name],
        "rows": dict(memory.rows),
    }


def judged(evidence):
    members = {f"H-{number}": f"H-{number}" for number in range(1, 41)}
    judge = Judge(RULES, members | {card(member): member for member in members})
    for record in evidence["doors"]:
        judge.door(record)
    judge.sent(evidence["sent"])
    for record in evidence["answers"]:
        judge.answer(record)
    judge.outcomes()
    for record in evidence["commands"]:
        judge.command(record)
    for record in evidence["events"]:
        judge.event(record)
    judge.accounts(evidence["rows"])
    return judge.verdict


async def test_a_clean_run_is_passed(evidence):
    verdict = judged(evidence)
    assert verdict.ok, (verdict.lost, verdict.doubled, verdict.differing)
    assert verdict.records == RECORDS + 40
    assert verdict.accounts == 40
    assert verdict.repeats > 0
    assert 0 < verdict.granted < verdict.asked


async def test_what_was_acknowledged_and_is_not_there_is_lost(evidence):
    evidence["doors"].pop()
    assert len(judged(evidence).lost) == 1


async def test_what_nobody_answered_is_lost(evidence):
    gone = next(one.header("origin") for one in evidence["answers"] if one.header("outcome") == "applied")
    evidence["answers"] = [one for one in evidence["answers"] if one.header("origin") != gone]
    assert judged(evidence).lost == [f"{gone}: no answer"]


async def test_what_took_effect_twice_is_doubled(evidence):
    answer = next(one for one in evidence["answers"] if one.header("outcome") == "applied")
    other = next(one.header("origin") for one in evidence["answers"] if one.header("outcome") == "repeated")
    evidence["answers"].append(with_origin(answer, other))
    assert len(judged(evidence).doubled) == 1


def with_origin(record, origin):
    headers = (("origin", origin.encode()), ("outcome", b"applied"))
    return Record(record.topic, 0, 10**6, record.timestamp_ms, record.key, record.value, headers)


async def test_a_command_that_is_not_in_the_log_shows_in_the_account(evidence):
    verdict = judged(evidence | {"commands": without_an_earning_sale(evidence)})
    assert {text.split(":")[0] for text in verdict.differing} >= {account_of(evidence)}


def account_of(evidence):
    left = without_an_earning_sale(evidence)
    (gone,) = [one for one in evidence["commands"] if one not in left]
    return orjson.loads(gone.value)["account"]


def without_an_earning_sale(evidence):
    earning = next(
        one for one in evidence["answers"] if b'"earned":0' not in (one.value or b"") and b'"earned":' in (one.value or b"")
    )
    origin = earning.header("origin")
    return [one for one in evidence["commands"] if orjson.loads(one.value).get("origin") != origin]


async def test_an_account_one_point_off_is_found(evidence):
    key, row = next((key, row) for key, row in evidence["rows"].items() if unpack(row, key.decode()).books.available > 0)
    account = unpack(row, key.decode())
    books = replaced(account.books, available=account.books.available + 1, issued=account.books.issued - 1)
    evidence["rows"][key] = pack(replaced(account, books=books))
    (difference,) = judged(evidence).differing
    assert difference.startswith(f"{key.decode()}: ")
    assert "available" in difference


def replaced(struct, **changes):
    return type(struct)(**{name: getattr(struct, name) for name in struct.__struct_fields__} | changes)


def first(evidence, kind, **fields):
    """The place of the first such command."""
    bodies = (orjson.loads(one.value) for one in evidence["commands"])
    return next(n for n, body in enumerate(bodies) if body["type"] == kind and body.items() >= fields.items())


def changed(record, **fields):
    body = orjson.dumps(orjson.loads(record.value) | fields)
    return Record(record.topic, record.partition, record.offset, record.timestamp_ms, record.key, body, record.headers)


async def test_a_budget_that_grants_another_number_of_points_is_found(evidence):
    at = first(evidence, "grant", points=7)
    evidence["commands"][at] = changed(evidence["commands"][at], points=6)
    differing = judged(evidence).differing
    assert any("bonus of" in text and "granted 6, not 7" in text for text in differing)


async def test_a_budget_that_grants_above_its_cap_is_found(evidence):
    at = first(evidence, "grant", points=0)
    evidence["commands"][at] = changed(evidence["commands"][at], points=500)
    differing = judged(evidence).differing
    assert any("granted 500, not 0" in text for text in differing)
    assert any(f"points are out, of {RULES.bonus_cap}" in text for text in differing)


@pytest.mark.parametrize(
    ("kind", "said"), [("ask_budget", "asked 0, not 7"), ("grant", "granted -1, not 7"), ("return_budget", "brought back 0, not")]
)
async def test_a_word_to_or_of_a_budget_that_is_missing_is_found(evidence, kind, said):
    evidence["commands"].pop(first(evidence, kind))
    assert any(said in text for text in judged(evidence).differing)


async def test_a_grant_and_a_return_that_are_said_twice_count_once(evidence):
    for kind in ("ask_budget", "grant", "return_budget"):
        at = first(evidence, kind)
        evidence["commands"].insert(at, evidence["commands"][at])
    assert judged(evidence).ok


async def test_points_of_a_budget_that_no_event_tells_of_are_found(evidence):
    evidence["events"] = [one for one in evidence["events"] if b'"rule":"bonus"' not in one.value or b"ACCRUAL" not in one.value]
    assert all("told 0, not " in text for text in judged(evidence).differing)
    assert judged(evidence).differing


async def test_a_budget_that_has_another_sum_in_its_books_is_found(evidence):
    key, row = next((key, row) for key, row in evidence["rows"].items() if key.startswith(b"budget:"))
    account = unpack(row, key.decode())
    evidence["rows"][key] = pack(replaced(account, budget=replaced(account.budget, granted=account.budget.granted + 1)))
    assert judged(evidence).differing == [f"{key.decode()}: granted {account.budget.granted + 1}, not {account.budget.granted}"]


async def test_an_account_that_is_not_there_is_found(evidence):
    evidence["rows"].pop(b"H-1")
    assert [text.split(":")[0] for text in judged(evidence).differing] == ["H-1"]


def test_waits_and_silences_are_those_of_records_that_wait():
    answers = Answers()
    answers.heard("a")  # before its acknowledgement was seen
    answers.owed("a", 0.0)
    assert not answers.waiting
    answers.owed("b", 0.0)
    assert list(answers.waiting) == ["b"]
    answers.heard("b")
    answers.heard("b")
    assert not answers.waiting
    assert answers.worst_wait > 0
