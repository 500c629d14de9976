"""One member's way through everything, over the real broker and a real worker: replies and events as a till and a sink see them."""

from datetime import timedelta

from tests.builders import earning, program
from tests.e2e.harness import until
from tests.tills import desk, line, opt_in, request, returned, sale

CARD = "card:ABC123"
RULES = program(
    earning=earning(),
    redemption={"minimum_points": 50, "points_per_minor": 1},
    fraud={
        "critical": 100,
        "signals": [{"id": "many", "kind": "velocity", "what": "points", "hours": 24, "soft": 900, "weight": 100}],
    },
    limits={"adjust_points": 500, "claim_days": 14},
)


async def test_a_member_goes_the_whole_way(installed):
    system = await installed(RULES)
    await system.worker().ready()
    ask, wait = system.ask, system.wait

    reply = await ask(opt_in("H-1", system.at, CARD, "phone:+15551234567"))
    assert (reply.id, reply.status, reply.code, reply.outlet) == ("join-H-1", "accepted", "OK", "crm")

    # A sale, and its resend: byte for byte the same answer, told apart by a header.
    first = sale("s1", [3000, 2000], wait(hours=1).at, CARD)
    origin, again = await system.check(first), await system.check(first)
    answer, repeat = await system.reply(origin), await system.reply(again)
    assert (answer.earned, answer.balance.available, answer.member) == (50, 50, "H-1")
    assert answer == repeat
    assert [await system.outcome(one) for one in (origin, again)] == ["applied", "repeated"]

    reply = await ask(returned("r1", "s1", [(2, 1000, 2000)], wait(hours=1).at, CARD))
    assert (reply.code, reply.earned, reply.balance.available) == ("OK", -20, 30)

    # Points pay for a part of the next receipt.
    await ask(sale("s2", [20000], wait(hours=1).at, "phone:(555) 123-4567"))
    reply = await ask(request("reserve", "q1", "R1", wait(minutes=1).at, CARD, points=150))
    assert (reply.value_minor, reply.balance.available, reply.balance.held) == (150, 80, 150)
    reply = await ask(request("confirm", "q2", "R1", wait(minutes=1).at, CARD, points=100, check_id="s3"))
    assert (reply.burned, reply.value_minor, reply.balance.available, reply.balance.held) == (100, 100, 130, 0)
    paid = [{"type": "points", "amount_minor": 100, "reservation": "R1"}, {"type": "cash", "amount_minor": 4000}]
    reply = await ask(sale("s3", [], wait(minutes=1).at, CARD, lines=[line(4100, quantity=4000)], tenders=paid))
    assert (reply.earned, reply.balance.available) == (40, 170)
    reply = await ask(returned("r3", "s3", [(1, 2000, 2050)], wait(hours=1).at, CARD))
    assert (reply.earned, reply.balance.available) == (-20, 170 - 20 + 50)

    await ask(request("reserve", "q3", "R2", wait(hours=1).at, CARD, points=60))
    reply = await ask(request("cancel", "q4", "R2", wait(minutes=1).at, CARD))
    assert (reply.code, reply.balance.available, reply.balance.held) == ("OK", 200, 0)
    reply = await ask(request("confirm", "q5", "R2", wait(minutes=1).at, CARD))
    assert (reply.status, reply.code) == ("refused", "RESERVATION_CANCELLED")

    # Over the limit it takes four eyes.
    reply = await ask(desk("adjust", "a1", "H-1", wait(hours=1).at, points=600, reason="a broken promise", actor="ann"))
    assert (reply.status, reply.code) == ("parked", "APPROVAL_NEEDED")
    reply = await ask(desk("approve", "a2", "H-1", wait(minutes=1).at, adjustment="a1", actor="ann"))
    assert (reply.status, reply.code) == ("refused", "SELF_APPROVAL")
    reply = await ask(desk("approve", "a3", "H-1", wait(minutes=1).at, adjustment="a1", actor="bob"))
    assert (reply.code, reply.balance.available) == ("OK", 800)

    # Too many points in a day are held, the sale goes through.
    reply = await ask(sale("s4", [100000], wait(days=2).at, CARD))
    assert (reply.status, reply.code, reply.earned, reply.balance.held) == ("accepted", "FRAUD_REVIEW", 1000, 1000)
    assert [hit.signal for hit in reply.hits] == ["many"]
    reply = await ask(request("reserve", "q6", "R3", wait(minutes=1).at, CARD, points=100))
    assert (reply.status, reply.code) == ("refused", "FRAUD_REVIEW")
    reply = await ask(
        desk("review", "v1", "H-1", wait(hours=1).at, hold="s4", verdict="release", actor="eve", reason="a big family")
    )
    assert (reply.balance.available, reply.balance.held) == (1800, 0)

    # A receipt without a card, claimed with what is printed on it: once.
    bought = wait(days=2).at
    reply = await ask(sale("s5", [1500], bought))
    assert (reply.status, reply.code, reply.member, reply.balance) == ("accepted", "ANONYMOUS", None, None)
    claim = {"check_id": "s5", "business_date": bought.date().isoformat()}
    reply = await ask(desk("claim", "c1", "H-1", wait(hours=1).at, total_minor=1501, **claim))
    assert (reply.status, reply.code) == ("refused", "RECEIPT_MISMATCH")
    reply = await ask(desk("claim", "c2", "H-1", wait(hours=1).at, total_minor=1500, **claim))
    assert (reply.id, reply.code, reply.earned, reply.member) == ("c2", "OK", 15, "H-1")
    reply = await ask(desk("claim", "c3", "H-1", wait(hours=1).at, total_minor=1500, **claim))
    assert (reply.status, reply.code) == ("refused", "RECEIPT_CLAIMED")

    reply = await ask(desk("opt_out", "o1", "H-1", wait(days=1).at))
    assert (reply.code, reply.balance.available) == ("OK", 1815)
    reply = await ask(sale("s6", [1000], wait(hours=1).at, CARD))
    assert (reply.status, reply.code, reply.earned) == ("accepted", "MEMBER_OPTED_OUT", 0)

    await system.all_answered()
    figures, _ = await system.prove()
    told = [(event.type.removeprefix("LOY_"), data.cause) for event, data in system.events("H-1")]
    assert told == [
        ("OPT_IN", "join-H-1"),
        ("POINT_ACCRUAL", "s1"),
        ("POINT_REVERSED", "r1"),
        ("POINT_ACCRUAL", "s2"),
        ("POINT_RESERVED", "q1"),
        ("POINT_REDEMPTION", "q2"),
        ("POINT_FREED", "q2"),
        ("POINT_ACCRUAL", "s3"),
        ("POINT_RESTORED", "r3"),
        ("POINT_REVERSED", "r3"),
        ("POINT_RESERVED", "q3"),
        ("POINT_FREED", "q4"),
        ("POINT_ADJUSTED", "a3"),
        ("POINT_ACCRUAL", "s4"),
        ("FRAUD_SUSPECTED", "s4"),
        ("FRAUD_CLEARED", "v1"),
        ("POINT_ACCRUAL", "s5"),
        ("OPT_OUT", "o1"),
    ]
    assert [event.sequence for event, _ in system.events("H-1")] == list(range(1, len(told) + 1))
    assert (figures.members, figures.outcomes["repeated"], figures.outcomes["dead letter"]) == (1, 1, 0)


async def test_what_falls_due_happens_by_itself(installed):
    """The wall says that years have passed since the purchase: released, noticed, expired, and a year in the program each year."""
    rules = program(points={"pending_days": 2, "expiry": {"kind": "after_days", "days": 90}, "notice_days": 14})
    system = await installed(rules, clock="wall")
    then = await system.worker("then", environment={"LOY_CLOCK": "stream"}).ready()
    await system.ask(opt_in("H-1", system.at, CARD))
    assert (await system.ask(sale("s1", [5000], system.at, CARD))).code == "OK"
    assert await then.stop() == 0
    await system.worker("now").ready()
    ends = ["POINT_RELEASED", "POINT_EXPIRING_SOON", "POINT_EXPIRED", "ANNIVERSARY"]
    await until(lambda: set(ends) <= set(system.types("H-1")), f"all of {ends}")
    assert [kind for kind in system.types("H-1") if kind in ends[:3]] == ends[:3]
    (expired,) = (data for event, data in system.events("H-1") if event.type == "LOY_POINT_EXPIRED")
    assert (expired.points, expired.balance.available, expired.balance.expired) == (50, 0, 50)
    assert expired.occurred_at.date() == (system.at + timedelta(days=91)).date()
    await system.prove()
