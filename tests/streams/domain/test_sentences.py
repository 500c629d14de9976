import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.points import Wallet
from schemas.program import Program
from streams.domain.expression import ExpressionError
from streams.domain.sentences import explain
from streams.program_files import SHIPPED, load_program

GROCER = load_program(SHIPPED / "grocer.yaml")
GROCER = GROCER.model_copy(update={"wallets": (*GROCER.wallets, Wallet(id="new", title="New"))})  # so that there is a choice
Steps = tuple[str | int, ...]

# What a field of each type may be changed into: whatever the model takes is a change that must be said.
_INSTEAD: dict[type, list[Any]] = {
    bool: [True, False],
    int: [1, 2, 3, 101, 102, 40, 41],
    float: [1.5, 2.5],
    str: [
        *("store", "web", "mon", "sun", "cash", "credit", "check", "day", "month", "balance", "all", "best", "first", "floor"),
        *(
            "half_up",
            "half_down",
            "allow",
            "hold_refund",
            "points",
            "spend",
            "visits",
            "quarter",
            "year",
            "end_of_period",
            "skip",
        ),
        *("end_of_next_period", "sequential", "one_down", "earned", "keep", "revoke", "checks", "outlets", "accept", "refuse"),
        *(
            "Gold",
            "Silver",
            "tier-benefit",
            "suppliers",
            "new",
            "EUR",
            "JPY",
            "Europe/Berlin",
            "2017-01-31T00:00:01+01:00",
            "06:30:30",
        ),
        *("lines > 2", "visits == 3", "main", "roses", "program", "member"),
    ],
}
_FOR_NOTHING = [
    *(False, 1, 2, "lines > 2", "suppliers", "2017-01-31T00:00:00Z", {"points": 5, "per": "day"}, {"percent": 50}),
    *([[name] for name in ("new", "store", "mon", "Gold", "cash")]),
    *([{"start": "01:00:00", "end": "00:30:00"}], [{"metric": "visits", "at_least": 5}], [{"id": "new"}]),
    *([{"points": 5, "per": "day"}], [{"id": "new", "mode": "all"}], [{"id": "new", "kind": "own_card", "weight": 1}]),
]


def places(data: Any, steps: Steps = ()) -> Iterator[tuple[Steps, Any]]:
    """Every field and every entry of a list."""
    if steps:
        yield steps, data
    for step, inner in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from places(inner, (*steps, step))


def changed(program: Program, steps: Steps, value: Any) -> Program | None:
    """The program with another value at one place; None when it would be no program."""
    data = json.loads(program.model_dump_json())
    inner = data
    for step in steps[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[steps[-1]]
    else:
        inner[steps[-1]] = value
    try:
        other = Program.model_validate_json(json.dumps(data))
        explain(other)
    except (ValidationError, ExpressionError):
        return None
    return None if other == program else other


def variants(program: Program, steps: Steps, value: Any) -> Iterator[Program]:
    instead = [*_INSTEAD.get(type(value), []), ...]
    if value is None or value == []:
        instead += _FOR_NOTHING
    elif not isinstance(value, dict | list):
        instead.append(None)
    for other in instead:
        if (program_ := changed(program, steps, other)) is not None:
            yield program_


def one_of_each(program: Program) -> dict[str, tuple[Steps, Any]]:
    """The first place of every sort: the same field of two rules of one kind is looked at once, empty and filled."""
    data, found = json.loads(program.model_dump_json()), {}
    for steps, value in places(data):
        names, inner = [], data
        for step in steps:
            inner = inner[step]
            kind = inner.get("kind") if isinstance(inner, dict) else None
            names.append(kind or ("*" if isinstance(step, int) else step))
        sort = ".".join(names) + (" (none)" if value in (None, []) else "")
        found.setdefault(sort, (steps, value))
    return found


PLACES = one_of_each(GROCER)


@pytest.mark.parametrize(("steps", "value"), PLACES.values(), ids=PLACES)
def test_D01_whatever_is_changed_in_a_program_is_said(steps: Steps, value: Any) -> None:
    said, count = explain(GROCER), 0
    for other in islice(variants(GROCER, steps, value), 6):
        count += 1
        assert explain(other) != said
    # Kinds and ids that others name stand for themselves, as do wallets that rules compete for, and whom a cap per check is over;
    # a whole part is changed field by field.
    exempt = steps[-1] in ("kind", "id", "wallet", "over") or isinstance(value, dict | list)
    assert count or exempt, "the test must know another value for this field"


def with_settings(**settings: Any) -> Program:
    head = {
        "program": "p",
        "version": 1,
        "title": "T",
        "effective_from": "2017-01-01T00:00:00Z",
        "time_zone": "UTC",
        "currency": "USD",
    }
    return Program.model_validate_json(json.dumps(head | settings))


def said_of(**settings: Any) -> str:
    return "\n".join(explain(with_settings(**settings)))


LEVELS = [
    {"name": "A"},
    {"name": "B", "any_of": [{"metric": "spend", "at_least": 100000}], "all_of": [{"metric": "points", "at_least": 1}]},
]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"points": {"expiry": {"kind": "never"}}}, "Points never expire."),
        (
            {"points": {"expiry": {"kind": "end_of_month", "months": 1}}},
            "at the end of the month 1 month after the month of the purchase.",
        ),
        (
            {"points": {"expiry": {"kind": "end_of_year", "years": 2}}},
            "at the end of the year 2 years after the year of the purchase.",
        ),
        ({"points": {"expiry": {"kind": "inactivity", "days": 1}}}, "All points expire 1 day after the last purchase."),
        ({"tiers": {"levels": LEVELS}}, "- B: 1,000.00 USD paid; and 1 point earned."),
        (
            {"tiers": {"levels": LEVELS, "window": {"kind": "rolling", "days": 90}}},
            "A tier is kept for 90 days; who has not earned it",
        ),
        ({"tiers": {"levels": LEVELS, "window": {"kind": "anniversary"}}}, "within a year counted from the day of joining"),
        ({"tiers": {"levels": LEVELS, "window": {"kind": "lifetime"}}}, "Counted since joining. A tier is reached at once."),
        (
            {"tiers": {"levels": LEVELS, "close": {"percent": 80, "gap": 5000}}},
            "at 80 % of what it asks or when 5,000 or less is missing",
        ),
        ({"tiers": {"levels": LEVELS, "close": {"gap": 5000}}}, "near: when 5,000 or less is missing."),
        ({}, "There is one tier, Member: everybody's."),
        ({"currency": "JPY"}, "1 point for every 100 JPY that"),
        ({"currency": "BHD"}, "1 point for every 0.100 BHD that"),
        ({"outlets": [{"id": f"o{n}"} for n in range(60)]}, "And 10 more."),
        ({"earning": {"groups": [{"id": "g", "mode": "best"}]}}, "g: of no rule yet, the one that gives most points counts"),
    ],
)
def test_D01_every_kind_has_its_sentence(settings: dict[str, Any], sentence: str) -> None:
    assert sentence in said_of(**settings)


def rule_said(**rule: Any) -> str:
    return said_of(earning={"rules": [{"id": "r", **rule}]}).split("Rules\n")[1].splitlines()[0]


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"kind": "multiplier", "percent": 200}, "- r: 200 % of the base rate for anything that may earn."),
        ({"kind": "nth_visit", "n": 22, "points": 5}, "- r: 5 points on every 22nd visit (a day is one visit)."),
        ({"kind": "nth_visit", "n": 11, "points": 5}, "- r: 5 points on every 11th visit (a day is one visit)."),
        (
            {"kind": "check_bonus", "points": 1, "where": {"birthday_within_days": 0, "channels": ["web", "phone"]}},
            "- r: 1 point once for a check, only bought on the web or by phone and on the birthday.",
        ),
        (
            {"kind": "line_bonus", "points": 2, "where": {"brands": ["A"], "categories": ["B/C", "D"], "skus": ["1"]}},
            "- r: 2 points for every whole piece of goods of brand A in B/C or D with SKU 1.",
        ),
        (
            {"kind": "threshold", "spend_minor": 1000, "points": 5, "where": {"when": "total_minor < 5000 and 8 <= hour < 12"}},
            "- r: 5 points when 10.00 USD or more is paid for anything that may earn, only when the total is less than 50.00 USD and the hour is at least 8 and the hour is less than 12.",
        ),
    ],
)
def test_D01_a_rule_reads_as_a_sentence(rule: dict[str, Any], sentence: str) -> None:
    assert rule_said(**rule) == sentence


@pytest.mark.parametrize("name", ["first", "grocer", "staff"])
def test_D01_every_line_is_a_heading_a_sentence_or_a_gap(name: str) -> None:
    lines = explain(load_program(SHIPPED / f"{name}.yaml"))
    assert all(line == "" or not line.startswith("- ") or line.endswith(".") for line in lines)
    assert explain(load_program(SHIPPED / f"{name}.yaml")) == lines
