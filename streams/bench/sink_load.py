"""Changed members for the sinks: contact data of each, and one accrual that tells how the member stands now."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import orjson

from schemas.events import SOURCE, dataschema
from schemas.topics import EVENTS, MEMBERS

ACCRUAL = "LOY_POINT_ACCRUAL"
_DAY = "2026-03-14"


def member(number: int) -> str:
    """A loyalty id."""
    return f"M-{number:08d}"


def records(numbers: Sequence[int]) -> Iterator[tuple[str, bytes, bytes]]:
    """Topic, key and value: everybody's contact data, then everybody's accrual."""
    now = datetime.now(UTC).isoformat()
    for number in numbers:
        yield MEMBERS.name, member(number).encode(), orjson.dumps(_contact(number, now))
    for number in numbers:
        yield EVENTS.name, member(number).encode(), orjson.dumps(_accrual(member(number), 10 + number % 490, now))


def _contact(number: int, now: str) -> dict[str, object]:
    contact = {
        "first_name": "Ann",
        "last_name": f"Lee-{number}",
        "email": f"ann{number}@example.com",
        "phone": f"+4479{number:08d}",
        "zip_code": "SW1A 1AA",
        "birthday": "1990-05-14",
        "marketing_consent": True,
    }
    return {"loyalty_id": member(number), "contact": contact, "updated_at": now}


def _accrual(loyalty_id: str, points: int, now: str) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": f"{loyalty_id}/B-1/1/20260314/000001/1",
        "source": SOURCE,
        "type": ACCRUAL,
        "subject": loyalty_id,
        "time": now,
        "sequence": 1,
        "datacontenttype": "application/json",
        "dataschema": dataschema(ACCRUAL),
        "data": {
            "cause": "B-1/1/20260314/000001",
            "program": "main@1",
            "occurred_at": now,
            "postings": [{"source": "issued", "target": "available", "points": points, "lot": 1}],
            "balance": _balance(points),
            "profile": _profile(loyalty_id, points),
            "check_id": "B-1/1/20260314/000001",
            "points": points,
            "awards": [{"line": 0, "rule": "base", "points": points, "remainder": 0}],
            "cuts": [],
            "debt_repaid": 0,
            "held": False,
        },
    }


def _balance(points: int) -> dict[str, int]:
    none = dict.fromkeys(("reversed", "adjusted", "used", "expired", "pending", "held", "debt"), 0)
    return {**none, "earned": points, "available": points}


def _profile(loyalty_id: str, points: int) -> dict[str, object]:
    return {
        "loyalty_id": loyalty_id,
        "active_status": True,
        "loyalty_anniversary_date": _DAY,
        "opt_in_status": True,
        "opt_in_date": _DAY,
        "available_points": points,
        "earned_points": points,
        "used_points": 0,
        "hold_points": 0,
        "next_expiring_points": points,
        "points_expiration_date": "2027-03-31",
        "expired_points": 0,
        "current_tier": "Silver",
        "next_tier": "Gold",
        "points_req_for_next_tier": 1000 - points,
        "tier_achieve_date": _DAY,
        "available_rewards": ["COFFEE", "CAKE"],
        "points_req_for_next_reward": 500,
        "highest_available_reward": "CAKE",
        "first_loyalty_activity_date": _DAY,
        "last_loyalty_activity_date": _DAY,
        "first_purchase_date": _DAY,
        "last_purchase_date": _DAY,
    }
