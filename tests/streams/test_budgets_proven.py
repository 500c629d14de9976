"""`loy verify` on caps over all members (B10): nothing is granted beyond them, and whoever was asked has answered."""

from typing import Any

import msgspec
import pytest

from schemas.codec import encode
from streams.domain import budgets
from streams.proof.budgets import Budgets
from streams.proof.figures import Law
from streams.proof.promises import CommandHead
from tests.builders import START, earning, program, rule
from tests.town import Town

NOW = int(START.timestamp())


def heads() -> list[CommandHead]:
    """What three members' sales, a grant for each and a void say: a cap of 40, of which the void gives 25 back."""
    cap = {"points": 40, "per": "day", "over": "program"}
    town = Town(program(earning=earning(rule("check_bonus", "bonus", points=25) | {"cap": cap})), members=3)
    for number in (1, 2):
        town.take(town.member(number).sale_command(1000, id=f"c-{number}"), NOW)
        town.deliver()
    town.take(town.member(1).void_command("c-1"), NOW)
    town.deliver()
    town.take(town.member(3).sale_command(1000, id="c-3"), NOW)
    town.deliver()
    return [msgspec.json.decode(encode(command), type=CommandHead) for command, _ in town.done]


def laws(commands: list[CommandHead]) -> list[Law]:
    bench = Budgets()
    for command in commands:
        bench.command(command)
    return [violation.law for _, violation in bench.unsettled()]


@pytest.mark.parametrize("order", [1, -1])
def test_B10_what_was_granted_is_proven_in_whatever_order_the_partitions_come(order: int) -> None:
    assert laws(heads()[::order]) == []
    assert laws(heads()[::order] * 2) == []


def changed(commands: list[CommandHead], kind: str, **fields: Any) -> list[CommandHead]:
    first = next(one for one in commands if one.type == kind)
    return [msgspec.structs.replace(one, **fields) if one is first else one for one in commands]


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (lambda all_: changed(all_, "grant", points=41), Law.OVERRUN),
        (lambda all_: [one for one in all_ if one.type != "return_budget"], Law.OVERRUN),
        (lambda all_: [one for one in all_ if one.type != "grant"], Law.UNGRANTED),
        (lambda all_: changed(all_, "grant", check_id="another"), Law.UNGRANTED),
    ],
)
def test_B10_an_overrun_and_a_lost_answer_are_found(broken: Any, law: Law) -> None:
    assert law in laws(broken(heads()))


def test_B10_the_prefix_of_budgets_is_that_of_the_contract() -> None:
    assert budgets.key_of("main", "bonus", "day", START.toordinal()) == "budget:main/bonus/2026-03-02"
