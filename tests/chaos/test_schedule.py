"""A plan of faults is a function of its seed, and leaves no kind out."""

from itertools import pairwise

import pytest

from streams.chaos.schedule import BROKERS, TILLS, WORKERS, Kind, plan

SEEDS = range(1, 40)


def test_every_kind_is_of_workers_of_brokers_or_of_tills():
    assert sorted((*WORKERS, *BROKERS, *TILLS)) == sorted(Kind)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_plans_the_same_faults_and_every_kind_once_at_least(seed):
    faults = plan(seed, 80)
    assert faults == plan(seed, 80)
    assert {fault.kind for fault in faults} == {*WORKERS, *BROKERS}
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)


def test_other_seeds_plan_other_faults():
    assert len({str(plan(seed, 80)) for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_kind_comes_again_before_all_others_of_its_lane_have_come(seed):
    for lane in (WORKERS, BROKERS):
        kinds = [fault.kind for fault in plan(seed, 1000) if fault.kind in lane]
        rounds = [kinds[at : at + len(lane)] for at in range(0, len(kinds) - len(lane), len(lane))]
        assert len(rounds) > 3
        assert all(sorted(one) == sorted(lane) for one in rounds)


def test_the_faults_of_a_lane_do_not_come_at_once():
    for lane in (WORKERS, BROKERS):
        times = [fault.at for fault in plan(1, 1000) if fault.kind in lane]
        assert all(later - earlier > 5 for earlier, later in pairwise(times))


@pytest.mark.parametrize("kind", Kind)
def test_only_one_kind_when_asked(kind):
    assert {fault.kind for fault in plan(3, 80, kind)} == ({kind} if kind not in TILLS else set())


def test_a_pause_outlasts_the_session():
    assert all(fault.seconds > 1 for fault in plan(5, 2000, Kind.WORKER_PAUSED))
