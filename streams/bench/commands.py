"""`loy bench`, `loy bench-scaling` and `loy bench-backlog`, as `loy` registers them."""

import os
from typing import Annotated

import typer

from streams.shell import console, run, settings_of


def bench(
    seconds: Annotated[int, typer.Option(min=5, help="Seconds per measurement.")] = 20,
    accounts: Annotated[int, typer.Option(help="Accounts for the recovery measurement.")] = 100_000,
) -> None:
    """Measure the whole path, and other engines in the same run. Ratios matter, not wall figures."""
    from streams.bench.run import Scale, measure  # noqa: PLC0415

    run(measure(console, settings_of(), Scale(seconds, accounts)))


def bench_scaling(
    members: Annotated[list[int] | None, typer.Option(help="Members; several to compare. 10,000 100,000 1,000,000.")] = None,
    workers: Annotated[list[int] | None, typer.Option(min=1, max=12, help="Workers; several to compare. 1 2 4.")] = None,
    checks: Annotated[int, typer.Option(min=200, help="Checks of each measurement.")] = 10_000,
) -> None:
    """The same load with more workers, and with more members. A million members take some minutes and 4 GB of disk."""
    from streams.bench.scaling import scale, stages  # noqa: PLC0415
    from streams.bench.scaling_show import table  # noqa: PLC0415

    busy = os.getloadavg()[0]
    plan = stages(members or [10_000, 100_000, 1_000_000], workers or [1, 2, 4])
    console.print(table(run(scale(console, settings_of(), plan, count=checks)), busy))


def bench_backlog(
    checks: Annotated[int, typer.Option(min=100, help="Late checks that come at once.")] = 200_000,
    without: Annotated[int, typer.Option(min=0, help="And as many with the lane off; 0 leaves that out.")] = 40_000,
    rate: Annotated[float, typer.Option(min=1, help="Live checks a second meanwhile.")] = 250.0,
) -> None:
    """A chain comes back with its offline checks while others sell: how long these wait, with the backlog lane and without."""
    from streams.bench.backlog import course, table  # noqa: PLC0415

    busy = os.getloadavg()[0]
    runs = [(checks, "10")] + ([(without, "off")] if without else [])
    found = [run(course(console, settings_of(), late=late, minutes=minutes, rate=rate)) for late, minutes in runs]
    console.print(table(found, rate, busy))
