"""A process seen from outside: the probes tell the truth, and figures of what is come from reading, not from counting."""

from types import SimpleNamespace
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from streams import health
from streams.runtime import Batch, Record
from streams.runtime.book import CommitBook
from streams.runtime.lease import Instant, Lease
from streams.runtime.vitals import Vitals


class Part(NamedTuple):
    """A topic-partition."""

    topic: str
    partition: int


CHECKS = Part("pos.checks", 0)
MEMBERS = Part("loy.members", 0)
BACKLOG = Part("loy.backlog", 0)


class FakeApp:
    """What the vitals and the health read of an app."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr("time.time", lambda: self.now)
        self.ends = {}
        self.consumer = SimpleNamespace(book=CommitBook(), highwater=self.ends.get)
        self.recovery = SimpleNamespace(in_recovery=False, active_highwaters={}, active_offsets={})
        self.tables = SimpleNamespace(recovery=self.recovery)
        self.lease = Lease(10.0)
        self.sources, self.compacted = {"pos.checks"}, {"loy.members"}
        self.yielding = SimpleNamespace(topics={"loy.backlog": "loy.commands"})
        self.should_stop, self.shift = False, SimpleNamespace(moving=False)
        self.rebalancing_count = 1
        self.vitals = Vitals(self)

    def table_sizes(self):
        yield "accounts", 0, 7, 4096

    def start(self, *parts):
        for part in parts:
            self.consumer.book.start(part, 0)
            self.ends.setdefault(part, 0)
        self.vitals.started(parts)
        self.vitals.taken_up = True
        return self.well()

    def well(self):
        self.lease.renew(Instant.now())
        self.vitals.beat(0.0)
        return self

    def hand_out(self, part, *sent_at):
        first = self.consumer.book.position(part)
        records = [Record(None, None, int(at * 1000), (), first + n) for n, at in enumerate(sent_at)]
        batch = Batch(part.topic, part.partition, records)
        self.consumer.book.hand_out(part, first, first + len(records) - 1, batch)
        self.vitals.handed_out(part, batch)
        return batch

    def finish(self, part, batch):
        self.consumer.book.finish(part, batch)
        self.vitals.finished(part)


@pytest.fixture
def app(monkeypatch):
    return FakeApp(monkeypatch)


def series(app, **options):
    registry = CollectorRegistry()
    registry.register(health.Health(app, 4, **options))
    return {(sample.name, *sample.labels.values()): sample.value for metric in registry.collect() for sample in metric.samples}


# ---------------------------------------------------------------- probes


def test_a_process_that_works_is_well_and_ready(app):
    truth = health.Health(app.start(CHECKS), 4)
    assert truth.stuck() == truth.unready() == []
    assert series(app)["loy_ready",] == series(app)["loy_healthy",] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda app: setattr(app, "should_stop", True), "stopping"),
        (lambda app: setattr(app.vitals, "taken_up", False), "taking up partitions"),
        (lambda app: setattr(app, "lease", Lease(10.0)), "the broker has not answered a heartbeat"),
        (
            lambda app: vars(app.recovery).update(
                in_recovery=True, active_highwaters={1: 9, 2: None}, active_offsets={1: 4, 2: None}
            ),
            "restoring tables: 5 records to go",
        ),
    ],
)
def test_who_does_no_work_is_not_ready_but_well(app, change, said):
    change(app.start(CHECKS))
    truth = health.Health(app, 4)
    assert truth.unready() == [said]
    assert truth.stuck() == []
    assert series(app)["loy_ready",] == 0


def test_a_partition_on_its_way_is_told_and_no_reason_to_be_unready(app):
    app.start(CHECKS).shift.moving = True
    assert series(app)["loy_rebalancing",] == 1
    assert health.Health(app, 4).unready() == []


def test_before_its_loop_runs_a_process_is_starting(app):
    assert health.Health(app, 4).unready() == ["starting"]
    assert health.Health(app, 4).stuck() == []


def test_an_event_loop_that_stands_still_is_stuck(app):
    app.start(CHECKS).now += 21
    truth = health.Health(app, 4)
    assert truth.stuck() == ["the event loop has not run for 21 s"]
    assert truth.stuck()[0] in truth.unready()
    assert series(app)["loy_loop_delay_seconds",] > 20


def test_a_batch_that_does_not_end_is_stuck_but_not_where_others_may_take_their_time(app):
    app.start(CHECKS).ends[CHECKS] = 1
    app.hand_out(CHECKS, app.now)
    app.now += 151
    app.well()
    assert health.Health(app, 4).stuck() == ["pos.checks/0: its batch does not end, for 151 s"]
    assert health.Health(app, 4, patient=True).stuck() == []


def test_records_that_nobody_takes_are_stuck_but_for_the_bare_end_of_a_compacted_topic(app):
    app.start(CHECKS, MEMBERS).ends.update({CHECKS: 1, MEMBERS: 1})
    app.now += 151
    app.well()
    assert health.Health(app, 4, patient=True).stuck() == ["pos.checks/0: nobody takes its records, for 151 s"]


def test_records_that_yield_to_others_may_lie_but_a_batch_of_them_may_not(app):
    app.start(BACKLOG).ends[BACKLOG] = 2
    app.now += 151
    app.well()
    assert health.Health(app, 4).stuck() == []
    app.hand_out(BACKLOG, app.now)
    app.now += 151
    app.well()
    assert health.Health(app, 4).stuck() == ["loy.backlog/0: its batch does not end, for 151 s"]


# ---------------------------------------------------------------- figures


def test_lag_is_told_in_records_and_in_seconds(app):
    app.start(CHECKS).ends[CHECKS] = 5
    batch = app.hand_out(CHECKS, app.now - 8, app.now - 6)
    assert series(app)["loy_lag_records", "pos.checks", "0"] == 5
    assert series(app)["loy_lag_seconds", "pos.checks", "0"] == 8  # of the first record at hand
    app.finish(CHECKS, batch)
    assert series(app)["loy_lag_records", "pos.checks", "0"] == 3
    assert series(app)["loy_lag_seconds", "pos.checks", "0"] == 0  # all was finished a moment ago
    app.now += 100
    assert series(app)["loy_lag_seconds", "pos.checks", "0"] == 100  # no record can have come before that moment
    app.ends[CHECKS] = 2
    assert series(app)["loy_lag_seconds", "pos.checks", "0"] == 0


def test_work_that_is_not_committed_grows_old(app):
    app.start(CHECKS).ends[CHECKS] = 1
    app.finish(CHECKS, app.hand_out(CHECKS, app.now))
    app.now += 9
    assert series(app)["loy_commit_age_seconds", "pos.checks", "0"] == 9
    app.vitals.committed([CHECKS])
    assert series(app)["loy_commit_age_seconds", "pos.checks", "0"] == 0


def test_the_series_of_a_lost_partition_disappear(app):
    other = Part("pos.checks", 1)
    app.start(CHECKS, other)
    assert ("loy_lag_records", "pos.checks", "1") in series(app)
    app.start(CHECKS)
    assert ("loy_lag_records", "pos.checks", "1") not in series(app)
    assert series(app)["loy_topic_partitions", "pos.checks"] == 4


def test_recovery_and_state_are_told(app):
    app.start()
    app.recovery.in_recovery, app.vitals.restored = True, 3
    app.recovery.active_highwaters, app.recovery.active_offsets = {1: 9}, {1: 4}
    told = series(app)
    assert told["loy_recovering",] == 1
    assert told["loy_recovery_remaining_records",] == 5
    assert told["loy_recovery_restored_records_total",] == 3
    assert told["loy_state_rows", "accounts", "0"] == 7
    assert told["loy_state_bytes", "accounts", "0"] == 4096
