"""A receipt that nobody has claimed yet: claimed once or returned, never both."""

from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from schemas.codec import encode
from schemas.codes import Code
from schemas.records import AnyCommand
from streams.domain.receipts import second_half
from tests.builders import START, Member, Receipt, Step, after, basket, earning, moment, program, rule


def kept(amount: int = 5000, **parts: Any) -> Receipt:
    receipt = Receipt(parts.pop("rules", None))
    receipt.sale(amount, id="s1", **parts)
    return receipt


def handed_on(step: Step) -> AnyCommand:
    """The command that the ledger appends for the claimant."""
    return second_half(step.command, step.outcome.follow)


# ---------------------------------------------------------------- A10: the receipt's side


def test_A10_an_anonymous_sale_is_accepted_kept_and_tells_nobody_anything() -> None:
    receipt = Receipt()
    step = receipt.sale(5000, id="s1")
    assert (step.status, step.code, step.events) == ("accepted", "ANONYMOUS", ())
    reply = step.reply
    assert reply is not None
    assert (reply.member, reply.earned, reply.balance, reply.tier, reply.receipt) == (None, 0, None, None, ())


def test_A01_the_reply_says_why_a_check_with_a_card_is_anonymous() -> None:
    receipt = Receipt()
    command = replace(receipt.sale_command(5000, id="s1"), note=Code.IDENTIFIER_BLOCKED)
    step = receipt.send(command)
    assert (step.status, step.code) == ("accepted", "IDENTIFIER_BLOCKED")
    assert receipt.ask(5000).code == "OK"


def test_A10_a_claim_with_number_total_and_date_hands_the_sale_over_and_the_member_earns() -> None:
    asked = kept().ask(5000)
    assert asked.reply is None  # the second half answers
    assert asked.outcome.follow
    member = Member().joined()
    step = member.send(handed_on(asked))
    assert step.types == ["POINT_ACCRUAL"]
    assert (step.reply.id, step.reply.status, step.reply.earned) == ("c1", "accepted", 50)  # type: ignore[union-attr]
    assert member.books.available == 50


def test_A10_a_claim_sent_again_hands_over_the_same_again_and_earns_once() -> None:
    receipt, member = kept(), Member().joined()
    asked = receipt.ask(5000)
    first = member.send(handed_on(asked))
    again = receipt.again(asked, after(3))
    assert again.repeated
    assert handed_on(again) == handed_on(asked)
    second = member.send(handed_on(again), after(3))
    assert second.repeated
    assert second.bytes == first.bytes
    assert member.books.available == 50


@pytest.mark.parametrize(
    ("why", "given", "claim", "code"),
    [
        ("another total", [], {"total": 4999}, "RECEIPT_MISMATCH"),
        ("another day", [], {"total": 5000, "date": "2026-03-01"}, "RECEIPT_MISMATCH"),
        ("claimed before", ["claim"], {"total": 5000}, "RECEIPT_CLAIMED"),
        ("claimed before by another", ["claim"], {"total": 5000, "claimant": "H-2"}, "RECEIPT_CLAIMED"),
        ("returned", ["return"], {"total": 5000}, "RECEIPT_RETURNED"),
        ("voided", ["void"], {"total": 5000}, "RECEIPT_RETURNED"),
        ("too late", ["wait"], {"total": 5000}, "CLAIM_TOO_LATE"),
    ],
)
def test_A10_what_cannot_be_claimed(why: str, given: list[str], claim: dict[str, Any], code: str) -> None:
    receipt = kept()
    for what in given:
        match what:
            case "claim":
                receipt.ask(5000)
            case "return":
                receipt.returns("s1", (1, 1, 1))
            case "void":
                receipt.void("s1")
            case "wait":
                receipt.wait(14, minutes=1)
    step = receipt.ask(**claim, id="late")
    assert (step.status, step.code, step.outcome.follow) == ("refused", code, b"")
    assert step.reply is not None
    assert step.reply.receipt == (code,)


def test_A10_the_last_moment_of_the_window_still_counts() -> None:
    assert kept().wait(14).ask(5000).code == "OK"


def test_A10_there_is_no_receipt_to_claim() -> None:
    assert Receipt().ask(5000).code == "RECEIPT_UNKNOWN"


def test_A10_a_return_that_comes_before_its_anonymous_sale_makes_it_unclaimable() -> None:
    receipt = Receipt()
    step = receipt.returns("s1", (1, 1000, 5000))
    assert (step.status, step.code, step.types) == ("parked", "SALE_AWAITED", [])
    assert receipt.ask(5000).code == "RECEIPT_RETURNED"
    receipt.sale(5000, id="s1")
    assert receipt.ask(5000).code == "RECEIPT_RETURNED"


def test_A10_a_return_that_names_no_sale_and_no_member_is_accepted_and_kept() -> None:
    step = Receipt(check_id="r1").returns(None, (1, 1000, 5000), kind="no_receipt")
    assert (step.status, step.code, step.events) == ("accepted", "ANONYMOUS", ())


@pytest.mark.parametrize("how", ["return", "void"])
def test_A10_a_return_without_a_card_of_a_claimed_receipt_takes_the_points_from_the_claimant(how: str) -> None:
    receipt, member = kept(), Member().joined()
    member.send(handed_on(receipt.ask(5000)))
    receipt.wait(2)
    step = receipt.returns("s1", (1, 500, 2500)) if how == "return" else receipt.void("s1")
    assert step.reply is None  # the claimant's account answers
    command = handed_on(step)
    assert (command.id, command.account) == (step.command.id, "H-1")
    taken = member.send(command, receipt.clock)
    assert taken.types == ["POINT_REVERSED"]
    assert member.books.available == (25 if how == "return" else 0)
    assert receipt.ask(5000).code == "RECEIPT_CLAIMED"


def test_A10_a_receipt_is_forgotten_when_nothing_can_ask_for_it_any_more() -> None:
    receipt = kept()
    due = receipt.account.next_due
    receipt.send(receipt.command("tick", "t1"), due)
    account = receipt.account
    assert (account.status, account.receipt, account.applied, account.next_due) == ("new", b"", (), 0)


def test_A10_what_was_claimed_and_never_came_is_forgotten_too() -> None:
    receipt = Receipt()
    receipt.ask(5000)
    receipt.send(receipt.command("tick", "t1"), receipt.account.next_due)
    assert not receipt.account.stands, "each number that anybody ever guessed would keep a row for ever"


def test_A10_a_claim_that_came_too_early_shortens_no_memory() -> None:
    early, plain = Receipt(), Receipt().wait(20)
    early.ask(5000)
    for receipt in (early.wait(20), plain):
        receipt.sale(5000, id="s1")
    assert early.account.next_due == plain.account.next_due


# ---------------------------------------------------------------- A10: the member's side


def test_A10_a_claimed_receipt_is_judged_by_its_own_purchase_time() -> None:
    rules = program(earning=earning(rule("multiplier", percent=300, ends="2026-03-03T00:00:00Z")))
    asked = kept(rules=rules).wait(10).ask(5000)
    step = Member(rules, clock=after(10)).joined().send(handed_on(asked), after(10))
    assert step.reply.earned == 150  # type: ignore[union-attr]
    assert step.data("POINT_ACCRUAL").occurred_at == START
    assert handed_on(asked).program == asked.command.program  # the version that was in force then


def test_A10_more_claims_in_a_day_than_the_limit_are_kept_for_review() -> None:
    member = Member(program(limits={"claims_per_day": 2})).joined()
    sales = [Receipt().sale(1000, id=f"s{n}").command for n in range(4)]
    steps = [member.take_receipt(sale) for sale in sales[:3]]
    assert [step.code for step in steps] == ["OK", "OK", "CLAIM_LIMIT"]
    assert (steps[2].status, steps[2].types) == ("parked", ["CHECK_PARKED"])
    assert member.books.available == 20
    member.wait(2)
    assert member.take_receipt(sales[3]).code == "OK"


def test_A10_a_claimed_receipt_can_be_returned_with_the_card() -> None:
    member = Member().joined()
    member.take_receipt(Receipt().sale_command(5000, id="s1"))
    assert member.returns("s1", (1, 1000, 5000)).data("POINT_REVERSED").points == 50


def test_A10_a_return_that_waits_at_the_member_meets_the_claimed_sale() -> None:
    member = Member().joined()
    member.void("s1")
    step = member.take_receipt(Receipt().sale_command(5000, id="s1"))
    assert step.types == ["POINT_ACCRUAL", "POINT_REVERSED"]
    assert member.books.available == 0


def test_A10_the_stored_receipt_is_the_sale_as_it_came() -> None:
    receipt = Receipt()
    step = receipt.sale(
        id="s1", lines=basket(100, 200, category="food/x", brand="Own"), channel="web", at=moment("2026-03-02T09:00-05:00")
    )
    stored = orjson.loads(receipt.account.receipt)
    assert stored == orjson.loads(encode(step.command.check))  # type: ignore[union-attr]
