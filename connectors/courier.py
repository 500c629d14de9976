"""The courier: drives a sink's flows over HTTP. The only file of the connectors that does network I/O.

Law: `deliver` returns when every item is delivered or rejected, and not before; whatever else happens (limits, faults, a vendor
down for days, credentials revoked) is waited for. So a caller that commits afterwards loses nothing.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar

import httpx

from connectors.delivery import Again, Delivered, Halt, Item, Outcome, Rejected, Split
from connectors.sink import Answer, Call, Lost, Queueing, Reply, Sink

R = TypeVar("R")
OnRejected = Callable[[Item, Rejected], None]
log = logging.getLogger(__name__)
RETRY_AFTER_MAX = 300.0
BACKOFF_MAX = 60.0
HALT_PROBE = 30.0
"""While credentials or configuration are wrong, try again so often."""
EASE_PACED = 5.0
"""Where a vendor only counts calls in seconds, a few seconds of half the rate are over it."""
EASE = 60.0
"""So many seconds at half the rate after a 429 that names no delay, and while the vendor's queue fills up."""
AT_ONCE = 8
"""So many flows at once in one process: vendors count them too, and answers take their time."""
BREAKER_AFTER = 5
"""So many failures in a row open the breaker: one call at a time tries, the rest waits."""
_NEVER_LEFT = (
    httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.LocalProtocolError, httpx.UnsupportedProtocol,
    httpx.ProxyError,
)  # fmt: skip
_OPEN = (Again, Halt, Split)
"""What is not settled yet."""
SLACK = 0.05
"""Seconds by which a turn may come early, so that a late wake-up is not lost at high rates."""


class Observer(Protocol):
    """What the courier tells about itself; a process wires it to its metrics."""

    def called(self, operation: str, status: str, seconds: float) -> None: ...
    def waited(self, operation: str, seconds: float) -> None: ...
    def outcome(self, kind: str, count: int) -> None: ...
    def halted(self, why: str | None) -> None: ...
    def breaker(self, *, is_open: bool) -> None: ...


class Bucket:
    """Paces calls: one each 1/`rate` seconds, whatever was not used before. `rate` may change while it runs.

    No burst is saved up: vendors count in windows of a second, and a full bucket would spend two windows' worth in one.
    """

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.rate = rate
        self.queue = asyncio.Lock()
        """Held while waiting for a turn: after a stall of the process those who wait go one by one, not all at once."""
        self._next = clock()
        self._paused_until = 0.0
        self._eased_until = 0.0

    def reserve(self) -> float:
        """Take the next turn; answers in how many seconds it is."""
        now = self._clock()
        turn = max(now, self._paused_until, self._next - SLACK)
        self._next = max(turn, self._next) + (2 if self._eased_until > now else 1) / self.rate
        return turn - now

    def went(self) -> None:
        """The turn is taken now, later than it was meant when the process stalled: the next one keeps its distance."""
        self._next = max(self._next, self._clock() + (1 - SLACK * self.rate) / self.rate)

    def pause(self, seconds: float) -> None:
        """Nobody calls before so many seconds are over, also those who had their turn before."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def ease(self, seconds: float) -> None:
        """At half the rate for so long."""
        self._eased_until = self._clock() + seconds

    @property
    def paused(self) -> bool:
        return self._paused_until > self._clock()


@dataclass
class Patience:
    """How long to wait and how; tests make it short."""

    backoff_max: float = BACKOFF_MAX
    halt_probe: float = HALT_PROBE
    timeout: float = 30.0
    ease: float = EASE
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Any] = asyncio.sleep
    chance: Callable[[float, float], float] = field(default=random.uniform)

    def backoff(self, attempt: int) -> float:
        """Full jitter over min(60, 2^n) seconds (AWS Architecture Blog, "Exponential Backoff And Jitter")."""
        return self.chance(0, min(self.backoff_max, 2.0**attempt))


class Courier:
    """Delivers items to one vendor. One per process; partitions may deliver side by side."""

    def __init__(self, sink: Sink, client: httpx.AsyncClient, observer: Observer, patience: Patience | None = None) -> None:
        self.sink = sink
        self._client = client
        self._observer = observer
        self._patience = patience or Patience()
        self._buckets = {operation: Bucket(rate, self._patience.clock) for operation, rate in sink.rates.items()}
        self._failures = 0
        self._breaker = asyncio.Lock()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._asking: dict[str, asyncio.Task[Reply]] = {}

    def share(self, part: float) -> None:
        """Use such a part of the account's limits: its partitions over all partitions."""
        for operation, rate in self.sink.rates.items():
            self._buckets[operation].rate = rate * part or 0.01  # of no use to who has no partition

    def limits(self) -> dict[str, float]:
        """Calls a second that each operation may make now."""
        return {operation: bucket.rate for operation, bucket in self._buckets.items()}

    async def prepare(self) -> None:
        """Provision and check the vendor's side; back when it is ready, however long that takes."""
        attempt = 0
        while (problem := await self.run(self.sink.prepare())) is not None:
            if isinstance(problem, Halt):
                await self._halt(problem)
            else:
                await self._rest(problem.after or 0.0, attempt)
                attempt += 1
        self._succeed()

    async def deliver(self, items: Sequence[Item], rejected: OnRejected) -> None:
        """Deliver all; `rejected` is told of each item that the vendor will never take.

        Batches go side by side, but one waits for those before it that hold one of its members.
        """
        latest: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            for batch in self.sink.batches(items):
                members = {item.person.loyalty_id for item in batch}
                before = {latest[member] for member in members if member in latest}
                latest |= dict.fromkeys(members, group.create_task(self._deliver_after(before, batch, rejected)))

    async def _deliver_after(self, before: set[asyncio.Task[None]], batch: Sequence[Item], rejected: OnRejected) -> None:
        if before:
            await asyncio.wait(before)
        await self._deliver(batch, rejected)

    async def _deliver(self, batch: Sequence[Item], rejected: OnRejected) -> None:
        attempt, tries = 0, Counter[int]()
        while batch:
            async with self._places:
                answered = await self.run(self.sink.flow(batch))
            outcomes = [
                _weary(item, outcome, tries) if isinstance(outcome, Again) else outcome
                for item, outcome in zip(batch, answered, strict=True)
            ]
            halt, split, wait = self._take(batch, outcomes, rejected)
            batch = [item for item, outcome in zip(batch, outcomes, strict=True) if isinstance(outcome, _OPEN)]
            if halt is not None:
                await self._halt(halt)
            elif split is not None:
                await self._halve(batch, split, rejected)
                return
            elif batch:
                await self._rest(wait, attempt)
                attempt += 1
        self._succeed()

    def _take(
        self, batch: Sequence[Item], outcomes: Sequence[Outcome], rejected: OnRejected
    ) -> tuple[Halt | None, Split | None, float]:
        """Count and report what is settled; answers what stands in the way of the rest, and how long to wait."""
        halt, split, wait, counts = None, None, 0.0, Counter[str]()
        for item, outcome in zip(batch, outcomes, strict=True):
            match outcome:
                case Delivered():
                    counts["delivered"] += 1
                    for note in outcome.notes:
                        counts[note] += 1
                case Rejected():
                    self._reject(item, outcome, rejected)
                case Again():
                    wait = max(wait, outcome.after or 0.0)
                    counts["unknown" if outcome.unknown else "again"] += 1
                case Split():
                    split = outcome
                case Halt():
                    halt = outcome
        for kind, count in counts.items():
            self._observer.outcome(kind, count)
        return halt, split, wait

    async def _halve(self, batch: Sequence[Item], split: Split, rejected: OnRejected) -> None:
        """Find the item that the vendor refuses a whole batch for."""
        if len(batch) == 1:
            self._reject(batch[0], Rejected(split.code, split.words), rejected)
            return
        middle = len(batch) // 2
        await self._deliver(batch[:middle], rejected)
        await self._deliver(batch[middle:], rejected)

    def _reject(self, item: Item, why: Rejected, rejected: OnRejected) -> None:
        self._observer.outcome("rejected", 1)
        rejected(item, why)

    # ------------------------------------------------------------ driving a flow

    async def run(self, flow: Generator[Call, Reply, R]) -> R:
        """Drive a flow to its end."""
        try:
            call = next(flow)
            while True:
                call = flow.send(await self._call(call))
        except StopIteration as end:
            result: R = end.value
            return result

    async def _call(self, call: Call) -> Reply:
        return await (self._shared(call) if call.secret else self._send(call))

    async def _shared(self, call: Call) -> Reply:
        """One answer for all who ask for the same token at the same time."""
        asking = self._asking.get(call.path)
        if asking is None:
            asking = self._asking[call.path] = asyncio.create_task(self._send(call))
            asking.add_done_callback(lambda _: self._asking.pop(call.path))
        return await asyncio.shield(asking)

    async def _send(self, call: Call) -> Reply:
        await self._turn(call.operation)
        if self._failures >= BREAKER_AFTER:
            async with self._breaker:
                return await self._request(call)
        return await self._request(call)

    async def _turn(self, operation: str) -> None:
        """Wait for the limit, and for what the vendor asked us to wait."""
        bucket = self._buckets[operation]
        async with bucket.queue:
            while (wait := bucket.reserve()) > 0:
                self._observer.waited(operation, wait)
                await self._patience.sleep(wait)
                if not bucket.paused:
                    break
            bucket.went()

    async def _request(self, call: Call) -> Reply:
        began, content = self._patience.clock(), call.content()
        try:
            response = await self._client.request(
                call.method,
                self._url(call),
                content=content,
                headers=self._headers(call, content),
                timeout=self._patience.timeout,
                extensions={"operation": call.operation},  # for whoever watches the client
            )
        except _NEVER_LEFT as failure:
            return self._lost(call, failure, began, sent=False)
        except httpx.HTTPError as failure:
            return self._lost(call, failure, began, sent=True)
        answer = Answer(response.status_code, _lower(response.headers), response.content, self._retry_after(response))
        self._observer.called(call.operation, str(answer.status), self._patience.clock() - began)
        self._keep_measure(self._buckets[call.operation], answer)
        return answer

    def _keep_measure(self, bucket: Bucket, answer: Answer) -> None:
        """Wait as the vendor asks, and go slower where it only says that it is too much."""
        if answer.retry_after and answer.status in (429, 503):
            bucket.pause(answer.retry_after)
        elif answer.status == 429 or self._crowded(answer):
            bucket.ease(self._patience.ease if isinstance(self.sink, Queueing) else min(self._patience.ease, EASE_PACED))

    def _crowded(self, answer: Answer) -> bool:
        """The vendor's queue is nearly full."""
        if not isinstance(self.sink, Queueing):
            return False
        header, least = self.sink.room
        room = answer.headers.get(header, "")
        return room.isdecimal() and int(room) < least

    def _lost(self, call: Call, failure: httpx.HTTPError, began: float, *, sent: bool) -> Lost:
        self._observer.called(call.operation, "lost", self._patience.clock() - began)
        return Lost(type(failure).__name__, sent)

    def _url(self, call: Call) -> str:
        if call.path.startswith("http"):
            return call.path
        return self.sink.base_url.rstrip("/") + call.path if call.path else self.sink.base_url

    def _headers(self, call: Call, content: bytes | None) -> dict[str, str]:
        kind = {} if content is None else {"content-type": "application/json"}
        own = {} if call.path.startswith("http") else self.sink.headers()  # what opens one door is not shown at another
        stamp = call.stamp(int(self._patience.wall()), content or b"") if call.stamp else {}
        return {"accept": "application/json", **kind, **own, **call.headers, **stamp}

    def _retry_after(self, response: httpx.Response) -> float | None:
        value = response.headers.get("retry-after")
        if value is None:
            return None
        try:
            seconds = float(value)
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - self._patience.wall()
            except (ValueError, OverflowError):
                return None
        return min(RETRY_AFTER_MAX, max(0.0, seconds))

    # ------------------------------------------------------------ bad times

    async def _rest(self, wait: float, attempt: int) -> None:
        """After a failure: at least what the vendor asked for, and jitter, so that not all come back at once."""
        self._fail()
        await self._patience.sleep(wait + self._patience.backoff(attempt))

    def _fail(self) -> None:
        self._failures += 1
        if self._failures == BREAKER_AFTER:
            log.warning("%s: %d failures in a row; one call at a time from now on", self.sink.name, self._failures)
            self._observer.breaker(is_open=True)

    def _succeed(self) -> None:
        self._observer.halted(None)
        if self._failures >= BREAKER_AFTER:
            self._observer.breaker(is_open=False)
        self._failures = 0

    async def _halt(self, problem: Halt) -> None:
        """Say it once, loudly, and try again from time to time."""
        self._observer.halted(problem.why)
        await self._patience.sleep(self._patience.halt_probe)


def _weary(item: Item, outcome: Again, tries: Counter[int]) -> Outcome:
    """An item that failed by itself often enough is rejected."""
    if outcome.at_most is None:
        return outcome
    tries[id(item)] += 1
    return outcome if tries[id(item)] < outcome.at_most else Rejected("GIVEN_UP", f"{outcome.at_most} attempts: {outcome.why}")


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
