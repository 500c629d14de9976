"""The load: the households of the baskets as many members each, and their receipts, for every member one of its own.

Law: the same arguments give the same bytes, so that two runs, and we and the peer, work on the same checks. Of a household's
clones two shop as it does and the others seldom, because of the members of a program most are quiet.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import msgspec

from schemas.codec import encode
from schemas.topics import MEMBER_COMMANDS
from streams.baskets import Arrival, checks, households
from streams.baskets.members import JOINED
from streams.domain.identifiers import luhn_digit

REGULARS = 2
RESENT = 100  # one check in so many comes again
SELDOM = 20  # clones beyond the regulars take one basket in so many

_Rows = list[tuple[int, str, bytes, bytes]]


def members(clones: int) -> Iterator[Arrival]:
    """Every clone joins: `H-<household>` or `H-<household>-<clone>`, with a card."""
    at_ms = int(JOINED.timestamp() * 1000)
    for household in households():
        for clone in range(clones):
            name = household.loyalty_id + (f"-{clone}" if clone else "")
            card = _card(household.identifiers[0], clone)
            changes = {"loyalty_id": name, "command_id": f"optin-{name}", "identifiers": (card,)}
            yield Arrival(at_ms, MEMBER_COMMANDS.name, name.encode(), encode(household.model_copy(update=changes)))


def receipts(clones: int) -> Iterator[Arrival]:
    """The year's receipts by time, one record a basket, for the clones that shop."""
    for number, sale in enumerate(checks(clean=True)):
        for clone in range(clones):
            if clone < REGULARS or number % SELDOM == clone:
                yield _of_clone(sale, clone)


def resent(load: Iterable[Arrival]) -> Iterator[Arrival]:
    """The load, and one check in a hundred again ten checks later, as a till does that saw no answer."""
    again: deque[tuple[int, Arrival]] = deque()
    for number, sale in enumerate(load):
        yield sale
        if number % RESENT == 0:
            again.append((number + 10, sale))
        elif again and again[0][0] <= number:
            yield again.popleft()[1]
    yield from (sale for _, sale in again)


def _of_clone(sale: Arrival, clone: int) -> Arrival:
    """The same basket on a card of its own, with a receipt number of its own."""
    if not clone:
        return sale
    card = _card(sale.key.decode(), clone).encode()
    head, number, tail = sale.value.partition(b'","at":"')
    return sale._replace(key=card, value=head + b"-%d" % clone + number + tail.replace(sale.key, card, 1))


@cache
def _card(card: str, clone: int) -> str:
    """The card with another number: the first digit after the country's tells the clone."""
    if not clone:
        return card
    digits = f"{card[:9]}{clone}{card[10:-1]}"
    return digits + luhn_digit(digits.removeprefix("card:"))


def save(path: Path, load: Iterable[Arrival]) -> int:
    """Write a load for another process. Answers how many records it has."""
    rows = [(one.at_ms, one.topic, one.key, one.value) for one in load]
    path.write_bytes(msgspec.msgpack.encode(rows))
    return len(rows)


def saved(path: Path) -> list[Arrival]:
    """What `save` wrote."""
    return [Arrival(*row) for row in msgspec.msgpack.decode(path.read_bytes(), type=_Rows)]
