"""Wallets beside the main one (B05): each is an account within the member's account, and all laws of points hold in it by itself.

Law: no posting crosses wallets. Points come over by conversion alone: used up in one wallet, issued in the other, two entries
under one cause. A program without wallets pays nothing for them.
"""

from collections.abc import Iterator

from schemas.codes import Code
from schemas.earning import MAIN
from schemas.records import Convert
from streams.domain.account import Account
from streams.domain.calendar import epoch
from streams.domain.lots import give, take
from streams.domain.turn import Purse, Turn


def purse(turn: Turn, wallet: str) -> Turn:
    """Where to move the points of a wallet: the turn itself for the main one. A new wallet is opened."""
    if wallet == MAIN:
        return turn
    if wallet not in turn.purses:
        known = _find(turn.account, wallet)
        own = known.draft() if known else Account(key=wallet, status="in", last_purchase=turn.account.last_purchase)
        mine = turn.account.wallets
        turn.account.wallets = tuple(own if one is known else one for one in mine) if known else (*mine, own)
        turn.purses[wallet] = Purse(turn, own)
    return turn.purses[wallet]


def purses(turn: Turn) -> Iterator[Turn]:
    """Of all the wallets that the member has beside the main one."""
    for own in turn.account.wallets:
        yield purse(turn, own.key)


def holding(turn: Turn, reservation: str) -> Turn:
    """Where a reservation was made; the main wallet when nowhere."""
    here = (one for one in purses(turn) if any(known.id == reservation for known in one.account.reservations))
    return next(here, turn)


def _find(account: Account, wallet: str) -> Account | None:
    return next((own for own in account.wallets if own.key == wallet), None)


def convert(turn: Turn, command: Convert) -> None:
    """Two entries, or a refusal that changes nothing."""
    problem = _problem(turn, command)
    if problem is not None:
        turn.refuse(problem)
        return
    rate, at = turn.plan.conversions[command.wallet, command.into], epoch(command.at)
    source, target = purse(turn, command.wallet), purse(turn, command.into)
    for part in take(source, command.points):
        source.post("available", "used", part.points, part.lot)
    source.say("LOY_POINT_CONVERTED", at, wallet=command.wallet, points=-command.points, other=command.into)
    points = command.points // rate.points * rate.gives
    give(target, "issued", points, at)
    target.say("LOY_POINT_CONVERTED", at, wallet=command.into, points=points, other=command.wallet)
    turn.act(at)


def _problem(turn: Turn, command: Convert) -> Code | None:
    account = turn.account
    if account.status != "in":
        return Code.MEMBER_UNKNOWN if account.status == "new" else Code.MEMBER_OPTED_OUT
    rate = turn.plan.conversions.get((command.wallet, command.into))
    if rate is None:
        return Code.CONVERSION_UNKNOWN
    if command.points % rate.points:
        return Code.CONVERSION_UNEVEN
    given = account if command.wallet == MAIN else _find(account, command.wallet)
    if given is None or command.points > given.books.available:
        return Code.INSUFFICIENT_POINTS
    return Code.FRAUD_REVIEW if is_held(account) else None


def is_held(account: Account) -> bool:
    """Whether points of any wallet wait for a review."""
    return any(lot.book == "held" for one in (account, *account.wallets) for lot in one.lots)
