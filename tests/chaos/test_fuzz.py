"""Broken records through intake and ledger: nothing escapes, all is accounted for, and the fuzzer would notice."""

import pytest

from streams import agents
from streams.chaos import fuzz as fuzzing
from streams.chaos.fuzz import fuzz, inputs_of
from streams.domain.intake import Intake

INPUTS = 25_000


async def test_broken_records_are_accounted_for_one_by_one_and_nothing_escapes():
    fuzzed = await fuzz(seed=1, inputs=INPUTS)
    assert fuzzed.ok, fuzzed.failure
    assert fuzzed.outcomes.total() == fuzzed.inputs >= INPUTS
    assert fuzzed.broken > INPUTS / 2
    assert min(fuzzed.outcomes[name] for name in ("applied", "repeated", "refused", "parked", "dead letter")) > 0
    assert fuzzed.events > INPUTS / 20, "hardly anything got as far as an account"


def test_a_seed_makes_the_same_inputs_to_the_byte():
    first, again, other = (list(inputs_of(seed, 3000)) for seed in ("1 0", "1 0", "2 0"))
    assert first == again
    assert first != other


async def test_an_exception_that_escapes_is_told_with_the_record_that_caused_it(monkeypatch):
    def fragile(self, request, arrived):
        if request.type == "cancel":
            raise ZeroDivisionError
        return take(self, request, arrived)

    take = Intake.redemption
    monkeypatch.setattr(Intake, "redemption", fragile)
    fuzzed = await fuzz(seed=1, inputs=2000)
    assert not fuzzed.ok
    assert "seed 1, world 0, input " in fuzzed.failure
    assert "ZeroDivisionError" in fuzzed.failure
    assert "cancel" in fuzzed.failure


@pytest.mark.parametrize("lost", ["_bury", "_reply"])
async def test_a_record_without_an_answer_is_told(monkeypatch, lost):
    monkeypatch.setattr(agents, lost, lambda *_, **__: None)
    fuzzed = await fuzz(seed=1, inputs=1000)
    assert not fuzzed.ok
    assert "without a reply and without a dead letter" in fuzzed.failure


async def test_books_that_do_not_add_up_are_told(monkeypatch):
    class Crooked:
        class books:  # noqa: N801
            @staticmethod
            def total():
                return 1

    monkeypatch.setattr(fuzzing, "unpack", lambda *_: Crooked)
    fuzzed = await fuzz(seed=1, inputs=500)
    assert "do not add up" in fuzzed.failure
