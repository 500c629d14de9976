"""The compiled core (docs/adr/0008) is the source's twin: the same bytes, and never yesterday's rules."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from streams import domain

ROOT = Path(__file__).parents[3]
BUILT = sorted(Path(domain.__path__[0]).glob("*.so"))

DECIDE_TWO_WEEKS = """
from hashlib import sha256
from schemas.codec import parse_inbound
from streams.baskets import checks, enrolments, weeks
from streams.domain import decide as core, render
from streams.domain.account import pack, unpack
from streams.domain.intake import Arrived, Intake, Rules
from streams.domain.plan import Plan
from streams.program_files import SHIPPED, load_program

plan, identities, accounts, said = Plan(load_program(SHIPPED / "grocer.yaml")), {}, {}, sha256()

class Lookup:
    identity = staticmethod(identities.get)
    version = staticmethod(lambda program, at: plan)

def take(door, arrival):
    taken = door(parse_inbound(arrival.topic, arrival.value), Arrived("o/0/0", arrival.key.decode(), arrival.at_ms // 1000))
    identities.update(taken.identities)
    for command in taken.commands:
        decision = core.decide(unpack(accounts.get(command.account), command.account), command, plan, arrival.at_ms // 1000)
        accounts[command.account] = pack(decision.account)
        said.update(accounts[command.account] + b"".join(render.events(command, decision.outcome, plan)))

intake = Intake(Rules(b"secret", "US", "main"), Lookup())
for arrival in enrolments():
    take(intake.member, arrival)
for arrival in checks(weeks(1, 2)):
    try:
        take(intake.check, arrival)
    except Exception as refused:
        said.update(repr(refused).encode())
print(core.__file__.endswith(".so"), len(accounts), said.hexdigest())
"""


def _answer(where: Path) -> list[str]:
    environment = os.environ | {"PYTHONPATH": str(where)}
    command = [sys.executable, "-c", DECIDE_TWO_WEEKS]
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=True).stdout.split()


def _sources(target: Path) -> Path:
    for package in ("streams", "schemas"):
        shutil.copytree(ROOT / package, target / package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return target


@pytest.mark.skipif(not BUILT, reason="no C compiler was found: there is nothing but the source")
def test_what_was_compiled_decides_to_the_byte_as_its_source_does(tmp_path: Path) -> None:
    compiled, *here = _answer(ROOT)
    interpreted, *there = _answer(_sources(tmp_path))
    assert (compiled, interpreted) == ("True", "False")
    assert here == there


def test_a_build_older_than_its_source_is_taken_away_before_it_decides_anything(tmp_path: Path) -> None:
    checkout = _sources(tmp_path)
    shutil.copy(ROOT / "setup.py", checkout)
    stale = checkout / "streams" / "domain" / f"rounding{sysconfig.get_config_var('EXT_SUFFIX')}"
    stale.write_bytes(b"no module at all: whoever imports it fails")
    os.utime(stale, (0, 0))
    command = [sys.executable, "-c", "import streams.domain.rounding as module; print(module.__file__)"]
    found = subprocess.run(
        command, cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)}, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip().endswith("rounding.py")
    assert not stale.exists()
