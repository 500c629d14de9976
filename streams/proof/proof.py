"""The whole proof over the records of eight topics, fed one by one.

Law of feeding: each topic in log order; doors before the backlog lane, this before replies and dead letters, these before
commands, commands before events.
"""

from collections.abc import Iterator, Mapping
from itertools import chain

from schemas.codec import INBOUND
from schemas.topics import BACKLOG, COMMANDS, DEAD_LETTERS, EVENTS, REPLIES
from streams.log import Record
from streams.proof.budgets import Budgets
from streams.proof.figures import Figures, Violation
from streams.proof.history import History
from streams.proof.outcomes import Outcomes, read_command
from streams.proof.promises import Promises

DOORS = tuple(INBOUND)


class Proof:
    """Judges records as they come. Several proofs share nothing."""

    def __init__(self, doors: Mapping[tuple[str, int], tuple[int, int]], answers_since_ms: int = 0) -> None:
        """`doors`: (topic, partition) to (first offset, end) of what is judged.

        Records before `answers_since_ms` may have lost their reply to retention and are not judged for it.
        """
        self._figures = Figures()
        self._promises = Promises()
        self._outcomes = Outcomes(self._figures, self._promises, answers_since_ms)
        self._history = History(self._figures, self._promises)
        self._budgets = Budgets()
        self._unfinished: set[str] | None = None
        for (topic, partition), (start, end) in doors.items():
            self._outcomes.open(topic, partition, start, end)

    def feed(self, record: Record) -> Violation | None:
        """Take one record; the first law it breaks, or None."""
        self._figures.records[record.topic] += 1
        if record.topic in DOORS:
            self._outcomes.record(record)
            return None
        if record.topic == BACKLOG.name:
            self._outcomes.put_aside(record)
            return None
        if record.topic == REPLIES.name:
            return self._outcomes.reply(record)
        if record.topic == DEAD_LETTERS.name:
            return self._outcomes.dead_letter(record)
        if record.topic == COMMANDS.name:
            return self._command(record)
        if record.topic == EVENTS.name:
            return self._history.event(record)
        raise ValueError(f"{record.topic} is not part of the proof")

    def _command(self, record: Record) -> Violation | None:
        head = read_command(record)
        if isinstance(head, Violation):
            return head
        self._history.command(head)
        self._promises.command(head)
        self._budgets.command(head)
        if self._unfinished is None:
            self._outcomes.command(head, record)
        return None

    def raise_answers_since(self, timestamp_ms: int) -> None:
        """Replies up to this time may be gone."""
        self._outcomes.answers_since_ms = max(self._outcomes.answers_since_ms, timestamp_ms)

    def waiting(self) -> int:
        """Checks that wait in the backlog lane: not judged yet."""
        return self._outcomes.waiting()

    def seal(self) -> None:
        """Everything up to the fixed ends was fed. What is fed from now on may finish it, and is not awaited itself."""
        self._unfinished = {name for name, _ in self._open()}

    def outstanding(self) -> Iterator[Violation]:
        """What would be a violation if nothing more came: records without an outcome, commands half told."""
        yield from self._outcomes.missing()
        for name, violation in self._open():
            if self._unfinished is None or name in self._unfinished:
                yield violation

    def _open(self) -> Iterator[tuple[str, Violation]]:
        return chain(self._promises.missing(), self._history.unfinished(), self._budgets.unsettled())

    def tally(self) -> Figures:
        """The figures of everything fed so far."""
        self._outcomes.count_unjudged()
        self._history.count()
        return self._figures
