"""When a topic that yields may be read: when nobody else waits, here or elsewhere, and now and then whatever waits."""

from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from streams.runtime import yielding
from streams.runtime.book import CommitBook
from streams.runtime.yielding import SHARE_SECONDS, WAITING, WAITING_AWAY, Yielding

LANE, LIVE, FED, ELSEWHERE = TP("lane", 0), TP("live", 0), TP("fed", 0), TP("fed", 1)


class World:
    """An app of three topics: `lane` yields, and feeds `fed`, of which partition 1 is another worker's."""

    def __init__(self):
        self.now, self.lag, self.others, self.ends, self.done, self.silent = 1000.0, 0, 1, {}, {}, False
        self.book = CommitBook()
        for tp in (LANE, LIVE, FED):
            self.book.start(tp, 0)
        mine = {LANE, LIVE, FED}
        self.consumer = SimpleNamespace(
            book=self.book,
            active_partitions=lambda: list(mine),
            assignment=lambda: mine,
            highwaters=self.highwaters,
            committed_by_all=self.committed,
        )
        self.vitals = SimpleNamespace(waiting=lambda besides: 0 if "live" in besides else self.lag)
        self.shift = SimpleNamespace(others=1)
        self.yielding = Yielding(self)
        self.yielding.topics["lane"] = "fed"
        self.yielding.took()

    async def partitions(self, topic):
        return 2

    async def highwaters(self, *tps):
        if self.silent:
            raise KafkaConnectionError
        return {tp: self.ends.get(tp, 0) for tp in tps}

    async def committed(self, tps):
        return {tp: self.done[tp] for tp in tps if tp in self.done}

    async def look_away(self):
        self.yielding._away = await self.yielding._count_away()


@pytest.fixture
def world(monkeypatch):
    made = World.__new__(World)
    monkeypatch.setattr(yielding.time, "monotonic", lambda: made.now)
    made.__init__()
    return made


def test_it_is_read_while_nobody_else_waits(world):
    assert world.yielding.is_due()
    world.lag = WAITING
    assert world.yielding.is_due()
    world.lag = WAITING + 1
    assert not world.yielding.is_due()


def test_one_batch_of_it_is_at_hand_at_most(world):
    world.book.hand_out(LANE, 0, 9, "batch")
    assert not world.yielding.is_due()
    world.now += 10 * SHARE_SECONDS
    assert not world.yielding.is_due()
    world.book.finish(LANE, "batch")
    assert world.yielding.is_due()


def test_under_a_load_that_never_ends_it_still_gets_its_share(world):
    world.lag = 1_000_000
    taken = 0
    for _ in range(1000):
        world.now += 0.01
        if world.yielding.is_due():
            taken += 1
            world.yielding.took()
    assert taken == pytest.approx(10 / SHARE_SECONDS, abs=1)


async def test_what_waits_at_other_workers_holds_it_back_too(world):
    world.ends[ELSEWHERE], world.done[ELSEWHERE] = 5000 + WAITING_AWAY, 5000
    await world.look_away()
    assert world.yielding.is_due()
    world.ends[ELSEWHERE] += 1
    await world.look_away()
    assert not world.yielding.is_due()
    world.shift.others = 2
    await world.look_away()
    assert world.yielding.is_due(), "two workers can do twice as much"


async def test_when_kafka_does_not_tell_only_the_share_is_taken(world):
    world.silent = True
    await world.look_away()
    assert not world.yielding.is_due()
    world.now += SHARE_SECONDS
    assert world.yielding.is_due()
    world.silent = False
    await world.look_away()
    world.yielding.took()
    assert world.yielding.is_due()
