"""`loy top`: two looks at all processes become one screen of figures, and what is bad stands out."""

import io

import httpx
import pytest
from rich.console import Console

from streams import metrics
from streams.settings import Settings
from streams.top import Picture, Scrape, look, parse, render, targets

WORKER = """
loy_build_info{role="worker",version="1"} 1
loy_outcomes_total{type="sale",outcome="applied"} %(sales)d
loy_outcomes_total{type="redeem",outcome="refused"} 4
loy_answer_seconds_bucket{door="check",le="1.0"} %(sales)d
loy_answer_seconds_bucket{door="check",le="2.0"} %(sales)d
loy_answer_seconds_bucket{door="check",le="+Inf"} %(asked)d
loy_answer_seconds_count{door="check"} %(asked)d
loy_points_total{source="issued",target="available"} %(points)d
loy_balance_points{book="available",partition="0"} 900
loy_balance_points{book="available",partition="1"} 100
loy_ledger_imbalance %(wrong)d
loy_lag_records{topic="pos.checks",partition="0"} %(lag)d
loy_lag_seconds{topic="pos.checks",partition="0"} %(age)d
loy_loop_delay_seconds 0.003
process_resident_memory_bytes 180000000
process_cpu_seconds_total %(cpu)f
"""
SINK = """
loy_build_info{role="sink-crm",version="1"} 1
loy_sink_items_total{sink="crm",outcome="delivered"} %(delivered)d
loy_sink_halted{sink="crm"} %(halted)d
loy_sink_age_seconds{sink="crm"} 3
loy_sink_limit_calls_per_second{sink="crm",operation="upsert"} 10
loy_sink_call_seconds_count{sink="crm",operation="upsert",status="200"} %(calls)d
"""
WELL = {"sales": 0, "asked": 0, "points": 0, "wrong": 0, "lag": 0, "age": 0, "cpu": 1.0, "delivered": 0, "halted": 0, "calls": 0}
LATER = WELL | {"sales": 460, "asked": 460, "points": 300, "cpu": 1.5, "delivered": 120, "calls": 18}


def scrapes(at, figures, ready=("", "")):
    texts = {"worker-1": WORKER, "sink-crm": SINK}
    return [Scrape(name, at, parse(text % figures), why) for (name, text), why in zip(texts.items(), ready, strict=True)]


def screen(before, now, **options):
    console = Console(width=110, file=io.StringIO(), **options)
    console.print(render(Picture(before, now), "Loystream, 2 processes"))
    return console.file.getvalue()


SNAPSHOT = """\
╭─ Loystream, 2 processes ───────────────────────────────────────────────────────────────────────────────────╮
│                                                                                                            │
│  Checks                             Points                             Waiting: records, oldest            │
│  checks/s                   230.0   earned/min                 9,000   pos.checks                0  0 ms   │
│  redemptions/s                0.0   burned/min                     0   in review                       0   │
│  refused/s                    0.0   expired/min                    0                                       │
│  answer p50                500 ms   available                  1,000                                       │
│  answer p99                990 ms   pending                        0                                       │
│  within 2 s              100.000%   held                           0                                       │
│  dead letters                   0   reserved                       0                                       │
│                                     accounts wrong                 0                                       │
│                                                                                                            │
│  process   role      ready  memory  CPU  loop late                                                         │
│  worker-1  worker    yes    180 MB  25%       3 ms                                                         │
│  sink-crm  sink-crm  yes      0 MB   0%       0 ms                                                         │
│                                                                                                            │
│  sink  delivered/s  rejected  unknown  oldest  p99  of limit                                               │
│  crm          60.0         0        0   3.0 s    -       90%                                               │
│                                                                                                            │
╰────────────────────────────────────────────────────────────────────────────────────────────────────────────╯
"""


def test_the_screen_of_a_system_that_is_well():
    text = screen(scrapes(10, WELL), scrapes(12, LATER))
    assert "\n".join(line.rstrip() for line in text.splitlines()) == SNAPSHOT.rstrip("\n")


def test_what_is_bad_stands_out():
    bad = LATER | {"asked": 600, "wrong": 1, "lag": 50, "age": 95, "halted": 1}
    now = scrapes(12, bad, ("restoring tables: 5 records to go", "does not answer: ConnectError"))
    text = screen(scrapes(10, WELL), now, force_terminal=True, color_system="standard", legacy_windows=False)
    red = {part.split("\x1b[0m")[0].strip() for part in text.split("\x1b[1;31m")[1:]}
    assert red == {"76.667%", "50  95.0 s", "1", "restoring tables: 5 records to go", "does not answer: ConnectError", "HALTED"}


@pytest.mark.parametrize(("hours", "bad"), [(5, False), (7, True)])
def test_late_checks_are_shown_as_what_they_are_and_are_no_alarm_before_six_hours(hours, bad):
    lane = f'loy_lag_records{{topic="loy.backlog",partition="0"}} 1500\nloy_lag_seconds{{topic="loy.backlog",partition="0"}} {hours * 3600}\n'
    now = [Scrape("worker-1", 12, parse(WORKER % LATER + lane))]
    text = screen(scrapes(10, WELL), now, force_terminal=True, color_system="standard", legacy_windows=False)
    assert f"1,500  {hours * 60} min" in text
    assert ("\x1b[1;31m" in text) is bad


def test_a_counter_that_began_anew_rose_from_nothing():
    before, now = scrapes(10, LATER), scrapes(12, WELL | {"sales": 8})
    assert Picture(before, now).rate("loy_outcomes_total", type="sale") == 4


def test_a_process_seen_for_the_first_time_has_no_rates_yet():
    now = scrapes(12, LATER)
    assert Picture([], now).rate("loy_outcomes_total", type="sale") == 0
    assert Picture([], now).quantile(0.99, "loy_answer_seconds", door="check") is None


@pytest.mark.parametrize(("share", "expected"), [(0.5, 0.5), (0.25, 0.25), (0.99, 0.99)])
def test_quantiles_are_reckoned_as_prometheus_does(share, expected):
    picture = Picture(scrapes(10, WELL), scrapes(12, LATER))
    assert picture.quantile(share, "loy_answer_seconds", door="check") == pytest.approx(expected)


def test_it_looks_where_it_is_told_or_where_loy_up_said_or_at_the_worker_of_the_settings(tmp_path):
    settings = Settings.load({}, data=tmp_path, metrics_port=5)
    assert targets(settings, []) == {"127.0.0.1:5": "http://127.0.0.1:5"}
    settings.targets.write_text('[{"targets": ["127.0.0.1:7"], "labels": {"instance": "worker-1"}}]')
    assert targets(settings, []) == {"worker-1": "http://127.0.0.1:7"}
    assert targets(settings, ["http://a:1/"]) == {"a:1": "http://a:1"}


async def test_a_process_that_does_not_answer_is_shown_as_such():
    port = metrics.serve("127.0.0.1", 0, "1.2.3")
    async with httpx.AsyncClient() as client:
        well, gone = await look(client, {"well": f"http://127.0.0.1:{port}", "gone": "http://127.0.0.1:1"})
    assert well.series["loy_build_info", (("role", "worker"), ("version", "1.2.3"))] == 1
    assert (well.ready, gone.ready) == ("", "does not answer: ConnectError")
