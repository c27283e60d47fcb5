"""What theory says is said for every pair, and the same in both orders."""

from __future__ import annotations

import itertools

import pytest

from tests.nat.routers import Kind
from tests.nat.theory import DIRECT, RELAYED, expected


@pytest.mark.parametrize(("one", "other"), list(itertools.product(Kind, Kind)))
def test_the_order_of_two_homes_does_not_matter(one: Kind, other: Kind) -> None:
    assert expected(one, other) == expected(other, one)
    assert expected(one, other).reason


def test_how_many_pairs_can_have_a_direct_way() -> None:
    ways = [expected(*pair).path for pair in itertools.combinations_with_replacement(Kind, 2)]
    assert (ways.count(DIRECT), ways.count(RELAYED)) == (13, 15)
