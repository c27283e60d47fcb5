"""A number is given with what it rests on, or it is said why there is none."""

from __future__ import annotations

import pytest

from crypto.ids import RelayId
from peer.backup.copies_outlook import ALONE_REPAIR_H, ANNUAL_LOSS, REPAIR_H, domains, outlook
from peer.backup.durability_model import System, loss_in_a_year
from peer.backup.placement import Node


def some(count: int, owners: int, networks: int) -> list[Node]:
    return [
        Node(RelayId(bytes([n]) * 32), f"o{n % owners}", f"n{n % networks}", "r" if n % 2 else "")
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("nodes", "named", "health", "why"),
    [
        (some(7, 7, 7), 7, "degraded", "degraded"),
        (some(6, 6, 6), 7, "healthy", "Only 6 of 7"),
        (some(7, 1, 7), 7, "healthy", "with one owner"),
        (some(7, 7, 1), 7, "healthy", "with one network"),
    ],
)
def test_where_nothing_can_be_said_it_is_said_why(
    nodes: list[Node], named: int, health: str, why: str
) -> None:
    found = outlook(nodes, named, 4, 7, health)
    assert found["loss_in_a_year"] is None
    assert why in found["reason"]


def test_a_number_comes_with_what_it_rests_on() -> None:
    found = outlook(some(9, 9, 9), 9, 4, 7, "healthy")
    assert found["loss_in_a_year"] == loss_in_a_year(System(4, 7, 9, ANNUAL_LOSS, REPAIR_H))
    assert any("48 hours" in sentence for sentence in found["assumptions"])
    alone = outlook(some(7, 7, 7), 7, 4, 7, "healthy")
    assert alone["loss_in_a_year"] == loss_in_a_year(System(4, 7, 7, ANNUAL_LOSS, ALONE_REPAIR_H))
    assert "No node stands by" in alone["assumptions"][-1]


def test_shares_are_counted_by_what_is_lost_together() -> None:
    nodes = some(4, 2, 4)
    shares = {node.id: 10 for node in nodes[:3]}
    found = [(d["kind"], d["name"], d["shares"]) for d in domains(nodes, shares, {})]
    assert found == [
        ("owner", "o0", 20), ("owner", "o1", 10), ("network", "n0", 10), ("network", "n1", 10),
        ("network", "n2", 10), ("region", "r", 10),
    ]  # fmt: skip


def test_a_node_that_names_no_owner_is_called_by_where_it_is() -> None:
    id_ = RelayId(b"n" * 32)
    nodes = [Node(id_, id_.hex(), "this machine", "")]
    found = domains(nodes, {id_: 3}, {id_: "192.0.2.1:4433"})
    assert [d["name"] for d in found] == ["unnamed (192.0.2.1:4433)", "this machine"]
