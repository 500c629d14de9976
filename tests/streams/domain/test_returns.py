"""Returns and voids: what the sale earned goes back, what paid for it comes back, and nothing comes back twice."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import Member, after, basket, earning, level, line, moment, program, rule, tiers


def moves(data: Any) -> list[tuple[str, str, int]]:
    return [(posting.source, posting.target, posting.points) for posting in data.postings]


def counters(member: Member) -> Any:
    """What a sale counts for: tiers, visits, caps."""
    account = member.account
    used = [use for use in account.rule_uses if use.points]
    return [day for day in account.days if (day.points, day.spend, day.checks) != (0, 0, 0)], account.lifetime, used


# ---------------------------------------------------------------- A05: void


CAPPED = program(
    earning=earning(rule("check_bonus", points=20, cap={"points": 20, "per": "day"}), caps=[{"points": 150, "per": "day"}]),
    tiers=tiers(level("Gold", points=100), window={"kind": "lifetime"}, after_return="revoke"),
)


def test_A05_a_void_restores_every_bucket_cap_and_counter() -> None:
    member = Member(CAPPED).joined()
    before = counters(member)
    sale = member.sale(10_000)
    assert sale.outcome.earned == 120
    step = member.void("s1")
    reversed_ = step.data("POINT_REVERSED")
    assert (reversed_.points, reversed_.debt, reversed_.forgiven, reversed_.of, reversed_.check_id) == (120, 0, 0, "s1", "v1")
    assert moves(reversed_) == [("available", "reversed", 120)]
    assert step.reply.earned == -120  # type: ignore[union-attr]
    assert member.books.available == 0
    assert counters(member) == before
    assert step.types == ["POINT_REVERSED", "TIER_DOWNGRADE"]
    assert member.sale(10_000).outcome.earned == 120


def test_A05_a_second_void_is_refused_and_changes_nothing() -> None:
    member = Member(CAPPED).joined()
    member.sale(10_000)
    member.void("s1")
    before = member.account
    step = member.void("s1")
    assert (step.status, step.code, step.events) == ("refused", "SALE_VOIDED", ())
    assert (member.account.books, member.account.lots) == (before.books, before.lots)


def test_A05_a_void_after_a_part_came_back_takes_the_rest() -> None:
    member = Member(program()).joined()
    member.sale(10_000)
    assert member.returns("s1", (1, 300, 3000)).outcome.earned == -30
    assert member.void("s1").outcome.earned == -70
    assert member.returns("s1", (1, 1, 1)).code == "SALE_VOIDED"


# ---------------------------------------------------------------- A05: returns


def test_A05_a_partial_return_takes_the_lines_share_of_every_award() -> None:
    member = Member(program(earning=earning(rule("line_bonus", points=30, where={"skus": ["B"]})))).joined()
    member.sale(lines=[line(1000), line(2000, 2, sku="B", quantity=2000)])  # 10 + 20 + 60
    step = member.returns("s1", (2, 1000, 1000))
    assert step.outcome.earned == -(10 + 30)
    assert member.books.available == 50
    assert member.account.lifetime.spend == 2000
    assert member.account.lifetime.checks == 1


TABLE = [
    ("the whole receipt", {"kind": "receipt"}, [(1, 1000, 6000), (2, 1000, 4000)], "OK", -100),
    ("a part of the receipt", {"kind": "receipt"}, [(2, 1000, 4000)], "OK", -40),
    ("half a line", {"kind": "receipt"}, [(1, 500, 3000)], "OK", -30),
    ("money back, goods kept", {"kind": "receipt"}, [(1, 0, 3000)], "OK", -30),
    ("goods back, less money", {"kind": "receipt"}, [(1, 1000, 5500)], "OK", -60),
    ("exchange", {"kind": "exchange"}, [(1, 1000, 6000)], "OK", -60),
    ("gift receipt", {"kind": "gift_receipt"}, [(1, 1000, 6000)], "OK", -60),
    ("no receipt, sale found", {"kind": "no_receipt"}, [(1, 1000, 6000)], "OK", -60),
    ("one line named twice", {"kind": "receipt"}, [(1, 500, 3000), (1, 500, 3000)], "OK", -60),
    ("more pieces than bought", {"kind": "receipt"}, [(1, 1001, 6000)], "RETURN_EXCEEDS_SALE", 0),
    ("more money than paid", {"kind": "receipt"}, [(1, 1000, 6001)], "RETURN_EXCEEDS_SALE", 0),
    ("named twice, too much together", {"kind": "receipt"}, [(1, 600, 3000), (1, 600, 3000)], "RETURN_EXCEEDS_SALE", 0),
    ("a line that was not bought", {"kind": "receipt"}, [(3, 1000, 100)], "RETURN_EXCEEDS_SALE", 0),
]


@pytest.mark.parametrize(("why", "parts", "lines", "code", "earned"), TABLE, ids=[row[0] for row in TABLE])
def test_A05_return_types(why: str, parts: Any, lines: Any, code: str, earned: int) -> None:
    member = Member(program()).joined()
    member.sale(lines=basket(6000, 4000))
    step = member.returns("s1", *lines, **parts)
    assert (step.code, step.outcome.earned) == (code, earned)
    assert step.status == ("accepted" if code == "OK" else "refused")
    assert member.books.available == 100 + earned


@pytest.mark.parametrize("kind", ["receipt", "no_receipt", "gift_receipt", "exchange"])
def test_A05_a_return_that_names_no_sale_takes_nothing_but_is_counted(kind: str) -> None:
    member = Member(program()).joined()
    member.sale(10_000)
    step = member.returns(None, (1, 1000, 10_000), kind=kind)
    assert (step.status, step.code, step.events, member.books.available) == ("accepted", "OK", (), 100)
    assert [known.kind for known in member.account.applied if known.id == "r1"] == ["return"]


def test_A05_a_return_of_a_return_is_refused() -> None:
    member = Member(program()).joined()
    member.sale(10_000)
    member.returns("s1", (1, 500, 5000))
    assert member.returns("r1", (1, 500, 5000)).code == "RETURN_OF_RETURN"
    assert member.void("r1").code == "RETURN_OF_RETURN"


def test_A05_an_exchange_is_a_return_and_a_sale_and_nets_the_difference() -> None:
    member = Member(program()).joined()
    member.sale(5000)
    member.returns("s1", (1, 1000, 5000), kind="exchange")
    member.sale(7000)
    assert member.books.available == 70


def test_A05_who_left_still_gives_back_what_was_earned() -> None:
    member = Member(program()).joined()
    member.sale(10_000)
    member.leave()
    assert member.void("s1").types == ["POINT_REVERSED"]
    member.join()
    assert member.books.available == 0


# ---------------------------------------------------------------- any sequence of partial returns


BASKET = st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 5)), min_size=1, max_size=5)
STEPS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3000), st.integers(0, 5000)), max_size=12)


@settings(max_examples=150, deadline=None)
@given(BASKET, STEPS, st.integers(0, 100), st.booleans())
def test_A05_no_sequence_of_returns_takes_more_than_the_sale_and_all_of_it_is_net_zero(
    lines: list[tuple[int, int]], returns: list[tuple[int, int, int]], share: int, void: bool
) -> None:
    rules = program(earning=earning(rule("check_bonus", points=17), rule("multiplier", percent=133), per_minor=7))
    member = Member(rules).joined().having(500)
    before = counters(member)
    total = sum(amount for amount, _ in lines)
    by_points = total * share // 100
    member.pay(400, "s1")
    member.sale(
        lines=[line(amount, n, quantity=pieces * 1000) for n, (amount, pieces) in enumerate(lines, 1)],
        tenders={"points": by_points, "cash": total - by_points},
    )
    earned = member.steps[-1].outcome.earned
    back = dict.fromkeys(range(1, len(lines) + 1), (0, 0))
    for number, quantity, amount in returns:
        step = member.returns("s1", (number, quantity, amount))
        if step.code == "OK":
            back[number] = (back[number][0] + quantity, back[number][1] + amount)
        else:
            assert step.code == "RETURN_EXCEEDS_SALE"
            assert step.events == ()
        assert 0 <= member.books.reversed <= earned
        assert 0 <= member.books.used <= 400
    for number, (amount, pieces) in enumerate(lines, 1):
        assert back[number][0] <= pieces * 1000
        assert back[number][1] <= amount
    if void:
        member.void("s1")
    else:
        rest = [(n, pieces * 1000 - back[n][0], amount - back[n][1]) for n, (amount, pieces) in enumerate(lines, 1)]
        member.returns("s1", *rest)
    assert (member.books.reversed, member.books.used, member.books.available) == (earned, 0, 500)
    assert counters(member) == before


@settings(max_examples=100, deadline=None)
@given(st.permutations([(1, 250, 0), (1, 500, 2000), (2, 0, 1500), (2, 1000, 100), (3, 333, 1000)]))
def test_A05_the_order_of_partial_returns_does_not_matter(returns: list[tuple[int, int, int]]) -> None:
    member = Member(program(earning=earning(per_minor=7))).joined()
    member.sale(lines=basket(3000, 3000, 3001))
    for number, quantity, amount in returns:
        assert member.returns("s1", (number, quantity, amount)).code == "OK"
    # 3/4 of line 1 by goods, more than by money; line 2 wholly; a third of line 3 by either, 1000/3001 by money being more
    points = [428, 428, 429]
    left = member.books.available
    awards = [found.points for found in member.steps[1].data("POINT_ACCRUAL").awards]
    assert sorted(awards) == points
    assert left == sum(awards) - awards[0] * 3 // 4 - awards[1] - max(awards[2] * 333 // 1000, awards[2] * 1000 // 3001)


LIVELY = [
    program(
        points={"debt": debt, "pending_days": pending, "expiry": expiry},
        earning=earning(
            rule("threshold", points=30, spend_minor=3000, join_minutes=600, cap={"points": 60, "per": "month"}),
            rule("nth_visit", n=2, points=7),
            caps=[{"points": 90, "per": "day"}],
        ),
        tiers=tiers(level("Silver", points=60), level("Gold", visits=3), window={"kind": "lifetime"}, after_return="revoke"),
        fraud={"critical": 100, "signals": [{"id": "many", "kind": "velocity", "what": "checks", "hours": 3, "soft": 2, "weight": 100}]},
    )
    for debt, pending, expiry in (
        ("allow", 0, {"kind": "never"}),
        ("hold_refund", 3, {"kind": "never"}),
        ("floor", 0, {"kind": "never"}),
        ("allow", 2, {"kind": "after_days", "days": 5}),
        ("floor", 0, {"kind": "inactivity", "days": 6}),
    )
]  # fmt: skip
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["sale", "sale", "late", "return", "void", "reserve", "confirm", "cancel", "review", "leave", "join"]),
        st.integers(1, 5),
        st.integers(0, 20),
        st.integers(0, 9000),
    ),
    max_size=30,
)


def act(member: Member, kind: str, number: int, amount: int) -> None:
    match kind:
        case "sale":
            member.sale(lines=basket(amount, amount // 2))
        case "late":
            member.sale(amount, id=f"late{number}", at=after(-number, since=member.clock))
        case "return":
            member.returns(f"s{number}", (1 + amount % 2, amount % 1001, amount % 800))
        case "void":
            member.void(f"s{number}")
        case "reserve":
            member.reserve(f"R{number}", 1 + amount % 80)
        case "confirm":
            member.confirm(f"R{number}", 1 + amount % 60, check_id=f"s{1 + amount % 6}")
        case "cancel":
            member.cancel(f"R{number}")
        case "review":
            member.review(f"s{number}", "confiscate" if amount % 2 else "release")
        case "leave":
            member.leave()
        case "join":
            member.join()


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(LIVELY), MOVES)
def test_A05_whatever_happened_when_every_sale_is_void_nothing_of_them_is_left(rules: Any, moves: Any) -> None:
    member = Member(rules).joined()
    for kind, number, hours, amount in moves:
        act(member.wait(hours=hours), kind, number, amount)
    for number in range(1, 6):
        member.join()
        member.cancel(f"R{number}")
    sales = [known.id for known in member.account.applied if known.kind == "sale"]
    for sale in sales:
        member.void(sale, id=f"end-{sale}")
    account = member.account
    assert counters(member) == ([], account.lifetime, [])
    assert (account.lifetime.points, account.lifetime.spend, account.lifetime.checks, account.tier.level) == (0, 0, 0, 0)
    paid = [known for known in account.reservations if known.status == "confirmed" and known.check_id in sales]
    assert all(known.restored == known.points for known in paid)
    policy = rules.points
    if policy.expiry.kind == "never":
        assert account.owned == 0  # no point without a sale
        if policy.debt != "floor":
            assert (account.books.reversed, account.debt) == (-account.books.issued, account.books.used)


# ---------------------------------------------------------------- the points that paid come back


OLD = program(points={"expiry": {"kind": "after_days", "days": 20}}, anniversaries=False)


def test_A05_burned_points_come_back_with_their_old_expiry() -> None:
    member = Member(OLD).joined()
    member.sale(10_000)  # lot 1 ends on day 21
    member.wait(10)
    member.pay(60, "s2")
    member.sale(3000, tenders={"points": 1000, "cash": 2000})  # lot 2
    step = member.void("s2")
    assert step.types == ["POINT_RESTORED", "POINT_REVERSED"]
    assert moves(step.data("POINT_RESTORED")) == [("used", "available", 60)]
    assert [(lot.number, lot.points, lot.expires_at) for lot in member.account.lots] == [
        (1, 100, int(moment("2026-03-23").timestamp()))
    ]


def test_A05_what_has_ended_meanwhile_comes_back_and_ends_at_once() -> None:
    member = Member(OLD).joined()
    member.sale(10_000)
    member.pay(100, "s2")
    member.sale(3000)
    step = member.wait(25).void("s2", id="v1")
    assert step.types == ["POINT_EXPIRED", "POINT_RESTORED", "POINT_REVERSED", "POINT_EXPIRED"]  # the lot of s2 had ended itself
    assert (member.books.available, member.books.expired, member.account.debt) == (0, 130, 0)


def test_A05_a_partial_return_gives_back_its_share_of_the_points() -> None:
    member = Member(program()).joined().having(100)
    member.pay(90, "s1")
    member.sale(lines=basket(2000, 1000), tenders={"points": 90, "cash": 2910})
    assert member.returns("s1", (2, 1000, 1000)).data("POINT_RESTORED").points == 30
    assert member.returns("s1", (1, 500, 1000)).data("POINT_RESTORED").points == 30
    assert member.void("s1").data("POINT_RESTORED").points == 30
    assert member.books.used == 0


def test_A05_a_redemption_confirmed_after_its_receipt_came_back_is_given_back_at_once() -> None:
    member = Member(program()).joined().having(100)
    member.reserve("R", 80)
    member.sale(8000, tenders={"points": 80, "cash": 7920})
    member.void("s1")
    step = member.confirm("R", check_id="s1")
    assert step.types == ["POINT_REDEMPTION", "POINT_RESTORED"]
    assert member.books.available == 100


def test_A05_expired_points_of_the_sale_are_owed_by_nobody() -> None:
    member = Member(OLD).joined()
    member.sale(10_000)
    step = member.wait(25).void("s1")
    reversed_ = step.data("POINT_REVERSED")
    assert (reversed_.points, reversed_.expired, reversed_.debt) == (100, 100, 0)
    assert (step.reply.earned, member.account.debt) == (0, 0)  # type: ignore[union-attr]


def test_A05_points_that_ended_of_a_late_sale_are_remembered_as_long_as_the_sale() -> None:
    member = Member(program(points={"expiry": {"kind": "after_days", "days": 1}}, anniversaries=False)).joined()
    member.wait(34).sale(10_000, at=after(0))
    for _ in range(5):
        member.wait(6).tick()
    step = member.void("s1")
    assert (step.data("POINT_REVERSED").expired, member.account.debt) == (100, 0)


# ---------------------------------------------------------------- before the sale


def test_A05_a_return_before_its_sale_waits_and_is_applied_when_it_comes() -> None:
    member = Member(program()).joined()
    parked = member.returns("s1", (1, 400, 4000), at=after(1))
    assert (parked.status, parked.code, parked.types) == ("parked", "SALE_AWAITED", ["CHECK_PARKED"])
    step = member.sale(10_000, at=after(0), now=after(2))
    assert step.types == ["POINT_ACCRUAL", "POINT_REVERSED"]
    assert (step.data("POINT_REVERSED").check_id, step.data("POINT_REVERSED").points) == ("r1", 40)
    assert member.books.available == 60
    assert member.again(parked).bytes == parked.bytes
    assert member.account.waiting == ()


def test_A05_a_void_and_a_return_before_their_sale_are_applied_in_the_order_of_their_own_time() -> None:
    member = Member(program()).joined()
    member.void("s1", at=after(2))
    member.returns("s1", (1, 400, 4000), at=after(1))
    member.returns("s1", (1, 1, 1), at=after(3), id="late")
    step = member.sale(10_000, at=after(0), now=after(4))
    assert step.types == ["POINT_ACCRUAL", "POINT_REVERSED", "POINT_REVERSED", "CHECK_PARKED"]
    assert (step.data("CHECK_PARKED").check_id, step.data("CHECK_PARKED").code) == ("late", "SALE_VOIDED")
    assert member.books.available == 0


def test_A05_too_much_before_its_sale_is_kept_for_review_when_the_sale_comes() -> None:
    member = Member(program()).joined()
    member.returns("s1", (1, 2000, 1))
    step = member.sale(10_000)
    assert (step.data("CHECK_PARKED").code, member.books.available) == ("RETURN_EXCEEDS_SALE", 100)


def test_A05_a_sale_that_never_comes_is_told_at_the_horizon() -> None:
    member = Member(program()).joined()
    member.returns("s1", (1, 1000, 1))
    assert member.tick(after(34.9)).events == ()
    step = member.tick(after(35))
    assert (step.data("CHECK_PARKED").code, step.data("CHECK_PARKED").check_id) == ("SALE_NEVER_CAME", "r1")
    assert member.account.waiting == ()


@settings(max_examples=60, deadline=None)
@given(st.permutations(["sale", "half", "quarter", "other"]))
def test_A05_wherever_the_sale_arrives_among_its_returns_the_end_is_the_same(order: list[str]) -> None:
    member = Member(program()).joined()
    for what in order:
        match what:
            case "sale":
                member.sale(10_000, id="s1", at=after(0), now=after(5))
            case "other":
                member.sale(5000, id="s2", at=after(1), now=after(5))
            case "half":
                member.returns("s1", (1, 500, 5000), id="half", at=after(2), now=after(5))
            case "quarter":
                member.returns("s1", (1, 250, 2500), id="quarter", at=after(3), now=after(5))
    assert member.books.available == 75
    assert member.account.lifetime.spend == 7500


# ---------------------------------------------------------------- A06: what when the points are gone


@pytest.mark.parametrize(
    ("policy", "debt", "forgiven", "hold", "reversed_"),
    [("allow", 70, 0, 0, 100), ("floor", 0, 70, 0, 30), ("hold_refund", 70, 0, 35, 100)],
)
def test_A06_the_three_debt_policies(policy: str, debt: int, forgiven: int, hold: int, reversed_: int) -> None:
    member = Member(program(points={"debt": policy}, redemption={"points_per_minor": 2})).joined()
    member.sale(10_000)
    member.pay(70, "s9")
    step = member.void("s1")
    data = step.data("POINT_REVERSED")
    assert (data.points, data.debt, data.forgiven, data.expired) == (100, debt, forgiven, 0)
    assert (step.reply.hold_refund_minor, step.reply.earned, step.reply.balance.debt) == (hold, -(30 + debt), debt)  # type: ignore[union-attr]
    assert (data.balance.debt, member.books.reversed) == (debt, reversed_)
    assert ("Points owed: 70" in step.reply.receipt) == bool(debt)  # type: ignore[union-attr]


def test_A06_the_next_accrual_repays_first() -> None:
    member = Member(program()).joined()
    member.sale(10_000)
    member.pay(100, "s9")
    member.void("s1")
    step = member.sale(3000)
    assert (step.data("POINT_ACCRUAL").debt_repaid, step.reply.balance.debt, step.reply.balance.available) == (30, 70, 0)  # type: ignore[union-attr]
    step = member.sale(10_000)
    assert (step.data("POINT_ACCRUAL").debt_repaid, step.reply.balance.debt, step.reply.balance.available) == (70, 0, 30)  # type: ignore[union-attr]


def test_A06_a_return_takes_from_other_lots_before_it_makes_a_debt() -> None:
    member = Member(program()).joined()
    member.sale(10_000)
    member.pay(60, "s9")
    member.sale(3000)
    data = member.void("s1").data("POINT_REVERSED")
    assert [(posting.source, posting.points, posting.lot) for posting in data.postings] == [
        ("available", 40, 1),
        ("available", 30, 2),
        ("debt", 30, 0),
    ]


def test_A05_held_points_are_taken_back_from_the_hold() -> None:
    fraud = {
        "critical": 100,
        "signals": [{"id": "big", "kind": "velocity", "what": "points", "hours": 24, "soft": 50, "weight": 100}],
    }
    member = Member(program(fraud=fraud)).joined()
    member.sale(10_000)
    assert member.returns("s1", (1, 400, 4000)).data("POINT_REVERSED").postings[0].source == "held"
    assert member.review("s1").data("FRAUD_CLEARED").points == 60
    assert member.books.available == 60


def test_A06_what_was_forgiven_is_taken_when_it_comes_back_after_all() -> None:
    member = Member(program(points={"debt": "floor"})).joined()
    member.sale(10_000)
    member.reserve("R", 100)
    assert member.void("s1").data("POINT_REVERSED").forgiven == 100
    freed = member.cancel("R").data("POINT_FREED")
    assert moves(freed) == [("reserved", "reversed", 100)]
    assert member.books.available == 0


@pytest.mark.parametrize("order", list(permutations(["A", "B", "C"])), ids="".join)
def test_F04_when_all_came_back_nothing_is_left_in_whichever_order_also_where_debts_are_forgiven(order: tuple[str, ...]) -> None:
    member = Member(program(points={"debt": "floor"})).joined()
    member.sale(10_000, id="A")
    member.sale(10_000, id="B")
    member.pay(100, "C")
    member.sale(10_000, id="C", tenders={"points": 10_000})
    for sale in order:
        member.void(sale)
    assert member.account.owned == 0


def test_A06_points_taken_in_place_of_used_ones_leave_no_debt_though_those_have_ended_when_they_come_back() -> None:
    member = Member(OLD).joined()
    member.sale(10_000, id="A")
    member.wait(10).sale(10_000, id="B")
    member.pay(100, "C")
    member.sale(10_000, id="C", tenders={"points": 10_000})
    member.void("A")
    member.void("B")
    assert member.account.debt == 100
    member.wait(15).void("C")
    assert (member.account.debt, member.account.owned, member.books.expired) == (0, 0, 0)


def test_A06_what_was_forgiven_is_not_taken_from_what_was_earned_afterwards() -> None:
    member = Member(program(points={"debt": "floor"})).joined()
    member.sale(10_000, id="A")
    member.pay(100, "C")
    member.void("A")
    member.wait(1).sale(5000)
    member.reserve("R", 50)
    member.cancel("R")
    assert member.books.available == 50


def test_A06_what_is_owed_for_used_points_is_paid_by_them_when_they_come_back_though_they_have_ended() -> None:
    member = Member(OLD).joined()
    member.sale(10_000)  # ends on day 21
    member.wait(10)
    member.pay(60, "s2")
    member.sale(6000, tenders={"points": 6000})
    member.wait(15)  # 40 have ended
    data = member.void("s1").data("POINT_REVERSED")
    assert (data.expired, data.debt) == (40, 60)
    assert moves(member.void("s2").data("POINT_RESTORED")) == [("used", "debt", 60)]
    assert (member.account.debt, member.books.expired, member.books.used) == (0, 40, 0)


def test_A05_points_that_ended_in_two_steps_are_excused_together() -> None:
    member = Member(OLD).joined()
    member.sale(10_000)
    member.wait(10)
    member.pay(60, "s2")
    member.sale(6000, tenders={"points": 6000})
    member.wait(15).void("s2")  # 40 had ended, 60 come back and end
    assert member.void("s1").data("POINT_REVERSED").expired == 100
    assert member.account.debt == 0


def test_F09_what_a_review_took_is_not_taken_again_by_a_return_and_counts_for_nothing() -> None:
    fraud = {
        "critical": 100,
        "signals": [{"id": "big", "kind": "velocity", "what": "points", "hours": 24, "soft": 50, "weight": 100}],
    }
    member = Member(program(fraud=fraud, tiers=tiers(level("Gold", points=100), window={"kind": "lifetime"}))).joined().having(30)
    member.sale(10_000)
    member.returns("s1", (1, 200, 2000))
    member.review("s1", "confiscate")
    assert (member.books.reversed, member.account.lifetime.points) == (100, 0)
    member.sale(4000, at=after(3))
    assert member.account.tier.level == 0
    assert member.returns("s1", (1, 500, 5000)).events == ()
    assert member.void("s1").events == ()
    assert (member.books.available, member.books.reversed, member.account.debt) == (70, 100, 0)
    assert (member.account.lifetime.points, member.account.lifetime.spend) == (40, 4000)


def test_A05_points_that_paid_for_a_sale_after_the_member_had_left_come_back() -> None:
    member = Member(program()).joined().having(100)
    member.pay(60, "s1")
    member.leave()
    assert member.sale(6000, tenders={"points": 60, "cash": 5940}).code == "MEMBER_OPTED_OUT"
    before = counters(member)
    step = member.returns("s1", (1, 500, 3000))
    assert step.types == ["POINT_RESTORED"]
    assert (member.books.available, counters(member)) == (70, before)


@pytest.mark.parametrize("policy", ["allow", "floor", "hold_refund"])
@pytest.mark.parametrize("order", ["xy", "yx"])
def test_F04_buy_use_return_in_a_circle_never_wins_a_point(policy: str, order: str) -> None:
    member = Member(program(points={"debt": policy})).joined().having(10)
    for turn in range(40):
        member.sale(5000, id=f"x{turn}")
        usable = member.books.available
        member.pay(usable, f"y{turn}")
        member.sale(usable + 100, id=f"y{turn}", tenders={"points": usable, "cash": 100})
        for which in order:
            member.void(f"{which}{turn}", id=f"v{which}{turn}")
        assert (member.books.available, member.account.debt) == (10, 0)
