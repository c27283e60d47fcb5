"""How `status` names the way of a link."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_interface

import pytest

from peer.connectivity.ways import Interface, Path, own_interfaces, path_of
from protocol.link import Link, LinkKind
from protocol.tls import TlsLink


def interfaces() -> Sequence[Interface]:
    return [ip_interface("192.168.1.7/24"), ip_interface("2001:db8:1::7/64")]


def link_to(host: str) -> Link:
    link = TlsLink(True, b"")
    link.peer_address = (host, 22330)
    assert link.kind is LinkKind.TLS
    return link


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("192.168.1.9", Path.LAN),
        ("2001:db8:1::9", Path.LAN),
        ("127.0.0.1", Path.LAN),
        ("::1", Path.LAN),
        ("fe80::1%eth0", Path.LAN),
        ("::ffff:192.168.1.9", Path.LAN),
        ("192.168.2.9", Path.DIRECT),
        ("203.0.113.9", Path.DIRECT),
        ("2001:db8:2::9", Path.DIRECT),
    ],
)
async def test_what_is_near_is_told_by_the_machine_s_networks(host: str, path: Path) -> None:
    assert path_of(link_to(host), interfaces) is path


async def test_a_relay_and_a_mapped_port_are_told_whatever_the_address() -> None:
    link = link_to("192.168.1.9")
    link.is_mapped = True
    assert path_of(link, interfaces) is Path.MAPPED
    link.is_relayed = True
    assert path_of(link, interfaces) is Path.RELAYED


def test_this_machine_s_own_networks_are_found() -> None:
    assert any(interface.ip.is_loopback for interface in own_interfaces())
