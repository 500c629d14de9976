"""The pure core: no I/O, no clock, no randomness, no environment. Time comes in as data; ids derive from causes.

Its hot modules may have been compiled (setup.py). A compiled module goes before its source, so one that is older than any of the
sources would decide by yesterday's rules: all of them are taken away then, and the sources decide until the next build.
"""

from contextlib import suppress
from pathlib import Path

_HERE = Path(__file__).parent
_EDITED_HERE = (_HERE.parents[1] / "setup.py").exists()  # an installed package is not


def _drop_stale() -> None:
    built = list(_HERE.glob("*.so"))
    newest = max(source.stat().st_mtime for source in _HERE.glob("*.py"))
    if any(module.stat().st_mtime < newest for module in built):
        for module in built:
            module.unlink(missing_ok=True)


if _EDITED_HERE:
    with suppress(FileNotFoundError):  # another process takes them away at this very moment
        _drop_stale()
