import json
import re
import textwrap
from datetime import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.earning import AnyRule, Where
from schemas.points import AnyExpiry
from schemas.program import AnySignal, Program
from streams.domain.expression import VARIABLES, compile_expression
from streams.program_files import SHIPPED, ProgramFileError, load_program, read_program

HEAD = """\
program: main
version: 1
title: Test
effective_from: 2017-01-01T00:00:00-05:00
time_zone: America/New_York
currency: USD
"""


def program_of(rest: str) -> Program:
    return read_program((HEAD + textwrap.dedent(rest)).encode(), "test.yaml")


def problems_of(content: str | bytes, name: str = "test.yaml") -> list[str]:
    with pytest.raises(ProgramFileError) as failure:
        read_program(content if isinstance(content, bytes) else content.encode(), name)
    assert name in str(failure.value)
    return [str(problem) for problem in failure.value.problems]


@pytest.mark.parametrize("name", ["first", "grocer", "staff"])
def test_the_programs_that_ship_load(name: str) -> None:
    program = load_program(SHIPPED / f"{name}.yaml")
    assert program.program == {"grocer": "main"}.get(name, name)


def kinds(union: Any) -> set[type]:
    return set(union.__args__)


def test_the_grocer_uses_every_kind_that_can_stand_side_by_side() -> None:
    program = load_program(SHIPPED / "grocer.yaml")
    rules, wheres = program.earning.rules, [rule.where for rule in program.earning.rules]
    assert {type(rule) for rule in rules} == kinds(AnyRule)
    assert {type(signal) for signal in program.fraud.signals} == kinds(AnySignal)
    assert {group.mode for group in program.earning.groups} == {"all", "best", "first"}
    assert {cap.per for cap in program.earning.caps} == {"check", "day", "month", "balance"}
    assert {rule.cap.per for rule in rules if rule.cap} == {"check", "day", "month"}
    needs = [need for tier in program.tiers.levels for need in (*tier.any_of, *tier.all_of)]
    assert {need.metric for need in needs} == {"points", "spend", "visits"}
    assert {signal.what for signal in program.fraud.signals if signal.kind == "velocity"} == {"checks", "points", "outlets"}
    unused = [name for name in Where.model_fields if not any(getattr(where, name) for where in wheres)]
    assert unused == []
    assert any(not rule.enabled for rule in rules)
    assert any(rule.starts for rule in rules)


def test_the_programs_that_ship_show_different_expiries() -> None:
    shown = {type(load_program(path).points.expiry) for path in SHIPPED.glob("*.yaml")}
    assert len(shown) == 3
    assert shown < kinds(AnyExpiry)


def test_times_need_no_quotes() -> None:
    program = program_of("""
        earning:
          rules:
            - {id: a, kind: check_bonus, points: 1, where: {day_parts: [{start: 07:00, end: 22:30}]}}
    """)
    assert program.effective_from.isoformat() == "2017-01-01T00:00:00-05:00"
    part = program.earning.rules[0].where.day_parts[0]
    assert (part.start, part.end) == (time(7), time(22, 30))


def test_a_program_says_the_same_in_yaml_and_in_json(tmp_path: Path) -> None:
    program = load_program(SHIPPED / "grocer.yaml")
    path = tmp_path / "grocer.json"
    path.write_bytes(program.model_dump_json(exclude_defaults=True).encode())
    assert load_program(path) == program


def test_every_mistake_is_told_with_its_path_and_line() -> None:
    content = (
        HEAD
        + """\
earning:
  rate: {points: 0}
  rules:
    - id: a
      kind: multiplier
      percent: high
    - id: b
      kind: nth_visit
      where:
        outlets: [367]
      points: 5
    - id: c
      kind: jackpot
tiers:
  levels: []
colour: red
"""
    )
    assert problems_of(content) == [
        "line 8: earning.rate.points: Input should be greater than or equal to 1",
        "line 12: earning.rules.0.percent: Input should be a valid integer",
        'line 16: earning.rules.1.where.outlets.0: Input should be text: write "367" in quotes',
        "line 13: earning.rules.1.n: Field required",
        "line 18: earning.rules.2: Input tag 'jackpot' found using 'kind' does not match any of the expected tags: 'multiplier', 'line_bonus', 'check_bonus', 'threshold', 'nth_visit'",
        "line 21: tiers.levels: Tuple should have at least 1 item after validation, not 0",
        "line 22: colour: Extra inputs are not permitted",
    ]


def test_a_name_that_is_not_defined_is_told_with_its_line() -> None:
    content = HEAD + "earning:\n  rules:\n    - id: a\n      kind: check_bonus\n      points: 1\n      group: x\n"
    assert problems_of(content) == ["line 12: earning.rules.0.group: 'x' is not defined; known: none"]


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("total_minor >= '5'", "a number cannot be compared with a text (at character 16)"),
        ("tier == 'Glod'", "tier is never 'Glod'; it is one of Gold, Member"),
        ("currency in ('USD', 'EUR')", "currency is never 'EUR'; it is one of USD"),
        ("outlet == '9'", "outlet is never '9'; it is one of 1, 2"),
    ],
)
def test_D01_every_condition_is_compiled_and_its_names_must_exist(condition: str, told: str) -> None:
    content = HEAD + textwrap.dedent(f"""\
        earning:
          rules:
            - {{id: fine, kind: check_bonus, points: 1, where: {{when: tier == "Gold" and outlet == "1"}}}}
            - id: a
              kind: check_bonus
              points: 1
              where:
                when: {condition}
        tiers: {{levels: [{{name: Member}}, {{name: Gold, any_of: [{{metric: visits, at_least: 2}}]}}]}}
        outlets: [{{id: "1"}}, {{id: "2"}}]
        unknown_outlets: refuse
    """)
    assert problems_of(content) == [f"line 14: earning.rules.1.where.when: {told}"]


def test_D05_a_rule_may_not_end_before_it_starts() -> None:
    rule = "{id: a, kind: check_bonus, points: 1, starts: 2017-02-01T00:00:00Z, ends: 2017-02-01T00:00:00Z}"
    assert problems_of(HEAD + f"earning:\n  rules:\n    - {rule}\n") == ["line 9: earning.rules.0.ends: ends before it starts"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (HEAD + "version: 2\n", "line 7: (file): the key 'version' is there twice"),
        (HEAD + "earning: {rate: {points: 1, points: 2}}\n", "line 7: earning.rate: the key 'points' is there twice"),
        (HEAD + "earning: &a {}\npoints: *a\n", "line 7: points: aliases are not taken: write it out"),
        (HEAD + "outlets: &a [*a]\n", "line 7: outlets.0: aliases are not taken: write it out"),
        (
            HEAD + "earning: !!python/object:os.system {}\n",
            "line 7: earning: the tag tag:yaml.org,2002:python/object:os.system is not taken",
        ),
        (HEAD + "earning: {\n", "line 8: (file): not YAML: expected the node content, but found '<stream end>'"),
        (HEAD + "---\n" + HEAD, "line 7: (file): not YAML: but found another document"),
        ("", "(file): there is nothing in it"),
        ("# nothing\n", "(file): there is nothing in it"),
        (b"title: \xff", "(file): not YAML in UTF-8"),
        (b"\x00", "(file): not YAML in UTF-8"),
        ("[" * 100_000, "(file): nested too deep"),
        ("? [a]\n: b\n", "line 1: (file): a key must be a word"),
    ],
)
def test_what_yaml_would_let_pass_or_trip_over_is_told(content: str | bytes, told: str) -> None:
    assert problems_of(content) == [told]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"version": 1, "version": 2}', "(file): the key 'version' is there twice"),
        ("{", "line 1: (file): not JSON: Expecting property name enclosed in double quotes"),
        ('{"version": NaN}', "(file): NaN is not JSON"),
        (b'{"title": "\xff"}', "(file): not JSON in UTF-8"),
        ("[" * 100_000, "(file): nested too deep"),
        ('{"version": ' + "9" * 5000 + "}", "(file): not JSON in UTF-8"),
    ],
)
def test_what_is_no_json_is_told(content: str | bytes, told: str) -> None:
    assert problems_of(content, "test.json") == [told]


def test_a_file_may_not_be_endless(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * 10_000_001)
    with pytest.raises(ProgramFileError, match="larger than"):
        load_program(path)


@pytest.mark.parametrize(
    ("written", "read"),
    [("no", "no"), ("0123", "0123"), ("1_000", "1_000"), ("1e3", "1e3"), ("0x10", "0x10"), ("12:30", "12:30"), ('"12"', "12")],
)
def test_a_plain_word_stays_a_word(written: str, read: str) -> None:
    program = program_of(f"""
        earning:
          rules:
            - {{id: a, kind: check_bonus, points: 1, where: {{brands: [{written}]}}}}
    """)
    assert program.earning.rules[0].where.brands == (read,)


@given(st.binary(max_size=200), st.sampled_from(["x.yaml", "x.json"]))
def test_any_bytes_are_refused_in_words(content: bytes, name: str) -> None:
    problems_of(content, name)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda v: st.lists(v) | st.dictionaries(st.sampled_from(
    ["program", "version", "earning", "rules", "kind", "tiers", "levels", "where", "when", "multiplier"]) | st.text(max_size=5), v), max_leaves=12))  # fmt: skip
def test_any_data_is_refused_in_words(data: Any) -> None:
    problems_of(json.dumps(data), "x.json")


GUIDE = (Path(__file__).parents[2] / "docs" / "programs.md").read_text()


def test_the_guide_walks_through_programs_that_load() -> None:
    parts = [part.split("```")[0] for part in GUIDE.split("```yaml\n")[1:]]
    assert len(parts) > 5
    for part in parts:
        program = read_program((part if part.startswith("program:") else HEAD + part).encode(), "guide.yaml")
        assert program.tiers.levels[0].name == "Member"
    walked = "".join(part for part in parts if "rules:" not in part)
    assert read_program(walked.encode(), "guide.yaml") == load_program(SHIPPED / "first.yaml")


def words_of_the_model() -> set[str]:
    """Every field, and every kind and mode, that a program file can hold."""
    schema = Program.model_json_schema()
    nodes = [schema, *schema["$defs"].values()]
    fields = {name for node in nodes for name in node.get("properties", {})}
    values = {value for node in nodes for field in node.get("properties", {}).values() for value in field.get("enum", [])}
    kinds = {field["const"] for node in nodes for field in node.get("properties", {}).values() if "const" in field}
    return fields | values | kinds


def test_the_guide_names_every_field_kind_and_choice() -> None:
    missing = {word for word in words_of_the_model() if not re.search(rf"\b{word}\b", GUIDE)}
    assert missing == set()


def test_D01_the_guide_lists_every_name_of_the_rule_language_and_its_examples_compile() -> None:
    language = GUIDE.split("## The rule language")[1].split("## points")[0]
    for name, variable in VARIABLES.items():
        assert f"| `{name}` | {variable.type} |" in language
    for example in language.split("```text\n")[1].split("```")[0].splitlines():
        compile_expression(example)
