"""Tracing that is on, with the spans that ended kept in memory."""

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

from streams import tracing
from streams.metrics import measuring
from streams.tracing import spans as made

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = ("traceparent", f"00-{TRACE}-{SPAN}-01".encode())
CARD = "card:ABC123"


class Traced:
    """Tracing that is on, with the spans that ended."""

    def __init__(self, sampler):
        self._memory = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._memory))

    @property
    def spans(self):
        return sorted(self._memory.get_finished_spans(), key=lambda one: one.start_time)

    def names(self):
        return [span.name for span in self.spans]

    def span(self, name):
        (found,) = (span for span in self.spans if span.name == name)
        return found

    def clear(self):
        self._memory.clear()


def switch_on(monkeypatch, sampler=None):
    """For the test, in this process."""
    traced = Traced(sampler or ParentBased(ALWAYS_ON))
    monkeypatch.setattr(tracing, "_tracer", made.Spans(traced.provider, "loy"))
    monkeypatch.setattr(tracing, "passed_on", made.passed_on)
    monkeypatch.setattr(measuring, "current_trace", made.current_trace)
    return traced
