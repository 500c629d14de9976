"""The whole flow on one page: which agent reads what, which table it writes, what runs beside it.

pos.checks ──────┐
pos.redemptions ─┼─> intake ──> loy.commands ──> ledger ──┬──> loy.events ──> sinks
crm.members ─────┤     │ │             ▲                  ├──> pos.replies
loy.backlog ─────┘     │ │             └──── clock ◄──────┴──> accounts (table, changelog)
   ▲  late checks ─────┘ └──> loy.members, loy.identities, loy.dead-letters
   └────────────────────
"""

import time
from typing import Any

from schemas.topics import BACKLOG, CHECKS, COMMANDS, MEMBER_COMMANDS, REDEMPTIONS
from streams import metrics, runtime
from streams.agents import IntakeAgent, LedgerAgent
from streams.backlog import Lane
from streams.clock import Clock, DueIndex
from streams.domain.intake import Rules
from streams.reference import Directory
from streams.runtime.batches import Handler
from streams.settings import Settings
from streams.standing import Standing

ACCOUNTS = "accounts"


def build(app: runtime.App, settings: Settings) -> None:
    """Declare tables, agents and timers on the app."""
    directory = Directory(settings.kafka_bootstrap, settings.data if settings.store == "rocksdb" else None)
    accounts = app.table(ACCOUNTS, partitions=settings.partitions)
    index = DueIndex(accounts)
    rules = Rules(settings.identity_key.get_secret_value().encode(), settings.region, settings.program)
    intake = IntakeAgent(directory, rules, app.outbox)
    standing = Standing(time.time if settings.clock == "wall" else index.newest)
    ledger = LedgerAgent(directory, accounts, app.outbox, index, standing)
    metrics.REGISTRY.register(standing)
    clock = Clock(index, directory, app.outbox, mode=settings.clock, default_program=settings.program)

    @accounts.on_recovered
    async def prepare(owned: frozenset[int]) -> None:
        await directory.start()
        standing.begin(owned, index.unread)
        await index.rebuild(owned, standing)

    lane = Lane(intake.handle, app.outbox, settings.patience_minutes)
    _serve(app, CHECKS.name, f"intake-{CHECKS.name}", lane.at_door)
    for door in (REDEMPTIONS, MEMBER_COMMANDS):
        _serve(app, door.name, f"intake-{door.name}", lane.past)
    _serve(app, COMMANDS.name, "ledger", ledger.handle)
    _serve(app, BACKLOG.name, f"intake-{BACKLOG.name}", lane.in_turn, yields_to=COMMANDS.name)

    async def look() -> None:
        await clock.look(accounts.owned)

    async def close(*_: Any, **__: Any) -> None:
        index.stop()
        await directory.stop()

    app.timer(settings.clock_seconds, name="clock")(look)
    app.on_before_shutdown.connect(close)


def _serve(app: runtime.App, topic: str, name: str, handle: Handler, **more: Any) -> None:
    @app.agent(topic, name=name, **more)
    async def serve(stream: Any) -> None:
        await runtime.serve(stream, handle)
