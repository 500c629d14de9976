# ruff: noqa: ASYNC109 - the signatures are Faust's
"""Faust's table recovery, made careful: nothing is in flight while positions change, and changes come in bulk.

Law: first nothing is being fetched, then seek, then resume; a change from a partition we did not ask for is ignored.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery, ServiceStopped
from faust.types import TP
from mode import Service

from streams.runtime.fatal import Exit, end_process


class CarefulRecovery(Recovery):
    """L3: stock resumes the source partitions before it seeks them (faust/tables/recovery.py:649-662, 306-329)."""

    app: Any
    tp_to_table: Any

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """All tables are restored: tell them, then take up the source partitions at their committed offsets."""
        self.log.info("Restore complete!")
        await self.app.on_rebalance_complete.send()
        self._set_recovery_ended()
        # Stock waits without looking at the results: a failing callback would go unnoticed.
        await asyncio.gather(
            *(
                table.on_recovery_completed(self.actives_for_table[table], self.standbys_for_table[table])
                for table in self.tables.values()
            )
        )
        await self._take_up_sources(generation_id)

    async def _resume_streams(self, generation_id: int = 0) -> None:
        """The way of a worker without tables."""
        await self.app.on_rebalance_complete.send()
        await self._take_up_sources(generation_id)

    async def _take_up_sources(self, generation_id: int) -> None:
        app, consumer = self.app, self.app.consumer
        timeout = app.conf.broker_request_timeout
        app.flow_control.suspend()
        await self._quiesce()
        assignment = consumer.assignment()
        if app.consumer_generation_id != generation_id:
            self.log.info("Rebalancing again")
            return
        if assignment:
            await self._wait(consumer.perform_seek(), timeout=timeout)
        if app.consumer_generation_id != generation_id:
            return
        self.completed.set()
        app.flow_control.resume()  # clears the agents' queues: empty by now
        consumer.resume_partitions({tp for tp in assignment if not self._is_changelog_tp(tp)})
        consumer.resume_flow()
        app.vitals.taken_up = True
        await app._fetcher.maybe_start()  # noqa: SLF001
        self.tables.on_actives_ready()
        if not app.assignor.assigned_standbys():
            self.tables.on_standbys_ready()
        app.on_rebalance_end()
        self.log.info("Worker ready")

    async def _quiesce(self) -> None:
        self.app.consumer.stop_flow()
        await self._wait(self.app.consumer.wait_for_stopped_flow(), timeout=self.app.conf.broker_request_timeout)

    async def _seek_offsets(self, consumer: Any, tps: set[TP], offsets: Any, title: str) -> None:
        """Stock seeks with a fetch under way, whose records then count as read: a hole in the restored table."""
        await self._quiesce()  # every caller resumes the flow afterwards
        await super()._seek_offsets(consumer, tps, offsets, title)

    async def _wait(self, coro: Any, timeout: Any = None) -> None:
        """Stock takes a step that timed out for an orderly stop, and recovery ends for ever (mode/services.py:747)."""
        try:
            await super()._wait(coro, timeout=timeout)
        except ServiceStopped:
            if not (self.should_stop or self.app.should_stop):
                end_process(Exit.UNEXPECTED, "a step of table recovery timed out")
            raise

    # -- changes, in bulk

    def apply(self, tp: TP, records: Sequence[Any]) -> None:
        """Write consecutive changelog records of one partition to its table's store."""
        if tp in self.active_tps:
            offsets = self.active_offsets
        elif tp in self.standby_tps:
            offsets = self.standby_offsets
        else:
            return  # stock gives it to whichever table came before (faust/tables/recovery.py:867-890)
        seen = offsets.get(tp)
        news = records if seen is None else [record for record in records if record.offset > seen]
        if news:
            self.tp_to_table[tp].apply_changes(tp, news)
            offsets[tp] = news[-1].offset
            self.app.vitals.restored += len(news)
        self._signal_progress()

    async def on_idle(self) -> None:
        """A fetch came back empty: the end may have been reached without a record (compacted away, control record)."""
        if not self.in_recovery:
            return
        for tp, missing in self.active_remaining().items():
            if missing > 0 and tp in self.app.consumer._active_partitions:  # noqa: SLF001
                position = await self.app.consumer.position(tp)
                if position is not None and position > self.active_highwaters[tp]:
                    self.active_offsets[tp] = self.active_highwaters[tp]
        self._signal_progress()

    def _signal_progress(self) -> None:
        if self.in_recovery and not self.need_recovery():
            self._set_recovery_ended()
            self.signal_recovery_end.set()
        if self.standby_tps and not self.tables.standbys_ready and not self.standby_remaining_total():
            self.tables.on_standbys_ready()

    def _set_recovery_started(self) -> None:
        super()._set_recovery_started()
        self.signal_recovery_end.clear()

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Stock takes records from a queue here, one at a time; ours come through `apply`."""

    async def on_stop(self) -> None:
        """Nothing is buffered."""


class CarefulTables(TableManager):
    """Names our recovery to Faust."""

    @property
    def recovery(self) -> CarefulRecovery:
        if self._recovery is None:
            self._recovery = CarefulRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery  # type: ignore[return-value]
