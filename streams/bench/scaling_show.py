"""What scaling showed, as a table for people."""

import os
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.bench.recovery import Start
from streams.bench.scaling import Scaled

AIM_COLD_SECONDS = 60
AIM_WARM_SECONDS = 5


def table(found: Sequence[Scaled], busy: float) -> RenderableType:
    """One line a stage. `busy` is the machine's load average before."""
    rows = Table(title="[bold]The same load, with more workers and with more members", title_justify="left", expand=False)
    for name in (
        "members", "workers", "checks/s", "CPU-us", "broker", "MB a worker", "B/member", "cold: s, CPU s, MB", "warm", "state",
    ):  # fmt: skip
        rows.add_column(name, justify="right")
    for one in found:
        rows.add_row(*_row(one, found[0]))
    return Group(rows, Text(_conditions(found, busy), style="dim"))


def _row(one: Scaled, least: Scaled) -> tuple[str, ...]:
    cold, warm = one.recovery.cold, one.recovery.warm
    return (
        f"{one.stage.members:,}",
        str(one.stage.workers),
        f"{one.checks / one.seconds:,.0f}",
        f"{one.cpu_seconds / one.checks * 1e6:,.0f}",
        f"{one.broker_cpu_seconds / one.checks * 1e6:,.0f}",
        " ".join(f"{peak / 1e6:.0f}" for peak in one.peak_bytes),
        _each(one, least),
        _start(cold),
        _start(warm),
        one.state.digest[:8] if one.state else "",
    )


def _start(start: Start) -> str:
    return f"{start.seconds:.1f}  {start.cpu_seconds:.1f}  {start.peak_bytes / 1e6:.0f}"


def _each(one: Scaled, least: Scaled) -> str:
    """Memory for each member beyond the first stage's, of a warm worker."""
    more = one.stage.members - least.stage.members
    return f"{(one.recovery.warm.peak_bytes - least.recovery.warm.peak_bytes) / more:,.0f}" if more else ""


def _conditions(found: Sequence[Scaled], busy: float) -> str:
    return (
        f"{found[0].checks:,} checks each, of members in turn; one account in four has five weeks of shopping on it. Memory: "
        f"the peak. Cold, warm: seconds until one worker takes work, with an empty folder and with its own (aims at a million: "
        f"{AIM_COLD_SECONDS} and {AIM_WARM_SECONDS}). State: the beginning of its hash, equal for every number of workers. "
        f"{os.cpu_count()} cores for all of it, broker included; load average before {busy:.1f}."
    )
