"""Breaks records: values replaced, moved, doubled or taken out where a program would not expect it, bytes damaged.

Half of the time a value becomes another one that could be, so that the record gets past the door and does its damage, if it can,
to an account. Law: all chance comes from the generator given.
"""

import json
from collections import deque
from copy import deepcopy
from datetime import datetime, timedelta
from random import Random
from typing import Any

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.0, 0.5, 1e300, float("nan"), float("inf"), 10**11, 10**11 + 1, 10**12, 2**31, 2**63, 10**40),
    *("", " ", "0", "1", "null", "\x00", "\x7f", "\ud800", "é", "İ", "\u202e", "a" * 101, "x" * 5000, "💥", "-1", "1e5"),
    *("2026-02-30", "2026-03-14", "9999-12-31", "1900-01-01", "1970-01-01T00:00:00Z", "8999-12-31T23:59:59.999999999Z"),
    *("2026-03-29T02:30:00+01:00", "2026-03-14T23:59:60Z", "2026-03-14T10:00:00+23:59", "2026-03-14T10:00:00-23:59"),
    *("sale", "return", "void", "reserve", "confirm", "cancel", "opt_in", "erase", "claim", "adjust", "merge"),
    *("USD", "JPY", "XXX", "card:", "card:1", "phone:0", "phone:+15550100", "email:@", "email:ä@ö.com", "loyalty:H-1", "app:x"),
    *("H-1", "H-2", "s-1", "s-2", "R-1", "none", "receipt:s-1", "main@1", "../x", "o1", "points"),
    *([], {}, [[]], [{}], {"type": "sale"}, [0] * 60),
)
DEEP = 200
IDS = ("check_id", "of", "reservation", "request_id", "command_id", "adjustment", "hold", "receipt")
WORDS: dict[str, tuple[Any, ...]] = {
    "type": ("cash", "card", "voucher", "gift_card", "points", "credit", "other"),
    "kind": ("receipt", "no_receipt", "gift_receipt", "exchange"),
    "channel": ("store", "web", "app", "phone"),
    "verdict": ("release", "confiscate"),
    "tier": ("Member", "Silver", "Gold", "none"),
    "reward": ("coffee", "cake", "dinner", "none"),
    "category": ("food/dairy", "tobacco", "GROCERY", "PRODUCE", "FUEL", "x" * 200),
    "brand": ("Own", "Private", "National"),
    "business_date": ("2024-03-20", "2024-02-29", "1900-01-01", "8999-12-31"),
}


class Mutations:
    """Damages records one after the other."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._ids: deque[str] = deque(["none"], maxlen=300)
        """Of records seen before."""

    def of(self, value: bytes) -> bytes:
        """The record, broken in one to three places."""
        random = self._random
        if random.random() < 0.12:
            return self._bytes(value)
        body = json.loads(value)
        self._ids += [body[name] for name in IDS if isinstance(body, dict) and isinstance(body.get(name), str)]
        change = self._plausible if random.random() < 0.6 else self._part
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            body = change(body)
        if random.random() < 0.8:
            _pay(body)
        raw = json.dumps(body, ensure_ascii=random.random() < 0.5).encode(errors="surrogatepass")
        return self._bytes(raw) if random.random() < 0.02 else raw

    def _bytes(self, value: bytes) -> bytes:
        random = self._random
        start = random.randint(0, len(value))
        end = min(len(value), start + random.choice((0, 1, 1, 4, 30)))
        match random.randrange(5):
            case 0:
                return value[:start]
            case 1:
                return value[:start] + random.randbytes(random.randint(1, 4)) + value[end:]
            case 2:
                return value[:start] + value[start:end] * random.choice((2, 3, 50)) + value[end:]
            case 3:
                return (
                    value[:start] + bytes([value[start] ^ (1 << random.randrange(8))]) + value[start + 1 :]
                    if value[start:]
                    else b""
                )
        return (
            value[:start]
            + random.choice((b"0", b"9" * 25, b'"', b"[" * DEEP, b"}", b"\\u0000", b"e9", b"-", b"\xff"))
            + value[end:]
        )

    def _plausible(self, body: Any) -> Any:
        """One value of it, changed into another one that could be."""
        random = self._random
        places = [(holder, key) for holder, key in _places(body) if not isinstance(holder[key], dict | list)]
        if not places:
            return body
        holder, key = random.choice(places)
        value = holder[key]
        if key in IDS:
            holder[key] = random.choice(self._ids)
        elif key == "at":
            holder[key] = _moved(value, random.choice((-40, -36, -35, -7, -1, -0.01, 0.01, 0.9, 1.1)))
        elif isinstance(value, int) and not isinstance(value, bool):
            holder[key] = max(
                0, random.choice((0, 1, value - 1, value + 1, value // 2, value * 10, 10**11, random.randint(0, 5000)))
            )
        elif isinstance(value, bool):
            holder[key] = not value
        elif key in WORDS:
            holder[key] = random.choice(WORDS[key])
        return body

    def _part(self, body: Any) -> Any:
        """One place of it, changed."""
        random = self._random
        places = list(_places(body))
        if not places:
            return self._odd()
        holder, key = random.choice(places)
        match random.randrange(8):
            case 0 | 1 | 2:
                holder[key] = self._odd()
            case 3:
                del holder[key]
            case 4:
                other, place = random.choice(places)
                holder[key] = json.loads(json.dumps(other[place]))
            case 5:
                holder[key] = self._nudged(holder[key])
            case 6 if isinstance(holder, dict):
                holder[random.choice(("surprise", "type", "points", "member", "of", "lines", key + "_"))] = holder[key]
            case 6:
                holder.append(holder[key])
            case _:
                holder[key] = [holder[key]] if random.random() < 0.5 else self._nudged(holder[key])
        return body

    def _odd(self) -> Any:
        return deepcopy(self._random.choice(ODD))  # what is broken further must stay as it is for the next

    def _nudged(self, value: Any) -> Any:
        """The value, a little off."""
        random = self._random
        if isinstance(value, bool) or value is None:
            return not value
        if isinstance(value, int):
            return random.choice((value + 1, value - 1, -value, value * 2, value * 1000, value + 0.5, str(value)))
        if isinstance(value, str):
            at = random.randint(0, len(value))
            return (
                value[:at] + random.choice(("", "x", "0", "9", " ", "/", "\x00", "é", value)) + value[at + random.randrange(2) :]
            )
        return value


def _pay(body: Any) -> None:
    """Let the tenders of a sale add up again, where it still is one."""
    try:
        due = sum(line["amount_minor"] - line.get("discount_minor", 0) for line in body["lines"])
        body["tenders"] = [{"type": tender["type"], "amount_minor": 0} for tender in body["tenders"][1:]]
        body["tenders"].insert(0, {"type": "cash", "amount_minor": due})
    except (TypeError, KeyError, AttributeError, IndexError):
        return


def _moved(at: Any, days: float) -> Any:
    try:
        return (datetime.fromisoformat(at) + timedelta(days=days)).isoformat()
    except (TypeError, ValueError, OverflowError):
        return at


def _places(body: Any) -> Any:
    """Every (holder, key) in it."""
    if isinstance(body, dict):
        for key, inner in body.items():
            yield body, key
            yield from _places(inner)
    elif isinstance(body, list):
        for number, inner in enumerate(body):
            yield body, number
            yield from _places(inner)
