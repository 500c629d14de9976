"""B10 and D04: caps over all members. Never over-run, each cut explained, what comes back can be granted again."""

from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from schemas.codec import encode
from schemas.program import Program
from schemas.records import AskBudget, ReturnBudget
from streams.domain import budgets
from streams.domain.account import Account, pack
from streams.domain.outcome import sale_of
from streams.domain.plan import compile_program
from streams.domain.remains import fractions, share
from streams.domain.sentences import explain
from tests.builders import START, Receipt, after, basket, earning, program, rule
from tests.town import Town

DAY = START.date().isoformat()
NOW = int(START.timestamp())


def budgeted(cap: int = 100, *, gives: int = 30, per: str = "day", **parts: Any) -> Program:
    """One point a unit, and `gives` for every check: at most `points` of these for all members."""
    limit = {"points": cap, "per": per, "over": "program"}
    bonus = parts.pop("bonus", rule("check_bonus", "bonus", points=gives) | {"cap": limit})
    return program(earning=earning(bonus, **parts.pop("earning", {})), **parts)


def bought(town: Town, amount: int = 1000, number: int = 1, **parts: Any) -> Any:
    member = town.member(number)
    return town.take(member.sale_command(amount, **parts), parts.get("now", START))


def granted(town: Town, per: str = DAY, rule: str = "bonus") -> int:
    budget = town.pots[f"budget:main/{rule}/{per}"].budget
    assert budget is not None
    return budget.granted


# ---------------------------------------------------------------- asking and granting


def test_B10_a_capped_bonus_is_asked_for_by_the_sale_and_booked_a_moment_later() -> None:
    town = Town(budgeted())
    sale = bought(town)
    assert sale.reply is not None
    assert (sale.reply.earned, sale.reply.asked, town.member().books.available) == (10, 30, 10)
    assert "Points asked for: 30" in sale.reply.receipt
    town.deliver()
    assert (town.member().books.available, granted(town)) == (40, 30)
    told = town.steps["H-1"][-1].data("POINT_ACCRUAL")
    assert (told.check_id, told.points, told.cuts) == ("s1", 30, ())
    assert [(award.line, award.rule, award.points) for award in told.awards] == [(1, "bonus", 30)]


@pytest.mark.parametrize(
    ("cap", "checks", "booked", "cuts"),
    [
        (100, 3, [30, 30, 30], [0, 0, 0]),
        (90, 3, [30, 30, 30], [0, 0, 0]),
        (70, 3, [30, 30, 10], [0, 0, 20]),
        (60, 3, [30, 30, 0], [0, 0, 30]),
        (0, 2, [0, 0], [30, 30]),
    ],
)
def test_B10_exactly_the_cap_is_granted_and_each_cut_is_explained(
    cap: int, checks: int, booked: list[int], cuts: list[int]
) -> None:
    town = Town(budgeted(cap), members=checks)
    for number in range(1, checks + 1):
        bought(town, number=number)
        town.deliver()
    assert [town.member(n).books.available - 10 for n in range(1, checks + 1)] == booked
    for number, (points, cut) in enumerate(zip(booked, cuts, strict=True), 1):
        last = town.steps[f"H-{number}"][-1]
        told = last.data("POINT_ACCRUAL" if points else "POINT_CUT")
        assert [(one.by, one.rule, one.points) for one in told.cuts] == (
            [("cap per day over all members", "bonus", cut)] if cut else []
        )
        assert points or told.wanted == 30


@pytest.mark.parametrize(
    ("per", "keys"),
    [
        ("day", ["budget:main/bonus/2026-03-02", "budget:main/bonus/2026-03-03", "budget:main/bonus/2026-04-01"]),
        ("month", ["budget:main/bonus/2026-03", "budget:main/bonus/2026-04"]),
        ("campaign", ["budget:main/bonus/campaign"]),
    ],
)
def test_B10_the_span_is_counted_by_the_day_of_the_purchase(per: str, keys: list[str]) -> None:
    town = Town(budgeted(30, per=per))
    for days in (0, 1, 30):
        town.take(town.member().sale_command(1000, at=after(days)), after(31))
        town.deliver()
    assert sorted(town.pots) == keys
    assert town.booked("bonus") == 30 * len(keys)
    assert {pot.status for pot in town.pots.values()} == {"budget"}


def test_B10_a_check_that_arrives_days_late_asks_the_budget_of_its_own_day() -> None:
    town = Town(budgeted(40))
    town.take(town.member().sale_command(1000), after(20))
    town.deliver()
    assert granted(town) == 30


def test_B10_a_receipt_that_is_claimed_asks_too() -> None:
    town = Town(budgeted())
    member = town.member()
    check = orjson.loads(encode(Receipt(town.rules).sale_command(1000, id="x1").check))  # type: ignore[union-attr]
    step = town.take(member.command("take_receipt", "x1", check=check, claim_id="claim1"))
    assert step.reply is not None
    assert (step.reply.id, step.reply.asked) == ("claim1", 30)
    town.deliver()
    assert (member.books.available, granted(town)) == (40, 30)


def test_B10_a_cut_grant_is_shared_over_the_lines_that_asked_for_it() -> None:
    town = Town(budgeted(20))
    town.take(town.member().sale_command(lines=basket(1000, 2000, 3000)), START)
    town.deliver()
    told = town.steps["H-1"][-1].data("POINT_ACCRUAL")
    assert [(award.line, award.points) for award in told.awards] == [(1, 3), (2, 7), (3, 10)]


def test_B10_a_multiplier_is_capped_to_the_point() -> None:
    double = rule("multiplier", "bonus", percent=200) | {"cap": {"points": 15, "per": "day", "over": "program"}}
    town = Town(budgeted(bonus=double))
    bought(town)
    town.deliver()
    bought(town)
    town.deliver()
    assert (town.member().books.available, granted(town)) == (35, 15)


def test_B10_caps_of_the_member_hold_for_what_is_asked_too_also_before_it_is_granted() -> None:
    town = Town(budgeted(1000, earning={"caps": [{"points": 60, "per": "day"}]}))
    bought(town)
    bought(town)  # 10 and 10 of 20 wanted, because 40 are on their way
    town.deliver()
    assert town.member().books.available == 60
    assert granted(town) == 40
    assert town.steps["H-1"][1].reply.reasons == ("bonus: cap per day",)


def test_B10_it_competes_in_its_group_by_what_it_would_give() -> None:
    cap = {"points": 0, "per": "day", "over": "program"}
    mine = rule("check_bonus", "bonus", points=30) | {"cap": cap, "group": "g"}
    other = rule("check_bonus", "other", points=20) | {"group": "g"}
    town = Town(program(earning=earning(mine, other, groups=[{"id": "g", "mode": "best"}])))
    bought(town)
    town.deliver()
    assert town.member().books.available == 10


def test_B10_pending_days_hold_for_it_and_a_tier_counts_it() -> None:
    town = Town(budgeted(points={"pending_days": 2}))
    bought(town)
    town.deliver()
    member = town.member()
    assert (member.books.pending, member.books.available) == (40, 0)
    member.tick(after(3))
    assert member.books.available == 40
    assert sum(day.points for day in member.account.days) == 40


# ---------------------------------------------------------------- returns


def test_D04_a_return_takes_its_share_and_refills_the_budget() -> None:
    town = Town(budgeted(30, gives=30))
    bought(town, 900, id="x1")
    town.deliver()
    town.take(town.member().return_command("x1", (1, 333, 0)), START)
    town.deliver()
    assert granted(town) == 21  # 333 of 1000 pieces take back 9 of 30
    bought(town)
    town.deliver()
    assert granted(town) == 30
    town.take(town.member().void_command("x1"), START)
    town.deliver()
    assert granted(town) == 9


def test_D04_a_return_before_the_grant_reduces_it() -> None:
    town = Town(budgeted(30))
    bought(town, id="x1")
    town.take(town.member().return_command("x1", (1, 500, 500)), START)
    town.deliver()
    assert (town.member().books.available, granted(town)) == (5 + 15, 15)
    told = town.steps["H-1"][-1].data("POINT_ACCRUAL")
    assert (told.points, [(cut.by, cut.points) for cut in told.cuts]) == (15, [("returned before it was granted", 15)])


def test_D04_a_return_before_its_sale_leaves_nothing_to_grant() -> None:
    town = Town(budgeted(30))
    town.take(town.member().void_command("x1"), START)
    bought(town, id="x1")
    town.deliver()
    assert (town.member().books.available, granted(town)) == (0, 0)
    assert town.steps["H-1"][-1].types == ["POINT_CUT"]


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_D04_any_returns_before_and_after_the_grant_end_where_the_whole_return_ends(data: st.DataObject) -> None:
    town = Town(budgeted(data.draw(st.integers(0, 80)), gives=70))
    amounts = data.draw(st.lists(st.integers(1, 3000), min_size=1, max_size=4))
    town.take(town.member().sale_command(lines=basket(*amounts), id="x1"), START)
    random = Random(data.draw(st.integers(0, 10**9)))
    for number, amount in enumerate(amounts, 1):
        parts = sorted(random.sample(range(1, 1000), k=2))
        for pieces in (parts[0], parts[1] - parts[0], 1000 - parts[1]):
            town.post.append((town.member().return_command("x1", (number, pieces, 0)), NOW))
        assert amount
    town.storm(random)
    assert (town.member().books.available, granted(town)) == (0, 0)
    assert town.rebuilt() == {key: log.stored for key, log in town.accounts.items()}


@pytest.mark.parametrize(("debt", "left"), [("allow", 0), ("floor", 30)])
def test_D04_what_a_member_keeps_all_the_same_stays_spent(debt: str, left: int) -> None:
    """Points that were used and are forgiven cannot be given to somebody else as well."""
    town = Town(budgeted(100, points={"debt": debt}))
    bought(town, id="x1")
    town.deliver()
    town.member().reserve("r", 40)
    town.member().confirm("r")
    town.take(town.member().void_command("x1"), START)
    town.deliver()
    assert granted(town) == left


def test_D04_a_void_of_an_earlier_period_refills_that_one() -> None:
    town = Town(budgeted(30))
    bought(town, id="x1")
    town.deliver()
    town.take(town.member().void_command("x1", at=after(9)), after(9))
    town.deliver()
    assert (sorted(town.pots), granted(town)) == ([f"budget:main/bonus/{DAY}"], 0)


# ---------------------------------------------------------------- what else may happen in between

HOLDING = {"critical": 100, "signals": [{"id": "s", "kind": "velocity", "what": "checks", "hours": 24, "soft": 1, "weight": 100}]}


def suspected(town: Town) -> None:
    bought(town, id="x1")
    town.deliver()
    bought(town, id="x2")


@pytest.mark.parametrize("granted_first", [True, False])
@pytest.mark.parametrize(("verdict", "usable", "spent"), [("release", 80, 60), ("confiscate", 40, 30)])
def test_B10_a_review_holds_what_is_granted_with_the_check(granted_first: bool, verdict: str, usable: int, spent: int) -> None:
    town = Town(budgeted(fraud=HOLDING))
    suspected(town)
    if granted_first:
        town.deliver()
        assert town.member().books.held == 40
    member = town.member()
    body = {"type": "review", "command_id": "desk1", "loyalty_id": "H-1", "at": START.isoformat(), "hold": "x2"}
    decision = body | {"verdict": verdict, "actor": "eve", "reason": "looked"}
    town.take(member.command("decide", "desk1", decision=decision), START)
    town.deliver()
    assert (member.books.available, member.books.held, granted(town)) == (usable, 0, spent)
    town.take(member.void_command("x2"), START)
    town.deliver()
    assert (member.books.available, granted(town)) == (40, 30)


def test_B10_a_check_that_earned_nothing_else_can_be_reviewed_too() -> None:
    town = Town(budgeted(fraud=HOLDING, earning={"per_minor": 100_000}))
    suspected(town)
    assert town.member().review("x2").code == "OK"
    town.deliver()
    assert town.member().books.available == 60


def test_B10_who_left_meanwhile_is_granted_nothing_and_the_budget_has_it_back() -> None:
    town = Town(budgeted())
    bought(town)
    town.member().leave()
    town.deliver()
    assert granted(town) == 0
    assert [cut.by for cut in town.steps["H-1"][-1].data("POINT_CUT").cuts] == ["the member left"]


def test_B10_points_that_do_not_qualify_do_not_by_a_budget_either() -> None:
    cap = {"points": 100, "per": "day", "over": "program"}
    bonus = rule("check_bonus", "bonus", points=30) | {"cap": cap, "qualifies": False}
    levels = {"levels": [{"name": "Member"}, {"name": "Gold", "any_of": [{"metric": "points", "at_least": 30}]}]}
    town = Town(budgeted(bonus=bonus, tiers=levels | {"after_return": "revoke"}))
    bought(town, id="x1")
    town.deliver()
    assert town.member().account.tier.level == 0
    bought(town, 2000)
    town.deliver()
    assert town.member().account.tier.level == 1
    town.take(town.member().void_command("x1"), START)
    town.deliver()
    assert town.member().account.tier.level == 0


def test_B10_a_grant_lifts_a_tier() -> None:
    levels = {"levels": [{"name": "Member"}, {"name": "Gold", "any_of": [{"metric": "points", "at_least": 40}]}]}
    town = Town(budgeted(tiers=levels))
    bought(town)
    town.deliver()
    assert town.steps["H-1"][-1].types == ["POINT_ACCRUAL", "TIER_UPGRADE"]


# ---------------------------------------------------------------- the race


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 400), st.integers(0, 10**9), st.booleans())
def test_B10_fifty_checks_of_fifty_members_race_for_a_cap(cap: int, seed: int, back: bool) -> None:
    town, random = Town(budgeted(cap, gives=7), members=50), Random(seed)
    sales = [(town.member(n).sale_command(1000, id=f"c-{n}"), NOW) for n in range(1, 51)]
    town.storm(random, sales)
    assert town.booked("bonus") == granted(town) == min(cap, 50 * 7)
    told = [step for steps in list(town.steps.values()) for step in steps if step.command.type == "grant"]
    assert {step.command.id for step in told} == {f"c-{n}~bonus" for n in range(1, 51)}
    if back:
        town.storm(random, [(town.member(n).void_command(f"c-{n}"), NOW) for n in range(1, 51)])
        assert granted(town) == 0
        assert all(town.member(n).books.available == 0 for n in range(1, 51))
        again = [(town.member(n).sale_command(1000, id=f"d-{n}"), NOW) for n in range(1, 51)]
        town.storm(random, again)
        assert granted(town) == min(cap, 50 * 7)
    assert town.rebuilt() == {key: log.stored for key, log in town.accounts.items()}


def kept(account: Account) -> int:
    """What its sales still earn of budgets, by what came back of each."""
    points = 0
    for asked in account.asked:
        sale = sale_of(next(known for known in account.applied if known.id == asked.sale))
        assert sale is not None
        back = fractions(sale, next((known for known in account.returned if known.sale == asked.sale), None))
        points += sum(given_ - share(given_, back[number]) for number, given_, _ in asked.shares)
    return points


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 60), st.integers(0, 10**9))
def test_B10_sales_and_returns_in_any_order_never_give_more_than_the_cap(cap: int, seed: int) -> None:
    town, random = Town(budgeted(cap, gives=7), members=6), Random(seed)
    arrivals: list[Any] = []
    for n in range(1, 7):
        member = town.member(n)
        for name in (f"a{n}", f"b{n}"):
            arrivals.append((member.sale_command(lines=basket(700, 300), id=name), NOW))
            if random.random() < 0.5:
                arrivals.append((member.return_command(name, (random.choice((1, 2)), 1000, 0)), NOW))
            if random.random() < 0.2:
                arrivals.append((member.void_command(name), NOW))
    town.storm(random, arrivals)
    assert granted(town) == sum(kept(town.member(n).account) for n in range(1, 7)) <= cap
    assert all(asked.points >= 0 for n in range(1, 7) for asked in town.member(n).account.asked)
    assert town.rebuilt() == {key: log.stored for key, log in town.accounts.items()}


# ---------------------------------------------------------------- what a budget remembers


def asks(count: int, *, first: int = 0, points: int = 1) -> list[AskBudget]:
    key = f"budget:main/bonus/{DAY}"
    common = {"type": "ask_budget", "account": key, "program": "main@1", "rule": "bonus", "on": START.date(), "points": points}
    numbers = range(first, first + count)
    return [AskBudget(id=f"H-{n}~c-{n}", member=f"H-{n}", check_id=f"c-{n}", **common) for n in numbers]  # type: ignore[arg-type]


def test_B10_a_day_of_20000_uses_stays_small_and_every_use_is_known_again() -> None:
    plan, account, said = compile_program(budgeted(15_000)), Account(), []
    for number, command in enumerate(asks(20_000)):
        account, outcome, repeated = budgets.answered(account, command, plan, NOW + number)
        said.append(outcome.granted)
        assert not repeated
    assert sum(said) == 15_000
    assert len(pack(account)) < 250_000
    for number, command in list(enumerate(asks(20_000)))[::97]:
        after_, outcome, repeated = budgets.answered(account, command, plan, NOW + number)
        assert (after_, outcome.granted, repeated) == (account, said[number], True)


def test_B10_what_is_forgotten_is_granted_nothing_once_more() -> None:
    """However many uses there are: the record is bounded, and a request that may be a repeat gets nothing."""
    plan, account = compile_program(budgeted(10**6)), Account()
    for number, command in enumerate(asks(budgets.PAGES * budgets.ENTRIES + 1)):
        account, _, _ = budgets.answered(account, command, plan, NOW + number)
    assert len(pack(account)) < 250_000
    old = asks(1)[0]
    after_, outcome, _ = budgets.answered(account, old, plan, NOW)
    assert (after_, outcome.granted) == (account, -1)
    (said,) = budgets.commands(old, outcome, plan)
    assert (said.points, said.late) == (0, True)  # type: ignore[union-attr]
    fresh = asks(1, first=10**6)[0]
    assert budgets.answered(account, fresh, plan, NOW + 30_000)[1].granted == 1


def test_B10_a_grant_that_came_too_late_says_so() -> None:
    town = Town(budgeted())
    bought(town, id="x1")
    (wish, _) = town.post.pop()
    town.take(wish, after(39))
    town.deliver()
    assert town.pots == {wish.account: Account(key=wish.account)}
    assert [cut.by for cut in town.steps["H-1"][-1].data("POINT_CUT").cuts] == ["asked too late"]


def test_B10_a_budget_closes_when_no_sale_of_its_day_can_come_and_goes_a_year_later() -> None:
    town = Town(budgeted(30))
    bought(town, id="x1")
    town.deliver()
    (key,) = town.pots
    log = town.accounts[key]
    assert log.account.next_due == NOW // 86_400 * 86_400 + 38 * 86_400
    log.tick(after(38))
    assert len(log.stored or b"") < 300
    assert granted(town) == 30
    bought(town, number=1, id="x2")
    town.take(town.post.pop()[0], after(39))  # a straggler does not open it again
    assert granted(town) == 30
    log.tick(after(402))
    assert not log.account.stands
    assert log.account.next_due == 0


def test_B10_a_budget_of_a_campaign_without_an_end_stays() -> None:
    town = Town(budgeted(30, per="campaign"))
    bought(town)
    town.deliver()
    assert town.pots["budget:main/bonus/campaign"].next_due == 0


def test_B10_a_campaign_that_a_later_version_prolongs_goes_on_with_what_is_left() -> None:
    town = Town(budgeted(50, per="campaign", bonus=_campaign("2026-03-05T00:00:00Z")))
    bought(town)
    town.deliver()
    (pot,) = town.pots.values()
    longer = compile_program(budgeted(50, bonus=_campaign("2026-06-05T00:00:00Z"), version=2))
    wish = replace(asks(1, points=30)[0], account=pot.key, program="main@2")
    after_, outcome, _ = budgets.answered(pot, wish, longer, NOW + 60 * 86_400)
    assert outcome.granted == 20
    assert after_.budget is not None
    assert after_.next_due > pot.next_due > 0


def _campaign(ends: str) -> dict[str, Any]:
    cap = {"points": 50, "per": "campaign", "over": "program"}
    return rule("check_bonus", "bonus", points=30) | {"cap": cap, "ends": ends}


def test_B10_a_return_that_nobody_granted_anything_to_changes_nothing() -> None:
    said = ReturnBudget(
        type="return_budget",
        id="H-1~r1",
        account=f"budget:main/bonus/{DAY}",
        program="main@1",
        member="H-1",
        check_id="s1",
        rule="bonus",
        points=5,
    )
    account, outcome, _ = budgets.answered(Account(), said, compile_program(budgeted()), NOW)
    assert (account, list(budgets.commands(said, outcome, compile_program(budgeted())))) == (Account(), [])


def test_B10_a_grant_for_a_sale_that_is_forgotten_goes_back() -> None:
    town = Town(budgeted())
    bought(town, id="x1")
    town.take(*town.post.pop())
    (grant, _) = town.post.pop()
    town.member().tick(after(40))
    town.take(grant, NOW)
    assert [one.type for one, _ in town.post] == ["return_budget"]
    town.deliver()
    assert granted(town) == 0
    assert town.member().account.asked == ()


# ---------------------------------------------------------------- how a program says it


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"cap": {"points": 1, "per": "check", "over": "program"}}, "a check is one member's"),
        ({"cap": {"points": 1, "per": "campaign"}}, "counted over the program alone"),
        ({"cap": {"points": 1, "per": "day", "over": "program"}, "id": "x" * 41}, "at most 40 characters"),
        ({"cap": {"points": 1, "per": "day", "over": "program"}, "wallet": "stars"}, "points of the main wallet"),
    ],
)
def test_D01_a_cap_over_the_program_that_cannot_be_kept_is_refused(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        budgeted(bonus=rule("check_bonus", "bonus", points=30) | changed, wallets=[{"id": "stars", "title": "Stars"}])


@pytest.mark.parametrize(
    ("per", "said"),
    [
        ("day", "at most 100 points a day for all members together, first come, first served"),
        ("campaign", "at most 100 points in the whole campaign for all members together, first come, first served"),
    ],
)
def test_D01_a_cap_over_the_program_is_said_in_plain_words(per: str, said: str) -> None:
    assert f"- bonus: 30 points once for a check; {said}." in explain(budgeted(per=per))


@pytest.mark.parametrize("later", [{"minutes": 40}, {"days": 2}])
def test_B10_a_grant_that_comes_again_after_its_sale_was_forgotten_early_stays_given_once(later: dict[str, int]) -> None:
    town = Town(budgeted())
    bought(town, id="x1")
    town.take(*town.post.pop())
    grant, sent = town.post.pop()
    town.take(grant, sent)
    _crowd(town, 1001)
    town.member().tick(after(**later))
    step = town.member().send(grant, sent)
    assert (step.outcome.words, step.events) == ((), ())
    assert (town.booked("bonus"), granted(town)) == (30, 30)


def test_B10_a_grant_for_a_sale_that_was_forgotten_early_goes_back_once() -> None:
    town = Town(budgeted())
    bought(town, id="x1")
    town.take(*town.post.pop())
    grant, sent = town.post.pop()
    _crowd(town, 1001)
    first, second = (town.member().send(grant, sent) for _ in range(2))
    assert [word.kind for word in first.outcome.words] == ["back"]
    assert second.outcome == first.outcome
    assert next(known.points for known in town.member().account.asked if known.sale == "x1") == 0


def test_B10_what_was_asked_for_large_receipts_does_not_make_an_account_large() -> None:
    town = Town(
        budgeted(bonus=rule("multiplier", "bonus", percent=200) | {"cap": {"points": 10, "per": "day", "over": "program"}})
    )
    for n in range(150):
        at = after(minutes=n)
        town.member().send(town.member().sale_command(lines=basket(*[1000] * 900), id=f"x{n}", at=at), at)
    assert len(pack(town.member().account)) < 900_000


def _crowd(town: Town, checks: int) -> None:
    for n in range(checks):
        at = after(minutes=1 + n // 60)
        town.member().send(town.member().sale_command(100, id=f"y{n}", at=at), at)
