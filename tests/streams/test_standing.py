"""The totals of all accounts: what a rebuild sums up is what batch after batch added, and a lost partition takes its own away."""

import asyncio
import random

import pytest

from streams.clock import DueIndex
from streams.domain.account import Account, Applied, Books, Lot, pack
from streams.standing import Standing

APPLIED = (Applied("c", "", "sale", "", 0, 0, b"\xc0"),)


def account(key, status="in", held_since=0, **books):
    books.setdefault("issued", -sum(books.values()))
    lots = (Lot(1, 5, "held", held_since, 0, 0),) if held_since else ()
    return Account(key=key, status=status, books=Books(**books), lots=lots, applied=APPLIED)


def figures(standing):
    """Every series that is not 0, by name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in standing.collect()
        for sample in metric.samples
        if sample.value
    }


class Table:
    def __init__(self, rows):
        self.rows = rows

    def behind(self, partition, after, count):
        return [(key, pack(row)) for key, row in sorted(self.rows[partition].items()) if key > after][:count]


async def rebuilt(rows, now=1000):
    standing = Standing(lambda: now)
    standing.begin(rows)
    await DueIndex(Table(rows)).rebuild(frozenset(rows), standing)
    return standing


async def test_what_is_found_in_the_table_is_summed_by_book_and_status():
    standing = await rebuilt({0: {b"a": account("a", available=7), b"b": account("b", available=1, pending=2)}, 1: {}})
    assert figures(standing) == {
        ("loy_balance_points", "issued", "0"): -10,
        ("loy_balance_points", "available", "0"): 8,
        ("loy_balance_points", "pending", "0"): 2,
        ("loy_accounts", "in", "0"): 2,
    }


async def test_a_batch_moves_the_totals():
    before, after = account("a", available=7), account("a", status="out", available=2, used=5)
    standing = await rebuilt({0: {b"a": before}})
    standing.moved(0, {b"a": before}, {b"a": after})
    assert figures(standing) == figures(await rebuilt({0: {b"a": after}}))


async def test_an_account_comes_and_goes():
    standing = await rebuilt({0: {}})
    fresh, kept = Account(key="receipt:1"), account("receipt:1", status="receipt")
    standing.moved(0, {b"r": fresh}, {b"r": kept})
    assert figures(standing) == {("loy_accounts", "receipt", "0"): 1}
    standing.moved(0, {b"r": kept}, {b"r": fresh})
    assert figures(standing) == {}


async def test_points_held_for_review_are_told_with_the_age_of_the_oldest():
    held, free = account("a", held=5, held_since=400), account("a", available=5)
    standing = await rebuilt({0: {b"a": held, b"b": account("b", held=5, held_since=700)}})
    assert figures(standing)["loy_fraud_holds", "0"] == 2
    assert figures(standing)["loy_fraud_hold_age_seconds", "0"] == 600
    standing.moved(0, {b"a": held}, {b"a": free})
    assert figures(standing)["loy_fraud_holds", "0"] == 1
    assert figures(standing)["loy_fraud_hold_age_seconds", "0"] == 300


async def test_books_that_do_not_add_up_are_counted_until_they_do():
    crooked = account("a", available=5, issued=-4)
    standing = await rebuilt({0: {b"a": crooked}})
    assert figures(standing)["loy_ledger_imbalance",] == 1
    standing.moved(0, {b"a": crooked}, {b"a": account("a", available=5)})
    assert ("loy_ledger_imbalance",) not in figures(standing)
    standing.moved(0, {b"a": account("a", available=5)}, {b"a": crooked})
    assert figures(standing)["loy_ledger_imbalance",] == 1


async def test_a_partition_that_went_takes_its_totals_along_and_what_comes_late_is_left_out():
    rows = {0: {b"a": account("a", available=7)}, 1: {b"b": account("b", available=3)}}
    standing = await rebuilt(rows)
    standing.begin({1})
    for key, row in rows[1].items():
        standing.add(1, key, row, pack(row))
    standing.moved(0, {b"a": rows[0][b"a"]}, {b"a": account("a", available=9)})
    assert {labels[2] for labels in figures(standing) if labels[0] == "loy_balance_points"} == {"1"}


@pytest.mark.parametrize("seed", range(5))
async def test_what_is_still_to_be_read_moves_nothing_until_it_is(seed, monkeypatch):
    monkeypatch.setattr("streams.clock.PIECE", 3)
    chance = random.Random(seed)
    rows = {0: {b"%02d" % n: account(f"{n}", available=n) for n in range(40)}}
    standing, index = Standing(lambda: 1000), DueIndex(Table(rows))
    standing.begin(rows, index.unread)
    await index.rebuild(frozenset(rows), standing, patience=0)
    while index.unread(0, b"99"):
        key = b"%02d" % chance.randrange(60)
        before = rows[0].get(key, Account(key=key.decode()))
        rows[0][key] = account(key.decode(), available=chance.randrange(9), pending=chance.randrange(9))
        standing.moved(0, {key: before}, {key: rows[0][key]})
        await asyncio.sleep(0)
    assert figures(standing) == figures(await rebuilt(rows))


@pytest.mark.parametrize("seed", range(5))
async def test_any_course_of_batches_leaves_what_a_rebuild_finds(seed):
    chance, rows = random.Random(seed), {0: {}, 1: {}}
    standing = await rebuilt(rows)
    for _ in range(200):
        partition = chance.randrange(2)
        before, after = {}, {}
        for name in chance.sample("abcdefgh", 3):
            key = name.encode()
            before[key] = rows[partition].get(key, Account(key=name))
            books = {book: chance.randrange(4) for book in ("available", "pending", "held", "used")}
            gone = chance.random() < 0.2
            after[key] = (
                Account(key=name) if gone else account(name, chance.choice(["in", "out"]), 1 + chance.randrange(9), **books)
            )
        standing.moved(partition, before, after)
        rows[partition] |= after
        rows[partition] = {key: row for key, row in rows[partition].items() if row.stands}
    assert figures(standing) == figures(await rebuilt(rows))
