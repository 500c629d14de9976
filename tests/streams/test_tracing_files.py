"""Spans in files, drawn again: by check or by trace, what is shared included; and a collector that gets the same by HTTP."""

import asyncio
import io
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console
from typer.testing import CliRunner

from schemas.topics import EVENTS
from streams import tracing
from streams.broker import free_port
from streams.cli import app
from streams.metrics import measuring
from streams.settings import Settings
from streams.tracing import files, spans, waterfall
from tests.streams.agent_world import AgentWorld
from tests.streams.traced_world import SPAN, TRACE

OTHER = "a" * 32


@pytest.fixture
def switched(monkeypatch, tmp_path):
    """`switched(**settings)` switches tracing on as a worker does; the provider, whose spans leave when it is flushed."""
    for name in ("_tracer", "passed_on"):
        monkeypatch.setattr(tracing, name, getattr(tracing, name))
    monkeypatch.setattr(measuring, "current_trace", measuring.current_trace)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    providers = []

    def switch(**settings):
        tracing.start(Settings.load({}, data=tmp_path / "w", instance_id="w-1", **settings), "worker", "loy")
        providers.append(tracing._tracer._provider)
        return providers[-1]

    yield switch
    if providers:
        tracing.stop()


async def deliver(*records):
    """A sink's batch with one request that is answered."""
    _, meter = tracing.begin("sink", AgentWorld().batch(EVENTS, *records), measuring.time.time_ns() - 5_000_000)
    with meter.delivering("webhook"):
        pass
    meter.stop()


def event(cause, trace, span=SPAN):
    header = ("traceparent", f"00-{trace}-{span}-01".encode())
    return (
        "H-1",
        orjson.dumps({"data": {"cause": cause}}),
        0,
        (header, ("tracestate", b"loy=%d" % (measuring.time.time_ns() // 1000))),
    )


def drawn(folder, about):
    console = Console(width=160, record=True, file=io.StringIO())
    for one in waterfall.waterfalls(folder, about):
        console.print(one)
    return console.export_text()


async def test_spans_lie_in_the_file_as_otlp_has_them(switched, tmp_path):
    provider = switched(tracing="file")
    await deliver(event("s1", TRACE))
    provider.force_flush()
    (line,) = (tmp_path / "w" / "traces.jsonl").read_bytes().splitlines()
    (group,) = orjson.loads(line)["resourceSpans"]
    about = {one["key"]: one["value"]["stringValue"] for one in group["resource"]["attributes"]}
    assert (about["service.name"], about["service.namespace"], about["service.instance.id"]) == ("loy-worker", "loystream", "w-1")
    first = group["scopeSpans"][0]["spans"][0]
    assert (first["traceId"], first["parentSpanId"], first["name"], first["kind"]) == (TRACE, SPAN, "wait loy.events", 1)
    assert int(first["startTimeUnixNano"]) <= int(first["endTimeUnixNano"])
    assert {"key": "messaging.kafka.offset", "value": {"intValue": "0"}} in first["attributes"]


async def test_opentelemetrys_own_variables_have_the_last_word(switched, monkeypatch, tmp_path):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "points")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    provider = switched(tracing="file")
    await deliver(event("s1", TRACE))
    assert provider.force_flush()
    assert not (tmp_path / "w" / "traces.jsonl").exists()
    about = provider.resource.attributes
    assert (about["service.name"], about["deployment.environment.name"]) == ("points", "prod")


def test_by_default_one_check_in_a_hundred_is_traced_and_those_that_the_till_wants(monkeypatch, tmp_path):
    monkeypatch.delenv("OTEL_TRACES_SAMPLER", raising=False)
    provider = spans.provider(Settings.load({}, tracing="file", data=tmp_path), "worker")
    assert provider.sampler.get_description().startswith("ParentBased{root:TraceIdRatioBased{0.01}")
    provider.shutdown()


async def test_a_trace_is_drawn_by_check_or_by_trace_with_what_it_shares(switched, tmp_path):
    provider = switched(tracing="file")
    await deliver(event("s1", TRACE), event("s2", OTHER))
    provider.force_flush()
    with (tmp_path / "w" / "traces.jsonl").open("ab") as out:
        out.write(b'{"resourceSpans": [cut off')
    for about in ("s2", OTHER):
        text = drawn(tmp_path, about)
        assert f"check s2, trace {OTHER}" in text
        stages = [line.split("│")[1].strip() for line in text.splitlines() if "worker" in line]
        assert stages == ["wait loy.events", "process loy.events", "deliver webhook with 1 more"]
    assert "wait turn" in drawn(tmp_path, "s1")
    with pytest.raises(waterfall.UnknownTraceError, match="Nothing traced is called s3"):
        drawn(tmp_path, "s3")


async def test_a_check_that_came_twice_has_two_traces_oldest_first(switched, tmp_path):
    provider = switched(tracing="file")
    await deliver(event("s1", TRACE))
    await deliver(event("s1", OTHER))
    provider.force_flush()
    text = drawn(tmp_path, "s1")
    assert text.index(TRACE) < text.index(OTHER)


async def test_the_command_draws_one_check_or_names_the_slowest(switched, tmp_path):
    provider = switched(tracing="file")
    await deliver(event("s1", TRACE))
    provider.force_flush()
    run = CliRunner().invoke
    assert TRACE in run(app, ["trace", "s1", "--from", str(tmp_path)]).stdout
    assert "Slowest traces" in run(app, ["trace", "--from", str(tmp_path)]).stdout
    assert isinstance(run(app, ["trace", "s9", "--from", str(tmp_path)]).exception, waterfall.UnknownTraceError)


async def test_a_file_that_is_full_makes_room_once(switched, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FILE_BYTES", 10)
    provider = switched(tracing="file")
    for number in range(3):
        await deliver(event(f"s{number}", f"{number + 1:032x}"))
        provider.force_flush()
    kept = {span.trace for span in files.read(tmp_path)}
    assert kept == {f"{number:032x}" for number in (2, 3)}


class Collector(HTTPServer):
    """Takes spans by OTLP over HTTP."""

    def __init__(self):
        self.taken = []
        super().__init__(("127.0.0.1", 0), _Taking)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.taken.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Not into the test's output."""


async def test_a_collector_that_is_gone_holds_up_nobody(switched, monkeypatch):
    monkeypatch.setattr(spans, "STOP_SECONDS", 0.1)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    switched(tracing="otlp")
    await deliver(event("s1", TRACE))
    begin = measuring.time.perf_counter()
    tracing.stop()
    assert measuring.time.perf_counter() - begin < 2


async def test_a_collector_gets_the_spans_by_http(switched, monkeypatch):
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    provider = switched(tracing="otlp")
    await deliver(event("s1", TRACE))
    await asyncio.to_thread(provider.force_flush)
    collector.shutdown()
    collector.server_close()
    ((path, message),) = collector.taken
    assert path == "/v1/traces"
    got = [span for scope in message.resource_spans[0].scope_spans for span in scope.spans]
    assert {span.trace_id.hex() for span in got} == {TRACE}
    assert [span.name for span in got] == ["wait loy.events", "wait turn", "deliver webhook", "process loy.events"]
