"""A process seen from outside: whether it is stuck, whether it does its work, and the figures read when Prometheus asks.

Law: it only reads, from a thread of its own, and says what is: not ready before its first partitions are taken up, while tables
are restored, or the broker does not answer; stuck only when a restart would help, which a vendor that is down is not.
"""

import time
from collections.abc import Iterable, Iterator

from prometheus_client import GCCollector, ProcessCollector
from prometheus_client.core import Metric

from streams import metrics, runtime
from streams.metrics import catalogue
from streams.runtime.vitals import Progress

LOOP_SECONDS = 20.0
"""An event loop that has not run for so long hangs: batches take milliseconds."""
STILL_SECONDS = 150.0
"""A partition on which nothing moves for so long, though there is something to do; a send ends after 60."""


class Health:
    """Of one app, whose sources have so many partitions each. `patient`: a batch may take as long as others do, e.g. a vendor."""

    def __init__(self, app: runtime.App, partitions: int, *, patient: bool = False) -> None:
        self._app = app
        self._partitions = partitions
        self._patient = patient

    def stuck(self) -> list[str]:
        """Why it should be restarted."""
        age = self._app.vitals.beat_age()
        found = [f"the event loop has not run for {age:.0f} s"] if age is not None and age > LOOP_SECONDS else []
        return found + [self._about(line) for line in self._app.vitals.progress() if self._hangs(line)]

    def _hangs(self, line: Progress) -> bool:
        """The end of a compacted topic may be bare, so that its lag never ends."""
        app = self._app
        yields = line.topic in app.yielding.topics and not line.at_hand
        expected = line.topic in app.compacted or yields or (self._patient and line.at_hand) or not app.vitals.taken_up
        return line.still > STILL_SECONDS and not expected

    def _about(self, line: Progress) -> str:
        doing = "its batch does not end" if line.at_hand else "nobody takes its records"
        return f"{line.topic}/{line.partition}: {doing}, for {line.still:.0f} s"

    def unready(self) -> list[str]:
        """Why it does no work now."""
        app, found = self._app, self.stuck()
        if app.vitals.beat_age() is None:
            return ["starting"]
        if app.should_stop:
            found.append("stopping")
        if app.vitals.recovering():
            found.append(f"restoring tables: {app.vitals.remaining()} records to go")
        silent = app.lease.age()
        if silent is None or silent > app.lease.ttl:
            found.append("the broker has not answered a heartbeat" + (f" for {silent:.0f} s" if silent else ""))
        if not found and not app.vitals.taken_up:
            found.append("taking up partitions")
        return found

    # ---------------------------------------------------------------- read when Prometheus asks

    def collect(self) -> Iterable[Metric]:
        """All of it costs a millisecond or two; nothing is asked of Kafka."""
        app, vitals = self._app, self._app.vitals
        yield catalogue.READY.at(not self.unready())
        yield catalogue.HEALTHY.at(not self.stuck())
        yield catalogue.LOOP_DELAY.at(vitals.delay())
        yield catalogue.REBALANCES.at(app.rebalancing_count)
        yield catalogue.REBALANCING.at(app.shift.moving)
        yield catalogue.RECOVERING.at(vitals.recovering())
        yield catalogue.RECOVERY_REMAINING.at(vitals.remaining())
        yield catalogue.RECOVERY_RESTORED.at(vitals.restored)
        silent = app.lease.age()
        if silent is not None:
            yield catalogue.HEARTBEAT_AGE.at(silent)
        yield from self._sources()
        yield from self._state()

    def _sources(self) -> Iterator[Metric]:
        lines, now_ms = list(self._app.vitals.progress()), time.time() * 1000
        named = [((line.topic, str(line.partition)), line) for line in lines]
        yield catalogue.LAG.of((at, line.lag) for at, line in named)
        yield catalogue.LAG_SECONDS.of((at, _age(line, now_ms)) for at, line in named)
        yield catalogue.COMMIT_AGE.of((at, line.uncommitted) for at, line in named)
        yield catalogue.TOPIC_PARTITIONS.of(((topic,), self._partitions) for topic in sorted(self._app.sources))

    def _state(self) -> Iterator[Metric]:
        sizes = [((table, str(partition)), rows, taken) for table, partition, rows, taken in self._app.table_sizes()]
        yield catalogue.STATE_ROWS.of((at, rows) for at, rows, _ in sizes)
        yield catalogue.STATE_BYTES.of((at, taken) for at, _, taken in sizes)


def _age(line: Progress, now_ms: float) -> float:
    """Of the oldest record not finished: exact while its batch is at hand, at most so much otherwise."""
    if not line.lag:
        return 0.0
    if line.oldest is None:
        return line.behind
    sent = max(0.0, (now_ms - metrics.due_ms(line.oldest)) / 1000)
    return sent if line.at_hand else min(sent, line.behind)


def watch(app: runtime.App, partitions: int, *, patient: bool = False) -> Health:
    """Show the app's figures, and those of the process, from now on. Answers its health, for `metrics.serve`."""
    health = Health(app, partitions, patient=patient)
    catalogue.REGISTRY.register(health)
    ProcessCollector(registry=catalogue.REGISTRY)
    GCCollector(registry=catalogue.REGISTRY)
    return health
