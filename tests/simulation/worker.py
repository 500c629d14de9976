"""A tiny model of the runtime around the real core: a log, a store, its changelog and the outputs.

Law, as of the real one: state, changelog and outputs of a record become durable at any time, the offset only after all of them.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson

from schemas.codec import parse_command, parse_inbound
from schemas.members import Adjust, Approve, ConvertPoints, OptIn, OptOut
from schemas.records import AnyCommand
from schemas.redemptions import Cancel, Confirm, Reserve
from schemas.topics import CHECKS, MEMBER_COMMANDS, REDEMPTIONS
from streams.chaos.oracle import DAY, Record, record_id
from streams.domain import render
from streams.domain.account import unpack
from streams.domain.decide import decide
from streams.domain.plan import Plan
from tests import builders

DOORS = dict.fromkeys(("sale", "return", "void"), CHECKS) | dict.fromkeys(("reserve", "confirm", "cancel"), REDEMPTIONS)
START = int(datetime(2026, 1, 5, 9, 0, tzinfo=UTC).timestamp())


def as_command(member: str, record: Record, program: str) -> AnyCommand:
    """What intake makes of a wire record, identity resolved."""
    wire = orjson.loads(record.model_dump_json(exclude_defaults=True))
    kinds: dict[type, tuple[str, dict[str, Any]]] = {
        Reserve: ("redeem", {"request": wire}),
        Confirm: ("redeem", {"request": wire}),
        Cancel: ("redeem", {"request": wire}),
        OptIn: ("join", {"at": wire["at"], "birthday": "02-29"}),
        OptOut: ("leave", {"at": wire["at"]}),
        Adjust: ("adjust", {name: wire.get(name) for name in ("at", "points", "reason", "actor")}),
        Approve: ("decide", {"decision": wire}),
        ConvertPoints: ("convert_points", {name: wire.get(name) for name in ("at", "wallet", "into", "points")}),
    }
    kind, body = kinds.get(type(record)) or (wire["type"], {"check": wire})
    common = {"id": record_id(record), "account": member, "program": program, "fingerprint": fingerprint(wire)}
    return parse_command(orjson.dumps({"type": kind} | common | body))


def parsed(body: dict[str, Any]) -> Any:
    """The wire record, by the door it comes through."""
    return parse_inbound(DOORS.get(body["type"], MEMBER_COMMANDS).name, orjson.dumps(body))


def fingerprint(wire: Any) -> str:
    return sha256(orjson.dumps(wire, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def tick(member: str, program: str, now: int) -> AnyCommand:
    body = {"type": "tick", "id": f"tick/{member}/{now}", "account": member, "program": program}
    return parse_command(orjson.dumps(body))


@dataclass(frozen=True)
class Output:
    """A record on its way to loy.events or pos.replies."""

    offset: int
    command: AnyCommand
    value: bytes
    is_event: bool


@dataclass
class Worker:
    """One ledger process over one partition."""

    plan: Plan
    log: list[tuple[AnyCommand, int]]
    store: dict[str, bytes] = field(default_factory=dict)
    position: int = 0
    committed: int = 0
    changelog: list[tuple[str, bytes]] = field(default_factory=list)
    """Acknowledged."""
    outputs: list[Output] = field(default_factory=list)
    """Acknowledged."""
    unsent: list[tuple[str, bytes]] = field(default_factory=list)
    unsent_outputs: list[Output] = field(default_factory=list)
    uncommitted: int = 30 * DAY
    """How much time of the log may be uncommitted: less than the horizon, or a repeat is answered as one that came too late."""

    def step(self) -> None:
        """Process one record; nothing of it is durable yet, so it commits first when the log's time has moved on too far."""
        command, now = self.log[self.position]
        if now - self.log[self.committed][1] > self.uncommitted:
            self.commit()
        before = unpack(self.store.get(command.account), command.account)
        decision = decide(before, command, self.plan, now)
        builders.assert_sound(decision.account)
        stored = builders.packed(decision.account)
        self.store[command.account] = stored
        self.unsent.append((command.account, stored))
        events = render.events(command, decision.outcome, self.plan)
        self.unsent_outputs += [Output(self.position, command, event, is_event=True) for event in events]
        answered = render.reply(command, decision.outcome, self.plan)
        if answered:
            self.unsent_outputs.append(Output(self.position, command, answered[1], is_event=False))
        self.position += 1

    def run(self, records: int | None = None) -> None:
        end = len(self.log) if records is None else min(len(self.log), self.position + records)
        while self.position < end:
            self.step()

    def commit(self) -> None:
        """Everything is acknowledged, then the offset is committed."""
        self.changelog += self.unsent
        self.outputs += self.unsent_outputs
        self.unsent, self.unsent_outputs = [], []
        self.committed = self.position

    def crash(self, states: int, outputs: int) -> None:
        """Of what was on its way, the first so many states and outputs had arrived. A new process goes on from the commit."""
        self.changelog += self.unsent[:states]
        self.outputs += self.unsent_outputs[:outputs]
        self.unsent, self.unsent_outputs = [], []
        self.store = dict(self.changelog)
        self.position = self.committed
