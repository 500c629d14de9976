"""Topics that yield: taken a few records at a time while nothing else waits, and a small share of them whatever waits.

Law: this decides when, never what. To the shift, the book, commits and recovery a partition that yields is one like any other; it
is only not asked for. What it feeds is bounded: never more than a batch of it is at hand in a worker, and it looks at the queues.
"""

import asyncio
import logging
import time
from typing import Any

from aiokafka.errors import KafkaError
from faust.types import TP

logger = logging.getLogger(__name__)

SIZE = 50
"""Records taken at once; a record of now waits behind so many at most, twice: at the door and in what the topic feeds."""
WAITING = 100
"""Records of other topics that may wait or be at hand in this worker: there are always some, and some are of the last batch."""
WAITING_AWAY = 1000
"""Records that each other worker may have before it in the topic that is fed. Commits tell: a second's work counts as waiting."""
SHARE_SECONDS = 1.0
"""After so long a batch is taken whatever waits: under a load that never ends the topic is late, and not forgotten."""
LOOK_SECONDS = 0.01
_AWAY_SECONDS = 0.5


class Wanted:
    """The partitions a fetch may take records from, as of this moment (read by the consumer thread); but for those that yield."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def __contains__(self, tp: Any) -> bool:
        return tp.topic not in self._consumer.yielding.topics and self._consumer.takes(tp)


class Yielded(Wanted):
    """Those of them that yield."""

    def __contains__(self, tp: Any) -> bool:
        return tp.topic in self._consumer.yielding.topics and self._consumer.takes(tp)


class Yielding:
    """Belongs to one app. Asked by the consumer thread before each fetch; counts nothing while no such topic holds records."""

    def __init__(self, app: Any) -> None:
        self.topics: dict[str, str] = {}
        """Each topic that yields, and the topic that its handler feeds."""
        self._app = app
        self._took = float("-inf")
        self._asked = float("-inf")
        self._away = 0.0

    def is_due(self) -> bool:
        """Whether a batch may be taken now: none is at hand, and nobody else waits, or it is time for the share."""
        now = self._asked = time.monotonic()
        consumer = self._app.consumer
        if any(consumer.book.busy(tp) for tp in consumer.active_partitions() if tp.topic in self.topics):
            return False
        return now - self._took >= SHARE_SECONDS or (self._away <= WAITING_AWAY and self._waiting() <= WAITING)

    def took(self) -> None:
        """A batch was taken."""
        self._took = time.monotonic()

    def _waiting(self) -> int:
        return int(self._app.vitals.waiting(besides=self.topics.keys()))

    async def look_away(self) -> None:
        """Count what waits at other workers, while there is something that yields to them. Never ends."""
        while True:
            await asyncio.sleep(_AWAY_SECONDS)
            if time.monotonic() - self._asked < 2 * _AWAY_SECONDS:
                self._away = await self._count_away()

    async def _count_away(self) -> float:
        """Records by other worker; very many when Kafka does not tell."""
        app, mine = self._app, self._app.consumer.assignment()
        try:
            fed = [TP(topic, n) for topic in set(self.topics.values()) for n in range(await app.partitions(topic))]
            away = [tp for tp in fed if tp not in mine]
            if not away:
                return 0.0
            ends, done = await app.consumer.highwaters(*away), await app.consumer.committed_by_all(away)
        except (KafkaError, TimeoutError) as error:
            logger.warning("how much waits at other workers cannot be told: %r", error)
            return float("inf")
        waiting = sum(max(0, ends[tp] - done.get(tp, 0)) for tp in away)
        return float(waiting / max(1, app.shift.others))
