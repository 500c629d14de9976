"""The agents without a broker: what a micro-batch becomes, in which order, and what it costs in reads and writes."""

import pytest

from schemas.base import POINTS_MAX
from schemas.topics import (
    CHECKS,
    COMMANDS,
    DEAD_LETTERS,
    EVENTS,
    IDENTITIES,
    MEMBER_COMMANDS,
    REDEMPTIONS,
    REPLIES,
)
from streams.agents import fits
from tests.builders import START, after, earning, program
from tests.streams.agent_world import (
    NOW_MS,
    PARTITION,
    AgentWorld,
    codes,
    commands,
    contacts,
    events,
    identities,
    letters,
    of,
    replies,
)
from tests.tills import desk, opt_in, request, sale

CARD = "card:ABC123"
DAY_MS = 86_400_000


def bought(receipt="s1", amount=500, *, at=START, member=CARD, **parts):
    body = sale(receipt, [amount], at, member, **parts)
    return (member or "", body)


def member_command(kind, id_, loyalty_id="H-1", **parts):
    return (loyalty_id, desk(kind, id_, loyalty_id, START, **parts))


@pytest.fixture
async def world():
    world = AgentWorld()
    await world.through(MEMBER_COMMANDS, ("H-1", opt_in("H-1", START, CARD)))
    world.sent.clear(), world.reads.clear(), world.writes.clear(), world.notes.clear()
    world.identities.asked = 0
    return world


# ---------------------------------------------------------------- intake: tills


async def test_checks_become_commands_in_their_order_under_the_members_id(world):
    sent = await world.take(CHECKS, bought("s1"), bought("s2"), bought("s3"))
    assert [(one.key, one.json["id"], one.json["account"]) for one in sent] == [(b"H-1", f"s{n}", "H-1") for n in (1, 2, 3)]
    assert [one.topic for one in sent] == [COMMANDS.name] * 3
    assert "member" not in sent[0].json["check"]
    assert sent[0].json["origin"] == f"pos.checks/{PARTITION}/{world.offset - 3}"


async def test_kafka_time_and_sent_at_travel_to_command_event_and_reply(world):
    key, body = bought()
    sent = await world.through(CHECKS, (key, body, NOW_MS + 5, (("sent-at", b"77"), ("trace", b"x"))))
    assert {one.timestamp_ms for one in sent} == {NOW_MS + 5}
    assert all(("sent-at", b"77") in one.headers for one in sent)
    assert not any(("trace", b"x") in one.headers for one in sent)


async def test_a_stranger_makes_the_directory_catch_up_once_for_the_batch(world):
    unknown = [bought(f"u{n}", member=f"card:UNKNOWN{n}") for n in range(3)]
    sent = await world.take(CHECKS, bought("s1"), *unknown)
    assert world.identities.asked == 1
    assert [one["account"] for one in commands(sent)] == ["H-1", "receipt:u0", "receipt:u1", "receipt:u2"]
    assert [one.get("note") for one in commands(sent)] == [None] + ["IDENTIFIER_UNKNOWN"] * 3


async def test_members_and_anonymous_checks_ask_nobody(world):
    await world.take(CHECKS, bought("s1"), bought("s2", member=None))
    assert world.identities.asked == 0


async def test_who_was_registered_a_moment_ago_by_another_worker_is_found(world):
    other = AgentWorld()
    for one in of(await other.take(MEMBER_COMMANDS, ("H-9", opt_in("H-9", START, "card:NINE99"))), IDENTITIES):
        world.unseen[one.key.decode()] = one.value
    assert commands(await world.take(CHECKS, bought(member="card:NINE99")))[0]["account"] == "H-9"


async def test_anonymous_checks_go_to_accounts_of_their_own(world):
    sent = await world.through(CHECKS, bought("s1", member=None), bought("s2", member=None))
    assert codes(sent) == ["ANONYMOUS", "ANONYMOUS"]
    assert {one.key for one in of(sent, COMMANDS)} == {b"receipt:s1", b"receipt:s2"}
    assert events(sent) == []


async def test_the_program_is_the_one_in_force_at_purchase_time():
    change = after(days=10)
    rules = (program(), program(version=2, effective_from=change.isoformat(), earning=earning(points=2)))
    world = AgentWorld(*rules)
    late = NOW_MS + 20 * DAY_MS
    before, at = change.replace(hour=9, minute=59, second=59), change
    sent = await world.take(CHECKS, (*bought("a", at=before, member=None), late), (*bought("b", at=at, member=None), late))
    assert [one["program"] for one in commands(sent)] == ["main@1", "main@2"]


async def test_a_record_that_cannot_be_read_is_kept_and_the_others_go_on(world):
    sent = await world.take(CHECKS, bought("s1"), (b"\xff", b"{", NOW_MS, (("sent-at", b"7"),)), bought("s2"))
    assert [one["id"] for one in commands(sent)] == ["s1", "s2"]
    (letter,) = of(sent, DEAD_LETTERS)
    assert (letter.key, letter.value, letter.timestamp_ms) == (b"\xff", b"{", NOW_MS)
    assert letter.header("code") == "NOT_JSON"
    assert letter.header("origin") == f"pos.checks/{PARTITION}/{world.offset - 2}"
    assert letter.header("stage") == "pos.checks"
    assert letter.header("at") == "2026-03-02T10:00:00Z"
    assert replies(sent) == []


async def test_of_a_record_larger_than_a_dead_letter_a_piece_is_kept_and_its_place_told(world):
    sent = await world.take(CHECKS, (b"k", b"x" * 13_000_000), (b"k", b"y" * 12_000_000))
    piece, whole = of(sent, DEAD_LETTERS)
    assert (piece.key, piece.value) == (b"k", b"x" * 1_000_000)
    assert "of 13000001 bytes are kept the first 1000000" in piece.header("reason")
    assert piece.header("origin") == f"pos.checks/{PARTITION}/{world.offset - 2}"
    assert len(whole.value) == 12_000_000


@pytest.mark.parametrize("odd", [b"9" * 5_000_000, b"soon", b"", None])
async def test_a_sent_at_that_is_no_time_travels_nowhere(world, odd):
    key, body = bought()
    sent = await world.through(CHECKS, (key, body, NOW_MS, (("sent-at", odd),)), (b"k", b"{", NOW_MS, (("sent-at", odd),)))
    assert not any(name == "sent-at" for one in sent for name, _ in one.headers)
    assert codes(sent) == ["OK"]


async def test_a_redemption_of_nobody_is_refused_and_kept(world):
    body = request("reserve", "q1", "R1", START, "card:NOBODY", points=5)
    sent = await world.take(REDEMPTIONS, ("card:NOBODY", body))
    ((reply, outcome),) = replies(sent)
    assert (reply.id, reply.status, reply.code, reply.outlet, outcome) == ("q1", "refused", "IDENTIFIER_UNKNOWN", "o1", "refused")
    assert letters(sent) == ["IDENTIFIER_UNKNOWN"]
    assert commands(sent) == []
    assert of(sent, REPLIES)[0].header("origin") == of(sent, DEAD_LETTERS)[0].header("origin")


# ---------------------------------------------------------------- intake: members


async def test_opting_in_opens_the_account_before_any_card_leads_to_it():
    world = AgentWorld()
    contact = {"first_name": "Ann", "birthday": "1980-02-29"}
    sent = await world.take(MEMBER_COMMANDS, ("H-1", opt_in("H-1", START, CARD, "email:Ann@Example.com", contact=contact)))
    topics = [one.topic for one in sent]
    assert topics.index(COMMANDS.name) < topics.index(IDENTITIES.name)
    (join,) = commands(sent)
    assert (join["type"], join["birthday"]) == ("join", "02-29")
    assert [one["kind"] for one in identities(sent)] == ["loyalty", "card", "email"]
    assert {one["loyalty_id"] for one in identities(sent)} == {"H-1"}
    assert contacts(sent)[0][0] == b"H-1"
    assert not any(b"Ann" in (one.value or b"") for one in sent if one.topic != "loy.members")


async def test_a_failing_identity_leaves_the_account_opened_and_the_batch_undone():
    world = AgentWorld()

    async def broken(records):
        if any(one.topic == IDENTITIES.name for one in records):
            raise ConnectionError

    world.on_flush = broken
    with pytest.raises(ConnectionError):
        await world.take(MEMBER_COMMANDS, ("H-1", opt_in("H-1", START, CARD)))
    assert [one.topic for one in world.sent] == [COMMANDS.name, "loy.members"]


async def test_a_batch_sees_what_it_has_changed_itself_and_the_next_one_too(world):
    sent = await world.take(
        MEMBER_COMMANDS,
        member_command("link", "l1", identifier="card:NEW222"),
        ("H-2", opt_in("H-2", START, "card:NEW222")),
        member_command("block", "l2", identifier="card:NEW222"),
    )
    assert codes(sent) == ["IDENTIFIER_TAKEN", "OK", "OK"]  # refusals go with the commands, what is done is said at the end
    assert letters(sent) == ["IDENTIFIER_TAKEN"]
    sent = await world.take(CHECKS, bought(member="card:NEW222"))
    assert commands(sent)[0]["note"] == "IDENTIFIER_BLOCKED"


async def test_a_done_is_said_after_it_is_done(world):
    sent = await world.take(MEMBER_COMMANDS, member_command("link", "l1", identifier="card:NEW222"))
    assert [one.topic for one in sent] == [IDENTITIES.name, REPLIES.name]
    ((reply, outcome),) = replies(sent)
    assert (reply.id, reply.outlet, reply.member, outcome) == ("l1", "crm", "H-1", "applied")


async def test_a_replaced_card_is_anonymous_and_the_new_one_the_members(world):
    await world.take(MEMBER_COMMANDS, member_command("replace", "l1", old=CARD, new="card:NEW222"))
    sent = await world.take(CHECKS, bought("s1"), bought("s2", member="card:NEW222"))
    assert [(one["account"], one.get("note")) for one in commands(sent)] == [("receipt:s1", "IDENTIFIER_BLOCKED"), ("H-1", None)]
    sent = await world.take(REDEMPTIONS, (CARD, request("reserve", "q1", "R1", START, CARD, points=5)))
    assert codes(sent) == letters(sent) == ["IDENTIFIER_BLOCKED"]


async def test_A01_a_lost_card_stays_blocked_when_the_opt_in_comes_once_more_until_it_is_linked_again(world):
    await world.take(MEMBER_COMMANDS, member_command("replace", "l1", old=CARD, new="card:NEW222"))
    await world.take(MEMBER_COMMANDS, ("H-1", opt_in("H-1", START, CARD, "card:NEW222")))
    assert [one.get("note") for one in commands(await world.take(CHECKS, bought("s1")))] == ["IDENTIFIER_BLOCKED"]
    assert commands(await world.take(CHECKS, bought("s2", member="card:NEW222")))[0]["account"] == "H-1"
    await world.take(MEMBER_COMMANDS, member_command("link", "l2", identifier=CARD))
    assert commands(await world.take(CHECKS, bought("s3")))[0]["account"] == "H-1"


async def test_who_is_erased_leaves_a_tombstone_and_an_account_without_a_name(world):
    sent = await world.through(MEMBER_COMMANDS, member_command("erase", "e1", identifiers=[CARD]))
    assert contacts(sent) == [(b"H-1", None)]
    assert identities(sent) == [None, None]
    assert events(sent) == ["OPT_OUT"]
    assert commands(await world.take(CHECKS, bought()))[0]["account"] == "receipt:s1"
    assert codes(await world.take(MEMBER_COMMANDS, member_command("opt_out", "o1"))) == ["MEMBER_UNKNOWN"]


async def test_the_same_identifier_wanted_by_two_in_two_batches_goes_to_the_first(world):
    first = await world.take(MEMBER_COMMANDS, ("H-2", opt_in("H-2", START, "phone:+15551234567")))
    second = await world.take(MEMBER_COMMANDS, ("H-3", opt_in("H-3", START, "phone:(555) 123-4567")))
    assert len(identities(first)) == 2
    assert (codes(second), letters(second), commands(second)) == (["IDENTIFIER_TAKEN"], ["IDENTIFIER_TAKEN"], [])


# ---------------------------------------------------------------- ledger


async def test_an_account_is_read_once_and_written_once_a_batch(world):
    taken = await world.take(CHECKS, *(bought(f"s{n}") for n in range(5)), bought("u1", member=None))
    await world.decide(taken)
    assert sorted(world.reads) == [b"H-1", b"receipt:u1"]
    ((partition, changes),) = world.writes
    assert partition == PARTITION
    assert set(changes) == {b"H-1", b"receipt:u1"}
    assert world.account("H-1").books.available == 25
    assert [note[:2] for note in world.notes] == [(PARTITION, b"H-1"), (PARTITION, b"receipt:u1")]


async def test_events_stay_in_the_accounts_partition_in_order_and_count_without_a_gap(world):
    sent = await world.through(CHECKS, *(bought(f"s{n}") for n in range(3)))
    told = of(sent, EVENTS)
    assert {one.partition for one in told} == {PARTITION}
    assert {one.key for one in told} == {b"H-1"}
    assert [(one.json["sequence"], one.json["data"]["cause"]) for one in told] == [(2, "s0"), (3, "s1"), (4, "s2")]


async def test_a_reply_says_what_it_answers_and_what_became_of_it(world):
    sent = await world.through(CHECKS, bought("s1"), bought("s1"))
    first, again = of(sent, REPLIES)
    assert first.key == b"o1"
    assert first.value == again.value
    assert [one.header("outcome") for one in (first, again)] == ["applied", "repeated"]
    assert [one.header("origin") for one in (first, again)] == [one["origin"] for one in commands(sent)]
    assert events(sent) == ["POINT_ACCRUAL"] * 2
    assert len({one.value for one in of(sent, EVENTS)}) == 1


async def test_a_redelivery_of_the_record_that_was_applied_is_still_applied(world):
    taken = await world.take(CHECKS, bought("s1"))
    first, again = await world.decide(taken), await world.decide(taken)
    assert replies(first) == replies(again)
    assert replies(again)[0][1] == "applied"
    assert [one.value for one in of(first, EVENTS)] == [one.value for one in of(again, EVENTS)]
    assert world.writes[-1] == world.writes[-2]


async def test_the_same_id_with_another_content_is_refused(world):
    sent = await world.through(CHECKS, bought("s1", 500), bought("s1", 900))
    assert [(str(reply.code), outcome) for reply, outcome in replies(sent)] == [("OK", "applied"), ("ID_REUSED", "refused")]
    assert world.account("H-1").books.available == 5
    assert letters(sent) == []


async def test_a_check_whose_events_would_not_fit_is_refused_and_kept_and_moves_nothing(world, monkeypatch):
    monkeypatch.setattr("streams.agents.fits", lambda *_: False)
    sent = await world.through(CHECKS, bought("s1"))
    assert [(str(reply.code), outcome) for reply, outcome in replies(sent)] == [("TOO_LARGE", "refused")]
    assert events(sent) == []
    assert world.account("H-1").books.available == 0
    (letter,) = of(sent, DEAD_LETTERS)
    assert letter.header("code") == "TOO_LARGE"


async def test_points_beyond_what_the_contract_can_tell_are_not_given():
    world = AgentWorld(program(limits={"adjust_points": POINTS_MAX}))
    await world.through(MEMBER_COMMANDS, ("H-1", opt_in("H-1", START, CARD)))
    sent = [
        await world.through(
            MEMBER_COMMANDS, member_command("adjust", id_, points=7 * POINTS_MAX // 10, reason="why", actor="ann")
        )
        for id_ in ("a1", "a2")
    ]
    assert [codes(one) for one in sent] == [["OK"], ["TOO_LARGE"]]
    assert not events(sent[1])
    assert letters(sent[1]) == ["TOO_LARGE"]


async def test_B05_stars_beyond_what_the_contract_can_tell_are_not_given():
    rates = [{"wallet": "main", "into": "stars", "points": 1, "gives": 1000}]
    rules = {"wallets": [{"id": "stars", "title": "Stars"}], "conversions": rates, "limits": {"adjust_points": POINTS_MAX}}
    world = AgentWorld(program(**rules))
    await world.through(MEMBER_COMMANDS, ("H-1", opt_in("H-1", START, CARD)))
    await world.through(MEMBER_COMMANDS, member_command("adjust", "a1", points=POINTS_MAX, reason="why", actor="ann"))
    sent = [
        await world.through(
            MEMBER_COMMANDS, member_command("convert_points", id_, wallet="main", into="stars", points=7 * POINTS_MAX // 10_000)
        )
        for id_ in ("c1", "c2")
    ]
    assert [codes(one) for one in sent] == [["OK"], ["TOO_LARGE"]]
    assert not events(sent[1])
    assert letters(sent[1]) == ["TOO_LARGE"]


async def test_a_repeat_that_arrives_under_a_later_version_is_answered_by_the_first_ones_rewards():
    rewards = [{"id": "coffee", "title": "Coffee", "points": 10, "value_minor": 100}]
    later = program(version=2, effective_from=after(days=1).isoformat(), redemption={"rewards": rewards})
    world = AgentWorld(program(), later)
    await world.through(MEMBER_COMMANDS, ("H-1", opt_in("H-1", START, CARD)))
    gift = member_command("adjust", "a1", points=50, reason="why", actor="ann")
    first = await world.through(MEMBER_COMMANDS, gift)
    again = await world.through(MEMBER_COMMANDS, (*gift, NOW_MS + 2 * DAY_MS))
    assert [one["program"] for one in (*commands(first), *commands(again))] == ["main@1", "main@2"]
    assert replies(again)[0][1] == "repeated"
    for topic in (REPLIES, EVENTS):
        assert [one.value for one in of(first, topic)] == [one.value for one in of(again, topic)]


async def test_a_check_older_than_repeats_are_remembered_is_parked_and_kept(world):
    key, body = bought("s1")
    sent = await world.through(CHECKS, (key, body, NOW_MS + 36 * DAY_MS))
    assert [(str(reply.code), outcome) for reply, outcome in replies(sent)] == [("BEYOND_HORIZON", "parked")]
    (letter,) = of(sent, DEAD_LETTERS)
    assert letter.header("code") == "BEYOND_HORIZON"
    assert letter.header("stage") == COMMANDS.name
    assert letter.value == of(sent, COMMANDS)[0].value
    assert events(sent) == []


async def test_the_account_of_a_forgotten_receipt_goes(world):
    await world.through(CHECKS, bought("s1", member=None))
    due = world.account("receipt:s1").next_due
    tick = {"type": "tick", "id": "tick:1", "account": "receipt:s1", "program": "main@1"}
    await world.ledger_agent.handle(world.batch(COMMANDS, ("receipt:s1", tick, due * 1000)))
    assert world.writes[-1] == (PARTITION, {b"receipt:s1": None})


def test_events_that_would_not_fit_into_a_record_are_known():
    assert fits([b"x" * 1_900_000])
    assert not fits([b"x", b"x" * 1_900_001])


# ---------------------------------------------------------------- claims


def claim(id_, total=500, loyalty_id="H-1"):
    business_date = START.date().isoformat()
    return member_command("claim", id_, loyalty_id, check_id="s1", total_minor=total, business_date=business_date)


async def test_a_claim_takes_the_receipt_then_gives_it_to_the_member(world):
    await world.through(CHECKS, bought("s1", member=None))
    asked = await world.take(MEMBER_COMMANDS, claim("c1"))
    assert [(one["type"], one["account"]) for one in commands(asked)] == [("ask_receipt", "receipt:s1")]
    half = await world.decide(asked)
    assert replies(half) == []
    assert [(one["type"], one["account"], one["id"]) for one in commands(half)] == [("take_receipt", "H-1", "s1")]
    done = await world.decide(half)
    ((reply, outcome),) = replies(done)
    assert (reply.id, reply.code, reply.earned, reply.outlet, outcome) == ("c1", "OK", 5, "crm", "applied")
    assert events(done) == ["POINT_ACCRUAL"]


async def test_each_half_of_a_claim_may_be_repeated(world):
    await world.through(CHECKS, bought("s1", member=None))
    asked = await world.take(MEMBER_COMMANDS, claim("c1"))
    first = await world.decide(asked)
    again = await world.decide(asked)
    assert [one.value for one in first] == [one.value for one in again]
    once, twice = await world.decide(first), await world.decide(again)
    assert [one.value for one in once] == [one.value for one in twice]
    assert replies(twice)[0][1] == "applied"
    assert world.account("H-1").books.available == 5


async def test_a_resent_claim_is_answered_as_a_repeat_and_a_second_one_refused(world):
    await world.through(CHECKS, bought("s1", member=None))
    first = await world.through(MEMBER_COMMANDS, claim("c1"))
    again = await world.through(MEMBER_COMMANDS, claim("c1"))
    assert replies(first)[0][0] == replies(again)[0][0]
    assert [replies(sent)[0][1] for sent in (first, again)] == ["applied", "repeated"]
    await world.through(MEMBER_COMMANDS, ("H-2", opt_in("H-2", START)))
    assert codes(await world.through(MEMBER_COMMANDS, claim("c2", loyalty_id="H-2"))) == ["RECEIPT_CLAIMED"]
    assert codes(await world.through(MEMBER_COMMANDS, claim("c3"))) == ["RECEIPT_CLAIMED"]
    assert world.account("H-1").books.available == 5
