"""The lease: a worker may produce only while the others still count it in.

At-least-once has no fencing: a worker that was paused past its session timeout would go on with what it had begun. Law: every
produce request waits for the lease first; it is renewed only by what all other workers can read, too. Where it comes too late
by a hair, the fence of the changelogs holds (fencing.py).
"""

import asyncio
import time
from dataclasses import dataclass

SAFETY = 0.8  # of the session timeout: the others began to count a little after us
LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Instant:
    """A moment by two clocks: one counts suspended time, the other a paused virtual machine that was set right again."""

    boot: float
    wall: float

    @classmethod
    def now(cls) -> "Instant":
        return cls(time.clock_gettime(time.CLOCK_BOOTTIME), time.time())

    def age(self, now: "Instant") -> float:
        """Seconds since this instant: the larger of what the two clocks say."""
        return max(now.boot - self.boot, now.wall - self.wall)


class Lease:
    """Valid for 0.8 session timeouts after the sending of the last word that all have in front of them. Unarmed until then."""

    def __init__(self, session_timeout: float) -> None:
        self.ttl = session_timeout * SAFETY
        self._renewed: Instant | None = None

    def renew(self, sent: Instant) -> None:
        """What was said at `sent` is in the roll, and we are still on it."""
        self._renewed = sent

    def age(self) -> float | None:
        """Seconds since it was renewed; None before the first time."""
        return None if self._renewed is None else self._renewed.age(Instant.now())

    @property
    def holds(self) -> bool:
        """Whether this worker may produce."""
        age = self.age()
        return age is None or age <= self.ttl

    async def held(self) -> None:
        """Back as soon as it holds. Who is counted out never comes back: the roll ends the process."""
        while not self.holds:  # noqa: ASYNC110 - it is renewed in another thread, and waited for once in a blue moon
            await asyncio.sleep(LOOK_SECONDS)
