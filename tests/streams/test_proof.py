"""What the proof must find, one broken law at a time, in logs written by hand; and that it finds nothing in a clean one."""

import msgspec
import orjson
import pytest

from schemas.codes import Code
from schemas.topics import CHECKS, COMMANDS, EVENTS, MEMBER_COMMANDS, REDEMPTIONS, REPLIES
from streams.proof import Law
from tests.builders import Member, earning, level, program, tiers
from tests.streams.written_topics import FEEDING, NOW, Topics


@pytest.fixture
def topics():
    return Topics()


@pytest.fixture
def sold(topics):
    """One check, applied: ten points, then a command that used four of them."""
    origin = topics.check()
    topics.reply(origin)
    topics.command(origin=origin)
    topics.event(moves=[("issued", "available", 10, 1)])
    topics.command("R-1", kind="adjust")
    topics.event("R-1", moves=[("available", "used", 4, 1)])
    return topics


def broken(topics, law, *words, **options):
    violation = topics.prove(**options)
    assert violation is not None
    assert violation.law is law, violation
    for word in words:
        assert word in str(violation)


# ---------------------------------------------------------------- clean logs


def test_nothing_is_proven_of_nothing(topics):
    assert topics.prove() is None


def test_a_clean_log_is_proven_and_counted(sold):
    assert sold.prove() is None
    figures = sold.proven.tally()
    assert figures.outcomes == {"applied": 1}
    assert (figures.members, figures.receipts) == (1, 0)
    assert figures.points["available"] == 6
    assert figures.records[EVENTS.name] == 2


def test_every_kind_of_outcome_counts_once(topics):
    for n, outcome in enumerate(("applied", "refused", "parked")):
        topics.reply(topics.check(), outcome, id_=f"C-{n}", code=Code.OK if outcome == "applied" else Code.FRAUD_REVIEW)
    topics.dead_letter(topics.check(topic=REDEMPTIONS))
    topics.reply(topics.check(topic=MEMBER_COMMANDS), "repeated", id_="M-1")
    assert topics.prove() is None
    figures = topics.proven.tally()
    assert figures.outcomes == {"applied": 1, "refused": 1, "parked": 1, "dead letter": 1, "repeated": 1}
    assert figures.codes == {"FRAUD_REVIEW": 2, "SCHEMA": 1}


def test_a_late_check_whose_turn_has_not_come_is_not_lost_yet(topics):
    first, second, third = topics.check(), topics.check(), topics.check()
    for origin in (first, second, third):
        topics.put_aside(origin)
    topics.reply(first)
    assert topics.prove() is None
    assert topics.proven.waiting() == 2


def test_a_late_check_is_lost_when_one_behind_it_had_its_turn(topics):
    first, second = topics.check(), topics.check()
    for origin in (first, second):
        topics.put_aside(origin)
    topics.reply(second)
    broken(topics, Law.LOST, first)


def test_a_reply_that_was_written_twice_is_one_outcome(topics):
    origin = topics.check()
    topics.reply(origin, "applied")
    topics.reply(origin, "repeated")
    assert topics.prove() is None
    assert topics.proven.tally().outcomes == {"applied": 1}
    assert topics.proven.tally().replies_again == 1


def test_a_check_that_was_resent_gets_the_same_answer(topics):
    topics.reply(topics.check(), "applied")
    topics.reply(topics.check(), "repeated")
    assert topics.prove() is None
    assert topics.proven.tally().outcomes == {"applied": 1, "repeated": 1}


@pytest.mark.parametrize(("outcome", "code"), [("refused", Code.ID_REUSED), ("parked", Code.BEYOND_HORIZON)])
def test_a_later_refusal_of_the_same_id_is_no_second_answer(topics, outcome, code):
    topics.reply(topics.check(), "applied")
    topics.reply(topics.check(), outcome, code=code)
    assert topics.prove() is None


@pytest.mark.parametrize("first", ["dead letter", "reply"])
def test_a_dead_letter_may_go_with_a_refusal_and_the_refusal_counts(topics, first):
    origin = topics.check()
    if first == "dead letter":
        topics.dead_letter(origin, Code.TOTAL_MISMATCH)
    topics.reply(origin, "refused", code=Code.TOTAL_MISMATCH)
    if first == "reply":
        topics.dead_letter(origin, Code.TOTAL_MISMATCH)
    assert topics.prove() is None
    assert +topics.proven.tally().outcomes == {"refused": 1}
    assert +topics.proven.tally().codes == {"TOTAL_MISMATCH": 1}


def test_one_id_at_two_doors_is_two_ids(topics):
    topics.reply(topics.check(), id_="X-1")
    topics.reply(topics.check(topic=REDEMPTIONS), id_="X-1", tier="Gold")
    assert topics.prove() is None


def test_events_written_again_after_a_crash_are_the_same_events(sold):
    again = sold.records[EVENTS.name][:]
    for record in again:
        sold.add(EVENTS, "M1", record.value)
    assert sold.prove() is None
    assert sold.proven.tally().events_again == 2


def test_all_events_of_a_command_carry_the_balance_after_it(topics):
    topics.command(kind="adjust")
    after = {"earned": 10, "used": 4, "available": 6}
    topics.event(moves=[("issued", "available", 10, 1)], balance=after)
    topics.event(moves=[("available", "used", 4, 1)], balance=after)
    assert topics.prove() is None


def test_points_may_travel_through_every_book(topics):
    topics.command(kind="adjust")
    ways = [
        [("issued", "pending", 100, 1)], [("pending", "available", 100, 1)], [("available", "reserved", 40, 1)],
        [("reserved", "used", 30, 1), ("reserved", "available", 10, 1)], [("used", "available", 5, 1)],
        [("available", "expired", 75, 1)], [("debt", "reversed", 20, 0)], [("adjusted", "available", 50, 2)],
        [("available", "debt", 20, 2)], [("issued", "held", 7, 3)], [("held", "reversed", 7, 3)], [("debt", "adjusted", 90, 0)],
    ]  # fmt: skip
    for n, moves in enumerate(ways):
        topics.command(f"W-{n}", kind="adjust")
        topics.event(f"W-{n}", moves=moves)
    assert topics.prove() is None
    points = topics.proven.tally().points
    assert (points["available"], points["adjusted"], points["debt"]) == (30, -40, 90)


def test_an_unclaimed_receipt_has_an_account_without_a_profile(topics):
    topics.command(member="receipt:C-1", kind="adjust")
    topics.event(member="receipt:C-1", profile=None)
    assert topics.prove() is None
    assert (topics.proven.tally().members, topics.proven.tally().receipts) == (0, 1)


def test_a_sinks_dead_letter_is_no_outcome(sold):
    sold.dead_letter("loy.events/0/0")
    assert sold.prove() is None


def test_a_record_that_arrived_after_the_ends_were_fixed_is_not_judged(sold):
    sold.reply("pos.checks/0/1", id_="C-2")
    assert sold.prove() is None


# ---------------------------------------------------------------- outcomes


def test_a_record_without_an_outcome_is_lost(sold):
    sold.check()
    broken(sold, Law.LOST, "pos.checks/0/1")


def test_a_record_whose_reply_may_be_gone_by_retention_is_not_lost_but_counted(sold):
    sold.check(at=NOW - 5_000)
    assert sold.prove(answers_since_ms=NOW - 1_000) is None
    assert sold.proven.tally().unjudged == 1
    sold.check(at=NOW)
    broken(sold, Law.LOST, "pos.checks/0/2", answers_since_ms=NOW - 1_000)


def test_one_record_with_two_different_replies(topics):
    origin = topics.check()
    topics.reply(origin, earned=10)
    topics.reply(origin, "repeated", earned=11)
    broken(topics, Law.TWO_ANSWERS, "M1", "pos.checks/0/0", "pos.replies/0/1")


def test_a_resent_check_with_another_answer(topics):
    topics.reply(topics.check(), earned=10)
    topics.reply(topics.check(), "repeated", earned=11)
    broken(topics, Law.TWO_ANSWERS, "C-1", "pos.checks/0/1", "pos.replies/0/1")


@pytest.mark.parametrize("first", ["dead letter", "reply"])
def test_a_record_that_was_accepted_and_put_aside(topics, first):
    origin = topics.check()
    if first == "dead letter":
        topics.dead_letter(origin)
    topics.reply(origin)
    if first == "reply":
        topics.dead_letter(origin)
    broken(topics, Law.TWO_OUTCOMES, "pos.checks/0/0")


def test_a_record_put_aside_for_two_reasons(topics):
    origin = topics.check()
    topics.dead_letter(origin, Code.SCHEMA)
    topics.dead_letter(origin, Code.NOT_JSON)
    broken(topics, Law.TWO_OUTCOMES, "SCHEMA", "NOT_JSON")


@pytest.mark.parametrize("origin", ["loy.commands/0/0", "pos.checks/7/0"])
def test_a_reply_to_what_no_till_sent(sold, origin):
    sold.reply(origin)
    broken(sold, Law.ORPHAN, origin)


def test_a_reply_to_an_offset_that_holds_no_record(topics):
    for _ in range(3):
        topics.reply(topics.check())
    del topics.records[CHECKS.name][1]
    broken(topics, Law.ORPHAN, "pos.checks/0/1")


@pytest.mark.parametrize(("outcome", "status"), [("applied", "refused"), ("refused", "accepted"), ("lost", "accepted")])
def test_a_reply_whose_header_and_body_disagree(topics, outcome, status):
    topics.reply(topics.check(), outcome, status=status)
    broken(topics, Law.UNREADABLE, outcome, "pos.replies/0/0")


def test_a_reply_that_breaks_the_contract(topics):
    topics.reply(topics.check(), earned="ten")
    broken(topics, Law.UNREADABLE, "earned", "pos.replies/0/0")


def test_a_reply_that_does_not_say_whom_it_answers(topics):
    topics.check()
    topics.reply("")
    broken(topics, Law.UNREADABLE, "origin")


def test_a_dead_letter_that_breaks_the_contract(topics):
    topics.dead_letter(topics.check(), "NO_SUCH_CODE")
    broken(topics, Law.UNREADABLE, "code", "loy.dead-letters/0/0")


@pytest.mark.parametrize("kind", ["sale", "return", "void", "redeem"])
def test_a_tills_command_without_a_reply(sold, kind):
    sold.command("C-2", "M2", kind, "pos.checks/0/9")
    broken(sold, Law.UNANSWERED, "M2", "loy.commands/0/2", "pos.checks/0/9")


def test_a_dead_letter_is_no_reply_to_a_command(topics):
    origin = topics.check()
    topics.command(origin=origin)
    topics.dead_letter(origin)
    broken(topics, Law.UNANSWERED, "loy.commands/0/0")


def test_the_clocks_command_needs_no_reply(sold):
    sold.command("tick/1", kind="tick")
    assert sold.prove() is None


def test_a_command_without_an_account(topics):
    topics.add(COMMANDS, "M1", {"id": "C-1"})
    broken(topics, Law.UNREADABLE, "loy.commands/0/0")


def test_a_command_that_is_no_text(topics):
    topics.add(COMMANDS, "M1", b'{"id": "\xff", "type": "sale", "account": "M1"}')
    broken(topics, Law.UNREADABLE, "loy.commands/0/0")


def test_a_command_under_another_key(topics):
    topics.command(key="M2", kind="adjust")
    broken(topics, Law.WRONG_KEY, "M1", "loy.commands/0/0")


# ---------------------------------------------------------------- events


def test_an_event_that_breaks_the_contract(sold):
    sold.event("R-1", source="/somebody/else")
    broken(sold, Law.UNREADABLE, "source", "loy.events/0/2")


def test_an_event_of_an_unknown_type(sold):
    sold.event("R-1", type="LOY_OPT_INN")
    broken(sold, Law.UNREADABLE, "LOY_OPT_INN")


def test_an_event_that_is_no_json(sold):
    sold.add(EVENTS, "M1", b"{")
    broken(sold, Law.UNREADABLE, "loy.events/0/2")


def test_two_different_events_under_one_id(sold):
    sold.event("R-1", id_="M1/C-1/1")
    broken(sold, Law.TWO_BODIES, "M1/C-1/1", "loy.events/0/2")


def test_a_gap_in_an_accounts_events(sold):
    sold.event("R-1", sequence=4)
    broken(sold, Law.SEQUENCE, "number 4", "expected is 3", "loy.events/0/1", "loy.events/0/2")


def test_two_events_with_one_number(sold):
    sold.event("R-1", sequence=2)
    broken(sold, Law.SEQUENCE, "number 2", "expected is 3")


def test_events_out_of_order(topics):
    topics.command(kind="adjust")
    topics.event(sequence=2)
    topics.event(sequence=1)
    broken(topics, Law.SEQUENCE, "number 2", "expected is 1")


def test_an_event_under_another_key(sold):
    sold.event("R-1", key="M2")
    broken(sold, Law.WRONG_KEY, "M1", "loy.events/0/2")


def test_an_event_without_its_command(sold):
    sold.event("C-9")
    broken(sold, Law.CAUSE, "C-9", "loy.events/0/2")


def test_an_event_whose_command_went_to_another_account(sold):
    sold.event("C-1", "M2")
    broken(sold, Law.CAUSE, "M2", "C-1")


def test_a_balance_that_is_not_the_sum_of_its_postings(topics):
    topics.command(kind="adjust")
    topics.event(moves=[("issued", "available", 10, 1)], balance={"earned": 11, "available": 11})
    broken(topics, Law.BALANCE, "M1", "earned is 11", "add up to 10", "loy.events/0/0")


def test_a_wrong_balance_in_the_middle_is_found_at_the_next_command(topics):
    for n in (1, 2):
        topics.command(f"C-{n}", kind="adjust")
    topics.event("C-1", moves=[("issued", "available", 10, 1)], balance={"earned": 11, "available": 11})
    topics.event("C-2", moves=[("issued", "available", 10, 2)])
    broken(topics, Law.BALANCE, "earned is 11", "loy.events/0/0", "loy.events/0/1")


def test_a_balance_that_changes_without_an_event(sold):
    sold.event("R-1", balance={"earned": 11, "available": 7})
    broken(sold, Law.BALANCE, "M1", "loy.events/0/2")


def test_two_balances_after_one_command(topics):
    topics.command(kind="adjust")
    topics.event(moves=[("issued", "available", 10, 1)])
    topics.event(moves=[("available", "used", 4, 1)])
    broken(topics, Law.BALANCE, "different balances")


def test_points_out_of_nowhere(sold):
    sold.command("C-2", kind="adjust")
    sold.event("C-2", balance={"available": 7})
    broken(sold, Law.CONSERVATION, "6", "7", "loy.events/0/2")


@pytest.mark.parametrize(
    "move",
    [
        ("available", "used", 7, 1),
        ("reserved", "used", 1, 1),
        ("held", "available", 1, 1),
        ("expired", "available", 1, 1),
        ("available", "issued", 11, 1),
        ("available", "debt", 1, 1),
    ],
)
def test_a_book_that_falls_below_zero(sold, move):
    sold.command("C-2", kind="adjust")
    # The contract has no negative figures: what is told is the balance of before.
    sold.event("C-2", moves=[move], balance={"earned": 10, "used": 4, "available": 6, "held": 0, "expired": 0, "debt": 0})
    broken(sold, Law.NEGATIVE, move[0] if move[1] not in ("issued", "debt") else move[1], "loy.events/0/2")


def test_a_lot_that_gives_more_than_it_has(topics):
    topics.command(kind="adjust")
    topics.event(moves=[("issued", "available", 10, 1), ("issued", "available", 10, 2)])
    topics.command("R-1", kind="adjust")
    topics.event("R-1", moves=[("available", "used", 11, 2)])
    broken(topics, Law.NEGATIVE, "lot 2", "-1", "loy.events/0/1")


def test_points_that_leave_no_lot(sold):
    sold.command("R-2", kind="adjust")
    sold.event("R-2", moves=[("available", "used", 1, 0)])
    broken(sold, Law.NEGATIVE, "lot 0")


@pytest.mark.parametrize("field", ["available_points", "earned_points", "used_points", "expired_points", "hold_points"])
def test_a_profile_that_says_something_else_than_the_balance(sold, field):
    sold.command("C-2", kind="adjust")
    profile = sold.profile("M1", sold.figures("M1"))
    sold.event("C-2", profile=profile | {field: profile[field] + 1})
    broken(sold, Law.PROFILE, field)


def test_somebody_elses_profile(sold):
    sold.event("R-1", profile=sold.profile("M2", sold.figures("M1")))
    broken(sold, Law.PROFILE, "loyalty_id")


def test_a_member_without_a_profile(sold):
    sold.event("R-1", profile=None)
    broken(sold, Law.PROFILE, "M1")


@pytest.mark.parametrize("moved", [{"earned": 5}, {"earned": -5}, {"earned": 0, "burned": 5}])
def test_a_reply_that_promises_points_which_no_event_tells(sold, moved):
    origin = sold.check()
    sold.command("C-2", origin=origin)
    sold.reply(origin, id_="C-2", **moved)
    broken(sold, Law.UNTOLD, "M1", "pos.replies/0/1")


def test_a_claims_reply_is_kept_by_the_events_of_its_receipt(topics):
    origin = topics.check(topic=MEMBER_COMMANDS)
    topics.reply(origin, id_="claim-1")
    value = {"id": "C-9", "account": "M1", "type": "take_receipt", "origin": origin, "claim_id": "claim-1"}
    topics.add(COMMANDS, "M1", value)
    topics.event("C-9", moves=[("issued", "available", 10, 1)])
    assert topics.prove() is None


# ---------------------------------------------------------------- while a worker is running


def test_what_was_outstanding_may_still_come(topics):
    origin = topics.check()
    command = topics.command(origin=origin)
    half = topics.event(moves=[("issued", "available", 10, 1)], balance={"earned": 10, "used": 4, "available": 6})
    proof = topics.proof()
    for record in (topics.records[CHECKS.name][0], command, half):
        assert proof.feed(record) is None
    proof.seal()
    assert {violation.law for violation in proof.outstanding()} == {Law.LOST, Law.UNANSWERED, Law.BALANCE}
    assert proof.feed(topics.reply(origin)) is None
    assert proof.feed(topics.event(moves=[("available", "used", 4, 1)])) is None
    assert list(proof.outstanding()) == []


def test_what_begins_after_the_ends_were_fixed_is_not_waited_for(sold):
    proof = sold.proof()
    for name in FEEDING:
        for record in sold.records[name]:
            assert proof.feed(record) is None
    proof.seal()
    assert proof.feed(sold.command("C-3", origin="pos.checks/0/5")) is None
    assert proof.feed(sold.event("C-3", moves=[("issued", "available", 9, 2)], balance={"earned": 20, "available": 16})) is None
    assert list(proof.outstanding()) == []


# ---------------------------------------------------------------- what the real ledger writes


class Ledger:
    """Puts what the core decides onto the topics, as the worker does."""

    def __init__(self, topics):
        self.topics = topics

    def write(self, step, *, crash_after=None):
        """A step of a member: its record, command, events and reply; all again after a crash that came after so many events."""
        t, command = self.topics, step.command
        answered = step.raw_reply is not None
        origin = t.add(CHECKS, "", b"{}").origin if answered else ""
        t.command(command.id, command.account, command.type, origin)
        for raw in (*step.raw_events[: crash_after or 0], *step.raw_events):
            t.add(EVENTS, command.account, raw)
        if answered:
            outcome = "repeated" if step.repeated else {"accepted": "applied"}.get(step.status, step.status)
            t.add(REPLIES, "o1", step.raw_reply, (("origin", origin), ("outcome", outcome)))


@pytest.fixture
def life():
    """A member's life with all that moves points."""
    rules = program(
        earning=earning(per_minor=10),
        points={"pending_days": 2, "expiry": {"kind": "after_days", "days": 90}, "notice_days": 10, "debt": "allow"},
        redemption={"points_per_minor": 1, "minimum_points": 1, "reservation_minutes": 15},
        tiers=tiers(level("Gold", points=300)),
    )
    member = Member(rules).joined()
    member.sale(5_000, id="big")
    member.wait(3).tick()
    member.reserve("x", 100)
    member.confirm("x", 60, check_id="second")
    member.reserve("y", 50)
    member.cancel("y")
    member.reserve("late", 10)
    member.wait(1).sale(2_000, id="second")
    member.returns("second", (1, 500, 1_000))
    member.void("big")
    member.adjust(900)
    member.adjust(-50)
    member.returns("unknown", (1, 1_000, 500))
    member.again(member.steps[1])
    member.reserve("too-much", 1_000_000)
    member.wait(100).tick()
    member.sale(700)
    member.leave()
    return member


def test_a_members_whole_life_is_proven(topics, life):
    ledger = Ledger(topics)
    for step in life.steps:
        ledger.write(step)
    assert topics.prove() is None
    figures = topics.proven.tally()
    books = life.books
    assert figures.points["available"] == books.available
    assert figures.points["debt"] == -books.debt
    assert figures.points["used"] == books.used > 0
    assert figures.points["expired"] == books.expired > 0
    assert figures.points["reversed"] == books.reversed > 0
    assert {"applied", "repeated", "refused", "parked"} == set(figures.outcomes)


@pytest.mark.parametrize("crash_after", [1, 2, 100])
def test_a_life_with_a_crash_between_any_two_events_heals(topics, life, crash_after):
    for step in life.steps:
        Ledger(topics).write(step, crash_after=crash_after)
    assert topics.prove() is None
    assert topics.proven.tally().events_again > 0


def test_a_life_with_any_event_lost_is_not_proven(life):
    steps = [step for step in life.steps if not step.repeated]
    total = sum(len(step.raw_events) for step in steps)
    for lost in range(total - 1):
        topics = Topics()
        for step in steps:
            Ledger(topics).write(step)
        del topics.records[EVENTS.name][lost]
        broken(topics, Law.SEQUENCE)
    assert total > 20


def test_one_check_that_earned_for_two_members_is_found(topics):
    for name in ("M-1", "M-2"):
        member = Member(key=name).joined()
        member.sale(500, id="shared")
        for step in member.steps:
            Ledger(topics).write(step)
    violation = topics.prove()
    assert violation is not None
    assert violation.law in (Law.TWO_MEMBERS, Law.TWO_ANSWERS)


def test_one_check_that_was_claimed_beside_being_shown_a_card_is_found(topics):
    topics.check()
    for member in ("M-1", "M-2"):
        topics.command("C-9", member=member, kind="tick")
        event = topics.event("C-9", member=member, moves=[("issued", "available", 10, 1)])
        detail = {"check_id": "C-9", "points": 10, "awards": [], "cuts": [], "debt_repaid": 0, "held": False}
        body = orjson.loads(event.value)
        body["data"] |= detail
        body |= {"type": "LOY_POINT_ACCRUAL", "dataschema": "loystream:events/LOY_POINT_ACCRUAL"}
        topics.records[EVENTS.name][-1] = msgspec.structs.replace(event, value=orjson.dumps(body))
    topics.reply("pos.checks/0/0", id_="C-9", earned=10)
    broken(topics, Law.TWO_MEMBERS, "C-9", "M-2")
