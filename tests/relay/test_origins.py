"""Whoever has one network has one origin, however many addresses it uses."""

from __future__ import annotations

import pytest

from relay.origins import origin_of


@pytest.mark.row("A29")
def test_a_network_of_ipv6_is_one() -> None:
    hosts = [f"2001:db8:1:2::{n:x}" for n in range(1, 200)] + ["2001:db8:1:2:ffff:ffff:ffff:ffff"]
    assert {origin_of(host) for host in hosts} == {"2001:db8:1:2::/64"}
    assert origin_of("2001:db8:1:3::1") != origin_of("2001:db8:1:2::1")


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("/a/socket", "/a/socket"),
    ],
)
def test_others_stand_for_themselves(host: str, origin: str) -> None:
    assert origin_of(host) == origin
