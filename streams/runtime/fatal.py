"""Ending the process on purpose: what cannot be repaired must not be committed.

Law: no cleanup runs here. Faust's orderly shutdown would commit, and its crash handler does (faust/app/base.py:972).
"""

import logging
import os
import sys
from contextlib import suppress
from enum import IntEnum
from typing import NoReturn

logger = logging.getLogger(__name__)


class Exit(IntEnum):
    """Exit codes of a worker, for the supervisor that restarts it and for the alarm that counts them."""

    UNEXPECTED = 70
    MEMBERSHIP_LOST = 75
    OFFSET_GAP = 77


def end_process(code: Exit, message: str, *, error: BaseException | None = None) -> NoReturn:
    """Log `message` (with the traceback of `error`) as CRITICAL and leave at once, committing nothing."""
    logger.critical("%s (exit %d)", message, code, exc_info=error)
    for stream in (*(getattr(handler, "stream", None) for handler in logging.getLogger().handlers), sys.stderr):
        with suppress(Exception):
            stream.flush()  # type: ignore[union-attr]
    os._exit(code)
