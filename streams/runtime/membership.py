"""A worker's place in the roll: it reads what all say, says that it lives, and says who has fallen silent.

It runs in the consumer's thread, whose loop goes on while a batch is being computed. Law: nothing is said after a stall before
the roll is read to its end; and nobody is called dead by one who was not heard himself in all that time.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from streams.runtime.fatal import Exit, end_process
from streams.runtime.lease import Instant, Lease
from streams.runtime.roll import Roll, Statement, Suspect, View, statement_of

logger = logging.getLogger(__name__)

SETTINGS = {"cleanup.policy": "delete", "retention.ms": "1800000", "segment.ms": "600000"}
"""Of the roll's topic. Everything that counts is said again every few hundred milliseconds."""
REQUEST_MS = 5_000
JOIN_TRIES = 12


def roll_topic(group: str) -> str:
    """Name of the topic in which the workers of a group find each other. It must exist, with one partition."""
    return f"{group}-workers"


def incarnation(name: str) -> str:
    """The name of this start of this process."""
    return f"{name}-{secrets.token_hex(6)}"


class Membership:
    """One worker's part in the roll of its group. Made and used in one loop, but for `say`."""

    def __init__(
        self,
        clients: Mapping[str, Any],
        group: str,
        me: str,
        producer: Suspect,
        lease: Lease,
        told: Callable[[View], None],
        *,
        session: float,
        interval: float,
        patience: float,
        former: str = "",
    ) -> None:
        self.me = me
        self._part = TopicPartition(roll_topic(group), 0)
        self._clients = dict(clients)
        self._producer_id = producer
        self._lease = lease
        self._told = told
        self._session, self._interval, self._patience = session, interval, patience
        self._former = former
        self._roll = Roll()
        self._position = 0
        self._number = 0
        self._heard: dict[str, float] = {}
        self._fair_since = time.monotonic()
        self._sent: dict[int, Instant] = {}
        self._said = Instant.now()
        self._news = asyncio.Event()
        self._moved = asyncio.Condition()
        self._takes: set[int] = set()
        self._works: set[int] = set()
        self._gives: set[int] = set()
        self._given: set[int] = set()
        self._warm: frozenset[int] = frozenset()
        self._leaves = False
        self._tasks: list[asyncio.Task[None]] = []

    # -- in and out

    async def join(self) -> None:
        """Read the roll, and be on it. Raises KafkaError."""
        reading = {"enable_auto_commit": False, "fetch_max_wait_ms": 100, "request_timeout_ms": REQUEST_MS}
        self._reader = AIOKafkaConsumer(**self._clients, **reading)
        self._writer = AIOKafkaProducer(**self._clients, acks="all", request_timeout_ms=REQUEST_MS)
        await self._reader.start()
        await self._writer.start()
        self._reader.assign([self._part])
        begin = await self._begin_of_roll()
        self._reader.seek(self._part, begin)
        self._roll.begin = self._position = begin
        self._tasks.append(asyncio.create_task(self._guarded(self._read())))
        await self._catch_up()
        await self._say()
        async with self._moved:
            await self._moved.wait_for(lambda: self.me in self._roll.members)
        self._tasks.append(asyncio.create_task(self._guarded(self._beat())))

    async def _begin_of_roll(self) -> int:
        """The first offset of the topic. A broker may leave the first question unanswered: it is asked again, for a while."""
        for _ in range(JOIN_TRIES - 1):
            try:
                return int((await self._reader.beginning_offsets([self._part]))[self._part])
            except KafkaTimeoutError:
                logger.warning("%s: no answer within %d ms", self._part.topic, REQUEST_MS)
        return int((await self._reader.beginning_offsets([self._part]))[self._part])

    async def leave(self) -> None:
        """The last word: what is still ours is anybody's. Back when it was said; silence does as well, only later."""
        self._leaves = True
        try:
            async with asyncio.timeout(self._session):
                await self._say()
        except (KafkaError, TimeoutError) as error:
            logger.warning("the others were not told that this worker leaves: %r", error)
        await self.close()

    async def close(self) -> None:
        """No more reading, no more beats."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reader.stop()
        await self._writer.stop()

    # -- from the other thread, through the loop

    def want(self, *, takes: frozenset[int], warm: frozenset[int]) -> None:
        """Free units that we would take, and units of others that we keep warm."""
        if takes - self._takes or warm != self._warm:
            self._takes.update(takes)
            self._warm = warm
            self._news.set()

    def works(self, units: frozenset[int]) -> None:
        """Work on these units has begun: whoever had them is fenced."""
        self._works |= units
        self._news.set()

    def gives(self, units: frozenset[int]) -> None:
        """These units are finished and committed, and anybody's."""
        self._gives |= units
        self._given |= units
        self._news.set()

    # -- hearing

    async def _read(self) -> None:
        while True:
            records = (await self._reader.getmany(timeout_ms=1000)).get(self._part, [])
            for record in records:
                self._hear(record.value or b"", record.offset)
            self._position = await self._reader.position(self._part)
            async with self._moved:
                self._moved.notify_all()
            if records:
                self._told(self._roll.view())

    def _hear(self, value: bytes, at: int) -> None:
        said = statement_of(value)
        if said is None:
            logger.error("somebody wrote into %s what no worker says", self._part.topic)
            return
        self._roll.hear(said, at)
        self._heard[said.worker] = time.monotonic()
        if self.me in self._roll.gone and not self._leaves:
            end_process(Exit.MEMBERSHIP_LOST, f"the others have counted this worker ({self.me}) out: it was silent for too long")
        if said.worker == self.me:
            self._hear_myself(said)

    def _hear_myself(self, said: Statement) -> None:
        """The lease counts from the sending of what all have in front of them: not sent, not even acknowledged, is enough."""
        sent = self._sent.pop(said.number, None)
        if sent is not None:
            self._lease.renew(sent)
        self._given = {unit for unit in self._given if self._roll.owners.get(unit) == self.me}

    async def _catch_up(self) -> None:
        """Back when all that was said before the call is heard."""
        end = (await self._reader.end_offsets([self._part]))[self._part]
        async with self._moved:
            await self._moved.wait_for(lambda: self._position >= end)

    # -- saying

    async def _beat(self) -> None:
        while True:
            began = time.monotonic()
            try:
                if self._said.age(Instant.now()) > self._session / 2:
                    await self._catch_up()
                await self._say()
            except (KafkaError, TimeoutError) as error:
                logger.warning("the roll cannot be written: %r", error)
                self._despair()
            if time.monotonic() - began > 2 * self._interval:
                self._fair_since = time.monotonic()
            await self._pause(began)

    async def _pause(self, began: float) -> None:
        due = began + self._interval
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + max(0.0, due - time.monotonic())):
                await self._news.wait()
        except TimeoutError:
            pass
        if time.monotonic() > due + self._interval:  # we were held up: others may have spoken meanwhile, and we not heard it yet
            self._fair_since = time.monotonic()

    def _despair(self) -> None:
        age = self._lease.age()
        if age is not None and age > self._patience:
            end_process(Exit.MEMBERSHIP_LOST, f"nothing could be said to the other workers for {age:.0f} s")

    async def _say(self) -> None:
        self._news.clear()
        takes, works, gives = self._takes, self._works, self._gives  # what is wanted while this is on its way is said next
        self._takes, self._works, self._gives = set(), set(), set()
        said, sent = self._statement(takes, works, gives), Instant.now()
        self._sent = {number: at for number, at in self._sent.items() if at.age(sent) < self._session} | {said.number: sent}
        try:
            await self._writer.send_and_wait(self._part.topic, msgspec.json.encode(said), partition=0)
        except BaseException:
            self._takes |= takes
            self._works |= works
            self._gives |= gives
            raise
        self._said = sent

    def _statement(self, takes: set[int], works: set[int], gives: set[int]) -> Statement:
        self._number += 1
        mine = self._roll.view().of(self.me) - self._given
        return Statement(
            worker=self.me,
            producer=self._producer_id,
            number=self._number,
            seen=self._position,
            owns={unit: self._roll.suspects.get(unit, ()) for unit in mine},
            warm=tuple(sorted(self._warm)),
            takes=tuple(sorted(takes - self._roll.owners.keys())),
            works=tuple(sorted(works)),
            gives=tuple(sorted(gives)),
            dead=self._silent(),
            leaves=self._leaves,
        )

    def _silent(self) -> dict[str, int]:
        """Who has not been heard for a session, and who ran on our folder before us."""
        now, silent = time.monotonic(), {}
        for name in self._roll.members:
            heard = max(self._heard.get(name, 0.0), self._fair_since)
            if name == self._former or (name != self.me and now - heard > self._session):
                silent[name] = self._roll.numbers[name]
        return silent

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - whoever is no longer on the roll may not work
            end_process(Exit.MEMBERSHIP_LOST, "the roll of the workers cannot be kept", error=error)
