"""`loy seed` and `loy replay` on a living system."""

import io

from rich.console import Console

from streams.baskets import identifiers, weeks
from streams.feeding import TOO_OLD, _was_too_old, journey, seed
from streams.report import Tally


def test_seeding_says_how_many_joined(history):
    _, seeded, _ = history
    assert (seeded.returncode, seeded.stdout) == (0, "2,469 households are members.\n"), seeded.stderr


async def test_seeding_again_changes_nothing(history):
    system, *_ = history
    before = system.loy("state-hash").stdout
    console = Console(file=io.StringIO())
    await seed(console, system.bootstrap, "main")
    assert "2,469 households are members." in console.file.getvalue()
    assert identifiers() > 2_469
    assert system.loy("verify").returncode == 0
    assert system.loy("state-hash").stdout == before


def test_replaying_shows_what_a_week_did(history):
    _, _, replayed = history
    assert replayed.returncode == 0, replayed.stderr
    expected = sum(1 for arrival in journey(weeks(1, 1)) if arrival.topic == "pos.checks")
    for shown in ("Weeks 1 to 1", f"{expected:,}", "applied", "checks/s", "till to event"):
        assert shown in replayed.stdout
    assert TOO_OLD[:20] not in replayed.stdout


def test_history_on_the_wall_clock_is_noticed():
    """What a newcomer tries first must not end in a riddle: receipts parked as too old."""
    tally = Tally()
    tally.outcomes["pos.checks", "applied", "OK"] = 94
    assert not _was_too_old(tally, 94)
    tally.outcomes["pos.checks", "parked", "BEYOND_HORIZON"] = 6
    assert _was_too_old(tally, 100)
