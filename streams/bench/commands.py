"""`loy bench` and `loy bench-scaling`, as `loy` registers them."""

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
