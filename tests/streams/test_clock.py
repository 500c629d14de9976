"""The clock: who is due, told once, at the time of the wall or of the log."""

import asyncio
import time

import pytest

from schemas.codec import parse_command
from schemas.topics import COMMANDS
from streams.clock import TICKS_A_LOOK, Clock, DueIndex
from streams.domain.account import Account, pack
from streams.runtime import Exit, NotOwned
from tests.builders import START, program
from tests.streams.agent_world import AgentWorld, FakeOutbox, commands

NOW = int(START.timestamp())


class Rows:
    """Stored accounts by partition."""

    def __init__(self, **due):
        self.due = {1: due}

    def behind(self, partition, key, count):
        return [
            (name.encode(), pack(Account(key=name, program="main", next_due=due)))
            for name, due in sorted(self.due.get(partition, {}).items())
            if name.encode() > key
        ][:count]


def account(key, due, name="main"):
    return Account(key=key, program=name, next_due=due)


async def index(rows=None, owned=(1,)):
    made = DueIndex(rows or Rows())
    await made.rebuild(frozenset(owned))
    return made


def clock(due, world, mode="stream"):
    return Clock(due, world, lambda: FakeOutbox(world), mode=mode, default_program="main")


# ---------------------------------------------------------------- the index


async def test_the_index_is_read_from_the_table_and_gives_the_longest_due_first():
    due = await index(Rows(a=30, b=10, c=20, never=0, later=99))
    assert len(due) == 4
    assert [key for key, _, _ in due.take(1, 50, 10)] == [b"b", b"c", b"a"]


async def test_each_due_time_is_taken_once():
    due = await index(Rows(a=10))
    assert due.take(1, 50, 10) == [(b"a", 10, "main")]
    assert due.take(1, 50, 10) == []


async def test_no_more_is_taken_than_asked_for_and_the_rest_stays():
    due = await index(Rows(a=1, b=2, c=3))
    assert [key for key, _, _ in due.take(1, 50, 2)] == [b"a", b"b"]
    assert [key for key, _, _ in due.take(1, 50, 2)] == [b"c"]


async def test_what_the_ledger_wrote_counts_not_what_was_before():
    due = await index(Rows(a=10, b=10))
    due.note(1, b"a", account("a", 40), 5)
    due.note(1, b"b", account("b", 0), 5)
    due.note(1, b"c", account("c", 20), 5)
    assert [key for key, _, _ in due.take(1, 30, 10)] == [b"c"]
    assert [key for key, _, _ in due.take(1, 40, 10)] == [b"a"]
    assert due.stream_time(1) == 5


async def test_stream_time_never_runs_backwards():
    due = await index()
    due.note(1, b"a", account("a", 0), 50)
    due.note(1, b"a", account("a", 0), 40)
    assert (due.stream_time(1), due.stream_time(2)) == (50, 0)


async def test_a_partition_that_comes_back_is_read_anew():
    rows = Rows(a=10)
    due = await index(rows)
    await due.rebuild(frozenset())
    assert len(due) == 0
    rows.due[1] = {"a": 70}
    await due.rebuild(frozenset({1}))
    assert due.take(1, 60, 10) == []
    assert due.take(1, 70, 10) == [(b"a", 70, "main")]


async def test_a_large_table_is_read_piece_by_piece_beside_the_work(monkeypatch):
    monkeypatch.setattr("streams.clock.PIECE", 2)
    rows = Rows(**dict.fromkeys("abcdefghijklmnopqrstuvwxyz", 10))
    due = DueIndex(rows)
    await due.rebuild(frozenset({1}), patience=0)
    assert (due.unread(1, b"a"), due.unread(1, b"z"), due.unread(2, b"z")) == (False, True, False)
    for key, later in (("a", 60), ("z", 70)):  # one of those that were read, and one of the others
        rows.due[1][key] = later
        due.note(1, key.encode(), account(key, later), 5)
    async with asyncio.timeout(5):
        await due._reading
    assert not due.unread(1, b"z")
    assert [key for key, _, _ in due.take(1, 50, 99)] == [name.encode() for name in "bcdefghijklmnopqrstuvwxy"]
    assert due.take(1, 99, 99) == [(b"a", 60, "main"), (b"z", 70, "main")]


async def test_a_partition_lost_while_it_is_read_is_left(monkeypatch):
    monkeypatch.setattr("streams.clock.PIECE", 1)

    class Lost(Rows):
        def behind(self, partition, key, count):
            if key:
                raise NotOwned
            return super().behind(partition, key, count)

    assert len(await index(Lost(a=10, b=20))) == 1


async def test_a_table_that_cannot_be_read_ends_the_process(monkeypatch):
    ended = []
    monkeypatch.setattr("streams.clock.end_process", lambda code, *_, **__: ended.append(code))

    class Broken(Rows):
        def behind(self, *_):
            raise OSError

    await index(Broken())
    assert ended == [Exit.UNEXPECTED]


# ---------------------------------------------------------------- the clock


async def test_a_tick_is_named_after_account_and_due_time_so_that_one_more_is_a_repeat():
    world = AgentWorld()
    due = await index(Rows(**{"H-1": NOW}))
    due.note(1, b"other", account("other", 0), NOW + 3)
    await clock(due, world).look(frozenset({1}))
    (tick,) = world.sent
    assert (tick.topic, tick.key, tick.timestamp_ms) == (COMMANDS.name, b"H-1", (NOW + 3) * 1000)
    command = parse_command(tick.value)
    assert (command.type, command.id, command.program) == ("tick", f"tick:H-1:{NOW}", "main@1")


async def test_in_a_replay_nothing_is_due_before_the_log_says_so():
    world = AgentWorld()
    due = await index(Rows(**{"H-1": NOW}))
    ticking = clock(due, world)
    await ticking.look(frozenset({1}))
    due.note(1, b"other", account("other", 0), NOW - 1)
    await ticking.look(frozenset({1}))
    assert world.sent == []


async def test_live_the_wall_says_what_is_due():
    world = AgentWorld()
    due = await index(Rows(past=int(time.time()) - 5, future=int(time.time()) + 3600))
    await clock(due, world, "wall").look(frozenset({1}))
    assert [one["account"] for one in commands(world.sent)] == ["past"]


@pytest.mark.parametrize(("mode", "owned"), [("off", {1}), ("wall", set())])
async def test_switched_off_or_without_the_partition_it_says_nothing(mode, owned):
    world = AgentWorld()
    await clock(await index(Rows(a=NOW)), world, mode).look(frozenset(owned))
    assert world.sent == []


async def test_a_midnight_storm_is_spread_over_several_looks():
    world = AgentWorld()
    due = await index(Rows(**{f"H-{n}": NOW for n in range(TICKS_A_LOOK + 50)}))
    ticking = clock(due, world, "wall")
    await ticking.look(frozenset({1}))
    first = len(world.sent)
    assert 0 < first <= TICKS_A_LOOK + 1
    await ticking.look(frozenset({1}))
    assert len({one["account"] for one in commands(world.sent)}) == TICKS_A_LOOK + 50


async def test_the_program_of_a_tick_is_the_one_in_force_when_it_fell_due():
    world = AgentWorld(program(), program(version=2, effective_from=START.isoformat()))
    due = await index(Rows(before=NOW - 1, at=NOW))
    await clock(due, world, "wall").look(frozenset({1}))
    assert {one["account"]: one["program"] for one in commands(world.sent)} == {"before": "main@1", "at": "main@2"}
