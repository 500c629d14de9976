"""The instruments: latency by the till's clock, a batch counted once, histograms with traces, probes, all of it served."""

import time

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from schemas.codes import Code
from schemas.topics import COMMANDS, IDENTITIES, PROGRAMS
from streams import metrics
from streams.metrics import catalogue
from streams.metrics.histogram import BatchHistogram
from streams.runtime import Record
from streams.settings import SettingsError

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())


def value(name, **labels):
    return metrics.REGISTRY.get_sample_value(name, labels)


def timed(stage, *records):
    metrics.Meter(stage, records).stop()
    return value("loy_record_seconds_sum", stage=stage)


def record(at_ms, *headers):
    return Record(b"k", b"v", at_ms, headers, 0)


def now_ms():
    return time.time_ns() // 1_000_000


# ---------------------------------------------------------------- latency


def test_latency_counts_from_the_tills_sending_when_it_says_so():
    assert timed("a", record(0, ("sent-at", str(now_ms() - 2000).encode()))) == pytest.approx(2, abs=1)


def test_without_the_header_latency_counts_from_the_kafka_time():
    assert timed("b", record(now_ms() - 3000)) == pytest.approx(3, abs=1)


@pytest.mark.parametrize("header", [b"", b"soon", None, b"9" * 5000, b"-5", "٣".encode()])
def test_a_header_that_is_no_time_is_passed_over(header):
    stage = f"odd {header!r:.20}"
    assert timed(stage, record(now_ms(), ("sent-at", header))) == pytest.approx(0, abs=1)


def test_a_till_that_runs_ahead_does_not_make_time_negative():
    assert timed("c", record(now_ms() + 60_000)) == 0


def test_history_is_timed_from_its_sending_and_not_from_its_kafka_time():
    before = [value("loy_event_seconds_count", since=since) or 0 for since in ("till", "kafka")]
    meter = metrics.Meter("e", ())
    meter.told(record(0, ("sent-at", str(now_ms()).encode())))
    meter.told(record(now_ms()))
    meter.stop()
    after = [value("loy_event_seconds_count", since=since) for since in ("till", "kafka")]
    assert [late - early for early, late in zip(before, after, strict=True)] == [2, 1]


# ---------------------------------------------------------------- counting


def test_a_batch_is_counted_with_its_records():
    timed("d", record(0), record(0), record(0))
    assert value("loy_batch_seconds_count", stage="d") == 1
    assert value("loy_batch_records_sum", stage="d") == 3
    assert value("loy_record_seconds_count", stage="d") == 3
    assert value("loy_records_total", stage="d") == 3


def test_nothing_is_counted_before_the_batch_is_acknowledged():
    meter = metrics.Meter("f", [record(now_ms())])
    meter.count(metrics.REFUSALS, "TEST", by=2)
    meter.count(metrics.REFUSALS, "TEST")
    meter.answered("test", record(now_ms() - 3000))
    assert value("loy_refusals_total", code="TEST") is None
    meter.stop()
    assert value("loy_refusals_total", code="TEST") == 3
    assert value("loy_answer_seconds_bucket", door="test", le="2.0") == 0
    assert value("loy_answer_seconds_bucket", door="test", le="5.0") == 1


@pytest.mark.parametrize(
    ("counter", "labels"),
    [
        *(("loy_reference_errors_total", {"topic": topic.name}) for topic in (PROGRAMS, IDENTITIES)),
        *(("loy_dead_letters_total", {"topic": COMMANDS.name, "code": code}) for code in (Code.BEYOND_HORIZON, Code.TOO_LARGE)),
    ],
)
def test_where_one_is_enough_for_an_alert_the_count_is_there_before_the_first(counter, labels):
    """To Prometheus a series that begins with 1 did not grow."""
    metrics.begin_worker()
    assert value(counter, **labels) is not None


# ---------------------------------------------------------------- histograms


@pytest.fixture
def registry():
    return CollectorRegistry()


def test_a_value_on_a_bound_is_within_it(registry):
    histogram = BatchHistogram("t_seconds", "Of a test.", "stage", (1, 2), registry=registry)
    histogram.observe("a", [0.5, 1, 1.5, 2, 2.5])
    bounds = {le: registry.get_sample_value("t_seconds_bucket", {"stage": "a", "le": le}) for le in ("1.0", "2.0", "+Inf")}
    assert bounds == {"1.0": 2, "2.0": 4, "+Inf": 5}
    assert registry.get_sample_value("t_seconds_sum", {"stage": "a"}) == 7.5
    assert registry.get_sample_value("t_seconds_count", {"stage": "a"}) == 5


def test_a_series_can_be_there_before_its_first_value(registry):
    BatchHistogram("t_seconds", "Of a test.", "stage", (1, 2), registry=registry).start("a")
    assert registry.get_sample_value("t_seconds_count", {"stage": "a"}) == 0


def test_the_oldest_record_of_a_batch_is_the_exemplar_when_it_has_a_trace(registry):
    histogram = BatchHistogram("t_seconds", "Of a test.", "stage", (1, 60), registry=registry)
    metrics.observe_ages(histogram, "a", [record(9_000), record(5_000, PARENT), record(8_000)], 10_000.0)
    text = generate_latest(registry).decode()
    assert f't_seconds_bucket{{le="60.0",stage="a"}} 3.0 # {{trace_id="{TRACE}"}} 5.0 10.0' in text


@pytest.mark.parametrize(
    "header", [None, b"", b"00-abc-01", b"x" * 54, b"00-call +15551234567 or 5551234568 -b7ad6b7169203331-01", PARENT[1].upper()]
)
def test_a_header_that_is_no_trace_is_passed_over(header):
    assert metrics.trace_of([("traceparent", header)]) is None


def test_what_the_catalogue_names_is_named_once_and_has_no_label_of_a_person_or_place():
    families = [one for one in vars(catalogue).values() if isinstance(one, catalogue.Family)]
    named = [one.name.removesuffix("_total") for one in families]
    assert sorted(named) == sorted(set(named))
    labels = {label for family in metrics.REGISTRY.collect() for sample in family.samples for label in sample.labels}
    labels |= {label for one in families for label in one.labels}
    assert not labels & {"member", "account", "receipt", "check", "outlet", "till", "loyalty_id", "cashier"}


# ---------------------------------------------------------------- served


class Ill:
    """A process with these troubles."""

    def __init__(self, stuck=(), unready=()):
        self._stuck, self._unready = stuck, unready

    def stuck(self):
        return self._stuck

    def unready(self):
        return self._unready


def ask(port, path, **headers):
    answer = httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers)
    return answer.status_code, answer.text


def test_everything_is_served_on_a_free_port_with_version_and_role():
    port = metrics.serve("127.0.0.1", 0, "1.2.3", role="worker")
    assert port > 0
    status, told = ask(port, "/metrics")
    assert status == 200
    assert 'loy_build_info{role="worker",version="1.2.3"} 1.0' in told


def test_prometheus_gets_openmetrics():
    port = metrics.serve("127.0.0.1", 0, "1.2.3")
    _, told = ask(port, "/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    assert told.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("health", "alive", "ready"),
    [
        (None, (200, "ok\n"), (200, "ok\n")),
        (Ill(), (200, "ok\n"), (200, "ok\n")),
        (Ill(unready=["restoring", "no broker"]), (200, "ok\n"), (503, "restoring\nno broker\n")),
        (Ill(["hangs"], ["hangs"]), (503, "hangs\n"), (503, "hangs\n")),
    ],
)
def test_the_probes_say_what_is_wrong(health, alive, ready):
    port = metrics.serve("127.0.0.1", 0, "1.2.3", health=health)
    assert ask(port, "/healthz") == alive
    assert ask(port, "/readyz") == ready


def test_there_are_no_other_pages():
    port = metrics.serve("127.0.0.1", 0, "1.2.3")
    assert ask(port, "/") == (404, "/metrics, /healthz, /readyz\n")


def test_a_port_that_is_taken_is_named():
    port = metrics.serve("127.0.0.1", 0, "1.2.3")
    with pytest.raises(SettingsError, match=f"LOY_METRICS_PORT: 127.0.0.1:{port} cannot be had"):
        metrics.serve("127.0.0.1", port, "1.2.3")
