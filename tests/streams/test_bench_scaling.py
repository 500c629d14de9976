"""Scaling is measured stage by stage, and the accounts do not depend on how many workers there were."""

import io
from itertools import islice

import pytest
from rich.console import Console

from schemas.codec import parse_inbound
from schemas.topics import CHECKS
from streams.bench.accounts import key_of
from streams.bench.filling import fill
from streams.bench.recovery import Recovery, Start
from streams.bench.run import PROGRAM
from streams.bench.scaling import Scaled, Stage, load, require_equal, rules, scale, stages
from streams.bench.scaling_show import table
from streams.bench.topics import BenchError
from streams.domain.identifiers import normalise
from streams.log import open_log
from streams.program_files import load_program
from streams.rebuild import StateHash
from streams.runtime import partition_of
from streams.settings import Settings
from streams.topic_admin import Changelog, apply_topics


def test_first_the_workers_are_varied_and_then_the_members():
    assert stages([100, 10, 1000], [4, 1, 2]) == [Stage(10, 1), Stage(10, 2), Stage(10, 4), Stage(100, 1), Stage(1000, 1)]
    assert stages([10], [2]) == [Stage(10, 2)]


def test_no_rule_depends_on_who_comes_first():
    shipped, used = load_program(PROGRAM), rules()
    assert {one.id for one in shipped.earning.rules} - {one.id for one in used.earning.rules} == {"rose-season"}
    assert used.key == shipped.key


def test_the_load_is_the_same_baskets_for_each_member_in_turn():
    few, many = ([parse_inbound(CHECKS.name, one.value) for one in islice(load(members), 300)] for members in (100, 100_000))
    assert len({one.member for one in few}) == 100
    assert len({one.member for one in many}) == 300
    assert [one.lines for one in few] == [one.lines for one in many]
    assert {normalise(one.member) for one in few} == {f"app:{key_of(n)}" for n in range(100)}


def scaled(workers, digest):
    start = Start(1.0, 1.0, 100_000_000, 0)
    recovery = Recovery(10, 1, start, start)
    return Scaled(Stage(10, workers), 100, 2.0, 0.05, 0.01, (1,) * workers, recovery, StateHash(10, digest))


def test_other_accounts_with_more_workers_are_an_error():
    require_equal([scaled(1, "a"), scaled(2, "a")])
    with pytest.raises(BenchError, match="2 workers left other accounts: b 10, not a 10"):
        require_equal([scaled(1, "a"), scaled(2, "b")])


async def test_filling_writes_every_row_to_the_partition_of_its_key(kafka, topic_prefix):
    topic = f"{topic_prefix}filled"
    await apply_topics(kafka.bootstrap, 3, extra=(Changelog(topic, 3),))
    rows = [(b"key-%d" % (n % 7), b"%d" % n * 200, n) for n in range(2000)]
    assert await fill(kafka.bootstrap, topic, rows) == sum(len(value) for _, value, _ in rows)
    found = []
    async with open_log(kafka.bootstrap) as log:
        async for batch in log.read(await log.spans(topic)):
            found += batch
    assert sorted((record.key, record.value) for record in found) == sorted(row[:2] for row in rows)
    assert all(record.partition == partition_of(record.key, 3) for record in found)
    for key in {row[0] for row in rows}:
        assert [record.value for record in found if record.key == key] == [row[1] for row in rows if row[0] == key]


@pytest.mark.broker
@pytest.mark.timeout(900)
async def test_two_workers_leave_the_accounts_that_one_leaves(tmp_path):
    found = await scale(Console(quiet=True), Settings(data=tmp_path), stages([400], [1, 2]), count=300)
    assert [one.stage.workers for one in found] == [1, 2]
    assert found[0].state == found[1].state
    assert found[0].state.accounts == 400
    assert len(found[1].peak_bytes) == 2
    assert not list(tmp_path.iterdir())
    out = io.StringIO()
    Console(file=out, width=160).print(table(found, 0.5))
    assert out.getvalue().count(found[0].state.digest[:8]) == 2
