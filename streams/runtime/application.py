"""The app: Faust's, configured for money, with our transport, tables and agents.

Law: the settings that decide about safety are fixed here; a deployment chooses names, places, sizes and timeouts only.
"""

import asyncio
import ctypes
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import faust
from faust.types import TP

from streams.runtime import repairs
from streams.runtime.consuming import BatchTransport
from streams.runtime.fatal import Exit, end_process
from streams.runtime.lease import Lease
from streams.runtime.posting import Post
from streams.runtime.producing import Outbox
from streams.runtime.recovery import CarefulTables
from streams.runtime.shift import Shift
from streams.runtime.stores import Stores
from streams.runtime.tables import PartitionedTable
from streams.runtime.vitals import Vitals
from streams.runtime.yielding import Yielding

BARE_SECONDS = 3.0
LOOK_SECONDS = 0.01
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a deployment decides. Times in seconds unless the name says otherwise."""

    group: str
    """Consumer group, and prefix of the changelog topics."""
    bootstrap: str
    """Brokers: `host:port`, several separated by commas."""
    access: Mapping[str, Any] = field(default_factory=dict)
    """How they let us in: `security_protocol` and what belongs to it, as aiokafka's clients take it."""
    datadir: Path
    """Folder of this worker alone: no two workers may share one. Deleting it is always safe."""
    store: str = "rocksdb://"
    """Where tables keep their rows: `rocksdb://` or `memory://`."""
    session_timeout: float = 6.0
    """A worker silent for this long loses its partitions to the others."""
    heartbeat_interval: float = 0.5
    """How often it says that it lives. At most a fifth of the session timeout."""
    membership_timeout: float = 60.0
    """When nothing could be said to the others for this long, the process ends with code 75."""
    instance_id: str | None = None
    """What the worker is called in logs; the host's name by default."""
    standby_replicas: int = 0
    """Workers that keep a warm copy of each table partition, beside its owner."""
    max_batch: int = 500
    """Records of a batch at most."""
    fetch_wait_ms: int = 20
    """How long the broker may hold a fetch that leaves out partitions, and has nothing of the others to bring."""
    fetch_bytes: int = 1 << 20
    """Bytes of one fetch per partition at most."""
    produce_bytes: int = 1 << 19
    """Bytes of one produce batch at most. Below the broker's message.max.bytes."""
    send_timeout: float = 60.0
    """A flush that takes longer ends the process."""
    stop_timeout: float = 60.0
    """An orderly stop that takes longer ends the process."""
    commit_interval: float = 1.0
    extra: dict[str, Any] = field(default_factory=dict)
    """Further Faust settings."""

    @property
    def clients(self) -> dict[str, Any]:
        """How clients of our own reach the brokers."""
        return {"bootstrap_servers": self.bootstrap, **self.access}


class App(faust.App):
    """A Faust app whose agents take batches."""

    producer: Any
    consumer: Any

    def __init__(self, config: Config) -> None:
        repairs.install()
        self.config = config
        self.shift = Shift(self)
        self.sources: set[str] = set()
        self.compacted: set[str] = set()
        self.lease = Lease(config.session_timeout)
        self.vitals = Vitals(self)
        self.yielding = Yielding(self)
        self._bare_ends: dict[TP, int] = {}
        self._leaving = asyncio.Event()
        self._post: Post | None = None
        super().__init__(config.group, **_settings(config))
        self.transport = BatchTransport(self.conf.broker_consumer, self)
        self.producer_transport = self.transport
        self.sensors.add(repairs.SendFailureEndsProcess())

    def agent(
        self,
        channel: Any = None,
        *,
        name: str | None = None,
        compacted: bool = False,
        yields_to: str | None = None,
        **kwargs: Any,
    ) -> Callable[[Any], Any]:
        """An agent on one source topic. An exception that leaves it ends the process with code 70 (L4).

        `compacted` says that the topic is: missing offsets are then superseded records, not lost ones. `yields_to` says that it
        is read when nothing else waits here, and not too much anywhere in that topic, which its handler writes.
        """
        if not isinstance(channel, str):
            raise TypeError("an agent takes the name of one topic")
        self.sources.add(channel)
        if compacted:
            self.compacted.add(channel)
        if yields_to is not None:
            self.yielding.topics[channel] = yields_to
        topic = self.topic(channel, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
        register = super().agent(topic, name=name, concurrency=1, **kwargs)

        def declare(fun: Callable[[Any], Any]) -> Any:
            @wraps(fun)
            async def guarded(stream: Any) -> None:
                try:
                    await fun(stream)
                except asyncio.CancelledError:
                    raise
                except BaseException as error:  # noqa: BLE001 - whatever it is, nothing may be committed
                    end_process(Exit.UNEXPECTED, f"agent {name or fun.__name__} failed", error=error)

            return register(guarded)

        return declare

    def table(self, name: str, *, partitions: int) -> PartitionedTable:
        """A table with `partitions` equal to those of the topics whose agents write it."""
        folder = Path(self.conf.tabledir) if self.config.store.startswith("rocksdb") else None
        table = PartitionedTable(self, name=name, partitions=partitions, stores=Stores(folder, name), beacon=self.tables.beacon)
        self.tables.add(table)
        return table

    def outbox(self) -> Outbox:
        """A new, empty outbox. Only while the app runs."""
        return Outbox(self._the_post())

    async def partitions(self, topic: str) -> int:
        """Number of partitions of a topic. Raises KafkaError or TimeoutError when there is no such topic."""
        async with asyncio.timeout(10.0):
            return await self._the_post().partitions(topic)

    def _the_post(self) -> Post:
        if self._post is None:
            self._post = Post(self.producer.client, self.config.send_timeout)
        return self._post

    async def stop(self) -> None:
        """Finish the batches at hand, commit, leave the group; after `stop_timeout` end the process (70)."""
        late = threading.Timer(self.config.stop_timeout, end_process, (Exit.UNEXPECTED, "the stop took too long"))
        late.daemon = True
        late.start()
        await super().stop()
        late.cancel()

    def _crash(self, reason: BaseException) -> None:
        """A crash of any part ends the process; stock would stop in good order, and wait for what crashed."""
        if not (self.should_stop or isinstance(reason, asyncio.CancelledError)):
            end_process(Exit.UNEXPECTED, "a part of the worker crashed", error=reason)
        super()._crash(reason)

    def table_sizes(self) -> Iterator[tuple[str, int, int, int]]:
        """(table, partition, rows, bytes) of the open stores, estimated. Safe from another thread."""
        for table in self.tables.values():
            for partition, (rows, taken) in table.stores.sizes().items():
                yield table.name, partition, rows, taken

    async def on_stop(self) -> None:
        """Finish what is at hand, commit it, tell the others."""
        self.shift.end()
        self.note_leaving()
        await super().on_stop()

    async def _stop_consumer(self) -> None:
        await super()._stop_consumer()
        await self.shift.leave()

    async def leaving(self) -> None:
        """Back as soon as partitions are given up (others take over, a stop): the batches at hand are waited for from then on."""
        await self._leaving.wait()

    @property
    def is_leaving(self) -> bool:
        """Whether a batch at hand is waited for."""
        return self._leaving.is_set()

    def note_leaving(self) -> None:
        """The shift has begun or ended to give partitions up."""
        if self.shift.giving:
            self._leaving.set()
        else:
            self._leaving.clear()

    async def caught_up(self, topic: str, partition: int) -> None:
        """Back when every record that the partition of this worker held at the call is finished.

        The end of a compacted log may be bare: where nothing comes for BARE_SECONDS, nothing will.
        """
        tp, book = TP(topic, partition), self.consumer.book
        end = (await self.consumer.highwaters(tp))[tp]
        done, since = book.position(tp), time.monotonic()
        while end != self._bare_ends.get(tp) and (done is None or done < end):
            await asyncio.sleep(LOOK_SECONDS)
            if book.busy(tp) or book.position(tp) != done:
                done, since = book.position(tp), time.monotonic()
            elif done is not None and time.monotonic() - since > BARE_SECONDS:
                self._bare_ends[tp] = end


def _settings(config: Config) -> dict[str, Any]:
    """Faust's settings. The reasons are those of the repairs: see repairs.py."""
    config.datadir.mkdir(parents=True, exist_ok=True)
    return {
        "broker": ";".join(f"kafka://{host}" for host in config.bootstrap.split(",")),
        "broker_credentials": _credentials(config.access),
        "broker_request_timeout": 40.0,
        "broker_session_timeout": 30.0,  # of no meaning: the consumer joins no group
        "broker_commit_interval": config.commit_interval,
        "broker_commit_every": 1 << 30,
        "broker_max_poll_records": config.max_batch,
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": config.fetch_bytes,
        "datadir": config.datadir,
        "key_serializer": "raw",
        "processing_guarantee": "at_least_once",
        "producer_acks": -1,
        "producer_linger": 0.0,
        "producer_max_batch_size": config.produce_bytes,
        "producer_max_request_size": 1 << 20,
        "producer_request_timeout": 30.0,
        "producer_threaded": False,
        "recovery_consistency_check": True,
        "store": "memory://",
        "stream_publish_on_commit": False,
        "stream_wait_empty": True,
        "TableManager": CarefulTables,
        "table_standby_replicas": 0,  # those of ours are the shift's
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "value_serializer": "raw",
        "web_enabled": False,
        "web_router_enabled": False,
        "web_tables_enabled": False,
        "worker_redirect_stdouts": False,
        **config.extra,
    }


def _credentials(access: Mapping[str, Any]) -> Any:
    """The same in Faust's own words; None where nothing is asked for."""
    context = access.get("ssl_context")
    if "sasl_mechanism" not in access:
        return None if context is None else faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=access["sasl_plain_username"],
        password=access["sasl_plain_password"],
        mechanism=access["sasl_mechanism"],
        ssl_context=context,
    )


def app(config: Config) -> App:
    """The app of one worker process. Raises UnprovenVersion when a library is not the one the repairs know."""
    return App(config)


def _keep_memory() -> None:
    """Keep what a batch has used for the next one: glibc hands blocks of a megabyte back, and faults their pages in again."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none, and other ways
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)


def run(app: App, *, loglevel: str = "INFO") -> None:
    """Run the worker until SIGTERM or SIGINT; ends by SystemExit, code 0 after an orderly stop.

    The log level is always explicit: at WARNING Faust's start-up spinner would set the root logger to DEBUG
    (faust/worker.py:384-390).
    """
    logging.basicConfig(level=loglevel, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # A batch makes thousands of objects and hardly a cycle; walking them every few hundred took an eighth of all time.
    gc.set_threshold(500_000, 20, 20)
    gc.freeze()  # what was imported stays
    _keep_memory()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    worker = faust.Worker(app, loglevel=loglevel, override_logging=False, redirect_stdouts=False, quiet=True, loop=loop)
    worker.spinner = None
    worker.execute_from_commandline()
