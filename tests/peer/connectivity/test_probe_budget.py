"""What a device sends to addresses that others named, however often they name them."""

from __future__ import annotations

import pytest

from peer.connectivity.probe_budget import ADDRESSES_MAX, ROUNDS_PER_ADDRESS, WINDOW_S, ProbeBudget


@pytest.mark.row("A33")
def test_one_address_is_probed_in_few_rounds_a_minute() -> None:
    budget = ProbeBudget()
    taken = [budget.take(("192.0.2.1", 2000), now / 10) for now in range(500)]
    assert sum(taken) == ROUNDS_PER_ADDRESS
    assert budget.take(("192.0.2.1", 2000), WINDOW_S + 1)


@pytest.mark.row("A33")
def test_the_ports_of_a_machine_are_not_scanned() -> None:
    budget = ProbeBudget()
    assert sum(budget.take(("192.0.2.1", port), 0.0) for port in range(1024, 3000)) == (
        ROUNDS_PER_ADDRESS
    )


@pytest.mark.row("A33")
def test_few_machines_are_probed_in_a_minute() -> None:
    budget = ProbeBudget()
    hosts = [f"192.0.{n // 250}.{n % 250}" for n in range(1000)]
    assert sum(budget.take((host, 2000), 0.0) for host in hosts) == ADDRESSES_MAX
