"""Each panel of each board, asked of a real Prometheus that scrapes a system at work: it must parse, and answer with figures."""

import asyncio
import json
import re
import shutil
import time

import httpx
import pytest

from connectors.sandbox import sandbox_settings
from streams import monitoring, system
from streams.boards.__main__ import BOARDS, FOLDER, main
from streams.broker import HOST, free_port
from streams.metrics import catalogue
from tests.builders import program
from tests.e2e.harness import until
from tests.living import ROOT
from tests.tills import opt_in, request, sale

CARD = "card:ABC123"
TRACE = "0af7651916cd43dd8448eb211c80319c"
RULES = ROOT / "deploy" / "prometheus"
VARIABLES = {"$__rate_interval": "10s", "$sink": ".+"}


def panels():
    for name in BOARDS:
        for panel in json.loads((FOLDER / f"{name}.json").read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield pytest.param(target["expr"], id=f"{name}: {panel['title']} {target['refId']}")


PANELS = list(panels())


# ---------------------------------------------------------------- as files


def test_the_boards_are_what_the_code_makes():
    assert main(["--check"]) == 0


@pytest.mark.parametrize("name", BOARDS)
def test_no_panel_lies_on_another_and_each_says_what_it_shows(name):
    found = json.loads((FOLDER / f"{name}.json").read_text())["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    assert all(panel["description"] for panel in found if panel["type"] != "row")
    cells = [
        (x, y)
        for panel in found
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("query", PANELS)
def test_a_panel_asks_only_for_what_exists(query):
    recorded = set(re.findall(r"record: (\S+)", "".join(path.read_text() for path in RULES.glob("*.rules.yml"))))
    asked = set(re.findall(r"\bloy_[a-z_]+|\bloy:[a-z0-9_:]+", query))
    assert asked <= catalogue.series_names() | recorded
    assert set(re.findall(r"\$\w+", query)) <= {*VARIABLES, "$instance"}


# ---------------------------------------------------------------- asked


class Prometheus:
    def __init__(self, url):
        self.http = httpx.Client(base_url=url, timeout=10)

    def ask(self, query):
        answer = self.http.get("/api/v1/query", params={"query": query}).json()
        assert answer["status"] == "success", (query, answer)
        return [(row["metric"], float(row["value"][1])) for row in answer["data"]["result"]]

    def running(self):
        try:
            return self.http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False


def sent_now():
    """Headers of a till that tells its time and traces."""
    return [("sent-at", str(time.time_ns() // 1_000_000).encode()), ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())]


async def shop(shop_at, count):
    """Everything that panels show: sales, repeats, a refusal, what nobody can read."""
    sent = sent_now()
    receipt = sale(f"r{count}", [500], shop_at.at, CARD)
    for body in (receipt, receipt, request("reserve", f"q{count}", f"R{count}", shop_at.at, CARD, points=10**6)):
        door = shop_at.redemption if "request_id" in body else shop_at.check
        await door(body, headers=sent)
    await shop_at.put("pos.checks", CARD, b"{", headers=sent)


async def shopping(shop_at):
    count = 0
    while True:
        count += 1
        await shop(shop_at, count)
        await asyncio.sleep(0.1)


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed: apt-get install prometheus")
async def test_every_panel_has_figures_while_the_system_works(installed, tmp_path, monkeypatch):
    shop_at = await installed(program())
    worker, port = await shop_at.worker("worker-1").ready(), free_port()
    own = [system.start_sandbox(shop_at.settings, "infobip", port, clock="data")]
    own.append(system.start_sink(shop_at.settings, "infobip", sandbox_settings("infobip", f"http://{HOST}:{port}")))
    for path in RULES.glob("*.yml"):
        (tmp_path / path.name).write_text(path.read_text().replace("interval: 15s", "interval: 1s"))
    monkeypatch.setattr(monitoring, "RULES", tmp_path)
    ports = {"worker-1": worker.settings.metrics_port, "sink-infobip": own[1].metrics_port}
    onlookers = monitoring.start(shop_at.settings, ports, interval="1s")
    busy, prometheus = None, Prometheus(onlookers[-1].url)
    try:
        await until(prometheus.running, "Prometheus answers")
        await until(lambda: len(prometheus.ask("loy_ready == 1")) == 2, "both processes are ready")
        await shop_at.ask(opt_in("H-1", shop_at.at, CARD), headers=sent_now())
        busy = asyncio.create_task(shopping(shop_at))
        await _each_answers(prometheus)
        _tells_the_truth(prometheus)
    finally:
        if busy is not None:
            busy.cancel()
            await asyncio.gather(busy, return_exceptions=True)
        prometheus.http.close()
        for onlooker in onlookers:
            await asyncio.to_thread(onlooker.stop)
        await system.stop_workers(own)


async def _each_answers(prometheus):
    silent = {parameter.id: parameter.values[0] for parameter in PANELS}

    def all_answered():
        for name in [name for name, query in silent.items() if _answers(prometheus, query)]:
            del silent[name]
        return not silent

    await until(all_answered, lambda: f"no figures in {silent}")


def _answers(prometheus, query):
    """A panel of one process is looked at for each kind of process; what only one of them has is enough."""
    for instance in ("worker-1", "sink-infobip"):
        asked = query
        for variable, value in (VARIABLES | {"$instance": instance}).items():
            asked = asked.replace(variable, value)
        if prometheus.ask(asked):
            return True
    return False


def _tells_the_truth(prometheus):
    assert prometheus.ask("loy_ledger_imbalance") == prometheus.ask("loy_ledger_imbalance == 0")
    assert [value for _, value in prometheus.ask("sum(loy:partitions:wanted - loy:partitions:owned)")] == [0]
    assert not prometheus.ask('ALERTS{alertstate="firing",severity="page"}')
    exemplars = prometheus.http.get(
        "/api/v1/query_exemplars",
        params={"query": "loy_record_seconds_bucket", "start": time.time() - 300, "end": time.time() + 300},
    ).json()["data"]
    assert {one["labels"]["trace_id"] for series in exemplars for one in series["exemplars"]} == {TRACE}
    if shutil.which("amtool"):
        assert prometheus.http.get("/api/v1/alertmanagers").json()["data"]["activeAlertmanagers"]
    for metric, seconds in prometheus.ask("max_over_time(scrape_duration_seconds[1m])"):
        (samples,) = [
            value for other, value in prometheus.ask("scrape_samples_scraped") if other["instance"] == metric["instance"]
        ]
        print(f"{metric['instance']}: {samples:.0f} series in at most {seconds * 1000:.0f} ms")  # noqa: T201  # pytest -s shows it
