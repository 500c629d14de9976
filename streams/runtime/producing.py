"""The outbox: what a handler wants written, sent as a few large produce batches and awaited as one.

Law: `flush` returns only when the broker has acknowledged every record; anything else ends the process, uncommitted.
"""

import asyncio
from collections.abc import Mapping

from aiokafka.errors import ProducerFenced

from streams.runtime.batches import Headers
from streams.runtime.fatal import Exit, end_process
from streams.runtime.partitioning import murmur2, partition_of
from streams.runtime.posting import Place, Post, Row
from streams.runtime.stores import Change
from streams.runtime.tables import PartitionedTable

MAX_RECORD_BYTES = 1_900_000  # key + value; topics take 2,000,000 with Kafka's framing, unless the catalogue says otherwise


class RecordTooLarge(ValueError):  # noqa: N818 - reads as what it says
    """A record the broker would refuse: dead-letter what caused it."""


class Outbox:
    """Collects records and table changes while a batch is handled. One per batch; not shared between tasks."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._records: list[tuple[str, int | None, Row]] = []
        self._changes: dict[Place, tuple[PartitionedTable, list[Change]]] = {}

    def __len__(self) -> int:
        return len(self._records) + sum(len(changes) for _, changes in self._changes.values())

    def add(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        timestamp_ms: int,
        headers: Headers = (),
        partition: int | None = None,
        bytes_max: int = MAX_RECORD_BYTES,
    ) -> None:
        """Write a record with this Kafka timestamp (milliseconds). Without a partition, the key decides; without a key,
        the value. `bytes_max` is what the topic takes. Raises RecordTooLarge.
        """
        _require_size(key, value, bytes_max)
        self._records.append((topic, partition, (key, value, timestamp_ms, list(headers))))

    def write(self, table: PartitionedTable, partition: int, changes: Mapping[bytes, bytes | None]) -> None:
        """Change rows of a table (None deletes). Raises NotOwned and RecordTooLarge."""
        topic = table.stage(partition)
        for key, value in changes.items():
            _require_size(key, value)
        if changes:
            self._changes.setdefault((topic, partition), (table, []))[1].extend(changes.items())

    async def flush(self) -> None:
        """Back when the broker has acknowledged everything and the tables' stores are written. Empty afterwards."""
        try:
            parcels = await self._parcels()
            last = await self._post.send_all(parcels)
            for at, (table, changes) in self._changes.items():
                table.acknowledged(at[1], changes, last[at])
        except asyncio.CancelledError:
            raise
        except ProducerFenced as error:
            end_process(Exit.MEMBERSHIP_LOST, "another worker has taken over what this one was working on", error=error)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the batch must not be committed
            end_process(Exit.UNEXPECTED, "records could not be sent", error=error)
        self._records.clear()
        self._changes.clear()

    async def _parcels(self) -> dict[Place, list[Row]]:
        parcels: dict[Place, list[Row]] = {}
        counts: dict[str, int] = {}
        for topic, partition, row in self._records:
            if partition is None:
                if topic not in counts:
                    counts[topic] = await self._post.partitions(topic)
                partition = _partition_for(row, counts[topic])  # noqa: PLW2901
            parcels.setdefault((topic, partition), []).append(row)
        for at, (_, changes) in self._changes.items():
            parcels[at] = [(key, value, None, []) for key, value in changes]
        return parcels


def _partition_for(row: Row, count: int) -> int:
    key, value, *_ = row
    return partition_of(key, count) if key is not None else (murmur2(value or b"") & 0x7FFFFFFF) % count


def _require_size(key: bytes | None, value: bytes | None, bytes_max: int = MAX_RECORD_BYTES) -> None:
    size = len(key or b"") + len(value or b"")
    if size > bytes_max:
        raise RecordTooLarge(f"{size} bytes, at most {bytes_max} fit into one record")
