# ruff: noqa: FBT001, FBT002 - the signatures are Faust's
"""A Faust table with a bulk write path, addressed by partition.

Law: the changelog is the table. A change is first acknowledged there and then written to the local store together with
its offset. Which partitions are ours is said by the shift.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from aiokafka.errors import KafkaError
from faust.stores.base import Store
from faust.tables.table import Table
from faust.types import TP

from streams.runtime.fatal import Exit, end_process
from streams.runtime.stores import Change, Stores

Recovered = Callable[[frozenset[int]], Awaitable[None]]


class NotOwned(LookupError):  # noqa: N818 - reads as what it says
    """The partition is not (or not yet, or no longer) this worker's."""


def changelog_topic(group: str, table: str) -> str:
    """Name of the topic that backs a table. It must exist, with `cleanup.policy=compact` and the sources' partitions."""
    return f"{group}-{table}-changelog"


class TableView:
    """One partition as a handler sees it: the stored rows under the changes the handler itself has made.

    `read` looks up a stored row; a test may pass `dict.get`.
    """

    def __init__(self, read: Callable[[bytes], bytes | None]) -> None:
        self._read = read
        self.changes: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """The row, or None."""
        return self.changes[key] if key in self.changes else self._read(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Change the row."""
        self.changes[key] = value

    def delete(self, key: bytes) -> None:
        """Remove the row (a tombstone in the changelog)."""
        self.changes[key] = None


class _TableStore(Store[Any, Any]):
    """What Faust asks of a store, answered from the partition stores."""

    table: "PartitionedTable"

    def persisted_offset(self, tp: TP) -> int | None:
        return self.table.stores.of(tp.partition).offset()

    def reset_state(self) -> None:
        self.table.stores.wipe()

    def apply_changelog_batch(self, batch: Any, to_key: Any, to_value: Any) -> None:
        """Faust flushes its buffers here; ours is always empty, changes come through `apply_changes`."""

    async def backup_partition(self, tp: Any, flush: bool = True, purge: bool = False, keep: int = 1) -> None:
        """The changelog is the backup."""

    def restore_backup(self, tp: Any, latest: bool = True, backup_id: int = 0) -> None:
        """The changelog is the backup."""

    async def on_stop(self) -> None:
        self.table.stores.close()


class PartitionedTable(Table[bytes, bytes]):
    """Rows of bytes under keys of bytes, one independent store per partition of the changelog."""

    app: Any

    def __init__(self, app: Any, *, name: str, partitions: int, stores: Stores, **kwargs: Any) -> None:
        super().__init__(app, name=name, partitions=partitions, key_type=bytes, value_type=bytes, **kwargs)
        self.stores = stores
        self._owned: frozenset[int] = frozenset()
        self._telling = asyncio.Lock()
        self._on_recovered: list[Recovered] = []

    def _new_store(self) -> Any:
        return _TableStore(
            "memory://", self.app, self, table_name=self.name, key_type=bytes, value_type=bytes,
            key_serializer="raw", value_serializer="raw", loop=self.loop,
        )  # fmt: skip

    # -- reading

    @property
    def owned(self) -> frozenset[int]:
        """Partitions this worker owns and has restored."""
        return self._owned

    def get(self, partition: int, key: bytes) -> bytes | None:  # type: ignore[override]
        """The row as last flushed, or None. Raises NotOwned."""
        self._require(partition)
        return self.stores.of(partition).get(key)

    def view(self, partition: int) -> TableView:
        """The partition for one batch: reads through, collects changes for `Outbox.write`. Raises NotOwned."""
        self._require(partition)
        return TableView(self.stores.of(partition).get)

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """The rows in the order of `keys`. Raises NotOwned."""
        self._require(partition)
        return self.stores.of(partition).get_many(keys)

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:  # type: ignore[override]
        """All rows of a partition, for rebuilding an index: it scans, never call it per record. Raises NotOwned."""
        self._require(partition)
        return self.stores.of(partition).items()

    def behind(self, partition: int, key: bytes, count: int) -> list[tuple[bytes, bytes]]:
        """Rows with larger keys, in the order of keys; at least `count` while there are as many. Raises NotOwned."""
        self._require(partition)
        return self.stores.of(partition).behind(key, count)

    def _require(self, partition: int) -> None:
        if partition not in self._owned:
            raise NotOwned(f"table {self.name}: partition {partition} is not owned by this worker")

    # -- writing

    async def write_batch(self, partition: int, changes: Mapping[bytes, bytes | None]) -> None:
        """Changelog first, acknowledged, then the store; None deletes. Raises NotOwned; a failed send ends the process."""
        outbox = self.app.outbox()
        outbox.write(self, partition, changes)
        await outbox.flush()

    def stage(self, partition: int) -> str:
        """Called by the outbox: the changelog topic to write a partition's changes to. Raises NotOwned."""
        self._require(partition)
        return self.changelog_topic_name

    def acknowledged(self, partition: int, changes: list[Change], offset: int | None) -> None:
        """Called by the outbox: the changes are in the changelog, the last one at `offset` (None: not known)."""
        self._require(partition)
        self.stores.of(partition).write(changes, offset)

    # -- recovery

    def on_recovered(self, fun: Recovered) -> Recovered:
        """Call `fun(owned partitions)` whenever they have changed: before the first batch of what came, after the last of what
        went. A failure ends the process.
        """
        self._on_recovered.append(fun)
        return fun

    def apply_changes(self, tp: TP, records: Sequence[Any]) -> None:
        """Write consecutive changelog records, from recovery."""
        self.stores.of(tp.partition).write(((r.key, r.value) for r in records), records[-1].offset)

    async def own(self, come: Iterable[int] = (), *, go: Iterable[int] = ()) -> None:
        """From now on some partitions are ours and restored, and others are not. Tells who asked, one change after another."""
        async with self._telling:
            before = self._owned
            self._owned = (before | frozenset(come)).intersection(range(self.partitions or 0)).difference(go)
            if before == self._owned:
                return
            for fun in self._on_recovered:
                try:
                    await fun(self._owned)
                except Exception as error:  # noqa: BLE001 - an index that was not rebuilt is a wrong one
                    end_process(Exit.UNEXPECTED, f"table {self.name}: the callback after recovery failed", error=error)

    async def close_all_but(self, needed: Callable[[], Iterable[int]]) -> None:
        """Close the stores of other partitions, one after another: it takes a while, and nothing else runs."""
        while idle := self.stores.opened - set(needed()):
            self.stores.close([min(idle)])
            await asyncio.sleep(0)

    def disown(self) -> None:
        """The end: nothing is ours any more, and nobody is told."""
        self._owned = frozenset()

    async def require_changelog(self) -> None:
        """End the process when the changelog topic is not as it must be: without it all state would be lost."""
        name = self.changelog_topic_name
        try:
            found = await self.app.partitions(name)
        except (KafkaError, TimeoutError) as error:
            end_process(Exit.UNEXPECTED, f"topic {name} must exist, with {self.partitions} partitions", error=error)
        if found != self.partitions:
            end_process(Exit.UNEXPECTED, f"topic {name} must have {self.partitions} partitions, it has {found}")
