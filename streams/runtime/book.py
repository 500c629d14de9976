"""The commit book: per partition, what was handed out, what is finished, what is committed.

Law: offsets are committed only up to the end of an unbroken run of finished batches. One batch of a partition is out at
a time, and it must start exactly where the one before ended: agents read topics without transactions, so a gap is a lost
record, whoever lost it; but for topics declared compacted, whose records are superseded, not lost.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


class OffsetGap(Exception):  # noqa: N818 - it is what it is called everywhere
    """The next records of a partition do not follow the last ones."""


@dataclass(slots=True)
class _Line:
    next: int
    done: int
    committed: int
    out: object | None = None


class CommitBook:
    """Keyed by topic-partition. A batch is known by its token (any object, compared by identity)."""

    def __init__(self) -> None:
        self._lines: dict[Any, _Line] = {}

    def start(self, tp: Any, offset: int) -> None:
        """Reading of `tp` starts at `offset`; whatever was out before is forgotten and can no longer be finished."""
        self._lines[tp] = _Line(offset, offset, offset)

    def drop(self, tp: Any) -> None:
        """`tp` is given up: what is out can no longer be finished."""
        self._lines.pop(tp, None)

    def again(self, tp: Any) -> int:
        """What is out of `tp` was given up, and will be read again. Answers from which offset."""
        line = self._lines[tp]
        line.next, line.out = line.done, None
        return line.done

    def next(self, tp: Any) -> int:
        """Offset of the first record that was not handed out."""
        return self._lines[tp].next

    def refresh(self) -> None:
        """Commit all positions once more: a group without members forgets what is not committed for a week."""
        for line in self._lines.values():
            line.committed = -1

    def busy(self, tp: Any) -> bool:
        """True while a batch of `tp` is out."""
        line = self._lines.get(tp)
        return line is not None and line.out is not None

    def hand_out(self, tp: Any, first: int, last: int, token: object, *, compacted: bool = False) -> None:
        """The batch `token` with offsets first..last goes to its agent. Raises OffsetGap, KeyError before `start`.

        In a compacted topic offsets may be missing, but none comes twice.
        """
        line = self._lines[tp]
        if line.out is not None:
            raise OffsetGap(f"{tp}: {first}..{last} while another batch is out")
        if first < line.next or (first > line.next and not compacted):
            raise OffsetGap(f"{tp}: expected offset {line.next}, got {first}")
        line.next, line.out = last + 1, token

    def finish(self, tp: Any, token: object) -> bool:
        """The batch is done for good. False (and nothing happens) when the partition was taken away meanwhile."""
        line = self._lines.get(tp)
        if line is None or line.out is not token:
            return False
        line.done, line.out = line.next, None
        return True

    def committable(self) -> Iterator[tuple[Any, int]]:
        """Partitions with progress since the last commit, with the offset to commit (of the next record to read)."""
        return ((tp, line.done) for tp, line in list(self._lines.items()) if line.done > line.committed)

    def position(self, tp: Any) -> int | None:
        """Offset of the first record that is not finished."""
        line = self._lines.get(tp)
        return None if line is None else line.done

    def committed(self, tp: Any, offset: int) -> None:
        """The broker has acknowledged the commit of `offset`."""
        line = self._lines.get(tp)
        if line is not None:
            line.committed = max(line.committed, offset)
