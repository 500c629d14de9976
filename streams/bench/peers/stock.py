"""Faust as it comes, with the reference job, as its documentation writes such a thing: an agent that takes one check at a time.

What our runtime is measured against: the same library, without what `streams.runtime` makes of it. It is at least once in good
times alone: what stock Faust loses in bad ones is written in docs/adr/0002.
"""

import sys
from pathlib import Path
from typing import Any

import faust

from streams.bench.peers.job import accrue

GROUP, CHECKS, EVENTS = "bench-stock", "bench.stock.checks", "bench.stock.events"
CHANGELOG = f"{GROUP}-members-changelog"


def app(bootstrap: str, folder: Path, partitions: int) -> faust.App:
    """One agent, one table; what its documentation says makes it faster is set."""
    app = faust.App(
        GROUP,
        broker=f"kafka://{bootstrap}",
        store="rocksdb://?driver=rocksdict",
        datadir=folder,
        key_serializer="raw",
        value_serializer="raw",
        topic_partitions=partitions,
        topic_replication_factor=1,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=1.0,
        producer_acks=-1,
        producer_linger=0.02,
        producer_max_batch_size=1 << 19,
        web_enabled=False,
    )
    checks, events = (app.topic(name, key_type=bytes, value_type=bytes) for name in (CHECKS, EVENTS))
    members = app.Table("members", partitions=partitions, key_type=bytes, value_type=bytes)

    @app.agent(checks)
    async def job(stream: Any) -> None:
        async for member, check in stream.items():
            done = accrue(members.get(member), member, check)
            if done is not None:
                members[member] = done.row
                await events.send(key=member, value=done.event)

    return app


if __name__ == "__main__":
    where, path, count = sys.argv[1:]
    faust.Worker(app(where, Path(path), int(count)), loglevel="INFO").execute_from_commandline()
