"""What the processes tell Prometheus: `catalogue` names every instrument, `measuring` fills them, `serving` shows them.

Law: base units, bounded labels, never a member, receipt or outlet; on the hot path nothing is paid by event, only by batch.
"""

from streams.metrics.catalogue import (
    DEAD_LETTERS,
    DUE,
    EVENTS,
    OUTCOMES,
    POINTS,
    REFERENCE_ERRORS,
    REFUSALS,
    REGISTRY,
    SINK_AGE,
    SINK_DELIVERY_SECONDS,
    SINK_ITEMS,
    SINK_REFUSED_LATER,
    TICKS,
)
from streams.metrics.measuring import (
    SENT_AT,
    TURN_AT,
    WRITTEN_AT,
    Meter,
    SinkLimits,
    SinkObserver,
    begin_worker,
    due_ms,
    has_waited,
    observe_ages,
    sent_ms,
    series,
    tells_time,
    trace_of,
)
from streams.metrics.serving import Health, serve

__all__ = [
    "DEAD_LETTERS",
    "DUE",
    "EVENTS",
    "OUTCOMES",
    "POINTS",
    "REFERENCE_ERRORS",
    "REFUSALS",
    "REGISTRY",
    "SENT_AT",
    "SINK_AGE",
    "SINK_DELIVERY_SECONDS",
    "SINK_ITEMS",
    "SINK_REFUSED_LATER",
    "TICKS",
    "TURN_AT",
    "WRITTEN_AT",
    "Health",
    "Meter",
    "SinkLimits",
    "SinkObserver",
    "begin_worker",
    "due_ms",
    "has_waited",
    "observe_ages",
    "sent_ms",
    "series",
    "serve",
    "tells_time",
    "trace_of",
]
