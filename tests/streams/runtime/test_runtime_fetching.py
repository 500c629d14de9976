"""When brokers are asked for records: aiokafka's own fetcher, with a client in the broker's place that answers when it is told to."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState

from streams.runtime import fetching
from streams.runtime.fetching import AHEAD_SECONDS, Asking, BatchConsumerThread

CHECKS = TopicPartition("pos.checks", 0)
NOTHING = SimpleNamespace(API_VERSION=4, topics=[])
LIMIT = 500
SLEEP = 30.0
"""Seconds for which a fetcher that has nothing to do rests, here."""


class Client:
    """One broker. `asked` are the fetches it was sent."""

    _metadata_max_age_ms = 1_000_000

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.cluster = self
        self.asked: asyncio.Queue[asyncio.Future] = asyncio.Queue()

    def leader_for_partition(self, _partition):
        return 1

    async def send(self, _node, _request):
        answer = self._loop.create_future()
        self.asked.put_nowait(answer)
        return await answer

    async def next(self) -> asyncio.Future:
        async with asyncio.timeout(SLEEP / 3):
            return await self.asked.get()


@pytest.fixture
async def stock():
    subscriptions = SubscriptionState()
    subscriptions.assign_from_user([CHECKS])
    subscriptions.subscription.assignment.state_value(CHECKS).reset_to(0)
    fetcher = Fetcher(Client(), subscriptions, fetcher_timeout=SLEEP)
    yield fetcher
    await fetcher.close()


@pytest.fixture
async def ours(stock):
    (await stock._client.next()).set_result(NOTHING)  # was sent before we could say when
    stock.asking = Asking(stock, short_ms=20, many=LIMIT)
    return stock


def somebody_waits(fetcher: Fetcher) -> None:
    fetcher._create_fetch_waiter()
    fetcher._notify(fetcher._wait_consume_future)


async def answered_at_the_moment_somebody_comes(fetcher: Fetcher) -> None:
    """Both in one turn of the loop."""
    asked = await fetcher._client.next()
    fetcher._notify(fetcher._wait_consume_future)
    asked.set_result(NOTHING)


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_L10_a_fetch_that_ends_when_somebody_comes_is_followed_by_the_next(ours):
    somebody_waits(ours)
    await answered_at_the_moment_somebody_comes(ours)
    assert await ours._client.next()


async def test_L10_stock_rests_then_as_if_the_fetch_were_still_on_its_way(stock):
    await answered_at_the_moment_somebody_comes(stock)
    await turns()
    assert not stock._in_flight
    assert stock._client.asked.empty()


async def test_nobody_is_asked_ahead_of_time_while_nobody_waits(ours):
    (await ours._client.next()).set_result(NOTHING)
    began = asyncio.get_running_loop().time()
    await ours._client.next()
    assert asyncio.get_running_loop().time() - began > AHEAD_SECONDS / 2


async def test_whoever_waits_is_served_at_once(ours, monkeypatch):
    monkeypatch.setattr(fetching, "AHEAD_SECONDS", SLEEP)
    (await ours._client.next()).set_result(NOTHING)
    await turns()
    assert ours._client.asked.empty()
    somebody_waits(ours)
    assert await ours._client.next()


class Thread(BatchConsumerThread):
    """It fetches in the loop of the test, and takes what is `ready`: a number of records each time."""

    def __init__(self, fetcher: Fetcher, *ready: int) -> None:
        self.thread_loop = asyncio.get_running_loop()
        self.consumer = SimpleNamespace(flow_active=True, yielding=SimpleNamespace(topics={}))
        self._consumer = SimpleNamespace(_fetcher=fetcher, _closed=False)
        self._asking = fetcher.asking
        left = list(ready)

        async def fetched_records(_wanted, timeout, max_records):  # noqa: ASYNC109 - the signature is aiokafka's
            count = left.pop(0) if left else 0
            return {CHECKS: range(min(max_records, count))} if count else {}

        fetcher.fetched_records = fetched_records

    async def takes_all_and_one_more(self, pieces: int) -> "asyncio.Task":
        for _ in range(pieces):
            await self._fetch({CHECKS}, LIMIT)
        task = asyncio.create_task(self._fetch({CHECKS}, LIMIT))
        await turns()
        return task


@pytest.mark.parametrize(("pieces", "rests"), [([3], True), ([LIMIT], False), ([300, 300], False), ([LIMIT, 3], False)])
async def test_a_moment_is_let_go_by_after_some_records_but_a_backlog_is_gone_on_with(ours, monkeypatch, pieces, rests):
    monkeypatch.setattr(fetching, "GATHER_SECONDS", SLEEP)
    task = await Thread(ours, *pieces).takes_all_and_one_more(len(pieces))
    assert bool(ours._fetch_waiters) is not rests
    task.cancel()


async def test_a_fetch_that_lets_a_moment_go_by_ends_when_flow_stops(ours):
    thread = Thread(ours, 3)
    task = await thread.takes_all_and_one_more(1)
    thread.consumer.flow_active = False
    async with asyncio.timeout(fetching._POLL / 2):
        assert await task == {}


async def test_after_a_backlog_a_moment_is_let_go_by_again(ours, monkeypatch):
    thread = Thread(ours, LIMIT, 0, 3)
    task = await thread.takes_all_and_one_more(1)
    monkeypatch.setattr(fetching, "GATHER_SECONDS", SLEEP)
    thread._wake()
    assert len((await task)[CHECKS]) == 3
    last = asyncio.create_task(thread._fetch({CHECKS}, LIMIT))
    await turns()
    assert not ours._fetch_waiters
    last.cancel()


async def test_more_is_asked_for_ahead_of_time_while_there_is_more_than_can_be_taken(ours, monkeypatch):
    monkeypatch.setattr(fetching, "AHEAD_SECONDS", SLEEP)
    (await ours._client.next()).set_result(NOTHING)
    ours.asking.taken = LIMIT
    ours._notify(ours._wait_consume_future)
    assert await ours._client.next()
