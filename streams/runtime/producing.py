"""The outbox: what a handler wants written, sent as a few large produce batches and awaited as one.

Law: `flush` returns only when the broker has acknowledged every record; anything else ends the process, uncommitted.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from aiokafka.errors import ProducerFenced

from streams.runtime.batches import Headers
from streams.runtime.fatal import Exit, end_process
from streams.runtime.partitioning import murmur2, partition_of
from streams.runtime.stores import Change
from streams.runtime.tables import PartitionedTable

MAX_RECORD_BYTES = 1_900_000  # key + value; topics take 2,000,000 with Kafka's framing, unless the catalogue says otherwise

_Row = tuple[bytes | None, bytes | None, int | None, list[tuple[str, bytes]]]


class RecordTooLarge(ValueError):  # noqa: N818 - reads as what it says
    """A record the broker would refuse: dead-letter what caused it."""


class Post:
    """Sends rows to topics through one aiokafka producer and knows the partition counts."""

    def __init__(self, client: Any, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._counts: dict[str, int] = {}
        self._turns: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        """Of those who wait for a place in a partition's queue. Two at a time would not wait as long as they may (L8)."""

    async def partitions(self, topic: str) -> int:
        """Number of partitions of a topic (asked once)."""
        count = self._counts.get(topic)
        if count is None:
            count = self._counts[topic] = len(await self._client.partitions_for(topic))
        return count

    async def send(self, topic: str, partition: int, rows: list[_Row]) -> int | None:
        """Send the rows in order; back when all are acknowledged, with the offset of the last one if it is known."""
        acknowledged = None
        for batch in self._pack(rows):
            async with self._turns[topic, partition]:
                done = await self._client.send_batch(batch, topic, partition=partition)
            acknowledged = (await done, batch.record_count())
        if acknowledged is None or acknowledged[0] is None or acknowledged[0].offset < 0:
            return None
        metadata, count = acknowledged
        last: int = metadata.offset + count - 1
        return last

    def _pack(self, rows: list[_Row]) -> list[Any]:
        batches = [self._client.create_batch()]
        for key, value, timestamp_ms, headers in rows:
            while batches[-1].append(timestamp=timestamp_ms, key=key, value=value, headers=headers) is None:
                batches.append(self._client.create_batch())
        for batch in batches:
            batch.close()  # a closed batch does not linger
        return batches

    async def send_all(self, parcels: Mapping[tuple[str, int], list[_Row]]) -> dict[tuple[str, int], int | None]:
        """Send everything at once; back when all is acknowledged. Raises what went wrong."""
        async with asyncio.timeout(self._timeout):
            last = await asyncio.gather(*(self.send(topic, at, rows) for (topic, at), rows in parcels.items()))
        return dict(zip(parcels, last, strict=True))


class Outbox:
    """Collects records and table changes while a batch is handled. One per batch; not shared between tasks."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._records: list[tuple[str, int | None, _Row]] = []
        self._changes: dict[tuple[str, int], tuple[PartitionedTable, list[Change]]] = {}

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

    async def _parcels(self) -> dict[tuple[str, int], list[_Row]]:
        parcels: dict[tuple[str, int], list[_Row]] = {}
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


def _partition_for(row: _Row, count: int) -> int:
    key, value, *_ = row
    return partition_of(key, count) if key is not None else (murmur2(value or b"") & 0x7FFFFFFF) % count


def _require_size(key: bytes | None, value: bytes | None, bytes_max: int = MAX_RECORD_BYTES) -> None:
    size = len(key or b"") + len(value or b"")
    if size > bytes_max:
        raise RecordTooLarge(f"{size} bytes, at most {bytes_max} fit into one record")
