"""The log of record alone gives the very bytes that the ledger keeps, however it was cut into batches and repeated."""

import pytest

from schemas.topics import CHECKS, COMMANDS, MEMBER_COMMANDS
from streams.log import Record
from streams.rebuild import Beside, fold, hash_of
from tests.builders import START, after, earning, program
from tests.streams.agent_world import PARTITION, AgentWorld, of
from tests.tills import desk, opt_in, returned, sale

CARDS = ["card:AAA111", "card:BBB222"]
RULES = (
    program(points={"pending_days": 1}),
    program(version=2, effective_from=after(days=2).isoformat(), earning=earning(points=2)),
)


@pytest.fixture
async def world():
    """Two members and a stranger shop over a week; a claim, a return before its sale, a resend, a forgotten receipt."""
    world = AgentWorld(*RULES)
    for n, card in enumerate(CARDS):
        await world.through(MEMBER_COMMANDS, (f"H-{n}", opt_in(f"H-{n}", START, card)))
    for day in range(6):
        at = after(days=day)
        for n, card in enumerate(CARDS):
            late = returned(f"r{day}-{n}", f"s{day}-{n}", [(1, 1000, 500)], at, card)
            await world.through(CHECKS, timed(late, at), *[timed(sale(f"s{day}-{n}", [500, 700], at, card), at)] * 2)
        await world.through(CHECKS, timed(sale(f"u{day}", [900], at), at))
    at = after(days=6)
    claim = desk("claim", "c1", "H-1", at, check_id="u5", total_minor=900, business_date=after(days=5).date().isoformat())
    await world.through(MEMBER_COMMANDS, ("H-1", claim, int(at.timestamp() * 1000)))
    due = world.account("receipt:u0").next_due
    tick = {"type": "tick", "id": "tick:1", "account": "receipt:u0", "program": "main@1"}
    batch = world.batch(COMMANDS, ("receipt:u0", tick, due * 1000))
    await world.ledger_agent.handle(batch)
    world.tick = batch.records[0]
    return world


def timed(body, at):
    return body.get("member", ""), body, int(at.timestamp() * 1000)


def log_of(world):
    """loy.commands as it lies in the log."""
    lines = [(one.key, one.value, one.timestamp_ms) for one in of(world.sent, COMMANDS)]
    lines.append((world.tick.key, world.tick.value, world.tick.timestamp_ms))
    return [Record(COMMANDS.name, PARTITION, n, at, key, value, ()) for n, (key, value, at) in enumerate(lines)]


def rows_of(world):
    return {key: row for key, row in world.rows.items() if row is not None}


async def test_folding_the_log_gives_the_bytes_that_the_ledger_wrote(world):
    rebuilt = fold(log_of(world), world.plans)
    assert rebuilt == rows_of(world)
    assert len(rebuilt) == 2 + 5
    assert b"receipt:u0" not in rebuilt


async def test_it_is_the_same_in_steps_and_with_everything_repeated(world):
    log = log_of(world)
    rows = fold(log[:7], world.plans)
    assert fold(log[7:], world.plans, rows) is rows
    assert hash_of(rows) == hash_of(rows_of(world))
    last = [record for record in log if record.timestamp_ms >= log[-8].timestamp_ms and record.key != b"receipt:u0"]
    assert fold(last, world.plans, rows) == rows_of(world)


def beside(world, kept, done):
    """What the log makes of accounts that were read when the ledger had committed so many commands."""
    anew = Beside(kept, {PARTITION: done}, world.plans)
    anew.take(log_of(world))
    return anew.rows


async def test_accounts_read_while_the_ledger_goes_on_are_what_the_log_says(world):
    log = log_of(world)
    for read in range(len(log)):
        kept = fold(log[:read], world.plans)
        assert beside(world, kept, done=max(0, read - 3)) == kept


async def test_accounts_that_lack_what_was_committed_or_were_damaged_are_not(world):
    log = log_of(world)
    kept = fold(log[:-1], world.plans)
    assert beside(world, kept, done=len(log)) == rows_of(world) != kept
    kept |= {b"H-1": kept[b"H-0"]}
    assert beside(world, kept, done=0)[b"H-1"] == rows_of(world)[b"H-1"]


async def test_a_version_that_was_never_published_is_named(world):
    with pytest.raises(KeyError, match="main@2"):
        fold(log_of(world), {"main@1": world.plans["main@1"]})


def test_the_hash_depends_on_every_byte_and_on_nothing_else():
    one = hash_of({b"a": b"1", b"b": b"2"})
    assert one == hash_of({b"b": b"2", b"a": b"1"})
    assert one.accounts == 2
    others = [{b"a": b"1"}, {b"a": b"1", b"b": b"3"}, {b"a1b": b"2"}, {b"a1": b"", b"b": b"2"}, {}]
    assert len({one, *map(hash_of, others)}) == 1 + len(others)
