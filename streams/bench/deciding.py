"""The pure core alone: what each step of a check costs in a process that does nothing else.

The accounts have five weeks of shopping behind them, and are unpacked and packed for each check, as in a worker.
"""

import gc
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from schemas.codec import encode, parse_command
from schemas.records import AnyCommand
from streams.bench.accounts import commands
from streams.domain import render
from streams.domain.account import pack, unpack
from streams.domain.decide import decide
from streams.domain.plan import Plan
from streams.program_files import load_program

CHECKS = 3_000
ROUNDS = 5


class Laps:
    """CPU time of this thread, by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._at = 0.0

    def start(self) -> None:
        """What was done before belongs to no step."""
        self._at = time.thread_time()

    def lap(self, step: str) -> None:
        """A step ends, and the next one begins."""
        self.seconds[step] = self.seconds.get(step, 0.0) + time.thread_time() - self._at
        self._at = time.thread_time()


def costs(plan: Plan, members: int) -> dict[str, float]:
    """CPU-microseconds a check, by step, of the last checks in five weeks of so many households; of each step the best round."""
    work = list(commands(plan, members))
    checks = min(CHECKS, len(work) // 3)
    rows: dict[bytes, bytes] = {}
    _work_off(plan, work[:-checks], rows, Laps())
    gc.collect()
    gc.disable()  # a worker's has little to look at, here it would look at all that was prepared
    found = []
    for _ in range(ROUNDS):
        laps = Laps()
        _work_off(plan, work[-checks:], rows.copy(), laps)
        found.append(laps.seconds)
    return {step: min(seconds[step] for seconds in found) / checks * 1e6 for step in found[0]}


def _work_off(plan: Plan, work: Iterable[tuple[AnyCommand, int]], rows: dict[bytes, bytes], laps: Laps) -> None:
    for said, now in work:
        raw, key = encode(said), said.account.encode()
        laps.start()
        command = parse_command(raw)
        laps.lap("read")
        account = unpack(rows.get(key), said.account)
        laps.lap("unpack")
        decision = decide(account, command, plan, now)
        laps.lap("decide")
        rows[key] = pack(decision.account)
        laps.lap("pack")
        render.events(command, decision.outcome, plan)
        render.reply(command, decision.outcome, plan)
        laps.lap("print")


if __name__ == "__main__":
    file, how_many = sys.argv[1:]
    sys.stdout.write(json.dumps(costs(Plan(load_program(Path(file))), int(how_many))))
