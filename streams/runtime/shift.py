"""The shift: which units this worker works on, and how each comes and goes while all others go on.

Taking over: fence whoever had it, read the changelog to its end, tell who wants to know, take up the sources where the group has
committed. Handing over: hand out no more, finish and commit what is at hand, then say so. Law: a unit is worked on only between
the roll saying that it is ours and us saying that it is not; nothing is said before it is done.
"""

import asyncio
import logging
import socket
from collections.abc import Coroutine, Iterable
from typing import Any

from aiokafka.errors import KafkaError
from faust.types import TP

from streams.runtime.fatal import Exit, end_process
from streams.runtime.fencing import fence
from streams.runtime.membership import Membership, incarnation
from streams.runtime.premises import Premises
from streams.runtime.roll import Suspect, View

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.01
WARM_SECONDS = 0.2
REFRESH_SECONDS = 3600.0


class Shift:
    """Made with the app; begins with its subscription and ends with it."""

    _premises: Premises

    def __init__(self, app: Any) -> None:
        self._app = app
        self._membership: Membership | None = None
        self._sources: dict[str, int] = {}
        self._units = 0
        self._view = View({}, {}, {})
        self._working: set[int] = set()
        self._taking: set[int] = set()
        self._giving: set[int] = set()
        self._given: set[int] = set()
        self._follow: frozenset[int] = frozenset()
        self._warm: frozenset[int] = frozenset()
        self._tasks: set[asyncio.Task[None]] = set()
        self._told = ""
        self._ending = False

    # -- beginning and end

    async def begin(self, topics: Iterable[str]) -> None:
        """Be on the roll; from then on units come and go."""
        if self._membership is not None:
            return
        app = self._app
        await self._survey(set(topics) - app.tables.changelog_topics)
        if strangers := await app.consumer.strangers():
            end_process(Exit.MEMBERSHIP_LOST, f"group {app.conf.id} has members by Kafka's own protocol: {strangers}")
        await app._fetcher.maybe_start()  # noqa: SLF001
        app.flow_control.resume()
        app.consumer.resume_flow()
        self._premises = Premises(app.config.datadir, app.config.group)
        self._membership = self._new_membership()
        self._do(self._keep_warm())
        self._do(self._refresh())
        await app.consumer.in_thread(self._membership.join())
        logger.info("%s is on the roll", self._membership.me)

    async def _survey(self, sources: set[str]) -> None:
        app = self._app
        for topic in sorted(sources):
            try:
                self._sources[topic] = await app.partitions(topic)
            except (KafkaError, TimeoutError) as error:
                end_process(Exit.UNEXPECTED, f"topic {topic} must exist", error=error)
        for table in app.tables.values():
            await table.require_changelog()
        self._units = max(self._sources.values())

    def _new_membership(self) -> Membership:
        app, config = self._app, self._app.config
        me = incarnation(config.instance_id or socket.gethostname())
        loop = asyncio.get_running_loop()

        def told(view: View) -> None:
            loop.call_soon_threadsafe(self._on_view, view)

        return Membership(
            config.clients,
            config.group,
            me,
            app.producer.identity,
            app.lease,
            told,
            session=config.session_timeout,
            interval=config.heartbeat_interval,
            patience=config.membership_timeout,
            former=self._premises.move_in(me),
        )

    def end(self) -> None:
        """Take nothing more up; what is being taken over is left to others."""
        self._ending = True
        for task in self._tasks:
            task.cancel()

    async def leave(self) -> None:
        """All is finished and committed: tell the others."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for table in self._app.tables.values():
            table.disown()
        if self._membership is not None:
            await self._app.consumer.in_thread(self._membership.leave())

    # -- looking

    def _on_view(self, view: View) -> None:
        self._view = view
        self._look()

    def _look(self) -> None:
        """Compare what is with what should be, and set in motion what is missing."""
        member = self._membership
        if self._ending or member is None or member.me not in self._view.members:
            return
        view, me = self._view, member.me
        wishes, mine = view.wishes(self._units), view.of(me)
        self._given &= mine
        mine -= self._given
        if new := mine - self._working - self._taking - self._giving:
            self._taking |= new
            self._do(self._take(new))
        if away := frozenset(unit for unit in self._working & mine - self._giving if self._is_due_to_another(unit, wishes[unit])):
            self._giving |= away
            self._do(self._give(away))
        self._follow = self._to_follow(view, wishes, mine)
        self._warm &= self._follow
        free = frozenset(unit for unit, name in wishes.items() if name == me and unit not in view.owners)
        member.want(takes=free, warm=self._warm)
        self._tell(mine, wishes)

    def _is_due_to_another(self, unit: int, heir: str) -> bool:
        """Whether the unit should be another's, and that one has its tables."""
        me = self._membership.me if self._membership is not None else heir
        return heir != me and (not self._app.tables or unit in self._view.members[heir])

    def _to_follow(self, view: View, wishes: dict[int, str], mine: frozenset[int]) -> frozenset[int]:
        """Units of others that are to become ours, or for which we stand by."""
        if not self._app.tables or self._membership is None:
            return frozenset()
        me, count = self._membership.me, self._app.config.standby_replicas
        others = set(range(self._units)) - mine - self._taking - self._giving
        return frozenset(
            unit for unit in others if unit in view.owners and (wishes[unit] == me or me in view.standbys(unit, count))
        )

    def _tell(self, mine: frozenset[int], wishes: dict[int, str]) -> None:
        """Say so when everything is where it should be."""
        due = {unit for unit, name in wishes.items() if self._membership is not None and name == self._membership.me}
        told = f"{sorted(mine)} of {len(self._view.members)}"
        if due == mine == self._working and not self._taking and not self._giving and told != self._told:
            self._told = told
            self._app.rebalancing_count += 1
            self._app.vitals.taken_up = True
            self._app.tables.recovery.completed.set()
            self._app.tables.on_actives_ready()
            self._app.tables.on_standbys_ready()
            logger.info("Worker ready: partitions %s, %d workers", sorted(mine), len(self._view.members))

    # -- taking over

    async def _take(self, units: frozenset[int]) -> None:
        consumer, tables = self._app.consumer, self._app.tables
        changelogs = tables.changelogs(units)
        await self._fence(units)
        await self._restore(changelogs)
        await consumer.reassign({}, stops=changelogs)
        for table in tables.values():
            await table.own(units)
        await consumer.reassign(await consumer.starts(self._of(units)))
        self._taking -= units
        self._working |= units
        if self._membership is not None:
            self._membership.works(units)
        self._look()

    def _of(self, units: Iterable[int]) -> list[TP]:
        return [TP(topic, unit) for unit in sorted(units) for topic, count in self._sources.items() if unit < count]

    async def _fence(self, units: Iterable[int]) -> None:
        places: dict[Suspect, list[tuple[str, int]]] = {}
        for unit in units:
            for suspect in self._view.suspects.get(unit, ()):
                places.setdefault(suspect, []).extend(self._app.tables.changelogs([unit]))
        if places and self._app.tables:
            await fence(self._app.config.clients, places)

    async def _restore(self, changelogs: list[TP]) -> None:
        """Back when the stores hold all that the changelogs hold now."""
        if not changelogs:
            return
        consumer, tables = self._app.consumer, self._app.tables
        ends = await consumer.highwaters(*changelogs)
        tables.recovery.restores(ends)
        if cold := [tp for tp in changelogs if tp not in consumer.followed]:
            await consumer.reassign(await self._persisted(cold, ends))
        for tp, end in ends.items():
            while not await consumer.followed_to(tp, end):  # noqa: ASYNC110 - it says no after a look of its own
                await asyncio.sleep(LOOK_SECONDS)
        tables.recovery.restored(ends)

    async def _persisted(self, changelogs: list[TP], ends: dict[TP, int]) -> dict[TP, int]:
        """Where to go on reading each changelog partition: behind what the local store has."""
        starts = dict(await self._app.consumer.earliest_offsets(*changelogs))
        for tp in changelogs:
            await asyncio.sleep(0)  # to open a store takes a while, and nothing else runs
            stored = self._app.tables.persisted(tp)
            if stored is not None and stored >= ends[tp]:
                end_process(Exit.UNEXPECTED, f"{tp} ends at {ends[tp]}, the local store is at {stored}: delete the data folder")
            starts[tp] = max(starts[tp], -1 if stored is None else stored + 1)
        return starts

    # -- handing over

    async def _give(self, units: frozenset[int]) -> None:
        consumer, sources = self._app.consumer, self._of(units)
        consumer.rest(sources)
        self._app.note_leaving()
        while any(consumer.book.busy(tp) for tp in sources):  # noqa: ASYNC110 - a batch takes milliseconds
            await asyncio.sleep(LOOK_SECONDS)
        while any(True for tp, _ in consumer.book.committable() if tp in sources):
            await consumer.commit(set(sources))
        await consumer.reassign({}, stops=sources)
        for table in self._app.tables.values():
            await table.own(go=units)
        self._giving -= units
        self._working -= units
        self._given |= units
        self._app.note_leaving()
        if self._membership is not None:
            self._membership.gives(units)

    @property
    def moving(self) -> bool:
        """Whether a unit is on its way to us or from us, while all others are worked on."""
        return bool(self._taking or self._giving)

    @property
    def others(self) -> int:
        """How many workers there are beside us."""
        return max(0, len(self._view.members) - 1)

    @property
    def giving(self) -> bool:
        """Whether a batch at hand is waited for."""
        return bool(self._giving) or self._ending

    def repeat(self, tp: TP, offset: int) -> None:
        """A batch was given up for the sake of another unit: read it again."""
        if not self._ending and tp.partition not in self._giving:
            self._do(self._app.consumer.reassign({tp: offset}))

    # -- standing by

    async def _keep_warm(self) -> None:
        """Follow the changelogs of units that may come to us, and let go of stores that nobody needs here."""
        consumer, tables = self._app.consumer, self._app.tables
        while True:
            wanted = tables.changelogs(self._follow)
            if news := [tp for tp in wanted if tp not in consumer.followed]:
                starts = await self._persisted(news, await consumer.highwaters(*news))
                await consumer.reassign({tp: at for tp, at in starts.items() if self._may_follow(tp)})
            if stops := [tp for tp in consumer.followed if tp.partition not in self._follow | self._taking]:
                await consumer.reassign({}, stops=stops)
            for table in tables.values():
                await table.close_all_but(lambda: self._follow | self._taking | self._working | self._giving)
            await self._note_warm()
            await asyncio.sleep(WARM_SECONDS)

    def _may_follow(self, tp: TP) -> bool:
        """It may have become ours meanwhile."""
        return tp.partition in self._follow and tp not in self._app.consumer.followed

    async def _note_warm(self) -> None:
        cold = [tp for tp in self._app.consumer.followed if tp.partition in self._follow - self._warm]
        if not cold:
            return
        ends = await self._app.consumer.highwaters(*cold)
        late = {tp.partition for tp, end in ends.items() if not await self._app.consumer.followed_to(tp, end)}
        self._warm |= frozenset(tp.partition for tp in cold) - late
        self._warm &= self._follow
        self._look()

    # -- tasks

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            self._app.consumer.book.refresh()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - half a move is no move
            end_process(Exit.UNEXPECTED, "partitions could not be moved", error=error)
