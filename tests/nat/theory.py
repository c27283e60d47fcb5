"""Which pairs of homes can have a direct way, and why: RFC 5128 in the terms of RFC 4787."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.nat.routers import Kind

DIRECT: Final = "direct"
RELAYED: Final = "relayed"
LAN: Final = "lan"
MAPPED: Final = "mapped"
NO_UDP: Final = "UDP"
NO_FAMILY: Final = "only the relay has both"
NOBODY_ANSWERS: Final = "let in nobody"
"""One relay sees one port, so it can not be said that the router changes them."""
LETS_IN_ANY_PORT: Final = (Kind.FULL_CONE, Kind.ADDRESS_RESTRICTED)
"""The filtering does not look at the port that a datagram comes from."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The way that two devices shall find, with the reason, and what `status` says to people where
    there is no direct one.
    """

    path: str
    reason: str
    says: str = ""
    """A part of what both devices say."""


def expected(one: Kind, other: Kind) -> Expected:
    """What theory says of two homes of these kinds, in any order."""
    pair = {one, other}
    if Kind.UDP_BLOCKED in pair:
        return Expected(RELAYED, "where no UDP passes there is nothing to punch with", NO_UDP)
    if pair == {Kind.IPV6_ONLY}:
        return Expected(
            DIRECT,
            "an address is the same on both sides of a firewall; as both write, each firewall"
            " takes what comes for the answer",
        )
    if Kind.IPV6_ONLY in pair:
        return Expected(
            RELAYED, "one has no IPv4, the other no IPv6; the relay has both", NO_FAMILY
        )
    if pair == {Kind.SYMMETRIC}:
        return Expected(
            RELAYED,
            "both map each destination to a port of its own, which nobody can know before",
            NOBODY_ANSWERS,
        )
    if Kind.SYMMETRIC in pair:
        (cone,) = pair - {Kind.SYMMETRIC}
        if cone in LETS_IN_ANY_PORT:
            return Expected(
                DIRECT,
                "the port of the symmetric side is not known before, but the other side lets in"
                " every port of an address that it wrote to, and answers to where it came from",
            )
        return Expected(
            RELAYED,
            "the port of the symmetric side is not known before, and the other side lets in only"
            " the port that it wrote to",
            NOBODY_ANSWERS,
        )
    return Expected(
        DIRECT,
        "both map endpoint-independently: what the relay sees of each is good for the other, and"
        " each that writes opens its own filter",
    )
