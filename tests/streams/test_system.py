"""`loy up` and what it stands on: started together, stopped together, whatever ends it."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from streams import system
from streams.settings import Settings
from streams.system import Worker, WorkerEndedError
from streams.topic_admin import TopicError
from tests.builders import program
from tests.living import alive, living, until


def test_ctrl_c_stops_broker_and_workers_and_leaves_nothing(tmp_path):
    with living(tmp_path, "--workers", "2") as running:
        children = running.children()
        assert len(children) == 3
        os.killpg(running.process.pid, signal.SIGINT)  # as a terminal does
        assert running.process.wait(60) == 0, running.said()
        until(lambda: not any(map(alive, children)), lambda: f"{children} end")
    assert running.said().endswith("Stopping ...\nStopped.\n")


def test_up_ends_with_a_worker_that_ends_by_itself(tmp_path):
    with living(tmp_path) as running:
        children = running.children()
        log = tmp_path / "data" / "worker-1.log"
        worker = next(pid for pid in children if "worker" in _command_of(pid))
        os.kill(worker, signal.SIGKILL)
        assert running.process.wait(60) == 1
        until(lambda: not any(map(alive, children)), lambda: f"{children} end")
    assert f"loy: worker-1 ended with code -9. In its log, {log}:" in running.said()
    assert "Traceback" not in running.said()


def _command_of(pid):
    return subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout


def test_up_says_how_to_reach_feed_prove_and_stop_it(history):
    """Each on a line of its own, however narrow the terminal."""
    running, *_ = history
    for line in (
        f"Reach it      export LOY_KAFKA_BOOTSTRAP={running.bootstrap}\n",
        "Feed it       loy seed && loy replay --speed full\n",
        "Prove it      loy verify\n",
        f"Stop it       Ctrl-C; data stays in {running.out.parent / 'data'}\n",
    ):
        assert line in running.said()


@pytest.fixture
def worker_of(tmp_path):
    started = []

    def start(code):
        log = tmp_path / "worker.log"
        out = log.open("wb")
        process = subprocess.Popen([sys.executable, "-u", "-c", code], stdout=out, stderr=out)
        started.append(Worker(process, log, 0, out))
        return started[-1]

    yield start
    for worker in started:
        worker.process.kill()
        worker.stop()


def test_a_worker_that_ended_tells_its_code_and_the_end_of_its_log(worker_of):
    worker = worker_of("import sys; print('\\n'.join(map(str, range(30)))); sys.exit(70)")
    worker.process.wait(30)
    with pytest.raises(WorkerEndedError, match=r"ended with code 70. In its log, .*worker.log:\n18\n") as ended:
        worker.check()
    assert str(ended.value).endswith("\n29")


CRASHED = """2026-11-22 01:14:27,312 INFO faust: ready
2026-11-22 01:14:27,314 CRITICAL streams.runtime.fatal: a part of the worker crashed (exit 70)
Traceback (most recent call last):
IO error: lock
2026-11-22 01:14:27,395 INFO faust: Worker ready
"""


def test_a_worker_that_crashed_tells_why(worker_of):
    worker = worker_of(f"import sys; print({CRASHED!r}); sys.exit(70)")
    worker.process.wait(30)
    with pytest.raises(WorkerEndedError) as ended:
        worker.check()
    assert str(ended.value).splitlines()[1:] == CRASHED.splitlines()[1:4]


def test_a_worker_that_does_not_stop_is_killed(worker_of, monkeypatch):
    monkeypatch.setattr(system, "STOP_SECONDS", 0.2)
    worker = worker_of("import signal; signal.signal(15, signal.SIG_IGN); print('deaf'); signal.pause()")
    until(lambda: "deaf" in worker.log.read_text(), worker.log.read_text)
    worker.check()
    assert worker.stop() == -signal.SIGKILL


def test_a_worker_gets_all_settings_with_a_folder_and_a_port_of_its_own(tmp_path, monkeypatch):
    seen = {}

    def popen(_command, *, env, **_):
        seen.update(env)
        return SimpleNamespace()

    monkeypatch.setattr(system.subprocess, "Popen", popen)
    settings = Settings.load({}, data=tmp_path, identity_key="a longer secret", clock="stream")
    worker = system.start_worker(settings, "w")
    worker._out.close()
    again = Settings.load(seen)
    assert again.identity_key.get_secret_value() == "a longer secret"
    assert again == settings.model_copy(update={"data": tmp_path / "w", "metrics_port": worker.metrics_port})


async def test_a_kafka_of_ones_own_is_used_and_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("LOY_KAFKA_BOOTSTRAP", "kafka.example:9092")
    async with system.broker(tmp_path / "kafka") as bootstrap:
        assert bootstrap == "kafka.example:9092"
    assert not (tmp_path / "kafka").exists()


async def test_the_address_of_the_last_time_is_no_kafka_elsewhere(tmp_path, monkeypatch):
    """Who exported what `loy up` said, stopped it and starts it again, gets it started."""
    started = []

    class Fake:
        bootstrap = "127.0.0.1:19092"

        def __init__(self, *given):
            started.append(given)

        def stop(self):
            started.clear()

    monkeypatch.setattr(system.Broker, "start", Fake)
    monkeypatch.setenv("LOY_KAFKA_BOOTSTRAP", Fake.bootstrap)
    async with system.broker(tmp_path, 19092) as bootstrap:
        assert (bootstrap, started) == (Fake.bootstrap, [(tmp_path, 19092)])
    assert not started


async def test_installing_on_topics_of_another_size_is_refused(history):
    running, *_ = history
    settings = Settings.load({}, kafka_bootstrap=running.bootstrap, partitions=5)
    with pytest.raises(TopicError, match="has 4 partitions instead of 5"):
        await system.install(settings, program(), keep_history=True)
