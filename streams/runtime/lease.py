"""The lease: a worker may produce only while the group still counts it in.

At-least-once has no fencing: a worker that was paused past its session timeout would write its old state over that of
the partition's new owner. Law: every produce request asks the lease first; it is renewed by good heartbeats alone.
"""

import time
from dataclasses import dataclass

from streams.runtime.fatal import Exit, end_process

SAFETY = 0.8  # of the session timeout: the broker's clock for it started a little after ours


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
    """Valid for 0.8 session timeouts after the sending of the last answered heartbeat. Unarmed until the first one."""

    def __init__(self, session_timeout: float) -> None:
        self.ttl = session_timeout * SAFETY
        self._renewed: Instant | None = None

    def renew(self, sent: Instant) -> None:
        """The heartbeat sent at `sent` was answered well."""
        self._renewed = sent

    def age(self) -> float | None:
        """Seconds since the last good heartbeat; None before the first."""
        return None if self._renewed is None else self._renewed.age(Instant.now())

    def require(self) -> None:
        """Return when the lease holds (or was never armed), else end the process with code 75."""
        age = self.age()
        if age is not None and age > self.ttl:
            end_process(Exit.MEMBERSHIP_LOST, f"lease expired: last good heartbeat {age:.1f} s ago, limit {self.ttl:.1f} s")
