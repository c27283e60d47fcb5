"""Which of the addresses that are listened on others can use. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address


def announced_of(hosts: Sequence[str]) -> tuple[list[str] | None, list[str] | None]:
    """The addresses to announce, and the interfaces to do it on; None for all of this machine's.

    What is listened on for this machine alone is told to nobody else.
    """
    addresses = {host: ip_address(host) for host in hosts}
    if any(address.is_unspecified for address in addresses.values()):
        return None, None
    others = [host for host, address in addresses.items() if not address.is_loopback]
    return (others, None) if others else (list(hosts), list(hosts))


def is_reached(hosts: Sequence[str]) -> bool:
    """Whether IPv4 from elsewhere reaches what listens on these."""
    return any(":" not in host and not ip_address(host).is_loopback for host in hosts)
