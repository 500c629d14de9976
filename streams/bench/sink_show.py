"""What the sinks did as one table for people, with the aim beside it and what it was measured on."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.kafka_jars import resolve_jars

AIM_CORE = 0.25


@dataclass(frozen=True, slots=True)
class Drained:
    """One backlog, from a sink that takes work to its last commit."""

    sink: str
    sandbox: str
    members: int
    """Each a changed profile and an event."""
    seconds: float
    allowed_seconds: float
    """What the limit needs for so many, were every request full."""
    cpu_seconds: float
    """Of the sink's process, user and system, all threads."""
    operation: str
    """Whose limit is the narrow one."""
    rate: float
    """Of that operation, requests a second."""
    narrow_requests: int
    """Requests of that operation."""
    requests: int
    """Of every operation."""
    refused: int
    """Answered with anything but 2xx."""

    @property
    def items_per_second(self) -> float:
        """Profiles and events."""
        return 2 * self.members / self.seconds

    @property
    def saturation(self) -> float:
        """Share of the narrow limit that was used."""
        return self.narrow_requests / self.seconds / self.rate

    @property
    def core(self) -> float:
        """Share of one core."""
        return self.cpu_seconds / self.seconds

    @property
    def item_us(self) -> float:
        """CPU-microseconds of one profile or event."""
        return self.cpu_seconds / (2 * self.members) * 1e6


def table(results: Sequence[Drained], partitions: int) -> RenderableType:
    """The figures for `rich`."""
    columns = (
        "sink", "members", "limit/s", "requests/s", "used", "items/s", "drained", "allowed", "CPU", "not 2xx",
    )  # fmt: skip
    rows = Table(*columns, title="[bold]Sinks, measured against sandboxes", title_justify="left")
    for column in rows.columns[1:]:
        column.justify = "right"
    for one in results:
        met = "green" if one.core < AIM_CORE else "red"
        rows.add_row(
            one.sink if one.sink == one.sandbox else f"{one.sink} ({one.sandbox})",
            f"{one.members:,}",
            f"{one.rate:g}",
            f"{one.narrow_requests / one.seconds:,.1f}",
            f"{one.saturation:.0%}",
            f"{one.items_per_second:,.0f}",
            f"{one.seconds:,.1f} s",
            f"{one.allowed_seconds:,.1f} s",
            f"[{met}]{one.core:.0%}[/]",
            str(one.refused),
        )
    return Group(rows, Text(conditions(partitions)))


def conditions(partitions: int) -> str:
    """What the figures were measured on, and what they mean."""
    kafka = next(resolve_jars().glob("kafka_*.jar")).stem.rpartition("-")[2]
    return (
        "Limit: of the narrowest operation, requests a second, as the sink keeps it; beyond the vendor's: 429. "
        "Allowed: what that limit needs, were every request full. CPU: of the sink's process, as a share of one core, aim "
        f"< {AIM_CORE:.0%}. Each member is a changed profile and an event, counted where they arrived. Drained means committed; "
        f"commits come once a second. Measured on {os.cpu_count()} cores ({platform.machine()}, Python "
        f"{platform.python_version()}) shared with Apache Kafka {kafka}, one node, {partitions} partitions, and the sandbox, "
        "which validates everything and eats CPU of its own: the sink's CPU is the honest figure."
    )
