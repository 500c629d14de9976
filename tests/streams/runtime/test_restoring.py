"""What is said of tables being restored, while some partitions are done and others are not."""

import asyncio
from types import SimpleNamespace

from faust.types import TP

from streams.runtime.recovery import IdleRecovery
from streams.runtime.shift import Shift

ONE, OTHER = TP("loy-accounts-changelog", 1), TP("loy-accounts-changelog", 2)


class Changelogs:
    """As much of an app as restoring needs: two changelogs of ten records, each followed to its end when the test says so."""

    def __init__(self):
        self.read = {ONE: asyncio.Event(), OTHER: asyncio.Event()}
        self.followed = self.read
        self.app = SimpleNamespace(conf=SimpleNamespace(stream_recovery_delay=0), consumer=self)
        self.recovery = IdleRecovery(self.app, None)
        self.app.tables = SimpleNamespace(recovery=self.recovery)

    async def highwaters(self, *changelogs):
        return dict.fromkeys(changelogs, 10)

    async def followed_to(self, changelog, _end):
        return await self.read[changelog].wait()


async def test_as_long_as_one_partition_is_restored_the_process_says_so():
    changelogs = Changelogs()
    shift = Shift(changelogs.app)
    first, second = (asyncio.create_task(shift._restore([one])) for one in (ONE, OTHER))
    await asyncio.sleep(0)  # both have begun
    changelogs.read[ONE].set()
    await first
    assert changelogs.recovery.in_recovery
    assert list(changelogs.recovery.active_highwaters) == [OTHER]
    changelogs.read[OTHER].set()
    await second
    assert not changelogs.recovery.in_recovery
