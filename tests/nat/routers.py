"""What a router does to UDP, as nftables rules: the kinds of RFC 4787, each said in its terms.

Linux keeps a flow's port and lets in what answers: mapping as endpoint-independent as long as ports
are free, filtering address and port-dependent. The other kinds are made of that: fixed
translations of the ports that the lab's devices listen on, a set of addresses that were written to,
random ports. A port is another one outside than inside wherever it is fixed, so that nobody can
succeed by taking them for equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PORTS_PER_HOST: Final = 40
FIRST_PORT: Final = 22330
SHIFT: Final = 10_000
"""Between the port inside and the one outside, per router that is passed."""


class Kind(StrEnum):
    """How one home is attached to the world."""

    FULL_CONE = "full cone"
    """Endpoint-independent mapping and filtering."""
    ADDRESS_RESTRICTED = "address-restricted"
    """Endpoint-independent mapping, address-dependent filtering."""
    PORT_RESTRICTED = "port-restricted"
    """Endpoint-independent mapping, address and port-dependent filtering: most home routers."""
    SYMMETRIC = "symmetric"
    """Address and port-dependent mapping to random ports, and filtering: mobile networks."""
    DOUBLE = "double NAT"
    """A port-restricted router behind another one of the provider's."""
    UDP_BLOCKED = "UDP blocked"
    """No UDP in or out; TCP goes out: offices, hotels."""
    IPV6_ONLY = "IPv6 only"
    """No IPv4; a firewall lets in what answers."""


@dataclass(frozen=True, slots=True)
class Inner:
    """A host behind a router, and the first of the ports on which its devices listen."""

    address: str
    first_port: int = FIRST_PORT
    first_outer_port: int = FIRST_PORT + SHIFT
    """What the first becomes outside, and the others with it. A host that takes another address
    gets others there too: the old ones are taken until the router forgets.
    """

    def ports(self) -> list[tuple[int, int]]:
        """The ports that its devices listen on, and what they are outside."""
        count = range(PORTS_PER_HOST)
        return [(self.first_port + n, self.first_outer_port + n) for n in count]


def rules(kind: Kind, outer: str, inner: Sequence[Inner], *, hairpin: bool = False) -> str:
    """The rules of a router that has `outer` towards the world, on `wan`, and a `lan`."""
    if kind is Kind.IPV6_ONLY:
        return _firewall("0.0.0.0")
    if kind is Kind.UDP_BLOCKED:
        return _nat("oifname wan masquerade") + _firewall(outer, "meta l4proto udp drop")
    if kind is Kind.SYMMETRIC:
        return _nat("oifname wan masquerade fully-random") + _firewall(outer)
    source = ", ".join(f"{own} : {outside}" for host in inner for own, outside in host.ports())
    target = ", ".join(
        f"{outside} : {host.address} . {own}" for host in inner for own, outside in host.ports()
    )
    there = f"udp sport map {{ {source} }}"
    back = f"dnat ip to udp dport map {{ {target} }}"
    own, outer_ports = zip(*(ports for host in inner for ports in host.ports()), strict=True)
    inside, outside = (f"{min(ports)}-{max(ports)}" for ports in (own, outer_ports))
    out = [f"oifname wan udp sport {inside} snat ip to {outer} : {there}", "oifname wan masquerade"]
    come: list[str] = []
    accept: list[str] = []
    if kind in (Kind.FULL_CONE, Kind.ADDRESS_RESTRICTED):
        come.append(f"iifname wan udp dport {outside} {back}")
    if kind is Kind.FULL_CONE:
        accept.append("iifname wan ct status dnat accept")
    if kind is Kind.ADDRESS_RESTRICTED:
        accept.append(f"oifname wan udp sport {inside} add @contacted {{ ip daddr . udp sport }}")
        accept.append("iifname wan ip saddr . udp dport @contacted accept")
    if hairpin:
        # RFC 4787, REQ-9: who is written to over the outside sees the outside address of the other.
        come.append(f"iifname lan ip daddr {outer} udp dport {outside} {back}")
        out.append(f"oifname lan ct status dnat udp sport {inside} snat ip to {outer} : {there}")
    return _nat(*out, come=come) + _firewall(outer, *accept)


def _nat(*out: str, come: Sequence[str] = ()) -> str:
    return f"""
table ip nat {{
    chain come {{ type nat hook prerouting priority dstnat;
        {_lines(come)}
    }}
    chain go {{ type nat hook postrouting priority srcnat;
        {_lines(out)}
    }}
}}
"""


def _firewall(outer: str, *accept: str) -> str:
    """Lets in what answers and what `accept` says. What is not forwarded is dropped and never
    refused: a router that answers spoils the punching of who is slower.
    """
    return f"""
table inet filter {{
    set contacted {{ type ipv4_addr . inet_service; flags dynamic, timeout; timeout 2m; }}
    chain forward {{ type filter hook forward priority 0; policy drop;
        {_lines(accept)}
        ct state established,related accept
        iifname lan accept
    }}
    chain input {{ type filter hook input priority 0; policy drop;
        iifname lo accept
        ct state established,related accept
        meta l4proto ipv6-icmp accept
        iifname lan ip daddr != {outer} accept
    }}
}}
"""


def _lines(rules: Sequence[str]) -> str:
    return "\n        ".join(rules)
