"""`loy seed` and `loy replay` on a living system."""

import io
from datetime import UTC, datetime, timedelta

from rich.console import Console

from streams.baskets import identifiers, weeks
from streams.feeding import TOO_OLD, _was_too_old, arrivals, journey, seed
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


def test_a_live_replay_goes_on_today_at_the_same_weekday_and_hour():
    noon = datetime(2026, 11, 18, 17, tzinfo=UTC)  # a Wednesday; noon in New York
    days = weeks(2, 2)
    live = list(arrivals(days, speed="live", clean=True, now=noon))
    history = list(arrivals(days, speed="full", clean=True, now=noon))
    shift_ms = live[-1].at_ms - history[-1].at_ms
    assert shift_ms % (7 * 86_400_000) == 0
    assert [one.at_ms + shift_ms for one in history if one.at_ms + shift_ms >= noon.timestamp() * 1000] == [
        one.at_ms for one in live
    ]
    assert live[0].at_ms < (noon + timedelta(hours=1)).timestamp() * 1000
    assert len(history) > len(live) > len(history) / 3


def test_history_on_the_wall_clock_is_noticed():
    """What a newcomer tries first must not end in a riddle: receipts parked as too old."""
    tally = Tally()
    tally.outcomes["pos.checks", "applied", "OK"] = 94
    assert not _was_too_old(tally, 94)
    tally.outcomes["pos.checks", "parked", "BEYOND_HORIZON"] = 6
    assert _was_too_old(tally, 100)
