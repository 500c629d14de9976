"""The figures of a run as one table for people, with the aims beside them and what they were measured on."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.bench.accounts import REGULAR, WEEKS, Sizes
from streams.bench.compare import Compared
from streams.bench.latency import Delay
from streams.bench.recovery import Recovery, Start
from streams.bench.throughput import Rate
from streams.kafka_jars import resolve_jars
from streams.runtime import Config
from streams.settings import Settings

AIM_PER_SECOND = 2_000
AIM_P99_MS = 250
AIM_ACCOUNT_BYTES = 2_048
AIM_MILLION_SECONDS = 60

_JOB = (
    "The reference job: parse a check, leave it when it is among the member's last 32, add points by a multiplier per category, "
    "keep ids and balance in a store with a changelog, write one event, commit every second. Checked by reading everything back, "
    "byte for byte. Of our whole path it leaves out validation, identities, programs, tiers, lots and expiry, caps and stacking, "
    "returns, redemptions, fraud, replies to tills, profiles in events, the log of commands between intake and ledger, the clock."
)


@dataclass(frozen=True, slots=True)
class Result:
    """Everything a run measured."""

    settings: Settings
    busy: float
    """The machine's load average before anything of ours ran: what else it had to do."""
    stolen: float
    """The share of its cores that the host gave to other machines during the run, 0 to 1."""
    members: int
    ours: Rate
    theirs: list[Compared]
    delays: list[Delay]
    core: dict[str, dict[str, float]]
    """CPU-microseconds a check of each step of the pure core, by program."""
    sizes: Sizes
    recovery: Recovery

    def of(self, engine: str) -> Rate | None:
        """What an engine took, if it was measured."""
        return next((one.rate for one in self.theirs if one.engine.name == engine), None)


def table(result: Result) -> RenderableType:
    """The figures for `rich`."""
    rows = Table("", "measured", "aim", title="[bold]Loystream, measured", title_justify="left", expand=False)
    rows.columns[1].justify = rows.columns[2].justify = "right"
    for add in (_path, _delays, _core, _accounts, _recovery):
        add(rows, result)
        rows.add_section()
    return Group(rows, engines(result), Text(_JOB, style="dim"), *_lacks(result), Text(conditions(result)))


def engines(result: Result) -> Table:
    """Everybody's CPU on the reference job, ours whole above it, and the ratios."""
    rows = Table(title="[bold]Others, in the same run", title_justify="left", expand=False)
    for name in ("", "CPU-us a check", "of the broker", "checks/s", "peak memory", "our runtime / it", "whole path / it"):
        rows.add_column(name, justify="right" if name else "left")
    ours, shell = result.ours, result.of("shell")
    rows.add_row("Loystream, the whole path", *_figures(ours), _ratio(ours, shell, under=True), "1.0")
    rows.add_section()
    for one in result.theirs:
        if one.rate is None:
            rows.add_row(one.engine.title, "not here", "", "", "", "", "")
        else:
            rows.add_row(one.engine.title, *_figures(one.rate), _ratio(shell, one.rate), _ratio(ours, one.rate))
    return rows


def _figures(rate: Rate) -> tuple[str, str, str, str]:
    broker = f"{rate.broker_cpu_seconds / rate.checks * 1e6:,.1f}"
    return f"{rate.cpu_us:,.1f}", broker, f"{rate.per_second:,.0f}", _mb(rate.peak_bytes)


def _ratio(one: Rate | None, other: Rate | None, *, under: bool = False) -> str:
    if one is None or other is None:
        return ""
    return f"{other.cpu_us / one.cpu_us if under else one.cpu_us / other.cpu_us:.2f}"


def _lacks(result: Result) -> list[Text]:
    """What each engine skips even of the job, and why one is not here."""
    said = [f"{one.engine.title} skips: {one.engine.lacks}." for one in result.theirs if one.engine.lacks and one.rate]
    return [
        Text(line, style="dim") for line in said + [f"{one.engine.title}: {one.missing}" for one in result.theirs if one.missing]
    ]


def _path(rows: Table, result: Result) -> None:
    ours = result.ours
    rows.add_row("[bold]Whole path[/], pos.checks to loy.events, full domain", f"{ours.checks:,} checks", "")
    rows.add_row("checks/s, one worker", *_judged(ours.per_second, AIM_PER_SECOND, ours.per_second >= AIM_PER_SECOND, ">="))
    rows.add_row("CPU-us per check, worker", f"{ours.cpu_us:,.0f}", "")
    rows.add_row("CPU-us per check, broker", f"{ours.broker_cpu_seconds / ours.checks * 1e6:,.0f}", "")
    rows.add_row("events and clock's ticks per check", f"{ours.events / ours.checks:.2f} and {ours.ticks / ours.checks:.2f}", "")
    rows.add_row("peak memory, worker", _mb(ours.peak_bytes), "")


def _delays(rows: Table, result: Result) -> None:
    rows.add_row("[bold]Till to event[/]", "p50 / p99 / p99.9 ms", "p99")
    for n, one in enumerate(result.delays):
        figures = f"{one.p50:,} / {one.p99:,} / {one.p999:,}"
        beside = f"sender late by {one.late_ms:,.0f} ms at most, {one.stolen:.0%} stolen"
        what = f"at {one.rate:,.0f} checks/s ({one.events:,} events, {beside})"
        aim = "" if n else _judged(one.p99, AIM_P99_MS, one.p99 < AIM_P99_MS, "<")[1]
        rows.add_row(what, figures, aim)


def _core(rows: Table, result: Result) -> None:
    for program, costs in result.core.items():
        rows.add_row(f"[bold]Pure core[/], program {program}, CPU-us a check", f"{sum(costs.values()):,.0f}", "")
        rows.add_row(" / ".join(costs), " / ".join(f"{us:,.0f}" for us in costs.values()), "")
        seconds = costs["decide"] + costs["pack"]  # a million of so many microseconds
        rows.add_row(
            "a million checks decided and packed, s", *_judged(seconds, AIM_MILLION_SECONDS, seconds <= AIM_MILLION_SECONDS, "<=")
        )


def _accounts(rows: Table, result: Result) -> None:
    sizes = result.sizes
    rows.add_row("[bold]Account[/], bytes", "median / largest", "")
    fits = sizes.quiet <= AIM_ACCOUNT_BYTES
    rows.add_row(
        "quiet, packed", f"{sizes.quiet:,} / {sizes.quiet_most:,}", _judged(sizes.quiet, AIM_ACCOUNT_BYTES, fits, "<=")[1]
    )
    fits = sizes.quiet_disk <= AIM_ACCOUNT_BYTES
    rows.add_row("quiet, on disk (mean)", *_judged(sizes.quiet_disk, AIM_ACCOUNT_BYTES, fits, "<="))
    rows.add_row(f"after {WEEKS} weeks of shopping, packed", f"{sizes.regular:,} / {sizes.regular_most:,}", "")


def _recovery(rows: Table, result: Result) -> None:
    found = result.recovery
    rows.add_row(f"[bold]Recovery[/], {found.accounts:,} accounts, 1 in {REGULAR} a regular's", _mb(found.changelog_bytes), "")
    for name, start in (("cold", found.cold), ("warm", found.warm)):
        rows.add_row(f"{name}: seconds until it takes work", f"{start.seconds:.1f}", "")
        rows.add_row(f"{name}: accounts/s, CPU s, peak memory", _start(found.accounts, start), "")
    rows.add_row("store on disk, bytes per account", f"{found.warm.disk_bytes / found.accounts:,.0f}", "")


def _start(accounts: int, start: Start) -> str:
    return f"{accounts / start.seconds:,.0f}, {start.cpu_seconds:.1f}, {_mb(start.peak_bytes)}"


def _judged(value: float, aim: float, met: bool, how: str) -> tuple[str, str]:  # noqa: FBT001
    return f"{value:,.0f}", f"{how} {aim:,}: [{'green]met' if met else 'red]not met'}[/]"


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def conditions(result: Result) -> str:
    """What the figures were measured on, and with."""
    kafka = next(resolve_jars().glob("kafka_*.jar")).stem.rpartition("-")[2]
    worker = Config(group="", bootstrap="", datadir=result.settings.data, max_batch=result.settings.max_batch)
    return (
        f"Measured on {os.cpu_count()} cores shared by worker, broker and sender ({platform.machine()}, Python "
        f"{platform.python_version()}); Apache Kafka {kafka}, one node, {result.settings.partitions} partitions, acks=all; "
        f"aiokafka {version('aiokafka')}; batches of at most {worker.max_batch} records, fetch wait {worker.fetch_wait_ms} ms, "
        f"linger 0 ms, commit every {worker.commit_interval:.0f} s; store {result.settings.store}; {result.members:,} members; "
        f"program grocer. Load average before the run: {result.busy:.1f}; stolen by other machines of the host during it: "
        f"{result.stolen:.1%} of the cores."
    )
