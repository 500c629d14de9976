"""The sinks beside their vendors' sandboxes, for `loy demo` and `loy up`: started, waited for, looked at."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from aiokafka.admin import AIOKafkaAdminClient
from rich.table import Table

from schemas.topics import EVENTS, MEMBERS
from streams import runtime, system
from streams.app import sink_group
from streams.log import offsets_of, open_log, read_topic
from streams.settings import Settings, reach
from streams.sinks import LEASE, MEMBERS_TABLE

PATIENCE_SECONDS = 300.0


class VendorsSlowError(TimeoutError):
    """The sinks did not get there in time; the message says which and how far."""


@asynccontextmanager
async def beside(settings: Settings) -> AsyncIterator[list[system.Worker]]:
    """The three sinks and their sandboxes, for as long as the block runs; ready to be told."""
    processes = system.start_sinks(settings)
    try:
        await leased(settings)
        yield processes
    finally:
        await system.stop_workers(processes)


async def leased(settings: Settings) -> None:
    """Wait until each sink may tell of what happens from now on. Raises VendorsSlowError."""
    await _until(lambda: _unleased(settings), "have no lease yet")


async def drained(settings: Settings) -> None:
    """Wait until the vendors have been told everything that is in the log now. Raises VendorsSlowError."""
    await _until(lambda: _behind(settings), "are behind")


async def _until(left: Callable[[], Any], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await left():  # noqa: ASYNC110  # nobody tells: it has to be asked
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise VendorsSlowError(f"After {PATIENCE_SECONDS:.0f} s these sinks {what}: {await left()}") from None


async def _unleased(settings: Settings) -> list[str]:
    """Sinks that do not hold every partition yet: what happens before that would be history to them."""
    waiting = []
    for name in system.VENDORS:
        topic = runtime.changelog_topic(sink_group(settings, name), MEMBERS_TABLE)
        held = {record.partition async for record in read_topic(settings.kafka_bootstrap, topic) if record.key == LEASE}
        if len(held) < settings.partitions:
            waiting.append(name)
    return waiting


async def _behind(settings: Settings) -> dict[str, int]:
    """By sink the records it has not finished, where there are any."""
    async with open_log(settings.kafka_bootstrap) as log:
        ends = {part: span.end for part, span in (await log.spans(EVENTS.name, MEMBERS.name)).items()}
    admin = AIOKafkaAdminClient(**reach(settings.kafka_bootstrap))
    await admin.start()
    try:
        behind: Counter[str] = Counter()
        for name in system.VENDORS:
            done = await offsets_of(admin, sink_group(settings, name))
            behind[name] = sum(end - done.get(part, 0) for part, end in ends.items())
        return dict(+behind)
    finally:
        await admin.close()


async def arrived(processes: Sequence[system.Worker]) -> Table:
    """What the vendors hold: people, events, requests answered with anything but yes."""
    table = Table("vendor", "people", "events", "requests", "not 2xx", title="What arrived (sandboxes)")
    async with httpx.AsyncClient() as client:
        for process in processes:
            if process.page:
                seen = (await client.get(f"{process.page}/_seen")).json()
                answers: dict[str, int] = seen["answers"]
                refused = sum(count for operation, count in answers.items() if not operation.rsplit(" ", 1)[1].startswith("2"))
                figures = (len(seen["people"]), len(seen["events"]), sum(answers.values()), refused)
                table.add_row(process.log.stem, *(f"{figure:,}" for figure in figures))
    return table
