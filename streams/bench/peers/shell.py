"""Our own runtime with the reference job in place of the domain: what Faust as a shell around batches costs by itself."""

import sys
from pathlib import Path
from typing import Any

from streams import runtime
from streams.bench.peers.job import accrue

GROUP, TABLE, CHECKS, EVENTS = "bench-shell", "members", "bench.shell.checks", "bench.shell.events"
CHANGELOG = runtime.changelog_topic(GROUP, TABLE)
BATCH = 1000
"""Records: what a fetch of a megabyte brings. A worker takes half as many, whose checks cost ten times as much."""


def app(bootstrap: str, folder: Path, partitions: int) -> runtime.App:
    """One agent, one table."""
    app = runtime.app(runtime.Config(group=GROUP, bootstrap=bootstrap, datadir=folder, max_batch=BATCH))
    members = app.table(TABLE, partitions=partitions)

    async def handle(batch: runtime.Batch) -> None:
        outbox, view = app.outbox(), members.view(batch.partition)
        for record in batch.records:
            key = record.key or b""
            done = accrue(view.get(key), key, record.value or b"")
            if done is not None:
                view.put(key, done.row)
                outbox.add(EVENTS, key, done.event, timestamp_ms=record.timestamp_ms, partition=batch.partition)
        outbox.write(members, batch.partition, view.changes)
        await outbox.flush()

    @app.agent(CHECKS, name="job")
    async def job(stream: Any) -> None:
        await runtime.serve(stream, handle)

    return app


if __name__ == "__main__":
    where, path, count = sys.argv[1:]
    runtime.run(app(where, Path(path), int(count)), loglevel="WARNING")
