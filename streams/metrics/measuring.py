"""What a stage does to be measured: a batch is counted once, when all of it is acknowledged, so that the core measures nothing.

Wrappers for the seams live here: a batch's meter, and the observer of a sink's courier.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import NamedTuple, Protocol

from prometheus_client import Counter
from prometheus_client.core import Metric

from streams.metrics import catalogue
from streams.metrics.histogram import BatchHistogram

log = logging.getLogger(__name__)

SENT_AT = "sent-at"
"""A header of the till, wall clock in epoch milliseconds; travels on, so that latency can be measured."""
TURN_AT = "turn-at"
"""A header of what waited in the backlog lane: when its turn came, wall clock in epoch milliseconds. Travels on too."""
WRITTEN_AT = "written-at"
"""A header of replies and events: when they were written, wall clock in epoch milliseconds. Their Kafka time is their cause's."""
TRACEPARENT = "traceparent"
"""The header of W3C Trace Context: version-trace-span-flags."""
_TRACED = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
BACKLOG = "backlog"
"""The label of what waited there: what promises seconds to tills does not count it."""
HISTORY_MS = 86_400_000
"""Where sending and Kafka time are further apart, history is being replayed: its Kafka time says nothing about speed."""

current_trace: Callable[[], str | None] = lambda: None  # noqa: E731  # replaced whole by tracing
"""The trace id (32 hex digits) of what the process is doing now, for exemplars of calls. Tracing puts its own here."""


class Timed(Protocol):
    """What a meter reads of a record."""

    @property
    def timestamp_ms(self) -> int: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@cache
def series(counter: Counter, *labels: str) -> Counter:
    """One series of a counter, by its labels: to find it costs more than to count."""
    return counter.labels(*labels)


_MOVES = ("issued available", "issued pending", "issued held", "pending available", "held available", "available reserved")
_ENDS = ("reserved used", "available expired", "available reversed", "pending reversed", "held reversed")
_DOORS = ("pos.checks", "pos.redemptions", "crm.members")
_KEPT = [(door, code) for door in _DOORS for code in ("NOT_JSON", "SCHEMA")]
_KEPT += [("loy.commands", code) for code in ("BEYOND_HORIZON", "TOO_LARGE")]


def begin_worker() -> None:
    """Show what a worker counts before it happens: the first time is an increase, and no panel is empty for lack of trouble."""
    for stage in ("intake", "ledger", "aside"):
        series(catalogue.RECORDS_TAKEN, stage)
        for histogram in (catalogue.RECORD_SECONDS, catalogue.BATCH_SECONDS, catalogue.BATCH_RECORDS):
            histogram.start(stage)
    catalogue.ANSWER_SECONDS.start("check", "redemption", "member", BACKLOG)
    catalogue.EVENT_SECONDS.start("till", "kafka", BACKLOG)
    for kind in ("sale", "return", "void", "redeem"):
        for outcome in ("applied", "repeated", "refused", "parked"):
            series(catalogue.OUTCOMES, kind, outcome)
    for topic, code in _KEPT:
        series(catalogue.DEAD_LETTERS, topic, code)
    for topic in ("loy.programs", "loy.identities"):
        series(catalogue.REFERENCE_ERRORS, topic)
    for move in (*_MOVES, *_ENDS):
        series(catalogue.POINTS, *move.split())


class Meter:
    """Measures one batch of a stage: what it did, how long it took, and how old its records were when it was done."""

    def __init__(self, stage: str, records: Sequence[Timed]) -> None:
        self._stage = stage
        self._records = records
        self._counts: dict[tuple[Counter, tuple[str, ...]], int] = {}
        self._answered: dict[str, list[Timed]] = {}
        self._told: list[Timed] = []
        self._known: dict[int, Times] = {}
        """By id of a record that is kept here: each is asked for five times."""
        self._start = time.perf_counter()

    def count(self, counter: Counter, *labels: str, by: int = 1) -> None:
        """To be counted when the batch is acknowledged."""
        key = (counter, labels)
        self._counts[key] = self._counts.get(key, 0) + by

    def answered(self, door: str, record: Timed) -> None:
        """A till, the desk or the CRM got its reply; what waited in the backlog lane counts apart."""
        self._answered.setdefault(BACKLOG if self._times(record).waited else door, []).append(record)

    def told(self, record: Timed) -> None:
        """Events of what came through a door were written."""
        self._told.append(record)

    def flushing(self) -> None:
        """All of the batch is decided, and goes to the broker. Tracing wants to know."""

    def delivering(self, sink: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """While a vendor is told. Tracing wants to know."""
        return nullcontext()

    def stop(self) -> None:
        """The batch is acknowledged."""
        now_ms = time.time() * 1000
        catalogue.BATCH_SECONDS.observe(self._stage, (time.perf_counter() - self._start,))
        catalogue.BATCH_RECORDS.observe(self._stage, (len(self._records),))
        series(catalogue.RECORDS_TAKEN, self._stage).inc(len(self._records))
        for (counter, labels), count in self._counts.items():
            series(counter, *labels).inc(count)
        observe_ages(catalogue.RECORD_SECONDS, self._stage, self._records, now_ms, self._due)
        for door, records in self._answered.items():
            observe_ages(catalogue.ANSWER_SECONDS, door, records, now_ms, self._sent)
        if self._told:
            prompt = [record for record in self._told if not self._times(record).waited]
            waited = [record for record in self._told if self._times(record).waited]
            observe_ages(catalogue.EVENT_SECONDS, "till", prompt, now_ms, self._due)
            observe_ages(catalogue.EVENT_SECONDS, BACKLOG, waited, now_ms, self._sent)
            live = [record.timestamp_ms for record in prompt if self._sent(record) - record.timestamp_ms < HISTORY_MS]
            catalogue.EVENT_SECONDS.observe("kafka", [max(0.0, (now_ms - at) / 1000) for at in live])

    def _times(self, record: Timed) -> "Times":
        times = self._known.get(id(record))
        if times is None:
            times = self._known[id(record)] = times_of(record)
        return times

    def _due(self, record: Timed) -> int:
        return self._times(record).due

    def _sent(self, record: Timed) -> int:
        return self._times(record).sent


class Times(NamedTuple):
    """What a record's headers say of time. Wall clock, epoch milliseconds."""

    sent: int
    """When the till sent it, if it says so; else its Kafka time: in a replay that is years ago."""
    due: int
    """Since when we are expected to be quick: its turn in the backlog lane, or its sending."""
    waited: bool
    """Whether it went by the backlog lane."""


def times_of(record: Timed) -> Times:
    """All of it, in one look at the headers; of each, the first that tells a time counts."""
    sent = turn = None
    waited = False
    for name, value in record.headers:
        if name == SENT_AT:
            sent = int(value) if sent is None and tells_time(name, value) else sent
        elif name == TURN_AT:
            waited = True
            turn = int(value) if turn is None and tells_time(name, value) else turn
    sent = record.timestamp_ms if sent is None else sent
    return Times(sent, sent if turn is None else turn, waited)


def due_ms(record: Timed) -> int:
    """`Times.due` of the record."""
    return times_of(record).due


def observe_ages(
    histogram: BatchHistogram,
    label: str,
    records: Sequence[Timed],
    now_ms: float,
    since: Callable[[Timed], int] = due_ms,
) -> None:
    """Seconds from each record's turn or sending until now; the oldest one is the exemplar when it has a trace."""
    ages = [max(0.0, (now_ms - since(record)) / 1000) for record in records]
    histogram.observe(label, ages)
    if ages:
        oldest = max(ages)
        trace = trace_of(records[ages.index(oldest)].headers)
        if trace is not None:
            histogram.exemplify(label, oldest, trace, now_ms / 1000)


def sent_ms(record: Timed) -> int:
    """`Times.sent` of the record."""
    return times_of(record).sent


def has_waited(record: Timed) -> bool:
    """`Times.waited` of the record."""
    return any(name == TURN_AT for name, _ in record.headers)


def tells_time(name: str, value: bytes | None) -> bool:
    """Whether a header is a time that travels on: the till's own, or that of its turn. What else is put there is passed over."""
    return name in (SENT_AT, TURN_AT) and value is not None and value.isdigit() and len(value) < 16


def trace_of(headers: Sequence[tuple[str, bytes]]) -> str | None:
    """The trace id that a record carries. Whatever else a till puts there is not for logs and exemplars."""
    for name, value in headers:
        if name == TRACEPARENT and value is not None and (traced := _TRACED.fullmatch(value)):
            return traced[1].decode()
    return None


class SinkObserver:
    """Turns what a courier tells into metrics, and a halt into one alert."""

    def __init__(self, sink: str) -> None:
        self._sink = sink
        self._halted: str | None = None
        for outcome in ("delivered", "rejected", "again", "unknown", "skipped"):
            series(catalogue.SINK_ITEMS, sink, outcome)
        catalogue.SINK_DELIVERY_SECONDS.start(sink)
        catalogue.SINK_HALTED.labels(sink).set(0)
        catalogue.SINK_BREAKER.labels(sink).set(0)

    def called(self, operation: str, status: str, seconds: float) -> None:
        trace = current_trace()
        calls = catalogue.SINK_CALLS.labels(self._sink, operation, status)
        calls.observe(seconds, {"trace_id": trace} if trace else None)

    def waited(self, operation: str, seconds: float) -> None:
        catalogue.SINK_WAITED.labels(self._sink, operation).inc(seconds)

    def outcome(self, kind: str, count: int) -> None:
        catalogue.SINK_ITEMS.labels(self._sink, kind).inc(count)

    def halted(self, why: str | None) -> None:
        """Alert once when it stops, and once when it goes on."""
        if why is not None and self._halted is None:
            log.critical("sink %s has stopped, nothing is lost: %s", self._sink, why)
        if why is None and self._halted is not None:
            log.warning("sink %s goes on", self._sink)
        self._halted = why
        catalogue.SINK_HALTED.labels(self._sink).set(why is not None)

    def breaker(self, *, is_open: bool) -> None:
        catalogue.SINK_BREAKER.labels(self._sink).set(is_open)


class SinkLimits:
    """The vendor's limits as this process may use them, read when Prometheus asks."""

    def __init__(self, sink: str, limits: Callable[[], Mapping[str, float]]) -> None:
        self._sink = sink
        self._limits = limits
        for operation in limits():
            series(catalogue.SINK_WAITED, sink, operation)

    def collect(self) -> Iterable[Metric]:
        yield catalogue.SINK_LIMIT.of(((self._sink, operation), rate) for operation, rate in self._limits().items())
