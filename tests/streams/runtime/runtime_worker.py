# ruff: noqa: ASYNC110, ASYNC240 - it waits for a file of another process
"""A worker process for the tests of the runtime, on stock Faust or on ours, with faults on request.

It appends each record's value to the row of its key (a value it already has is not appended again, the row is written
again all the same), so the changelog tells exactly which records took effect.
"""

import argparse
import asyncio
import os
import time
from pathlib import Path
from typing import Any

import faust
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.producer import sender
from faust.transport.drivers import aiokafka as driver

from streams import runtime
from streams.runtime.consuming import BatchConsumer

TABLE = "rows"


def row_after(row: bytes | None, value: bytes, pad: int) -> bytes:
    ids = [] if not row else row.split(b"|")[0].split(b",")
    return b",".join(ids if value in ids else [*ids, value]) + b"|" + b"x" * pad


async def before_handling(options: argparse.Namespace, value: bytes) -> None:
    if value.decode() == options.fail_on:
        raise ValueError(f"cannot handle {value!r}")
    if value.decode() == options.hold_on:
        gate = Path(options.gate)
        gate.with_suffix(".held").touch()
        while not gate.exists():
            await asyncio.sleep(0.02)


def stock(options: argparse.Namespace) -> faust.App:
    """Stock Faust with every recommended setting."""
    app = faust.App(
        options.group, broker=f"kafka://{options.bootstrap}", store=options.store, datadir=options.datadir,
        key_serializer="raw", value_serializer="raw", processing_guarantee="at_least_once", topic_allow_declare=False,
        topic_disable_leader=True, producer_acks=-1, stream_wait_empty=True, broker_commit_interval=0.3,
        broker_session_timeout=options.session, broker_heartbeat_interval=0.5, consumer_auto_offset_reset="earliest",
        table_standby_replicas=0, web_enabled=False, worker_redirect_stdouts=False, stream_buffer_maxsize=100_000,
    )  # fmt: skip
    table = app.Table(TABLE, partitions=options.partitions, key_type=bytes, value_type=bytes)
    out = app.topic(options.out, key_type=bytes, value_type=bytes, value_serializer="raw") if options.out else None

    @app.agent(app.topic(options.source, key_type=bytes, value_type=bytes, value_serializer="raw"), concurrency=1)
    async def agent(stream: Any) -> None:
        async for event in stream.events():
            row = table.get(event.key)
            await before_handling(options, event.value)
            table[event.key] = row_after(row, event.value, options.pad)
            if out is not None:
                await out.send(key=event.key, value=event.value)

    return app


def ours(options: argparse.Namespace) -> runtime.App:
    app = runtime.app(
        runtime.Config(
            group=options.group, bootstrap=options.bootstrap, datadir=Path(options.datadir), store=options.store,
            session_timeout=options.session, heartbeat_interval=0.5, commit_interval=0.3, max_batch=options.max_batch,
            membership_timeout=40.0, standby_replicas=options.standbys,
        )
    )  # fmt: skip
    if options.no_table:
        _copy_only(app, options)
        return app
    table = app.table(TABLE, partitions=options.partitions)

    async def handle(batch: runtime.Batch) -> None:
        outbox, view = app.outbox(), table.view(batch.partition)
        for record in batch.records:
            row = view.get(record.key)
            await before_handling(options, record.value)
            view.put(record.key, row_after(row, record.value, options.pad))
            if options.out:
                outbox.add(options.out, record.key, record.value, timestamp_ms=record.timestamp_ms)
        outbox.write(table, batch.partition, view.changes)
        await outbox.flush()

    @app.agent(options.source, name="agent")
    async def agent(stream: Any) -> None:
        if options.one_by_one:
            async for batch in runtime.batches_of(stream):
                await handle(batch)
        else:
            await runtime.serve(stream, handle)

    return app


def _copy_only(app: runtime.App, options: argparse.Namespace) -> None:
    async def copy(batch: runtime.Batch) -> None:
        outbox = app.outbox()
        for record in batch.records:
            outbox.add(options.out, record.key, record.value, timestamp_ms=record.timestamp_ms)
        await outbox.flush()

    @app.agent(options.source, name="copy")
    async def agent(stream: Any) -> None:
        await runtime.serve(stream, copy)


def delay_produce(seconds: float) -> None:
    """A slow broker: every produce request takes this much longer."""
    do = sender.SendProduceReqHandler.do

    async def slow(self: Any, node: Any) -> None:
        await asyncio.sleep(seconds)
        await do(self, node)

    sender.SendProduceReqHandler.do = slow


def die_after_commit() -> None:
    """Power off at the moment the broker has acknowledged the first commit."""
    commit = driver.AIOKafkaConsumerThread._commit

    async def commit_and_die(self: Any, offsets: Any) -> bool:
        done = await commit(self, offsets)
        if done and offsets:
            os._exit(9)
        return done

    driver.AIOKafkaConsumerThread._commit = commit_and_die


def break_fetching(topic: str) -> None:
    """What the first fetch that brings records of the topic ends with, is an error nobody thought of."""
    fetch = Fetcher._proc_fetch_request

    async def breaks(self: Any, *request: Any) -> bool:
        found = await fetch(self, *request)
        if any(tp.topic == topic for tp in self._records):
            raise ValueError("an answer that nobody can read")
        return found

    Fetcher._proc_fetch_request = breaks


def seek_late(consumer: type, seconds: float) -> None:
    """The seek after recovery comes only when 100 records have been delivered, or after so many seconds."""
    seek = consumer.perform_seek

    async def late(self: Any) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not any((offset or 0) >= 100 for offset in self._read_offset.values()):
            await asyncio.sleep(0)
        await seek(self)

    consumer.perform_seek = late


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["stock", "ours"])
    for name in ("bootstrap", "group", "source", "datadir"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--out")
    parser.add_argument("--store", default="memory://")
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--session", type=float, default=6.0)
    parser.add_argument("--pad", type=int, default=0)
    parser.add_argument("--max-batch", type=int, default=500)
    parser.add_argument("--one-by-one", action="store_true")
    parser.add_argument("--no-table", action="store_true")
    parser.add_argument("--standbys", type=int, default=0)
    parser.add_argument("--fail-on")
    parser.add_argument("--hold-on")
    parser.add_argument("--gate")
    parser.add_argument("--produce-delay", type=float, default=0.0)
    parser.add_argument("--die-after-commit", action="store_true")
    parser.add_argument("--seek-late", type=float, default=0.0)
    parser.add_argument("--break-fetching", action="store_true")
    options = parser.parse_args()
    if options.produce_delay:
        delay_produce(options.produce_delay)
    if options.die_after_commit:
        die_after_commit()
    if options.break_fetching:
        break_fetching(options.source)
    if options.seek_late:
        seek_late(BatchConsumer if options.kind == "ours" else driver.Consumer, options.seek_late)
    app = ours(options) if options.kind == "ours" else stock(options)
    runtime.run(app)


if __name__ == "__main__":
    main()
