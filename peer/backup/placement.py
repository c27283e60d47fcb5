"""Which node holds which share of a pack: on as many independent nodes as there are.

Two nodes of one owner, on one network or in one region may be lost together, so shares go to
owners first, each on another network, then each in another region (FAULTS F26). "As many as there
are" is a maximum matching between owners and networks; the rest is filled up with what there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from crypto.ids import RelayId

V4_NETWORK_BITS: Final = 24
V6_NETWORK_BITS: Final = 48
"""What one household or hoster is given: two addresses within it fail together."""


@dataclass(frozen=True, slots=True)
class Node:
    """What is known of a node's independence; empty texts say that nothing is."""

    id: RelayId
    owner: str
    network: str
    region: str


def network_of(host: str) -> str:
    """The network that an address belongs to; every address of this machine is one."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if address.is_loopback:
        return "this machine"
    bits = V4_NETWORK_BITS if address.version == 4 else V6_NETWORK_BITS
    return f"{int(address) >> (address.max_prefixlen - bits):x}/{bits}"


def independent(nodes: Sequence[Node]) -> list[Node]:
    """A largest set of nodes of which no two have an owner or a network in common."""
    by_owner: dict[str, list[Node]] = {}
    for node in sorted(nodes, key=lambda node: node.id):
        by_owner.setdefault(node.owner, []).append(node)
    taken: dict[str, Node] = {}
    """By network: the node that stands for it."""

    def place(owner: str, seen: set[str]) -> bool:
        for node in by_owner[owner]:
            if node.network in seen:
                continue
            seen.add(node.network)
            holder = taken.get(node.network)
            if holder is None or place(holder.owner, seen):
                taken[node.network] = node
                return True
        return False

    for owner in sorted(by_owner):
        place(owner, set())
    return sorted(taken.values(), key=lambda node: node.id)


def choose(nodes: Sequence[Node], count: int) -> list[Node]:
    """The `count` nodes to use, the most independent first; fewer if there are fewer."""
    chosen = independent(nodes)
    rest = [node for node in sorted(nodes, key=lambda n: n.id) if node not in chosen]
    while rest and len(chosen) < count:
        # The least crowded owner first, then network, then region.
        best = min(rest, key=lambda node: _crowding(node, chosen))
        rest.remove(best)
        chosen.append(best)
    return chosen[:count]


def _crowding(node: Node, chosen: Sequence[Node]) -> tuple[int, int, int, bytes]:
    return (
        sum(other.owner == node.owner for other in chosen),
        sum(other.network == node.network for other in chosen),
        sum(other.region == node.region for other in chosen),
        node.id,
    )


def spread(held: Iterable[tuple[int, RelayId]]) -> dict[int, RelayId]:
    """Who counts as the holder of which share, each node for one: of a node that holds several
    shares of a pack all are lost together. As many shares as there can be.
    """
    holders: dict[int, list[RelayId]] = {}
    for share, node in sorted(held):
        holders.setdefault(share, []).append(node)
    taken: dict[RelayId, int] = {}

    def place(share: int, seen: set[RelayId]) -> bool:
        for node in holders[share]:
            if node in seen:
                continue
            seen.add(node)
            if node not in taken or place(taken[node], seen):
                taken[node] = share
                return True
        return False

    for share in holders:
        place(share, set())
    return {share: node for node, share in sorted(taken.items(), key=lambda item: item[1])}


def assign(
    nodes: Sequence[Node], count: int, held: Mapping[int, RelayId], turn: int = 0
) -> dict[int, RelayId]:
    """A node for each share that none of these nodes holds yet; no node gets two shares of a pack.

    `turn` moves the shares on from pack to pack, so that reads are spread over the nodes.
    """
    present = {node.id for node in nodes}
    kept = {share: node for share, node in held.items() if node in present}
    missing = [share for share in range(count) if share not in kept]
    others = [node for node in nodes if node.id not in kept.values()]
    begun = [node for node in nodes if node.id in kept.values()]
    free: list[Node] = []
    while others and len(free) < len(missing):
        best = min(others, key=lambda node: _crowding(node, [*begun, *free]))
        others.remove(best)
        free.append(best)
    free = free[turn % len(free) :] + free[: turn % len(free)] if free else []
    return {share: node.id for share, node in zip(missing, free, strict=False)}


def better(nodes: Sequence[Node], held: Mapping[int, RelayId]) -> tuple[int, RelayId] | None:
    """A share of a pack that had better be moved, and where to: to a node that makes more of its
    holders independent of each other, such as one that was added. None if there is none, or if not
    all holders are among the nodes.
    """
    known = {node.id: node for node in nodes}
    if not all(holder in known for holder in held.values()):
        return None
    others = [node for node in nodes if node.id not in held.values()]
    now = len(independent([known[holder] for holder in held.values()]))
    for share, holder in sorted(held.items()):
        rest = [known[other] for other in held.values() if other != holder]
        for node in sorted(others, key=lambda node: _crowding(node, rest)):
            if len(independent([*rest, node])) > now:
                return share, node.id
    return None


def weaknesses(nodes: Sequence[Node], needed: int, count: int) -> list[str]:
    """What a person should know of how independent these nodes are: a sentence each."""
    used = choose(nodes, count)
    found = []
    spare = count - needed
    for what, names in (
        ("owner", [node.owner for node in used]),
        ("network", [node.network for node in used]),
    ):
        most = max((names.count(name) for name in set(names)), default=0)
        if most > spare:
            found.append(
                f"{most} of {count} shares are with one {what}: if that is lost, fewer than the"
                f" {needed} that are needed are left. Name super-nodes of more {what}s."
            )
    if spare == 0:
        found.append("No share may be lost: choose a scheme with fewer needed than stored.")
    return found
