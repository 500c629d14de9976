"""A program compiled: each condition as a function, in an order that the file does not decide."""

from datetime import datetime

import pytest

from schemas.checks import Line, Sale
from streams.domain.expression import ExpressionError
from streams.domain.plan import Circumstances, CompiledRule, Plan, compile_program
from tests.builders import Member, after, earning, level, line, program, rule, tiers


def sale(**parts: object) -> Sale:
    return Member().sale_command(1000, **parts).check  # type: ignore[union-attr,return-value]


def about(**parts: object) -> Circumstances:
    plain = {"tier": "Member", "birthday_days": None, "visits": 0, "total_minor": 1000, "staff": False}
    return Circumstances(**(plain | parts))  # type: ignore[arg-type]


def compiled(**parts: object) -> CompiledRule:
    (only,) = Plan(program(earning=earning(rule("check_bonus", points=1, **parts)))).rules
    return only


def applies(where: dict[str, object], check: Sale, **facts: object) -> bool:
    return compiled(where=where).applies(check, about(**facts))


@pytest.mark.parametrize(
    ("where", "bought", "matches"),
    [
        ({"skus": ["A", "B"]}, {"sku": "B"}, True),
        ({"skus": ["A", "B"]}, {"sku": "b"}, False),
        ({"categories": ["food"]}, {"category": "food"}, True),
        ({"categories": ["food"]}, {"category": "food/dairy/milk"}, True),
        ({"categories": ["food/dairy"]}, {"category": "food"}, False),
        ({"categories": ["food"]}, {"category": "foodstuff/pets"}, False),
        ({"categories": ["food"]}, {}, False),
        ({"brands": ["Own"]}, {"brand": "Own"}, True),
        ({"brands": ["Own"]}, {}, False),
        ({"brands": ["Own"], "categories": ["food"]}, {"brand": "Own", "category": "drinks"}, False),
        ({"brands": ["Own"], "categories": ["food"]}, {"brand": "Own", "category": "food/x"}, True),
        ({}, {}, True),
    ],
)
def test_D02_lines_by_sku_category_tree_and_brand(where: dict[str, object], bought: dict[str, str], *, matches: bool) -> None:
    assert matches == compiled(where=where).matches(Line.model_validate(line(100, **bought)))


@pytest.mark.parametrize(
    ("clock", "start", "end", "matches"),
    [
        ("06:59:59", "07:00", "10:00", False),
        ("07:00:00", "07:00", "10:00", True),
        ("09:59:59", "07:00", "10:00", True),
        ("10:00:00", "07:00", "10:00", False),
        ("21:59:59", "22:00", "02:00", False),
        ("22:00:00", "22:00", "02:00", True),
        ("23:59:59", "22:00", "02:00", True),
        ("00:00:00", "22:00", "02:00", True),
        ("01:59:59", "22:00", "02:00", True),
        ("02:00:00", "22:00", "02:00", False),
    ],
)
def test_D02_day_parts_hold_the_start_not_the_end_and_run_over_midnight(
    clock: str, start: str, end: str, *, matches: bool
) -> None:
    check = sale(at=datetime.fromisoformat(f"2026-03-02T{clock}-05:00"))
    assert matches == applies({"day_parts": [{"start": start, "end": end}]}, check)


def test_D02_weekday_and_hour_are_the_tills_not_utc() -> None:
    late_on_monday = sale(at=datetime.fromisoformat("2026-03-02T22:30:00-05:00"))  # Tuesday in UTC
    assert applies({"weekdays": ["mon"]}, late_on_monday)
    assert not applies({"weekdays": ["tue"]}, late_on_monday)
    assert applies({"when": 'hour == 22 and weekday == "mon" and day == 2 and month == 3'}, late_on_monday)


@pytest.mark.parametrize(
    ("where", "facts", "matches"),
    [
        ({"outlets": ["o1"]}, {}, True),
        ({"outlets": ["o2"]}, {}, False),
        ({"channels": ["web", "app"]}, {}, False),
        ({"channels": ["store"]}, {}, True),
        ({"birthday_within_days": 0}, {"birthday_days": 0}, True),
        ({"birthday_within_days": 3}, {"birthday_days": 4}, False),
        ({"birthday_within_days": 3}, {}, False),
        ({"when": "total_minor >= 1000 and lines == 1"}, {}, True),
        ({"when": "visits > 2"}, {"visits": 2}, False),
        ({"when": 'tier == "Gold" or staff'}, {"staff": True}, True),
        ({"when": "birthday"}, {"birthday_days": 0}, True),
        ({"when": 'channel == "store" and outlet == "o1" and currency == "USD"'}, {}, True),
        ({"outlets": ["o1"], "channels": ["web"]}, {}, False),
    ],
)
def test_D02_checks_by_place_channel_person_and_condition(
    where: dict[str, object], facts: dict[str, object], *, matches: bool
) -> None:
    assert matches == applies(where, sale(), **facts)


def test_C07_a_rule_for_a_tier_asks_for_the_tier_held() -> None:
    rules = program(
        earning=earning(rule("check_bonus", points=1, where={"tiers": ["Gold"]})), tiers=tiers(level("Gold", points=10))
    )
    (only,) = Plan(rules).rules
    assert only.applies(sale(), about(tier="Gold"))
    assert not only.applies(sale(), about(tier="Member"))


def test_D05_a_rule_is_in_force_from_its_start_up_to_not_including_its_end() -> None:
    only = compiled(starts="2026-03-02T00:00:00-05:00", ends="2026-03-09T00:00:00-05:00")
    start, end = (int(datetime.fromisoformat(f"2026-03-0{day}T00:00:00-05:00").timestamp()) for day in (2, 9))
    assert [only.in_force(at) for at in (start - 1, start, end - 1, end)] == [False, True, True, False]
    assert Plan(program(earning=earning(rule("check_bonus", points=1, enabled=False)))).rules == []


def test_D03_precedence_is_priority_then_id_never_the_order_in_the_file() -> None:
    rules = [rule("check_bonus", name, points=1, priority=p) for name, p in (("b", 0), ("a", 0), ("z", 5), ("m", -1))]
    expected = ["z", "a", "b", "m"]
    for order in (rules, rules[::-1]):
        assert expected == [found.rule.id for found in Plan(program(earning=earning(*order))).rules]


def test_D01_a_condition_that_is_none_is_refused_when_the_program_is_compiled() -> None:
    with pytest.raises(ExpressionError):
        Plan(program(earning=earning(rule("check_bonus", points=1, where={"when": "__import__('os')"}))))


def test_D01_a_version_is_compiled_once() -> None:
    assert compile_program(program()) is compile_program(program())
    assert compile_program(program()) is not compile_program(program(version=2))


def test_A09_without_exclusions_nothing_is_excluded_and_points_never_earn() -> None:
    plain, strict = (
        Plan(program()),
        Plan(program(earning=earning(exclude={"skus": ["X"], "categories": ["tobacco"], "tenders": ["voucher"]}))),
    )
    assert not plain.goods(Line.model_validate(line(1, sku="X"))).excluded
    assert plain.excluded_tenders == {"points"}
    assert strict.excluded_tenders == {"points", "voucher"}
    excluded = [
        bought
        for bought in ({"sku": "X"}, {"sku": "A"}, {"category": "tobacco/cigars"})
        if strict.goods(Line.model_validate(line(1, **bought))).excluded
    ]
    assert excluded == [{"sku": "X"}, {"category": "tobacco/cigars"}]


def test_F05_only_outlets_with_a_place_are_placed() -> None:
    plan = Plan(program(outlets=[{"id": "o1", "latitude": 1.0, "longitude": 2.0}, {"id": "o2"}]))
    assert plan.places == {"o1": (1.0, 2.0)}
    assert plan.outlets == {"o1", "o2"}


def test_B09_rewards_stand_cheapest_first() -> None:
    rewards = [
        {"id": name, "title": name, "points": points, "value_minor": 1} for name, points in (("b", 5), ("c", 10), ("a", 5))
    ]
    assert [reward.id for reward in Plan(program(redemption={"rewards": rewards})).rewards] == ["a", "b", "c"]


def test_D02_goods_are_judged_once_a_kind_and_the_same_again() -> None:
    plan = Plan(program(earning=earning(rule("line_bonus", points=1, where={"skus": ["A"]}), rule("check_bonus", points=1))))
    found = [plan.goods(Line.model_validate(line(amount, sku=sku))) for amount, sku in ((1, "A"), (2, "A"), (3, "B"))]
    assert found[0] is found[1]
    assert [goods.rules for goods in found] == [{"line_bonus"}, {"line_bonus"}, set()]


def test_D05_the_hour_of_a_sale_is_not_moved_by_its_arrival() -> None:
    assert applies({"when": "hour == 10"}, sale(at=after(0)))
