"""Random logs with duplicates, shuffles, late arrivals and crashes, judged by the naive ledger (A07, A08, B01, B02, K02, K04).

Two drivers of one world: a seeded runner, fast, whose failure names its seed (`run(seed)` repeats it), and a hypothesis machine,
which makes a failure small. `LOY_SIMULATION_SECONDS` runs the first for longer, from `LOY_SIMULATION_SEED` on.
"""

import os
import time
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streams.chaos.oracle import Rules
from streams.program_files import load_program
from tests.simulation.worker import DAY
from tests.simulation.world import World

PROGRAMS = Path(__file__).parents[2] / "streams" / "programs"
SECONDS = float(os.environ.get("LOY_SIMULATION_SECONDS", "8"))
FIRST_SEED = int(os.environ.get("LOY_SIMULATION_SEED", "1"))


def run(seed: int, acts: int = 150) -> World:
    """One random world from its seed."""
    rules = Rules(
        debt="floor" if seed % 3 == 0 else "allow",
        expiry_months=seed % 4,
        stars="food" if seed % 2 else "",
        stars_months=seed % 3,
        stars_debt="floor" if seed % 5 == 0 else "allow",
    )
    world = World(Random(seed), rules=rules)
    world.open_the_accounts()
    for _ in range(acts):
        world.act()
    world.finish()
    return world


def test_K02_random_worlds_end_as_the_naive_ledger_says_whatever_crashed():
    ends, seed = time.monotonic() + SECONDS, FIRST_SEED
    while time.monotonic() < ends:
        try:
            run(seed)
        except BaseException:
            print(f"seed {seed}")  # noqa: T201  # it repeats the failure
            raise
        seed += 1


def test_B02_a_long_life_of_one_member_ends_as_the_naive_ledger_says():
    world = World(Random(7), members=1)
    world.paces = (60, 1800, DAY, 7 * DAY)
    world.open_the_accounts()
    for _ in range(1500):
        world.act()
    world.finish()
    assert world.account("H-1").sequence > 500
    assert len(world.account("H-1").applied) < 400, "what is old is forgotten"


@pytest.mark.parametrize("name", ["first", "grocer"])
@pytest.mark.parametrize("seed", range(1, 9))
def test_K02_crashes_heal_under_the_programs_that_ship(name: str, seed: int):
    world = World(Random(seed), program=load_program(PROGRAMS / f"{name}.yaml"))
    world.open_the_accounts()
    for _ in range(150):
        world.act()
    world.finish()


random_sources = st.randoms(use_true_random=False)
members = st.sampled_from(["H-1", "H-2"])


class Machine(RuleBasedStateMachine):
    """The same world, driven by hypothesis."""

    @initialize()
    def open(self) -> None:
        self.world = World(Random(0), members=2)
        self.world.open_the_accounts()

    @rule(member=members, random=random_sources, late=st.booleans())
    def sale(self, member: str, random: Random, late: bool) -> None:
        self.world.random = random
        self.world.happen(member, self.world.sale(self.world.clock), late=late)

    @rule(member=members, random=random_sources, late=st.booleans())
    def bring_back(self, member: str, random: Random, late: bool) -> None:
        self.world.random = random
        self.world.happen(member, self.world.bring_back(member, self.world.clock), late=late)

    @rule(member=members, random=random_sources)
    def redemption(self, member: str, random: Random) -> None:
        self.world.random = random
        self.world.happen(member, self.world.redemption(member))

    @rule(member=members, random=random_sources)
    def by_hand(self, member: str, random: Random) -> None:
        self.world.random = random
        self.world.happen(member, self.world.by_hand(member, self.world.clock))

    @rule(random=random_sources)
    def something_arrives_late(self, random: Random) -> None:
        self.world.random = random
        self.world.arrive()

    @rule(random=random_sources)
    def something_comes_again(self, random: Random) -> None:
        self.world.random = random
        self.world.again()

    @rule(random=random_sources)
    def an_id_is_used_again(self, random: Random) -> None:
        self.world.random = random
        self.world.reused()

    @rule(seconds=st.sampled_from([1, 3600, DAY, 10 * DAY, 40 * DAY]))
    def time_passes(self, seconds: int) -> None:
        self.world.wait(seconds)

    @rule(member=members)
    def tick(self, member: str) -> None:
        self.world.tick(member)

    @rule(records=st.integers(1, 30), commit=st.booleans())
    def work(self, records: int, commit: bool) -> None:
        self.world.worker.run(records)
        if commit:
            self.world.worker.commit()

    @rule(states=st.integers(0, 40), outputs=st.integers(0, 80))
    def crash(self, states: int, outputs: int) -> None:
        self.world.worker.crash(states, outputs)

    @invariant()
    def the_naive_ledger_loses_no_point(self) -> None:
        for member in self.world.members:
            assert self.world.naive.figures(member).conserved

    def teardown(self) -> None:
        self.world.finish()


Machine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestB02AnyOrderOfEvents = Machine.TestCase


@pytest.mark.parametrize("lost", ["events", "state", "commit"])
def test_K02_whatever_a_crash_leaves_the_repeat_completes_it(lost: str):
    world = World(Random(3), members=2)
    world.open_the_accounts()
    for _ in range(60):
        world.happen("H-1", world.sale(world.clock))
        world.happen("H-2", world.redemption("H-2"))
        world.wait(600)
        world.worker.run()
        if world.random.random() < 0.2:
            worker = world.worker
            states, outputs = len(worker.unsent), len(worker.unsent_outputs)
            worker.crash(0 if lost == "state" else states, 0 if lost == "events" else outputs)
    world.finish()
