"""What a receipt earns: base, rules, competition, caps, rounding. Every case is decided, printed and read back."""

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import Member, Step, after, basket, earning, level, line, moment, program, rule, tiers


def earned(rules: dict[str, Any], *, birthday: str | None = None, **sale: Any) -> int:
    """Points of one sale under these rules."""
    person = {"birthday": birthday} if birthday else {}
    step = Member(program(earning=rules)).joined(**person).sale(**sale)
    return step.outcome.earned


def awards(step: Step) -> dict[tuple[int, str], int]:
    return {(given.line, given.rule): given.points for given in step.data("POINT_ACCRUAL").awards}


# ---------------------------------------------------------------- A04, A09: the base


@pytest.mark.parametrize(
    ("why", "lines", "tenders", "points"),
    [
        ("plain", basket(1000, 500), {"cash": 1500}, 15),
        ("a discount earns nothing", [line(1000, discount_minor=250)], {"cash": 750}, 7),
        ("given away", [line(1000, discount_minor=1000)], {}, 0),
        ("points pay half", basket(1000, 1000), {"points": 1000, "cash": 1000}, 10),
        ("points pay all", basket(1000), {"points": 1000}, 0),
        ("points pay a part of a cent's worth", basket(333, 333, 334), {"points": 1, "card": 999}, 9),
        ("an excluded tender", basket(1000), {"voucher": 300, "cash": 700}, 7),
        ("points and an excluded tender", basket(1000), {"voucher": 300, "points": 300, "cash": 400}, 4),
        ("a gift card that is not excluded", basket(1000), {"gift_card": 1000}, 10),
        ("an excluded SKU", [line(1000), line(500, 2, sku="LOTTO")], {"cash": 1500}, 10),
        ("an excluded category, any depth", [line(1000), line(500, 2, category="tobacco/cigars/big")], {"cash": 1500}, 10),
        ("a category that only begins alike", [line(500, category="tobacconist")], {"cash": 500}, 5),
        (
            "the points-paid share is taken off excluded lines too",
            [line(1000), line(1000, 2, sku="LOTTO")],
            {"points": 1000, "cash": 1000},
            5,
        ),
        (
            "all at once",
            [line(1000, discount_minor=200), line(1200, 2, sku="LOTTO")],
            {"points": 500, "voucher": 500, "card": 1000},
            4,
        ),
        ("less than a point", basket(99), {"cash": 99}, 0),
    ],
)
def test_A09_base_is_lines_less_discounts_points_tender_and_exclusions(why: str, lines: Any, tenders: Any, points: int) -> None:
    rules = earning(exclude={"skus": ["LOTTO"], "categories": ["tobacco"], "tenders": ["voucher"]})
    assert points == earned(rules, lines=lines, tenders=tenders), why


@pytest.mark.parametrize(
    ("mode", "points"), [("floor", [0, 0, 1, 1, 1]), ("half_up", [0, 1, 1, 2, 2]), ("half_down", [0, 0, 1, 1, 2])]
)
def test_A04_a_fraction_is_rounded_once_per_check_by_the_programs_mode(mode: str, points: list[int]) -> None:
    assert points == [earned(earning(rounding=mode), amount=amount) for amount in (49, 50, 100, 150, 151)]
    thirds = basket(50, 50, 50)  # never line by line
    assert {"floor": 1, "half_up": 2, "half_down": 1}[mode] == earned(earning(rounding=mode), lines=thirds)


def test_A04_lines_get_the_header_by_largest_remainder_and_keep_what_rounding_left() -> None:
    step = Member().joined().sale(lines=basket(150, 150, 99, 1))
    assert awards(step) == {(1, "base"): 2, (2, "base"): 1, (3, "base"): 1}
    assert [given.remainder for given in step.data("POINT_ACCRUAL").awards] == [500_000, 500_000, 990_000]
    assert 4 == step.data("POINT_ACCRUAL").points == step.reply.earned  # type: ignore[union-attr]


LINES = st.lists(
    st.builds(
        lambda amount, discount, kind, pieces: {
            "sku": kind, "amount_minor": amount, "discount_minor": amount * discount // 100, "quantity": pieces * 1000,
        },
        st.integers(0, 20_000), st.integers(0, 100), st.sampled_from("ABX"), st.integers(0, 5),
    ),
    min_size=1, max_size=15,
)  # fmt: skip
RULES = st.lists(
    st.sampled_from(
        [
            rule("multiplier", "double-a", percent=200, where={"skus": ["A"]}),
            rule("multiplier", "third", percent=133),
            rule("line_bonus", points=7, where={"skus": ["B"]}, cap={"points": 20, "per": "check"}),
            rule("check_bonus", points=11, group="best"),
            rule("threshold", points=50, spend_minor=5000, group="best"),
            rule("multiplier", "capped", percent=300, where={"skus": ["B"]}, cap={"points": 13, "per": "day"}),
        ]
    ),
    unique_by=lambda found: found["id"],
)


@settings(max_examples=150, deadline=None)
@given(
    lines=LINES,
    rules=RULES,
    share=st.integers(0, 100),
    mode=st.sampled_from(["floor", "half_up", "half_down"]),
    cap=st.sampled_from([None, 40]),
)
def test_A04_sum_of_line_points_is_the_header_within_every_cap(
    lines: Any, rules: Any, share: int, mode: str, cap: int | None
) -> None:
    numbered = [found | {"line": number} for number, found in enumerate(lines, 1)]
    total = sum(found["amount_minor"] - found["discount_minor"] for found in numbered)
    by_points = total * share // 100
    rules_ = earning(
        *rules, per_minor=30, points=2, rounding=mode, exclude={"skus": ["X"]}, groups=[{"id": "best", "mode": "best"}],
        caps=[{"points": cap, "per": "check"}] if cap else [],
    )  # fmt: skip
    step = Member(program(earning=rules_)).joined().sale(lines=numbered, tenders={"points": by_points, "cash": total - by_points})
    given_ = step.data("POINT_ACCRUAL").awards if step.events else ()
    by_rule: dict[str, int] = {}
    for found in given_:
        assert found.points > 0
        by_rule[found.rule] = by_rule.get(found.rule, 0) + found.points
        assert lines[found.line - 1]["sku"] != "X"
    assert step.outcome.earned == sum(by_rule.values())
    assert by_rule.get("line_bonus", 0) <= 20
    assert by_rule.get("capped", 0) <= 13
    assert step.outcome.earned <= (cap or 10**9)
    if total == by_points:
        assert step.outcome.earned == 0


# ---------------------------------------------------------------- D02: one golden test per dimension

TEN = {"amount": 1000}  # ten points by the rate
BONUS = {"points": 5}


@pytest.mark.parametrize(
    ("dimension", "found", "hit", "miss"),
    [
        ("sku", rule("multiplier", percent=200, where={"skus": ["A"]}), {"lines": [line(1000, sku="A")]}, {"lines": [line(1000, sku="B")]}),
        ("category", rule("multiplier", percent=200, where={"categories": ["food/dairy"]}), {"lines": [line(1000, category="food/dairy/milk")]}, {"lines": [line(1000, category="food/dairyfree")]}),
        ("brand", rule("multiplier", percent=200, where={"brands": ["Own label"]}), {"lines": [line(1000, brand="Own label")]}, {"lines": [line(1000, brand="Other")]}),
        ("outlet", rule("multiplier", percent=200, where={"outlets": ["o1"]}), TEN, TEN | {"outlet": "o2"}),
        ("channel", rule("multiplier", percent=200, where={"channels": ["web", "app"]}), TEN | {"channel": "app"}, TEN | {"channel": "phone"}),
        ("weekday", rule("multiplier", percent=200, where={"weekdays": ["mon"]}), TEN, TEN | {"at": after(1)}),
        ("day part over midnight", rule("multiplier", percent=200, where={"day_parts": [{"start": "22:00", "end": "02:00"}]}), TEN | {"at": moment("2026-03-03T01:30-05:00")}, TEN | {"at": moment("2026-03-02T21:59-05:00")}),
        ("birthday", rule("multiplier", percent=200, where={"birthday_within_days": 2}), TEN | {"birthday": "03-04"}, TEN | {"birthday": "03-05"}),
        ("birthday on 29 February", rule("multiplier", percent=200, where={"birthday_within_days": 2}), TEN | {"birthday": "02-29"}, TEN | {"birthday": "02-27"}),
        ("line bonus", rule("line_bonus", points=5, where={"skus": ["A"]}), {"lines": [line(1000, quantity=2500)]}, {"lines": [line(1000, quantity=900)]}),
        ("check bonus", rule("check_bonus", points=10, where={"skus": ["A"]}), {"lines": [line(500), line(500, 2)]}, {"lines": [line(1000, sku="B")]}),
        ("threshold", rule("threshold", points=10, spend_minor=1000), TEN, {"amount": 1000, "tenders": {"points": 1, "cash": 999}}),
        ("threshold of matching lines", rule("threshold", points=10, spend_minor=600, where={"skus": ["A"]}), {"lines": [line(600), line(400, 2, sku="B")]}, {"lines": [line(599), line(401, 2, sku="B")]}),
        ("condition", rule("multiplier", percent=200, where={"when": 'total_minor >= 1000 and channel == "store"'}), TEN, TEN | {"channel": "web"}),
        ("multiplier and half", rule("multiplier", percent=200, where={"skus": ["A"], "outlets": ["o1"]}), TEN, TEN | {"outlet": "o3"}),
    ],
)  # fmt: skip
def test_D02_each_dimension_doubles_what_matches_and_leaves_the_rest(dimension: str, found: Any, hit: Any, miss: Any) -> None:
    base = 9 if dimension == "threshold" else 10
    assert earned(earning(found), **hit) == 20, dimension
    assert base == earned(earning(found), **miss), dimension


def test_D02_tier_by_the_tier_held_at_purchase_time() -> None:
    rules = program(
        earning=earning(rule("multiplier", percent=200, where={"tiers": ["Gold"]})),
        tiers=tiers(level("Gold", points=100), window={"kind": "lifetime"}),
    )
    member = Member(rules).joined().wait(1)
    assert member.sale(10_000).outcome.earned == 100  # reaches Gold with it
    assert member.wait(1).sale(1000).outcome.earned == 20
    assert member.sale(1000, at=after(0.5)).outcome.earned == 10  # late, bought before Gold


def test_D02_nth_visit_counts_days_and_pays_the_first_check_of_the_day() -> None:
    member = Member(program(earning=earning(rule("nth_visit", n=3, points=100)))).joined()
    days = [[member.wait(hours=1).sale(1000).outcome.earned for _ in range(2)] for _ in range(7) if member.wait(1)]
    assert days == [[10, 10], [10, 10], [110, 10], [10, 10], [10, 10], [110, 10], [10, 10]]


def test_D02_every_dimension_at_once() -> None:
    rules = program(
        earning=earning(
            rule(
                "multiplier", "all", percent=300,
                where={
                    "skus": ["A"], "categories": ["food"], "brands": ["Own"], "outlets": ["o1"], "channels": ["store"],
                    "weekdays": ["mon"], "day_parts": [{"start": "09:00", "end": "11:00"}], "tiers": ["Member"],
                    "birthday_within_days": 1, "when": "total_minor > 0 and visits == 0",
                },
            ),
            rule("line_bonus", points=2, where={"brands": ["Own"]}),
            rule("check_bonus", points=7),
            rule("threshold", points=20, spend_minor=3000),
        )
    )  # fmt: skip
    member = Member(rules).joined(birthday="03-03")
    lines = [line(1000, category="food/x", brand="Own", quantity=3000), line(1000, 2, category="food/x"), line(1000, 3, sku="B")]
    step = member.sale(lines=lines)
    assert awards(step) == {
        (1, "base"): 10, (2, "base"): 10, (3, "base"): 10, (1, "all"): 20, (1, "line_bonus"): 6,
        (1, "check_bonus"): 3, (2, "check_bonus"): 2, (3, "check_bonus"): 2, (1, "threshold"): 7, (2, "threshold"): 7, (3, "threshold"): 6,
    }  # fmt: skip
    assert step.outcome.earned == 83


def test_D02_multipliers_add_their_extra_to_the_base_never_multiply_each_other() -> None:
    assert (
        earned(earning(rule("multiplier", "two", percent=200), rule("multiplier", "three", percent=300)), amount=1000)
        == 10 + 10 + 20
    )


def test_A09_a_bonus_for_goods_needs_some_money_of_its_own() -> None:
    rules = earning(rule("line_bonus", points=5), rule("check_bonus", points=9), exclude={"skus": ["LOTTO"]})
    assert earned(rules, amount=1000, tenders={"points": 1000}) == 0
    assert earned(rules, lines=[line(1000, sku="LOTTO")]) == 0
    assert earned(rules, lines=[line(500), line(1000, 2, sku="LOTTO")]) == 5 + 9 + 5


# ---------------------------------------------------------------- thresholds that join receipts (F08)

JOIN = earning(rule("threshold", points=100, spend_minor=5000, join_minutes=10))


def bonuses(member: Member, *checks: tuple[int, int], **parts: Any) -> list[bool]:
    """(minute, amount) of each check, in order of arrival; whether it got the bonus."""
    start = member.clock
    late = after(minutes=120, since=start)
    return [
        member.sale(amount, at=after(minutes=minute, since=start), now=late, **parts).outcome.earned >= 100
        for minute, amount in checks
    ]


@pytest.mark.parametrize(
    ("why", "checks", "hits"),
    [
        ("one receipt", [(0, 5000)], [True]),
        ("split in two", [(0, 2500), (10, 2500)], [False, True]),
        ("too far apart", [(0, 2500), (11, 2500)], [False, False]),
        ("splitting gains nothing", [(0, 5000), (5, 5000)], [True, False]),
        ("a receipt counts once", [(0, 2500), (5, 2500), (12, 2500)], [False, True, False]),
        ("the next pair", [(0, 2500), (5, 2500), (16, 2500), (20, 2500)], [False, True, False, True]),
        ("the later receipt arrives first", [(10, 2500), (0, 2500)], [False, True]),
        ("the middle one arrives last", [(0, 2000), (8, 2000), (4, 2000)], [False, False, True]),
    ],
)
def test_F08_receipts_of_one_till_within_the_minutes_count_as_one(why: str, checks: Any, hits: list[bool]) -> None:
    assert hits == bonuses(Member(program(earning=JOIN)).joined(), *checks), why


def test_F08_another_till_is_not_joined() -> None:
    member = Member(program(earning=JOIN)).joined()
    assert bonuses(member, (0, 2500)) == [False]
    assert bonuses(member, (1, 2500), till="2") == [False]
    assert bonuses(member, (1, 2500), outlet="o2") == [False]


def test_F08_only_what_the_rule_asks_for_is_joined() -> None:
    wine = earning(rule("threshold", points=100, spend_minor=5000, join_minutes=10, where={"skus": ["WINE"]}))
    member = Member(program(earning=wine)).joined()
    assert member.sale(6000).outcome.earned == 60
    assert member.sale(lines=[line(5000, sku="WINE")]).outcome.earned == 150


def test_F08_a_receipt_that_came_back_is_not_joined() -> None:
    member = Member(program(earning=JOIN)).joined()
    member.sale(5000)
    member.void("s1")
    assert member.sale(5000).outcome.earned == 150


# ---------------------------------------------------------------- D03: competition

GROUP = {
    "low": rule("check_bonus", "low", points=5, group="g", priority=9),
    "mid": rule("check_bonus", "mid", points=8, group="g", priority=5),
    "top": rule("check_bonus", "top", points=20, group="g", where={"channels": ["store"]}),
}


@pytest.mark.parametrize(
    ("mode", "channel", "points", "losers"),
    [
        ("all", "store", 33, []),
        ("best", "store", 20, [("low", 5), ("mid", 8)]),
        ("best", "web", 8, [("low", 5)]),
        ("first", "store", 5, [("mid", 8), ("top", 20)]),
    ],
)
def test_D03_all_best_first_whatever_the_order_and_the_loser_is_named(mode: str, channel: str, points: int, losers: Any) -> None:
    for order in (["low", "mid", "top"], ["top", "mid", "low"], ["mid", "top", "low"]):
        rules = program(earning=earning(*[GROUP[name] for name in order], groups=[{"id": "g", "mode": mode}]))
        step = Member(rules).joined().sale(1000, channel=channel)
        assert 10 + points == step.outcome.earned
        assert losers == [(cut.rule, cut.points) for cut in step.data("POINT_ACCRUAL").cuts]
        assert all(cut.by.startswith("group g: ") for cut in step.data("POINT_ACCRUAL").cuts)
        assert len(losers) == len(step.reply.reasons)  # type: ignore[union-attr]


def test_D03_a_tie_goes_to_the_higher_priority_then_to_the_smaller_id() -> None:
    def winner(*rules: Any) -> str:
        groups = [{"id": "g", "mode": "best"}]
        step = Member(program(earning=earning(*rules, groups=groups))).joined().sale(1000)
        return next(found.rule for found in step.data("POINT_ACCRUAL").awards if found.rule != "base")

    a, b = (rule("check_bonus", name, points=5, group="g") for name in "ab")
    assert "a" == winner(a, b) == winner(b, a)
    assert "b" == winner(a, b | {"priority": 1}) == winner(b | {"priority": 1}, a)


def test_D03_a_rule_that_its_cap_has_emptied_does_not_win_best() -> None:
    rules = program(
        earning=earning(
            rule("check_bonus", "big", points=50, group="g", cap={"points": 50, "per": "day"}),
            rule("check_bonus", "small", points=5, group="g"),
            groups=[{"id": "g", "mode": "best"}],
        )
    )
    member = Member(rules).joined()
    assert [member.sale(1000).outcome.earned for _ in range(2)] == [60, 15]


# ---------------------------------------------------------------- D05: schedule

SEASON = earning(rule("multiplier", percent=200, starts="2026-03-02T00:00:00-05:00", ends="2026-03-03T00:00:00-05:00"))


@pytest.mark.parametrize(
    ("bought", "points"),
    [
        ("2026-03-01T23:59:59-05:00", 10),
        ("2026-03-02T00:00:00-05:00", 20),
        ("2026-03-02T23:59:58-05:00", 20),
        ("2026-03-03T00:00:00-05:00", 10),
    ],
)
def test_D05_a_campaign_judges_by_purchase_time_however_late_the_check_comes(bought: str, points: int) -> None:
    at = datetime.fromisoformat(bought)
    for late in (0, 20, 60 * 24 * 14):
        member = Member(program(earning=SEASON), clock=moment("2026-02-20")).joined()
        assert points == member.sale(1000, at=at, now=after(minutes=late, since=at)).outcome.earned


def test_D05_a_disabled_rule_is_as_if_it_were_not_there() -> None:
    assert earned(earning(rule("multiplier", percent=200, enabled=False)), amount=1000) == 10


# ---------------------------------------------------------------- B10: caps


@pytest.mark.parametrize(
    ("per", "granted"),
    [("check", [40, 40, 40, 40, 40]), ("day", [40, 0, 40, 0, 40]), ("month", [40, 0, 0, 0, 0]), ("balance", [40, 0, 0, 0, 0])],
)
def test_B10_a_cap_over_everything(per: str, granted: list[int]) -> None:
    member = Member(program(earning=earning(caps=[{"points": 40, "per": per}]))).joined()
    steps = [member.sale(10_000, at=after(days)) for days in (0, 0, 1, 1, 2)]
    assert granted == [step.outcome.earned for step in steps]
    for step in steps:
        assert f"cap per {per}" in step.reply.reasons  # type: ignore[union-attr]


def test_B10_the_tightest_cap_cuts_and_a_new_month_has_room_again() -> None:
    member = Member(program(earning=earning(caps=[{"points": 70, "per": "day"}, {"points": 100, "per": "month"}]))).joined()
    days = (0, 1, 2, 30)  # the last one is in April
    steps = [member.sale(10_000, at=after(day)) for day in days]
    assert [step.outcome.earned for step in steps] == [70, 30, 0, 70]
    assert [step.reply.reasons[0] for step in steps] == ["cap per day", "cap per month", "cap per month", "cap per day"]  # type: ignore[union-attr]


@pytest.mark.parametrize(("per", "granted"), [("check", [15, 15, 15, 15]), ("day", [15, 0, 15, 0]), ("month", [15, 0, 0, 0])])
def test_B10_a_rules_own_cap(per: str, granted: list[int]) -> None:
    rules = earning(rule("check_bonus", points=20, cap={"points": 15, "per": per}))
    member = Member(program(earning=rules)).joined()
    steps = [member.sale(1000, at=after(days)) for days in (0, 0, 1, 1)]
    assert [10 + bonus for bonus in granted] == [step.outcome.earned for step in steps]
    cuts = [(cut.by, cut.rule, cut.points) for step in steps for cut in step.data("POINT_ACCRUAL").cuts]
    assert [(f"cap per {per}", "check_bonus", 20 - bonus) for bonus in granted] == cuts


def test_B10_fifty_checks_racing_at_a_cap_get_exactly_the_cap_and_every_cut_is_explained() -> None:
    member = Member(program(earning=earning(caps=[{"points": 333, "per": "day"}]))).joined()
    steps = [member.sale(1234, at=after(minutes=n), now=after(hours=2)) for n in range(50)]
    assert 333 == sum(step.outcome.earned for step in steps) == member.books.available
    for step in steps:
        whole, got = 12, step.outcome.earned
        assert (got < whole) == ("cap per day" in step.reply.reasons)  # type: ignore[union-attr]
        if 0 < got < whole:
            assert [whole - got] == [cut.points for cut in step.data("POINT_ACCRUAL").cuts]


def test_B10_a_return_gives_its_room_back() -> None:
    rules = earning(rule("check_bonus", points=20, cap={"points": 20, "per": "month"}), caps=[{"points": 50, "per": "day"}])
    member = Member(program(earning=rules)).joined()
    assert [member.sale(1000).outcome.earned, member.sale(9000).outcome.earned] == [30, 20]
    member.void("s1")
    assert member.sale(1000).outcome.earned == 30
    member.returns("s3", (1, 500, 500))
    assert member.sale(9000).outcome.earned == 15


def test_B10_a_balance_cap_has_room_again_when_points_were_used() -> None:
    member = Member(program(earning=earning(caps=[{"points": 100, "per": "balance"}]))).joined()
    member.sale(8000)
    member.reserve("R", 60)
    assert member.sale(8000).outcome.earned == 20  # what is reserved is still the member's
    member.confirm("R")
    assert member.sale(8000).outcome.earned == 60


def test_B10_a_capped_rule_gets_no_point_more_by_rounding() -> None:
    rules = earning(rule("multiplier", percent=200, cap={"points": 1, "per": "check"}, where={"skus": ["B"]}))
    lines = [line(30, number, sku="A") for number in range(1, 9)] + [line(40, number, sku="B") for number in range(9, 12)]
    step = Member(program(earning=rules)).joined().sale(lines=lines)
    assert step.outcome.earned == 4
    assert sum(found.points for found in step.data("POINT_ACCRUAL").awards if found.rule == "multiplier") == 1
