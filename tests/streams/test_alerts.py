"""The rules of Prometheus: they load, fire when they should, ask only for what exists, and each alert has its page in the runbook."""

import re
import shutil
import subprocess

import pytest
import yaml

from streams.metrics import catalogue
from tests.living import ROOT

FOLDER = ROOT / "deploy" / "prometheus"
RULES = sorted(FOLDER.glob("*.rules.yml"))
RUNBOOK = ROOT / "docs" / "runbook.md"
installed = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")


def rules(kind):
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


ALERTS = rules("alert")


def tool(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


@installed
def test_the_rules_load():
    tool("promtool", "check", "rules", *map(str, RULES))
    tool("promtool", "check", "config", "prometheus.yml")


@pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not installed: apt-get install prometheus-alertmanager")
def test_the_routes_load():
    tool("amtool", "check-config", "alertmanager.yml")


@installed
@pytest.mark.parametrize("case", sorted(FOLDER.glob("tests/*.yml")), ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_at_no_other_time(case):
    """Injected delay, a dead worker, a stuck sink, books that do not add up."""
    tool("promtool", "test", "rules", str(case))


def test_rules_ask_only_for_what_exists():
    recorded, known = {rule["record"] for rule in rules("record")}, catalogue.series_names()
    for rule in (*rules("record"), *ALERTS):
        asked = set(re.findall(r"\bloy_[a-z_]+|\bloy:[a-z0-9_:]+", rule["expr"]))
        assert asked <= known | recorded, asked - known - recorded


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}")
def test_each_alert_says_how_urgent_it_is_and_where_to_read_on(alert):
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{alert['alert'].lower()}"


def test_the_runbook_has_a_section_for_each_alert_and_for_no_other():
    sections = dict(re.findall(r"^### (Loy\w+)\n(.*?)(?=^##|\Z)", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL))
    assert set(sections) == {alert["alert"] for alert in ALERTS}
    for name, text in sections.items():
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Meaning", "Check", "Act"], name


def test_the_routes_name_alerts_that_exist():
    named = set(re.findall(r"Loy\w+", (FOLDER / "alertmanager.yml").read_text()))
    assert named <= {alert["alert"] for alert in ALERTS}


def test_the_objectives_are_bounds_of_the_histograms():
    bounds = {float(bound) for rule in rules("record") for bound in re.findall(r'le="([\d.]+)"', rule["expr"])}
    assert bounds == {2.0, 60.0}
    assert bounds <= set(map(float, catalogue.SECONDS))
