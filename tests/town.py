"""A town of members and the budgets over all of them: what accounts say to each other is shuffled, doubled and delayed on its way."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from random import Random
from typing import Any

from pydantic import TypeAdapter

from schemas.codec import encode
from schemas.commands import Command
from schemas.program import Program
from schemas.records import AnyCommand
from streams.domain import budgets
from streams.domain.account import BUDGET_PREFIX, Account
from streams.domain.calendar import epoch
from tests.builders import START, Log, Member, Step

COMMAND: TypeAdapter[Any] = TypeAdapter(Command)
Post = tuple[AnyCommand, int]
"""A command on its way, and its Kafka time."""


class Town:
    """Every account by its key. Each step's output is compared with what the same command has said before."""

    def __init__(self, rules: Program, members: int = 1) -> None:
        self.rules = rules
        self.accounts: dict[str, Log] = {}
        for n in range(1, members + 1):
            self.accounts[f"H-{n}"] = Member(rules, f"H-{n}").joined()
        self.post: list[Post] = []
        self.done: list[Post] = []
        self.steps: defaultdict[str, list[Step]] = defaultdict(list)
        self._said: dict[tuple[str, str], tuple[Any, ...]] = {}

    def member(self, number: int = 1) -> Member:
        found = self.accounts[f"H-{number}"]
        assert isinstance(found, Member)
        return found

    @property
    def pots(self) -> dict[str, Account]:
        """The budgets' accounts."""
        return {key: log.account for key, log in self.accounts.items() if key.startswith(BUDGET_PREFIX)}

    # -- what happens

    def take(self, command: AnyCommand, now: datetime | int = START) -> Step:
        """Decide a command; what it says to other accounts is on its way then."""
        at = now if isinstance(now, int) else epoch(now)
        log = self.accounts.get(command.account) or self.accounts.setdefault(command.account, Log(self.rules, command.account))
        step = log.send(command, at)
        said = tuple(budgets.commands(command, step.outcome, log.plan))
        for one in said:
            assert encode(COMMAND.validate_json(encode(one))) == encode(one)  # what its model says, to the byte
        printed = (step.raw_events, step.raw_reply, tuple(map(encode, said)))
        assert self._said.setdefault((command.account, command.id), printed) == printed, "a repeat says something else"
        self.post += [(one, at) for one in said]
        self.done.append((command, at))
        self.steps[command.account].append(step)
        return step

    def deliver(self) -> None:
        """Everything arrives, in order."""
        while self.post:
            self.take(*self.post.pop(0))

    def storm(self, random: Random, arrivals: Iterable[Post] = ()) -> None:
        """Everything arrives in any order; what is on its way comes twice at times, and what was decided is decided again."""
        self.post += arrivals
        while self.post:
            command, now = self.post.pop(random.randrange(len(self.post)))
            self.take(command, now)
            if random.random() < 0.2:
                self.post.append((command, now))
            if random.random() < 0.2:
                self.take(*random.choice(self.done))

    # -- what came of it

    def booked(self, rule: str) -> int:
        """Points of the rule that events give to members."""
        return sum(
            award.points
            for log in self.accounts.values()
            for event, data in log.events
            if event.type == "LOY_POINT_ACCRUAL"
            for award in data.awards
            if award.rule == rule
        )

    def rebuilt(self) -> dict[str, bytes | None]:
        """The accounts that follow from the log alone, each command once more from zero."""
        again = {key: Log(self.rules, key) for key in self.accounts}
        for key, log in self.accounts.items():
            for step in log.steps:
                again[key].send(step.command, step.now)
        return {key: log.stored for key, log in again.items()}
