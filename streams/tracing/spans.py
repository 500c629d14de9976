"""Spans: what a batch of a stage becomes when tracing is on. Names and attributes are OpenTelemetry's for messaging and HTTP.

Law: a traced record gets a span of its own in its own trace at every stage; what a batch shares (a delivery, its requests) stands
in the trace of its oldest record and links to all the others. The door decides whether a record is traced, and nobody after it.
"""

import logging
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import httpx
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from schemas.topics import COMMANDS, EVENTS, REPLIES
from streams import metrics
from streams.metrics.measuring import HISTORY_MS, TRACEPARENT
from streams.runtime import Batch, Record
from streams.settings import Settings, names_sampler
from streams.tracing import header, journal, sent_at
from streams.tracing.files import CONVERSATION, FileExporter

TRACESTATE = "tracestate"
WRITTEN = "loy"
"""Our entry of tracestate: when the record was written, wall clock in epoch microseconds."""
SHARE = 0.01
"""Of the checks whose tills do not say; OTEL_TRACES_SAMPLER says otherwise."""

STOP_SECONDS = 3.0
_STATE_BYTES_MAX = 512
_QUEUE, _DELAY_MS = 16_384, 500
_SENDS = {"intake": COMMANDS.name, "ledger": f"{EVENTS.name}, {REPLIES.name}"}
_propagator = TraceContextTextMapPropagator()
_NOBODY = Context()


def provider(settings: Settings, role: str) -> TracerProvider:
    """Where spans go, and how many: OTEL_* variables have the last word. Raises SettingsError."""
    own = Resource(
        {
            "service.name": f"loy-{role}",
            "service.namespace": "loystream",
            "service.version": version("loystream"),
            **({"service.instance.id": settings.instance_id} if settings.instance_id else {}),
        }
    )
    sampler = None if names_sampler() else ParentBased(TraceIdRatioBased(SHARE))
    made = TracerProvider(
        sampler=sampler, shutdown_on_exit=False, resource=Resource.create().merge(own).merge(OTELResourceDetector().detect())
    )
    made.add_span_processor(_processor(settings))
    return made


def _processor(settings: Settings) -> BatchSpanProcessor:
    """Either way spans leave by a thread of its own, and are dropped when they come faster than they can go."""
    if settings.tracing == "file":
        exporter = FileExporter(settings.data)
        return BatchSpanProcessor(exporter, max_queue_size=_QUEUE, schedule_delay_millis=_DELAY_MS)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # costs a moment

    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)  # of each attempt in vain nobody wants to read
    return BatchSpanProcessor(OTLPSpanExporter())


def current_trace() -> str | None:
    """The trace id of what is being done now."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None


# ---------------------------------------------------------------- headers


def carried(headers: Sequence[tuple[str, bytes]]) -> Context | None:
    """The context that a record came with. None when it has none; what is no traceparent is passed over."""
    parent = header(headers, TRACEPARENT)
    if len(parent) != 55:
        return None
    carrier = {TRACEPARENT: parent.decode("ascii", errors="replace")}
    state = header(headers, TRACESTATE)
    if 0 < len(state) <= _STATE_BYTES_MAX:
        carrier[TRACESTATE] = state.decode("ascii", errors="replace")
    context = _propagator.extract(carrier)
    return context if trace.get_current_span(context).get_span_context().is_valid else None


def written_ns(context: Context) -> int:
    """When the one before us wrote the record, or 0."""
    text = trace.get_current_span(context).get_span_context().trace_state.get(WRITTEN, "")
    return int(text) * 1000 if text.isdecimal() and len(text) < 18 else 0


def passed_on(record: Record) -> tuple[tuple[str, bytes], ...]:
    """The till's time, and the trace with the time of now. No other header."""
    headers, parent = sent_at(record), header(record.headers, TRACEPARENT)
    if not parent:
        return headers
    state = header(record.headers, TRACESTATE)
    stamped = _stamped(state.decode("ascii", errors="replace") if len(state) <= _STATE_BYTES_MAX else "")
    return (*headers, (TRACEPARENT, parent), (TRACESTATE, stamped.encode()))


def _stamped(state: str) -> str:
    """Our entry first, as W3C has it for whoever changed one last; of the others as many as there is room for."""
    others = TraceState.from_header([state]).delete(WRITTEN).to_header() if state else ""
    stamped = f"{WRITTEN}={time.time_ns() // 1000}"
    return f"{stamped},{others}" if others and len(others) + len(stamped) < _STATE_BYTES_MAX else stamped


def _moved(record: Record, context: Context | None) -> Record:
    """The record with this context instead of the one that it came with."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context)
    others = [(name, value) for name, value in record.headers if name not in (TRACEPARENT, TRACESTATE)]
    return record._replace(headers=(*others, *((name, text.encode()) for name, text in carrier.items())))


# ---------------------------------------------------------------- stages


class _Ids(RandomIdGenerator):
    """Gives a trace the id that the sampler was asked about."""

    drawn = 0

    def generate_trace_id(self) -> int:
        return self.drawn or super().generate_trace_id()


class Spans:
    """Makes the spans of one process."""

    def __init__(self, provider: TracerProvider, group: str) -> None:
        self._provider = provider
        self._ids = provider.id_generator = _Ids()
        self._tracer = provider.get_tracer("loystream", version("loystream"))
        self._group = group

    def begin(self, stage: str, batch: Batch, since_ns: int) -> tuple[Batch, metrics.Meter]:
        """Open a span for each traced record. What came to a door without a trace may begin one."""
        since_ns = since_ns or time.time_ns()
        records, spans = list(batch.records), []
        for place, record in enumerate(records):
            known = carried(record.headers)
            if known is not None or (stage == "intake" and self._draw()):
                span = self._arrive(stage, batch, record, known or _NOBODY, since_ns)
                if span.is_recording():
                    records[place] = _moved(record, trace.set_span_in_context(span, Context()))
                    spans.append(span)
                    continue
            if known is None and header(record.headers, TRACEPARENT):
                records[place] = _moved(record, _NOBODY)  # what is no trace goes no further
        moved = Batch(batch.topic, batch.partition, records)
        return moved, TracedMeter(stage, moved, self, spans, since_ns)

    def _draw(self) -> bool:
        """Whether a trace begins here. Asked beforehand: a span that is not wanted costs four times as much as the question."""
        self._ids.drawn = drawn = random.getrandbits(128)
        return self._provider.sampler.should_sample(_NOBODY, drawn, "process").decision is Decision.RECORD_AND_SAMPLE

    def open(self, name: str, parent: Context | Span, start_ns: int, kind: SpanKind = SpanKind.INTERNAL, **more: Any) -> Span:
        """Begin a span under another one."""
        context = trace.set_span_in_context(parent, Context()) if isinstance(parent, Span) else parent
        return self._tracer.start_span(name, context, kind, start_time=start_ns, **more)

    def _arrive(self, stage: str, batch: Batch, record: Record, parent: Context, since_ns: int) -> Span:
        """Its way here, as far as it can be told: sent to Kafka, waiting there, taken up. Answers the last span of these."""
        way, span = _way(stage, batch.topic, record, parent, since_ns), None
        for name, kind, start_ns, end_ns in way:
            span = self.open(name, parent if span is None else span, start_ns, kind)
            if not span.is_recording():
                return span
            span.set_attributes(self._about(batch, record, name.split(" ", 1)[0]))
            if end_ns:
                span.end(end_ns)
        assert span is not None  # noqa: S101  # the last of the way is always there
        if conversation := journal.named(record.value):
            span.set_attribute(CONVERSATION, conversation)
        span.set_attribute("loy.stage", stage)
        return span

    def _about(self, batch: Batch, record: Record, operation: str) -> dict[str, str | int]:
        return {
            "messaging.system": "kafka",
            "messaging.operation.name": operation,
            **({"messaging.operation.type": operation} if operation in ("process", "send") else {}),
            "messaging.destination.name": batch.topic,
            "messaging.destination.partition.id": str(batch.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.consumer.group.name": self._group,
        }

    def stop(self) -> None:
        """Send what is left, for STOP_SECONDS at most: a collector that is gone does not hold up a worker that goes."""
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(STOP_SECONDS)

    def client(self, limits: httpx.Limits) -> httpx.AsyncClient:
        return TracedClient(self, limits=limits, follow_redirects=False)


def _way(stage: str, topic: str, record: Record, parent: Context, since_ns: int) -> Iterator[tuple[str, SpanKind, int, int]]:
    """(name, kind, start, end) of the spans that lead to the processing of a record. In a replay Kafka's time is of no use."""
    written = written_ns(parent) if stage != "intake" else 0
    arrived = record.timestamp_ms * 1_000_000
    if stage == "intake":
        sent = metrics.sent_ms(record) * 1_000_000
        if 0 < arrived - sent < HISTORY_MS * 1_000_000:
            yield f"send {topic}", SpanKind.PRODUCER, sent, arrived
        written = max(sent, arrived)
    if since_ns - written < HISTORY_MS * 1_000_000:
        yield f"wait {topic}", SpanKind.INTERNAL, min(written, since_ns), since_ns
    yield f"process {topic}", SpanKind.CONSUMER, since_ns, 0


class TracedMeter(metrics.Meter):
    """Measures a batch, and ends its spans: of deciding when the outbox is sent, of sending when all is acknowledged."""

    def __init__(self, stage: str, batch: Batch, spans: Spans, deciding: list[Span], since_ns: int) -> None:
        super().__init__(stage, batch.records)
        self._batch = batch
        self._spans = spans
        self._deciding = deciding
        self._since_ns = since_ns
        self._sending: list[Span] = []

    def flushing(self) -> None:
        if self._sending or not self._deciding:
            return
        now, name = time.time_ns(), f"send {_SENDS.get(self._stage, self._stage)}"
        about = {"messaging.system": "kafka", "messaging.operation.name": "send", "messaging.operation.type": "send"}
        for span in self._deciding:
            self._sending.append(self._spans.open(name, span, now, SpanKind.PRODUCER, attributes=about))
            span.end(now)

    def stop(self) -> None:
        super().stop()
        now = time.time_ns()
        for span in (*self._sending, *(self._deciding if not self._sending else ())):
            span.end(now)

    @contextmanager
    def delivering(self, sink: str) -> Iterator[None]:
        if not self._deciding:
            yield
            return
        now, first = time.time_ns(), self._deciding[0]
        about = {"loy.sink": sink, "messaging.batch.message_count": len(self._batch), "messaging.system": "kafka"}
        self._spans.open("wait turn", first, self._since_ns).end(now)
        links = [Link(span.get_span_context()) for span in self._deciding[1:]]
        shared = self._spans.open(f"deliver {sink}", first, now, links=links, attributes=about)
        with trace.use_span(shared, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            yield


class TracedClient(httpx.AsyncClient):
    """Each request of a delivery is a span, and its id goes to the vendor. An address may name people: only its host is said."""

    def __init__(self, spans: Spans, **options: Any) -> None:
        super().__init__(**options)
        self._spans = spans

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """As httpx does it."""
        parent = trace.get_current_span()
        if not parent.is_recording():
            return await super().send(request, **options)
        about = {"http.request.method": request.method, "server.address": request.url.host}
        name = f"{request.method} {request.extensions.get('operation', '')}".rstrip()
        span = self._spans.open(name, parent, time.time_ns(), SpanKind.CLIENT, attributes=about)
        context = span.get_span_context()
        flags, ids = context.trace_flags, (trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id))
        request.headers[TRACEPARENT] = f"00-{ids[0]}-{ids[1]}-{flags:02x}"
        try:
            response = await super().send(request, **options)
        except BaseException as failure:
            span.set_attribute("error.type", type(failure).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise
        else:
            span.set_attribute("http.response.status_code", response.status_code)
            if response.status_code >= 400:
                span.set_status(Status(StatusCode.ERROR))
            return response
        finally:
            span.end()
