"""The clock: finds accounts with something due and emits a tick for each. It writes no account; the ledger settles.

Law: a tick's id derives from the account and the due time, so one more of the same is a repeat. What "now" is, is a setting: the
wall in live operation, the latest time seen in the partition when history is replayed.
"""

import asyncio
import heapq
import time
from collections.abc import Callable
from typing import Literal, Protocol

from schemas.commands import Tick
from streams import metrics
from streams.agents import send_command
from streams.domain.account import Account, Head, due_of
from streams.reference import Directory
from streams.runtime import Outbox, PartitionedTable, Record

TICKS_A_LOOK = 200  # of all partitions together: a midnight storm is spread, because checks wait behind the ticks before them


class Totals(Protocol):
    """Who sums up all accounts."""

    def add(self, partition: int, key: bytes, head: Head, stored: bytes) -> None: ...


class DueIndex:
    """When each account of the owned partitions is due. Kept in memory, rebuilt from the table after each recovery."""

    def __init__(self, accounts: PartitionedTable) -> None:
        self._accounts = accounts
        self._due: dict[int, dict[bytes, tuple[int, str]]] = {}
        self._heaps: dict[int, list[tuple[int, bytes]]] = {}
        self._time: dict[int, int] = {}

    async def rebuild(self, owned: frozenset[int], totals: Totals | None = None) -> None:
        """Read the owned partitions anew: one that was away for a moment may have been written by another worker.

        `totals` is shown every account on the way, so that one reading is enough.
        """
        self._due, self._heaps = {}, {}
        for partition in owned:
            dues = self._due[partition] = {}
            for key, stored in self._accounts.items(partition):
                head = due_of(stored)
                if head.next_due:
                    dues[key] = (head.next_due, head.program)
                if totals is not None:
                    totals.add(partition, key, head, stored)
            self._heaps[partition] = [(due, key) for key, (due, _) in self._due[partition].items()]
            heapq.heapify(self._heaps[partition])
            await asyncio.sleep(0)  # heartbeats go on between two partitions

    def note(self, partition: int, key: bytes, account: Account, now: int) -> None:
        """The ledger has written this account."""
        self._time[partition] = max(now, self._time.get(partition, 0))
        dues = self._due.setdefault(partition, {})
        if not account.next_due:
            dues.pop(key, None)
        elif dues.get(key, (0, ""))[0] != account.next_due:
            dues[key] = (account.next_due, account.program)
            heapq.heappush(self._heaps.setdefault(partition, []), (account.next_due, key))

    def stream_time(self, partition: int) -> int:
        """The latest command time seen in the partition, epoch seconds."""
        return self._time.get(partition, 0)

    def take(self, partition: int, now: int, most: int) -> list[tuple[bytes, int, str]]:
        """Accounts due by `now`, the longest due first: (key, due, program). Each due time is taken once."""
        heap, dues = self._heaps.get(partition, []), self._due.get(partition, {})
        taken: list[tuple[bytes, int, str]] = []
        while heap and heap[0][0] <= now and len(taken) < most:
            due, key = heapq.heappop(heap)
            known = dues.get(key)
            if known is not None and known[0] == due:
                taken.append((key, due, known[1]))
        return taken

    def newest(self) -> int:
        """The latest command time seen in any partition, epoch seconds."""
        return max(self._time.values(), default=0)

    def __len__(self) -> int:
        return sum(map(len, self._due.values()))


class Clock:
    """Emits ticks for what is due in the owned partitions."""

    def __init__(
        self,
        index: DueIndex,
        directory: Directory,
        outbox: Callable[[], Outbox],
        *,
        mode: Literal["wall", "stream", "off"],
        default_program: str,
    ) -> None:
        self._index = index
        self._directory = directory
        self._outbox = outbox
        self._mode = mode
        self._default_program = default_program

    async def look(self, owned: frozenset[int]) -> None:
        """One look at every partition."""
        metrics.DUE.set(len(self._index))
        if self._mode == "off":
            return
        outbox, share = self._outbox(), TICKS_A_LOOK // max(1, len(owned)) + 1
        for partition in owned:
            now = int(time.time()) if self._mode == "wall" else self._index.stream_time(partition)
            for key, due, program in self._index.take(partition, now, share):
                self._tick(outbox, key.decode(), due, program or self._default_program, now)
        await outbox.flush()

    def _tick(self, outbox: Outbox, account: str, due: int, program: str, now: int) -> None:
        plan = self._directory.version(program, due)
        if plan is not None:
            tick = Tick(type="tick", id=f"tick:{account}:{due}", account=account, program=plan.key)
            sent = (metrics.SENT_AT, b"%d" % (time.time_ns() // 1_000_000))  # in a replay, `now` is years ago
            send_command(outbox, tick, Record(account.encode(), None, now * 1000, (sent,), 0))
            metrics.TICKS.inc()
