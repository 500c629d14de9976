"""The unit that travels: everything one fetch brought for one topic, as one Faust message of a batch per partition.

Law: a batch is finished when its handler has returned, and by nothing else. Faust's own acknowledgement, which also
happens when a handler fails or is cancelled (faust/streams.py:1334), is switched off here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from faust.types import TP, ConsumerMessage

from streams.runtime.fatal import Exit, end_process

Headers = Sequence[tuple[str, bytes]]


class Record(NamedTuple):
    """One record of a source topic, as it lay in the log. `timestamp_ms` is Kafka's, since the epoch; 0 when it has none."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers
    offset: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one partition, in order, at least one."""

    topic: str
    partition: int
    records: Sequence[Record]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def tp(self) -> TP:
        """Topic and partition."""
        return TP(self.topic, self.partition)


Handler = Callable[[Batch], Awaitable[None]]


class Abandoned(Exception):  # noqa: N818 - it is what happened to the batch
    """Raised by a handler that waits for others while its partition is given up: nothing of the batch is committed."""


async def batches_of(stream: Any) -> AsyncIterator[Batch]:
    """The batches of an agent's stream, one after another. Asking for the next one finishes the one before."""
    async for message in _messages(stream):
        for batch in message.value:
            yield batch
            stream.app.consumer.finish(message, batch)


async def serve(stream: Any, handle: Handler) -> None:
    """Give each batch of an agent's stream to `handle`: partitions side by side, one batch of a partition at a time.

    Those of one fetch compute one after another, and what they write leaves together; while they wait for the broker, others
    compute. An exception of `handle` ends the process (70).
    """
    running: set[asyncio.Task[None]] = set()
    try:
        async for message in _messages(stream):
            for batch in message.value:
                task = asyncio.create_task(_serve_one(stream.app.consumer, message, batch, handle))
                running.add(task)
                task.add_done_callback(running.discard)
    finally:
        for task in running:
            task.cancel()


async def _serve_one(consumer: Any, message: ConsumerMessage, batch: Batch, handle: Handler) -> None:
    try:
        await handle(batch)
    except asyncio.CancelledError:
        raise
    except Abandoned:
        consumer.abandon(message, batch)
        return
    except BaseException as error:  # noqa: BLE001 - whatever it is, the batch must not be committed
        end_process(Exit.UNEXPECTED, f"unexpected error in a batch of {batch.tp}", error=error)
    consumer.finish(message, batch)


async def _messages(stream: Any) -> AsyncIterator[Any]:
    stream.enable_acks = False
    async for event in stream.events():
        yield event.message


def message_of(batches: Sequence[Batch], generation: int) -> ConsumerMessage:
    """Batches of one topic as the one message that Faust knows of. It is done when each of them is."""
    first = batches[0]
    last = first.records[-1]
    value: Any = batches
    message = ConsumerMessage(
        first.topic,
        first.partition,
        last.offset,
        last.timestamp_ms / 1000,
        0,
        headers=None,
        key=None,
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        tp=first.tp,
        generation_id=generation,
    )
    message.incref(len(batches))
    return message
