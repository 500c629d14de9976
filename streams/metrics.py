"""Every Prometheus instrument of the processor, in one place. Base units, bounded labels, never a member or a receipt.

Wrappers for the seams live here too, so that nothing inside the core measures.
"""

import logging
import time
from collections.abc import Sequence
from functools import cache
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, start_http_server

from streams.settings import SettingsError

log = logging.getLogger(__name__)
REGISTRY = CollectorRegistry()

SENT_AT = "sent-at"  # a header of the till, wall clock in epoch milliseconds; travels on, so that latency can be measured

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)

OUTCOMES = Counter(
    "loy_outcomes_total",
    "Commands decided, by type and outcome (applied, repeated, refused, parked).",
    ("type", "outcome"),
    registry=REGISTRY,
)
REFUSALS = Counter("loy_refusals_total", "Answers other than OK, by stable code.", ("code",), registry=REGISTRY)
DEAD_LETTERS = Counter(
    "loy_dead_letters_total", "Records kept as dead letters, by topic and stable code.", ("topic", "code"), registry=REGISTRY
)
EVENTS = Counter("loy_events_total", "LOY_* events written, by type.", ("type",), registry=REGISTRY)
POINTS = Counter(
    "loy_points_total",
    "Points moved into each book (pending, available, used, expired, reversed, ...).",
    ("book",),
    registry=REGISTRY,
)
IMBALANCE = Gauge("loy_ledger_imbalance", "Accounts whose books do not add up. Must be 0.", registry=REGISTRY)
LATENCY = Histogram(
    "loy_check_seconds",
    "From the record's sending (its Kafka time when no header says) to its events and reply being acknowledged.",
    ("stage",),
    buckets=_SECONDS,
    registry=REGISTRY,
)
BATCH_SECONDS = Histogram(
    "loy_batch_seconds",
    "Time to handle one micro-batch, acknowledgement included.",
    ("stage",),
    buckets=_SECONDS,
    registry=REGISTRY,
)
BATCH_RECORDS = Histogram(
    "loy_batch_records", "Records of a micro-batch.", ("stage",), buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500), registry=REGISTRY
)
LAG = Gauge("loy_lag_records", "Records not yet finished.", ("topic", "partition"), registry=REGISTRY)
REFERENCE_ERRORS = Counter(
    "loy_reference_errors_total",
    "Programs and identities that could not be read; the version of before stands.",
    ("topic",),
    registry=REGISTRY,
)
TICKS = Counter("loy_ticks_total", "Commands emitted by the clock.", registry=REGISTRY)
DUE = Gauge("loy_due_accounts", "Accounts whose due time the clock watches.", registry=REGISTRY)
BUILD = Info("loy_build", "Version of the code.", registry=REGISTRY)


@cache
def series(counter: Counter, *labels: str) -> Counter:
    """One series of a counter, by its labels: to find it costs more than to count."""
    return counter.labels(*labels)


def serve(host: str, port: int, version: str) -> int:
    """Serve /metrics in a thread of its own. Answers the port taken. Raises SettingsError when there is none to be had."""
    BUILD.info({"version": version})
    try:
        server, _ = start_http_server(port, addr=host, registry=REGISTRY)
    except OSError as problem:
        raise SettingsError(f"LOY_METRICS_PORT: {host}:{port} cannot be had ({problem.strerror}); 0 takes a free one") from None
    return int(server.server_port)


class Timed(Protocol):
    """What a stopwatch reads of a record."""

    @property
    def timestamp_ms(self) -> int: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class Stopwatch:
    """Measures one batch of a stage: how long it took, and how old its records were when it was done."""

    def __init__(self, stage: str, records: Sequence[Timed]) -> None:
        self._stage = stage
        self._sent_ms = [_sent_ms(record) for record in records]
        self._start = time.perf_counter()

    def stop(self) -> None:
        """The batch is acknowledged."""
        BATCH_SECONDS.labels(self._stage).observe(time.perf_counter() - self._start)
        BATCH_RECORDS.labels(self._stage).observe(len(self._sent_ms))
        now_ms = time.time() * 1000
        latency = LATENCY.labels(self._stage)
        for sent_ms in self._sent_ms:
            latency.observe(max(0.0, (now_ms - sent_ms) / 1000))


def _sent_ms(record: Timed) -> int:
    """When the till sent it, if it says so: in a replay the Kafka time is years ago."""
    for name, value in record.headers:
        if tells_time(name, value):
            return int(value)
    return record.timestamp_ms


def tells_time(name: str, value: bytes | None) -> bool:
    """Whether a header is the till's own time. Whatever else a till puts there is passed over."""
    return name == SENT_AT and value is not None and value.isdigit() and len(value) < 16


def note_lag(lags: dict[tuple[str, int], int]) -> None:
    """The lag of the partitions this worker has now; series of lost partitions disappear."""
    LAG.clear()
    for (topic, partition), records in lags.items():
        LAG.labels(topic, str(partition)).set(records)


# ---------------------------------------------------------------- sinks

SINK_ITEMS = Counter(
    "loy_sink_items_total",
    "Items by what became of them: delivered, rejected, again, unknown (sent, answer lost), skipped (history).",
    ("sink", "outcome"),
    registry=REGISTRY,
)
SINK_CALLS = Histogram(
    "loy_sink_call_seconds",
    "Calls to the vendor, by status.",
    ("sink", "operation", "status"),
    buckets=_SECONDS,
    registry=REGISTRY,
)
SINK_WAITED = Counter(
    "loy_sink_limit_wait_seconds_total",
    "Seconds spent waiting for the vendor's limits.",
    ("sink", "operation"),
    registry=REGISTRY,
)
SINK_HALTED = Gauge(
    "loy_sink_halted", "1 while the vendor refuses our credentials or configuration.", ("sink",), registry=REGISTRY
)
SINK_BREAKER = Gauge("loy_sink_breaker_open", "1 while the vendor keeps failing.", ("sink",), registry=REGISTRY)
SINK_AGE = Gauge(
    "loy_sink_age_seconds", "Age of the oldest event being delivered, 0 when there is none.", ("sink",), registry=REGISTRY
)

SINK_REFUSED_LATER = Counter(
    "loy_sink_refused_later_total",
    "What the vendor lists as refused after it had accepted it, of every sender, since this worker began to look.",
    ("sink",),
    registry=REGISTRY,
)


class SinkObserver:
    """Turns what a courier tells into metrics, and a halt into one alert."""

    def __init__(self, sink: str) -> None:
        self._sink = sink
        self._halted: str | None = None

    def called(self, operation: str, status: str, seconds: float) -> None:
        SINK_CALLS.labels(self._sink, operation, status).observe(seconds)

    def waited(self, operation: str, seconds: float) -> None:
        SINK_WAITED.labels(self._sink, operation).inc(seconds)

    def outcome(self, kind: str, count: int) -> None:
        SINK_ITEMS.labels(self._sink, kind).inc(count)

    def halted(self, why: str | None) -> None:
        """Alert once when it stops, and once when it goes on."""
        if why is not None and self._halted is None:
            log.critical("sink %s has stopped, nothing is lost: %s", self._sink, why)
        if why is None and self._halted is not None:
            log.warning("sink %s goes on", self._sink)
        self._halted = why
        SINK_HALTED.labels(self._sink).set(why is not None)

    def breaker(self, *, is_open: bool) -> None:
        SINK_BREAKER.labels(self._sink).set(is_open)
