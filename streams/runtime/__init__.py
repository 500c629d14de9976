"""The runtime: Faust as a shell around batches, at least once and safe for money.

Faust keeps its app, worker, agents, consumer group, assignor, tables, changelog recovery and offset commit. What travels
through them is not a record but a *batch*: everything one fetch brought for one partition, at most `max_batch` records.
Law: an offset is committed only when every record produced for it, changelog included, is acknowledged by the broker;
whatever cannot keep that promise ends the process uncommitted, and another worker repeats the batch.

How a topology reads::

    from streams import runtime

    app = runtime.app(runtime.Config(group="loy", bootstrap="127.0.0.1:9092", datadir=Path("data/worker-1")))
    accounts = app.table("accounts", partitions=12)

    @app.agent("loy.commands", name="ledger")
    async def ledger(stream):
        await runtime.serve(stream, handle)            # partitions side by side, one batch of each at a time

    async def handle(batch: runtime.Batch) -> None:    # knows nothing of Faust: easy to call from a test
        outbox, view = app.outbox(), accounts.view(batch.partition)
        for record in batch.records:                   # Record(key, value, timestamp_ms, headers, offset)
            state = view.get(record.key)               # sees its own puts
            view.put(record.key, ...)
            outbox.add("loy.events", record.key, ..., timestamp_ms=record.timestamp_ms)
        outbox.write(accounts, batch.partition, view.changes)
        await outbox.flush()                           # back when the broker has everything; then the store is written

    runtime.run(app)                                   # until SIGTERM/SIGINT; exit 0

`async for batch in runtime.batches_of(stream): await handle(batch)` does the same strictly one batch after another.

* **Done means returned.** A batch is finished when the handler returned (or the loop body asked for the next one). An
  exception, a cancelled task or a lost partition finishes nothing. Any exception but CancelledError ends the process
  with code 70; a record the handler cannot digest must therefore be dead-lettered by the handler itself.
* **Giving up.** A handler that waits for somebody else (a vendor that is down) holds up the whole group while partitions
  move, and a stop. It may watch `app.leaving()` and raise `Abandoned` then: the next owner repeats the batch.
* **Order.** Batches of one partition come strictly one after another and without gaps; `serve` interleaves different
  partitions at awaits only.
* **Tables.** `get`, `get_many` and `items` read one partition of this worker and see what has been flushed; a view also
  sees the changes made through it. `outbox.write` takes any mapping, a value of None deletes. Reading a partition that
  is not owned raises `NotOwned`. The store is written after the changelog is acknowledged, data and changelog offset in
  one atomic write, so it is never ahead of the changelog and never behind the offset it claims.
  `table.on_recovered(fn)` is awaited with the set of owned partitions after each rebalance, before the first batch.
  `changelog_topic(group, table)` names the topic that must exist: compacted, with exactly the partitions of the source
  topics. Several source topics may write a table if they have that same count.
* **Partitioning.** `partition_of(key, count)` is the one function for everybody: murmur2, the same as Java's and
  aiokafka's default.
* **Outside agents.** `app.timer(seconds)` and `app.task` are Faust's and start after the first recovery; they may read
  tables and use an outbox, but must not write tables: they send a command to the source topic.
* **Exit codes** (`Exit`): 70 unexpected error or failed send, 75 membership lost (heartbeats too old, fatal join error,
  process was paused), 77 a gap in the offsets of a source topic. Each is logged as CRITICAL first; nothing is committed.
"""

from streams.runtime.application import App, Config, app, run
from streams.runtime.batches import Abandoned, Batch, Record, batches_of, serve
from streams.runtime.fatal import Exit
from streams.runtime.membership import SETTINGS as ROLL_SETTINGS
from streams.runtime.membership import roll_topic
from streams.runtime.partitioning import partition_of
from streams.runtime.producing import MAX_RECORD_BYTES, Outbox, RecordTooLarge
from streams.runtime.tables import NotOwned, PartitionedTable, TableView, changelog_topic

__all__ = [
    "MAX_RECORD_BYTES",
    "ROLL_SETTINGS",
    "Abandoned",
    "App",
    "Batch",
    "Config",
    "Exit",
    "NotOwned",
    "Outbox",
    "PartitionedTable",
    "Record",
    "RecordTooLarge",
    "TableView",
    "app",
    "batches_of",
    "changelog_topic",
    "partition_of",
    "roll_topic",
    "run",
    "serve",
]
