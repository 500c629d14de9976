"""Faust's table recovery, replaced: partitions come and go one by one (shift.py), and changes are applied in bulk.

Law: a change is applied to the table that its topic belongs to, or not at all.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP
from mode import Service


class IdleRecovery(Recovery):
    """L3: stock resumes the source partitions before it seeks them (faust/tables/recovery.py:649-662), and stops everybody
    for every change. Of it only `completed` is left, which the app's timers wait for.
    """

    @Service.task
    async def _restart_recovery(self) -> None:
        """Units are restored as they are taken over."""

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Stock takes records from a queue here, one at a time; ours come through `CarefulTables.apply`."""

    async def on_stop(self) -> None:
        """Nothing is buffered."""

    def restores(self, ends: Mapping[TP, int]) -> None:
        """For those who look on: these changelog partitions are being restored too, up to these ends."""
        self.active_highwaters = Counter(dict(self.active_highwaters) | {tp: end - 1 for tp, end in ends.items()})
        self.in_recovery = self.app.in_recovery = True

    def restored(self, tps: Iterable[TP]) -> None:
        """These are, and perhaps not yet the others."""
        done = frozenset(tps)
        self.active_highwaters = Counter({tp: end for tp, end in self.active_highwaters.items() if tp not in done})
        self.in_recovery = self.app.in_recovery = bool(self.active_highwaters)


class CarefulTables(TableManager):
    """Names our recovery to Faust, and knows which changelog is whose.

    Stock makes its recovery when it is first asked for, on the event loop of whoever asks: of a scrape, that is another one, and
    the worker waits for it for ever.
    """

    app: Any
    _changelogs: Any

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self._recovery = IdleRecovery(app, self, beacon=self.beacon)

    @property
    def recovery(self) -> IdleRecovery:
        return self._recovery  # type: ignore[return-value]

    def apply(self, tp: TP, records: Sequence[Any]) -> None:
        """Write consecutive changelog records of one partition to its table's store."""
        self._changelogs[tp.topic].apply_changes(tp, records)
        self.recovery.active_offsets[tp] = records[-1].offset
        self.app.vitals.restored += len(records)

    def changelogs(self, units: Iterable[int]) -> list[TP]:
        """The changelog partitions behind these units."""
        return [TP(topic, unit) for unit in sorted(units) for topic, table in self._changelogs.items() if unit < table.partitions]

    def persisted(self, tp: TP) -> int | None:
        """Offset up to which the local store of a changelog partition is complete; None means from the beginning."""
        offset: int | None = self._changelogs[tp.topic].persisted_offset(tp)
        return offset
