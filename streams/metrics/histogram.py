"""A histogram that takes a whole batch at once: prometheus-client's own costs ten times as much for each value.

Law: one thread writes, another reads; what is read may be a batch behind, and is never torn, since counts are copied in one step.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import Exemplar, HistogramMetricFamily

_Bucket = tuple[str, float] | tuple[str, float, Exemplar]


@dataclass(slots=True)
class _Series:
    counts: list[int]
    total: float = 0.0
    exemplars: dict[int, Exemplar] = field(default_factory=dict)
    """By bucket: the last value that had a trace."""


class BatchHistogram:
    """One label. Its series appear with their first value, or when they are named by `start`."""

    def __init__(self, name: str, about: str, label: str, bounds: Sequence[float], *, registry: CollectorRegistry) -> None:
        self.name = name
        self.label = label
        self.bounds = tuple(bounds)
        self._names = [str(float(bound)) for bound in bounds] + ["+Inf"]
        self._about = about
        self._series: dict[str, _Series] = {}
        registry.register(self)

    def start(self, *values: str) -> None:
        """Make these series appear at 0, so that the first value is an increase."""
        for value in values:
            self._of(value)

    def observe(self, label: str, values: Iterable[float]) -> None:
        """Take all values, in the base unit."""
        series, total = self._of(label), 0.0
        counts, bounds = series.counts, self.bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            total += value
        series.total += total

    def exemplify(self, label: str, value: float, trace: str, at: float) -> None:
        """Name the trace behind a value that was observed `at` that epoch second."""
        bucket = bisect_left(self.bounds, value)
        self._of(label).exemplars[bucket] = Exemplar({"trace_id": trace}, value, at)

    def _of(self, label: str) -> _Series:
        series = self._series.get(label)
        if series is None:
            series = self._series[label] = _Series([0] * (len(self.bounds) + 1))
        return series

    def collect(self) -> Iterable[HistogramMetricFamily]:
        metric = HistogramMetricFamily(self.name, self._about, labels=(self.label,))
        for label, series in list(self._series.items()):
            metric.add_metric((label,), self._buckets(series), series.total)
        yield metric

    def _buckets(self, series: _Series) -> list[_Bucket]:
        sofar, buckets = 0, list[_Bucket]()
        for number, (bound, count) in enumerate(zip(self._names, list(series.counts), strict=True)):
            sofar += count
            exemplar = series.exemplars.get(number)
            buckets.append((bound, float(sofar)) if exemplar is None else (bound, float(sofar), exemplar))
        return buckets
