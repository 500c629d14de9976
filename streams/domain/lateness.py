"""How long after its purchase a check came, seen without reading it.

Law: a glance decides when a check is taken, never what becomes of it; a record at which it sees nothing is taken at once.
"""

import re
from datetime import datetime

from schemas.topics import RECORD_BYTES_MAX

_AT = re.compile(rb'"at"\s*:\s*"([0-9T:.+Z-]{19,40})"')


def purchased_ms(value: bytes | None) -> int | None:
    """The purchase time that stands in a check's bytes, in ms since 1970 UTC; None where there is none to be seen."""
    found = _AT.search(value) if value is not None and len(value) <= RECORD_BYTES_MAX else None
    if found is None:
        return None
    try:
        at = datetime.fromisoformat(found[1].decode())
    except ValueError:
        return None
    return int(at.timestamp() * 1000) if at.tzinfo is not None else None


def is_late(value: bytes | None, arrived_ms: int, patience_ms: float) -> bool:
    """Whether the purchase is longer ago than `patience_ms` when the record arrives (its Kafka time)."""
    at = purchased_ms(value)
    return at is not None and arrived_ms - at > patience_ms
