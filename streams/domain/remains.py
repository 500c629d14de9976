"""How much of a sale has come back, line by line.

Law: a share depends on how much has come back altogether, never on the steps in which it came.
"""

from streams.domain.account import Returned, SaleRecord, SoldLine, Taken

Fractions = dict[int, tuple[int, int]]
"""Line number -> (part, whole): how much of the line has come back."""


def fractions(sale: SaleRecord, returned: Returned | None) -> Fractions:
    """For every line of the sale."""
    taken = {line.line: line for line in returned.lines} if returned else {}
    return {line.line: _fraction(line, taken.get(line.line)) for line in sale.lines}


def _fraction(line: SoldLine, taken: Taken | None) -> tuple[int, int]:
    """The goods or the money, whichever came back more: a refund without goods is a return too."""
    if taken is None:
        return 0, 1
    if line.quantity and taken.quantity * line.net >= taken.amount * line.quantity:
        return taken.quantity, line.quantity
    return (taken.amount, line.net) if line.net else (1, 1)


def share(amount: int, fraction: tuple[int, int]) -> int:
    """That part of an amount, rounded down until all of it has come back."""
    part, whole = fraction
    return amount * part // whole


def is_whole(back: Fractions) -> bool:
    """Whether nothing of the sale is left."""
    return all(part == whole for part, whole in back.values())
