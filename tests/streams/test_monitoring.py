"""`loy up` is looked upon where Prometheus is installed, and says where; `loy top` and `loy report sla` on the same system."""

import csv
import json
import re
import shutil

import httpx
import pytest

from streams import monitoring
from streams.settings import Settings
from tests.living import until

installed = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("amtool")), reason="apt-get install prometheus prometheus-alertmanager"
)
DAY = "2017-01-01"
"""Of the first week of baskets."""


def address(running, name):
    return re.search(rf"^{name} +(http://127\.0\.0\.1:\d+)$", running.said(), re.MULTILINE)[1]


@installed
def test_up_starts_prometheus_and_alertmanager_and_says_where(history):
    running, *_ = history
    prometheus = address(running, "Prometheus")

    def up():
        rows = httpx.get(f"{prometheus}/api/v1/query", params={"query": 'up{job="loy"}'}).json()["data"]["result"]
        return [(row["metric"]["instance"], row["value"][1]) for row in rows] == [("worker-1", "1")]

    until(up, lambda: "the worker is scraped")
    rules = httpx.get(f"{prometheus}/api/v1/rules").json()["data"]["groups"]
    assert {"loy-slo", "loy-slo-alerts", "loy-ledger", "loy-sinks"} <= {group["name"] for group in rules}
    assert httpx.get(f"{address(running, 'Alertmanager')}/-/ready").status_code == 200


def test_without_them_nothing_is_started_and_top_still_knows_where_to_look(tmp_path, monkeypatch):
    monkeypatch.setattr(monitoring.shutil, "which", lambda _: None)
    settings = Settings.load({}, data=tmp_path)
    assert monitoring.start(settings, {"worker-1": 9464}) == []
    assert json.loads(settings.targets.read_text()) == [{"targets": ["127.0.0.1:9464"], "labels": {"instance": "worker-1"}}]


def test_the_probes_of_a_worker_that_works_say_ok(history):
    running, *_ = history
    (port,) = re.findall(r"^worker-1 .*http://127\.0\.0\.1:(\d+)/metrics", running.said(), re.MULTILINE)
    for probe in ("healthz", "readyz"):
        answer = httpx.get(f"http://127.0.0.1:{port}/{probe}")
        assert (answer.status_code, answer.text) == (200, "ok\n")


def test_top_shows_the_running_system_once(history):
    running, *_ = history
    (url,) = re.findall(r"^worker-1 .*(http://127\.0\.0\.1:\d+)/metrics", running.said(), re.MULTILINE)
    done = running.loy("top", "--url", url, "--once", "--seconds", "0.5")
    assert done.returncode == 0, done.stderr
    for shown in ("Checks", "available", "loy.commands", "worker ", "yes"):
        assert shown in done.stdout
    assert re.search(r"accounts wrong +0", done.stdout)


def test_the_report_of_a_day_is_made_of_the_topics_alone(history, tmp_path):
    running, *_ = history
    done = running.loy("report", "sla", "--day", DAY, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / f"sla-{DAY}.json").read_text())
    answers, events, books = told["objectives"]
    rows = list(csv.DictReader((tmp_path / f"sla-{DAY}.csv").read_text().splitlines()))
    assert answers["total"] == sum(int(row["asked"]) for row in rows[:-1]) == int(rows[-1]["asked"]) > 100
    assert rows[-1]["unanswered"] == "0"
    assert events["total"] > answers["total"] / 2
    assert books == {"objective": "books", "target": 0, "wrong": 0, "met": True}
    assert f"written: {tmp_path / f'sla-{DAY}.csv'}" in done.stdout


def test_a_day_that_is_none_is_refused(history):
    running, *_ = history
    done = running.loy("report", "sla", "--day", "yesterday")
    assert done.returncode == 2
    assert "say it as YYYY-MM-DD" in done.stderr
