"""Recovery: how long a worker takes from its start until it is ready, with many accounts in the changelog.

Cold, everything is restored from the changelog; warm, the store is there and only what is new is read. The group has nothing
else to do: its offsets are committed at the end of the doors.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import OffsetAndMetadata

from schemas.codec import encode
from schemas.members import Identity
from schemas.topics import CHECKS, COMMANDS, IDENTITIES, MEMBER_COMMANDS, REDEMPTIONS
from streams import runtime
from streams.bench.accounts import Templates, key_of
from streams.bench.filling import Row, fill
from streams.bench.processes import cpu_seconds, folder_bytes, peak_bytes, ready
from streams.bench.topics import BenchError
from streams.domain.identifiers import identity_key
from streams.log import open_log
from streams.runtime.stores import RocksStore
from streams.settings import Settings, reach
from streams.system import start_worker
from streams.topology import ACCOUNTS

_SOURCES = (CHECKS.name, REDEMPTIONS.name, MEMBER_COMMANDS.name, COMMANDS.name)


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a worker, from the process's first moment until it takes work. Bytes are of the largest resident size."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    disk_bytes: int
    """Of its store, when it was stopped again."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """Two starts with the same accounts."""

    accounts: int
    changelog_bytes: int
    cold: Start
    warm: Start


async def recover(settings: Settings, templates: Templates, count: int) -> Recovery:
    """Write so many accounts to the changelog of a group of its own, and start a worker of it twice. Raises BenchError."""
    written = await write_accounts(settings, templates, count)
    await _skip_sources(settings)
    cold = await start(settings)
    warm = await start(settings)
    return Recovery(count, written, cold, warm)


async def write_accounts(settings: Settings, templates: Templates, count: int) -> int:
    """The accounts as the group's changelog holds them, and two identifiers of each. Answers the bytes of the accounts."""
    rows = ((key.encode(), stored, None) for key, stored in templates.stamped(count))
    written = await fill(settings.kafka_bootstrap, runtime.changelog_topic(settings.group, ACCOUNTS), rows)
    await fill(settings.kafka_bootstrap, IDENTITIES.name, _identities(settings, count))
    return written


def _identities(settings: Settings, count: int) -> Iterator[Row]:
    secret = settings.identity_key.get_secret_value().encode()
    for number in range(count):
        key = key_of(number)
        for kind in ("loyalty", "app"):
            identity = Identity.model_validate({"loyalty_id": key, "program": settings.program, "kind": kind})
            yield identity_key(f"{kind}:{key}", secret).encode(), encode(identity), None


async def _skip_sources(settings: Settings) -> None:
    """The group has read everything there is."""
    async with open_log(settings.kafka_bootstrap) as log:
        spans = await log.spans(*_SOURCES)
    consumer = AIOKafkaConsumer(**reach(settings.kafka_bootstrap), group_id=settings.group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(list(spans))
        await consumer.commit({part: OffsetAndMetadata(span.end, "") for part, span in spans.items()})
    finally:
        await consumer.stop()


async def start(settings: Settings) -> Start:
    """Start a worker, and stop it when it takes work. Raises BenchError."""
    began = time.perf_counter()
    worker = start_worker(settings, "recovering")
    try:
        await ready(worker)
        took = Start(time.perf_counter() - began, cpu_seconds(worker.process.pid), peak_bytes(worker.process.pid), 0)
    finally:
        code = await asyncio.to_thread(worker.stop)
    if code:
        raise BenchError(f"the worker ended with code {code}; its log is {worker.log}")
    return replace(took, disk_bytes=folder_bytes(settings.data / "recovering"))


def disk_bytes_each(folder: Path, rows: list[bytes], count: int) -> float:
    """What one of `count` such rows takes up in RocksDB: written as the worker writes them, closed, files counted."""
    store = RocksStore(folder / "0.db")
    for first in range(0, count, 500):
        store.write([(b"R-%d" % n, rows[n % len(rows)]) for n in range(first, min(count, first + 500))], first)
    store.close()
    return folder_bytes(folder) / count
