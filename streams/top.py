"""`loy top`: the vital figures live in a terminal, read from /metrics of the processes. For where no Grafana is.

Law: figures are those of the boards, made of the same series; what does not answer is shown as not answering.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from schemas.topics import BACKLOG
from streams.settings import Settings

OWED = ("available", "pending", "held", "reserved")
IN_TIME = 2.0
_BEARABLE = {BACKLOG.name: 6 * 3600}
"""Seconds; what is late already may wait."""
Labels = tuple[tuple[str, str], ...]
Series = dict[tuple[str, Labels], float]


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one process said at a moment (seconds of any steady clock)."""

    instance: str
    at: float
    series: Series
    ready: str = ""
    """Why it is not ready, empty when it is; or that it does not answer."""


@dataclass(slots=True)
class Picture:
    """Two looks at all processes: what is, and what happened between them."""

    before: Sequence[Scrape]
    now: Sequence[Scrape]
    _old: dict[str, Scrape] = field(init=False)

    def __post_init__(self) -> None:
        self._old = {scrape.instance: scrape for scrape in self.before}

    def values(self, name: str, **wanted: str | tuple[str, ...]) -> list[tuple[dict[str, str], float]]:
        """Series of that name whose labels are as wanted, of all processes."""
        return [(labels, value) for _, labels, value in self._each(name, wanted)]

    def _each(self, name: str, wanted: dict[str, str | tuple[str, ...]]) -> Iterable[tuple[Scrape, dict[str, str], float]]:
        for scrape in self.now:
            for (found, pairs), value in scrape.series.items():
                labels = dict(pairs)
                if found == name and all(
                    labels.get(label) in ((one,) if isinstance(one, str) else one) for label, one in wanted.items()
                ):
                    yield scrape, labels, value

    def total(self, name: str, **wanted: str | tuple[str, ...]) -> float:
        """Their sum."""
        return sum(value for _, value in self.values(name, **wanted))

    def most(self, name: str, **wanted: str | tuple[str, ...]) -> float:
        """The largest."""
        return max((value for _, value in self.values(name, **wanted)), default=0.0)

    def rates(self, name: str, **wanted: str | tuple[str, ...]) -> Iterable[tuple[dict[str, str], float]]:
        """Of counters: by how much each rose in a second. What is new, or was begun anew, rose from 0."""
        for scrape, labels, value in self._each(name, wanted):
            old = self._old.get(scrape.instance)
            if old is not None and scrape.at > old.at:
                was = old.series.get((name, tuple(sorted(labels.items()))), 0.0)
                yield labels, (value - was if value >= was else value) / (scrape.at - old.at)

    def rate(self, name: str, **wanted: str | tuple[str, ...]) -> float:
        """Of counters: the rise of all in a second."""
        return sum(rate for _, rate in self.rates(name, **wanted))

    def quantile(self, share: float, name: str, **wanted: str | tuple[str, ...]) -> float | None:
        """Of a histogram, between the two looks, as Prometheus reckons it; None when nothing happened."""
        buckets: dict[float, float] = {}
        for labels, rate in self.rates(f"{name}_bucket", **wanted):
            bound = float(labels["le"])
            buckets[bound] = buckets.get(bound, 0.0) + rate
        return _quantile(share, sorted(buckets.items()))


def _quantile(share: float, buckets: Sequence[tuple[float, float]]) -> float | None:
    if not buckets or not buckets[-1][1]:
        return None
    rank, low, below = share * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            return low if bound == float("inf") or count == below else low + (bound - low) * (rank - below) / (count - below)
        low, below = bound, count
    return low


# ---------------------------------------------------------------- on the screen


def render(picture: Picture, title: str) -> RenderableType:
    """One screen."""
    columns = Table.grid(expand=True, padding=(0, 2))
    for _ in range(3):
        columns.add_column(ratio=1)
    columns.add_row(_checks(picture), _points(picture), _waiting(picture))
    parts: list[RenderableType] = [columns, Text(), _processes(picture)]
    sinks = sorted({labels["sink"] for labels, _ in picture.values("loy_sink_items_total")})
    if sinks:
        parts += [Text(), _sinks(picture, sinks)]
    return Panel(Group(*parts), title=f"[bold]{title}", title_align="left", padding=(1, 2))


Rows = Iterable[tuple[str, str, bool]]
"""What, how much, and whether that is bad."""


def _figures(title: str, rows: Rows) -> Table:
    table = Table(title=f"[bold]{title}", title_justify="left", box=None, show_header=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column(ratio=1)
    table.add_column(justify="right", no_wrap=True)
    for name, figure, bad in rows:
        table.add_row(name, Text(figure, style="bold red" if bad else ""))
    return table


def _checks(picture: Picture) -> Table:
    tills = ("check", "redemption")
    asked = picture.total("loy_answer_seconds_count", door=tills)
    kept = picture.total("loy_answer_seconds_bucket", door=tills, le=str(IN_TIME))
    share = kept / asked if asked else 1.0
    late = picture.quantile(0.99, "loy_answer_seconds", door=tills)
    refused = picture.rate("loy_outcomes_total", outcome=("refused", "parked"))
    return _figures(
        "Checks",
        [
            ("checks/s", f"{picture.rate('loy_outcomes_total', type=('sale', 'return', 'void')):,.1f}", False),
            ("redemptions/s", f"{picture.rate('loy_outcomes_total', type='redeem'):,.1f}", False),
            ("refused/s", f"{refused:,.1f}", False),
            ("answer p50", _seconds(picture.quantile(0.5, "loy_answer_seconds", door=tills)), False),
            ("answer p99", _seconds(late), late is not None and late > IN_TIME),
            ("within 2 s", f"{share:.3%}", share < 0.999),
            ("dead letters", f"{picture.total('loy_dead_letters_total'):,.0f}", False),
        ],
    )


def _points(picture: Picture) -> Table:
    moved: list[tuple[str, dict[str, str]]] = [
        ("earned", {"source": "issued"}),
        ("burned", {"target": "used"}),
        ("expired", {"target": "expired"}),
    ]
    rows = [(f"{name}/min", f"{60 * picture.rate('loy_points_total', **where):,.0f}", False) for name, where in moved]
    rows += [(book, f"{picture.total('loy_balance_points', book=book):,.0f}", False) for book in OWED]
    wrong = picture.total("loy_ledger_imbalance")
    return _figures("Points", [*rows, ("accounts wrong", f"{wrong:,.0f}", wrong > 0)])


def _waiting(picture: Picture) -> Table:
    topics = sorted({labels["topic"] for labels, _ in picture.values("loy_lag_records")})
    rows = []
    for topic in topics:
        oldest = picture.most("loy_lag_seconds", topic=topic)
        records = picture.total("loy_lag_records", topic=topic)
        rows.append(
            (topic, f"{records:,.0f}  {_seconds(oldest)}", oldest > _BEARABLE.get(topic, 60 if topic.startswith("loy.") else 30))
        )
    held = picture.total("loy_fraud_holds")
    return _figures("Waiting: records, oldest", [*rows, ("in review", f"{held:,.0f}", False)])


def _processes(picture: Picture) -> Table:
    table = Table(
        Column("process", no_wrap=True), "role", "ready", Column("memory", justify="right"), Column("CPU", justify="right"),
        Column("loop late", justify="right"), box=None, padding=(0, 2, 0, 0), header_style="dim",
    )  # fmt: skip
    for scrape in picture.now:
        alone = Picture([one for one in picture.before if one.instance == scrape.instance], [scrape])
        roles = [labels["role"] for labels, _ in alone.values("loy_build_info")]
        table.add_row(
            scrape.instance,
            roles[0] if roles else "",
            Text("yes") if not scrape.ready else Text(scrape.ready, style="bold red"),
            f"{alone.total('process_resident_memory_bytes') / 1e6:,.0f} MB",
            f"{alone.rate('process_cpu_seconds_total'):.0%}",
            _seconds(alone.most("loy_loop_delay_seconds")),
        )
    return table


def _sinks(picture: Picture, sinks: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("sink", "delivered/s", "rejected", "unknown", "oldest", "p99", "of limit", ""):
        table.add_column(name, justify="left" if name in ("sink", "") else "right", no_wrap=True)
    for sink in sinks:
        halted, failing = picture.most("loy_sink_halted", sink=sink), picture.most("loy_sink_breaker_open", sink=sink)
        oldest = picture.most("loy_sink_age_seconds", sink=sink)
        table.add_row(
            sink,
            f"{picture.rate('loy_sink_items_total', sink=sink, outcome='delivered'):,.1f}",
            f"{picture.total('loy_sink_items_total', sink=sink, outcome='rejected'):,.0f}",
            f"{picture.total('loy_sink_items_total', sink=sink, outcome='unknown'):,.0f}",
            Text(_seconds(oldest), style="bold red" if oldest > 60 else ""),
            _seconds(picture.quantile(0.99, "loy_sink_delivery_seconds", sink=sink)),
            f"{_saturation(picture, sink):.0%}",
            Text("HALTED" if halted else "failing" if failing else "", style="bold red"),
        )
    return table


def _saturation(picture: Picture, sink: str) -> float:
    """Of the limit that is nearest to being used up."""
    limits = {labels["operation"]: rate for labels, rate in picture.values("loy_sink_limit_calls_per_second", sink=sink)}
    used = ((picture.rate("loy_sink_call_seconds_count", sink=sink, operation=one), limit) for one, limit in limits.items())
    return max((rate / limit for rate, limit in used if limit), default=0.0)


def _seconds(figure: float | None) -> str:
    if figure is None:
        return "-"
    return f"{figure * 1000:,.0f} ms" if figure < 1 else f"{figure:,.1f} s" if figure < 120 else f"{figure / 60:,.0f} min"


# ---------------------------------------------------------------- looking


def targets(settings: Settings, urls: Sequence[str]) -> dict[str, str]:
    """By name, where each process answers: those named, or those of `loy up` here, or the worker of the settings."""
    if urls:
        return {url.removeprefix("http://").rstrip("/"): url.rstrip("/") for url in urls}
    if settings.targets.exists():
        return {one["labels"]["instance"]: f"http://{one['targets'][0]}" for one in json.loads(settings.targets.read_text())}
    address = f"{settings.metrics_host}:{settings.metrics_port}"
    return {address: f"http://{address}"}


async def look(client: httpx.AsyncClient, places: dict[str, str], clock: Callable[[], float] = time.monotonic) -> list[Scrape]:
    """What each of them says now."""
    return list(await asyncio.gather(*(_scrape(client, name, url, clock) for name, url in places.items())))


async def _scrape(client: httpx.AsyncClient, name: str, url: str, clock: Callable[[], float]) -> Scrape:
    try:
        told, ready = await asyncio.gather(client.get(f"{url}/metrics"), client.get(f"{url}/readyz"))
    except httpx.HTTPError as failure:
        return Scrape(name, clock(), {}, f"does not answer: {type(failure).__name__}")
    return Scrape(name, clock(), parse(told.text), "" if ready.is_success else ", ".join(ready.text.split("\n")[:-1]))


def parse(text: str) -> Series:
    """Prometheus's text format."""
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}


async def top(console: Console, settings: Settings, urls: Sequence[str], *, seconds: float, once: bool) -> None:
    """Show it anew every so many seconds, until cancelled; or once."""
    places = targets(settings, urls)
    title = f"Loystream, {len(places)} processes" if len(places) > 1 else "Loystream"
    async with httpx.AsyncClient(timeout=5) as client:
        before = await look(client, places)
        if once:
            await asyncio.sleep(seconds)
            console.print(render(Picture(before, await look(client, places)), title))
            return
        with Live(
            render(Picture(before, before), title), console=console, screen=console.is_terminal, auto_refresh=False
        ) as live:
            while True:
                await asyncio.sleep(seconds)
                now = await look(client, places)
                live.update(render(Picture(before, now), title), refresh=True)
                before = now
