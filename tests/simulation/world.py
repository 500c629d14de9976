"""A world of tills, members and a desk where anything may happen in any order; the naive ledger is its judge."""

from collections import defaultdict
from datetime import UTC, datetime
from random import Random
from typing import Any

from schemas.codes import Code
from schemas.events import parse_event
from schemas.program import Program
from schemas.records import AnyCommand
from streams.chaos.oracle import NaiveLedger, Record, Rules, as_program
from streams.chaos.shopping import Shopping
from streams.domain.account import Account, unpack
from streams.domain.plan import Plan
from streams.domain.profile import balance_of
from tests import builders
from tests.simulation.worker import DAY, START, Worker, as_command, parsed, tick


class World(Shopping):
    """The log being written, the worker that reads it, and the judge."""

    def __init__(self, random: Random, members: int = 3, rules: Rules | None = None, program: Program | None = None) -> None:
        """A `program` that the naive ledger does not know is judged by all but its figures."""
        self.rules = rules or Rules()
        super().__init__(random)
        self.judged = program is None
        self.plan = Plan(program or as_program(self.rules))
        self.members = [f"H-{n}" for n in range(1, members + 1)]
        self.log: list[tuple[AnyCommand, int]] = []
        self.worker = Worker(self.plan, self.log)
        self.naive = NaiveLedger(self.rules)
        self.sent: list[tuple[str, Record]] = []
        self.late: list[tuple[str, Record]] = []
        """Made in the world, not yet arrived."""
        self.clock = START
        self.paces = (
            1,
            60,
            60,
            600,
            1800,
            7200,
            random.choice((DAY, 2 * DAY, 10 * DAY)),
            random.choice((DAY, 20 * DAY, 300 * DAY)),
        )
        """How long nothing happens: minutes, as at a till; days; in some worlds most of a year."""

    # ------------------------------------------------------------ what arrives

    def send(self, member: str, record: Record, skew: int = 0) -> None:
        """A record arrives; its Kafka time may be some seconds before what the log already says."""
        now = self.clock - skew
        self.log.append((as_command(member, record, self.plan.key), now))
        self.naive.take(member, record, now)
        self.sent.append((member, record))

    def happen(self, member: str, body: dict[str, Any], *, late: bool = False) -> None:
        """Something happens at a till or a desk; it arrives now, or some time later."""
        if late:
            self.late.append((member, parsed(body)))
        else:
            self.send(member, parsed(body), skew=self.random.choice((0, 0, 0, 60)))

    def arrive(self) -> None:
        """Something that was late arrives, whatever was first."""
        if self.late:
            self.send(*self.late.pop(self.random.randrange(len(self.late))))

    def open_the_accounts(self) -> None:
        for member in self.members:
            body = {"type": "opt_in", "command_id": self.fresh("opt_in"), "loyalty_id": member}
            self.send(member, parsed(body | {"at": datetime.fromtimestamp(self.clock, UTC).isoformat()}))

    def tick(self, member: str) -> None:
        """The clock says how late it is: no later record of an earlier time turns that back."""
        self.log.append((tick(member, self.plan.key, self.clock), self.clock))
        self.naive.figures(member, self.clock)

    def again(self) -> None:
        """A resend, possibly weeks later."""
        self.send(*self.random.choice(self.sent))

    def reused(self) -> None:
        """The same id with other content, while the first is remembered."""
        member, record = self.random.choice(self.sent)
        if record.at.timestamp() > self.clock - 30 * DAY:
            self.send(member, record.model_copy(update={"at": datetime.fromtimestamp(self.clock, UTC)}))

    def wait(self, seconds: int) -> None:
        self.clock += seconds

    # ------------------------------------------------------------ what happens at the tills

    def some_sale(self, member: str) -> Any:
        mine = [record for who, record in (*self.sent, *self.late) if who == member and record.type == "sale"]
        recent = mine[-8:]
        return self.random.choice(recent) if recent else None

    def bring_back(self, member: str, at: int) -> Any:
        """Some of some lines of some sale, sometimes more than was bought, sometimes of what is no sale."""
        return self.back(self.some_sale(member), at)

    def redemption(self, member: str) -> Any:
        """Any step, of a reservation that is open, ended or unknown."""
        random = self.random
        made = list(self.naive.members[member].bookings)
        known = random.choice(["unknown", *made[-3:], *made[-1:]])
        match random.choice(("reserve", "reserve", "confirm", "confirm", "cancel")):
            case "reserve":
                return self.request(member, "reserve", self.fresh("R"), points=random.choice((5, 10, 20, 50, 200)))
            case "cancel":
                return self.request(member, "cancel", known)
        part = random.choice(({}, {"points": random.randint(1, 60)}))
        sale = self.some_sale(member)
        paid_for = {"check_id": sale.check_id} if sale and random.random() < 0.7 else {}
        return self.request(member, "confirm", known, **part, **paid_for)

    def pay(self, member: str) -> None:
        """Points are reserved, pay for a receipt and are confirmed with it, whichever of the two arrives first."""
        random, usable = self.random, self.naive.figures(member).available
        points = random.randint(1, max(10, usable))
        sale = self.sale(self.clock)
        reserve = self.request(member, "reserve", self.fresh("R"), points=points)
        confirm = self.request(member, "confirm", reserve["reservation"], check_id=sale["check_id"])
        self.happen(member, reserve)
        for body in random.sample([sale, confirm], 2):
            self.happen(member, body)

    def request(self, member: str, kind: str, reservation: str, **parts: Any) -> dict[str, Any]:
        body = {"type": kind, "request_id": self.fresh("q"), "outlet": "o1", "till": "1", "reservation": reservation}
        at = datetime.fromtimestamp(self.clock, UTC).isoformat()
        return body | {"at": at, "member": f"loyalty:{member}"} | parts

    def correct(self, member: str, points: int) -> None:
        """The desk gives or takes some points."""
        body = {"type": "adjust", "command_id": self.fresh("adjust"), "points": points, "reason": "why", "actor": "ann"}
        at = datetime.fromtimestamp(self.clock, UTC).isoformat()
        self.send(member, parsed(body | {"loyalty_id": member, "at": at}))

    def by_hand(self, member: str, at: int) -> Any:
        random = self.random
        common = {"loyalty_id": member, "at": datetime.fromtimestamp(at, UTC).isoformat()}
        kinds = ("adjust", "adjust", "approve", "approve", "opt_in", "opt_in", "opt_out")
        kind = random.choice((*kinds, *(["convert_points"] * 7 if self.rules.stars else [])))
        name = self.fresh(kind)
        if kind == "convert_points":
            into = random.choice(("main", "main", "main", "moons"))
            return {
                "type": kind,
                "command_id": name,
                "wallet": "stars",
                "into": into,
                "points": random.choice((3, 6, 7, 30)),
            } | common
        if kind == "adjust":
            points = random.choice((-2000, -300, -20, 15, 200, 1500))
            return {"type": kind, "command_id": name, "points": points, "reason": "why", "actor": "ann"} | common
        if kind == "approve":
            waiting = [r.command_id for who, r in self.sent if who == member and r.type == "adjust"]
            accept = random.random() < 0.8
            body = {"adjustment": random.choice(waiting or ["none"]), "actor": random.choice(("ann", "bob")), "accept": accept}
            return {"type": kind, "command_id": name} | body | common
        return {"type": kind, "command_id": name} | common

    # ------------------------------------------------------------ chance

    def act(self) -> None:
        """One random thing, mostly a sale."""
        random, member = self.random, self.random.choice(self.members)
        late, at = random.random() < 0.2, self.clock
        match random.choice("sssssssbbbbrrrrrppphhaaaadutttwwwkkc"):
            case "s":
                self.happen(member, self.sale(at), late=late)
            case "b":
                self.happen(member, self.bring_back(member, at), late=late)
            case "r":
                self.happen(member, self.redemption(member))
            case "p":
                self.pay(member)
            case "h":
                self.happen(member, self.by_hand(member, at))
            case "a":
                self.arrive()
            case "d":
                self.again()
            case "u":
                self.reused()
            case "t":
                self.tick(member)
            case "w":
                self.wait(random.choice(self.paces))
            case "k":
                self.work()
            case _:
                self.crash()

    def work(self) -> None:
        self.worker.run(self.random.randint(1, 20))
        if self.random.random() < 0.5:
            self.worker.commit()

    def crash(self) -> None:
        """State kept and events lost; events sent and state lost; both kept and the commit lost; or anything in between."""
        worker = self.worker
        states, outputs = len(worker.unsent), len(worker.unsent_outputs)
        worker.crash(self.random.choice((0, states, states // 2)), self.random.choice((0, outputs, outputs // 2)))

    # ------------------------------------------------------------ the judge

    def finish(self) -> None:
        """All is processed, time passes once more for everybody, and everything must agree."""
        for member in self.members:
            self.tick(member)
        self.worker.run()
        self.worker.commit()
        self.judge_outputs()
        for member in self.members if self.judged else ():
            self.judge_account(member)
        self.judge_rebuilt()

    def account(self, member: str) -> Account:
        return unpack(self.worker.store.get(member), member)

    def judge_account(self, member: str) -> None:
        """The account equals the naive ledger's figures."""
        account = self.account(member)
        expected = self.naive.figures(member, self.clock)
        assert expected.conserved
        balance = balance_of(account)
        found = {name: getattr(balance, name) for name in balance.__struct_fields__ if name != "pending"}
        assert expected.as_dict() == found | {"tier": self.rules.tiers[account.tier.level][0]}, member
        assert balance.pending == 0
        stars = next((wallet for wallet in account.wallets if wallet.key == "stars"), Account())
        found = {name: getattr(balance_of(stars), name) for name in balance.__struct_fields__ if name != "pending"}
        expected = self.naive.members[member].stars.stands()
        assert expected.conserved
        assert expected.as_dict() == found | {"tier": ""}, member

    def judge_outputs(self) -> None:
        """One body per event, no gap in any account, one answer per record however often it was processed."""
        events: dict[str, bytes] = {}
        sequences: dict[str, dict[int, str]] = defaultdict(dict)
        answers: dict[tuple[str, str, str], bytes] = {}
        for output in self.worker.outputs:
            if not output.is_event:
                apart = next((code for code in (Code.BEYOND_HORIZON, Code.ID_REUSED) if code.encode() in output.value), "")
                key = (output.command.id, output.command.fingerprint, apart)
                assert answers.setdefault(key, output.value) == output.value, key
                continue
            event, data = parse_event(output.value)
            assert events.setdefault(event.id, output.value) == output.value, event.id
            assert sequences[event.subject].setdefault(event.sequence, event.id) == event.id
            builders.assert_conserved(data.balance)
        for member in self.members:
            told = sorted(sequences[member])
            assert told == list(range(1, self.account(member).sequence + 1)), member
        assert {output.offset for output in self.worker.outputs if not output.is_event} == {
            offset for offset, (command, _) in enumerate(self.log) if command.type != "tick"
        }

    def judge_rebuilt(self) -> None:
        """From zero, the log gives the same accounts and the same outputs."""
        again = Worker(self.plan, self.log)
        again.run()
        again.commit()
        assert again.store == self.worker.store
        first: dict[tuple[int, bytes], None] = dict.fromkeys((one.offset, one.value) for one in again.outputs)
        assert set(first) == {(one.offset, one.value) for one in self.worker.outputs}
