"""Waiting for another topic: until what it held is finished, and not for ever where a compacted log ends bare."""

import asyncio
from types import SimpleNamespace

import pytest

from streams.runtime import application
from streams.runtime.application import TP, App
from streams.runtime.book import CommitBook

MEMBERS = TP("loy.members", 0)


class Reader:
    """As much of an app as waiting needs: a partition that ends at `end`, and a book of what is finished."""

    def __init__(self, end):
        self.end = end
        self.asked = 0
        self._bare_ends = {}
        self.book = CommitBook()
        self.consumer = SimpleNamespace(book=self.book, highwaters=self.highwaters)

    async def highwaters(self, tp):
        self.asked += 1
        return {tp: self.end}

    def waits(self):
        return asyncio.create_task(App.caught_up(self, *MEMBERS))


async def looked():
    await asyncio.sleep(application.LOOK_SECONDS * 10)


async def given_up():
    """Longer than a bare end is waited for."""
    await asyncio.sleep(application.BARE_SECONDS * 2)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(application, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(application, "BARE_SECONDS", 0.05)


async def test_what_is_finished_is_not_waited_for():
    reader = Reader(end=5)
    reader.book.start(MEMBERS, 5)
    await asyncio.wait_for(reader.waits(), 1)


async def test_what_is_being_worked_on_is_waited_for_however_long():
    reader, token = Reader(end=5), object()
    reader.book.start(MEMBERS, 0)
    reader.book.hand_out(MEMBERS, 0, 4, token)
    waiting = reader.waits()
    await given_up()
    assert not waiting.done()
    reader.end = 9  # what comes later is not waited for
    reader.book.finish(MEMBERS, token)
    await asyncio.wait_for(waiting, 1)


async def test_a_partition_that_is_not_read_yet_is_waited_for():
    reader = Reader(end=1)
    waiting = reader.waits()
    await given_up()
    assert not waiting.done()
    reader.book.start(MEMBERS, 1)
    await asyncio.wait_for(waiting, 1)


async def test_the_bare_end_of_a_compacted_log_is_waited_for_once():
    reader = Reader(end=9)
    reader.book.start(MEMBERS, 5)
    await asyncio.wait_for(reader.waits(), 1)
    again = reader.waits()
    await looked()
    assert again.done()
    reader.end = 10
    new = reader.waits()
    await looked()
    assert not new.done()
    await asyncio.wait_for(new, 1)
