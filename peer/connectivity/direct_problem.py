"""Why no direct way to a device was found, in a sentence for people: from what both told. No I/O.

What is said is what is known. A router that gives another port for every destination shows when two
relays see two ports; with one relay it cannot be told from one that is strict.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from protocol.candidates import Candidate, CandidateKind

NO_UDP_HERE = (
    "This device uses no UDP (`network.links`), and a direct way through routers needs it."
)
BLOCKED = "This network lets no UDP through to the relay, so no direct way can be found from here."
NOT_SEEN = (
    "No relay has seen this device by UDP until now: this network may let none through, and without"
    " UDP there is no direct way."
)
NO_ADDRESSES = (
    "The other device told no address at which it can be probed: its network lets no UDP through,"
    " or it uses none."
)
NOT_SEEN_THERE = (
    "No relay sees the other device by UDP: its network lets none through, and without UDP there is"
    " no direct way."
)
TRIED_ENOUGH = (
    "The other device's addresses were tried several times within a minute, or may not be tried at"
    " all; it goes on later."
)
NO_REPLY = "The other device did not take part when a direct way was looked for."
NOT_DIALLED = "A direct way answered, but no link came about on it."
NO_COMMON_FAMILY = (
    "One of the two devices can be reached by IPv4 alone and the other one by IPv6 alone: only the"
    " relay has both."
)
BOTH_CHANGE = (
    "Both networks give a device another port for every destination, so that neither can be told"
    " where to send. A port opened at one of the two routers would help."
)
OURS_CHANGES = (
    "This network gives a device another port for every destination, and the other one lets in"
    " nobody whom it does not expect. A port opened at one of the two routers would help."
)
THEIRS_CHANGES = (
    "The other device's network gives it another port for every destination, and this one lets in"
    " nobody whom it does not expect. A port opened at one of the two routers would help."
)


def direct_problem(own: Sequence[Candidate], theirs: Sequence[Candidate], targets: int) -> str:
    """What can be said after a round in vain, in which so many addresses were tried."""
    if not theirs:
        return NO_ADDRESSES
    if not targets:
        return TRIED_ENOUGH
    if not _is_seen(own):
        return NOT_SEEN
    if not _is_seen(theirs):
        return NOT_SEEN_THERE
    if not _families(own) & _families(theirs):
        return NO_COMMON_FAMILY
    ours_changes, theirs_changes = changes_ports(own), changes_ports(theirs)
    if ours_changes and theirs_changes:
        return BOTH_CHANGE
    if ours_changes:
        return OURS_CHANGES
    if theirs_changes:
        return THEIRS_CHANGES
    return (
        f"None of the {targets} addresses of the other device answered: the routers or firewalls in"
        " between let in nobody that they do not know."
    )


def changes_ports(candidates: Sequence[Candidate]) -> bool:
    """Whether relays see several ports of one address: no endpoint-independent mapping."""
    seen: dict[str, set[int]] = {}
    for candidate in candidates:
        if candidate.kind == CandidateKind.OBSERVED:
            seen.setdefault(candidate.host, set()).add(candidate.port)
    return any(len(ports) > 1 for ports in seen.values())


def _is_seen(candidates: Sequence[Candidate]) -> bool:
    """Whether the device is known from outside, or needs not to be."""
    return any(c.kind != CandidateKind.LOCAL or _is_of_the_internet(c) for c in candidates)


def _families(candidates: Sequence[Candidate]) -> set[int]:
    """The versions of IP by which others than neighbours reach it."""
    return {
        ip_address(c.host).version
        for c in candidates
        if c.kind != CandidateKind.LOCAL or _is_of_the_internet(c)
    }


def _is_of_the_internet(candidate: Candidate) -> bool:
    return ip_address(candidate.host).is_global
