"""One trace drawn in the terminal: each stage with its beginning, its length and a bar, as it followed from the one before."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from streams.tracing.files import CONVERSATION, Stretch, read

BAR = 40
SLOWEST = 20


class UnknownTraceError(LookupError):
    """Nothing of that name was traced."""


def waterfalls(folder: Path, about: str) -> list[RenderableType]:
    """The traces of a check, oldest first; or the one of a trace id. Raises UnknownTraceError."""
    found = {span.trace: None for span in read(folder, about) if about in (span.trace, span.about.get(CONVERSATION))}
    if not found:
        raise UnknownTraceError(
            f"Nothing traced is called {about}. Processes write traces with LOY_TRACING=file, of 1 check in 100 unless "
            "OTEL_TRACES_SAMPLER=always_on or the till's traceparent says more."
        )
    shared = {span.id for span in read(folder, *found) if any(trace in found for trace, _ in span.links)}
    spans = list(read(folder, *found, *shared))
    parts = [_of(spans, trace) for trace in found]
    return [_waterfall(trace, part) for trace, part in sorted(zip(found, parts, strict=True), key=lambda one: one[1][0][1].start)]


def _of(spans: Iterable[Stretch], trace: str) -> list[tuple[int, Stretch]]:
    """The spans of a trace, and what it shares with others, each after its cause, with their depths."""
    known = {span.id: span for span in spans}
    causes = {span.id: span.parent for span in known.values() if span.trace == trace}
    for span in known.values():
        shared = [linked for of, linked in span.links if of == trace]
        if shared:
            causes.setdefault(span.id, shared[0])
    grown = True
    while grown:  # what belongs to something shared is shared as well
        more = {one.id: one.parent for one in known.values() if one.parent in causes and one.id not in causes}
        shared_more = {one: parent for one, parent in more.items() if known[parent].trace != trace}
        causes |= shared_more
        grown = bool(shared_more)
    effects: defaultdict[str, list[Stretch]] = defaultdict(list)
    for one, cause in causes.items():
        effects[cause if cause in causes else ""].append(known[one])
    return list(_in_order(effects, "", 0))


def _in_order(effects: Mapping[str, list[Stretch]], cause: str, depth: int) -> Iterable[tuple[int, Stretch]]:
    for span in sorted(
        effects.get(cause, ()), key=lambda one: (one.id in effects, one.start, one.end)
    ):  # what went on comes last
        yield depth, span
        yield from _in_order(effects, span.id, depth + 1)


def _waterfall(trace: str, part: Sequence[tuple[int, Stretch]]) -> RenderableType:
    begin = min(span.start for _, span in part)
    whole = max(1, max(span.end for _, span in part) - begin)
    check = next((span.about[CONVERSATION] for _, span in part if CONVERSATION in span.about), "?")
    at = datetime.fromtimestamp(begin / 1e9, UTC)
    title = f"check {check}, trace {trace}, {at:%Y-%m-%d %H:%M:%S} UTC, {whole / 1e6:,.1f} ms"
    table = Table(Column("stage", no_wrap=True), "in", Column("from ms", justify="right"), Column("ms", justify="right"), "")
    for _, span in part:
        row = (
            escape(_words(span, trace)),
            span.service.removeprefix("loy-"),
            _ms(span.start - begin),
            _ms(span.end - span.start),
        )
        table.add_row(*row, _bar(span, begin, whole), style="red" if span.failed else "")
    return Group(Text(title, style="bold"), table)


def _words(span: Stretch, trace: str) -> str:
    others = len(span.links) + (span.trace != trace)
    status = span.about.get("http.response.status_code") or span.about.get("error.type")
    return span.name + (f" ({status})" if status else "") + (f" with {len(span.links)} more" if others else "")


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:,.1f}"


def _bar(span: Stretch, begin: int, whole: int) -> Text:
    start = (span.start - begin) * BAR // whole
    length = max(1, -(-(span.end - span.start) * BAR // whole))
    waits = span.name.startswith("wait ")
    return Text(" " * min(start, BAR - 1) + ("·" if waits else "━") * min(length, BAR - min(start, BAR - 1)))


class _Summary:
    """What is told of a trace among many."""

    def __init__(self, span: Stretch) -> None:
        self.start, self.end, self.longest, self.check = span.start, span.end, span, "?"

    def add(self, span: Stretch) -> None:
        self.start, self.end = min(self.start, span.start), max(self.end, span.end)
        self.longest = max(self.longest, span, key=lambda one: one.end - one.start)
        self.check = span.about.get(CONVERSATION, self.check)


def slowest(folder: Path) -> RenderableType:
    """The traces that took longest, from their first beginning to their last end."""
    traces: dict[str, _Summary] = {}
    for span in read(folder):
        traces.setdefault(span.trace, _Summary(span)).add(span)
    table = Table("check", Column("trace", no_wrap=True), Column("ms", justify="right"), "longest stage", title="Slowest traces")
    for trace, one in sorted(traces.items(), key=lambda known: known[1].start - known[1].end)[:SLOWEST]:
        longest = f"{one.longest.name} {_ms(one.longest.end - one.longest.start)}"
        table.add_row(escape(one.check), trace, _ms(one.end - one.start), longest)
    return table
