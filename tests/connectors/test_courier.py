"""The courier's promises, on a clock that nobody waits for: limits, delays, patience, and the bad item of sixty-four."""

import asyncio
import heapq
import itertools
from collections import Counter
from datetime import UTC, datetime
from email.utils import format_datetime

import httpx
import pytest

from connectors.courier import BREAKER_AFTER, RETRY_AFTER_MAX, Bucket, Courier, Patience
from connectors.delivery import Again, Delivered, Halt, Rejected, Split
from connectors.sink import Answer, Call, Lost, chunks, classify
from tests.connectors.ground import Ears, change

pytestmark = pytest.mark.timeout(30)


class Time:
    """Moves on only when everybody sleeps."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []
        self._sleepers = []
        self._order = itertools.count()

    def clock(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        done = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), done))
        await done

    async def run(self, work):
        """Run to the end, time moving on by itself."""
        task = asyncio.ensure_future(work)
        while not task.done():
            for _ in range(30):
                await asyncio.sleep(0)
            if not task.done() and self._sleepers:
                self.now, _, sleeper = heapq.heappop(self._sleepers)
                if not sleeper.done():
                    sleeper.set_result(None)
        return task.result()

    def patience(self, **parts):
        return Patience(clock=self.clock, wall=self.clock, sleep=self.sleep, chance=lambda _low, high: high, **parts)


class Vendor:
    """Answers what it is told to; notes when it was asked."""

    def __init__(self, time, *answers):
        self.time = time
        self.answers = list(answers)
        self.asked = []
        self.at_once = 0
        self.most_at_once = 0

    async def __call__(self, request):
        self.asked.append((self.time.now, request))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        return httpx.Response(status, headers=headers, text="words")

    @property
    def times(self):
        return [at for at, _ in self.asked]


class Simple:
    """A sink of one call for each batch of ten; items named BAD spoil their batch."""

    name = "simple"
    base_url = "http://vendor"
    events = frozenset()

    def __init__(self, rate=10.0, size=10, read=None):
        self.rates = {"push": rate, "other": rate}
        self._size = size
        self._read = read or (lambda reply, batch: [classify(reply) or Delivered()] * len(batch))
        self.flows = []

    def headers(self):
        return {"authorization": "secret"}

    def prepare(self):
        reply = yield Call("push", "GET", "/ready")
        problem = classify(reply)
        return problem if isinstance(problem, Halt | Again) else None

    def batches(self, items):
        return chunks(items, self._size)

    def flow(self, batch):
        self.flows.append([item.person.loyalty_id for item in batch])
        reply = yield Call("push", "POST", "/push", json=self.flows[-1])
        return self._read(reply, batch)


class Rig:
    """A courier of a sink, a vendor and a clock."""

    def __init__(self, *answers, sink=None, **patience):
        self.time = Time()
        self.vendor = Vendor(self.time, *answers)
        self.sink = sink or Simple()
        self.ears = Ears()
        self.rejected = []
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.vendor))
        self.courier = Courier(self.sink, client, self.ears, self.time.patience(**patience))

    def deliver(self, *members):
        items = [change(member) for member in members]
        return self.time.run(self.courier.deliver(items, lambda item, why: self.rejected.append((item.person.loyalty_id, why))))


def names(count, prefix="H"):
    return [f"{prefix}-{n}" for n in range(count)]


# ---------------------------------------------------------------- limits


async def test_calls_keep_the_rate_from_the_first_second_on():
    rig = Rig(sink=Simple(rate=4, size=1))
    await rig.deliver(*names(40))
    times = rig.vendor.times
    assert len(times) == 40
    for start in times:
        assert sum(start <= at < start + 1 for at in times) <= 5
    assert times[-1] - times[0] == pytest.approx(39 / 4, abs=0.1)
    assert rig.ears.waits["push"] > 0


def test_what_was_not_used_is_not_saved_up():
    time = Time()
    bucket = Bucket(4, time.clock)
    time.now += 60
    waits = [bucket.reserve() for _ in range(5)]
    assert waits == pytest.approx([0, 0.2, 0.45, 0.7, 0.95])


def test_a_wake_up_that_comes_late_does_not_lower_a_high_rate():
    time = Time()
    bucket = Bucket(100, time.clock)
    calls = 0
    while time.now < 1010:
        if bucket.reserve() == 0:
            calls += 1
        else:
            time.now += 0.013
            calls += 1
    assert calls == pytest.approx(1000, rel=0.02)


async def test_a_share_of_the_partitions_is_a_share_of_the_limit():
    rig = Rig(sink=Simple(rate=4, size=1))
    rig.courier.share(1 / 4)
    await rig.deliver(*names(5))
    assert rig.vendor.times[-1] - rig.vendor.times[0] == pytest.approx(4, abs=0.2)


def test_twelve_workers_together_keep_a_limit_of_six_a_minute():
    courier = Rig(sink=Simple(rate=0.1)).courier
    courier.share(1 / 12)
    assert sum(courier.limits()["push"] for _ in range(12)) == pytest.approx(0.1)
    courier.share(0)  # nothing is delivered by who has no partition
    assert courier.limits()["push"] > 0


# ---------------------------------------------------------------- delays that the vendor asks for


def test_an_answer_nested_without_end_is_no_answer():
    assert Answer(200, {}, b"[" * 100_000).json() is None


async def test_the_delay_asked_for_in_seconds_is_kept_with_jitter_on_top():
    rig = Rig((429, {"retry-after": "7"}), sink=Simple(rate=1000))
    await rig.deliver("H-1")
    first, second = rig.vendor.times
    assert second - first == pytest.approx(8.0, abs=0.1)  # jitter of the first attempt is at most a second


async def test_the_delay_asked_for_as_a_date_is_kept():
    date = format_datetime(datetime.fromtimestamp(1012, UTC), usegmt=True)
    rig = Rig((503, {"retry-after": date}), sink=Simple(rate=1000))
    await rig.deliver("H-1")
    assert rig.vendor.times[1] >= 1012


@pytest.mark.parametrize("value", ["soon", "", "-5", "Sun, 99 Nov", "Wed, 21 Oct 2015 07:28:00 +9999999999999999"])
async def test_a_delay_that_cannot_be_read_is_none(value):
    rig = Rig((429, {"retry-after": value}))
    await rig.deliver("H-1")
    assert rig.ears.outcomes["delivered"] == 1


async def test_no_delay_is_longer_than_five_minutes():
    rig = Rig((429, {"retry-after": "86400"}))
    await rig.deliver("H-1")
    assert rig.vendor.times[1] - rig.vendor.times[0] <= RETRY_AFTER_MAX + 1


async def test_a_pause_holds_for_everybody_and_nobody_bursts_afterwards():
    rig = Rig((429, {"retry-after": "10"}), sink=Simple(rate=4, size=1))
    await rig.deliver(*names(12))
    refused = rig.vendor.times[0]
    later = [at for at in rig.vendor.times[1:] if at > refused]
    assert min(later) >= refused + 10
    for start in later:
        assert sum(start <= at < start + 1 for at in later) <= 5


# ---------------------------------------------------------------- patience


async def test_waits_grow_to_a_minute_and_no_further():
    rig = Rig(*[503] * 12, sink=Simple(rate=1000))
    await rig.deliver("H-1")
    waits = [wait for wait in rig.time.slept if wait >= 1]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]


def test_jitter_is_full():
    drawn = [Patience().backoff(3) for _ in range(200)]
    assert min(drawn) < 1.5
    assert max(drawn) > 6.5
    assert max(drawn) <= 8


async def test_the_breaker_opens_and_closes_once_and_everything_arrives():
    rig = Rig(*[503] * 60, sink=Simple(rate=1000, size=1))
    await rig.deliver(*names(8))
    assert rig.ears.breakers == [True, False]
    assert rig.ears.outcomes["delivered"] == 8
    assert rig.ears.outcomes["again"] == 60


async def test_with_the_breaker_open_the_vendor_sees_one_call_at_a_time():
    rig = Rig(*[503] * 100, sink=Simple(rate=1000, size=1))
    rig.courier._failures = BREAKER_AFTER
    await rig.deliver(*names(8))
    assert rig.vendor.most_at_once == 1


@pytest.mark.parametrize("failure", [httpx.ReadTimeout("t"), httpx.ReadError("cut"), httpx.RemoteProtocolError("gone")])
async def test_an_answer_that_was_lost_is_the_third_outcome_and_sent_again(failure):
    rig = Rig(failure)
    await rig.deliver("H-1", "H-2")
    assert rig.ears.outcomes == {"unknown": 2, "delivered": 2}
    assert rig.ears.calls["push", "lost"] == 1


@pytest.mark.parametrize(
    "failure", [httpx.ConnectError("refused"), httpx.ConnectTimeout("t"), httpx.PoolTimeout("t"), httpx.LocalProtocolError("x")]
)
async def test_what_never_left_is_sent_again_and_not_counted_as_unknown(failure):
    rig = Rig(failure)
    await rig.deliver("H-1")
    assert rig.ears.outcomes == {"again": 1, "delivered": 1}


# ---------------------------------------------------------------- stopping


async def test_refused_credentials_stop_it_until_they_work_again_and_lose_nothing():
    rig = Rig(*[401] * 5, halt_probe=30.0)
    await rig.deliver(*names(3))
    assert rig.ears.outcomes == {"delivered": 3}
    assert [halt is None for halt in rig.ears.halts] == [False] * 5 + [True]
    assert rig.vendor.times[-1] - rig.vendor.times[0] == pytest.approx(150, abs=1)
    assert rig.rejected == []


async def test_preparing_waits_for_a_vendor_that_is_down_without_an_alert():
    rig = Rig(503, 503, httpx.ConnectError("refused"))
    await rig.time.run(rig.courier.prepare())
    assert rig.ears.halts == []
    assert len(rig.vendor.asked) == 4


async def test_preparing_stops_for_a_wrong_configuration_and_goes_on_when_it_is_right():
    rig = Rig(403, 403, 200)
    await rig.time.run(rig.courier.prepare())
    assert [halt is None for halt in rig.ears.halts] == [False, False, True]


# ---------------------------------------------------------------- refused batches and items


def refuses(*bad):
    """Answers Split for a batch with a bad member."""

    def read(_, batch):
        spoilt = any(item.person.loyalty_id in bad for item in batch)
        return [Split("400", "one of them is wrong") if spoilt else Delivered()] * len(batch)

    return read


@pytest.mark.parametrize("bad", range(0, 64, 7))
async def test_halving_finds_the_bad_one_of_sixty_four(bad):
    rig = Rig(sink=Simple(rate=1000, size=64, read=refuses(f"H-{bad}")))
    await rig.deliver(*names(64))
    assert rig.rejected == [(f"H-{bad}", Rejected("400", "one of them is wrong"))]
    assert rig.ears.outcomes == {"delivered": 63, "rejected": 1}
    assert len(rig.sink.flows) == 13


async def test_halves_keep_the_order():
    rig = Rig(sink=Simple(rate=1000, size=16, read=refuses("H-5", "H-6")))
    await rig.deliver(*names(16))
    delivered = [flow for flow in rig.sink.flows if not {"H-5", "H-6"} & set(flow)]
    assert list(itertools.chain(*delivered)) == [name for name in names(16) if name not in ("H-5", "H-6")]
    assert [name for name, _ in rig.rejected] == ["H-5", "H-6"]


async def test_only_what_is_not_settled_goes_again_and_in_order():
    turns = itertools.count()

    def read(_, batch):
        first = next(turns) == 0
        return [
            Again("later") if first and n % 3 == 0 else Rejected("x", "y") if first and n == 1 else Delivered()
            for n in range(len(batch))
        ]

    rig = Rig(sink=Simple(read=read))
    await rig.deliver(*names(7))
    assert rig.sink.flows == [names(7), ["H-0", "H-3", "H-6"]]
    assert rig.rejected == [("H-1", Rejected("x", "y"))]
    assert rig.ears.outcomes == {"again": 3, "delivered": 6, "rejected": 1}


async def test_an_item_that_fails_by_itself_is_given_up_and_counts_only_its_own_failures():
    turns = itertools.count()

    def read(_, batch):
        turn = next(turns)
        return [
            Again("not there", at_most=3)
            if item.person.loyalty_id == "H-1" and turn > 1
            else Again("busy")
            if turn < 2
            else Delivered()
            for item in batch
        ]

    rig = Rig(sink=Simple(read=read))
    await rig.deliver("H-0", "H-1", "H-2")
    assert rig.rejected == [("H-1", Rejected("GIVEN_UP", "3 attempts: not there"))]
    assert len(rig.sink.flows) == 5


async def test_batches_of_other_members_do_not_wait_for_a_slow_one():
    def read(_, batch):
        stuck = batch[0].person.loyalty_id == "H-0" and rig.time.now < 1050
        return [Again("busy") if stuck else Delivered()] * len(batch)

    rig = Rig(sink=Simple(rate=1000, size=1, read=read))
    await rig.deliver("H-0", "H-1", "H-0", "H-2")
    order = [flow[0] for flow in rig.sink.flows]
    assert order.index("H-2") < len(order) - 1
    assert order[-1] == "H-0"
    assert Counter(order)["H-0"] > 2
    assert rig.ears.outcomes["delivered"] == 4


# ---------------------------------------------------------------- requests


async def test_the_secret_is_shown_to_the_vendor_and_to_nobody_else():
    rig = Rig()

    def flow(batch):
        yield Call("push", "POST", "/push", json=[])
        yield Call("push", "POST", "http://elsewhere/token", body=b"x", headers={"content-type": "text/plain"})
        return [Delivered()] * len(batch)

    rig.sink.flow = flow
    await rig.deliver("H-1")
    own, other = [request for _, request in rig.vendor.asked]
    assert own.headers["authorization"] == "secret"
    assert own.headers["content-type"] == own.headers["accept"] == "application/json"
    assert str(own.url) == "http://vendor/push"
    assert "authorization" not in other.headers
    assert other.headers["content-type"] == "text/plain"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Lost("x", sent=True), Again),
        (401, Halt),
        (403, Halt),
        (404, Halt),
        (302, Halt),
        (413, Split),
        (400, Split),
        (422, Split),
        (408, Again),
        (425, Again),
        (429, Again),
        (500, Again),
        (502, Again),
        (503, Again),
        (504, Again),
        (599, Again),
        (200, type(None)),
        (207, type(None)),
    ],
)
def test_what_ordinary_answers_mean(reply, kind):
    reply = reply if isinstance(reply, Lost) else Answer(reply, {}, b"<html>")
    assert isinstance(classify(reply), kind)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"{", b"nan and void"])
def test_a_body_that_is_no_json_is_none_and_raises_nothing(body):
    answer = Answer(200, {}, body)
    assert answer.json() is None
    assert isinstance(answer.text(), str)
