"""Integers shared out without losing one."""

import random
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.domain.rounding import apportion, rounded, whole_shares

WEIGHTS = st.lists(st.integers(0, 10**9), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("numerator", "denominator", "floor", "half_up", "half_down"),
    [
        (0, 100, 0, 0, 0),
        (49, 100, 0, 0, 0),
        (50, 100, 0, 1, 0),
        (51, 100, 0, 1, 1),
        (99, 100, 0, 1, 1),
        (100, 100, 1, 1, 1),
        (149, 100, 1, 1, 1),
        (150, 100, 1, 2, 1),
        (151, 100, 1, 2, 2),
        (250, 100, 2, 3, 2),
        (1, 3, 0, 0, 0),
        (2, 3, 0, 1, 1),
        (5, 2, 2, 3, 2),
        (10**30 + 1, 2, 5 * 10**29, 5 * 10**29 + 1, 5 * 10**29),
    ],
)
def test_A04_rounding_by_each_mode(numerator: int, denominator: int, floor: int, half_up: int, half_down: int) -> None:
    assert (floor, half_up, half_down) == tuple(
        rounded(numerator, denominator, mode) for mode in ("floor", "half_up", "half_down")
    )


@given(st.integers(0, 10**18), st.integers(1, 10**9))
def test_A04_rounding_is_never_off_by_more_than_its_mode_allows(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    assert 0 <= exact - rounded(numerator, denominator, "floor") < 1
    assert Fraction(-1, 2) <= exact - rounded(numerator, denominator, "half_up") < Fraction(1, 2)
    assert Fraction(-1, 2) < exact - rounded(numerator, denominator, "half_down") <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("weights", "total", "shares"),
    [
        ([1, 1, 1], 1, [1, 0, 0]),
        ([1, 1, 1], 2, [1, 1, 0]),
        ([1, 2, 3], 10, [2, 3, 5]),
        ([999, 1], 10, [10, 0]),
        ([0, 5, 0], 7, [0, 7, 0]),
        ([0, 0], 7, [0, 0]),
        ([3, 3, 3, 1], 5, [2, 2, 1, 0]),
        ([1], 10**15, [10**15]),
    ],
)
def test_A04_shares_by_largest_remainder_ties_to_the_earlier(weights: list[int], total: int, shares: list[int]) -> None:
    assert shares == apportion(weights, total)


@given(WEIGHTS, st.integers(0, 10**12))
def test_A04_shares_add_up_and_are_off_by_less_than_one(weights: list[int], total: int) -> None:
    shares, whole = apportion(weights, total), sum(weights)
    assert sum(shares) == (total if whole else 0)
    assert all(share == 0 for share, weight in zip(shares, weights, strict=True) if weight == 0)
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share * whole - weight * total) < max(1, whole)


@given(WEIGHTS, st.integers(1, 10**6), st.sampled_from(["floor", "half_up", "half_down"]))
def test_A04_whole_shares_make_the_rounded_sum(weights: list[int], denominator: int, mode: str) -> None:
    whole = rounded(sum(weights), denominator, mode)  # type: ignore[arg-type]
    shares = whole_shares(weights, denominator, whole)
    assert whole == sum(shares)
    for share, weight in zip(shares, weights, strict=True):
        assert weight // denominator <= share <= -(-weight // denominator)


def test_A04_a_hundred_thousand_baskets_lose_no_point_to_their_lines() -> None:
    rng, until = random.Random(4), time.perf_counter() + 10
    for _ in range(100_000):
        weights = [rng.randrange(100_000) for _ in range(rng.randint(1, 12))]
        header = rounded(sum(weights), 100, "floor")
        assert header == sum(apportion(weights, header))
        if time.perf_counter() > until:
            break  # a slow machine: fewer baskets
