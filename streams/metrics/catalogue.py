"""Every Prometheus instrument of every process, in one place. Base units, bounded labels, never a member, receipt or outlet.

Two kinds: what happens is counted when it happens, a batch at a time; what *is* (lag, balances, state) is a `Family`, read when
Prometheus asks, so that it costs the hot path nothing and the series of a lost partition disappear with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

from streams.metrics.histogram import BatchHistogram

disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series, for nothing that we ask
REGISTRY = CollectorRegistry()

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)
"""Bounds of latencies. 2 and 60 are objectives: they must stay."""
RECORDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)

# ---------------------------------------------------------------- what happens

RECORDS_TAKEN = Counter("loy_records_total", "Records that a stage is done with.", ("stage",), registry=REGISTRY)
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
    "Points moved between books: out of issued they are earned, into used burned, into expired expired.",
    ("source", "target"),
    registry=REGISTRY,
)
RECORD_SECONDS = BatchHistogram(
    "loy_record_seconds",
    "Age of a record when a stage was done with it: since its sending, or its turn in the backlog lane.",
    "stage",
    SECONDS,
    registry=REGISTRY,
)
ANSWER_SECONDS = BatchHistogram(
    "loy_answer_seconds",
    "From the till's sending to the acknowledged reply, by door (check, redemption, member), or backlog for late checks.",
    "door",
    SECONDS,
    registry=REGISTRY,
)
EVENT_SECONDS = BatchHistogram(
    "loy_event_seconds",
    "To the acknowledged events of what came through a door: since the till sent it, since its Kafka time; backlog: late checks.",
    "since",
    SECONDS,
    registry=REGISTRY,
)
BATCH_SECONDS = BatchHistogram(
    "loy_batch_seconds", "Time to handle one micro-batch, acknowledgement included.", "stage", SECONDS, registry=REGISTRY
)
BATCH_RECORDS = BatchHistogram("loy_batch_records", "Records of a micro-batch.", "stage", RECORDS, registry=REGISTRY)
REFERENCE_ERRORS = Counter(
    "loy_reference_errors_total",
    "Programs and identities that could not be read; the version of before stands.",
    ("topic",),
    registry=REGISTRY,
)
TICKS = Counter("loy_ticks_total", "Commands emitted by the clock.", registry=REGISTRY)
DUE = Gauge("loy_due_accounts", "Accounts whose due time the clock watches.", registry=REGISTRY)

# ---------------------------------------------------------------- what happens in a sink

SINK_ITEMS = Counter(
    "loy_sink_items_total",
    "Items by what became of them: delivered, rejected, again, unknown (sent, answer lost), skipped (history).",
    ("sink", "outcome"),
    registry=REGISTRY,
)
SINK_DELIVERY_SECONDS = BatchHistogram(
    "loy_sink_delivery_seconds",
    "From the sending of what caused an event to the vendor having taken the event's batch.",
    "sink",
    SECONDS,
    registry=REGISTRY,
)
SINK_CALLS = Histogram(
    "loy_sink_call_seconds",
    "Calls to the vendor, by status.",
    ("sink", "operation", "status"),
    buckets=(0.025, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30),
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


# ---------------------------------------------------------------- what is, read when asked


@dataclass(frozen=True, slots=True)
class Family:
    """A metric whose series are made when Prometheus asks."""

    name: str
    about: str
    labels: tuple[str, ...] = ()
    kind: Literal["gauge", "counter"] = "gauge"

    def of(self, rows: Iterable[tuple[tuple[str, ...], float]]) -> GaugeMetricFamily | CounterMetricFamily:
        """The metric with these series, by label values."""
        make = GaugeMetricFamily if self.kind == "gauge" else CounterMetricFamily
        metric = make(self.name, self.about, labels=self.labels)
        for values, figure in rows:
            metric.add_metric(values, figure)
        return metric

    def at(self, figure: float) -> GaugeMetricFamily | CounterMetricFamily:
        """The metric without labels."""
        return self.of([((), figure)])


_PART = ("topic", "partition")

READY = Family("loy_ready", "1 while /readyz says yes: partitions taken up, tables restored, the broker answers.")
HEALTHY = Family("loy_healthy", "1 while /healthz says yes: nothing is stuck.")
LAG = Family("loy_lag_records", "Records not yet finished.", _PART)
LAG_SECONDS = Family(
    "loy_lag_seconds", "Age of the oldest record not yet finished, since its sending; 0 when all are finished.", _PART
)
COMMIT_AGE = Family("loy_commit_age_seconds", "For how long finished work has not been committed.", _PART)
TOPIC_PARTITIONS = Family("loy_topic_partitions", "Partitions that a source topic has, ours or not.", ("topic",))
REBALANCES = Family("loy_rebalances_total", "How often partitions came or went, and all was settled again.", kind="counter")
REBALANCING = Family("loy_rebalancing", "1 while a partition is on its way to this process or from it; it works on all others.")
RECOVERING = Family("loy_recovering", "1 while tables are restored from their changelogs.")
RECOVERY_REMAINING = Family("loy_recovery_remaining_records", "Changelog records still to restore.")
RECOVERY_RESTORED = Family("loy_recovery_restored_records_total", "Changelog records restored.", kind="counter")
HEARTBEAT_AGE = Family("loy_heartbeat_age_seconds", "Since this process last said in Kafka that it lives, and heard itself.")
LOOP_DELAY = Family("loy_loop_delay_seconds", "By how much the event loop ran late, the worst of the last seconds.")
STATE_ROWS = Family("loy_state_rows", "Rows of a table, as the store estimates them.", ("table", "partition"))
STATE_BYTES = Family("loy_state_bytes", "Bytes of a table in files and memory.", ("table", "partition"))
BALANCE = Family(
    "loy_balance_points",
    "Points of all accounts by book. Available, pending, held and reserved are owed to members; issued and debt run below zero.",
    ("book", "partition"),
)
ACCOUNTS = Family(
    "loy_accounts", "Accounts by status: in, out (opted out), receipt (unclaimed), budget, new.", ("status", "partition")
)
HOLDS = Family("loy_fraud_holds", "Accounts with points held for review.", ("partition",))
HOLD_AGE = Family("loy_fraud_hold_age_seconds", "Since the purchase of the oldest points held for review.", ("partition",))
IMBALANCE = Family("loy_ledger_imbalance", "Accounts whose books do not add up. Must be 0.")
SINK_LIMIT = Family(
    "loy_sink_limit_calls_per_second", "Calls a second that this process may make: its share.", ("sink", "operation")
)


class Build:
    """Which code runs in which role: `loy_build_info`."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def info(self, **said: str) -> None:
        self._said = said

    def collect(self) -> Iterable[InfoMetricFamily]:
        metric = InfoMetricFamily("loy_build", "Version of the code, and what this process does with it.")
        metric.add_metric((), self._said)
        yield metric


BUILD = Build()
REGISTRY.register(BUILD)


def series_names() -> frozenset[str]:
    """Every name that a query may ask for: whoever asks for another one gets an empty answer, and no error."""
    names = {metric.name for metric in REGISTRY.collect()} - {"loy_build"}
    names |= {family.name.removesuffix("_total") for family in globals().values() if isinstance(family, Family)}
    return frozenset(name + suffix for name in names for suffix in ("", "_total", "_bucket", "_count", "_sum")) | {
        "loy_build_info"
    }
