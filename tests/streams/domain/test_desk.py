"""The service desk and the member's own steps: joining, leaving, corrections with four eyes, tiers by hand (B06, C07)."""

import pytest

from streams.domain.account import OFFERS_MAX
from tests.builders import Member, Step, assert_conserved, level, moment, program, tiers

LIMIT = program(limits={"adjust_points": 100})


def over_the_limit(points: int = 150) -> tuple[Member, str]:
    member = Member(LIMIT).joined()
    return member, member.adjust(points, actor="ann").command.id


# ---------------------------------------------------------------- B06: corrections


@pytest.mark.parametrize(
    ("points", "code", "available"),
    [
        (100, "OK", 100),
        (101, "APPROVAL_NEEDED", 0),
        (-100, "OK", 0),
        (-101, "APPROVAL_NEEDED", 0),
        (1, "OK", 1),
    ],
)
def test_B06_up_to_the_limit_one_person_is_enough(points: int, code: str, available: int):
    member = Member(LIMIT).joined()
    step = member.adjust(points)
    assert (step.code, member.books.available) == (code, available)
    assert step.status == ("accepted" if code == "OK" else "parked")


def test_B06_a_correction_names_its_reason_and_its_author():
    told = Member(LIMIT).joined().adjust(100, reason="lost receipt", actor="ann").data("POINT_ADJUSTED")
    assert (told.points, told.reason, told.actor, told.approver) == (100, "lost receipt", "ann", None)


@pytest.mark.parametrize("reason", [" ", "   "])
def test_B06_without_a_reason_nothing_is_corrected(reason: str):
    member = Member(LIMIT).joined()
    assert member.adjust(10, reason=reason).code == "REASON_MISSING"
    assert member.books.adjusted == 0


def test_B06_another_person_approves_what_is_over_the_limit():
    member, waiting = over_the_limit()
    step = member.wait(days=1).approve(waiting, actor="bob")
    told = step.data("POINT_ADJUSTED")
    assert (told.points, told.actor, told.approver) == (150, "ann", "bob")
    assert member.books.available == 150


def test_B06_nobody_approves_his_own():
    member, waiting = over_the_limit()
    assert member.approve(waiting, actor="ann").code == "SELF_APPROVAL"
    assert member.books.available == 0
    assert member.approve(waiting, actor="bob").code == "OK", "it still waits"


@pytest.mark.parametrize("accept", [True, False])
def test_B06_what_was_decided_cannot_be_decided_again(accept: bool):
    member, waiting = over_the_limit()
    decided = member.approve(waiting, accept=accept)
    assert (decided.code, member.books.available) == ("OK", 150 if accept else 0)
    assert member.approve(waiting).code == "NOT_APPROVABLE"
    assert member.approve("never-was").code == "NOT_APPROVABLE"
    assert member.books.available == (150 if accept else 0)


def test_B06_a_correction_sent_twice_is_made_once():
    member = Member(LIMIT).joined()
    first = member.adjust(50)
    again = member.wait(days=3).again(first)
    assert again.repeated
    assert again.bytes == first.bytes
    assert member.books.available == 50
    waiting, other = member.adjust(500, id="big"), member.adjust(500, id="big", reason="other words")
    assert (waiting.code, other.code) == ("APPROVAL_NEEDED", "ID_REUSED")
    approved = member.approve("big")
    assert member.again(approved).repeated
    assert member.books.available == 550


@pytest.mark.parametrize(
    ("debt", "points", "expected"),
    [
        ("allow", -30, (20, 0, -30)),
        ("allow", -80, (0, 30, -80)),
        ("hold_refund", -80, (0, 30, -80)),
        ("floor", -80, (0, 0, -50)),
    ],
)
def test_B06_a_deduction_takes_what_is_there_and_the_rest_by_the_debt_policy(
    debt: str, points: int, expected: tuple[int, int, int]
):
    member = Member(program(points={"debt": debt})).joined().having(50)
    told = member.adjust(points).data("POINT_ADJUSTED")
    available, owed, done = expected
    assert (member.books.available, member.account.debt, told.points) == (available, owed, done)
    assert told.balance.adjusted == 50 + done
    assert_conserved(told.balance)


def test_B06_given_points_repay_a_debt_first_and_expire_as_earned_ones_do():
    member = Member(program(points={"expiry": {"kind": "end_of_month", "months": 0}})).joined()
    member.adjust(-30)
    member.adjust(50)
    assert (member.account.debt, member.books.available) == (0, 20)
    assert member.tick(moment("2026-04-01")).data("POINT_EXPIRED").points == 20


def test_B06_points_that_are_reserved_or_held_are_not_deducted():
    member = Member(LIMIT).joined().having(80)
    member.reserve("R1", 60)
    member.adjust(-50)
    assert (member.books.available, member.books.reserved, member.account.debt) == (0, 60, 30)
    member.cancel("R1")
    assert (member.books.available, member.account.debt) == (30, 0)


def test_B06_corrections_do_not_qualify_for_a_tier():
    member = Member(program(tiers=tiers(level("Gold", points=10)))).joined().having(500)
    assert member.account.tier.level == 0


# ---------------------------------------------------------------- who is no member


def refusals(member: Member) -> list[str]:
    steps: list[Step] = [
        member.adjust(10),
        member.approve("x"),
        member.review("x"),
        member.set_tier("Member"),
        member.update(birthday="01-02"),
        member.leave(),
        member.leave(erased=True),
        member.answer("spring"),
    ]
    assert all(step.status == "refused" and not step.events for step in steps)
    return [step.code for step in steps]


def test_B06_nothing_is_done_for_who_never_joined():
    member = Member()
    unknown = "MEMBER_UNKNOWN"
    assert refusals(member) == [unknown, "NOT_APPROVABLE", "HOLD_UNKNOWN", *[unknown] * 5]
    assert member.join().code == "OK", "and joining is still possible"


def test_C07_a_tier_that_the_program_does_not_know_is_refused():
    member = Member(program(tiers=tiers(level("Gold", points=10)))).joined()
    assert member.set_tier("Diamond").code == "TIER_UNKNOWN"
    member.leave()
    assert member.set_tier("Gold").code == "MEMBER_OPTED_OUT"


# ---------------------------------------------------------------- offers


def test_E02_the_first_answer_to_an_offer_is_told_and_every_other_one_refused():
    member = Member().joined()
    first = member.answer("spring", "rejected")
    assert first.types == ["OFFER_RESULT"]
    assert first.all("OFFER_RESULT")[0].offer == "spring"
    assert first.all("OFFER_RESULT")[0].result == "rejected"
    for again in ("accepted", "rejected"):
        late = member.answer("spring", again)
        assert (late.status, late.code, late.events) == ("refused", "OFFER_ANSWERED", ())
    assert member.answer("summer").types == ["OFFER_RESULT"]


def test_E02_who_left_answers_no_offer():
    member = Member().joined()
    member.leave()
    assert member.answer("spring").code == "MEMBER_OPTED_OUT"


def test_E02_an_account_remembers_the_last_offers_and_stays_small():
    member = Member().joined()
    for number in range(OFFERS_MAX + 1):
        member.wait(hours=1).answer(f"offer-{number}")
    assert len(member.account.offers) == OFFERS_MAX
    assert member.answer(f"offer-{OFFERS_MAX}").code == "OFFER_ANSWERED"


# ---------------------------------------------------------------- joining and leaving


def test_joining_twice_is_refused_and_leaving_twice_too():
    member = Member()
    assert [member.join().code, member.join().code] == ["OK", "ALREADY_MEMBER"]
    assert [member.leave().code, member.leave().code] == ["OK", "MEMBER_OPTED_OUT"]


def test_leaving_frees_what_was_reserved_and_coming_back_finds_the_points():
    member = Member().joined().having(50)
    member.reserve("R1", 30)
    left = member.leave()
    assert left.types == ["POINT_FREED", "OPT_OUT"]
    assert member.sale(5000).code == "MEMBER_OPTED_OUT"
    assert member.reserve("R2", 10).code == "MEMBER_OPTED_OUT"
    back = member.wait(days=10).join()
    assert (back.data("OPT_IN").balance.available, member.books.available) == (50, 50)


def test_erasure_forgets_the_birthday_also_of_who_left_before():
    member = Member().joined(birthday="03-10", staff="c7")
    member.leave()
    gone = member.wait(days=1).leave(erased=True)
    assert gone.data("OPT_OUT").erased is True
    assert (member.account.birthday, member.account.staff) == ("", "")


def test_A07_a_joining_or_leaving_of_long_ago_is_not_told_again():
    member = Member()
    joined = member.join()
    left = member.wait(days=20).leave()
    member.wait(days=20).join()
    member.wait(days=50)
    for stale in (joined, left):
        assert member.again(stale, member.clock).code == "BEYOND_HORIZON"
    assert member.account.status == "in"


def test_A07_a_history_of_members_can_be_brought_in_whatever_its_age():
    member = Member()
    member.clock = moment("2026-06-01")
    for kind, at in (("join", "2019-05-01"), ("update", "2020-05-01"), ("leave", "2021-05-01")):
        parts = {"birthday": "07-01"} if kind == "update" else {}
        step = member.send(member.command(kind, kind, at=moment(at).isoformat(), **parts), member.clock)
        assert step.code == "OK", kind
    assert (member.account.status, member.account.birthday) == ("out", "07-01")


def test_B02_an_id_used_again_after_it_was_forgotten_makes_events_of_their_own():
    member = Member().joined()
    first = member.sale(1000, id="s1")
    second = member.wait(days=90).sale(2000, id="s1")
    ids = [event.id for step in (first, second) for event, _ in step.events]
    assert len(set(ids)) == len(ids)
    assert member.books.available == 30
