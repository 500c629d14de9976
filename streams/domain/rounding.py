"""Integers shared out without losing one: the only place that divides points or money (A04).

Law: nothing is rounded twice. Shares are kept as exact integer numerators over one denominator until the very end.
"""

from typing import Literal

Rounding = Literal["floor", "half_up", "half_down"]


def rounded(numerator: int, denominator: int, mode: Rounding) -> int:
    """The whole number nearest to numerator/denominator by `mode`; both are at least zero."""
    if mode == "floor":
        return numerator // denominator
    if mode == "half_up":
        return (2 * numerator + denominator) // (2 * denominator)
    return -((denominator - 2 * numerator) // (2 * denominator))


def apportion(weights: list[int], total: int) -> list[int]:
    """`total` shared out in proportion to `weights`, by largest remainder; ties go to the earlier share.

    The shares add up to `total` exactly (to nothing when all weights are zero).
    """
    whole = sum(weights)
    if whole == 0:
        return [0] * len(weights)
    shares = [weight * total // whole for weight in weights]
    left = total - sum(shares)
    return _hand_out(shares, [weight * total % whole for weight in weights], left) if left else shares


def whole_shares(numerators: list[int], denominator: int, total: int) -> list[int]:
    """Each numerator/denominator as a whole number, so that together they make `total` (their rounded sum)."""
    shares = [numerator // denominator for numerator in numerators]
    left = total - sum(shares)
    return _hand_out(shares, [numerator % denominator for numerator in numerators], left) if left else shares


def _hand_out(shares: list[int], remainders: list[int], left: int) -> list[int]:
    """One more for each of the largest remainders; each is sorted as one number that also says which of equals is earlier."""
    count = len(shares)
    ranks = sorted([remainder * count - index for index, remainder in enumerate(remainders)])
    for rank in ranks[-left:]:
        shares[-rank % count] += 1
    return shares
