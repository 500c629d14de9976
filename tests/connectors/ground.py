"""The ground every sink is tested on: members and events to deliver, a sandbox to deliver to, ears that hear what became of it."""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path

import httpx
import orjson

from connectors import registry, sandbox
from connectors.courier import Courier, Patience
from connectors.delivery import Happening, Person, ProfileChange
from schemas.codec import encode
from schemas.events import EVENTS
from schemas.members import Contact

EXAMPLES = Path("schemas/examples/loy.events")
NUMBERS = itertools.count(1)
DEADLINE = 20.0
SOON = {"backoff_max": 0.02, "halt_probe": 0.05, "timeout": 1.0}


@cache
def example(kind):
    """`data` of a valid event of that type, with a profile."""
    for path in sorted((EXAMPLES / kind / "valid").glob("*.json")):
        data = orjson.loads(path.read_bytes())["data"]
        if data["profile"] is not None:
            return data
    raise AssertionError(f"no example of {kind} has a profile")


PROFILE = example("LOY_POINT_ACCRUAL")["profile"]
CONTACT = {"first_name": "Ann", "last_name": "Lee", "zip_code": "SW1A 1AA", "birthday": "1990-05-14"}


def contact_of(member, **parts):
    """Contact data that no other member has."""
    number = int.from_bytes(member.encode()[-6:]) % 10**9
    own = {"email": f"{member.lower()}@example.com", "phone": f"+447{number:09d}"}
    return orjson.loads(encode(Contact.model_validate_json(orjson.dumps({**CONTACT, **own, **parts}))))


def person(member, *, contact=True, version=1, **fields):
    """A member; `fields` change the profile."""
    known = contact_of(member) if contact is True else contact
    return person_of(member, known, {**PROFILE, "loyalty_id": member, **fields}, version)


def person_of(member, contact, profile, version=0):
    """A member of plain JSON values."""
    value = b"" if contact is None else orjson.dumps({"contact": contact})
    return Person(member, value, orjson.dumps(profile), version)


def change(member, *, urgent=False, erased=False, first=False, moved=False, **fields):
    """A profile change."""
    return ProfileChange(person(member, **fields), urgent, erased, first, moved)


def happening(member, kind="LOY_POINT_ACCRUAL", *, number=None, at=None, data=None, **fields):
    """An event of now, unless `at` says otherwise, with an id as the ledger makes them."""
    number = next(NUMBERS) if number is None else number
    at = at or datetime.now(UTC) - timedelta(seconds=1)
    who = person(member, version=number, **fields)
    own = {"offer": f"offer-{number}"} if kind == "LOY_OFFER_RESULT" else {}
    body = {**example(kind), **own, "profile": who.profile, "occurred_at": at.isoformat(), **(data or {})}
    return Happening(who, f"{member}/B-1/1/20260314/{number:06d}/{number}", kind, body["occurred_at"], told(body))


def told(data):
    """The event with such data, as far as a sink reads it."""
    return orjson.dumps({"data": data})


class Ears:
    """Hears what a courier tells about itself."""

    def __init__(self):
        self.calls = Counter()
        self.waits = Counter()
        self.outcomes = Counter()
        self.halts = []
        self.breakers = []

    def called(self, operation, status, seconds):
        self.calls[operation, status] += 1

    def waited(self, operation, seconds):
        self.waits[operation] += seconds

    def outcome(self, kind, count):
        self.outcomes[kind] += count

    def halted(self, why):
        if why is not None or (self.halts and self.halts[-1] is not None):
            self.halts.append(why)

    def breaker(self, *, is_open):
        self.breakers.append(is_open)


@dataclass(frozen=True)
class Bench:
    """How the suite tries one sink, or one adapter of it."""

    sink: str
    sandbox: str
    environment: Callable[[str], Mapping[str, str]]
    """By the sandbox's base URL: the sink's settings, with limits that do not slow the tests."""
    key: Callable[[object, Happening], str] = lambda _, happening: happening.event_id
    """What `Seen.key` of a happening is."""
    readable: bool = True
    """Whether the vendor can be read for `loy reconcile`."""
    takes: Callable[[str], bool] = lambda _: True
    """Which of the sink's events are delivered one by one as events; others the vendor keeps elsewhere."""


def event_id_of(ground, ours):
    """What the vendor knows an event by whose id is ours."""
    return ground.bench.key(None, Happening(person("H-1"), ours, "LOY_POINT_ACCRUAL", "", told({})))


@dataclass
class Ground:
    """A sink beside its vendor's sandbox."""

    bench: Bench
    sandbox: sandbox.Sandbox
    url: str
    client: httpx.AsyncClient
    ears: Ears = field(default_factory=Ears)
    rejected: list = field(default_factory=list)
    patience: dict = field(default_factory=lambda: dict(SOON))
    settings: dict = field(default_factory=dict)

    def sink(self):
        return registry.SINKS[self.bench.sink]({**self.bench.environment(self.url), **self.settings})

    def courier(self, sink=None):
        return Courier(sink or self.sink(), self.client, self.ears, Patience(**self.patience))

    async def deliver(self, *items, courier=None, prepare=True):
        """Deliver as the worker does; what was rejected comes back, in order."""
        courier = courier or self.courier()
        self.rejected = []
        async with asyncio.timeout(DEADLINE):
            if prepare:
                await courier.prepare()
            await courier.deliver(items, lambda item, why: self.rejected.append((item, why)))
        assert not self.sandbox.bugs
        return self.rejected

    def keys(self, member=None):
        """Keys of the events that arrived, in order."""
        return [seen.key for seen in self.sandbox.events() if member in (None, seen.member)]

    def key(self, one):
        return self.bench.key(self._knows_keys, one)

    @cached_property
    def _knows_keys(self):
        return self.sink()

    async def ordered(self, **fault):
        """Order a fault over HTTP, as people do."""
        answer = await self.client.post(f"{self.url}/_faults", json=fault)
        assert answer.status_code == 200, answer.text


@contextlib.asynccontextmanager
async def ground(bench, *, limited=False, clock="wall", **parts):
    """The bench's sandbox, served; without its rates unless asked for."""
    served = sandbox.SANDBOXES[bench.sandbox](clock, limited=limited, **parts)
    limits = httpx.Limits(max_connections=20, max_keepalive_connections=20)
    async with sandbox.running(served) as url, httpx.AsyncClient(limits=limits) as client:
        yield Ground(bench, served, url, client)


async def until(condition, what="the condition"):
    """Wait until it holds."""
    end = time.monotonic() + DEADLINE
    while True:
        if condition():
            return
        assert time.monotonic() < end, f"waited in vain for {what}"
        await asyncio.sleep(0.01)


def event_types(sink) -> Iterator[str]:
    """Every LOY_ event the sink sends, in the catalogue's order."""
    return (kind for kind in EVENTS if kind in sink.events)
