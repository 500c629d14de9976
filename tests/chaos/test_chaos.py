"""The whole under fire: three brokers, two workers, every kind of fault once. `loy chaos --seed 7 --workers 2` repeats it."""

from pathlib import Path

import pytest
from rich.console import Console

from streams.chaos.run import chaos
from streams.chaos.schedule import Kind
from streams.settings import Settings

SEED = 7


@pytest.mark.broker
@pytest.mark.timeout(900)
async def test_nothing_is_lost_or_doubled_and_every_account_is_right_whatever_fails(tmp_path: Path):
    console = Console(width=120)
    settings = Settings.load({}, data=tmp_path)
    report = await chaos(console, settings, seed=SEED, minutes=1.0, workers=2)
    console.print(report.render())
    assert report.verdict.lost == []
    assert report.verdict.doubled == []
    assert report.verdict.differing == []
    assert report.findings.ok, report.findings.violation
    assert report.stored == report.rebuilt
    assert report.ok
    assert set(report.injected) == set(Kind), "a kind of fault did not happen"
    assert report.sent > 2000
    assert report.verdict.accounts >= 60
    assert report.stored.accounts >= report.verdict.accounts
    assert 77 not in report.exits, "a worker met a gap in the offsets"
    assert left_in(tmp_path) == []


def left_in(folder):
    return list(folder.iterdir())
