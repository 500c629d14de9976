"""One check from till to sink as one trace: W3C Trace Context in Kafka headers, spans by OpenTelemetry. Off by default.

Law: off, a batch pays one test and a record nothing. Values never change, only headers; nothing is decided by a header, so
repeats and repairs do not know of it. A span names topics, offsets, times and the check's id: never a key, a member, an address.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import httpx

from streams import metrics
from streams.metrics import measuring
from streams.runtime import Batch, Record
from streams.settings import Settings
from streams.tracing import journal

Headers = tuple[tuple[str, bytes], ...]
__all__ = ["begin", "client", "journal", "passed_on", "sent_at", "start", "stop"]


class Tracer(Protocol):
    """What goes on when tracing is on."""

    def begin(self, stage: str, batch: Batch, since_ns: int) -> tuple[Batch, metrics.Meter]: ...
    def client(self, limits: httpx.Limits) -> httpx.AsyncClient: ...
    def stop(self) -> None: ...


_tracer: Tracer | None = None


def start(settings: Settings, role: str, group: str) -> None:
    """Trace from now on what this process does, if the settings want it; `role` is what it is called. Raises SettingsError."""
    if settings.tracing == "off":
        return
    from streams.tracing import spans  # noqa: PLC0415  # OpenTelemetry is loaded by whoever wants it

    use(spans.Spans(spans.provider(settings, role), group), spans.passed_on)
    measuring.current_trace = spans.current_trace


def use(tracer: Tracer | None, passes_on: Callable[[Record], Headers]) -> None:
    """Put the tracer of this process in its place."""
    global _tracer, passed_on  # one switch for the process
    _tracer, passed_on = tracer, passes_on


def stop() -> None:
    """The process ends: what was traced is sent."""
    if _tracer is not None:
        _tracer.stop()


def sent_at(record: Record) -> Headers:
    """When the till sent it; no other header, and nothing else under that name."""
    return tuple([header for header in record.headers if metrics.tells_time(*header)])


passed_on: Callable[[Record], Headers] = sent_at
"""The headers of a record that travel on to what it causes. Replaced whole when tracing is on."""


def begin(stage: str, batch: Batch, since_ns: int = 0) -> tuple[Batch, metrics.Meter]:
    """Measure a batch of a stage, and trace those of its records that are traced: the batch given back carries their new context.

    `since_ns` (wall clock) is when the batch was taken up, now when it is 0.
    """
    if _tracer is None:
        return batch, metrics.Meter(stage, batch.records)
    return _tracer.begin(stage, batch, since_ns)


def client(limits: httpx.Limits) -> httpx.AsyncClient:
    """The HTTP of a sink; its requests go on with the trace of what they deliver."""
    if _tracer is None:
        return httpx.AsyncClient(limits=limits, follow_redirects=False)
    return _tracer.client(limits)


def header(headers: Sequence[tuple[str, bytes]], name: str) -> bytes:
    """The last header of that name, or nothing."""
    return next((value or b"" for known, value in reversed(headers) if known == name), b"")
