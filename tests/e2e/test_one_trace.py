"""One check through till, Kafka, worker, Kafka, sink and vendor: one trace, each stage after its cause; and drawn in the terminal."""

import asyncio
import subprocess
import sys
import time
from datetime import UTC, datetime

import orjson

from connectors import sandbox
from connectors.sandbox import sandbox_settings
from streams.broker import free_port
from streams.tracing.files import read
from tests.builders import earning, program
from tests.e2e.harness import until
from tests.processes import Process
from tests.tills import opt_in, request, sale

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CARD = "card:ABC123"
STAGES = [
    "send pos.checks",
    "wait pos.checks",
    "process pos.checks",
    "wait loy.commands",
    "process loy.commands",
    "wait loy.events",
    "process loy.events",
    "deliver infobip",
    "POST events",
]
MODE = {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}


def of_a_till_that_traces(trace=TRACE):
    """Headers of a record that was on its way for 20 ms before it got its Kafka time."""
    sent = time.time_ns() // 1_000_000 - 20
    return [("sent-at", b"%d" % sent), ("traceparent", f"00-{trace}-{SPAN}-01".encode())]


async def test_one_check_is_one_trace_from_the_till_to_the_vendor(installed, tmp_path):
    system = await installed(program(earning=earning()), clock="wall", tracing="file", log_format="json")
    vendor = sandbox.InfobipSandbox("wall", limited=False)
    async with sandbox.running(vendor) as url:
        worker = system.worker(environment=MODE)
        own = system.settings.model_copy(update={"metrics_port": free_port()})
        sink = Process(["sink", "infobip"], own, "sink", sandbox_settings("infobip", url) | MODE | {"LOY_INFOBIP_RPS": "1000"})
        system.workers.append(sink.start())
        await worker.ready()
        await sink.ready()
        system.at = datetime.now(UTC)
        await system.ask(opt_in("H-1", system.at, CARD))
        system.at = datetime.now(UTC)
        await system.ask(sale("s1", [3000], system.at, CARD), headers=of_a_till_that_traces())
        refused = request("reserve", "q1", "R1", system.at, CARD, points=10**6)
        await system.ask(refused, headers=of_a_till_that_traces("b" * 32))
        await until(lambda: len(vendor.requests("POST /people/3/events")) >= 2, "the vendor to be told")
        found = await until(
            lambda: (spans := _spans(tmp_path)) and {*STAGES} <= {one.name for one in spans} and spans, "all spans"
        )
        await worker.stop()
        await sink.stop()

    # Nothing else was traced, and each stage follows from one before it.
    assert {span.trace for span in read(tmp_path)} == {TRACE, "b" * 32}
    known = {span.id: span for span in found}
    way = _way(known, next(span for span in found if span.name == "POST events"))
    assert [span.name for span in way] == STAGES
    assert way[0].parent == SPAN
    assert [span.start for span in way] == sorted(span.start for span in way)
    assert {span.name for span in found} >= {"send loy.commands", "send loy.events, pos.replies", "wait turn"}
    assert {span.about["messaging.message.conversation_id"] for span in found if span.name.startswith("process")} == {"s1"}

    # The vendor's request is the last span.
    told = [one.traceparent for one in vendor.requests("POST /people/3/events")]
    assert f"00-{TRACE}-{way[-1].id}-01" in told

    said = [orjson.loads(line) for line in worker.said().splitlines()]
    (line,) = (one for one in said if one.get("check_id") == "q1")
    assert (line["message"], line["trace_id"]) == ("refused: INSUFFICIENT_POINTS", "b" * 32)

    drawn = await asyncio.to_thread(_loy, "trace", "s1", "--from", str(tmp_path))
    places = [drawn.index(f"{name} ") for name in STAGES]
    assert places == sorted(places)
    print(drawn)  # noqa: T201  # pytest shows it when the test failed


def _loy(*words):
    command = [sys.executable, "-m", "streams", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def _spans(folder):
    return [span for span in read(folder) if span.trace == TRACE]


def _way(known, span):
    """From the till to a span: each cause before its effect."""
    way = [span]
    while way[0].parent in known:
        way.insert(0, known[way[0].parent])
    return way
