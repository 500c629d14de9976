"""Budgets over all members before the judge: what was asked, granted, told and given back, each against what must have been.

Law: a grant is judged from both ends. By its budget: given in the order in which it was asked, never above the cap. By its
member: what the sale earns of it after returns, which is what events told; the rest has come back.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, timedelta

import orjson

from schemas.records import AnyCommand, AskBudget, Grant, ReturnBudget, Tick
from streams.chaos.oracle import BONUS, DAY, NaiveBudget, NaiveMember, Rules
from streams.domain.account import BUDGET_PREFIX, unpack
from streams.log import Record

Sale = tuple[str, str]
"""Member and check."""


class Pots:
    """Fed with commands and events in the order of their partitions, then with members, then with accounts."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._budgets: dict[str, NaiveBudget] = {}
        self._asked: dict[Sale, int] = {}
        self._due: dict[Sale, int] = {}
        """What their budgets must have granted."""
        self._granted: dict[Sale, int] = {}
        self._back: Counter[Sale] = Counter()
        self._told: Counter[Sale] = Counter()
        self._charged: Counter[str] = Counter()
        """By budget, all grants less all that came back."""
        self._seen: set[str] = set()
        self._wrong: list[str] = []
        self.asked = self.granted = 0
        """Points altogether."""

    def command(self, command: AnyCommand, now: int) -> None:
        """Any command; `now` is its Kafka time in epoch seconds."""
        if command.account.startswith(BUDGET_PREFIX):
            self._to_budget(command, now)
        elif isinstance(command, Grant) and self._is_new(f"{command.account} {command.id}"):
            self._granted[command.account, command.check_id] = command.points
            self._charged[command.budget] += command.points
            self.granted += command.points

    def _to_budget(self, command: AnyCommand, now: int) -> None:
        budget = self._budget(command.account)
        match command:
            case AskBudget(member=member, check_id=check):
                given = budget.ask(command.id, command.points, now)
                if given is not None:
                    self._asked[member, check], self._due[member, check] = command.points, given
                    self.asked += command.points
            case ReturnBudget(member=member, check_id=check):
                budget.back(f"back {command.id}", command.points, now)
                if self._is_new(f"{command.account} {command.id}"):
                    self._back[member, check] += command.points
                    self._charged[command.account] -= command.points
            case Tick():
                budget.pass_time(now)

    def _budget(self, key: str) -> NaiveBudget:
        """The last part of its key is the day of the purchases."""
        if key not in self._budgets:
            over = date.fromisoformat(key.rpartition("/")[2]) + timedelta(days=1)
            self._budgets[key] = NaiveBudget(self._rules.bonus_cap, (over - date(1970, 1, 1)).days * DAY)
        return self._budgets[key]

    def _is_new(self, name: str) -> bool:
        new = name not in self._seen
        self._seen.add(name)
        return new

    def event(self, record: Record) -> None:
        """Any event; one that is told again counts once."""
        event = orjson.loads(record.value or b"{}")
        if event["type"] == "LOY_POINT_ACCRUAL" and self._is_new(f"event {event['id']}"):
            points = sum(award["points"] for award in event["data"]["awards"] if award["rule"] == BONUS)
            if points:
                self._told[event["subject"], event["data"]["check_id"]] += points

    def member(self, member: str, naive: NaiveMember) -> None:
        """Everybody, as the naive ledger saw them. After all commands and events."""
        for check, bought in naive.sales.items():
            sale, wanted = (member, check), sum(bought.asked.values())
            due = self._due.pop(sale, -1)
            figures = {
                "asked": (self._asked.pop(sale, 0), wanted),
                "granted": (self._granted.pop(sale, -1), due),
                "told": (self._told.pop(sale, 0), bought.booked),
                "brought back": (self._back.pop(sale, 0), max(0, bought.granted) - bought.kept),
            }
            apart = [f"{name} {found}, not {right}" for name, (found, right) in figures.items() if found != right]
            if wanted and due < 0:
                apart.append("no answer")
            if apart:
                self._wrong.append(f"{member}: bonus of {check}: {', '.join(apart)}")

    def judged(self, rows: Mapping[bytes, bytes]) -> Iterator[str]:
        """What is wrong. After all members."""
        yield from self._wrong
        for (member, check), points in [*self._asked.items(), *self._granted.items(), *self._told.items(), *self._back.items()]:
            yield f"{member}: {points} points of a budget for {check}, which asked for none"
        for key, budget in self._budgets.items():
            account = unpack(rows.get(key.encode()), key)
            stored = account.budget.granted if account.budget else 0
            if stored != budget.charged:
                yield f"{key}: granted {stored}, not {budget.charged}"
            if self._charged[key] > budget.cap:
                yield f"{key}: {self._charged[key]} points are out, of {budget.cap}"
