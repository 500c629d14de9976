"""Each sentence of the page of guarantees names how it was tried, and what it names is there."""

import ast
import re
from functools import cache

import pytest

from streams.chaos.schedule import Kind
from tests.living import ROOT

PAGE = (ROOT / "docs" / "guarantees.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))


@cache
def defined_in(file):
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def rows(heading):
    """The rows of the table under a heading, but for its head."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| (?!-)(.+) \|$", section, re.MULTILINE)[1:]


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_test_that_is_named_exists(file, name):
    assert (ROOT / file).exists()
    assert not name or name in defined_in(file)


def test_every_fault_of_chaos_is_on_the_page_and_none_that_is_not_one():
    words = set(re.findall(r"`([a-z]+(?:-[a-z]+)+|burst|poison)`", PAGE))
    assert words == {kind.value for kind in Kind}


@pytest.mark.parametrize("row", rows("What is promised"))
def test_every_promise_says_under_which_faults_and_how_it_was_tried(row):
    _promise, faults, tried = row.split(" | ")
    assert faults
    assert "`tests/" in tried or "chaos run" in tried


@pytest.mark.parametrize("row", rows("What is not promised"))
def test_what_is_not_promised_is_tried_too_or_says_so(row):
    _what, _instead, tried = row.split(" | ")
    assert re.search(r"`[\w/.:-]+`", tried)


@pytest.mark.parametrize("row", rows("What stock Faust does"))
def test_every_defect_of_stock_faust_has_a_test_or_is_not_used(row):
    assert re.search(r"`tests/streams/runtime/test_runtime_\w+.py::test_L", row) or "not used" in row
