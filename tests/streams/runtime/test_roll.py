"""The roll of the workers: whoever reads it, from wherever, knows the same owners; a unit has one owner, and who had it is fenced."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.runtime.roll import Roll, Statement, View, statement_of

UNITS = 6


@dataclass
class Worker:
    """Reads the log as far as it is told, and says what a worker would."""

    name: str
    id: int
    log: list[Statement]
    roll: Roll = field(default_factory=Roll)
    read: int = 0
    number: int = 0
    given: set[int] = field(default_factory=set)

    def hear(self, upto: int) -> None:
        while self.read < min(upto, len(self.log)):
            self.roll.hear(self.log[self.read], self.read)
            self.read += 1
        self.given = {unit for unit in self.given if self.roll.owners.get(unit) == self.name}

    def say(self, **more) -> None:
        self.number += 1
        mine = self.roll.view().of(self.name) - self.given
        self.given.update(more.get("gives", ()))
        owns = {unit: self.roll.suspects.get(unit, ()) for unit in mine}
        self.log.append(Statement(self.name, (self.id, 0), self.number, self.read, owns, **more))

    def mine(self) -> list[int]:
        return sorted(self.roll.view().of(self.name) - self.given)


def crew(count: int) -> list[Worker]:
    log: list[Statement] = []
    return [Worker(f"w{n}", n, log) for n in range(count)]


def everybody(workers: list[Worker], log: list[Statement]) -> None:
    for worker in workers:
        worker.hear(len(log))


def act(worker: Worker, action: str, unit: int) -> None:
    others = {name: worker.roll.numbers[name] for name in worker.roll.members if name != worker.name}
    said = {
        "take": {"takes": (unit,)},
        "work": {"works": tuple(worker.mine())},
        "give": {"gives": tuple(worker.mine()[:1])},
        "bury": {"dead": dict(list(others.items())[:1])},
        "leave": {"leaves": True},
        "beat": {"warm": (unit,)},
    }
    worker.say(**said[action])


def history(steps) -> tuple[list[Statement], list[str], int]:
    """The log, who is left, and how long it was before all who are left spoke twice more."""
    workers = crew(4)
    log, left = workers[0].log, set()
    for who, action, unit, lag in steps:
        worker = workers[who]
        worker.hear(max(worker.read, len(log) - lag))
        if worker.name in left | worker.roll.gone.keys():
            continue
        if worker.number == 0:
            worker.hear(len(log))
            worker.say()
        act(worker, action, unit)
        if action == "leave":
            left.add(worker.name)
    settled = len(log)
    everybody(workers, log)
    present = [worker for worker in workers if worker.number and worker.name not in left | worker.roll.gone.keys()]
    for worker in present * 2:
        worker.say()
    return log, [worker.name for worker in present], settled


def reading(log: list[Statement], begin: int, present: list[str]) -> tuple[dict, dict]:
    """Owners and suspects of what belongs to those who are left, as somebody knows them who began there."""
    roll = Roll(begin=begin)
    for at in range(begin, len(log)):
        roll.hear(log[at], at)
    assert roll.members.keys() >= set(present)
    owners = {unit: owner for unit, owner in roll.owners.items() if owner in present}
    return owners, {unit: set(who) for unit, who in roll.suspects.items() if who and unit in owners}


ACTIONS = st.sampled_from(["beat", "take", "work", "give", "bury", "leave"])
STEPS = st.tuples(st.integers(0, 3), ACTIONS, st.integers(0, UNITS - 1), st.integers(0, 8))


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=60), st.data())
def test_all_readers_agree_wherever_they_begin(steps, data):
    log, present, settled = history(steps)
    begin = data.draw(st.integers(0, settled))
    assert reading(log, begin, present) == reading(log, 0, present)


def test_whoever_reads_from_the_middle_believes_a_burial_until_the_buried_speaks_on():
    """The one who buries was dead himself by then, which only the part before tells."""
    late = Roll(begin=10)
    late.hear(Statement("living", (1, 0), 7, 10, {0: ()}), 10)
    late.hear(Statement("a ghost", (2, 0), 3, 8, {}, dead={"living": 7}), 11)
    late.hear(Statement("living", (1, 0), 8, 11, {0: ()}), 12)
    assert (late.owners, late.members) == ({}, {}), "it had not read that yet"
    late.hear(Statement("living", (1, 0), 9, 13, {0: ()}), 13)
    assert late.owners == {0: "living"}


def test_of_two_who_want_a_unit_the_first_in_the_log_has_it():
    one, two = crew(2)
    for worker in (one, two):
        worker.say()
    one.say(takes=(0, 1))
    two.say(takes=(1, 2))
    everybody([one, two], one.log)
    assert one.roll.owners == two.roll.owners == {0: "w0", 1: "w0", 2: "w1"}


def test_somebody_who_spoke_meanwhile_is_not_dead_and_the_dead_do_not_come_back():
    one, two = crew(2)
    for worker in (one, two):
        worker.say()
    one.say(takes=(0,))
    everybody([one, two], one.log)
    heard = two.roll.numbers["w0"]
    one.say()
    two.say(dead={"w0": heard})
    everybody([one, two], one.log)
    assert two.roll.owners == {0: "w0"}
    two.say(dead={"w0": two.roll.numbers["w0"]})
    one.say(takes=(1,))
    everybody([one, two], one.log)
    assert two.roll.owners == {}
    assert "w0" in one.roll.gone


def test_whoever_may_not_know_that_it_lost_a_unit_is_fenced_until_work_on_it_has_begun():
    one, two, three = crew(3)
    for worker in (one, two, three):
        worker.say()
    one.say(takes=(0,))
    one.say(works=(0,))
    everybody([one, two, three], one.log)
    two.say(dead={"w0": 3}, takes=(0,))  # the burial counts after the taking: too early
    two.hear(99)
    assert two.roll.owners == {}
    two.say(takes=(0,))
    everybody([two, three], one.log)
    assert two.roll.suspects == {0: ((0, 0),)}
    three.say(dead={"w1": two.number})
    three.say(takes=(0,))
    three.hear(99)
    assert three.roll.suspects == {0: ((0, 0), (1, 0))}, "the second never said that it worked"
    three.say(works=(0,))
    three.hear(99)
    assert three.roll.suspects == {}


def test_a_unit_that_is_handed_over_leaves_nobody_to_fence():
    one, two = crew(2)
    for worker in (one, two):
        worker.say()
    one.say(takes=(0,))
    one.say(works=(0,))
    one.say(gives=(0,))
    two.say(takes=(0,))
    two.hear(99)
    assert (two.roll.owners, two.roll.suspects) == ({0: "w1"}, {})


@given(
    st.dictionaries(st.sampled_from("abcde"), st.frozensets(st.integers(0, UNITS - 1)), min_size=1),
    st.dictionaries(st.integers(0, UNITS - 1), st.sampled_from("abcde")),
)
def test_shares_become_even_and_nothing_moves_without_need(warm, owners):
    view = View(warm, {unit: owner for unit, owner in owners.items() if owner in warm}, {})
    for _ in range(3):
        wishes = view.wishes(UNITS)
        assert wishes.keys() == set(range(UNITS))
        view = View(warm, wishes, {})
    shares = [len(view.of(name)) for name in warm]
    assert max(shares) - min(shares) <= 1
    assert view.wishes(UNITS) == view.owners


def test_a_free_unit_goes_to_whoever_is_warm():
    view = View({"a": frozenset(), "b": frozenset({0, 1, 2}), "c": frozenset()}, {3: "b", 4: "b", 5: "c"}, {})
    wishes = view.wishes(6)
    assert [wishes[unit] for unit in (0, 1, 2)] == ["b", "b", "b"]


def test_a_newcomer_gets_its_share_and_the_rest_stays():
    view = View({"a": frozenset(), "b": frozenset(), "c": frozenset()}, dict(enumerate("aaabbb")), {})
    wishes = view.wishes(6)
    moved = {unit: name for unit, name in wishes.items() if view.owners[unit] != name}
    assert set(moved.values()) == {"c"}
    assert len(moved) == 2


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b'{"worker": 1}', b'{"worker": "\xff"}'])
def test_what_no_worker_says_is_nothing(value):
    assert statement_of(value) is None
