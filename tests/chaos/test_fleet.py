"""The supervisor of the workers: who ends is started again, who is held stays away, and every fault is healed."""

import asyncio
import contextlib
import resource
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from streams.chaos import fleet
from streams.chaos.fleet import Seat
from streams.settings import Settings
from streams.system import Worker

SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


@pytest.fixture
async def seat(monkeypatch, tmp_path):
    """A seat whose worker sleeps; `started` are all processes that ever sat there."""
    started = []

    def start(settings, name, *, again):
        log = settings.data / f"{name}.log"
        process = subprocess.Popen(SLEEPER)
        started.append(process)
        return Worker(process, log, 0, log.open("ab"))

    monkeypatch.setattr(fleet, "start_worker", start)
    monkeypatch.setattr(fleet, "RESTART_SECONDS", 0.5)
    seat = Seat(Settings.load({}, data=tmp_path), 1, Counter())
    seat.started = started
    seat.start()
    keeping = asyncio.create_task(seat.keep())
    yield seat
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await seat.stop()
    for process in started:
        process.kill()
        process.wait()


def living(seat):
    return [process for process in seat.started if process.poll() is None]


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.02)


async def never(condition, seconds):
    """It does not come true for so long."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(until(condition), seconds)
        raise AssertionError("it came true")


async def test_who_ends_is_started_again_and_its_exit_code_is_counted(seat):
    seat.started[0].kill()
    await until(lambda: len(seat.started) == 2)
    assert seat._exits == {-signal.SIGKILL: 1}
    assert len(living(seat)) == 1


async def test_who_was_killed_on_purpose_stays_away_until_released(seat):
    await seat.kill()
    await never(lambda: len(seat.started) > 1, 0.7)
    assert living(seat) == []
    seat.release()
    assert len(living(seat)) == 1
    assert not seat._exits


async def test_a_fault_while_the_supervisor_waits_leaves_one_process_not_two(seat):
    seat.started[0].kill()
    await until(lambda: seat._exits)
    await never(lambda: len(seat.started) > 1, 0.2)  # it is waiting now
    await seat.kill()
    seat.release()
    await never(lambda: len(seat.started) > 2, 0.7)
    assert len(living(seat)) == 1


async def test_a_full_disk_is_full_for_whoever_comes_and_has_room_afterwards(seat):
    def limits():
        return [resource.prlimit(process.pid, resource.RLIMIT_FSIZE)[0] for process in living(seat)]

    with seat.disk_full():
        assert limits() == [fleet.FILE_BYTES]
        seat.started[0].kill()
        await until(lambda: len(seat.started) == 2)
        assert limits() == [fleet.FILE_BYTES]
    assert limits() == [resource.RLIM_INFINITY]


async def test_a_folder_that_cannot_be_written_comes_back_as_it_was(seat):
    seat.folder.mkdir()
    (seat.folder / "kept").write_text("row")
    await seat.kill()
    with seat.unwritable():
        assert seat.folder.is_file()
    assert (seat.folder / "kept").read_text() == "row"


async def test_a_paused_worker_stands_still_and_goes_on(seat):
    stat = Path(f"/proc/{seat.started[0].pid}/stat")

    def state():
        return stat.read_text().rsplit(")", 1)[1].split()[0]

    async with seat.paused():
        await until(lambda: state() == "T")
    await until(lambda: state() != "T")
