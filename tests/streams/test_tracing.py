"""One trace from till to sink: headers that travel, spans that follow from each other, and nothing at all when it is off."""

import re
from functools import partial

import httpx
import orjson
import pytest
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import format_span_id, format_trace_id

from schemas.topics import CHECKS, COMMANDS, DEAD_LETTERS, EVENTS, MEMBER_COMMANDS, REPLIES
from streams import metrics, tracing
from streams.metrics import measuring
from streams.tracing import spans as made
from tests.builders import START, earning, program
from tests.streams.agent_world import NOW_MS, AgentWorld, of
from tests.streams.traced_world import CARD, PARENT, SPAN, TRACE, switch_on
from tests.tills import opt_in, sale


@pytest.fixture
def on(monkeypatch):
    """`on(sampler)` switches tracing on for the test."""
    return partial(switch_on, monkeypatch)


@pytest.fixture
async def world():
    world = AgentWorld(program(earning=earning()))
    await world.through(MEMBER_COMMANDS, ("H-1", opt_in("H-1", START, CARD)))
    return world


def check(number="s1", headers=(PARENT,), at_ms=NOW_MS):
    return CARD, sale(number, [3000], START, CARD), at_ms, headers


def carried(record):
    """(trace, span) that a record carries, or None."""
    found = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[13]", dict(record.headers).get("traceparent", b"").decode())
    return found and found.groups()


def ids(span):
    return format_trace_id(span.context.trace_id), format_span_id(span.context.span_id)


# ---------------------------------------------------------------- off


async def test_off_nothing_but_the_tills_time_travels_and_no_span_is_made(world):
    sent = await world.through(CHECKS, check(headers=(("sent-at", b"77"), PARENT)))
    assert {name for record in sent for name, _ in record.headers} == {"sent-at", "written-at", "origin", "outcome"}
    batch = world.batch(CHECKS, check())
    assert tracing.begin("intake", batch)[0] is batch
    assert type(tracing.begin("intake", batch)[1]) is metrics.Meter
    async with tracing.client(httpx.Limits()) as client:
        assert type(client) is httpx.AsyncClient


async def test_on_and_off_write_the_same_values(world, on):
    plain = await world.through(CHECKS, check("s1"), check("s1"), check("s2", headers=()))
    other = AgentWorld(program(earning=earning()))
    await other.through(MEMBER_COMMANDS, ("H-1", opt_in("H-1", START, CARD)))
    on()
    traced = await other.through(CHECKS, check("s1"), check("s1"), check("s2", headers=()))
    assert [(one.topic, one.key, one.value, one.timestamp_ms) for one in traced] == [
        (one.topic, one.key, one.value, one.timestamp_ms) for one in plain
    ]
    assert other.rows == world.rows


# ---------------------------------------------------------------- the way of a trace


async def test_the_tills_trace_goes_on_through_every_record_and_each_stage_follows_from_the_one_before(world, on):
    traced = on()
    now = measuring.time.time_ns() // 1_000_000
    sent = await world.through(CHECKS, check(headers=(("sent-at", b"%d" % (now - 40)), PARENT), at_ms=now - 30))
    assert traced.names() == [
        "send pos.checks",
        "wait pos.checks",
        "process pos.checks",
        "wait loy.commands",
        "send loy.commands",
        "process loy.commands",
        "send loy.events, pos.replies",
    ]
    assert {ids(span)[0] for span in traced.spans} == {TRACE}
    causes = {span.name: format_span_id(span.parent.span_id) for span in traced.spans}
    own = {span.name: ids(span)[1] for span in traced.spans}
    assert causes == {
        "send pos.checks": SPAN,
        "wait pos.checks": own["send pos.checks"],
        "process pos.checks": own["wait pos.checks"],
        "send loy.commands": own["process pos.checks"],
        "wait loy.commands": own["process pos.checks"],
        "process loy.commands": own["wait loy.commands"],
        "send loy.events, pos.replies": own["process loy.commands"],
    }
    took = {span.name: (span.end_time - span.start_time) / 1e6 for span in traced.spans}
    assert took["send pos.checks"] == 10
    assert 29 < took["wait pos.checks"] < 5_000
    (command,) = of(sent, COMMANDS)
    assert carried(command) == (TRACE, own["process pos.checks"])
    for record in (*of(sent, EVENTS), *of(sent, REPLIES)):
        assert carried(record) == (TRACE, own["process loy.commands"])


async def test_spans_speak_as_opentelemetry_does_and_name_the_check_and_nobody(world, on):
    traced = on()
    await world.through(CHECKS, check())
    about = dict(traced.span("process pos.checks").attributes)
    assert about.pop("messaging.kafka.offset") > 0
    assert about == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "pos.checks",
        "messaging.destination.partition.id": "3",
        "messaging.consumer.group.name": "loy",
        "messaging.message.conversation_id": "s1",
        "loy.stage": "intake",
    }
    assert traced.span("process loy.commands").attributes["messaging.message.conversation_id"] == "s1"
    said = str([(span.name, dict(span.attributes)) for span in traced.spans])
    assert "ABC123" not in said
    assert "H-1" not in said


async def test_a_check_without_a_trace_begins_one_at_the_door_as_often_as_the_sampler_says(world, on):
    traced = on()
    sent = await world.through(CHECKS, check("s1", headers=()), check("s2", headers=()))
    assert len({ids(span)[0] for span in traced.spans}) == 2
    assert len({carried(record) for record in of(sent, COMMANDS)}) == 2
    on(ParentBased(TraceIdRatioBased(0)))
    sent = await world.through(CHECKS, check("s3", headers=()))
    assert [carried(record) for record in sent] == [None] * len(sent)
    assert not any("traceparent" in dict(record.headers) for record in sent)


async def test_a_trace_that_the_till_does_not_want_is_carried_and_not_traced(world, on):
    traced = on()
    unwanted = ("traceparent", f"00-{TRACE}-{SPAN}-00".encode())
    sent = await world.through(CHECKS, check(headers=(unwanted,)))
    assert unwanted in of(sent, REPLIES)[0].headers
    assert traced.spans == []


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"nonsense",
        f"00-{TRACE}-{SPAN}".encode(),
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE.upper()}-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}-01-more".encode(),
        b"\xff" * 55,
        b"x" * 10_000,
        None,
    ],
)
async def test_what_is_no_traceparent_is_ignored_and_goes_no_further(world, on, header, caplog):
    traced = on(ParentBased(TraceIdRatioBased(0)))
    sent = await world.through(CHECKS, check(headers=(("traceparent", header), ("tracestate", b"\xff=,,="))))
    assert len(of(sent, REPLIES)) == 1
    assert not any("traceparent" in dict(record.headers) for record in sent)
    assert traced.spans == []
    assert caplog.text == ""


async def test_the_tills_tracestate_travels_behind_our_own_entry(world, on):
    on()
    sent = await world.through(CHECKS, check(headers=(PARENT, ("tracestate", b"shop=abc,loy=1"))))
    for record in (*of(sent, COMMANDS), *of(sent, REPLIES)):
        assert re.fullmatch(rb"loy=\d{16},shop=abc", dict(record.headers)["tracestate"])
    sent = await world.through(CHECKS, check("s2", headers=(PARENT, ("tracestate", b"a=" + b"x" * 600))))
    assert re.fullmatch(rb"loy=\d{16}", dict(of(sent, REPLIES)[0].headers)["tracestate"])


async def test_in_a_replay_kafkas_time_is_not_taken_for_waiting(world, on):
    traced = on()
    await world.through(CHECKS, check())
    assert "wait pos.checks" not in traced.names()
    traced.clear()
    now = measuring.time.time_ns() // 1_000_000
    await world.through(CHECKS, check("s2", headers=(("sent-at", b"%d" % (now - 50)), PARENT)))
    waited = traced.span("wait pos.checks")
    assert 49 < (waited.end_time - waited.start_time) / 1e6 < 5_000


async def test_a_repeat_is_answered_the_same_under_its_own_trace(world, on):
    on()
    first = await world.through(CHECKS, check(headers=()))
    again = await world.through(CHECKS, check(headers=(PARENT,)))
    assert [one.value for one in of(first, REPLIES)] == [one.value for one in of(again, REPLIES)]
    assert carried(of(again, REPLIES)[0])[0] == TRACE
    assert carried(of(first, REPLIES)[0])[0] != TRACE


async def test_a_dead_letter_keeps_its_trace(world, on):
    on()
    (letter,) = of(await world.take(CHECKS, (CARD, b"{", NOW_MS, (PARENT,))), DEAD_LETTERS)
    assert carried(letter)[0] == TRACE


async def test_latency_at_every_stage_has_the_trace_as_its_exemplar(world, on):
    traced = on()
    batch, meter = tracing.begin("ledger", world.batch(COMMANDS, ("H-1", b"{}", NOW_MS, (PARENT,))))
    assert metrics.trace_of(batch.records[0].headers) == TRACE
    meter.stop()
    assert traced.names() == ["process loy.commands"]


# ---------------------------------------------------------------- the vendor


async def test_a_delivery_of_many_links_to_all_of_them_and_its_requests_tell_the_vendor(world, on):
    traced = on()
    seen = []

    def vendor(request):
        seen.append(request)
        return httpx.Response(429 if len(seen) == 1 else 200)

    other = ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01".encode())
    records = [
        ("H-1", orjson.dumps({"id": "e", "data": {"cause": name}}), NOW_MS, (head,))
        for name, head in (("s1", PARENT), ("s2", other))
    ]
    _, meter = tracing.begin("sink", world.batch(EVENTS, *records, ("H-2", b"{}")))
    client = made.TracedClient(tracing._tracer, transport=httpx.MockTransport(vendor))
    with meter.delivering("infobip"):
        for _ in range(2):
            await client.post("https://vendor.example/people/H-1?email=a@b.c", extensions={"operation": "events"})
        assert measuring.current_trace() == TRACE
    meter.stop()
    assert measuring.current_trace() is None
    await client.post("https://vendor.example/")  # outside of a delivery

    delivery = traced.span("deliver infobip")
    first, second = (span for span in traced.spans if span.name == "process loy.events")
    assert [first.attributes["messaging.message.conversation_id"], second.attributes["messaging.message.conversation_id"]] == [
        "s1",
        "s2",
    ]
    assert (ids(delivery)[0], delivery.parent.span_id) == (TRACE, first.context.span_id)
    assert [link.context.span_id for link in delivery.links] == [second.context.span_id]
    assert delivery.attributes["messaging.batch.message_count"] == 3
    requests = [span for span in traced.spans if span.name == "POST events"]
    assert [dict(span.attributes) for span in requests] == [
        {"http.request.method": "POST", "server.address": "vendor.example", "http.response.status_code": status}
        for status in (429, 200)
    ]
    assert [span.status.is_ok for span in requests] == [False, True]
    assert {span.parent.span_id for span in requests} == {delivery.context.span_id}
    told = [request.headers.get("traceparent") for request in seen]
    assert told == [*("00-" + "-".join(ids(span)) + "-01" for span in requests), None]


async def test_a_request_that_is_lost_says_how(world, on):
    traced = on()

    def nobody(request):
        raise httpx.ConnectError("no such host as ann@example.com")

    _, meter = tracing.begin("sink", world.batch(EVENTS, ("H-1", b"{}", NOW_MS, (PARENT,))))
    client = made.TracedClient(tracing._tracer, transport=httpx.MockTransport(nobody))
    with meter.delivering("infobip"), pytest.raises(httpx.ConnectError):
        await client.get("https://vendor.example/")
    request = traced.span("GET")
    assert (request.attributes["error.type"], request.status.is_ok) == ("ConnectError", False)
    assert not request.events
    assert request.status.description is None
