"""Where a table keeps its rows on this worker: one store per partition, in RocksDB or in memory.

Law: rows and the changelog offset they stand for are written in one atomic step, so a store is always an exact prefix of
its changelog, whenever the process dies. One that was away for so long that Kafka may have let go of deletions begins anew.
"""

import contextlib
import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import rocksdict

logger = logging.getLogger(__name__)

Change = tuple[bytes, bytes | None]
KEPT_SECONDS = 12 * 3600
"""A store that nobody had open for longer is not gone on with: half the time for which Kafka keeps deletions."""

_OFFSET_KEY = b"__faust\0offset__"


class PartitionStore(Protocol):
    """The rows of one partition."""

    def get(self, key: bytes) -> bytes | None:
        """The row, or None."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The rows in the order of their keys."""

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All rows."""

    def behind(self, key: bytes, count: int) -> list[tuple[bytes, bytes]]:
        """The rows with larger keys, in the order of keys: at least `count` of them, if there are as many."""

    def write(self, changes: Iterable[Change], offset: int | None) -> None:
        """Apply the changes (None deletes) and note the changelog offset of the last one, in one step."""

    def size(self) -> tuple[int, int]:
        """(rows, bytes), estimated. Safe from another thread. Raises whatever a closed store raises."""

    def offset(self) -> int | None:
        """Changelog offset up to which the rows are complete; None means from the beginning."""

    def close(self) -> None:
        """Let go of files."""


class MemoryStore:
    """Rows in a dict. Rebuilt from the changelog after every start, brought up to date after a rebalance."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        self._offset: int | None = None

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self._rows.get(key) for key in keys]

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(list(self._rows.items()))

    def behind(self, key: bytes, count: int) -> list[tuple[bytes, bytes]]:  # noqa: ARG002  # sorting it for every piece would take longer
        return sorted((known, value) for known, value in self._rows.items() if known > key)

    def write(self, changes: Iterable[Change], offset: int | None) -> None:
        for key, value in changes:
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value
        if offset is not None:
            self._offset = offset

    def size(self) -> tuple[int, int]:
        return len(self._rows), 0  # of bytes in memory, the process's own figure tells

    def offset(self) -> int | None:
        return self._offset

    def close(self) -> None:
        self._rows.clear()
        self._offset = None


class RocksStore:
    """Rows in a RocksDB of their own, with a write-ahead log: survives the death of the process."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db: Any = rocksdict.Rdict(str(path), options=_options())

    def get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._db.get(key)
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        values: Any = self._db.get(list(keys))
        return list(values)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return ((key, value) for key, value in self._db.items() if key != _OFFSET_KEY)

    def behind(self, key: bytes, count: int) -> list[tuple[bytes, bytes]]:
        rows = islice(self._db.items(from_key=key), count + 2)  # the key itself and the offset may be among them
        return [(known, value) for known, value in rows if known > key and known != _OFFSET_KEY]

    def write(self, changes: Iterable[Change], offset: int | None) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in changes:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        if offset is not None:
            batch.put(_OFFSET_KEY, b"%d" % offset)
        self._db.write(batch)

    def size(self) -> tuple[int, int]:
        ask = self._db.property_int_value
        files, memory = ask("rocksdb.live-sst-files-size") or 0, ask("rocksdb.size-all-mem-tables") or 0
        return ask("rocksdb.estimate-num-keys") or 0, files + memory

    def offset(self) -> int | None:
        value = self._db.get(_OFFSET_KEY)
        return None if value is None else int(value)

    def close(self) -> None:
        self._db.close()


def _options() -> Any:
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)  # noqa: FBT003
    options.set_write_buffer_size(16 << 20)
    options.set_max_write_buffer_number(3)
    options.set_max_open_files(512)
    table = rocksdict.BlockBasedOptions()
    table.set_bloom_filter(10, block_based=False)
    table.set_block_cache(_CACHE)
    options.set_block_based_table_factory(table)
    return options


_CACHE = rocksdict.Cache(64 << 20)  # shared by all partitions of this process


class Stores:
    """The open partition stores of one table. Opened on first use, closed when the partition goes."""

    def __init__(self, folder: Path | None, table: str) -> None:
        self._folder = folder
        self._table = table
        self._open: dict[int, PartitionStore] = {}

    def of(self, partition: int) -> PartitionStore:
        """The store of a partition, opened when needed."""
        store = self._open.get(partition)
        if store is None:
            store = self._open[partition] = self._new(partition)
        return store

    def _new(self, partition: int) -> PartitionStore:
        if self._folder is None:
            return MemoryStore()
        path = self._path(self._folder, partition)
        if _is_old(path):
            logger.warning("%s begins anew: rows may have been deleted while nobody had it open", path.name)
            shutil.rmtree(path)
        return RocksStore(path)

    def _path(self, folder: Path, partition: int) -> Path:
        return folder / f"{self._table}-{partition}.db"

    def sizes(self) -> dict[int, tuple[int, int]]:
        """(rows, bytes) of each open partition, estimated. Safe from another thread: one that closes meanwhile is left out."""
        found = {}
        for partition, store in list(self._open.items()):
            with contextlib.suppress(Exception):
                found[partition] = store.size()
        return found

    @property
    def opened(self) -> set[int]:
        """Partitions whose stores are open."""
        return set(self._open)

    def close(self, partitions: Iterable[int] | None = None) -> None:
        """Close these partitions, or all."""
        for partition in list(self._open if partitions is None else partitions):
            store = self._open.pop(partition, None)
            if store is not None:
                store.close()

    def wipe(self) -> None:
        """Close everything and delete the files: the next start restores from the changelog. Always safe."""
        paths = [] if self._folder is None else list(self._folder.glob(f"{self._table}-*.db"))
        self.close()
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path)


def _is_old(path: Path) -> bool:
    """RocksDB writes into its log every ten minutes, whether there are changes or not."""
    touched = [file.stat().st_mtime for file in path.glob("*")]
    return bool(touched) and time.time() - max(touched) > KEPT_SECONDS


def as_changes(rows: Mapping[bytes, bytes | None]) -> list[Change]:
    """The mapping as a list of changes."""
    return list(rows.items())
