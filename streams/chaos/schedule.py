"""When which fault strikes: a plan drawn from a seed alone.

Law: one seed, one plan. Faults of workers and faults of brokers run side by side, each kind one after the other, because
two brokers of three may be away only where a fault says so. What tills do wrong is in `tills`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

SETTLE_SECONDS = 3.0
"""Before the first fault."""


class Kind(StrEnum):
    """What can go wrong. The value is what `--only` takes."""

    WORKER_KILLED = "worker-killed"  # kill -9; one time in three its data folder is gone as well
    WORKER_PAUSED = "worker-paused"  # SIGSTOP for longer than its session lasts, then SIGCONT
    WORKERS_ROLLED = "workers-rolled"  # all restarted in good order, one after the other
    DISK_FULL = "disk-full"  # no file of a worker can grow any more
    STORE_UNWRITABLE = "store-unwritable"  # a file lies where its data folder should be
    BROKER_KILLED = "broker-killed"  # kill -9, restarted
    BROKER_PAUSED = "broker-paused"  # SIGSTOP for longer than the controllers wait
    BROKERS_ROLLED = "brokers-rolled"  # all restarted in good order
    BROKERS_LOST = "brokers-lost"  # two of three killed at once: no quorum, nothing is taken
    LEADERS_MOVED = "leaders-moved"  # every partition gets another leader
    SENT_AGAIN = "sent-again"  # a till repeats itself, at times under the same id with another content
    DAYS_LATE = "days-late"  # records arrive days after they were made, in any order
    CLOCK_JUMPED = "clock-jumped"  # a till's clock is hours ahead, days ahead, days or weeks behind
    BURST = "burst"  # a hundred records at once
    POISON = "poison"  # records that cannot be taken


WORKERS = (Kind.WORKER_KILLED, Kind.WORKER_PAUSED, Kind.WORKERS_ROLLED, Kind.DISK_FULL, Kind.STORE_UNWRITABLE)
BROKERS = (Kind.BROKER_KILLED, Kind.BROKER_PAUSED, Kind.BROKERS_ROLLED, Kind.BROKERS_LOST, Kind.LEADERS_MOVED)
TILLS = (Kind.SENT_AGAIN, Kind.DAYS_LATE, Kind.CLOCK_JUMPED, Kind.BURST, Kind.POISON)

_PACE = {Kind.WORKER_PAUSED: 13.0, Kind.BROKERS_ROLLED: 20.0, Kind.BROKERS_LOST: 15.0, Kind.WORKERS_ROLLED: 13.0}
_USUAL_PACE = 9.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the plan. Times in seconds."""

    at: float
    """Since the first check. It waits for the fault before it of its lane to be healed."""
    kind: Kind
    target: int
    """Which worker or broker, from 0; the number of them may be exceeded and counts round."""
    seconds: float
    """How long it lasts."""
    wiped: bool = False
    """The worker's data folder goes as well."""


def plan(seed: int, seconds: float, only: Kind | None = None) -> list[Fault]:
    """The faults of workers and brokers in a run of so many seconds, by time.

    Each kind comes once before any comes again, however short the run.
    """
    faults: list[Fault] = []
    for kinds in (WORKERS, BROKERS):
        random = Random(f"{seed} {kinds[0]}")  # noqa: S311  # to be had again
        faults += _lane(random, kinds, seconds, only)
    return sorted(faults, key=lambda fault: fault.at)


def _lane(random: Random, kinds: Sequence[Kind], seconds: float, only: Kind | None) -> Iterator[Fault]:
    wanted = [kind for kind in kinds if only in (None, kind)]
    at, drawn = SETTLE_SECONDS + random.uniform(0, 2), 0
    while wanted and (at < seconds or drawn < len(wanted)):
        if drawn % len(wanted) == 0:
            random.shuffle(wanted)
        kind = wanted[drawn % len(wanted)]
        drawn += 1
        yield Fault(at, kind, random.randrange(60), _lasts(kind, random), wiped=random.random() < 1 / 3)
        at += _PACE.get(kind, _USUAL_PACE) * random.uniform(0.9, 1.3)


def _lasts(kind: Kind, random: Random) -> float:
    match kind:
        case Kind.WORKER_PAUSED:
            return random.uniform(1.2, 1.8)  # of its session timeout
        case Kind.WORKER_KILLED | Kind.WORKERS_ROLLED | Kind.LEADERS_MOVED:
            return random.uniform(0, 1.5)
        case Kind.BROKER_PAUSED:
            return random.uniform(6, 9)  # its session with the controllers lasts five
    return random.uniform(3, 7)
