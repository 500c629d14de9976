"""What stock Faust leaves open for a money ledger, and where each hole is closed.

Nothing is patched globally: Faust is subclassed through `App.transport` and settings, aiokafka objects are wrapped one
by one after they were built. Line numbers are those of faust-streaming 0.15.3, aiokafka 0.14.0, mode-streaming 0.7.1;
`install` refuses any other version, since every repair was proven against these.

=== ======================================================================= ================================================
id  stock defect                                                            closed by
=== ======================================================================= ================================================
L1  flush is not a flush: returns after 100 ms without a message leaving,    `HonestBuffer.flush`
    or while one is on its way (faust/transport/producer.py:78-94)
L2  a failed send is a log line, the commit goes on (faust/topics.py:463,    `SendFailureEndsProcess`, `Outbox.flush`
    aiokafka/producer/message_accumulator.py:349)
L3  records delivered before the seek are dropped after recovery and then    `recovery.IdleRecovery`,
    acked as a compaction gap (faust/tables/recovery.py:649, 306;            `consuming.BatchConsumer.reassign`,
    faust/transport/consumer.py:785, 1111-1168, 1207)                        `shift.Shift`, `book.CommitBook`
L4  a failed record is acked: agent restart, crash handler's commit          `App.agent`, `batches_of`, `serve`,
    (faust/app/base.py:972, faust/streams.py:1334)                           `BatchConsumer.on_task_error`
L5  a worker that lost its membership writes on (no fencing)                 `guard_sender`, `lease.Lease`, `fencing.fence`
L6  fatal join errors leave a worker alive without partitions                `membership.Membership`, `Shift.begin`,
    (aiokafka/consumer/group_coordinator.py `_push_error_to_user`)           `BatchConsumer._commit_offsets`
L7  every change of the group stops every worker, for as long as the         `roll.Roll`, `shift.Shift`
    slowest takes, or one that is dead (eager protocol)
L8  where many wait for a place in a partition's queue, time counts twice,   `posting.Post`
    thrice, ...: a send fails after seconds instead of its timeout
    (aiokafka/producer/message_accumulator.py:594-602)
L9  "who else coordinates the group, I do not" and "I am still loading" are  `heed_coordinator`, for tools `log.offsets_of`
    read as "nothing was ever committed": everything is read again from
    its beginning (aiokafka/consumer/group_coordinator.py, the error of the
    whole answer in OffsetFetch v2 and later is not looked at)
L10 a fetch that ends in the turn of the loop in which records are taken     `fetching.Asking`
    leaves its node marked as busy: nothing is asked for 200 ms
    (aiokafka/consumer/fetcher.py:501, 562: `on_done` runs a turn too late)
L11 a fetcher that ends of an error says so to nobody: the worker lives on   `fetching.taken`, for mirrors and tools
    and reads nothing (aiokafka/consumer/fetcher.py:473, 580)                `log.require_fetching`
=== ======================================================================= ================================================
"""

import asyncio
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupLoadInProgressError, NoError, for_code
from aiokafka.producer.message_accumulator import MessageAccumulator, MessageBatch
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.protocol.commit import OffsetFetchRequest
from faust.sensors.base import Sensor
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Producer as KafkaProducer
from faust.transport.producer import ProducerBuffer
from faust.types.tuples import FutureMessage

from streams.runtime.fatal import Exit, end_process
from streams.runtime.lease import Lease

PROVEN = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "mode-streaming": "0.7.1"}

_RELIED_ON: tuple[tuple[type, tuple[str, ...]], ...] = (
    (ProducerBuffer, ("flush", "_send_pending", "put")),
    (KafkaProducer, ("on_start", "flush", "_settings_extra", "_new_producer")),
    (Consumer, ("_drain_messages", "subscribe", "_new_offset", "_filter_tps_with_pending_acks", "_commit_offsets")),
    (Recovery, ("_restart_recovery", "_slurp_changelogs")),
    (AIOKafkaConsumerThread, ("_create_worker_consumer", "on_start")),
    (Fetcher, ("_get_actions_per_node", "_create_fetch_waiter", "_notify", "fetched_records", "error_future")),
    (MessageAccumulator, ("_append_batch", "create_builder")),
    (MessageBatch, ("retry_count",)),
    (Sender, ("_send_produce_req",)),
    (GroupCoordinator, ("_send_req", "_do_fetch_commit_offsets", "coordinator_dead")),
    (TransactionManager, ("set_pid_and_epoch", "producer_id", "producer_epoch")),
)


class UnprovenVersion(RuntimeError):  # noqa: N818 - the message is the point
    """A library the repairs rely on is not the one they were proven with."""


def install() -> None:
    """Check that the libraries are those the repairs were proven with. Idempotent. Raises UnprovenVersion."""
    for package, proven in PROVEN.items():
        if (found := version(package)) != proven:
            raise UnprovenVersion(
                f"{package} {found} is installed, but the money-safety repairs are proven with {proven} only: "
                f"install {package}=={proven}, or re-run tests/streams/runtime and raise the pin in repairs.py"
            )
    missing = [f"{owner.__name__}.{name}" for owner, names in _RELIED_ON for name in names if not hasattr(owner, name)]
    if missing:
        raise UnprovenVersion(f"the repairs replace these, and they do not exist: {', '.join(missing)}")


class _Marker:
    """Travels through the buffer behind everything put before it."""

    def __init__(self) -> None:
        self.passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class HonestBuffer(ProducerBuffer):
    """L1: `flush` returns when all that was put before it has reached the producer, and at no other time."""

    async def flush(self) -> None:
        if self.should_stop or self.state != "running":
            while self.pending.qsize():
                await self._send_pending(self.pending.get_nowait())
            return
        marker = _Marker()
        self.pending.put_nowait(marker)
        while not marker.passed.done():
            await asyncio.wait({marker.passed}, timeout=0.5)
            if not marker.passed.done() and (self.crashed or self.should_stop):
                raise RuntimeError("the producer buffer died before it was flushed")

    async def _send_pending(self, fut: FutureMessage | _Marker) -> None:
        if isinstance(fut, _Marker):
            if not fut.passed.done():
                fut.passed.set_result(None)
            return
        await super()._send_pending(fut)


def guard_sender(sender: Any, lease: Lease) -> None:
    """L5: no produce request of this sender leaves without a valid lease (aiokafka/producer/sender.py:236)."""
    unguarded: Callable[..., Any] = sender._send_produce_req  # noqa: SLF001

    async def send(node_id: Any, batches: Any) -> None:
        await lease.held()
        await unguarded(node_id, batches)

    sender._send_produce_req = send  # noqa: SLF001


def heed_coordinator(coordinator: Any) -> None:
    """L9: an answer to OffsetFetch that failed as a whole is a failure, which aiokafka then tries again, elsewhere if need be."""
    unheeded: Callable[..., Any] = coordinator._send_req  # noqa: SLF001

    async def send(request: Any) -> Any:
        response = await unheeded(request)
        error = for_code(getattr(response, "error_code", 0)) if isinstance(request, OffsetFetchRequest) else NoError
        if error is NoError:
            return response
        if error is not GroupLoadInProgressError:
            coordinator.coordinator_dead()
        raise error

    coordinator._send_req = send  # noqa: SLF001


class HonestProducer(KafkaProducer):
    """Faust's producer with the honest buffer, under the lease, idempotent.

    Idempotent, because a produce request that timed out may still be lying in the broker: without sequence numbers its
    old state could land behind a newer one of the same account.
    """

    app: Any
    lease: Lease

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.buffer = HonestBuffer(loop=self.loop, beacon=self.beacon)
        self.buffer.app = self.app
        self.lease = self.app.lease

    def _settings_extra(self) -> dict[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    async def on_start(self) -> None:
        await super().on_start()
        guard_sender(self.client._sender, self.lease)  # noqa: SLF001

    @property
    def identity(self) -> tuple[int, int]:
        """Producer id and epoch, by which others shut this worker out. Raises NotReady before the start."""
        ids = self.client._txn_manager  # noqa: SLF001
        return ids.producer_id, ids.producer_epoch

    @property
    def client(self) -> Any:
        """The aiokafka producer. Raises NotReady before the start."""
        return self._ensure_producer()


class SendFailureEndsProcess(Sensor):
    """L2: a record of Faust's own (`topic.send`, a table's changelog) that the broker refuses ends the process."""

    def on_send_error(self, producer: Any, exc: BaseException, state: Any) -> None:  # noqa: ARG002
        end_process(Exit.UNEXPECTED, "a record could not be sent", error=exc)
