"""Two hundred members shopping at random, and the naive ledger as their judge."""

from collections import defaultdict
from datetime import UTC, datetime
from random import Random

import orjson

from schemas.codec import parse_command, parse_inbound
from schemas.topics import CHECKS, COMMANDS, MEMBER_COMMANDS, REDEMPTIONS
from streams.chaos.oracle import NaiveLedger, Rules, as_program
from streams.domain.account import unpack
from streams.domain.profile import balance_of
from streams.log import read_topic
from tests.e2e.harness import until
from tests.simulation.world import World
from tests.tills import opt_in, request

DAYS = 15  # of one shopping; two of them are less than the horizon: what a crash repeats is always remembered
RULES = Rules(expiry_months=0, reservation_minutes=4 * 1440)
PROGRAM = as_program(RULES)


class Shoppers(World):
    """Makes receipts, returns and redemptions, and sends them through a system's doors; some twice, some under a used id."""

    def __init__(self, system, members, seed):
        super().__init__(Random(seed), members, RULES)
        self.system = system
        self.clock = int(system.at.timestamp()) + 16 * 86_400  # before a month ends, and with it points
        self.wire = {}
        """What was sent, by origin: (member, parsed record)."""
        self._sales = defaultdict(list)
        self._booked = defaultdict(list)
        self._said = []

    def card(self, member):
        return f"card:{member.replace('-', '')}ABC"

    async def register(self):
        at = datetime.fromtimestamp(self.clock, UTC)
        bodies = [opt_in(member, at, self.card(member)) for member in self.members]
        futures = [self.system.put(MEMBER_COMMANDS.name, body["loyalty_id"], body, at=at) for body in bodies]
        for member, body, future in zip(self.members, bodies, futures, strict=True):
            self._note(await future, member, MEMBER_COMMANDS.name, body)
        await self.system.all_answered()

    async def shop(self, records):
        """Send so many records over the days, never more than a tenth of them ahead of the answers."""
        for n in range(0, records, 20):
            await self._send(min(20, records - n), DAYS * 86_400 // records)
            await until(lambda: len(self.system.sent - self.system.answered) < records // 10, "the answers keep up")

    async def _send(self, records, seconds):
        sent = []
        for _ in range(records):
            self.clock += seconds
            member, topic, body = self._next()
            at = datetime.fromtimestamp(self.clock, UTC)
            sent.append((self.system.put(topic, body["member"], body, at=at), member, topic, body))
        for origin, *what in sent:
            self._note(await origin, *what)

    async def again_each(self):
        """A resend of something of each member, all of them repeats."""
        at = datetime.fromtimestamp(self.clock, UTC)
        last = {member: (topic, body) for member, topic, body in self._said if topic == CHECKS.name}
        for topic, body in last.values():
            await self.system.put(topic, body["member"], body, at=at)

    def _next(self):
        random = self.random
        if self._said and random.random() < 0.1:
            member, topic, body = random.choice(self._said[-500:])
            reused = random.random() < 0.3
            return member, topic, body | ({"at": datetime.fromtimestamp(self.clock, UTC).isoformat()} if reused else {})
        member = random.choice(self.members)
        topic, body = self._something(member)
        said = member, topic, body | {"member": self.card(member)}
        self._said.append(said)
        return said

    def _something(self, member):
        draw = self.random.random()
        if draw < 0.55:
            return CHECKS.name, self.sale(self.clock)
        if draw < 0.75:
            return CHECKS.name, self.bring_back(member, self.clock)
        return REDEMPTIONS.name, self.redemption(member, self.clock)

    def redemption(self, member, at):
        """Mostly of the member's latest reservations, of few points, so that many succeed."""
        random, moment, mine = self.random, datetime.fromtimestamp(at, UTC), self._booked[member]
        kind = random.choice(("reserve", "reserve", "confirm", "confirm", "cancel"))
        if kind == "reserve":
            mine.append(self.fresh("R"))
            return request(kind, self.fresh("q"), mine[-1], moment, self.card(member), points=random.randint(5, 60))
        paid = self.some_sale(member)
        parts = {"check_id": paid.check_id} if kind == "confirm" and paid else {}
        return request(kind, self.fresh("q"), random.choice(mine[-2:] or ["none"]), moment, self.card(member), **parts)

    def some_sale(self, member):
        recent = self._sales[member][-8:]
        return self.random.choice(recent) if recent else None

    def _note(self, origin, member, topic, body):
        record = parse_inbound(topic, orjson.dumps(body))
        self.wire[origin] = member, record
        if record.type == "sale":
            self._sales[member].append(record)

    async def judge(self):
        """Every account stands where the naive ledger says, fed with what was sent in the order of the log of record."""
        naive = NaiveLedger(RULES)
        async for record in read_topic(self.system.bootstrap, COMMANDS.name):
            command = parse_command(record.value)
            if command.type != "tick":
                naive.take(*self.wire[command.origin], record.timestamp_ms // 1000)
        rows = await self.system.rows()
        for member in self.members:
            account = unpack(rows[member.encode()].value, member)
            balance = balance_of(account)
            found = {name: getattr(balance, name) for name in balance.__struct_fields__ if name != "pending"}
            tier = RULES.tiers[account.tier.level][0]
            assert naive.figures(member, account.now).as_dict() == found | {"tier": tier}, member
        told = {member: balance for member, balance in self.system.balances().items() if member in naive.members}
        assert sum(balance["earned"] for balance in told.values()) > 0
