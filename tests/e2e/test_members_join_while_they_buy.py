"""Who is who and which rules are in force, while members join and programs are published."""

import asyncio

from schemas.topics import CHECKS, IDENTITIES, MEMBER_COMMANDS, MEMBERS
from tests.builders import earning, program
from tests.e2e.harness import until
from tests.tills import desk, opt_in, sale

RULES = program(earning=earning())


async def test_a_check_right_behind_the_registration_is_the_members(installed):
    system = await installed(RULES)
    await system.worker().ready()

    async def join_and_buy(n):
        card = f"card:NEW{n:04}"
        await system.ask(opt_in(f"N-{n}", system.at, card))
        return await system.ask(sale(f"n{n}", [500], system.at, card))

    replies = await asyncio.gather(*(join_and_buy(n) for n in range(40)))
    assert {(str(reply.code), reply.earned) for reply in replies} == {("OK", 5)}
    await system.prove()


async def test_in_one_go_every_registration_is_before_its_check_in_the_ledger(installed):
    """Sent without waiting: the check may come too early to be the member's, but never in between."""
    system = await installed(RULES)
    await system.worker().ready()
    futures = []
    for n in range(300):
        card = f"card:NEW{n:04}"
        futures.append(system.put(MEMBER_COMMANDS.name, f"N-{n}", opt_in(f"N-{n}", system.at, card)))
        futures.append(system.put(CHECKS.name, card, sale(f"n{n}", [500], system.at, card)))
    checks = (await asyncio.gather(*futures))[1::2]
    await system.all_answered()
    codes = [str((await system.reply(check)).code) for check in checks]
    assert set(codes) <= {"OK", "IDENTIFIER_UNKNOWN"}
    assert codes.count("OK") > 0
    await system.prove()


async def test_a_version_published_later_counts_from_its_date_by_purchase_time(installed):
    system = await installed(RULES)
    await system.worker().ready()
    await system.ask(opt_in("H-1", system.at, "card:ABC123"))
    change = system.wait(days=3).at
    await system.publish(program(version=2, effective_from=change.isoformat(), earning=earning(points=3)))
    # Bought a minute before the change, arriving long after; bought at the very second of it.
    early, late = change.replace(hour=9, minute=59), change
    arrived = system.wait(days=1).at
    reply = await system.ask(sale("s1", [500], early, "card:ABC123"), at=arrived)
    assert (reply.program, reply.earned) == ("main@1", 5)
    reply = await system.ask(sale("s2", [500], late, "card:ABC123"), at=arrived)
    assert (reply.program, reply.earned) == ("main@2", 15)
    reply = await system.ask(sale("s3", [500], late), at=arrived)
    assert reply.program == "main@2"
    await system.prove()


async def test_cards_are_linked_replaced_blocked_and_forgotten(installed):
    system = await installed(RULES)
    await system.worker().ready()
    at = system.at
    contact = {"first_name": "Ann", "email": "ann@example.com"}
    await system.ask(opt_in("H-1", at, "card:OLD111", contact=contact))
    bought = iter(range(100))

    async def who(card):
        reply = await system.ask(sale(f"s{next(bought)}", [100], at, card))
        return reply.member or str(reply.code)

    assert await who("card:OLD111") == "H-1"
    assert (await system.ask(desk("link", "l1", "H-1", at, identifier="phone:+15551234567"))).code == "OK"
    assert await who("phone:(555) 123-4567") == "H-1"
    assert (await system.ask(desk("replace", "l2", "H-1", at, old="card:OLD111", new="card:NEW222"))).code == "OK"
    assert [await who("card:OLD111"), await who("card:NEW222")] == ["IDENTIFIER_BLOCKED", "H-1"]
    assert (await system.ask(desk("block", "l3", "H-1", at, identifier="card:NEW222"))).code == "OK"
    assert await who("card:NEW222") == "IDENTIFIER_BLOCKED"
    await system.ask(opt_in("H-2", at, "card:TWO333"))
    assert (await system.ask(desk("link", "l4", "H-2", at, identifier="phone:+15551234567"))).code == "IDENTIFIER_TAKEN"

    forgotten = ["card:OLD111", "card:NEW222", "phone:+15551234567"]
    reply = await system.ask(desk("erase", "e1", "H-1", at, identifiers=forgotten))
    assert reply.code == "OK"
    assert await who("phone:+15551234567") == "IDENTIFIER_UNKNOWN"
    assert (await system.ask(desk("link", "l5", "H-1", at, identifier="card:OLD111"))).code == "MEMBER_UNKNOWN"

    def contacts():
        return [record.value for record in system.heard[MEMBERS.name] if record.key == b"H-1"]

    await until(lambda: contacts()[-1:] == [None], "the tombstone")
    assert b"ann@example.com" in contacts()[0]
    keys = {record.key: record.value for record in system.heard[IDENTITIES.name]}
    assert sum(value is not None and b'"H-1"' in value for value in keys.values()) == 0
    for topic in ("loy.events", "pos.replies"):
        assert not [record for record in system.heard[topic] if b"example.com" in record.value or b"555" in record.value]
    await system.prove()
