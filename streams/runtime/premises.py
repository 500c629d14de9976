"""The folder of a worker, and the proof that nobody else works in it.

Law: who holds the lock is alone, and whoever worked here before is dead: the kernel lets go of a lock when its process ends.
"""

import fcntl
from pathlib import Path

from streams.runtime.fatal import Exit, end_process


class Premises:
    """Held from now on until it is left, at the latest with the process."""

    def __init__(self, folder: Path, group: str) -> None:
        self._file = (folder / f"{group}.worker").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as taken:
            self._file.close()
            end_process(Exit.UNEXPECTED, f"a worker of {group} works in {folder} already: each needs its own", error=taken)

    def move_in(self, name: str) -> str:
        """Note who works here from now on. Answers who did before; empty when nobody did."""
        self._file.seek(0)
        former = self._file.read().strip()
        self._file.truncate(0)
        self._file.write(name)
        self._file.flush()
        return former

    def leave(self) -> None:
        """Let somebody else in."""
        self._file.close()
