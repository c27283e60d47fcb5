"""How likely a folder's copies are lost, as far as that can be said of the nodes that it has. Pure.

A number without what it rests on is worse than none, and where nodes may be lost together there is
none: what is known of them does not say how likely that is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from crypto.ids import RelayId
from peer.backup.durability_model import System, assumptions, loss_in_a_year
from peer.backup.placement import Node, weaknesses
from peer.status import CopiesOutlook, DomainShares

ANNUAL_LOSS: Final = 0.05
"""Of a node. Disks alone fail with 1 to 2 % a year; households move, and people forget to pay."""
REPAIR_H: Final = 48.0
"""What nodes that stand by promise: a day until a loss is believed, a day for the work."""
ALONE_REPAIR_H: Final = 336.0
"""Where nobody stands by: two weeks until a person has named another node."""


def outlook(
    nodes: Sequence[Node], named: int, needed: int, count: int, health: str
) -> CopiesOutlook:
    """`nodes` are those of the `named` ones that can be reached."""
    reason = ""
    if health != "healthy":
        reason = f"The copies are {health}: first every share has to be where it belongs."
    elif len(nodes) < count:
        reason = f"Only {len(nodes)} of {named} super-nodes can be reached."
    elif found := weaknesses(nodes, needed, count):
        reason = f"What may be lost together is no matter of chance: {found[0]}"
    if reason:
        return {"loss_in_a_year": None, "reason": reason, "assumptions": []}
    repair_h = REPAIR_H if named > count else ALONE_REPAIR_H
    system = System(needed, count, named, ANNUAL_LOSS, repair_h)
    said = assumptions(system)
    if named == count:
        said.append("No node stands by: somebody has to name another one when one is lost.")
    return {"loss_in_a_year": loss_in_a_year(system), "reason": "", "assumptions": said}


def domains(
    nodes: Sequence[Node], shares: Mapping[RelayId, int], places: Mapping[RelayId, str]
) -> list[DomainShares]:
    """How many shares there are with each owner, on each network and in each region. A node that
    names no owner is called by where it is: `places`.
    """
    found: list[DomainShares] = []
    for kind in ("owner", "network", "region"):
        counts = Counter[str]()
        for node in nodes:
            name = getattr(node, kind)
            if kind == "owner" and name == node.id.hex():
                name = f"unnamed ({places.get(node.id, 'a super-node')})"
            counts[name] += shares.get(node.id, 0)
        found += [
            {"kind": kind, "name": name, "shares": number}
            for name, number in sorted(counts.items())
            if number and name
        ]
    return found
