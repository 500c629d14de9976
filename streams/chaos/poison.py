"""Records that cannot be taken, as broken tills send them. None of them may change an account or hold up the line."""

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson

from schemas.topics import CHECKS, MEMBER_COMMANDS, RECORD_BYTES_MAX, REDEMPTIONS

KEY = b"card:POISON"
Poison = tuple[str, bytes | None, bytes | None]
"""Topic, key, value."""


def poisoned(random: Random, now: int) -> Poison:
    """One such record; `now` in epoch seconds."""
    door = random.choice((CHECKS, REDEMPTIONS, MEMBER_COMMANDS)).name
    key, value = random.choice(_SORTS)(random, _body(door, now))
    return door, key, value


def _body(door: str, now: int) -> dict[str, Any]:
    """What would be right but for its member, whom nobody knows."""
    at, name = datetime.fromtimestamp(now, UTC).isoformat(), f"poison-{now}"
    if door == CHECKS.name:
        day = at[:10]
        receipt = {"check_id": name, "outlet": "o1", "till": "1", "business_date": day, "receipt": name, "at": at}
        return {"type": "void", "of": "nothing", "member": KEY.decode()} | receipt
    if door == REDEMPTIONS.name:
        request = {"request_id": name, "outlet": "o1", "till": "1", "at": at, "reservation": "none"}
        return {"type": "cancel", "member": KEY.decode()} | request
    return {"type": "opt_out", "command_id": name, "loyalty_id": "POISON", "at": at}


_Sort = Callable[[Random, dict[str, Any]], tuple[bytes | None, bytes | None]]
_SORTS: tuple[_Sort, ...] = (
    lambda _, body: (KEY, orjson.dumps(body)[:-1]),
    lambda random, _: (KEY, random.randbytes(random.randint(1, 400))),
    lambda *_: (KEY, None),
    lambda *_: (None, b""),
    lambda *_: (KEY, b"[" * 50_000),
    lambda _, body: (KEY, orjson.dumps(body | {"surprise": 1})),
    lambda _, body: (KEY, orjson.dumps(body | {"at": "yesterday"})),
    lambda _, body: (KEY, orjson.dumps(body | {"at": "2099-01-01T00:00:00Z"})),
    lambda _, body: (b"card:\xff\xfe", orjson.dumps(body)),
    lambda _, body: (KEY, orjson.dumps(body | {"padding": "x" * RECORD_BYTES_MAX})),
)
