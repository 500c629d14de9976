"""Compiles the hot part of the pure core with mypyc where `LOY_COMPILE=1` asks for it (docs/adr/0008).

Everything else about the package is in pyproject.toml.
"""

import os

from setuptools import Extension, setup

# Not in the list: modules that define records of msgspec, whose metaclass mypyc cannot follow, and what no check waits for.
HOT = ("calendar", "decide", "earning", "fraud", "intake", "lots", "plan", "profile", "qualification", "render", "rounding")
HOT += ("sales", "settle", "tiers", "turn")


def core() -> list[Extension]:
    """The extensions to build: none, unless asked for."""
    if os.environ.get("LOY_COMPILE") != "1":
        return []
    from mypyc.build import mypycify  # noqa: PLC0415  # whoever does not compile need not have it

    return mypycify([f"streams/domain/{name}.py" for name in HOT])


# Always anew: a module left from an earlier build would look older than a source that was edited since.
setup(ext_modules=core(), options={"build_ext": {"force": True}})
