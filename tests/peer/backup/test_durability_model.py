"""The formula is right where it can be known otherwise, and chance agrees with it."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest

from peer.backup.durability_model import (
    HOURS_A_YEAR,
    System,
    assumptions,
    curve,
    loss_in_a_year,
    loss_without_repair,
    nines,
    play,
    table,
)

HOME = System(4, 7, 9, 0.05, 48)


def test_one_copy_is_lost_as_its_node_is() -> None:
    assert loss_in_a_year(System(1, 1, 1, 0.05, 48)) == pytest.approx(0.05)
    assert loss_in_a_year(System(1, 1, 1, 0.0, 48)) == 0.0


def test_without_repair_it_is_the_binomial_tail() -> None:
    """Of 4 of 7 four have to be lost; by hand: sum of C(7, i) p^i q^(7-i) for i from 4."""
    slow = replace(HOME, repair_h=1e12)
    by_hand = sum(math.comb(7, i) * 0.05**i * 0.95 ** (7 - i) for i in range(4, 8))
    assert loss_without_repair(HOME) == pytest.approx(by_hand)
    assert loss_in_a_year(slow) == pytest.approx(by_hand, rel=1e-6)


def test_quick_repair_is_as_theory_has_it() -> None:
    """Where repair is much quicker than loss: n C(n-1, m) lambda^(m+1) T^m a year (Angus)."""
    system = System(2, 4, 4, 0.01, 1)
    rate = system.loss_rate
    expected = HOURS_A_YEAR * 4 * math.comb(3, 2) * rate**3
    assert loss_in_a_year(system) == pytest.approx(expected, rel=2e-3)
    tiny = loss_in_a_year(System(4, 14, 14, 0.01, 1))
    assert 0 < tiny < 1e-30, "and what is tiny is not rounded away"


def test_a_shock_that_takes_enough_is_as_likely_as_the_loss() -> None:
    system = System(4, 7, 7, 0.0, 48, shock=0.01, shock_nodes=4)
    assert loss_in_a_year(system) == pytest.approx(0.01)
    # Of nine nodes it has to take four of the seven that hold a share.
    wider = replace(system, nodes=9)
    chance = sum(math.comb(7, i) * math.comb(2, 4 - i) for i in (4,)) / math.comb(9, 4)
    assert loss_in_a_year(wider) == pytest.approx(-math.expm1(chance * math.log1p(-0.01)), rel=1e-3)


@pytest.mark.parametrize(
    "system",
    [HOME, replace(HOME, repair_h=1000), System(1, 2, 2, 0.2, 500), System(2, 3, 5, 0.1, 100),
     replace(HOME, shock=0.02, shock_nodes=3), System(1, 1, 3, 0.1, 5, 0.1, 2)],
)  # fmt: skip
def test_chance_agrees_with_the_formula(system: System) -> None:
    found = play(system, Random(7), 12_000)
    exact = loss_in_a_year(system)
    spread = (found.high - found.low) / 2
    assert abs(found.mean - exact) < 2 * spread, "four standard deviations"
    assert spread < 0.6 * exact


def test_what_never_came_is_said_to_be_below_something() -> None:
    found = play(System(1, 3, 3, 1e-9, 1), Random(1), 300)
    assert (found.mean, found.high) == (0.0, 0.01)


def test_repair_pays() -> None:
    rows = table(HOME, Random(1), 500)
    assert [row.repair_h for row in rows] == [12, 48, 192]
    assert rows[0].formula < rows[1].formula < rows[2].formula < loss_without_repair(HOME)
    assert curve(HOME, [12, 48]) == [rows[0].formula, rows[1].formula]


def test_what_it_rests_on_is_said() -> None:
    assert "0.05" in assumptions(HOME)[0]
    assert "--correlated" in assumptions(HOME)[-1]
    assert "3 nodes at once" in assumptions(replace(HOME, shock=0.1, shock_nodes=3))[-1]
    assert [nines(p) for p in (0.0, 1e-9, 0.001, 0.05)] == ["always", "9 nines", "3 nines", "95 %"]
