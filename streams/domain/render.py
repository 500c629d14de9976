"""An outcome printed: events as CloudEvents, and the reply to the till.

Law: a function of the command, its stored outcome and its program version alone. A repeat prints the same bytes (A07, A11).
"""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from typing import Any, Final

import msgspec
import orjson

from schemas.codes import Code
from schemas.events import EVENTS, SOURCE, dataschema
from schemas.records import (
    AnyCommand,
    ApplyReturn,
    ApplySale,
    ApplyVoid,
    Redeem,
)
from streams.domain.account import RECEIPT_PREFIX, Award, SaleRecord
from streams.domain.calendar import instant, local_day
from streams.domain.outcome import Balance, Fact, Outcome, Profile
from streams.domain.plan import Plan

DESK = "crm"  # the "outlet" that member commands are answered to
_SCHEMAS: Final = {kind: dataschema(kind) for kind in EVENTS}
_UNASKED: Final = frozenset(("tick", "ask_budget", "grant", "return_budget"))
_INSTANTS: Final = frozenset(("available_at", "expires_at", "due"))


def event_id(account: str, cause: str, sequence: int) -> str:
    """Derives from the cause, so that a crash between state and event heals itself."""
    return f"{account}/{cause}/{sequence}"


def events(command: AnyCommand, outcome: Outcome, plan: Plan) -> list[bytes]:
    """The events of a command, in order, as structured CloudEvents JSON."""
    if not outcome.facts:
        return []
    # Printed once for all events of the command: these two are most of an event.
    balance = orjson.Fragment(orjson.dumps(_balance(outcome.balance)))
    profile = orjson.Fragment(orjson.dumps(_profile(command.account, outcome, plan)))
    account, cause, time = command.account, command.id, instant(outcome.now)
    return [
        orjson.dumps(
            {
                "specversion": "1.0",
                "id": event_id(account, cause, outcome.sequence + ordinal),
                "source": SOURCE,
                "type": fact.type,
                "subject": account,
                "time": time,
                "sequence": outcome.sequence + ordinal,
                "datacontenttype": "application/json",
                "dataschema": _SCHEMAS[fact.type],
                "data": _data(fact, cause, outcome, balance, profile),
            }
        )
        for ordinal, fact in enumerate(outcome.facts)
    ]


def _data(fact: Fact, cause: str, outcome: Outcome, balance: orjson.Fragment, profile: orjson.Fragment) -> dict[str, Any]:
    data: dict[str, Any] = {
        "cause": cause,
        "program": outcome.program,
        "occurred_at": instant(fact.at),
        "postings": [
            {"source": move.source, "target": move.target, "points": move.points, "lot": move.lot} for move in fact.moves
        ],
        "balance": balance,
        "profile": profile,
    }
    for name, value in fact.detail.items():
        data[name] = instant(value) if name in _INSTANTS else value
    if fact.type == "LOY_POINT_ACCRUAL" and outcome.sale:
        data |= _trail(outcome.sale)
    if outcome.wallets:
        data |= _of_wallets(data, outcome)
    return data


def _trail(sale: SaleRecord) -> dict[str, Any]:
    """Whence each point came, and which were not given."""
    return {
        "awards": _awards(sale.awards),
        "cuts": [{"by": cut.by, "rule": cut.rule, "points": cut.points} for cut in sale.cuts],
    }


def _awards(awards: Iterable[Award]) -> list[dict[str, Any]]:
    return [
        {"line": line, "rule": award.rule, "points": points, "remainder": remainder}
        for award in awards
        for line, points, remainder in award.shares
    ]


def _of_wallets(detail: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """Where all other wallets stand, and whence the points of this one came."""
    told: dict[str, Any] = {"wallets": {wallet: _balance(balance) for wallet, balance in outcome.wallets}}
    if detail.get("change") == "accrued" and outcome.sale and outcome.sale.beside:
        credits_ = outcome.sale.beside.credits
        told["awards"] = next(_awards(credit.awards) for credit in credits_ if credit.wallet == detail["wallet"])
    return told


_NOTHING = Balance(0, 0, 0, 0, 0, 0, 0, 0, 0)


def _balance(balance: Balance | None) -> dict[str, Any]:
    return msgspec.structs.asdict(balance or _NOTHING)


def _profile(account: str, outcome: Outcome, plan: Plan) -> dict[str, Any] | None:
    profile, balance = outcome.profile, outcome.balance
    if profile is None or balance is None:
        return None
    available = balance.available
    count = bisect_right(plan.reward_points, available)
    reached = plan.reward_ids[:count]
    ahead = plan.reward_points[count] - available if count < len(plan.reward_points) else None
    return {
        "loyalty_id": account,
        "active_status": profile.active,
        "loyalty_anniversary_date": _day(profile.joined),
        "opt_in_status": profile.opted_in,
        "opt_in_date": _day(profile.joined),
        "available_points": available,
        "earned_points": balance.earned,
        "used_points": balance.used,
        "hold_points": balance.pending + balance.held,
        "next_expiring_points": profile.next_expiring,
        "points_expiration_date": _expiry_day(profile, plan),
        "expired_points": balance.expired,
        "current_tier": profile.tier,
        "next_tier": profile.next_tier or None,
        "points_req_for_next_tier": profile.to_next_tier if profile.next_tier else None,
        "tier_achieve_date": _day(profile.tier_since),
        "available_rewards": reached,
        "points_req_for_next_reward": ahead,
        "highest_available_reward": reached[-1] if reached else None,
        "first_loyalty_activity_date": _day(profile.first_activity),
        "last_loyalty_activity_date": _day(profile.last_activity),
        "first_purchase_date": _day(profile.first_purchase),
        "last_purchase_date": _day(profile.last_purchase),
    }


@lru_cache(maxsize=4096)
def _day(day: int) -> str | None:
    return date.fromordinal(day).isoformat() if day else None


def _expiry_day(profile: Profile, plan: Plan) -> str | None:
    """The last local day on which the points can be used."""
    return _day(local_day(plan.zone, profile.expires_at - 1)) if profile.expires_at else None


# ---------------------------------------------------------------- the reply


def reply(command: AnyCommand, outcome: Outcome, plan: Plan) -> tuple[str, bytes] | None:
    """(outlet, the reply), or None for what no till asked: the clock, budgets, and what is handed on to another account."""
    if command.type in _UNASKED or outcome.follow:
        return None
    outlet, till = _asker(command)
    told = _reply(command, outcome, plan, outlet, till)
    if asked := _asked(outcome):
        told["asked"] = asked
    if outcome.wallets:
        told["wallets"] = {wallet: _standing(stands) for wallet, stands in outcome.wallets}
    return outlet, orjson.dumps(told)


def _asker(command: AnyCommand) -> tuple[str, str | None]:
    match command:
        case ApplySale() | ApplyReturn() | ApplyVoid():
            return command.check.outlet, command.check.till
        case Redeem():
            return command.request.outlet, command.request.till
        case _:
            return DESK, None


def _reply_id(command: AnyCommand) -> str:
    return command.claim_id if command.type == "take_receipt" else command.id


def _reply(command: AnyCommand, outcome: Outcome, plan: Plan, outlet: str, till: str | None) -> dict[str, Any]:
    balance, profile = outcome.balance, outcome.profile
    anonymous = command.account.startswith(RECEIPT_PREFIX)
    return {
        "id": _reply_id(command),
        "status": outcome.status,
        "code": outcome.code,
        "reasons": [f"{cut.rule}: {cut.by}" if cut.rule else cut.by for cut in outcome.sale.cuts] if outcome.sale else (),
        "outlet": outlet,
        "till": till,
        "member": None if anonymous else command.account,
        "earned": outcome.earned,
        "burned": outcome.burned,
        "value_minor": outcome.value_minor,
        "hold_refund_minor": outcome.hold_refund_minor,
        "balance": _standing(balance) if balance else None,
        "tier": profile.tier if profile else None,
        "next_tier": (profile.next_tier or None) if profile else None,
        "to_next_tier": profile.to_next_tier if profile and profile.next_tier else None,
        "next_expiry": _next_expiry(profile) if profile and profile.expires_at else None,
        "rewards": _rewards(balance, outcome, plan) if balance else [],
        "hits": outcome.hits,
        "offers": (),
        "receipt": _receipt(outcome, plan),
        "program": outcome.program,
        "at": instant(outcome.now),
    }


def _asked(outcome: Outcome) -> int:
    """Points that a budget may grant a moment later."""
    return sum([word.points for word in outcome.words if word.kind == "ask"]) if outcome.words else 0


def _rewards(balance: Balance, outcome: Outcome, plan: Plan) -> list[str]:
    """What can be had now, of whichever wallet."""
    found = plan.reward_ids[: bisect_right(plan.reward_points, balance.available)]
    if outcome.wallets:
        usable = {wallet: stands.available for wallet, stands in outcome.wallets}
        found += [reward.id for reward in plan.rewards_elsewhere if reward.points <= usable.get(reward.wallet, 0)]
    return found


def _standing(balance: Balance) -> dict[str, int]:
    return {
        "available": balance.available,
        "pending": balance.pending,
        "held": balance.held,
        "debt": balance.debt,
    }


def _next_expiry(profile: Profile) -> dict[str, Any]:
    return {"points": profile.next_expiring, "at": instant(profile.expires_at)}


def _receipt(outcome: Outcome, plan: Plan) -> list[str]:
    """What the till prints: at most 40 plain characters a line."""
    balance, profile = outcome.balance, outcome.profile
    if balance is None or profile is None:
        return [] if outcome.code is Code.ANONYMOUS else [outcome.code.value]
    lines = [outcome.code.value] if outcome.status != "accepted" else []
    if outcome.earned:
        lines.append(f"Points from this receipt: {outcome.earned}")
    if asked := _asked(outcome):
        lines.append(f"Points asked for: {asked}")
    if outcome.burned:
        lines.append(f"Points used: {outcome.burned}")
    lines.append(f"Points to use: {balance.available}")
    if balance.pending:
        lines.append(f"Points to come: {balance.pending}")
    if balance.debt:
        lines.append(f"Points owed: {balance.debt}")
    lines += [f"{plan.title_of(wallet)}: {stands.available}" for wallet, stands in outcome.wallets[:4]]
    lines.append(f"Tier: {profile.tier}")
    if profile.expires_at:
        lines.append(f"{profile.next_expiring} points end after {_expiry_day(profile, plan)}")
    return [(line if line.isascii() else line.encode("ascii", "replace").decode())[:40] for line in lines]
