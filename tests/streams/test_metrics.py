"""The instruments: latency by the till's clock, lag of what this worker has, all of it served."""

import time
import urllib.request

import pytest

from streams import metrics
from streams.runtime import Record
from streams.settings import SettingsError


def value(name, **labels):
    return metrics.REGISTRY.get_sample_value(name, labels)


def timed(stage, *records):
    watch = metrics.Stopwatch(stage, records)
    watch.stop()
    return value("loy_check_seconds_sum", stage=stage)


def record(at_ms, *headers):
    return Record(b"k", b"v", at_ms, headers, 0)


def test_latency_counts_from_the_tills_sending_when_it_says_so():
    now = time.time_ns() // 1_000_000
    assert timed("a", record(0, ("sent-at", str(now - 2000).encode()))) == pytest.approx(2, abs=1)


def test_without_the_header_latency_counts_from_the_kafka_time():
    assert timed("b", record(time.time_ns() // 1_000_000 - 3000)) == pytest.approx(3, abs=1)


@pytest.mark.parametrize("header", [b"", b"soon", None, b"9" * 5000, b"-5", "٣".encode()])
def test_a_header_that_is_no_time_is_passed_over(header):
    stage = f"odd {header!r:.20}"
    assert timed(stage, record(time.time_ns() // 1_000_000, ("sent-at", header))) == pytest.approx(0, abs=1)


def test_a_till_that_runs_ahead_does_not_make_time_negative():
    assert timed("c", record(time.time_ns() // 1_000_000 + 60_000)) == 0


def test_a_batch_is_counted_with_its_records():
    timed("d", record(0), record(0), record(0))
    assert value("loy_batch_seconds_count", stage="d") == 1
    assert value("loy_batch_records_sum", stage="d") == 3
    assert value("loy_check_seconds_count", stage="d") == 3


def test_the_lag_of_partitions_that_are_gone_disappears():
    metrics.note_lag({("loy.commands", 1): 5, ("loy.commands", 2): 0})
    assert value("loy_lag_records", topic="loy.commands", partition="1") == 5
    metrics.note_lag({("loy.commands", 2): 7})
    assert value("loy_lag_records", topic="loy.commands", partition="1") is None
    assert value("loy_lag_records", topic="loy.commands", partition="2") == 7


def test_a_series_is_the_same_however_often_it_is_looked_up():
    one = metrics.series(metrics.REFUSALS, "TEST")
    one.inc()
    metrics.series(metrics.REFUSALS, "TEST").inc()
    assert value("loy_refusals_total", code="TEST") == 2


def test_everything_is_served_on_a_free_port_with_the_version():
    port = metrics.serve("127.0.0.1", 0, "1.2.3")
    assert port > 0
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        told = answer.read().decode()
    assert 'loy_build_info{version="1.2.3"} 1.0' in told
    assert "loy_ledger_imbalance 0.0" in told


def test_a_port_that_is_taken_is_named():
    port = metrics.serve("127.0.0.1", 0, "1.2.3")
    with pytest.raises(SettingsError, match=f"LOY_METRICS_PORT: 127.0.0.1:{port} cannot be had"):
        metrics.serve("127.0.0.1", port, "1.2.3")
