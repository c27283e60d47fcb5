"""Which way a link takes, and the addresses of this machine that tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface

import ifaddr

from protocol.link import Link

Interface = IPv4Interface | IPv6Interface


class Path(StrEnum):
    """The way that a link takes."""

    LAN = "lan"
    """The other device is on this network, or on this machine."""
    DIRECT = "direct"
    """From network to network, with nobody in between who takes part."""
    MAPPED = "mapped"
    """To a port that a router was asked to open."""
    RELAYED = "relayed"
    """Through a relay."""


def own_interfaces() -> list[Interface]:
    """This machine's addresses with the networks that they are in."""
    found: list[Interface] = []
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            host = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
            found.append(ip_interface(f"{host.partition('%')[0]}/{entry.network_prefix}"))
    return found


def path_of(link: Link, interfaces: Callable[[], Sequence[Interface]] = own_interfaces) -> Path:
    """The way of a link, as `status` tells it."""
    if link.is_relayed:
        return Path.RELAYED
    if link.is_mapped:
        return Path.MAPPED
    return Path.LAN if is_near(link.peer_address[0], interfaces) else Path.DIRECT


def is_near(host: str, interfaces: Callable[[], Sequence[Interface]] = own_interfaces) -> bool:
    """Whether an address is of one of the networks that this machine is in."""
    address = ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    address = address if mapped is None else mapped
    if address.is_loopback or address.is_link_local:
        return True
    return any(address in interface.network for interface in interfaces())
