"""The agents: plain handlers of micro-batches. They parse, ask the pure core, and put everything into one outbox.

Law: a handler returns only after the broker has everything; a record that cannot be taken becomes a dead letter and the line goes
on; an account is read once and written once per batch.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from schemas.base import POINTS_MAX
from schemas.checks import AnyCheck
from schemas.codec import BadRecord, encode, parse_command, parse_inbound
from schemas.codes import Code
from schemas.earning import MAIN
from schemas.members import AnyMemberCommand, Identity
from schemas.records import AnyCommand
from schemas.redemptions import AnyRedemption
from schemas.topics import (
    CHECKS,
    COMMANDS,
    EVENTS,
    IDENTITIES,
    MEMBER_COMMANDS,
    MEMBERS,
    REDEMPTIONS,
    REPLIES,
)
from streams import metrics, tracing
from streams.dead_letters import bury
from streams.domain import budgets, render
from streams.domain.account import Account, pack, unpack
from streams.domain.decide import Decision, apart, decide
from streams.domain.intake import Arrived, Intake, Rules, Taken, refusal
from streams.domain.outcome import Outcome
from streams.domain.plan import Plan
from streams.domain.receipts import second_half
from streams.reference import Directory
from streams.runtime import Batch, Outbox, PartitionedTable, Record

Inbound = AnyCheck | AnyRedemption | AnyMemberCommand
Door = Callable[[Any, Arrived], Taken]


class Index(Protocol):
    """Who wants to know what an account is due for, and how far time has come."""

    def note(self, partition: int, key: bytes, account: Account, now: int) -> None: ...


class Watcher(Protocol):
    """Who keeps the totals of all accounts."""

    def moved(self, partition: int, before: Mapping[bytes, Account], after: Mapping[bytes, Account]) -> None: ...


# ---------------------------------------------------------------- intake


class IntakeAgent:
    """One handler for the three doors: parse, cleanse, resolve, and send on as commands."""

    def __init__(self, directory: Directory, rules: Rules, outbox: Callable[[], Outbox]) -> None:
        self._directory = directory
        self._rules = rules
        self._outbox = outbox
        self._registering = asyncio.Lock()

    async def handle(self, batch: Batch) -> None:
        """Take one batch of one door's records."""
        batch, meter = tracing.begin("intake", batch)
        outbox = self._outbox()
        parsed = [(record, value) for record in batch.records if (value := _parsed(batch, record, outbox)) is not None]
        if batch.topic == MEMBER_COMMANDS.name:
            async with self._registering:
                await self._register(batch, parsed, outbox, meter)
        else:
            await self._serve_tills(batch, parsed, outbox, meter)
        meter.stop()

    async def _serve_tills(
        self, batch: Batch, parsed: Sequence[tuple[Record, Inbound]], outbox: Outbox, meter: metrics.Meter
    ) -> None:
        intake = Intake(self._rules, _Once(self._directory))
        if any(_is_stranger(intake, value) for _, value in parsed):
            async with self._registering:
                pass  # perhaps registered at this very moment,
            await self._directory.identities.catch_up()  # or by another worker
            intake = Intake(self._rules, _Once(self._directory))
        door = intake.check if batch.topic == CHECKS.name else intake.redemption
        for record, value in parsed:
            self._take(batch, record, value, door, outbox, meter)
        meter.flushing()
        await outbox.flush()

    async def _register(
        self, batch: Batch, parsed: Sequence[tuple[Record, Inbound]], outbox: Outbox, meter: metrics.Meter
    ) -> None:
        """Commands first, then identities: whoever finds an account by its card finds it opened. Answers of our own come last."""
        await self._directory.identities.catch_up()
        ahead = _Ahead(self._directory)
        intake = Intake(self._rules, ahead)
        identities, answers = self._outbox(), self._outbox()
        for record, value in parsed:
            taken = self._take(batch, record, value, intake.member, outbox, meter)
            for key, identity in taken.identities:
                ahead.identities[key] = identity
                raw = encode(identity) if identity else None
                identities.add(IDENTITIES.name, key.encode(), raw, timestamp_ms=record.timestamp_ms)
            if taken.reply is not None:
                _reply(answers, *taken.reply, _origin(batch, record), "applied", record)
                meter.answered("member", record)
        meter.flushing()
        await outbox.flush()
        await identities.flush()
        await answers.flush()
        if ahead.identities:
            await self._directory.identities.catch_up()  # the next batch sees them too

    def _take(self, batch: Batch, record: Record, value: Inbound, door: Door, outbox: Outbox, meter: metrics.Meter) -> Taken:
        """Send on what the record becomes, or refuse it: reply and dead letter."""
        arrived = Arrived(_origin(batch, record), (record.key or b"").decode(errors="replace"), record.timestamp_ms // 1000)
        try:
            taken = door(value, arrived)
        except BadRecord as problem:
            outlet, reply = refusal(value, problem, arrived)
            _reply(outbox, outlet, reply, arrived.origin, "refused", record)
            _bury(outbox, batch, record, problem)
            meter.answered(_DOORS[batch.topic], record)
            meter.count(metrics.REFUSALS, problem.code)
            return Taken()
        for command in taken.commands:
            send_command(outbox, command, record)
        if taken.member is not None:
            loyalty_id, member = taken.member
            raw = encode(member) if member else None
            outbox.add(MEMBERS.name, loyalty_id.encode(), raw, timestamp_ms=record.timestamp_ms)
        return taken


class _Ahead:
    """The directory as a batch of member commands will leave it."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.version = directory.version
        self.identities: dict[str, Identity | None] = {}

    def identity(self, key: str) -> Identity | None:
        return self.identities[key] if key in self.identities else self._directory.identity(key)


class _Once(_Ahead):
    """The directory as it is: who is who is asked once a batch, because it lies on disk."""

    def identity(self, key: str) -> Identity | None:
        if key not in self.identities:
            self.identities[key] = self._directory.identity(key)
        return self.identities[key]


def _is_stranger(intake: Intake, value: Inbound) -> bool:
    identifier = getattr(value, "member", None)
    return identifier is not None and intake.resolve(identifier) is Code.IDENTIFIER_UNKNOWN


def _parsed(batch: Batch, record: Record, outbox: Outbox) -> Inbound | None:
    try:
        return parse_inbound(batch.topic, record.value)
    except BadRecord as problem:
        _bury(outbox, batch, record, problem)
        return None


def send_command(outbox: Outbox, command: AnyCommand, cause: Record) -> None:
    """Append a command to the log of record, at the Kafka time of what caused it."""
    outbox.add(
        COMMANDS.name,
        command.account.encode(),
        encode(command),
        timestamp_ms=cause.timestamp_ms,
        headers=tracing.passed_on(cause),
        bytes_max=COMMANDS.bytes_max - 100_000,
    )


# ---------------------------------------------------------------- ledger


class LedgerAgent:
    """The one writer of accounts: decides the commands of a partition in order, and prints what comes of them."""

    def __init__(
        self, directory: Directory, accounts: PartitionedTable, outbox: Callable[[], Outbox], index: Index, standing: Watcher
    ) -> None:
        self._directory = directory
        self._accounts = accounts
        self._outbox = outbox
        self._index = index
        self._standing = standing

    async def handle(self, batch: Batch) -> None:
        """Decide one batch of one partition's commands."""
        batch, meter = tracing.begin("ledger", batch)
        outbox, view = self._outbox(), self._accounts.view(batch.partition)
        before: dict[bytes, Account] = {}
        touched: dict[bytes, Account] = {}
        for record in batch.records:
            key = record.key or b""
            account = touched.get(key)
            if account is None:
                account = before[key] = unpack(view.get(key), key.decode())
            touched[key] = await self._decide(batch, record, account, outbox, meter)
        outbox.write(self._accounts, batch.partition, {key: stored(account) for key, account in touched.items()})
        meter.flushing()
        await outbox.flush()
        now = max(record.timestamp_ms for record in batch.records) // 1000
        for key, account in touched.items():
            self._index.note(batch.partition, key, account, now)
        self._standing.moved(batch.partition, before, touched)
        meter.stop()

    async def _decide(self, batch: Batch, record: Record, account: Account, outbox: Outbox, meter: metrics.Meter) -> Account:
        command = parse_command(record.value or b"")
        plan = await self._directory.plan(command.program)
        decision = decide(account, command, plan, record.timestamp_ms // 1000)
        if decision.repeated and decision.outcome.program != command.program:
            plan = await self._directory.plan(decision.outcome.program)  # a repeat is printed by the version it was decided by
        printed = render.events(command, decision.outcome, plan)
        if not fits(printed, decision.outcome):
            decision, printed = Decision(account, apart(command, Code.TOO_LARGE)), []
        verdict = _verdict(command, decision)
        self._print(batch, record, command, decision, verdict, plan, printed, outbox)
        _measure(meter, record, command, decision, verdict, told=bool(printed))
        return decision.account

    def _print(  # noqa: PLR0917  # everything there is to know about one command
        self,
        batch: Batch,
        record: Record,
        command: AnyCommand,
        decision: Decision,
        verdict: str,
        plan: Plan,
        printed: list[bytes],
        outbox: Outbox,
    ) -> None:
        told, outcome = (_written(), *tracing.passed_on(record)), decision.outcome
        for event in printed:
            outbox.add(
                EVENTS.name,
                record.key,
                event,
                timestamp_ms=record.timestamp_ms,
                headers=told,
                partition=batch.partition,
            )
        answer = render.reply(command, outcome, plan)
        if answer is not None:
            _reply(outbox, *answer, command.origin, verdict, record, told)
        if outcome.follow:
            send_command(outbox, second_half(command, outcome.follow), record)
        if (outcome.words or outcome.granted is not None) and decision.first_origin in ("", command.origin):
            for said in budgets.commands(command, outcome, plan):  # the till's own repeat says nothing that was not said before
                send_command(outbox, said, record)
        if outcome.code in _KEPT:
            _bury(outbox, batch, record, BadRecord(outcome.code, outcome.code.meaning))


_KEPT = (Code.BEYOND_HORIZON, Code.TOO_LARGE)
"""Commands that are answered no and kept for review: too old to know, or with more events than a record can hold."""


def _verdict(command: AnyCommand, decision: Decision) -> str:
    """What became of this very record: a redelivery of the record that was applied is still `applied`."""
    outcome = decision.outcome
    if decision.repeated and decision.first_origin != command.origin:
        return "repeated"
    return "applied" if outcome.status == "accepted" else outcome.status


_DOORS = {CHECKS.name: "check", REDEMPTIONS.name: "redemption", MEMBER_COMMANDS.name: "member"}


def _measure(meter: metrics.Meter, record: Record, command: AnyCommand, decision: Decision, verdict: str, *, told: bool) -> None:
    """What there is to count of a command."""
    door = _DOORS.get(command.origin.partition("/")[0])
    if door is not None and not decision.outcome.follow:
        meter.answered(door, record)
        if told:
            meter.told(record)
    meter.count(metrics.OUTCOMES, command.type, "repeated" if decision.repeated else verdict)
    if decision.outcome.code is not Code.OK:
        meter.count(metrics.REFUSALS, decision.outcome.code)
        if verdict in ("refused", "parked"):
            tracing.journal.turned_away(verdict, record, code=decision.outcome.code, stage="ledger", origin=command.origin)
    if decision.repeated:
        return
    for fact in decision.outcome.facts:
        meter.count(metrics.EVENTS, fact.type)
        if decision.outcome.wallets and fact.detail.get("wallet", MAIN) != MAIN:
            continue  # the metric counts points, not what other wallets hold
        for move in fact.moves:
            meter.count(metrics.POINTS, move.source, move.target, by=move.points)


def fits(events: Sequence[bytes], outcome: Outcome | None = None) -> bool:
    """Whether a command's events fit into records, its balances and what it asks into the contract; else it is not applied.

    What was earned and given bounds all other figures, so time alone never makes a balance that cannot be told.
    """
    longest, figures = max(map(len, events), default=0), [0]
    if outcome is not None and outcome.balance is not None:
        for balance in (outcome.balance, *[balance for _, balance in outcome.wallets]):
            figures += (*msgspec.structs.astuple(balance), balance.earned + balance.adjusted)
        figures.append(sum([word.points for word in outcome.words]))
    return longest <= EVENTS.bytes_max - 100_000 and min(figures) >= -POINTS_MAX and max(figures) <= POINTS_MAX


def stored(account: Account) -> bytes | None:
    """The account's row. None for the account of a receipt that is forgotten: its row goes."""
    return pack(account) if account.stands else None


# ---------------------------------------------------------------- what both write


def _origin(batch: Batch, record: Record) -> str:
    return f"{batch.topic}/{batch.partition}/{record.offset}"


def _written() -> tuple[str, bytes]:
    """When, by the wall: Kafka's time is that of the cause, so without it the log could not tell how long an answer took."""
    return metrics.WRITTEN_AT, b"%d" % (time.time_ns() // 1_000_000)


def _reply(  # noqa: PLR0917  # what it says, and about what
    outbox: Outbox, outlet: str, reply: bytes, origin: str, outcome: str, record: Record, told: tracing.Headers = ()
) -> None:
    """`told` are the headers of the events beside it."""
    headers = (("origin", origin.encode()), ("outcome", outcome.encode()), *(told or (_written(), *tracing.passed_on(record))))
    outbox.add(REPLIES.name, outlet.encode(), reply, timestamp_ms=record.timestamp_ms, headers=headers)


def _bury(outbox: Outbox, batch: Batch, record: Record, problem: BadRecord) -> None:
    bury(outbox, batch, record, stage=batch.topic, code=problem.code, reason=problem.reason)
