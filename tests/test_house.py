"""The house: what may lie where, how large things may grow, and what must never be in the repository."""

import ast
import re
import subprocess
import tomllib
from functools import cache
from itertools import chain

import pytest

from tests.living import ROOT

PACKAGES = ("schemas", "streams", "connectors")
TOP_LEVEL = {
    *("streams", "connectors", "schemas", "tests", "deploy", "docs"),
    *("pyproject.toml", "setup.py", "Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"),
    *("requirements.lock", ".gitignore", ".ci"),
}
FILE_LINES_MAX = 420
FUNCTION_LINES_MAX = 60

# What the domain does, by the rows of the list of capabilities. A test carries its row in its name.
ROWS = [
    *("A01", "A03", "A04", "A05", "A06", "A07", "A08", "A09", "A10", "A11", "A13"),
    *("B01", "B02", "B03", "B04", "B05", "B06", "B09", "B10"),
    *("C01", "C02", "C03", "C04", "C05", "C06", "C07"),
    *("D01", "D02", "D03", "D05"),
    *("F01", "F02", "F04", "F05", "F08", "F09"),
]


@cache
def tracked():
    """Every file of the repository, and those about to be: what git ignores is left out."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file()]


def texts():
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            yield path.relative_to(ROOT).as_posix(), content.decode()


def modules():
    return [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PACKAGES]


def name(path):
    return path.relative_to(ROOT).as_posix()


def functions(path):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]


# ---------------------------------------------------------------- where things lie


def test_the_top_level_holds_only_what_it_should():
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} <= TOP_LEVEL


def test_version_and_changelog_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert version == newest[1]


def test_the_schemas_and_programs_travel_with_the_package():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for package, folder in (("schemas", "json"), ("schemas", "examples"), ("streams", "programs")):
        shipped = {path for pattern in data[package] for path in (ROOT / package).glob(pattern) if path.is_file()}
        assert {path for path in (ROOT / package / folder).rglob("*") if path.is_file()} <= shipped


def test_every_data_file_of_a_package_travels_with_it():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for package in PACKAGES:
        shipped = {path for pattern in data.get(package, ()) for path in (ROOT / package).glob(pattern)}
        for path in tracked():
            if path.relative_to(ROOT).parts[0] == package and path.suffix not in (".py", ".pyi"):
                assert path in shipped, name(path)


# ---------------------------------------------------------------- size and shape


@pytest.mark.parametrize("path", modules(), ids=name)
def test_a_module_says_what_it_is_for_and_stays_small(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert text.count("\n") <= FILE_LINES_MAX


@pytest.mark.parametrize("path", modules(), ids=name)
def test_functions_stay_short(path):
    long = {node.name: node.end_lineno - node.lineno + 1 for node in functions(path)}
    assert {known: lines for known, lines in long.items() if lines > FUNCTION_LINES_MAX} == {}


def test_nine_functions_in_ten_are_under_thirty_lines():
    lengths = [node.end_lineno - node.lineno + 1 for path in modules() for node in functions(path)]
    assert sum(lines < 30 for lines in lengths) >= 0.9 * len(lengths)


def test_nothing_is_named_for_nothing():
    """A Manager, Helper or Util says not what it does; nor does a folder named common, core or utils."""
    for path in modules():
        assert not {"common", "core", "util", "utils", "helper", "helpers", "manager"} & {*path.parent.parts, path.stem}
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                assert not re.search(r"Manager|Helper|Utils?$|_helper|_utils?$", node.name), f"{name(path)}: {node.name}"


def test_the_core_asks_no_clock_and_no_chance():
    """Also not by the ways that the import linter cannot see."""
    for path in modules():
        if path.relative_to(ROOT).as_posix().startswith(("streams/domain/", "schemas/")):
            found = re.search(r"\.(now|today|utcnow)\(\)|\bprint\(|\bopen\(|__import__", path.read_text())
            assert not found or path.name == "export.py", f"{name(path)}: {found}"


# ---------------------------------------------------------------- what must not be here


def test_nothing_is_left_over():
    marks = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME)\b|# *XX" + r"X\b")
    assert [(path, mark) for path, text in texts() if path != "requirements.lock" for mark in marks.findall(text)] == []


def test_nobodys_machine_is_in_the_repository():
    """Neither folders of a machine nor the address of a package index or mirror."""
    folders = re.compile(r"(?<![\w.])/(?:home|Users|work|root)/[\w.-]+")
    indexes = re.compile(
        r"https?://[\w.-]*(?:pypi|pythonhosted|artifactory|nexus|mirror|maven|registry)[\w.-]*(?:[:/]|\b)", re.IGNORECASE
    )
    for path, text in texts():
        assert not folders.search(text), f"{path}: {folders.search(text)}"
        found = [url for url in indexes.findall(text) if "maven.apache.org" not in url]
        assert not found, f"{path}: {found}"


def test_the_lock_names_versions_and_hashes_and_no_index():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert not re.search(r"^--?(?!hash)", lock, re.MULTILINE)
    wanted = re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)
    assert len(wanted) > 40
    assert lock.count("--hash=sha256:") > len(wanted)


def test_the_lock_holds_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = {
        known.lower().replace("_", "-")
        for known in re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    }
    for dependency in (*project["dependencies"], *chain(*project["optional-dependencies"].values())):
        package = re.split(r"[<>=~\[; ]", dependency)[0].lower().replace("_", "-")
        assert package in locked, package


# ---------------------------------------------------------------- tests


@pytest.mark.parametrize("row", ROWS)
def test_each_row_has_a_test_of_the_domain(row):
    tests = (path.read_text() for path in (ROOT / "tests" / "streams" / "domain").glob("test_*.py"))
    assert any(f"def test_{row}_" in text for text in tests), f"no test of the domain is named test_{row}_..."


def test_each_file_of_tests_has_a_name_of_its_own():
    """Else whoever runs all of them runs none."""
    names = [path.name for path in tracked() if path.name.startswith("test_") and path.suffix == ".py"]
    assert sorted(names) == sorted(set(names))


def test_tests_do_not_sleep():
    """They wait for conditions; a pause inside a loop that polls one is how that is done. A fake may be slow."""
    for path in tracked():
        if path.name.startswith("test_") and path.suffix == ".py":
            for node in functions(path):
                if node.name.startswith("test_"):
                    assert not list(_pauses(node)), f"{name(path)}: {node.name}"


def _pauses(node):
    """Calls of sleep in it, but for those in loops and in functions of their own."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and ast.unparse(child.func).endswith("sleep") and ast.unparse(child) != "asyncio.sleep(0)":
            yield child
        if not isinstance(child, ast.While | ast.For | ast.AsyncFor | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _pauses(child)
