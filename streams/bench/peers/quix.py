"""Quix Streams 3 with the reference job, as its documentation writes such a thing: a stateful function over a topic.

Runs in an environment of its own (deploy/peers/quix.lock), because it asks for an older pydantic than we do.
"""

import sys
from typing import Any

from streams.bench.peers.job import accrue

GROUP, CHECKS, EVENTS = "bench-quix", "bench.quix.checks", "bench.quix.events"
CHANGELOG = f"changelog__{GROUP}--{CHECKS}--default"  # Quix's own name for it
KEY = b"row"


def job(check: bytes, member: bytes, _timestamp: int, _headers: Any, state: Any) -> bytes | None:
    """Rows as bytes, which is the fastest that it offers."""
    done = accrue(state.get_bytes(KEY), member, check)
    if done is None:
        return None
    state.set_bytes(KEY, done.row)
    return done.event


def run(bootstrap: str, folder: str) -> None:
    """Until SIGTERM."""
    from quixstreams import Application  # type: ignore[import-not-found]  # noqa: PLC0415  # not in the product's environment

    app = Application(
        bootstrap,
        consumer_group=GROUP,
        auto_offset_reset="earliest",
        commit_interval=1.0,
        state_dir=folder,
        loglevel="WARNING",
        producer_extra_config={"acks": "all"},
    )
    checks = app.topic(CHECKS, key_deserializer="bytes", value_deserializer="bytes")
    events = app.topic(EVENTS, key_serializer="bytes", value_serializer="bytes")
    stream = app.dataframe(checks).apply(job, stateful=True, metadata=True)
    stream.filter(lambda event: event is not None).to_topic(events)
    app.run()


if __name__ == "__main__":
    run(*sys.argv[1:])
