"""The end of a run: was everything that was sent taken once, and does every account stand where the naive ledger says?

Kafka decides in which order records of several doors reach an account, so the judge replays the log of record in its order;
that this log holds what was sent, nothing less and nothing twice in effect, is judged from the doors and the answers.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.codec import BadRecord, parse_command, parse_inbound
from schemas.records import Grant
from schemas.replies import Reply
from schemas.topics import COMMANDS, DEAD_LETTERS, EVENTS, REPLIES
from streams.chaos.oracle import NaiveMember, Record, Rules
from streams.chaos.pots import Pots
from streams.domain.account import BUDGET_PREFIX, RECEIPT_PREFIX, unpack
from streams.domain.profile import balance_of
from streams.log import Record as Logged
from streams.log import latest_by_key, read_topic
from streams.proof import DOORS

EXAMPLES = 5
Key = tuple[str, bytes | None, bytes | None]


@dataclass(slots=True)
class Verdict:
    """What the judge found. A clean run has figures, and no list of anything."""

    records: int = 0
    """At the doors."""
    repeats: int = 0
    """Of them, the same record once more."""
    accounts: int = 0
    """Compared with the naive ledger."""
    lost: list[str] = field(default_factory=list)
    """Acknowledged and not at a door, or at a door and never answered."""
    doubled: list[str] = field(default_factory=list)
    """Ids that took effect more than once."""
    differing: list[str] = field(default_factory=list)
    """Accounts that are not what the naive ledger says, with both figures."""
    asked: int = 0
    granted: int = 0
    """Points of budgets over all members."""

    @property
    def ok(self) -> bool:
        return not (self.lost or self.doubled or self.differing)


class Judge:
    """Fed with doors, then answers, then commands and events, then accounts."""

    def __init__(self, rules: Rules, members: Mapping[str, str]) -> None:
        """`members`: loyalty id by what the member shows at a till."""
        self.verdict = Verdict()
        self._rules = rules
        self._members = dict(members)
        self._doors: dict[str, tuple[str, Record] | None] = {}
        self._bodies: Counter[Key] = Counter()
        self._answered: set[str] = set()
        self._applied: defaultdict[str, set[str]] = defaultdict(set)
        self._commands: defaultdict[str, list[tuple[str | Grant | None, int]]] = defaultdict(list)
        """By account, in order: the origin at a door, what a budget grants, None for a tick; and the Kafka time."""
        self._pots = Pots(rules)

    def door(self, record: Logged) -> None:
        """A record as it arrived."""
        self.verdict.records += 1
        body = (record.topic, record.key, record.value)
        self._bodies[body] += 1
        self.verdict.repeats += self._bodies[body] > 1
        self._doors[record.origin] = self._read(record)

    def _read(self, record: Logged) -> tuple[str, Record] | None:
        """Whose it is, and the record; None for what cannot be read and for what nobody's is."""
        try:
            value: Any = parse_inbound(record.topic, record.value)
        except BadRecord:
            return None
        shown = getattr(value, "loyalty_id", None) or self._members.get(getattr(value, "member", None) or "")
        return (shown, value) if shown else None

    def sent(self, bodies: Mapping[Key, int]) -> None:
        """What the tills hold an acknowledgement of. After all doors."""
        for body, times in bodies.items():
            if self._bodies[body] < times:
                self.verdict.lost.append(
                    f"{body[0]}: acknowledged {times} times, there {self._bodies[body]} times: {body[2]!r:.120}"
                )

    def answer(self, record: Logged) -> None:
        """A reply or a dead letter."""
        origin = record.header("origin") or ""
        self._answered.add(origin)
        if record.topic == REPLIES.name and record.header("outcome") == "applied":
            self._applied[Reply.model_validate_json(record.value or b"").id].add(origin)

    def command(self, record: Logged) -> None:
        """A record of the log of record."""
        command, now = parse_command(record.value or b""), record.timestamp_ms // 1000
        self._pots.command(command, now)
        if not command.account.startswith((RECEIPT_PREFIX, BUDGET_PREFIX)):
            cause = command if isinstance(command, Grant) else None if command.type == "tick" else command.origin
            self._commands[command.account].append((cause, now))

    def event(self, record: Logged) -> None:
        """What others are told."""
        self._pots.event(record)

    def outcomes(self) -> None:
        """After all answers: who has none, and what was taken twice."""
        self.verdict.lost += [f"{origin}: no answer" for origin in self._doors if origin not in self._answered]
        twice = ((name, origins) for name, origins in self._applied.items() if len(origins) > 1)
        self.verdict.doubled += [f"{name}: applied from {', '.join(sorted(origins))}" for name, origins in twice]

    def accounts(self, rows: Mapping[bytes, bytes]) -> None:
        """Every member's account against the naive ledger, and budgets against theirs. After all commands and events."""
        for member in sorted(set(self._members.values()) | self._commands.keys()):
            self.verdict.accounts += 1
            if difference := self._difference(member, rows.get(member.encode())):
                self.verdict.differing.append(f"{member}: {difference}")
        self.verdict.differing += self._pots.judged(rows)
        self.verdict.asked, self.verdict.granted = self._pots.asked, self._pots.granted

    def _difference(self, member: str, row: bytes | None) -> str:
        account = unpack(row, member)
        naive = NaiveMember(self._rules)
        for cause, now in self._commands[member]:
            if cause is None:
                naive.pass_time(now)  # how late it is: no later record of an earlier time turns that back
                continue
            if isinstance(cause, Grant):
                naive.grant(cause.check_id, cause.points, now)
                continue
            known = self._doors.get(cause)
            if known is None or known[0] != member:
                return f"a command names {cause}, which is not this member's"
            naive.take(known[1], now)
        self._pots.member(member, naive)
        balance = balance_of(account)
        found = {name: getattr(balance, name) for name in balance.__struct_fields__ if name != "pending"}
        found["tier"] = self._rules.tiers[account.tier.level][0]
        said = naive.figures(account.now).as_dict()
        apart = [f"{name} {found.get(name)}, not {said[name]}" for name in said if said[name] != found.get(name)]
        return ", ".join(apart)


async def judge(bootstrap: str, changelog: str, rules: Rules, members: Mapping[str, str], sent: Mapping[Key, int]) -> Verdict:
    """Read the topics and judge. When nothing is on its way any more."""
    bench = Judge(rules, members)
    async for record in read_topic(bootstrap, *DOORS):
        bench.door(record)
    bench.sent(sent)
    async for record in read_topic(bootstrap, REPLIES.name, DEAD_LETTERS.name):
        bench.answer(record)
    bench.outcomes()
    async for record in read_topic(bootstrap, COMMANDS.name):
        bench.command(record)
    async for record in read_topic(bootstrap, EVENTS.name):
        bench.event(record)
    bench.accounts(_values(await latest_by_key(bootstrap, changelog)))
    return bench.verdict


def _values(rows: Mapping[bytes, Logged]) -> dict[bytes, bytes]:
    return {key: row.value for key, row in rows.items() if row.value is not None}


def examples(found: Iterable[str]) -> list[str]:
    """The first few."""
    return [text for text, _ in zip(found, range(EXAMPLES), strict=False)]
