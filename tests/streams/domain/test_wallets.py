"""B05: wallets beside the main one. Qualifying and spendable points never mix; a conversion is two linked entries.

`Member` asserts the laws of every wallet after every command: books that add up, lots that are the books, events that explain both.
"""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.program import Program
from streams.domain.account import Account, pack
from streams.domain.qualification import Span, sums
from tests.builders import Member, Step, earning, level, line, program, rule, tiers

STARS = {"id": "stars", "title": "Stars"}
TO_POINTS = {"wallet": "stars", "into": "main", "points": 10, "gives": 25}
HOLDING = {"critical": 100, "signals": [{"id": "s", "kind": "velocity", "what": "checks", "hours": 24, "soft": 1, "weight": 100}]}


def starry(*rules: dict[str, Any], stars: dict[str, Any] | None = None, **parts: Any) -> Program:
    """One point a unit; five stars for every piece of a dish."""
    dish = rule("line_bonus", "dish", points=5, wallet="stars", where={"categories": ["dish"]})
    earn = parts.pop("earning", {})
    fixed: dict[str, Any] = {"wallets": [STARS | (stars or {})], "conversions": [TO_POINTS]}
    return program(earning=earning(dish, *rules, **earn), **(fixed | parts))


def dishes(pieces: int, amount: int = 1000) -> list[dict[str, Any]]:
    return [line(amount, quantity=pieces * 1000, category="dish")]


def stars(member: Member) -> Account:
    return next((wallet for wallet in member.account.wallets if wallet.key == "stars"), Account())


def usable(member: Member) -> tuple[int, int]:
    return member.books.available, stars(member).books.available


# ---------------------------------------------------------------- earning


def test_B05_a_rule_gives_to_its_wallet_and_to_no_other() -> None:
    member = Member(starry()).joined()
    step = member.sale(lines=dishes(2))
    assert usable(member) == (10, 10)
    assert step.reply is not None
    assert (step.reply.earned, step.reply.wallets["stars"].available) == (10, 10)
    assert "Stars: 10" in step.reply.receipt
    told = step.data("WALLET_CHANGE")
    assert (told.wallet, told.change, told.points, told.check_id) == ("stars", "accrued", 10, "s1")
    assert [(award.rule, award.line, award.points) for award in told.awards] == [("dish", 1, 10)]
    assert {award.rule for award in step.data("POINT_ACCRUAL").awards} == {"base"}


def test_B05_who_has_no_wallet_hears_nothing_of_wallets() -> None:
    plain, near = Member(program()).joined(), Member(starry()).joined()
    for member in (plain, near):
        member.sale(1000)
    assert near.account == plain.account
    assert pack(near.account) == pack(plain.account)
    assert near.steps[-1].bytes == plain.steps[-1].bytes


def test_B05_a_wallet_that_pays_nothing_rounds_by_itself() -> None:
    half = rule("multiplier", "half", percent=150, wallet="stars")
    member = Member(program(earning=earning(half), wallets=[STARS])).joined()
    member.sale(390)
    assert usable(member) == (3, 1), "390 make 3.9 points and 1.95 stars: each dropped by itself"


def test_B10_a_rules_own_cap_limits_it_in_its_wallet_and_a_return_gives_the_room_back() -> None:
    capped = rule("check_bonus", "gift", points=8, wallet="stars", cap={"points": 10, "per": "day"})
    member = Member(program(earning=earning(capped), wallets=[STARS])).joined()
    member.sale(100)
    assert member.sale(100).data("WALLET_CHANGE").points == 2
    member.void("s1")
    assert member.sale(100).data("WALLET_CHANGE").points == 8


def test_B10_caps_over_everything_are_about_the_main_wallet() -> None:
    member = Member(starry(earning={"caps": [{"points": 4, "per": "check"}]})).joined()
    member.sale(lines=dishes(2))
    assert usable(member) == (4, 10)


def test_A10_a_claimed_receipt_brings_its_stars() -> None:
    member = Member(starry()).joined()
    member.take_receipt(member.sale_command(lines=dishes(1)))
    assert usable(member) == (10, 5)


# ---------------------------------------------------------------- nothing mixes


def test_B05_stars_pay_for_nothing_that_costs_points_nor_points_for_what_costs_stars() -> None:
    mug = {"id": "mug", "title": "A mug", "points": 5, "value_minor": 300, "wallet": "stars"}
    cake = {"id": "cake", "title": "Cake", "points": 50, "value_minor": 300}
    member = Member(starry(redemption={"rewards": [mug, cake]})).joined()
    member.having(60)
    assert member.reserve("R1", reward="mug").code == "INSUFFICIENT_POINTS"
    member.adjust(-60)
    step = member.sale(lines=dishes(20, 100))
    assert step.reply is not None
    assert usable(member) == (1, 100)
    assert step.reply.rewards == ("mug",)
    assert step.data("POINT_ACCRUAL").profile.available_rewards == ()
    assert member.reserve("R2", 50).code == "INSUFFICIENT_POINTS"
    assert member.reserve("R3", reward="cake").code == "INSUFFICIENT_POINTS"
    assert usable(member) == (1, 100)


def test_B05_stars_do_not_qualify() -> None:
    member = Member(starry(tiers=tiers(level("Gold", points=50)))).joined()
    member.sale(lines=dishes(20))
    assert stars(member).books.available == 100
    assert member.account.tier.level == 0


def test_B05_a_debt_of_one_wallet_is_not_paid_by_another() -> None:
    member = Member(starry()).joined()
    member.sale(lines=dishes(2))
    member.convert(10)
    member.void("s1")
    assert usable(member) == (25, 0)
    assert (stars(member).debt, member.account.debt) == (10, 0)
    member.sale(lines=dishes(3))
    assert usable(member) == (35, 5)
    assert stars(member).debt == 0


# ---------------------------------------------------------------- conversion


def test_B05_a_conversion_is_two_entries_under_one_cause() -> None:
    member = Member(starry()).joined()
    member.sale(lines=dishes(7))
    step = member.convert(30)
    out, into = step.all("POINT_CONVERTED")
    assert (out.cause, out.wallet, out.points, out.other) == (into.cause, "stars", -30, "main")
    assert (into.wallet, into.points, into.other) == ("main", 75, "stars")
    assert [(move.source, move.target, move.points) for move in out.postings] == [("available", "used", 30)]
    assert [(move.source, move.target, move.points) for move in into.postings] == [("issued", "available", 75)]
    assert usable(member) == (85, 5)
    assert step.bytes == member.again(step).bytes
    assert usable(member) == (85, 5)


def test_B05_points_converted_do_not_qualify() -> None:
    member = Member(starry(tiers=tiers(level("Gold", points=50)))).joined()
    member.sale(lines=dishes(20))
    member.convert(100)
    assert (usable(member), member.account.tier.level) == ((260, 0), 0)


def test_B05_points_become_stars_where_the_program_says_so() -> None:
    there = {"wallet": "main", "into": "stars", "points": 100, "gives": 1}
    member = Member(starry(conversions=[there])).joined().having(250)
    member.convert(200, "main", "stars")
    assert usable(member) == (50, 2)


@pytest.mark.parametrize(
    ("points", "ways", "code"),
    [
        (35, {}, "CONVERSION_UNEVEN"),
        (40, {}, "INSUFFICIENT_POINTS"),
        (10, {"into": "moons"}, "CONVERSION_UNKNOWN"),
        (10, {"wallet": "main", "into": "stars"}, "CONVERSION_UNKNOWN"),
    ],
)
def test_B05_a_refused_conversion_changes_nothing(points: int, ways: dict[str, str], code: str) -> None:
    member = Member(starry()).joined()
    member.sale(lines=dishes(7))
    step = member.convert(points, **ways)
    assert (step.status, step.code, step.events) == ("refused", code, ())
    assert usable(member) == (10, 35)


def test_B05_without_a_star_nothing_can_be_converted_and_no_wallet_is_opened() -> None:
    member = Member(starry()).joined()
    assert member.convert(10).code == "INSUFFICIENT_POINTS"
    assert member.account.wallets == ()


def test_B05_who_has_left_converts_nothing() -> None:
    member = Member(starry()).joined()
    assert Member(starry()).convert(10).code == "MEMBER_UNKNOWN"
    member.sale(lines=dishes(2))
    member.leave()
    assert member.convert(10).code == "MEMBER_OPTED_OUT"


# ---------------------------------------------------------------- time


def test_B03_stars_end_by_their_own_terms() -> None:
    terms = {"expiry": {"kind": "after_days", "days": 30}, "notice_days": 5}
    member = Member(starry(stars=terms)).joined()
    member.sale(lines=dishes(2))
    soon = member.wait(26).tick().data("WALLET_CHANGE")
    assert (soon.change, soon.points) == ("expiring_soon", 10)
    over = member.wait(30).tick().data("WALLET_CHANGE")
    assert (over.change, over.points) == ("expired", 10)
    assert usable(member) == (10, 0)
    assert stars(member).books.expired == 10


def test_B03_the_clock_knows_when_stars_end() -> None:
    member = Member(starry(stars={"expiry": {"kind": "after_days", "days": 30}})).joined()
    step = member.sale(lines=dishes(2))
    due = member.account.next_due
    assert 0 < due <= step.now + 31 * 86_400
    member.tick(member.clock.fromtimestamp(due, member.clock.tzinfo))
    assert stars(member).books.expired == 10


def test_B03_every_purchase_keeps_stars_alive_that_end_with_inactivity() -> None:
    member = Member(starry(stars={"expiry": {"kind": "inactivity", "days": 30}})).joined()
    member.sale(lines=dishes(2))
    member.wait(20).sale(100)
    member.wait(20).tick()
    assert stars(member).books.available == 10
    member.wait(12).tick()
    assert stars(member).books.expired == 10


# ---------------------------------------------------------------- returns


@pytest.mark.parametrize("debt", ["allow", "floor"])
def test_A06_what_a_return_does_not_find_is_owed_or_forgiven_as_the_wallet_says(debt: str) -> None:
    member = Member(starry(stars={"debt": debt}, points={"debt": "allow"})).joined()
    member.sale(lines=dishes(2))
    member.convert(10)
    step = member.void("s1")
    change = step.data("WALLET_CHANGE")
    assert (change.change, change.points, change.check_id, change.of) == ("reversed", 10, "v1", "s1")
    assert stars(member).debt == (10 if debt == "allow" else 0)
    assert step.reply is not None
    assert step.reply.earned == -10, "points of the main wallet alone"


def test_A05_partial_returns_end_where_the_full_one_ends() -> None:
    member = Member(starry()).joined()
    member.sale(lines=dishes(3))
    for _ in range(3):
        member.returns("s1", (1, 1000, 333))
    assert usable(member) == (0, 0)
    assert stars(member).books.reversed == 15


def test_A05_a_return_before_its_sale_takes_the_stars_when_it_comes() -> None:
    member = Member(starry()).joined()
    sale = member.sale_command(lines=dishes(2))
    member.void("s1")
    member.send(sale)
    assert usable(member) == (0, 0)


# ---------------------------------------------------------------- review


def held() -> Member:
    member = Member(starry(fraud=HOLDING, tiers=tiers(level("Gold", points=15)))).joined()
    member.sale(lines=dishes(2))
    member.sale(lines=dishes(1))
    assert usable(member) == (10, 10)
    assert stars(member).books.held == 5
    assert member.convert(10).code == "FRAUD_REVIEW"
    return member


def test_F09_a_review_pays_out_what_every_wallet_holds() -> None:
    member = held()
    cleared = member.review("s2").data("WALLET_CHANGE")
    assert (cleared.change, cleared.points) == ("cleared", 5)
    assert usable(member) == (20, 15)


def test_F09_a_review_takes_what_every_wallet_holds_and_a_return_takes_it_no_second_time() -> None:
    member = held()
    member.review("s2", "confiscate")
    assert usable(member) == (10, 10)
    member.void("s2")
    assert usable(member) == (10, 10)
    assert (stars(member).books.reversed, stars(member).debt) == (5, 0)


def test_F09_stars_alone_can_be_held() -> None:
    gift = rule("check_bonus", "gift", points=5, wallet="stars")
    member = Member(program(earning=earning(gift, per_minor=10_000), wallets=[STARS], fraud=HOLDING)).joined()
    member.sale(100)
    member.sale(100)
    assert stars(member).books.held == 5
    member.review("s2")
    assert usable(member) == (0, 10)


# ---------------------------------------------------------------- rewards that cost stars

MUG = {"id": "mug", "title": "A mug", "points": 8, "value_minor": 400, "wallet": "stars"}


def with_stars(**parts: Any) -> Member:
    member = Member(starry(redemption={"rewards": [MUG]}, **parts)).joined()
    member.sale(lines=dishes(2))
    return member


def test_A03_a_reward_is_paid_in_its_wallet() -> None:
    member = with_stars()
    step = member.reserve("R", reward="mug")
    assert step.reply is not None
    assert (step.reply.value_minor, step.reply.wallets["stars"].available, step.reply.wallets["stars"].held) == (400, 2, 8)
    assert member.reserve("R", 5).code == "ID_REUSED"
    step = member.confirm("R")
    assert step.reply is not None
    assert (step.reply.value_minor, step.reply.burned) == (400, 0)
    assert step.data("WALLET_CHANGE").change == "redeemed"
    assert (usable(member), stars(member).books.used) == ((10, 2), 8)
    assert member.confirm("R").code == "RESERVATION_CONFIRMED"


def test_A03_a_name_is_used_once_whichever_wallet_it_was_in() -> None:
    member = with_stars()
    member.reserve("R", 5)
    assert member.reserve("R", reward="mug").code == "ID_REUSED"
    assert member.confirm("R").data("POINT_REDEMPTION").points == 5


def test_A03_what_is_not_used_or_not_confirmed_comes_back_to_its_wallet() -> None:
    member = with_stars()
    member.reserve("R1", reward="mug")
    member.cancel("R1")
    member.reserve("R2", reward="mug")
    freed = member.wait(1).tick().data("WALLET_CHANGE")
    assert (freed.change, freed.reservation, freed.points) == ("freed", "R2", 8)
    member.reserve("R3", reward="mug")
    member.confirm("R3", 3)
    assert (usable(member), stars(member).books.used) == ((10, 7), 3)
    member.reserve("R4", reward="mug")
    member.leave()
    assert stars(member).books.reserved == 0


@pytest.mark.parametrize("late", [False, True])
def test_A05_stars_that_paid_for_a_sale_come_back_with_it(late: bool) -> None:
    member = with_stars(stars={"expiry": {"kind": "after_days", "days": 40}})
    ends = stars(member).lots[0].expires_at
    member.wait(3).reserve("R", reward="mug")
    member.sale(100)
    if late:
        member.void("s2")
    member.confirm("R", check_id="s2")
    if not late:
        member.void("s2")
    assert stars(member).books.available == 10
    assert {lot.expires_at for lot in stars(member).lots} == {ends}


# ---------------------------------------------------------------- what qualifies

GIFT = rule("check_bonus", "gift", points=30, qualifies=False)
GOLD = tiers(level("Gold", points=40), window={"kind": "lifetime"})


def to_gold(member: Member) -> int:
    """Points that are missing."""
    return 40 - sums(member.account, member.plan, Span(0, 0)).points


def test_C01_points_that_do_not_qualify_can_be_spent_and_are_no_step_to_a_tier() -> None:
    member = Member(program(earning=earning(GIFT), tiers=GOLD)).joined()
    member.sale(1000)
    assert member.books.available == 40
    assert (member.account.tier.level, to_gold(member)) == (0, 30)
    member.void("s1")
    assert to_gold(member) == 40
    member.sale(3900)
    assert to_gold(member) == 1
    member.sale(100)
    assert member.account.tier.level == 1


def test_C01_miles_qualify_while_points_are_spent() -> None:
    """The two roles apart altogether, as airlines have it."""
    miles = rule("multiplier", "miles", percent=200, wallet="miles", qualifies=True)
    rate = {"points": 1, "per_minor": 100, "qualifies": False}
    rules = program(earning={"rate": rate, "rules": [miles, GIFT]}, wallets=[{"id": "miles", "title": "Miles"}], tiers=GOLD)
    member = Member(rules).joined()
    member.sale(3000)
    assert (member.books.available, to_gold(member)) == (60, 10)
    member.reserve("R", 60)
    member.confirm("R")
    assert to_gold(member) == 10, "spending is no step down"
    member.sale(1000)
    assert member.account.tier.level == 1


@pytest.mark.parametrize("verdict", ["release", "confiscate"])
def test_C01_what_is_held_qualifies_in_no_way_until_it_is_released(verdict: str) -> None:
    away = rule("check_bonus", "away", points=3, wallet="stars", qualifies=True)
    rules = program(earning=earning(GIFT, away), wallets=[STARS], tiers=GOLD, fraud=HOLDING)
    member = Member(rules).joined()
    member.sale(1000)
    assert to_gold(member) == 27
    member.sale(1000)
    assert to_gold(member) == 27
    member.returns("s2", (1, 500, 500))
    assert to_gold(member) == 27
    member.review("s2", verdict)
    assert to_gold(member) == (27 - 5 - 2 if verdict == "release" else 27)
    member.void("s2")
    assert to_gold(member) == 27


def test_C01_pending_points_that_do_not_count_yet_are_not_taken_off_either() -> None:
    policy = {"pending_days": 5, "pending_counts_for_tier": False}
    member = Member(program(earning=earning(GIFT), tiers=GOLD, points=policy)).joined()
    member.sale(1000)
    assert to_gold(member) == 40
    member.wait(6).tick()
    assert to_gold(member) == 30


def test_C01_what_did_not_qualify_is_remembered_when_its_day_is_forgotten() -> None:
    member = Member(program(earning=earning(GIFT), tiers=GOLD)).joined()
    for _ in range(3):
        member.sale(1000)
        member.wait(100)
    member.sale(100)
    assert to_gold(member) == 9
    assert len(member.account.aside) <= 3


def test_C02_the_line_that_tipped_the_tier_is_one_that_qualifies() -> None:
    only = rule("line_bonus", "extra", points=50, qualifies=False, where={"skus": ["X"]})
    member = Member(program(earning=earning(only), tiers=GOLD)).joined()
    step = member.sale(lines=[line(3000, 1), line(1000, 2), line(100, 3, sku="X")])
    assert step.data("TIER_UPGRADE").line == 2


# ---------------------------------------------------------------- programs change, and are wrong


def test_D05_a_wallet_that_the_program_no_longer_names_keeps_what_it_holds() -> None:
    member = with_stars()
    member.reserve("R", reward="mug")
    later = Member(program())
    later.stored, later.clock = member.stored, member.clock
    later.confirm("R")
    assert (stars(later).books.available, stars(later).books.used) == (2, 8)
    later.void("s1")
    assert stars(later).debt == 8
    later.wait(400).tick()
    assert later.account.wallets


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"wallets": [STARS, STARS]}, "'stars' is there twice"),
        ({"wallets": [{"id": "main", "title": "Main"}]}, "'main' is there twice"),
        ({"conversions": [TO_POINTS]}, "conversions.0.wallet: 'stars' is not defined"),
        ({"wallets": [STARS], "conversions": [TO_POINTS, TO_POINTS]}, "'stars into main' is there twice"),
        ({"wallets": [STARS], "conversions": [TO_POINTS | {"into": "stars"}]}, "conversions.0.into"),
        ({"redemption": {"rewards": [MUG]}}, "redemption.rewards.0.wallet: 'stars' is not defined"),
        ({"earning": earning(rule("check_bonus", points=1, wallet="stars"))}, "earning.rules.0.wallet: 'stars' is not defined"),
        (
            {
                "wallets": [STARS],
                "earning": earning(
                    rule("check_bonus", "a", points=1, wallet="stars", group="g"),
                    rule("check_bonus", "b", points=1, group="g"),
                    groups=[{"id": "g", "mode": "best"}],
                ),
            },
            "earning.rules.1.wallet: rules of group 'g' compete for one wallet",
        ),
    ],
)
def test_D01_a_program_names_only_wallets_that_it_has(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        program(**parts)


# ---------------------------------------------------------------- any life


def taken(step: Step, pieces: int) -> int:
    """What a return takes back: nothing when its sale is forgotten."""
    return pieces if step.code == "OK" else 0


@given(random=st.randoms(use_true_random=False), debt=st.sampled_from(["allow", "floor"]))
def test_B05_in_any_life_the_wallets_stay_apart_and_only_what_qualifies_counts(random: Random, debt: str) -> None:
    """The laws of every wallet are asserted at each step; what qualifies is counted here by hand: a point for each piece, three
    miles a receipt, neither the gift nor the stars of a dish.
    """
    miles = rule("check_bonus", "mile", points=3, wallet="stars", qualifies=True)
    member = Member(starry(GIFT, miles, tiers=GOLD, stars={"debt": debt})).joined()
    bought: dict[str, tuple[int, int]] = {}
    for _ in range(random.randint(1, 15)):
        sale = random.choice(sorted(bought) or ["none"])
        pieces, back = bought.get(sale, (0, 0))
        match random.choice("sssrvcw"):
            case "s":
                number = random.randint(1, 4)
                bought[member.sale(lines=dishes(number, 100 * number)).command.id] = (number, 0)
            case "r" if back < pieces:
                bought[sale] = (pieces, back + taken(member.returns(sale, (1, 1000, 0)), 1))
            case "v" if sale in bought:
                bought[sale] = (pieces, back + taken(member.void(sale), pieces - back))
            case "c":
                member.convert(10 * random.randint(1, 3))
            case _:
                member.wait(random.randint(0, 12)).tick()
        counted = sums(member.account, member.plan, Span(0, 0)).points
        assert counted == sum(pieces - back + 3 - 3 * back // pieces for pieces, back in bought.values())
