"""What can be told apart by an address: the keys of what is counted per address. Pure.

Of IPv6 everybody has at least a network of 2^64 addresses, so it is the network that counts.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

NETWORK_BITS: Final = 64


def origin_of(host: str) -> str:
    """The address itself for IPv4, its /64 for IPv6; what is no address stands for itself."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Network((address, NETWORK_BITS), strict=False))
    return str(address)
