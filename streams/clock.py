"""The clock: finds accounts with something due and emits a tick for each. It writes no account; the ledger settles.

Law: a tick's id derives from the account and the due time, so one more of the same is a repeat. What "now" is, is a setting: the
wall in live operation, the latest time seen in the partition when history is replayed.
"""

import asyncio
import heapq
import time
from collections.abc import Callable
from typing import Literal, Protocol

from schemas.records import Tick
from streams import metrics
from streams.agents import send_command
from streams.domain.account import Account, Head, due_of
from streams.reference import Directory
from streams.runtime import Exit, NotOwned, Outbox, PartitionedTable, Record
from streams.runtime.fatal import end_process

PATIENCE_SECONDS = 1.0
PIECE = 200  # accounts read at once: a millisecond or two
TICKS_A_LOOK = 50  # of all partitions together: a midnight storm is spread, because checks wait behind the ticks before them


class Totals(Protocol):
    """Who sums up all accounts."""

    def add(self, partition: int, key: bytes, head: Head, stored: bytes) -> None: ...


class DueIndex:
    """When each account of the owned partitions is due. Kept in memory, read from the table after each recovery."""

    def __init__(self, accounts: PartitionedTable) -> None:
        self._accounts = accounts
        self._due: dict[int, dict[bytes, tuple[int, str]]] = {}
        self._heaps: dict[int, list[tuple[int, bytes]]] = {}
        self._time: dict[int, int] = {}
        self._read_to: dict[int, bytes] = {}
        self._reading: asyncio.Task[None] | None = None

    async def rebuild(self, owned: frozenset[int], totals: Totals | None = None, patience: float = PATIENCE_SECONDS) -> None:
        """Forget partitions that went, and read those that came: also one that was away for a moment, others may have written it.

        Back when all is read, or when patience ends: the rest is read beside the work, because a million accounts take seconds.
        `totals` is shown every account on the way, so that one reading is enough.
        """
        self.stop()
        for gone in self._due.keys() - owned:
            del self._due[gone], self._heaps[gone]
            self._read_to.pop(gone, None)
        for new in owned - self._due.keys():
            self._due[new], self._heaps[new], self._read_to[new] = {}, [], b""
        self._reading = asyncio.create_task(self._read(totals))
        await asyncio.wait([self._reading], timeout=patience)

    def stop(self) -> None:
        """Read no further."""
        if self._reading is not None:
            self._reading.cancel()

    def unread(self, partition: int, key: bytes) -> bool:
        """Whether the account is still to be read: as it stands then, whatever the ledger does to it until then."""
        read_to = self._read_to.get(partition)
        return read_to is not None and key > read_to

    async def _read(self, totals: Totals | None) -> None:
        try:
            for partition in list(self._read_to):
                while rows := self._accounts.behind(partition, self._read_to[partition], PIECE):
                    for key, stored in rows:
                        self._found(partition, key, stored, totals)
                    self._read_to[partition] = rows[-1][0]
                    await asyncio.sleep(0)  # a piece is read at once, so that work may change what it likes in between
                del self._read_to[partition]
        except NotOwned:
            pass  # it went, which we are about to be told
        except Exception as error:  # noqa: BLE001  # a clock that forgot somebody would be silent for ever
            end_process(Exit.UNEXPECTED, "the accounts cannot be read", error=error)

    def _found(self, partition: int, key: bytes, stored: bytes, totals: Totals | None) -> None:
        head = due_of(stored)
        if head.next_due:
            self._set(partition, key, head.next_due, head.program)
        if totals is not None:
            totals.add(partition, key, head, stored)

    def _set(self, partition: int, key: bytes, due: int, program: str) -> None:
        dues = self._due.setdefault(partition, {})
        if dues.get(key, (0, ""))[0] != due:
            dues[key] = (due, program)
            heapq.heappush(self._heaps.setdefault(partition, []), (due, key))

    def note(self, partition: int, key: bytes, account: Account, now: int) -> None:
        """The ledger has written this account."""
        self._time[partition] = max(now, self._time.get(partition, 0))
        if account.next_due:
            self._set(partition, key, account.next_due, account.program)
        else:
            self._due.get(partition, {}).pop(key, None)

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
