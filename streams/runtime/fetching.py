# ruff: noqa: SLF001 - it reaches into aiokafka's fetcher; versions are pinned in repairs.py
"""What is asked of the brokers and how it is unpacked, where aiokafka's own way costs a worker more than it must.

Law: what is fetched, from where and in which order is aiokafka's affair; here are only waits, and the shape of a record.
"""

import time
from collections.abc import Container, Mapping
from typing import Any

from faust.types import TP

from streams.runtime.batches import Record

Fetched = Mapping[TP, list[Record]]

ALL_WAIT_MS = 100
"""How long a broker may hold a fetch that asks for all partitions; after a change it answers the next one behind it."""
TAKE_SECONDS = 0.005
"""In which what has come is taken, so that the next fetch can ask for all; a busy partition holds up the others no longer."""

AHEAD_SECONDS = 0.02
"""After which something is asked for though nobody waits: other partitions may have something else than a backlog."""


def wait_well(fetcher: Any, short_ms: int) -> None:
    """Let a broker hold a fetch that has nothing to bring for `short_ms` when it leaves out partitions whose records wait here.

    A fetch that asks for all comes back with the first record of any, and may be held longer: whoever has nothing to do rests.
    And ask only when somebody waits for records, or after AHEAD_SECONDS: what is asked for while a batch is computed comes back
    with one record, behind which all that come later wait for the next fetch.
    """
    actions, asked = fetcher._get_actions_per_node, float("-inf")

    def waiting(assignment: Any) -> Any:
        nonlocal asked
        fetcher._fetch_max_wait_ms = short_ms if fetcher._records else max(short_ms, ALL_WAIT_MS)
        requests, resets, timeout, *others = actions(assignment)
        if requests:
            now = time.monotonic()
            left = asked + AHEAD_SECONDS - now
            if left > 0 and not fetcher._fetch_waiters:
                return [], resets, min(timeout, left), *others
            asked = now
        return requests, resets, timeout, *others

    fetcher._get_actions_per_node = waiting
    fetcher._prefetch_backoff = TAKE_SECONDS


async def taken(fetcher: Any, wanted: Container[TP], limit: int) -> Fetched:
    """At most `limit` of the records that lie ready, each made once: aiokafka's have eleven fields, of which we need five."""
    for result in fetcher._records.values():
        unpacked = getattr(result, "_partition_records", None)  # it makes records one by one, when asked
        if unpacked is not None:
            unpacked._consumer_record = _record
    found: Fetched = await fetcher.fetched_records(wanted, timeout=0, max_records=limit)
    return found


def _record(_tp: Any, raw: Any) -> Record:
    return _new(Record, (raw.key, raw.value, max(0, raw.timestamp), raw.headers, raw.offset))


_new = tuple.__new__  # the constructor of a named tuple takes half as long again
