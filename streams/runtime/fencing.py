"""The fence: a former owner of a table partition can never write to its changelog again, whatever it still believes.

Every worker writes as an idempotent producer, with an id and an epoch that the broker gave it. Whoever takes a partition over
writes one empty record there under the id of the former owner with the next epoch; from then on the broker itself refuses the
former epoch in that partition. Law: a changelog is read to its end only after that record is acknowledged.

Idempotent producers may raise their epoch themselves (KIP-360), so this needs no transaction, no coordinator and no rights but
to write the topic. Doing it twice is harmless: the broker takes the second time for a repeat of the first.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaProducer

from streams.runtime.roll import Suspect

FENCE_KEY = b"\0fence"
"""Of the empty record, a tombstone: no reader of a table sees it."""
SECONDS = 30.0


async def fence(clients: Mapping[str, Any], suspects: Mapping[Suspect, Iterable[tuple[str, int]]]) -> None:
    """Shut each suspect out of these partitions. Raises KafkaError and TimeoutError."""
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*(_shut_out(clients, suspect, places) for suspect, places in suspects.items()))


async def _shut_out(clients: Mapping[str, Any], suspect: Suspect, places: Iterable[tuple[str, int]]) -> None:
    producer = AIOKafkaProducer(**clients, acks="all", enable_idempotence=True)
    producer_id, epoch = suspect
    producer._txn_manager.set_pid_and_epoch(producer_id, epoch + 1)  # noqa: SLF001 - the public way asks for an id of its own
    async with producer:
        sent = [await producer.send(topic, None, FENCE_KEY, partition) for topic, partition in places]
        await asyncio.gather(*sent)
