"""`loy seed` and `loy replay`: members and baskets for a system that runs already."""

from collections.abc import Iterator
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import Progress

from schemas.codes import Code
from streams import report
from streams.baskets import Arrival, Days, checks, enrolments, identifiers, in_order, redemptions, weeks
from streams.replay import await_registered, days_to_today, from_now, replay, speed_of

REWARD, REWARD_AFTER_MINOR = "five-off", 25_000
"""What households redeem, and after how much spending they ask for it."""

TOO_OLD = (
    "Parked, because by the workers' clock it happened long ago. To replay history, start on fresh data with the clock of "
    "the log: `loy up --clock stream`, or LOY_CLOCK=stream for `loy worker`. Or replay it as of today: --speed live."
)


def journey(days: Days, *, clean: bool = False, shift_days: int = 0) -> Iterator[Arrival]:
    """Receipts and redemption requests of those days, by time."""
    asked = redemptions(days, reward=REWARD, spend_minor=REWARD_AFTER_MINOR, clean=clean, shift_days=shift_days)
    return in_order(asked, checks(days, clean=clean, shift_days=shift_days))


async def seed(console: Console, bootstrap: str, program: str) -> None:
    """Register the households; back when their cards are known. Registering twice changes nothing."""
    sent = await replay(bootstrap, enrolments(program))
    await await_registered(bootstrap, identifiers(program))
    console.print(f"{sent:,} households are members.")


def arrivals(days: Days, *, speed: str, clean: bool, now: datetime) -> Iterator[Arrival]:
    """The journey of those days of the data: as history, or for a live replay as of today, from now on."""
    if speed != "live":
        return journey(days, clean=clean)
    shift = days_to_today(days.start, now.date())
    return from_now(journey(days, clean=clean, shift_days=shift), int(now.timestamp() * 1000))


async def feed(console: Console, bootstrap: str, *, speed: str, first: int, last: int, clean: bool) -> None:
    """Send the weeks' receipts and requests, wait for every answer, show what they did; also when cancelled on the way.

    Raises ValueError for a bad speed, StalledError when answers stay out.
    """
    pace = speed_of(speed)
    source = arrivals(weeks(first, last), speed=speed, clean=clean, now=datetime.now(UTC))
    async with report.listening(bootstrap) as tally:
        try:
            with Progress(console=console) as bars:
                task = bars.add_task(f"weeks {first} to {last} at {speed}", total=None)
                sent = await replay(
                    bootstrap,
                    source,
                    speed=pace,
                    gate=tally.gate(),
                    refused=tally.refused,
                    progress=lambda n: bars.update(task, completed=n, description=f"{n:,} sent"),
                )
                await tally.reach(sent)
        finally:
            console.print(report.render(tally, f"Weeks {first} to {last}"))
    if _was_too_old(tally, sent):
        console.print(TOO_OLD, style="yellow", soft_wrap=True)


def _was_too_old(tally: report.Tally, sent: int) -> bool:
    """Whether much of it was parked because, by the workers' clock, it happened long ago."""
    old = sum(count for (_, _, code), count in tally.outcomes.items() if code == Code.BEYOND_HORIZON)
    return 20 * old > sent
