"""What the documents say is tried: links lead somewhere, commands exist, examples run against a real system."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from datetime import UTC, datetime

import pytest

from schemas.codec import INBOUND
from schemas.codes import Code
from schemas.replies import Reply
from schemas.topics import CHECKS, MEMBER_COMMANDS, RECORD_BYTES_MAX, REDEMPTIONS, REPLIES
from streams.domain.account import HORIZON_DAYS
from streams.domain.intake import FUTURE_SECONDS
from tests.commands import require_command
from tests.living import ROOT, living

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TILL = ROOT / "docs" / "integrating-a-till.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"

# What a till never gets to see: answers to the service desk and to sinks.
OF_THE_DESK = {
    "OK",
    "IDENTIFIER_TAKEN",
    "MEMBER_UNKNOWN",
    "ALREADY_MEMBER",
    "VENDOR_REJECTED",
    "CONVERSION_UNKNOWN",
    "CONVERSION_UNEVEN",
    "REASON_MISSING",
    "APPROVAL_NEEDED",
    "SELF_APPROVAL",
    "HOLD_UNKNOWN",
    "TIER_UNKNOWN",
    "OFFER_ANSWERED",
    "NOT_APPROVABLE",
}


def name(page):
    return str(page.relative_to(ROOT))


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def code(page):
    """Everything written as code: fenced blocks line by line, and spans."""
    text = page.read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in fenced for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", prose)


def anchors(page):
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# ---------------------------------------------------------------- all pages


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"^```\w*\n.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} is not there"
        assert not anchor or anchor in anchors(target), f"{link}: {target.name} has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_and_option_exists(page):
    for line in code(page):
        for words in re.findall(r"(?:^|[\s/(;&|])loy ((?:[\w./=:@\[\]-]+ ?)+)", line):
            require_command(words.split())


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_make_target_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {target for line in code(page) for target in re.findall(r"(?:^|\s)make ([a-z-]+)", line)}
    assert asked <= targets


def test_the_front_page_names_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    table = "".join(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("|"))
    for dependency in (*project["dependencies"], *project["optional-dependencies"]["demo"]):
        package = re.split(r"[<>=~\[]", dependency)[0]
        assert re.search(rf"\b{re.escape(package)}\b", table), package


# ---------------------------------------------------------------- integrating a till


DOORS = {
    **dict.fromkeys(("sale", "return", "void"), CHECKS),
    **dict.fromkeys(("reserve", "confirm", "cancel"), REDEMPTIONS),
    "claim": MEMBER_COMMANDS,
}


@pytest.mark.parametrize("block", blocks(TILL, "json"), ids=lambda block: json.loads(block)["type"])
def test_each_record_of_the_till_page_is_one_of_the_contract(block):
    INBOUND[DOORS[json.loads(block)["type"]].name].validate_json(block)


def test_the_till_page_has_a_record_of_each_kind():
    assert {json.loads(block)["type"] for block in blocks(TILL, "json")} == set(DOORS)


def test_the_till_page_names_every_field_of_a_reply():
    table = TILL.read_text().split("\n## The reply\n")[1].split("\n## ")[0]
    named = [field for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for field in re.findall(r"`(\w+)`", row)]
    assert named == list(Reply.model_fields)


def test_the_till_page_says_what_to_do_about_every_code():
    table = TILL.read_text().split("\n## What to do when it is a no\n")[1].split("\n## ")[0]
    assert set(re.findall(r"`([A-Z_]{4,})`", table)) == {code.value for code in Code} - OF_THE_DESK


def test_the_till_page_tells_the_limits_of_the_code():
    limits = TILL.read_text().split("\n## Limits\n")[1]
    assert f"{RECORD_BYTES_MAX:,} bytes" in limits
    assert f"| {FUTURE_SECONDS // 3600} hours |" in limits
    assert f"| {HORIZON_DAYS} days" in limits
    assert f"| replies are kept | {REPLIES.retention_days} days:" in limits


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with living(tmp_path_factory.mktemp("docs")) as running:
        yield running


def evening():
    """A time zone in which it is six in the evening: the program gives more early, late, and at noon on Tuesdays."""
    ahead = 18 - datetime.now(UTC).hour
    return f"<shop>{-ahead}"  # POSIX counts the other way round


def run(command, system, folder):
    environment = {**system.environment(), "TZ": evening()}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.broker
def test_the_python_of_the_till_page_runs(system, tmp_path):
    first, whole = blocks(TILL, "python")
    (tmp_path / "till.py").write_text(first)
    (tmp_path / "whole.py").write_text(whole)

    printed, last = run([sys.executable, "till.py"], system, tmp_path).rstrip().rsplit("\n", 1)
    assert Reply.model_validate_json(printed).receipt[0] == "Points from this receipt: 42"
    assert last in TILL.read_text()

    assert run([sys.executable, "whole.py"], system, tmp_path).splitlines() == [
        "join: applied OK, earned 0, burned 0, worth 0",
        "gift: applied OK, earned 0, burned 0, worth 0",
        "reserve: applied OK, earned 0, burned 0, worth 500",
        "confirm: applied OK, earned 0, burned 480, worth 500",
        "sale: applied OK, earned 50, burned 0, worth 0",
        "return of one: applied OK, earned -25, burned 0, worth 0",
        "sale without a card: applied ANONYMOUS, earned 0, burned 0, worth 0",
        "claim: applied OK, earned 60, burned 0, worth 0",
    ]


@pytest.mark.broker
@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
def test_the_kcat_of_the_till_page_runs(system, tmp_path):
    send, read = blocks(TILL, "sh")
    script = f"set -u\n{send}\nuntil {read.strip()}; do sleep 0.2; done"
    answer = run(["bash", "-c", script], system, tmp_path).strip().splitlines()[-1]
    headers, _, reply = answer.partition(" ")
    assert re.fullmatch(r"origin=pos\.checks/\d/\d+,outcome=applied,written-at=\d{13}", headers)
    assert Reply.model_validate_json(reply).member == "BOB"


@pytest.mark.broker
def test_what_the_pages_did_to_the_system_is_proven(system):
    done = system.loy("verify")
    assert done.returncode == 0, done.stdout
    assert "Proven." in done.stdout


# ---------------------------------------------------------------- architecture


def test_the_architecture_page_names_every_module_and_none_that_is_not_there():
    """A module is named itself, or by its folder."""
    named = {path.rstrip("/") for path in re.findall(r"`((?:streams|schemas|connectors)/[\w./-]*)`", ARCHITECTURE.read_text())}
    assert not {path for path in named if not (ROOT / path).exists()}
    for folder in ("streams", "schemas"):
        for module in (ROOT / folder).rglob("*.py"):
            if module.name != "__init__.py":
                assert {name(module), name(module.parent)} & named, module


def test_the_architecture_page_points_to_every_decision():
    text = ARCHITECTURE.read_text()
    for decision in (ROOT / "docs" / "adr").glob("*.md"):
        assert f"adr/{decision.name}" in text


def test_the_drawing_has_the_floors_that_the_linter_checks():
    """The picture and the contract of import-linter are the same floors, in the same order."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = next(contract["layers"] for contract in contracts if contract.get("exhaustive"))
    drawn = ARCHITECTURE.read_text().split("\n## The floors\n")[1].split("```")[1].splitlines()
    drawn = [re.findall(r"[a-z_]+", line.split("...")[0]) for line in drawn if re.match(r"\s+\d+\s", line)]
    assert drawn == [re.findall(r"[a-z_]+", floor) for floor in floors]
