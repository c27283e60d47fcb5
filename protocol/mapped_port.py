"""A port that a router opens for us: what was agreed.

No I/O. NAT-PMP, PCP and UPnP are three ways to agree on the same thing (`protocol.nat_pmp`,
`protocol.pcp`, `protocol.upnp`); whatever answers on the local network is hostile by assumption,
so what comes of it is never more than one address to tell to the own devices, who authenticate.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Final, NamedTuple

from protocol.errors import Malformed

LIFETIME_S: Final = 3600
"""Asked for, and renewed at half. RFC 6886 recommends 7200; a device that loses its power leaves an
open port behind for as long."""
LIFETIME_MIN_S: Final = 120
LIFETIME_MAX_S: Final = 86_400
"""A router that grants less or more is asked again after half of these all the same."""


class MappedPort(NamedTuple):
    """An address of the router's outside that leads to this device."""

    host: str
    port: int
    lifetime_s: int
    """As granted, within the bounds above."""


class PortRefused(Exception):
    """The router does not open a port; the text says why, in its words."""


def bounded_lifetime(seconds: int) -> int:
    """A lifetime that is worth planning with."""
    return min(max(seconds, LIFETIME_MIN_S), LIFETIME_MAX_S)


def check_outside(host: str) -> str:
    """The outside of a router that can be reached from anywhere; raises PortRefused.

    A private one means that there is another router before it, to which nobody spoke.
    """
    address = IPv4Address(host)
    if not address.is_global or address.is_multicast:
        raise PortRefused(
            f"the router's own outside address {host} is none of the internet: there is another"
            " router before it"
        )
    return host


def check_port(port: int) -> int:
    """A port that can be one of ours; raises Malformed."""
    if not 1024 <= port <= 65535:
        raise Malformed("no port of a device")
    return port
