"""Programs as files: YAML or JSON into a checked `Program`, with every mistake told at once, by path and line.

Law: a file means what it says. A plain YAML word is a number, true, false, null or text and nothing else: 07:00 stays a time
and `no` a word. Keys twice, aliases and tags are refused.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from schemas.program import Program
from streams.domain.expression import ExpressionError, compared, compile_expression

SIZE_MAX = 10_000_000
SHIPPED = Path(__file__).parent / "programs"
"""The folder of the programs that come with the product."""

Steps = tuple[str | int, ...]
Lines = dict[Steps, int]


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `path` is like `earning.rules.0.percent`, empty for the file as a whole. Lines count from 1; 0: unknown."""

    path: str
    message: str
    line: int = 0

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        return f"{place}{self.path or '(file)'}: {self.message}"


class ProgramFileError(ValueError):
    """A file that is no program, with everything that is wrong with it."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        super().__init__("\n".join([f"{name} is not a program:", *(f"  {problem}" for problem in problems)]))
        self.problems = tuple(problems)


def load_program(path: Path | str) -> Program:
    """The program in a `.yaml`, `.yml` or `.json` file. Raises ProgramFileError, and OSError when it cannot be read."""
    path = Path(path)
    if path.stat().st_size > SIZE_MAX:
        raise ProgramFileError(path.name, [Problem("", f"larger than {SIZE_MAX} bytes")])
    return read_program(path.read_bytes(), path.name)


def read_program(content: bytes, name: str) -> Program:
    """The program in the bytes of a file; what is named `.json` is read as JSON, the rest as YAML. Raises ProgramFileError."""
    try:
        data, lines = _read_json(content) if name.endswith(".json") else _read_yaml(content)
        text = json.dumps(data)
    except _Unreadable as failure:
        raise ProgramFileError(name, [failure.problem]) from None
    except RecursionError:
        raise ProgramFileError(name, [Problem("", "nested too deep")]) from None
    try:
        # As JSON, so that times and instants go through the same strict door as on the wire.
        program = Program.model_validate_json(text)
    except ValidationError as failure:
        raise ProgramFileError(name, [_problem(error, data, lines) for error in failure.errors()]) from None
    if problems := [Problem(_dotted(steps), message, _line(lines, steps)) for steps, message in _slips(program)]:
        raise ProgramFileError(name, problems)
    return program


# ---------------------------------------------------------------- from text to data


class _Unreadable(Exception):  # noqa: N818  # becomes a ProgramFileError at once
    def __init__(self, message: str, line: int = 0, steps: Steps = ()) -> None:
        super().__init__(message)
        self.problem = Problem(_dotted(steps), message, line)


def _read_json(content: bytes) -> tuple[Any, Lines]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise _Unreadable(f"the key {key!r} is there twice")
            found[key] = value
        return found

    def refused(constant: str) -> None:
        raise _Unreadable(f"{constant} is not JSON")

    try:
        return json.loads(content, object_pairs_hook=once, parse_constant=refused), {}
    except json.JSONDecodeError as failure:
        raise _Unreadable(f"not JSON: {failure.msg}", failure.lineno) from None
    except ValueError:  # other than above: bytes that are no text, or an endless number
        raise _Unreadable("not JSON in UTF-8") from None


def _read_yaml(content: bytes) -> tuple[Any, Lines]:
    try:
        # The base loader resolves nothing: every scalar comes as its text.
        node = yaml.compose(content, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as failure:
        line = failure.problem_mark.line + 1 if failure.problem_mark else 0
        raise _Unreadable(f"not YAML: {failure.problem}", line) from None
    except yaml.YAMLError:
        raise _Unreadable("not YAML in UTF-8") from None
    if node is None:
        raise _Unreadable("there is nothing in it")
    lines: Lines = {}
    return _data(node, (), lines, set()), lines


def _data(node: yaml.Node, steps: Steps, lines: Lines, seen: set[int]) -> Any:
    line = lines[steps] = node.start_mark.line + 1
    if id(node) in seen:
        raise _Unreadable("aliases are not taken: write it out", line, steps)
    seen.add(id(node))
    if node.tag not in _TAGS:
        raise _Unreadable(f"the tag {node.tag} is not taken", line, steps)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, steps, lines, seen)
    if isinstance(node, yaml.SequenceNode):
        return [_data(item, (*steps, place), lines, seen) for place, item in enumerate(node.value)]
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return _scalar(node.value) if plain else node.value


def _mapping(node: yaml.MappingNode, steps: Steps, lines: Lines, seen: set[int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise _Unreadable("a key must be a word", line, steps)
        if key.value in found:
            raise _Unreadable(f"the key {key.value!r} is there twice", line, steps)
        found[key.value] = _data(value, (*steps, key.value), lines, seen)
        lines[*steps, key.value] = line
    return found


_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq")}
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
# A digit string with a zero in front is an id, not a number.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,300})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,300})\.[0-9]{1,300}")


def _scalar(text: str) -> str | float | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


# ---------------------------------------------------------------- from mistakes to words


def _dotted(steps: Steps) -> str:
    return ".".join(str(step) for step in steps)


def _line(lines: Lines, steps: Steps) -> int:
    """The line of the path, or of the nearest part of it that is there."""
    return next((lines[steps[:n]] for n in range(len(steps), -1, -1) if steps[:n] in lines), 0)


def _problem(error: Any, data: Any, lines: Lines) -> Problem:
    steps, message = _steps(error["loc"], data), error["msg"].removeprefix("Value error, ")
    if not steps and (named := re.match(r"([a-z_]+(?:\.\w+)*): (.*)", message, re.DOTALL)):
        steps = tuple(int(step) if step.isdigit() else step for step in named[1].split("."))
        message = named[2]
    if error["type"] == "string_type" and isinstance(error["input"], int | float):
        message = f'Input should be text: write "{error["input"]}" in quotes'
    return Problem(_dotted(steps), message, _line(lines, steps))


def _steps(loc: Steps, data: Any) -> Steps:
    """The path in the file: pydantic also names the kind of a rule, which is no step there."""
    steps: list[str | int] = []
    for n, step in enumerate(loc):
        if isinstance(data, dict) and step not in data and step == data.get("kind") and n + 1 < len(loc):
            continue
        steps.append(step)
        data = _inside(data, step)
    return tuple(steps)


def _inside(data: Any, step: str | int) -> Any:
    try:
        return data[step]
    except (KeyError, IndexError, TypeError):
        return None


# ---------------------------------------------------------------- what the model alone does not see


def _slips(program: Program) -> Iterator[tuple[Steps, str]]:
    for n, rule in enumerate(program.earning.rules):
        steps: Steps = ("earning", "rules", n)
        if rule.where.when is not None:
            for message in _slips_of(rule.where.when, program):
                yield (*steps, "where", "when"), message
        if rule.starts and rule.ends and rule.ends <= rule.starts:
            yield (*steps, "ends"), "ends before it starts"


def _slips_of(condition: str, program: Program) -> Iterator[str]:
    """What is wrong with a condition: it does not compile, or asks for a name that the program does not have."""
    try:
        compile_expression(condition)
    except ExpressionError as failure:
        yield str(failure)
        return
    known = {"tier": {tier.name for tier in program.tiers.levels}, "currency": {program.currency}}
    if program.unknown_outlets == "refuse":
        known["outlet"] = {outlet.id for outlet in program.outlets}
    for variable, text in sorted(compared(condition)):
        if variable in known and text not in known[variable]:
            yield f"{variable} is never {text!r}; it is one of {', '.join(sorted(known[variable]))}"
