"""The rule language of `where.when` (D01), like `total_minor >= 5000 and channel == "web"`. Python never evaluates it.

Law: Python's parser reads the text and nothing more. Every token and every node is on a list of ours, every type is checked
before a check is seen, and length, size, depth and numbers are bounded: a condition that compiles cannot fail or run away.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, get_args

from schemas.base import Channel
from schemas.earning import Weekday

Value = int | str | bool
Facts = Mapping[str, Value]
Condition = Callable[[Facts], bool]
Money = Callable[[int], str]
Type = Literal["number", "text", "yes/no"]

LENGTH_MAX = 500
NODES_MAX = 100
DEPTH_MAX = 20
LITERAL_MAX = 10**12
FACT_MAX = 10**15
NUMBER_MAX = 10**40


class ExpressionError(ValueError):
    """A condition that cannot be taken, in plain words. `position` counts characters from 1."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} (at character {position})")
        self.position = position


@dataclass(frozen=True, slots=True)
class Variable:
    """A name a condition may use. `denied` is how a yes/no is said when it is not so; `values` lists all it can be."""

    type: Type
    meaning: str
    words: str
    denied: str = ""
    values: tuple[str, ...] = ()


VARIABLES: dict[str, Variable] = {
    "total_minor": Variable("number", "what was really paid and may earn, in minor units", "the total"),
    "lines": Variable("number", "how many lines the check has", "the number of lines"),
    "hour": Variable("number", "the hour on the till's clock, 0 to 23", "the hour"),
    "weekday": Variable("text", "the day on the till's clock, mon to sun", "the weekday", values=get_args(Weekday)),
    "day": Variable("number", "the day of the month on the till's clock, 1 to 31", "the day of the month"),
    "month": Variable("number", "the month on the till's clock, 1 to 12", "the month"),
    "channel": Variable("text", "where it was bought", "the channel", values=get_args(Channel)),
    "outlet": Variable("text", "the outlet's id", "the outlet"),
    "tier": Variable("text", "the tier held at purchase time", "the tier"),
    "visits": Variable("number", "the member's visits before this one", "the number of earlier visits"),
    "birthday": Variable("yes/no", "whether it is the member's birthday", "it is the birthday", "it is not the birthday"),
    "staff": Variable(
        "yes/no", "whether the member is on the staff", "the member is on the staff", "the member is not on the staff"
    ),
    "currency": Variable("text", "the currency's ISO 4217 code", "the currency"),
}


def compile_expression(text: str) -> Condition:
    """The condition as a function of facts that hold every name in VARIABLES. Raises ExpressionError."""
    return _condition(text).run  # type: ignore[return-value]  # its type was checked to be yes/no


def sentence(text: str, money: Money = str) -> str:
    """The condition in plain English; `money` prints minor units. Raises ExpressionError."""
    return _condition(text).say(money, False)  # noqa: FBT003


def compared(text: str) -> frozenset[tuple[str, str]]:
    """Every text that a variable is compared with, as (variable, text): to find names that do not exist.

    Raises ExpressionError.
    """
    return _condition(text).compared


# ---------------------------------------------------------------- reading

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]+)
      | (?P<open>[(\[]) | (?P<close>[)\]])
      | (?P<number>[0-9][0-9_]*(?!\w))
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?![\w"']))
      | (?P<text>"[^"\\\x00-\x1f\ud800-\udfff]*"(?!") | '[^'\\\x00-\x1f\ud800-\udfff]*'(?!'))
      | (?P<sign>==|!=|<=|>=|<|>|\+|-|\*(?!\*)|,)""",
    re.VERBOSE | re.ASCII,
)


def _checked(text: str) -> str:
    """The same characters on one line, when every token is of the language and brackets are not too deep."""
    if len(text) > LENGTH_MAX:
        raise ExpressionError(f"longer than {LENGTH_MAX} characters", LENGTH_MAX + 1)
    position, depth, kept = 0, 0, []
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise ExpressionError(f"{text[position]!r} is not part of the rule language", position + 1)
        depth += (token.lastgroup == "open") - (token.lastgroup == "close")
        if depth > DEPTH_MAX:
            raise ExpressionError(f"more than {DEPTH_MAX} brackets inside each other", position + 1)
        kept.append(" " * len(token[0]) if token.lastgroup == "blank" else token[0])
        position = token.end()
    return "".join(kept)


def _parsed(text: str) -> ast.expr:
    line = _checked(text).rstrip()
    body = line.lstrip()
    try:
        tree = ast.parse(body, mode="eval")
    except SyntaxError as failure:
        # Python says 0 when the text ends too soon.
        position = len(line) - len(body) + failure.offset if failure.offset else len(line) + 1
        raise ExpressionError("this does not read as a condition", position) from None
    except (ValueError, MemoryError, RecursionError):
        raise ExpressionError("this does not read as a condition", 1) from None
    if sum(isinstance(node, ast.expr) for node in ast.walk(tree)) > NODES_MAX:
        raise ExpressionError(f"more than {NODES_MAX} parts", 1)
    return tree.body


# ---------------------------------------------------------------- meaning


@dataclass(frozen=True, slots=True)
class _Term:
    """A checked part: its type, how to work it out, how to say it, and how large it can grow."""

    type: Type
    run: Callable[[Facts], Value]
    say: Callable[[Money, bool], str]
    """Said with numbers as plain figures, or as money."""
    bound: int = 0
    money: bool = False
    literal: Value | None = None
    name: str = ""
    joins: str = ""
    """The bare `and`, `or` or `not` it is said with: among others it needs brackets."""
    compared: frozenset[tuple[str, str]] = frozenset()


@lru_cache(maxsize=4096)
def _condition(text: str) -> _Term:
    try:
        tree = _parsed(text)
        term = _term(tree)
    except _Mistake as mistake:
        raise ExpressionError(mistake.message, _position(text, mistake.node)) from None
    if term.type != "yes/no":
        raise ExpressionError(f"a condition must be yes or no, this is a {term.type}", 1)
    return term


class _Mistake(Exception):  # noqa: N818  # becomes an ExpressionError as soon as the text is at hand
    def __init__(self, message: str, node: ast.AST) -> None:
        super().__init__(message)
        self.message = message
        self.node = node


def _position(text: str, node: ast.AST) -> int:
    """Python counts UTF-8 bytes from the first character that is not blank; people count characters."""
    body = text.lstrip(" \t\r\n")
    before = body.encode()[: getattr(node, "col_offset", 0)].decode(errors="ignore")
    return len(text) - len(body) + len(before) + 1


def _term(node: ast.expr) -> _Term:
    reader = _READERS.get(type(node))
    if reader is None:
        raise _Mistake("the rule language does not know this", node)
    return reader(node)


def _literal(node: ast.Constant) -> _Term:
    value = node.value
    if isinstance(value, bool):
        return _Term("yes/no", lambda _: value, lambda *_: "always" if value else "never", literal=value)
    if isinstance(value, int):
        if value > LITERAL_MAX:
            raise _Mistake(f"a number may be at most {LITERAL_MAX}", node)
        return _Term("number", lambda _: value, lambda m, as_money: m(value) if as_money else str(value), value, literal=value)
    if isinstance(value, str):
        return _Term("text", lambda _: value, lambda *_: value or '""', literal=value)
    raise _Mistake("only whole numbers, texts, True and False can be written", node)


def _variable(node: ast.Name) -> _Term:
    name = node.id
    variable = VARIABLES.get(name)
    if variable is None:
        raise _Mistake(f"unknown name {name!r}; known: {', '.join(VARIABLES)}", node)
    bound = FACT_MAX if variable.type == "number" else 0
    return _Term(
        variable.type, lambda facts: facts[name], lambda *_: variable.words, bound, money=name == "total_minor", name=name
    )


def _need(term: _Term, wanted: Type, node: ast.AST, what: str) -> None:
    if term.type != wanted:
        raise _Mistake(f"{what} needs a {wanted}, this is a {term.type}", node)


def _joined(node: ast.BoolOp) -> _Term:
    terms = [_term(part) for part in node.values]
    word = "and" if isinstance(node.op, ast.And) else "or"
    for term, part in zip(terms, node.values, strict=True):
        _need(term, "yes/no", part, f"`{word}`")
    runs, decides = [term.run for term in terms], word == "or"

    def run(facts: Facts) -> bool:
        # A loop: this is on the way of every check, and all() over a generator takes twice the time.
        for one in runs:
            if one(facts) is decides:
                return decides
        return not decides

    def say(money: Money, _: bool) -> str:  # noqa: FBT001
        return f" {word} ".join(_bracketed(term, money, word) for term in terms)

    return _Term("yes/no", run, say, joins=word, compared=_all_compared(terms))


def _bracketed(term: _Term, money: Money, word: str) -> str:
    said = term.say(money, False)  # noqa: FBT003
    return f"({said})" if term.joins not in ("", word) else said


def _all_compared(terms: list[_Term]) -> frozenset[tuple[str, str]]:
    return frozenset().union(*(term.compared for term in terms))


def _unary(node: ast.UnaryOp) -> _Term:
    if isinstance(node.op, ast.Not):
        return _denied(node)
    if isinstance(node.op, ast.USub):
        return _negative(node)
    raise _Mistake("a sign before a number may only be -", node)


def _denied(node: ast.UnaryOp) -> _Term:
    term = _term(node.operand)
    _need(term, "yes/no", node.operand, "`not`")
    run = term.run

    def say(money: Money, _: bool) -> str:  # noqa: FBT001
        denied = VARIABLES[term.name].denied if term.name else ""
        return denied or f"it is not so that {_bracketed(term, money, 'not')}"

    return _Term("yes/no", lambda facts: not run(facts), say, joins="" if term.name else "not", compared=term.compared)


def _negative(node: ast.UnaryOp) -> _Term:
    term = _term(node.operand)
    _need(term, "number", node.operand, "`-`")
    run = term.run
    literal = -term.literal if isinstance(term.literal, int) else None
    return _Term(
        "number",
        lambda facts: -run(facts),  # type: ignore[operator]  # a number, checked above
        lambda money, as_money: f"{'-' if literal is not None else 'minus '}{term.say(money, as_money)}",
        term.bound,
        term.money,
        literal,
    )


_SUMS: dict[type[ast.operator], tuple[Callable[[int, int], int], str]] = {
    ast.Add: (operator.add, "plus"),
    ast.Sub: (operator.sub, "minus"),
    ast.Mult: (operator.mul, "times"),
}


def _sum(node: ast.BinOp) -> _Term:
    if type(node.op) not in _SUMS:
        raise _Mistake("only + - * can be worked out", node)
    work, word = _SUMS[type(node.op)]
    left, right = _term(node.left), _term(node.right)
    _need(left, "number", node.left, f"`{word}`")
    _need(right, "number", node.right, f"`{word}`")
    bound = left.bound * right.bound if word == "times" else left.bound + right.bound
    if bound > NUMBER_MAX:
        raise _Mistake("this may grow too large", node)
    a, b = left.run, right.run

    def say(money: Money, as_money: bool) -> str:  # noqa: FBT001
        # In a product only the side that is money is said as money.
        sides = [side.say(money, as_money and (word != "times" or side.money)) for side in (left, right)]
        return f"({f' {word} '.join(sides)})"

    return _Term("number", lambda facts: work(a(facts), b(facts)), say, bound, left.money or right.money)  # type: ignore[arg-type]


_ORDERS: dict[type[ast.cmpop], tuple[Callable[[Value, Value], bool], str, str]] = {
    # The last is how it is said with the sides exchanged.
    ast.GtE: (operator.ge, "is at least", "is at most"),
    ast.Gt: (operator.gt, "is more than", "is less than"),
    ast.LtE: (operator.le, "is at most", "is at least"),
    ast.Lt: (operator.lt, "is less than", "is more than"),
    ast.Eq: (operator.eq, "is", "is"),
    ast.NotEq: (operator.ne, "is not", "is not"),
}


def _comparison(node: ast.Compare) -> _Term:
    if len(node.ops) == 1 and isinstance(node.ops[0], ast.In | ast.NotIn):
        return _membership(node)
    sides = [node.left, *node.comparators]
    pairs = [_compare(a, op, b) for (a, b), op in zip(pairwise(sides), node.ops, strict=True)]
    if len(pairs) == 1:
        return pairs[0]
    runs = [pair.run for pair in pairs]
    return _Term(
        "yes/no",
        lambda facts: all(run(facts) for run in runs),
        lambda money, _: " and ".join(pair.say(money, False) for pair in pairs),  # noqa: FBT003
        joins="and",
        compared=_all_compared(pairs),
    )


def _compare(left_node: ast.expr, op: ast.cmpop, right_node: ast.expr) -> _Term:
    left, right = _term(left_node), _term(right_node)
    if type(op) not in _ORDERS:
        raise _Mistake("only == != < <= > >= and a single `in` compare", right_node)
    if left.type != right.type:
        raise _Mistake(f"a {left.type} cannot be compared with a {right.type}", right_node)
    if left.type == "yes/no":
        raise _Mistake("a yes/no is not compared: write it alone or after `not`", left_node)
    if left.type != "number" and not isinstance(op, ast.Eq | ast.NotEq):
        raise _Mistake(f"a {left.type} has no order: only == and != compare it", right_node)
    work, word, exchanged = _ORDERS[type(op)]
    a, b = left.run, right.run
    if left.literal is not None and right.literal is None:
        said: tuple[_Term, str, _Term] = (right, exchanged, left)
    else:
        said = (left, word, right)

    def say(money: Money, _: bool) -> str:  # noqa: FBT001
        first, verb, second = said
        as_money = left.money or right.money
        return f"{first.say(money, as_money)} {verb} {second.say(money, as_money)}"

    texts = frozenset(_named(said[0], [said[2]], right_node))
    return _Term("yes/no", lambda facts: work(a(facts), b(facts)), say, compared=texts | _all_compared([left, right]))


def _membership(node: ast.Compare) -> _Term:
    left, wanted = _term(node.left), node.comparators[0]
    if not isinstance(wanted, ast.Tuple | ast.List) or not wanted.elts:
        raise _Mistake('`in` needs a list, like ("web", "app")', wanted)
    if left.type == "yes/no":
        raise _Mistake("a yes/no is not compared: write it alone or after `not`", node.left)
    items = [_term(item) for item in wanted.elts]
    for item, part in zip(items, wanted.elts, strict=True):
        if item.literal is None or item.type != left.type:
            raise _Mistake(f"the list must hold nothing but {left.type} literals", part)
    values, absent, run = frozenset(item.run({}) for item in items), isinstance(node.ops[0], ast.NotIn), left.run

    def say(money: Money, _: bool) -> str:  # noqa: FBT001
        word = "is none of" if absent else "is one of"
        return f"{left.say(money, left.money)} {word} {', '.join(item.say(money, left.money) for item in items)}"

    texts = frozenset(_named(left, items, wanted))
    return _Term("yes/no", lambda facts: (run(facts) in values) is not absent, say, compared=texts | left.compared)


def _named(left: _Term, items: list[_Term], node: ast.AST) -> Iterator[tuple[str, str]]:
    """The texts a variable is compared with; one it can never hold is a slip of the pen."""
    for item in items:
        if not (left.name and isinstance(item.literal, str)):
            continue
        possible = VARIABLES[left.name].values
        if possible and item.literal not in possible:
            raise _Mistake(f"{left.name} is never {item.literal!r}; it is one of {', '.join(possible)}", node)
        yield left.name, item.literal


def _misplaced(node: ast.expr) -> _Term:
    raise _Mistake("a list stands only after `in`", node)


_READERS: dict[type[ast.expr], Callable[[Any], _Term]] = {
    ast.Constant: _literal,
    ast.Name: _variable,
    ast.BoolOp: _joined,
    ast.UnaryOp: _unary,
    ast.BinOp: _sum,
    ast.Compare: _comparison,
    ast.Tuple: _misplaced,
    ast.List: _misplaced,
}
