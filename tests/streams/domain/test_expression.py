import operator
import random
import re
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.domain.expression import VARIABLES, ExpressionError, compared, compile_expression, sentence

FACTS = {
    "total_minor": 5200,
    "lines": 3,
    "hour": 17,
    "weekday": "sat",
    "day": 29,
    "month": 2,
    "channel": "web",
    "outlet": "441",
    "tier": "Gold",
    "visits": 4,
    "birthday": False,
    "staff": False,
    "currency": "USD",
}


def dollars(minor: int) -> str:
    return f"{minor / 100:.2f}"


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ('total_minor >= 5000 and channel == "web"', True),
        ('total_minor >= 5201 or channel == "store"', False),
        ("9 <= hour < 17", False),
        ("9 <= hour <= 17", True),
        ('weekday in ("sat", "sun")', True),
        ("weekday not in ['sat', 'sun']", False),
        ("day in (29, 30)", True),
        ("not birthday", True),
        ("not (birthday or staff)", True),
        ("total_minor - lines * 1000 > 2000", True),
        ("total_minor + -200 == 5000", True),
        ('tier != "Silver" and visits < 5', True),
        ("5000 < total_minor", True),
        (" \n hour ==\n 17 ", True),
        ("True", True),
        ('outlet == "441" == "441"', True),
        ("1_000 <= total_minor", True),
        ("lines > 0 or total_minor > 0 and staff", True),
        ("(lines > 0 or total_minor > 0) and staff", False),
    ],
)
def test_D01_a_condition_is_worked_out_as_it_reads(text: str, truth: bool) -> None:
    assert compile_expression(text)(FACTS) is truth


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ('total_minor >= "50"', 16, "a number cannot be compared with a text"),
        ("hour.__class__", 5, "'.' is not part of the rule language"),
        ("__import__ == 1", 1, "unknown name '__import__'"),
        ("totl_minor > 1", 1, "unknown name 'totl_minor'; known: total_minor"),
        ("hour", 1, "must be yes or no"),
        ("hour / 2 > 1", 6, "'/' is not part"),
        ("hour ** 2 > 1", 6, "'*' is not part"),
        ("hour > 1.5", 9, "'.' is not part"),
        ("hour(1)", 1, "does not know this"),
        ("hour[1] > 1", 1, "does not know this"),
        ("channel > 'web'", 11, "has no order"),
        ("channel == 'wbe'", 12, "channel is never 'wbe'; it is one of store, web, app, phone"),
        ("weekday in ('sat', 'sunday')", 12, "weekday is never 'sunday'"),
        ("birthday == True", 1, "write it alone or after `not`"),
        ("birthday in (True, False)", 1, "write it alone or after `not`"),
        ("birthday + 1 > 1", 1, "needs a number, this is a yes/no"),
        ("lines and birthday", 1, "`and` needs a yes/no, this is a number"),
        ("not hour", 5, "`not` needs a yes/no"),
        ("-channel == 'web'", 2, "`-` needs a number"),
        ("+hour > 1", 1, "may only be -"),
        ("hour in 5", 9, "`in` needs a list"),
        ("hour in ()", 9, "`in` needs a list"),
        ("hour in (1, 'a')", 13, "nothing but number literals"),
        ("hour in (lines, 2)", 10, "nothing but number literals"),
        ("hour is 1", 9, "only == != < <= > >= and a single `in`"),
        ("1 < hour in (1, 2)", 13, "a list stands only after `in`"),
        ("(1, 2) == hour", 1, "a list stands only after `in`"),
        ("hour > None", 8, "only whole numbers, texts, True and False"),
        ("hour >", 7, "does not read as a condition"),
        ("", 1, "does not read as a condition"),
        ("é > 1", 1, "'é' is not part"),
        ("tier == 'é' and hour > 'é'", 24, "a number cannot be compared with a text"),
        ("  hour > 'x'", 10, "a number cannot be compared with a text"),
        ("tier == 'a\\x41'", 9, "is not part"),
        ("hour > 1000000000001", 8, "at most 1000000000000"),
        ("total_minor * total_minor * total_minor > 1", 1, "may grow too large"),
        ("(" * 21 + "hour" + ")" * 21 + " > 1", 21, "brackets inside each other"),
        ("hour > 1" + " and hour > 1" * 38, 501, "longer than 500"),
        ("hour > 1" + "or 1>1 " * 60, 8, "'1' is not part"),
        ("-" * 150 + "hour > 1", 1, "more than 100 parts"),
        ("[hour for hour in (1, 2)]", 1, "does not know this"),
        ("hour if staff else lines", 1, "does not know this"),
        ("f'{hour}' == tier", 1, "is not part"),
    ],
)
def test_D01_a_mistake_is_named_in_plain_words_with_its_place(text: str, position: int, message: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(message)) as failure:
        compile_expression(text)
    assert failure.value.position == position


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('total_minor >= 5000 and channel == "web"', "the total is at least 50.00 and the channel is web"),
        ("9 <= hour < 12", "the hour is at least 9 and the hour is less than 12"),
        ("not birthday or staff", "it is not the birthday or the member is on the staff"),
        ("lines > 2 and (birthday or hour == 3)", "the number of lines is more than 2 and (it is the birthday or the hour is 3)"),
        ('not tier in ("Gold", "Silver")', "it is not so that the tier is one of Gold, Silver"),
        ('tier not in ("Gold", "Silver")', "the tier is none of Gold, Silver"),
        ("total_minor - 100 > lines * 500", "(the total minus 1.00) is more than (the number of lines times 500)"),
        ("total_minor * 2 > 500", "(the total times 2) is more than 5.00"),
        ("-visits < -3", "minus the number of earlier visits is less than -3"),
    ],
)
def test_D01_a_condition_is_said_in_plain_english(text: str, said: str) -> None:
    assert sentence(text, dollars) == said


def test_D01_the_names_compared_with_are_told() -> None:
    text = 'tier in ("Gold", "Silver") and not ("441" == outlet or hour > 3)'
    assert compared(text) == {("tier", "Gold"), ("tier", "Silver"), ("outlet", "441")}


# ---------------------------------------------------------------- fuzz

_PIECES = [
    *VARIABLES,
    *("and", "or", "not", "in", "is", "if", "else", "for", "lambda", "True", "False", "None", "await", "yield", "import"),
    *("==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "**", "/", "//", "%", "@", "&", "|", "~", ":=", "=", ";", ":", ".", "..."),
    *("(", ")", "[", "]", "{", "}", ",", "'", '"', "\\", "#", "\n", "\t", " ", "\x00", "\ud800", "é", "٣", "０"),
    *("0", "1", "5000", "1_000", "1e9", "0x10", "1.5", "1j", "9" * 30, '"web"', "'sat'", '"""', "b'x'", "f'{hour}'"),
    *(".__class__", "__import__('os')", "().__class__.__bases__", "exec", "eval", "_", "self", "().mro()"),
]
_WELL_FORMED = [
    "hour",
    "total_minor",
    "birthday",
    "weekday",
    "==",
    "<",
    "and",
    "or",
    "not",
    "in",
    "(",
    ")",
    ",",
    "1",
    '"sat"',
    "+",
    "*",
    "-",
]


def _compiles(text: str) -> bool:
    try:
        condition = compile_expression(text)
    except ExpressionError:
        return False
    assert type(condition(FACTS)) is bool
    assert sentence(text)
    return True


def test_D01_a_hundred_thousand_random_texts_leak_nothing() -> None:
    seeded, compiled, started = random.Random(20170101), 0, time.monotonic()
    for n in range(100_000):
        pieces = _WELL_FORMED if n % 2 else _PIECES
        text = seeded.choice(("", " ")).join(seeded.choices(pieces, k=seeded.randint(1, 12)))
        compiled += _compiles(text)
    assert compiled > 100, "the generator must reach conditions that compile"
    assert time.monotonic() - started < 60


@given(st.text(max_size=600))
def test_D01_any_text_is_a_condition_or_a_named_mistake(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _compiles(text)


_NUMBERS = st.recursive(
    st.sampled_from([("lines", 3), ("hour", 17), ("7", 7), ("-2", -2)]),
    lambda inner: st.builds(
        lambda a, op, b: (f"({a[0]} {op} {b[0]})", {"+": operator.add, "-": operator.sub, "*": operator.mul}[op](a[1], b[1])),
        inner,
        st.sampled_from("+-*"),
        inner,
    ),
    max_leaves=2,
)
_COMPARISONS = st.builds(
    lambda a, op, b: (f"{a[0]} {op} {b[0]}", {"<": operator.lt, ">=": operator.ge, "==": operator.eq}[op](a[1], b[1])),
    _NUMBERS,
    st.sampled_from(["<", ">=", "=="]),
    _NUMBERS,
)
_CONDITIONS = st.recursive(
    _COMPARISONS | st.sampled_from([("birthday", False), ('weekday == "sat"', True), ("not staff", True)]),
    lambda inner: (
        st.builds(lambda a, b: (f"({a[0]}) and ({b[0]})", a[1] and b[1]), inner, inner)
        | st.builds(lambda a, b: (f"({a[0]}) or ({b[0]})", a[1] or b[1]), inner, inner)
        | st.builds(lambda a: (f"not ({a[0]})", not a[1]), inner)
    ),
    max_leaves=4,
)


@given(_CONDITIONS)
def test_D01_a_condition_means_what_its_parts_mean(condition: tuple[str, bool]) -> None:
    text, truth = condition
    if text.count("*") > 2:
        return  # a product that may grow too large is refused
    assert compile_expression(text)(FACTS) is truth
