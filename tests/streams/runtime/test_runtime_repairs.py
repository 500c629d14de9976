"""Each repair against the defect it closes: the same scenario on stock Faust loses, on ours it does not.

The windows are forced open (a slow broker, a late seek, a paused process), not waited for; see runtime_worker.py.
"""

import asyncio
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import RecordsToDelete
from faust.transport.producer import ProducerBuffer
from runtime_harness import Line, Worker, numbered, until, values

from streams.runtime import repairs
from tests.kafka_topics import asking

pytestmark = pytest.mark.timeout(120)


@dataclass
class Outcome:
    """How a scenario ended: what the group holds for done, and what the changelog shows."""

    committed: int
    effects: set[bytes]
    exit_code: int | None = None

    @property
    def lost(self) -> set[bytes]:
        """Records whose offset is committed and whose effect is nowhere (values are the offsets of their records)."""
        return values(self.committed) - self.effects


async def outcome(line: Line, exit_code: int | None = None) -> Outcome:
    return Outcome((await line.committed()).get(0, 0), await line.effects(), exit_code)


@pytest.fixture
def lines(kafka, topic_prefix, tmp_path):
    def make(kind: str) -> Line:
        return Line(kafka.bootstrap, f"{topic_prefix}{kind}-", tmp_path)

    return make


async def quiet(line: Line) -> None:
    """Wait until neither the group nor the table moves any more."""
    seen: list[object] = []

    async def still() -> bool:
        seen.append((await line.committed(), len(await line.rows())))
        return len(seen) > 12 and len(set(map(repr, seen[-12:]))) == 1

    await until(still, f"{line.group} quiet")


async def test_L1_a_commit_covers_only_what_the_broker_has_acknowledged(lines):
    async def scenario(kind: str) -> Outcome:
        line = await lines(kind).make()
        await line.send(numbered(300))
        with line.worker(kind, pad=600, produce_delay=0.4, die_after_commit=True, max_batch=40) as worker:
            return await outcome(line, await worker.exit_code())

    stock, ours = await asyncio.gather(scenario("stock"), scenario("ours"))
    assert (stock.exit_code, ours.exit_code) == (9, 9)
    assert stock.lost
    assert ours.committed > 0
    assert not ours.lost


class _SlowChannel:
    """A topic to which a record goes out in 0.15 s."""

    def __init__(self) -> None:
        self.sent = 0

    async def publish_message(self, fut: object, *, wait: bool) -> None:
        await asyncio.sleep(0.15)
        self.sent += 1


async def test_L1_flush_returns_when_all_that_was_put_has_gone_out():
    async def sent_at_return(kind: type[ProducerBuffer]) -> int:
        channel, buffer = _SlowChannel(), kind()
        buffer.app = SimpleNamespace(conf=SimpleNamespace(producer_threaded=False))
        await buffer.start()
        for _ in range(3):
            buffer.put(SimpleNamespace(message=SimpleNamespace(channel=channel)))
        await buffer.flush()
        sent = channel.sent
        with suppress(RuntimeError):  # stock: "Cannot flush: Producer not Running"
            await buffer.stop()
        return sent

    assert await sent_at_return(ProducerBuffer) < 3
    assert await sent_at_return(repairs.HonestBuffer) == 3


def test_L2_a_failed_send_of_fausts_own_ends_the_process(monkeypatch):
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    repairs.SendFailureEndsProcess().on_send_error(None, ValueError("refused"), None)
    assert codes == [70]


async def test_L2_a_record_the_broker_refuses_ends_the_process_uncommitted(lines):
    records = numbered(300)
    records[150] = (records[150][0], b"150," + b"y" * 40_000)

    async def scenario(kind: str) -> Outcome:
        line = await lines(kind).make(**{"max.message.bytes": "20000"})
        await line.send(records)
        with line.worker(kind, max_batch=50) as worker:
            if kind == "ours":
                return await outcome(line, await worker.exit_code())
            await line.until_committed(300)
            return await outcome(line, await worker.stop())

    stock, ours = await asyncio.gather(scenario("stock"), scenario("ours"))
    assert (stock.exit_code, stock.committed) == (0, 300)
    assert b"150" in stock.lost
    assert ours.exit_code == 70
    assert ours.committed <= 150
    assert not ours.lost


@pytest.mark.parametrize("already", [0, 1], ids=["fresh group", "group with a commit"])
async def test_L3_no_record_is_dropped_between_recovery_and_seek(lines, already, tmp_path):
    count = 6000
    everything = values(count - already, already)

    async def scenario(kind: str, attempt: int = 0) -> Outcome:
        line = await lines(f"{kind}-{attempt}").make()
        await line.send([(b"restored", b"restored|")], topic=line.changelog)
        await line.send(numbered(count))
        if already:
            await line.commit(0, already)
        gate = tmp_path / f"{kind}-{attempt}.gate"
        with line.worker(kind, seek_late=1 if kind == "ours" else 10, hold_on=already, gate=gate) as worker:
            await worker.ready()
            gate.touch()
            await (line.until_committed(count) if kind == "ours" else quiet(line))
            return await outcome(line, await worker.stop())

    async def stock_loses() -> bool:
        """The late seek must also fall between two steps of stock's, which it may miss: there are three attempts."""
        for attempt in range(3):
            if everything - (await scenario("stock", attempt)).effects:
                return True
        return False

    lost, ours = await asyncio.gather(stock_loses(), scenario("ours"))
    assert lost
    assert ours.committed == count
    assert ours.effects == everything | {b"restored"}


async def test_L4_a_failed_record_is_never_acknowledged(lines):
    async def scenario(kind: str, *, one_by_one: bool = False) -> Outcome:
        line = await lines(f"{kind}-{one_by_one}").make()
        await line.send(numbered(100))
        style = {"one_by_one": True} if one_by_one else {}
        with line.worker(kind, fail_on=50, max_batch=20, **style) as worker:
            if kind == "ours":
                code = await worker.exit_code()
            else:
                await line.until_committed(100)
                code = await worker.stop()
        done = (await line.committed()).get(0, 0)
        assert kind == "stock" or done <= 50
        with line.worker(kind, max_batch=20, **style) as worker:
            await line.until_committed(100)
            await worker.stop()
        return await outcome(line, code)

    stock, *both = await asyncio.gather(scenario("stock"), scenario("ours"), scenario("ours", one_by_one=True))
    assert stock.lost == {b"50"}
    for ours in both:
        assert ours.exit_code == 70
        assert ours.effects == values(100)


async def test_L5_a_worker_that_was_paused_does_not_write_over_its_successor(lines, tmp_path):
    async def scenario(kind: str) -> tuple[list[bytes], int | None]:
        """All rows ever written for the key, and how the paused worker ended."""
        line, gate = await lines(kind).make(), tmp_path / f"{kind}.gate"
        await line.send([(b"k", b"0")])
        with line.worker(kind, "a", hold_on="0", gate=gate) as paused:
            await until(gate.with_suffix(".held").exists, "the first worker is in the middle of a record")
            paused.signal(signal.SIGSTOP)
            before = paused.said().count("Worker ready")
            with line.worker(kind, "b") as successor:
                await successor.ready()
                await line.send([(b"k", b"%d" % n) for n in range(1, 10)])
                await line.until_committed(10)
                gate.touch()
                paused.signal(signal.SIGCONT)
                code = await paused.exit_code() if kind == "ours" else await _rejoined(paused, before)
                await line.until_committed(10)
        return [(row or b"").split(b"|")[0] for _, row in await line.read(line.changelog)], code

    (stock, _), (ours, code) = await asyncio.gather(scenario("stock"), scenario("ours"))
    complete, stale = b"0,1,2,3,4,5,6,7,8,9", b"0"
    assert stale in stock[stock.index(complete) :]
    assert code == 75
    assert ours[-1] == complete
    assert stale not in ours[ours.index(complete) :]


async def _rejoined(worker: Worker, before: int) -> None:
    await worker.ready(times=before + 1)


async def test_L6_a_worker_the_group_refuses_does_not_live_on(lines):
    async def scenario(kind: str) -> int | None:
        line = await lines(kind).make()
        stranger = AIOKafkaConsumer(line.source, bootstrap_servers=line.bootstrap, group_id=line.group)
        await stranger.start()
        try:
            with line.worker(kind) as worker:
                if kind == "ours":
                    return await worker.exit_code()
                await until(lambda: "fatal error" in worker.said(), "stock was refused")
                return worker.process.poll()
        finally:
            await stranger.stop()

    stock, ours = await asyncio.gather(scenario("stock"), scenario("ours"))
    assert stock is None
    assert ours == 75


async def test_L11_a_worker_whose_fetcher_has_ended_does_not_live_on(lines):
    async def scenario(kind: str) -> int | None:
        line = await lines(kind).make()
        await line.send(numbered(10))
        with line.worker(kind, break_fetching=True) as worker:
            if kind == "ours":
                return await worker.exit_code()
            await until(lambda: "Unexpected error in fetcher routine" in worker.said(), "the fetcher of stock has ended")
            return worker.process.poll()

    stock, ours = await asyncio.gather(scenario("stock"), scenario("ours"))
    assert stock is None
    assert ours == 70


async def test_a_gap_in_the_source_topic_is_fatal(lines):
    line = await lines("ours").make()
    await line.send(numbered(10))
    await line.commit(0, 2)
    await _delete_up_to(line, 5)
    with line.worker("ours") as worker:
        assert await worker.exit_code() == 77
    assert (await line.committed()) == {0: 2}
    assert not await line.effects()
    assert "expected offset 2, got 5" in worker.said()


async def _delete_up_to(line: Line, offset: int) -> None:
    async with asking(line.bootstrap) as admin:
        await admin.delete_records({TopicPartition(line.source, 0): RecordsToDelete(before_offset=offset)})


def test_the_repairs_refuse_libraries_they_were_not_proven_with(monkeypatch):
    repairs.install()
    repairs.install()
    monkeypatch.setattr(repairs, "version", lambda package: "9.9.9" if package == "aiokafka" else repairs.PROVEN[package])
    with pytest.raises(repairs.UnprovenVersion, match=r"aiokafka 9\.9\.9 is installed.*0\.14\.0"):
        repairs.install()
    monkeypatch.undo()
    monkeypatch.setattr(repairs, "_RELIED_ON", ((Path, ("gone_with_the_next_release",)),))
    with pytest.raises(repairs.UnprovenVersion, match=r"Path\.gone_with_the_next_release"):
        repairs.install()
