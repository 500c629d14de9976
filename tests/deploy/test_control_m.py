"""deploy/control-m: what Control-M would run exists, and every job is reached as its folder means it."""

import json
import re
import shlex

import pytest

from connectors.registry import SINKS
from tests.commands import require_command
from tests.living import ROOT

FOLDER = ROOT / "deploy" / "control-m"
FILES = sorted(FOLDER.glob("*.json"))
EVERY_JOB = {"Type", "Description", "RerunLimit", "Confirm", "When", "IfBase:Folder:CompletionStatus_0"}
FIELDS = {
    "Job:Command": EVERY_JOB | {"Command"},
    "Job:FileWatcher:Create": EVERY_JOB | {"Path", "SearchInterval", "TimeLimit", "MinimalSize", "StableFileSize"},
    "Job:SLAManagement": EVERY_JOB | {"ServiceName", "ServicePriority", "JobRunsDeviationsTolerance", "CompleteBy"},
    "Flow": {"Type", "Sequence"},
}
OF_A_FOLDER = {"Type", "SubApplication", "OrderMethod", "Description", "When", "Variables"}


def folders(file):
    read = json.loads(file.read_text())
    assert set(read.pop("Defaults")) == {"Application", "Host", "RunAs", "ControlmServer"}
    return read


def parts(folder):
    return {name: part for name, part in folder.items() if name not in OF_A_FOLDER}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_part_is_of_a_kind_that_is_known_with_fields_that_it_has(file):
    for folder in folders(file).values():
        assert folder["Type"] == "Folder"
        for name, part in parts(folder).items():
            assert set(part) <= FIELDS[part["Type"]], name
            assert all(isinstance(value, str) for value in part.get("RerunLimit", {}).values()), "numbers are written as text"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_command_and_option_exists(file):
    for folder in folders(file).values():
        variables = {name: value for entry in folder.get("Variables", []) for name, value in entry.items()}
        for name, part in parts(folder).items():
            if part["Type"] == "Job:Command":
                command = re.sub(r"%%(\w+)", lambda found, known=variables: known[found[1]], part["Command"])
                program, *words = shlex.split(command)
                assert program == "loy", name
                require_command(words)
                if words[0] in ("sink", "reconcile"):
                    assert words[1] in SINKS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_flows_name_jobs_that_exist_and_an_ordered_folder_reaches_every_job(file):
    for folder in folders(file).values():
        flows = [part["Sequence"] for part in parts(folder).values() if part["Type"] == "Flow"]
        jobs = {name for name, part in parts(folder).items() if part["Type"] != "Flow"}
        assert {name for flow in flows for name in flow} <= jobs
        if flows:
            assert {name for flow in flows for name in flow} == jobs


def test_what_changes_much_waits_for_a_person():
    for file in FILES:
        for folder in folders(file).values():
            for name, part in parts(folder).items():
                if re.search(r"--resync|--replay|replay --all|program publish", part.get("Command", "")):
                    assert part["Confirm"] is True, name


def test_the_page_names_every_file():
    page = (FOLDER / "README.md").read_text()
    assert all(file.name in page for file in FILES)
