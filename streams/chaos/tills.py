"""What the tills and the service desk send in a run, right and wrong: one seed, one list of records to the last byte.

Days pass at the tills while seconds pass on the wall: a run of minutes sees members come back, points end and reservations lapse.
Law: nothing here looks at an answer or at the clock.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Any

import orjson

from schemas.checks import Sale
from schemas.codec import parse_inbound
from schemas.topics import CHECKS, MEMBER_COMMANDS, REDEMPTIONS, Topic
from streams.chaos.oracle import DAY, Rules
from streams.chaos.poison import poisoned
from streams.chaos.schedule import TILLS, Kind
from streams.chaos.shopping import Body, Shopping

RULES = Rules(expiry_months=0, reservation_minutes=4 * 1440, bonus=7, bonus_cap=300)
START = int(datetime(2024, 3, 20, 10, 0, tzinfo=UTC).timestamp())
"""Before a month ends, and with it points."""
SIMULATED_SECONDS = 8640
"""That pass at the tills in a second on the wall."""
RATE = 40
"""Records a second."""
BURST_RECORDS = 100
OUTLETS = 8
JUMPS = (3600, 6 * 3600, 2 * DAY, -3600, -DAY, -10 * DAY, -40 * DAY)
KAFKA_AHEAD_MAX = 10 * DAY
_EVERY = {Kind.SENT_AGAIN: 0.08, Kind.DAYS_LATE: 0.05, Kind.CLOCK_JUMPED: 0.004, Kind.BURST: 0.0012, Kind.POISON: 0.03}
_FIRST = 20  # records without a mishap; then one of each kind, in any case


@dataclass(frozen=True, slots=True)
class Entry:
    """A record on its way to a door."""

    topic: str
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    at_once: bool = False
    """Part of a burst: nobody waits before it is sent."""
    mishap: Kind | None = None


@dataclass(frozen=True, slots=True)
class _Made:
    """Something that happened at a till, not yet sent."""

    topic: Topic
    key: str
    body: Body
    at: int


def card(member: str) -> str:
    """What the member shows at a till."""
    return f"card:{member.replace('-', '')}ABC"


class Tills(Shopping):
    """Makes the records of one run."""

    def __init__(self, seed: int, members: int, only: Kind | None = None) -> None:
        super().__init__(Random(f"{seed} tills"))  # noqa: S311  # to be had again
        self.members = [f"H-{number}" for number in range(1, members + 1)]
        self.mishaps: Counter[Kind] = Counter()
        self._only = only
        self._clock = START
        self._ahead = dict.fromkeys((f"o{number}" for number in range(1, OUTLETS + 1)), 0)
        """By outlet, seconds that its tills' clocks are ahead."""
        self._sales: defaultdict[str, deque[Sale]] = defaultdict(lambda: deque(maxlen=8))
        self._booked: defaultdict[str, deque[str]] = defaultdict(lambda: deque(["none"], maxlen=2))
        self._waiting: defaultdict[str, deque[str]] = defaultdict(lambda: deque(["none"], maxlen=3))
        self._said: deque[_Made] = deque(maxlen=500)
        self._late: list[tuple[int, _Made]] = []

    def joining(self) -> Iterator[Entry]:
        """Every member opts in."""
        for member in self.members:
            body = self._desk("opt_in", f"join-{member}", member, identifiers=[card(member)])
            yield self._entry(_Made(MEMBER_COMMANDS, member, body, self._clock))

    def shopping(self, go_on: Callable[[], bool]) -> Iterator[Entry]:
        """Records for as long as `go_on` says; what is still late comes at the end. Only how many there are is up to it."""
        burst, numbers = 0, count()
        while go_on():
            number = next(numbers)
            self._clock += SIMULATED_SECONDS // RATE
            mishap = self._mishap(number)
            burst = BURST_RECORDS if mishap is Kind.BURST else max(0, burst - 1)
            yield from self._sent(mishap, at_once=burst > 0)
            yield from self._arriving()
        yield from self._arriving(everything=True)

    # ------------------------------------------------------------ what goes wrong

    def _mishap(self, number: int) -> Kind | None:
        wanted = [kind for kind in TILLS if self._only in (None, kind)]
        if number < _FIRST:
            return None
        if number < _FIRST + len(wanted):
            return wanted[number - _FIRST]
        draw = self.random.random()
        for kind in wanted:
            draw -= _EVERY[kind]
            if draw < 0:
                return kind
        return None

    def _sent(self, mishap: Kind | None, *, at_once: bool) -> Iterator[Entry]:
        if mishap is not None:
            self.mishaps[mishap] += 1
        if mishap is Kind.CLOCK_JUMPED:
            self._ahead[self.random.choice(list(self._ahead))] = self.random.choice((0, *JUMPS))
        if mishap is Kind.POISON:
            topic, key, value = poisoned(self.random, self._clock)
            yield Entry(topic, key, value, self._clock * 1000, at_once, mishap)
            return
        made = self._again() if mishap is Kind.SENT_AGAIN else self._something()
        if mishap is Kind.DAYS_LATE:
            self._late.append((self._clock + self.random.randint(DAY, 4 * DAY), made))
            return
        yield self._entry(made, at_once=at_once, mishap=mishap)

    def _again(self) -> _Made:
        """A resend of anything of late, one time in four with another content under the same id."""
        made = self.random.choice(self._said)
        changed = {"at": _iso(self._clock)} if self.random.random() < 0.25 else {}
        return _Made(made.topic, made.key, made.body | changed, self._clock)

    def _arriving(self, *, everything: bool = False) -> Iterator[Entry]:
        due = [late for late in self._late if everything or late[0] <= self._clock]
        self._late = [late for late in self._late if late not in due]
        self.random.shuffle(due)
        for _, made in due:
            yield self._entry(_Made(made.topic, made.key, made.body, self._clock), mishap=Kind.DAYS_LATE)

    def _entry(self, made: _Made, *, at_once: bool = False, mishap: Kind | None = None) -> Entry:
        return Entry(made.topic.name, made.key.encode(), orjson.dumps(made.body), made.at * 1000, at_once, mishap)

    # ------------------------------------------------------------ what happens

    def _something(self) -> _Made:
        """Mostly a sale."""
        random, member = self.random, self.random.choice(self.members)
        outlet = random.choice(list(self._ahead))
        now = max(0, self._clock + self._ahead[outlet])
        draw = random.random()
        if draw < 0.06:
            made = _Made(MEMBER_COMMANDS, member, self._by_hand(member), self._clock)
        elif draw < 0.24:
            made = self._request(member, outlet, now)
        else:
            made = self._check(member, outlet, now, anonymous=draw > 0.98)
        self._said.append(made)
        return made

    def _check(self, member: str, outlet: str, now: int, *, anonymous: bool) -> _Made:
        sold = self._sales[member]
        returns = self.random.random() < 0.27
        body = self.back(self.random.choice(sold) if sold else None, now) if returns else self.sale(now)
        body |= {"outlet": outlet}
        if anonymous:
            return _Made(CHECKS, "", body, self._arrival(now))
        body |= {"member": card(member)}
        if body["type"] == "sale":
            sale: Any = parse_inbound(CHECKS.name, orjson.dumps(body))
            sold.append(sale)
        return _Made(CHECKS, card(member), body, self._arrival(now))

    def _arrival(self, now: int) -> int:
        """Its Kafka time is the till's, or that of a server between them.

        Ids are remembered for 37 days of Kafka time, so it is never so wrong that one given lately counts as forgotten.
        """
        own = self.random.random() < 0.5 and abs(now - self._clock) <= KAFKA_AHEAD_MAX
        return now if own else self._clock

    def _request(self, member: str, outlet: str, now: int) -> _Made:
        """Mostly of the member's latest reservations, of few points, so that many succeed."""
        random, mine = self.random, self._booked[member]
        kind = random.choice(("reserve", "reserve", "confirm", "confirm", "cancel"))
        body: Body = {"type": kind, "request_id": self.fresh("q"), "outlet": outlet, "till": "1", "at": _iso(now)}
        if kind == "reserve":
            mine.append(self.fresh("R"))
            body |= {"reservation": mine[-1], "points": random.randint(5, 60)}
        else:
            body |= {"reservation": random.choice(mine)}
        if kind == "confirm" and self._sales[member]:
            body |= {"check_id": random.choice(self._sales[member]).check_id}
        return _Made(REDEMPTIONS, card(member), body | {"member": card(member)}, self._arrival(now))

    def _by_hand(self, member: str) -> Body:
        """The desk corrects, approves, lets somebody go or come back."""
        random, waiting = self.random, self._waiting[member]
        kind = random.choice(("adjust", "adjust", "adjust", "approve", "approve", "opt_in", "opt_out"))
        name = self.fresh(kind)
        if kind == "adjust":
            points = random.choice((-2000, -300, -20, 15, 200, 1500))
            waiting.append(name)
            return self._desk(kind, name, member, points=points, reason="why", actor="ann")
        if kind == "approve":
            actor, accept = random.choice(("ann", "bob")), random.random() < 0.8
            return self._desk(kind, name, member, adjustment=random.choice(waiting), actor=actor, accept=accept)
        return self._desk(kind, name, member)

    def _desk(self, kind: str, name: str, member: str, **parts: Any) -> Body:
        return {"type": kind, "command_id": name, "loyalty_id": member, "at": _iso(self._clock)} | parts


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
