"""What is told of the addresses that are listened on."""

from __future__ import annotations

from peer.connectivity.own_addresses import announced_of, is_reached


def test_what_is_for_this_machine_alone_is_told_to_nobody_else() -> None:
    assert announced_of(["0.0.0.0", "127.0.0.1"]) == (None, None)
    assert announced_of(["192.0.2.1", "127.0.0.1"]) == (["192.0.2.1"], None)
    assert announced_of(["127.0.0.1"]) == (["127.0.0.1"], ["127.0.0.1"])


def test_from_elsewhere_what_is_not_loopback_is_reached() -> None:
    assert is_reached(["0.0.0.0"])
    assert is_reached(["127.0.0.1", "192.0.2.1"])
    assert not is_reached(["127.0.0.1", "::"])
