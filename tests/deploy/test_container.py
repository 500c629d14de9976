"""The image and the containers on one machine: linted, locked, small, nobody's."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from streams.settings import Access, Settings
from tests.commands import require_command
from tests.living import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
SCHEMA = Path(__file__).with_name("compose-spec.json")  # of the Compose Specification, without descriptions


def last_stage():
    return DOCKERFILE.read_text().rpartition("\nFROM ")[2]


def packages(lock):
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_the_linter_is_content():
    hadolint = str(Path(sys.executable).with_name("hadolint"))
    done = subprocess.run([hadolint, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_last_stage_runs_as_nobody_and_holds_nothing_to_build_with():
    stage = last_stage()
    assert re.search(r"^USER (\d+):\1$", stage, re.MULTILINE)
    assert "pip install" not in stage
    assert "apt-get" not in stage
    assert re.search(r"^COPY --from=build ", stage, re.MULTILINE)
    assert "STOPSIGNAL SIGTERM" in stage
    assert "/healthz" in stage


def test_everything_installed_is_locked_by_hash_in_versions_that_are_tested():
    assert DOCKERFILE.read_text().count("pip install --require-hashes --no-deps") == 2
    tested = packages("requirements.lock")
    for lock in ("deploy/requirements.lock", "deploy/build.lock"):
        assert packages(lock).items() <= tested.items(), f"{lock} is stale: run `make lock`"
        assert (ROOT / lock).read_text().count("--hash=sha256:") >= len(packages(lock))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[<>=~\[; ]", dependency)[0].lower() for dependency in project["dependencies"]}
    assert needed <= set(packages("deploy/requirements.lock"))


def test_only_what_the_image_is_made_of_reaches_the_builder():
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE.read_text(), re.MULTILINE) for word in line.split()
    }
    assert let_in == copied
    assert all((ROOT / path).exists() for path in let_in)


# ---------------------------------------------------------------- compose


@pytest.fixture
def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_compose_is_what_the_specification_takes(compose):
    errors = [
        f"{error.json_path}: {error.message}" for error in Draft7Validator(json.loads(SCHEMA.read_text())).iter_errors(compose)
    ]
    assert errors == []


def test_compose_runs_commands_that_exist_with_settings_that_exist(compose):
    known = {f"LOY_{name.upper()}" for model in (Settings, Access) for name in model.model_fields}
    for name, service in compose["services"].items():
        if service["image"] == "loystream":
            require_command(service["command"])
            assert {key for key in service["environment"] if not key.startswith("LOY_INFOBIP_")} <= known, name
            assert service["read_only"]


def test_kafka_alone_is_what_comes_without_a_profile(compose):
    assert [name for name, service in compose["services"].items() if not service.get("profiles")] == ["kafka"]
