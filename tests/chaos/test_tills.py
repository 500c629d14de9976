"""What the tills send is a function of the seed, to the last byte, with every mishap in it."""

from itertools import islice

import orjson
import pytest

from schemas.codec import INBOUND, BadRecord, parse_inbound
from streams.chaos.oracle import DAY
from streams.chaos.schedule import TILLS, Kind
from streams.chaos.tills import KAFKA_AHEAD_MAX, START, Tills


def sent(seed, number=3000, only=None):
    tills = Tills(seed, 60, only)
    return list(tills.joining()) + list(islice(tills.shopping(lambda: True), number)), tills


def test_a_seed_sends_the_same_to_the_byte():
    assert sent(1)[0] == sent(1)[0]
    assert sent(1)[0] != sent(2)[0]


@pytest.mark.parametrize("seed", range(1, 6))
def test_every_mishap_comes_early(seed):
    _, tills = sent(seed, 60)
    assert set(tills.mishaps) == set(TILLS)


@pytest.mark.parametrize("kind", TILLS)
def test_only_one_mishap_when_asked(kind):
    assert set(sent(1, 300, kind)[1].mishaps) == {kind}


def test_no_mishap_when_the_one_kind_is_a_worker_s():
    entries, tills = sent(1, 300, Kind.WORKER_KILLED)
    assert not tills.mishaps
    assert all(parse_inbound(entry.topic, entry.value) for entry in entries)


def test_ids_are_never_given_twice_but_by_resends():
    ids = [body.get("request_id") or body.get("command_id") or body["check_id"] for body in bodies(sent(1, 2000, Kind.BURST)[0])]
    assert len(set(ids)) == len(ids)


def test_what_is_late_arrives_days_after_it_was_made_and_all_of_it_in_the_end():
    tills = Tills(1, 60, Kind.DAYS_LATE)
    left = iter(range(2000))
    entries = list(tills.shopping(lambda: next(left, None) is not None))
    late = [entry for entry in entries if entry.mishap is Kind.DAYS_LATE]
    assert len(late) == tills.mishaps[Kind.DAYS_LATE] > 50
    assert len(entries) == 2000
    assert sum(entry.timestamp_ms / 1000 - START > 4 * DAY for entry in late) > 10


def test_a_jump_of_a_till_s_clock_moves_kafka_s_time_by_days_at_most():
    entries, _ = sent(1, 4000, Kind.CLOCK_JUMPED)
    times = [entry.timestamp_ms // 1000 for entry in entries]
    assert min(times) < START < max(times)
    assert min(times) >= START - KAFKA_AHEAD_MAX


def test_poison_is_not_taken_and_the_rest_is():
    entries, _ = sent(1)
    for entry in entries:
        if entry.mishap is not Kind.POISON:
            assert parse_inbound(entry.topic, entry.value)
    poison = [entry for entry in entries if entry.mishap is Kind.POISON]
    refused = sum(not_read(entry) for entry in poison)
    assert refused > len(poison) / 2, "the others are refused by intake: a wrong key, a time to come"
    assert {entry.topic for entry in poison} == set(INBOUND)


def not_read(entry):
    try:
        parse_inbound(entry.topic, entry.value)
    except BadRecord:
        return True
    return False


def bodies(entries):
    return [orjson.loads(entry.value) for entry in entries]
