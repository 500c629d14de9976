"""What a budget over all members has granted, on the member's account (B10): booked once, a lot of its own, traced to its lines.

Law: whatever happened to the sale between asking and granting (returned, held, taken, forgotten) happens to the grant too, in any
order to the same end; and what nobody takes is the budget's again.
"""

from typing import Any

import msgspec

from schemas.base import POINTS_MAX
from schemas.records import Grant
from streams.domain import tiers
from streams.domain.account import Award, Beside, Cut, SaleRecord
from streams.domain.budgets import give_back
from streams.domain.outcome import sale_of
from streams.domain.pots import Asked
from streams.domain.remains import fractions, share
from streams.domain.rounding import apportion
from streams.domain.sales import book, count_day, set_aside
from streams.domain.turn import Turn

replace = msgspec.structs.replace


def take(turn: Turn, command: Grant) -> None:
    """The budget's answer: book what the sale still earns of it, give back the rest, and say what was cut and why."""
    asked = next((one for one in turn.account.asked if (one.sale, one.rule) == (command.check_id, command.rule)), None)
    applied = next((known for known in turn.account.applied if known.id == command.check_id), None)
    sale = sale_of(applied) if applied else None
    if asked is not None and asked.points >= 0:
        return  # the same answer once more: what it gave stays given, also when its sale is forgotten meanwhile
    cuts = _cut_by_budget(turn, command)
    if asked is None or sale is None:
        if asked is not None:
            _answered(turn, asked, replace(asked, shares=(), points=0))
        give_back(turn, command, command.points, f"{command.check_id}~back")
        turn.say("LOY_POINT_CUT", turn.now, **_told(command, [*cuts, Cut("its sale is forgotten", command.rule, command.points)]))
    else:
        _book(turn, command, asked, sale, cuts)


def _answered(turn: Turn, asked: Asked, done: Asked) -> None:
    turn.account.asked = tuple(done if one is asked else one for one in turn.account.asked)


def _book(turn: Turn, command: Grant, asked: Asked, sale: SaleRecord, cuts: list[Cut]) -> None:
    lost = _why_nothing(turn, asked, command.points)
    granted = 0 if lost else command.points
    shares = _granted(asked, granted)
    kept = _unreturned(turn, sale, asked, shares)
    points = sum(given for _, given, _ in kept)
    cuts.append(Cut(lost or "returned before it was granted", command.rule, command.points - points))
    held, lot = asked.hold == "held", 0
    if points:
        award = {"awards": _awards(command.rule, kept)}
        trail: dict[str, Any] = award | {"cuts": _cuts(cuts)}
        lot = book(turn, asked.sale, asked.at, asked.day, points, held=held, **trail)
    else:
        turn.say("LOY_POINT_CUT", asked.at, **_told(command, cuts))
    done = replace(asked, shares=shares, points=granted, lot=lot)
    _answered(turn, asked, done)
    give_back(turn, asked, command.points - points, f"{asked.sale}~back")
    if points:
        _count(turn, done, points)


def _count(turn: Turn, asked: Asked, points: int) -> None:
    """The points count for tiers and caps on the day of the purchase."""
    turn.answer.earned = points
    count_day(turn.account, asked.day, points=points, spend=0, checks=0)
    if asked.aside:
        set_aside(turn.account, asked.day, -points, Beside(), asked.lot)
    tiers.after_purchase(turn, asked.day, asked.at, None)


def _why_nothing(turn: Turn, asked: Asked, points: int) -> str:
    if asked.hold == "taken":
        return "a review took it"
    if turn.account.status != "in":
        return "the member left"
    books = turn.account.books  # an answer that was refused for what it makes of the books would keep the budget charged
    return "more than an account can tell" if max(0, -books.adjusted) - books.issued + points > POINTS_MAX else ""


def _granted(asked: Asked, points: int) -> tuple[tuple[int, int, int], ...]:
    """What of the grant belongs to which line: as was asked, by largest remainder."""
    given = apportion([wanted for _, wanted, _ in asked.shares], points)
    return tuple((line, mine, left) for (line, _, left), mine in zip(asked.shares, given, strict=True) if mine)


def _unreturned(
    turn: Turn, sale: SaleRecord, asked: Asked, shares: tuple[tuple[int, int, int], ...]
) -> tuple[tuple[int, int, int], ...]:
    """What is left of it after the returns that came first."""
    returned = next((known for known in turn.account.returned if known.sale == asked.sale), None)
    back = fractions(sale, returned)
    left = ((line, points - share(points, back[line]), remainder) for line, points, remainder in shares)
    return tuple(one for one in left if one[1])


def _cut_by_budget(turn: Turn, command: Grant) -> list[Cut]:
    pot = turn.plan.budgets[command.rule]
    why = "asked too late" if command.late else f"cap {_per(pot.per)} over all members"
    return [Cut(why, command.rule, command.wanted - command.points)]


def _per(per: str) -> str:
    return "of the campaign" if per == "campaign" else f"per {per}"


def _told(command: Grant, cuts: list[Cut]) -> dict[str, Any]:
    return {"check_id": command.check_id, "wanted": command.wanted, "cuts": _cuts(cuts)}


def _cuts(cuts: list[Cut]) -> list[dict[str, Any]]:
    return [{"by": cut.by, "rule": cut.rule, "points": cut.points} for cut in cuts if cut.points]


def _awards(rule: str, shares: tuple[tuple[int, int, int], ...]) -> list[dict[str, Any]]:
    award = Award(rule, shares)
    return [{"line": line, "rule": award.rule, "points": points, "remainder": left} for line, points, left in award.shares]
