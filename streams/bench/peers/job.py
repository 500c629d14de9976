"""The reference job, defined once: what every engine of the comparison does with a check, and what it is held against.

Parse the check; leave it when it is among the member's last 32; add points by a multiplier per category; keep ids and balance;
write one event of some 300 bytes. Law: a pure function of the member's row and the check. It needs the standard library and
orjson, no more, because it also runs in an environment that has nothing else of ours.
"""

import struct
from typing import Any, NamedTuple

import orjson

KEPT = 32
PERCENT = {"GROCERY": 150, "PRODUCE": 200, "DRUG GM": 125}
_BALANCE = struct.Struct(">q")


class Done(NamedTuple):
    """What a check that was not seen before leads to."""

    row: bytes
    """The member's next row: the balance in eight bytes, then the ids, oldest first, a line each."""
    event: bytes


def accrue(row: bytes | None, member: bytes, check: bytes) -> Done | None:
    """The member's next row and the event; None for a check that is among the last 32."""
    sold = orjson.loads(check)
    check_id = f"{sold['outlet']}/{sold['till']}/{sold['business_date']}/{sold['receipt']}"
    ids = row[8:].split(b"\n") if row else []
    if check_id.encode() in ids:
        return None
    points = sum(map(_points, sold["lines"]))
    balance = points + (balance_of(row) if row else 0)
    ids.append(check_id.encode())
    return Done(_BALANCE.pack(balance) + b"\n".join(ids[-KEPT:]), _event(member.decode(), check_id, sold, points, balance))


def balance_of(row: bytes) -> int:
    """The points that a row holds."""
    balance: int = _BALANCE.unpack_from(row)[0]
    return balance


def _points(line: dict[str, Any]) -> int:
    percent = PERCENT.get((line.get("category") or "").partition("/")[0], 100)
    return int((line["amount_minor"] - line["discount_minor"]) * percent // 5000)


def _event(member: str, check_id: str, sold: dict[str, Any], points: int, balance: int) -> bytes:
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": f"{member}/{check_id}",
            "source": "/loystream/bench/peer",
            "type": "LOY_POINT_ACCRUAL",
            "subject": member,
            "time": sold["at"],
            "data": {"check_id": check_id, "points": points, "balance": balance, "outlet": sold["outlet"]},
        }
    )
