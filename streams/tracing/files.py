"""Spans in a file, one OTLP/JSON message a line, as OpenTelemetry's file exporter has it: to be read here, or by a collector.

Law: a process writes one file in its own folder, and never more than two of FILE_BYTES.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import format_span_id, format_trace_id

CONVERSATION = "messaging.message.conversation_id"
"""The attribute that names the check."""
NAME = "traces.jsonl"
BEFORE = "traces.1.jsonl"
ANY = "traces*.jsonl"
FILE_BYTES = 64 << 20
_KINDS = {"SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}


class FileExporter(SpanExporter):
    """Appends to `traces.jsonl` in a folder; what is older than FILE_BYTES moves to `traces.1.jsonl`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append them as one line. A disk that is full costs spans, nothing else."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size > FILE_BYTES:
                self._path.replace(self._path.with_name(BEFORE))
            with self._path.open("ab") as out:
                out.write(orjson.dumps(_message(spans)) + b"\n")
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS


def _message(spans: Sequence[ReadableSpan]) -> dict[str, Any]:
    resource = {"attributes": _attributes(spans[0].resource.attributes)}
    scope = {"name": "loystream"}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": [_span(one) for one in spans]}]}]}


def _span(span: ReadableSpan) -> dict[str, Any]:
    context = span.get_span_context()
    assert context is not None  # noqa: S101  # every span of the SDK has one
    made: dict[str, Any] = {
        "traceId": format_trace_id(context.trace_id),
        "spanId": format_span_id(context.span_id),
        "name": span.name,
        "kind": _KINDS.get(span.kind.name, 1),
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(span.attributes or {}),
        "status": {"code": span.status.status_code.value},
    }
    if span.parent is not None:
        made["parentSpanId"] = format_span_id(span.parent.span_id)
    if span.links:
        linked = [one.context for one in span.links]
        made["links"] = [{"traceId": format_trace_id(one.trace_id), "spanId": format_span_id(one.span_id)} for one in linked]
    return made


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in attributes.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}


# ---------------------------------------------------------------- reading


class Stretch(NamedTuple):
    """A span as it was written. Times are nanoseconds since 1970 UTC."""

    trace: str
    id: str
    parent: str
    name: str
    service: str
    start: int
    end: int
    about: Mapping[str, str]
    links: tuple[tuple[str, str], ...]
    failed: bool


def read(folder: Path, *words: str) -> Iterator[Stretch]:
    """Every span in the files below a folder; with words, those of lines that hold one of them, and their neighbours.

    A line that was cut off by a crash is passed over.
    """
    wanted = [word.encode() for word in words]
    for path in sorted(folder.rglob(ANY)):
        with path.open("rb") as lines:
            yield from _spans_in(line for line in lines if not wanted or any(word in line for word in wanted))


def _spans_in(lines: Iterable[bytes]) -> Iterator[Stretch]:
    for line in lines:
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        for group in message["resourceSpans"]:
            service = _plain(group["resource"]["attributes"]).get("service.name", "")
            for scope in group["scopeSpans"]:
                yield from (_stretch(span, service) for span in scope["spans"])


def _stretch(span: Mapping[str, Any], service: str) -> Stretch:
    return Stretch(
        span["traceId"],
        span["spanId"],
        span.get("parentSpanId", ""),
        span["name"],
        service,
        int(span["startTimeUnixNano"]),
        int(span["endTimeUnixNano"]),
        _plain(span.get("attributes", ())),
        tuple((link["traceId"], link["spanId"]) for link in span.get("links", ())),
        span.get("status", {}).get("code") == 2,
    )


def _plain(attributes: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {one["key"]: str(next(iter(one["value"].values()), "")) for one in attributes}
