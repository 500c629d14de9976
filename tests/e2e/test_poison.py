"""Every record that cannot be taken is kept whole with its stable code, and the records around it are answered."""

from datetime import UTC, datetime

import orjson
from aiokafka import AIOKafkaProducer

from schemas.topics import CHECKS, MEMBER_COMMANDS, REDEMPTIONS
from tests.builders import program
from tests.tills import desk, line, opt_in, request, sale

RULES = program(outlets=[{"id": "o1"}], unknown_outlets="refuse")
CARD = "card:ABC123"


def dumped(body, **changes):
    return orjson.dumps(body | changes)


def poison(at):
    """(code, door, key, value) of everything that tills and the service desk may get wrong."""
    good = sale("s-bad", [500], at, CARD)
    ask = request("reserve", "q-bad", "R-bad", at, CARD, points=1)
    adjust = desk("adjust", "a-bad", "H-1", at, points=5, reason="why", actor="ann")
    future = at.replace(year=at.year + 4).isoformat()
    for door, key, body in ((CHECKS, CARD, good), (REDEMPTIONS, CARD, ask), (MEMBER_COMMANDS, "H-1", adjust)):
        yield "NOT_JSON", door, key, b'{"type": "sale", '
        yield "NOT_JSON", door, key, dumped(body).replace(b"bad", b"b\xffd")
        yield "NOT_JSON", door, key, b"[" * 100_000
        yield "NULL_VALUE", door, key, None
        yield "SCHEMA", door, key, b"[]"
        yield "SCHEMA", door, key, b"42"
        yield "SCHEMA", door, key, dumped(body, type="gift")
        yield "SCHEMA", door, key, dumped(body, surprise=1)
        yield "SCHEMA", door, key, dumped(body, at="yesterday")
        yield "TOO_LARGE", door, key, dumped(body, padding="x" * 10_000_000)
        yield "TIME_IN_FUTURE", door, key, dumped(body, at=future)
        yield "WRONG_KEY", door, "card:OTHER", dumped(body)
        yield "WRONG_KEY", door, b"card:\xff\xfe", dumped(body)
        yield "WRONG_KEY", door, None, dumped(body)
    lines, thing = good["lines"], good["lines"][0]
    yield "SCHEMA", CHECKS, CARD, dumped(good, lines=[thing | {"amount_minor": 5.0}])
    yield "SCHEMA", CHECKS, CARD, dumped(good, lines=[thing | {"amount_minor": "500"}])
    yield "SCHEMA", CHECKS, CARD, dumped(good).replace(b":500", b":" + b"9" * 30)
    yield "SCHEMA", CHECKS, CARD, dumped(good, check_id="s bad")
    yield "UNKNOWN_CURRENCY", CHECKS, CARD, dumped(good, currency="XYZ")
    yield "CURRENCY_NOT_IN_PROGRAM", CHECKS, CARD, dumped(good, currency="EUR")
    yield "NEGATIVE_QUANTITY", CHECKS, CARD, dumped(good, lines=[thing | {"quantity": -1}])
    yield "TOTAL_MISMATCH", CHECKS, CARD, dumped(good, tenders=[{"type": "cash", "amount_minor": 499}])
    yield "DISCOUNT_EXCEEDS_AMOUNT", CHECKS, CARD, dumped(good, lines=[thing | {"discount_minor": 501}])
    yield "DUPLICATE_LINE", CHECKS, CARD, dumped(good, lines=[*lines, line(0)])
    yield "UNKNOWN_OUTLET", CHECKS, CARD, dumped(good, outlet="o2")
    yield "NO_PROGRAM", CHECKS, CARD, dumped(good, at="1999-12-31T10:00:00Z")
    yield "IDENTIFIER_UNKNOWN", REDEMPTIONS, "card:NOBODY", dumped(ask, member="card:NOBODY")
    yield "IDENTIFIER_INVALID", REDEMPTIONS, "card:4012888888881882", dumped(ask, member="card:4012888888881882")
    yield "SCHEMA", REDEMPTIONS, CARD, dumped(ask, reward="coffee")
    yield "MEMBER_UNKNOWN", MEMBER_COMMANDS, "H-2", dumped(adjust, loyalty_id="H-2")
    yield "SCHEMA", MEMBER_COMMANDS, "H-1", dumped(adjust, reason="")
    taken = opt_in("H-3", at, CARD)
    yield "IDENTIFIER_TAKEN", MEMBER_COMMANDS, "H-3", dumped(taken)


READ = {"TIME_IN_FUTURE", "WRONG_KEY", "CURRENCY_NOT_IN_PROGRAM", "TOTAL_MISMATCH", "DISCOUNT_EXCEEDS_AMOUNT", "DUPLICATE_LINE"}
READ |= {"UNKNOWN_OUTLET", "NO_PROGRAM", "IDENTIFIER_UNKNOWN", "IDENTIFIER_INVALID", "MEMBER_UNKNOWN", "IDENTIFIER_TAKEN"}
"""Who can be read is answered too."""


async def test_poison_at_every_door_is_kept_whole_and_the_line_goes_on(installed):
    system = await installed(RULES)
    worker = await system.worker().ready()
    await system.ask(opt_in("H-1", system.at, CARD))
    at = system.wait(hours=1).at

    sent = []
    for n, (code, door, key, value) in enumerate(poison(at)):
        good = await system.check(sale(f"s{n}", [100], at, CARD))
        sent.append((code, value, key, door, good, await system.put(door.name, key, value, headers=[("sent-at", b"soon")])))
    await system.all_answered()

    for code, value, key, door, good, bad in sent:
        letter, record = await system.letter(bad)
        what = f"{door.name} {code} {(value or b'')[:60]!r}: {letter}"
        assert (letter.code, letter.origin, letter.stage) == (code, bad, door.name), what
        assert record.value == value, what
        assert record.key == (key.encode() if isinstance(key, str) else key), what
        assert "bad" not in letter.reason, what
        assert "abc123" not in letter.reason.lower(), what
        answers = system.replies(bad)
        assert [(reply.status, str(reply.code), outcome) for reply, outcome in answers] == (
            [("refused", code, "refused")] if code in READ else []
        ), what
        assert (await system.reply(good)).earned == 1
    assert worker.running
    figures, _ = await system.prove()
    assert figures.outcomes["dead letter"] + figures.outcomes["refused"] == len(sent)
    assert system.balances()["H-1"]["available"] == len(sent)


async def test_an_id_with_another_content_is_refused_and_changes_nothing(installed):
    system = await installed(RULES)
    await system.worker().ready()
    await system.ask(opt_in("H-1", system.at, CARD))
    at = system.wait(hours=1).at
    first = await system.ask(sale("s1", [500], at, CARD))
    again = await system.ask(sale("s1", [900], at, CARD))
    assert (again.id, again.status, again.code, again.earned) == ("s1", "refused", "ID_REUSED", 0)
    third = await system.check(sale("s1", [500], at, CARD))
    assert await system.reply(third) == first
    await system.ask(request("reserve", "q1", "R1", at, CARD, points=2))
    other = await system.ask(request("reserve", "q1", "R1", at, CARD, points=3))
    assert (other.status, other.code) == ("refused", "ID_REUSED")
    await system.ask(desk("adjust", "a1", "H-1", at, points=1, reason="why", actor="ann"))
    other = await system.ask(desk("adjust", "a1", "H-1", at, points=7, reason="why", actor="ann"))
    assert (other.status, other.code) == ("refused", "ID_REUSED")
    await system.prove()
    assert system.balances()["H-1"]["available"] == 5 - 2 + 1


async def test_headers_of_any_kind_hold_up_nobody(installed):
    system = await installed(RULES)
    worker = await system.worker().ready()
    odd = [[("sent-at", b"9" * 5000)], [("sent-at", None)], [("x", b"\xff")], [("", b"")], [("sent-at", b"1")] * 100]
    for n, headers in enumerate(odd):
        reply = await system.reply(await system.put(CHECKS.name, "", sale(f"s{n}", [100], system.at), headers=headers))
        assert reply.code == "ANONYMOUS"
    assert worker.running


async def test_a_till_that_says_its_record_waited_in_our_lane_is_believed_at_no_door(installed):
    """Who waited there is left out of the objective for answers."""
    system = await installed(RULES)
    await system.worker().ready()
    said = [("turn-at", b"1"), ("sent-at", b"1")]
    at_doors = [
        (MEMBER_COMMANDS.name, "H-1", opt_in("H-1", system.at, CARD)),
        (CHECKS.name, CARD, sale("s1", [500], system.at, CARD)),
        (REDEMPTIONS.name, CARD, request("reserve", "q1", "R1", system.at, CARD, points=1)),
    ]
    for record in at_doors:
        await system.reply(await system.put(*record, headers=said))
    written = [header for records in system.heard.values() for one in list(records) for header in one.headers]
    assert written.count(("sent-at", b"1")) >= len(at_doors)
    assert "turn-at" not in dict(written)


async def test_a_record_without_a_kafka_time_is_kept_with_a_code(installed):
    system = await installed(RULES)
    worker = await system.worker().ready()
    before_time = datetime.fromtimestamp(-0.001, UTC)
    timeless = await system.check(sale("s1", [100], system.at, CARD), at=before_time)
    unread = await system.put(CHECKS.name, CARD, b"{", at=before_time)
    letter, _ = await system.letter(timeless)
    assert letter.code == "TIME_IN_FUTURE"
    letter, _ = await system.letter(unread)
    assert letter.code == "NOT_JSON"
    assert worker.running
    await system.prove()


async def test_what_grows_when_it_is_unpacked_and_headers_as_long_as_books_hold_up_nobody(installed):
    """The broker's limit is on compressed bytes, and it counts headers: what comes out may fit nowhere any more."""
    system = await installed(RULES)
    worker = await system.worker().ready()
    await system.ask(opt_in("H-1", system.at, CARD))
    huge = sale("s-bad", [100], system.at, CARD, padding="x" * 14_000_000)
    async with AIOKafkaProducer(bootstrap_servers=system.bootstrap, compression_type="gzip", max_request_size=40_000_000) as till:
        at_ms = int(system.at.timestamp() * 1000)
        sent = [
            await till.send_and_wait(CHECKS.name, orjson.dumps(huge), CARD.encode(), timestamp_ms=at_ms),
            await till.send_and_wait(CHECKS.name, b"{}", b"k" * 14_000_000, timestamp_ms=at_ms),
        ]
    for one, kept in zip(sent, ((CARD.encode(), orjson.dumps(huge)), (b"k" * 14_000_000, b"{}")), strict=True):
        letter, record = await system.letter(f"{CHECKS.name}/{one.partition}/{one.offset}")
        assert letter.code in {"TOO_LARGE", "SCHEMA"}
        assert "bytes are kept the first" in letter.reason
        assert kept[0].startswith(record.key)
        assert kept[1].startswith(record.value)
    body = sale("s1", [100], system.at, CARD)
    reply = await system.reply(await system.put(CHECKS.name, CARD, body, headers=[("sent-at", b"9" * 5_000_000)]))
    assert (reply.code, reply.earned) == ("OK", 1)
    assert worker.running
    await system.prove()


async def test_a_till_may_compress_as_it_likes(installed):
    system = await installed(RULES)
    worker = await system.worker().ready()
    at_ms = int(system.at.timestamp() * 1000)
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        async with AIOKafkaProducer(bootstrap_servers=system.bootstrap, compression_type=codec) as till:
            body = orjson.dumps(sale(codec, [100] * 50, system.at))
            sent = await till.send_and_wait(CHECKS.name, body, timestamp_ms=at_ms)
        reply = await system.reply(f"{CHECKS.name}/{sent.partition}/{sent.offset}")
        assert (reply.id, reply.code) == (codec, "ANONYMOUS")
    assert worker.running
