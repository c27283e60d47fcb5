"""Shares go where they do not fail together, as far as there is such a place (FAULTS F26)."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import RelayId
from peer.backup.placement import Node, assign, choose, independent, network_of, spread, weaknesses


def node(number: int, owner: str = "", network: str = "", region: str = "") -> Node:
    id_ = RelayId(bytes([number]) * 32)
    return Node(id_, owner or f"o{number}", network or f"n{number}", region)


nodes = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=7).map(
    lambda pairs: [node(i, f"o{o}", f"n{n}") for i, (o, n) in enumerate(pairs)]
)


def is_independent(some: tuple[Node, ...] | list[Node]) -> bool:
    owners, networks = {n.owner for n in some}, {n.network for n in some}
    return len(owners) == len(networks) == len(some)


@given(nodes)
def test_no_larger_set_of_independent_nodes_exists(some: list[Node]) -> None:
    found = independent(some)
    assert is_independent(found)
    larger = (chosen for chosen in combinations(some, len(found) + 1) if is_independent(chosen))
    assert next(larger, None) is None


@pytest.mark.row("F26")
@given(nodes, st.integers(1, 7))
def test_no_two_shares_with_one_owner_while_another_is_free(some: list[Node], count: int) -> None:
    placed = assign(some, count, {})
    assert len(set(placed.values())) == len(placed) == min(count, len(some))
    by_id = {n.id: n for n in some}
    owners = [by_id[id_].owner for id_ in placed.values()]
    all_owners = {n.owner for n in some}
    assert len(set(owners)) == min(len(placed), len(all_owners))


@pytest.mark.row("F23", "F26")
@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=9))
def test_a_node_counts_for_one_share_and_as_many_shares_as_can_be_are_counted(
    pairs: set[tuple[int, int]],
) -> None:
    held = {(share, RelayId(bytes([at]) * 32)) for share, at in pairs}
    found = spread(held)
    assert set(found.items()) <= held
    assert len(set(found.values())) == len(found)
    most = max(
        sum((share, RelayId(bytes([at]) * 32)) in held for share, at in enumerate(order))
        for order in permutations(range(4))
    )
    assert len(found) == most


def test_what_is_held_stays_and_the_rest_goes_elsewhere() -> None:
    some = [node(i, f"o{i % 4}") for i in range(8)]
    held = {0: some[0].id, 1: some[1].id, 2: RelayId(b"gone" * 8)}
    placed = assign(some, 4, held)
    assert set(placed) == {2, 3}
    assert {n.owner for n in some if n.id in placed.values()} == {"o2", "o3"}
    assert assign(some[:2], 3, {0: some[0].id}) == {1: some[1].id}
    assert assign([], 3, {}) == {}


def test_reads_are_spread_over_the_nodes() -> None:
    some = [node(i) for i in range(3)]
    assert {assign(some, 3, {}, turn)[0] for turn in range(3)} == {n.id for n in some}


def test_the_most_independent_are_used() -> None:
    some = [node(0, "a"), node(1, "a"), node(2, "b"), node(3, "c", "n0")]
    assert {n.owner for n in choose(some, 3)} == {"a", "b", "c"}
    assert len(choose(some, 9)) == 4


def test_a_person_is_told_of_what_fails_together() -> None:
    assert weaknesses([node(i) for i in range(7)], 4, 7) == []
    (said,) = weaknesses([node(i, "me" if i < 4 else "") for i in range(7)], 4, 7)
    assert "4 of 7 shares are with one owner" in said
    assert len(weaknesses([node(i, "me", "home") for i in range(3)], 2, 3)) == 2
    assert "No share may be lost" in weaknesses([node(0)], 1, 1)[-1]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.200", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
        ("127.0.0.1", "::1", True),
        ("a.example", "b.example", False),
    ],
)
def test_networks_are_what_one_household_has(one: str, other: str, is_same: bool) -> None:
    assert (network_of(one) == network_of(other)) is is_same
