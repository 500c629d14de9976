"""Looking at topics from beside: where they end, and everything in a stretch of them."""

import asyncio
from collections.abc import AsyncIterator, Callable

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams.log import Log, Record, Span, offsets_of
from streams.settings import reach

Ends = dict[TopicPartition, int]

PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.05


class BenchError(RuntimeError):
    """The measurement is worth nothing: something was lost, or nothing moves any more. The message says what."""


async def ends(log: Log, *topics: str) -> Ends:
    """Where each partition ends now."""
    return {part: span.end for part, span in (await log.spans(*topics)).items()}


def of(at: Ends, topic: str) -> Ends:
    """The part of a look that is about one topic."""
    return {part: end for part, end in at.items() if part.topic == topic}


def between(before: Ends, after: Ends) -> int:
    """How many records came to the topics of `after` between two looks."""
    return sum(end - before.get(part, 0) for part, end in after.items())


async def grown(log: Log, topic: str, before: Ends, count: int, check: Callable[[], None]) -> int:
    """Wait until a topic has grown by `count` records. Answers by how many it has.

    `check` raises when waiting has become pointless. Raises BenchError when nothing more comes.
    """
    loop, seen = asyncio.get_running_loop(), -1
    while (now := between(before, await ends(log, topic))) < count:
        check()
        if now > seen:
            seen, deadline = now, loop.time() + PATIENCE_SECONDS
        elif loop.time() > deadline:
            raise BenchError(f"{topic} has {now} of {count} records, and for {PATIENCE_SECONDS:.0f} s none came")
        await asyncio.sleep(_LOOK_SECONDS)
    return now


async def committed(log: Log, bootstrap: str, group: str, *topics: str) -> None:
    """Wait until the group has committed everything that the topics hold: a worker stopped then leaves nothing to repeat."""
    admin = AIOKafkaAdminClient(**reach(bootstrap))
    await admin.start()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await _uncommitted(admin, group, await ends(log, *topics)):  # noqa: ASYNC110  # the broker tells nobody
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise BenchError(f"group {group} does not come to the end of {', '.join(topics)}") from None
    finally:
        await admin.close()


async def _uncommitted(admin: AIOKafkaAdminClient, group: str, at: Ends) -> int:
    done = await offsets_of(admin, group)
    return sum(max(0, end - done.get(part, 0)) for part, end in at.items())


async def stretch(log: Log, before: Ends, after: Ends) -> AsyncIterator[Record]:
    """Every record between two looks."""
    spans = {part: Span(before.get(part, 0), end) for part, end in after.items()}
    async for batch in log.read(spans):
        for record in batch:
            yield record
