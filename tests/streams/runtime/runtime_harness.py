"""What the tests of the runtime do to a broker and to worker processes."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic

from streams import runtime
from streams.log import offsets_of
from tests import processes
from tests.kafka_topics import asking, create

SCRIPT = Path(__file__).with_name("runtime_worker.py")
DEADLINE = 40.0

Sent = tuple[bytes, bytes]


class Line:
    """One source topic, its consumer group, its table's changelog and an output topic, freshly made."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path, partitions: int = 1) -> None:
        self.bootstrap, self.folder, self.partitions = bootstrap, folder, partitions
        self.group, self.source, self.out = f"{prefix}group", f"{prefix}source", f"{prefix}out"
        self.changelog = runtime.changelog_topic(self.group, "rows")

    async def make(self, **changelog_settings: str) -> Self:
        compacted = {"cleanup.policy": "compact", **changelog_settings}
        await create(
            self.bootstrap,
            NewTopic(self.source, self.partitions, 1),
            NewTopic(self.out, self.partitions, 1),
            NewTopic(self.changelog, self.partitions, 1, topic_configs=compacted),
            NewTopic(runtime.roll_topic(self.group), 1, 1, topic_configs=runtime.ROLL_SETTINGS),
        )
        return self

    async def send(self, records: Iterable[Sent], partition: int | None = None, topic: str | None = None) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=5)
        await producer.start()
        try:
            for key, value in records:
                await producer.send(topic or self.source, value, key=key, partition=partition)
            await producer.flush()
        finally:
            await producer.stop()

    async def committed(self) -> dict[int, int]:
        """The group's committed offset of each source partition that has one."""
        async with asking(self.bootstrap) as admin:
            offsets = await offsets_of(admin, self.group)
        return {tp.partition: at for tp, at in offsets.items() if tp.topic == self.source and at >= 0}

    async def commit(self, partition: int, offset: int) -> None:
        """Move the group to an offset while nobody is in it."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=self.group, enable_auto_commit=False)
        await consumer.start()
        try:
            tp = TopicPartition(self.source, partition)
            consumer.assign([tp])
            await consumer.commit({tp: offset})
        finally:
            await consumer.stop()

    async def read(self, topic: str) -> list[tuple[bytes, bytes | None]]:
        """Everything in a topic, in the order of offsets within a partition."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            tps = [TopicPartition(topic, partition) for partition in range(self.partitions)]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            rows: list[tuple[bytes, bytes | None]] = []
            for tp in tps:
                while await consumer.position(tp) < ends[tp]:
                    rows.extend((r.key, r.value) for r in (await consumer.getmany(tp, timeout_ms=500)).get(tp, ()))
            return rows
        finally:
            await consumer.stop()

    async def rows(self) -> dict[bytes, list[bytes]]:
        """The table as its changelog tells it: the values that took effect, per key."""
        table = dict(await self.read(self.changelog))
        return {key: row.split(b"|")[0].split(b",") for key, row in table.items() if row is not None}

    async def effects(self) -> set[bytes]:
        """All values that took effect."""
        return {value for values in (await self.rows()).values() for value in values}

    async def until_committed(self, total: int, seconds: float = DEADLINE) -> None:
        """Wait until the group has committed this many records."""

        async def done() -> bool:
            return sum((await self.committed()).values()) >= total

        await until(done, f"{total} records committed", seconds)

    def worker(self, kind: str, name: str = "w", **options: object) -> "Worker":
        return Worker(self, kind, name, options)


class Worker:
    """A worker process. Leaving the context kills it if it still runs."""

    def __init__(self, line: Line, kind: str, name: str, options: dict[str, object]) -> None:
        self.log = line.folder / f"{line.group}-{name}.log"
        arguments = {
            "bootstrap": line.bootstrap,
            "group": line.group,
            "source": line.source,
            "partitions": line.partitions,
            "datadir": line.folder / f"data-{name}",
            **options,
        }
        flags = [
            part
            for option, value in arguments.items()
            for part in ((f"--{option.replace('_', '-')}",) if value is True else (f"--{option.replace('_', '-')}", str(value)))
        ]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen([sys.executable, str(SCRIPT), kind, *flags], stdout=out, stderr=subprocess.STDOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if error is not None:
            print(f"---- {self.log.name}\n{self.said()[-4000:]}")  # noqa: T201 - shown by pytest on failure

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    async def ready(self, times: int = 1) -> Self:
        """Wait until it has taken up its partitions for the n-th time."""
        await until(lambda: self.said().count("Worker ready") >= times, f"{self.log.name} ready")
        return self

    async def exit_code(self, seconds: float = DEADLINE) -> int:
        """Wait until it ends by itself."""
        await until(lambda: self.process.poll() is not None, f"{self.log.name} ends", seconds)
        return self.process.returncode

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def stop(self) -> int:
        """Ask it to stop in good order."""
        self.signal(signal.SIGTERM)
        return await self.exit_code()

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.exit_code()


async def until(condition: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """`processes.until`, with the patience of these tests."""
    await processes.until(condition, what, seconds)


def numbered(count: int, start: int = 0) -> list[Sent]:
    """Records with a key of their own each."""
    return [(b"k%d" % n, b"%d" % n) for n in range(start, start + count)]


def values(count: int, start: int = 0) -> set[bytes]:
    return {b"%d" % n for n in range(start, start + count)}


async def create_topic(kafka, name: str, partitions: int = 1, **settings: str) -> str:
    await create(kafka.bootstrap, NewTopic(name, partitions, 1, topic_configs=settings))
    return name
