"""The merge rules to the letter, over whole replicas: what the incremental tree is compared with.

A replica is {node id: Node}. Nothing here is incremental, so nothing here can be stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from crypto.ids import NodeId
from crypto.primitives import digest
from protocol.names import conflict_name, exact_key, fold_key
from protocol.nodes import (
    NO_LOG,
    NO_NODE,
    ROOT,
    Content,
    Kind,
    Node,
    Place,
    copy_id,
    join,
    kind_of,
    versions,
    winning_place,
)

Replica = dict[NodeId, Node]


def merge(*replicas: Mapping[NodeId, Node]) -> Replica:
    out: Replica = {}
    for replica in replicas:
        for node_id, node in replica.items():
            out[node_id] = join(out[node_id], node) if node_id in out else node
    return out


@dataclass(frozen=True)
class Shown:
    id: NodeId
    members: tuple[NodeId, ...]
    parent: NodeId
    name: str
    hash: bytes
    is_executable: bool
    displaced: bool
    folded: bool
    kept: bool


def expand(replica: Replica) -> tuple[Replica, dict[NodeId, Content]]:
    nodes: Replica = {}
    shown: dict[NodeId, Content] = {}
    for node_id, node in replica.items():
        if node_id == ROOT:
            continue
        if not node.places:
            if not node.contents:
                continue
            place = Place((), 0, NO_LOG, ROOT, f"recovered {node_id.hex()}", is_soft=True)
            node = Node((place,), node.contents, node.attributes)
        nodes[node_id] = node
        if kind_of(node_id) is Kind.DIRECTORY:
            continue
        ordered = versions(node_id, node, lambda copy: copy in replica)
        if ordered:
            shown[node_id] = ordered[0]
        place = winning_place(node)
        for loser in ordered[1:]:
            name = conflict_name(place.name, loser.label, loser.time_s)
            copy = copy_id(node_id, loser)
            nodes[copy] = Node((Place((), 0, NO_LOG, place.parent, name, is_soft=True),), (loser,))
            shown[copy] = loser
    return nodes, shown


def resolve(nodes: Replica, place: dict[NodeId, Place]) -> dict[NodeId, tuple[NodeId, str]]:
    def known(parent: NodeId) -> bool:
        return parent == ROOT or (
            parent != NO_NODE and kind_of(parent) is Kind.DIRECTORY and parent in nodes
        )

    choices = {
        n: [o for o in ((p.parent, p.name), p.previous, (ROOT, p.name)) if known(o[0])]
        for n, p in place.items()
    }
    step = dict.fromkeys(place, 0)
    adrift = {n for n, p in place.items() if not known(p.parent)}

    def age(n: NodeId) -> tuple[Any, ...]:
        return (n in adrift, *place[n].since, place[n].previous[0] != NO_NODE, n)

    while True:
        seen: dict[NodeId, int] = {ROOT: -1}
        cycles = []
        directories = sorted(n for n in place if kind_of(n) is Kind.DIRECTORY)
        for number, start in enumerate(directories):
            trail, n = [], start
            while n not in seen:
                seen[n] = number
                trail.append(n)
                n = choices[n][step[n]][0]
            if seen[n] == number:
                cycles.append(trail[trail.index(n) :])
        if not cycles:
            return {n: choices[n][step[n]] for n in place}
        for cycle in cycles:
            loser = max(cycle, key=age)
            step[loser] += 1
            adrift.add(loser)


def materialise(replica: Replica, fold: bool = False) -> dict[NodeId, Shown]:
    nodes, shown = expand(replica)
    place = {n: winning_place(node) for n, node in nodes.items()}
    where = resolve(nodes, place)
    visible: set[NodeId] = {ROOT}
    for n in nodes:
        if n in shown if kind_of(n) is not Kind.DIRECTORY else not place[n].is_deleted:
            while n not in visible:
                visible.add(n)
                n = where[n][0]
    children: dict[NodeId, list[NodeId]] = {}
    for n in sorted(visible - {ROOT}):
        children.setdefault(where[n][0], []).append(n)

    def rank(n: NodeId) -> tuple[Any, ...]:
        return (place[n].rank, place[n].lamport, place[n].author, n)

    def is_dir(n: NodeId) -> bool:
        return kind_of(n) is Kind.DIRECTORY

    items: dict[NodeId, Shown] = {}
    todo: list[tuple[NodeId, tuple[NodeId, ...]]] = [(ROOT, (ROOT,))]
    while todo:
        parent, members = todo.pop()
        groups: dict[str, dict[tuple[Any, ...], list[NodeId]]] = {}
        for n in (n for m in members for n in children.get(m, ())):
            unit = ("d",) if is_dir(n) else (kind_of(n), shown[n].hash)
            groups.setdefault(exact_key(where[n][1]), {}).setdefault(unit, []).append(n)
        entries: list[tuple[bool, list[NodeId]]] = []
        for group in groups.values():
            units = [sorted(unit, key=rank, reverse=True) for unit in group.values()]
            units.sort(key=lambda u: (is_dir(u[0]), rank(u[0])), reverse=True)
            entries += [(i > 0, unit) for i, unit in enumerate(units)]
        entries.sort(key=lambda e: rank(e[1][0]), reverse=True)
        entries.sort(key=lambda e: e[0])
        key = fold_key if fold else exact_key
        taken: set[str] = set()
        for displaced, unit_ids in entries:
            n, name = unit_ids[0], where[unit_ids[0]][1]
            by = place[n] if place[n].rank == 2 or is_dir(n) else shown[n]
            wanted = [] if displaced else [name]
            tag = digest("conflict", n).hex()
            wanted += [conflict_name(name, by.label, by.time_s, tag[:i]) for i in (0, 4, 8, 16, 64)]
            final = next(w for w in wanted if key(w) not in taken)
            taken.add(key(final))
            items[n] = Shown(
                n, tuple(unit_ids), parent, final,
                b"" if is_dir(n) else shown[n].hash,
                not is_dir(n) and max(nodes[m].attributes for m in unit_ids).is_executable,
                displaced, not displaced and final != name,
                is_dir(n) and all(place[m].is_deleted for m in unit_ids),
            )  # fmt: skip
            if is_dir(n):
                todo.append((n, tuple(unit_ids)))
    return items


def paths(items: Mapping[NodeId, Shown]) -> dict[str, tuple[Any, ...]]:
    def path(n: NodeId) -> str:
        parts: list[str] = []
        while n != ROOT:
            parts.append(items[n].name)
            n = items[n].parent
        return "/".join(reversed(parts))

    return {
        path(n): (
            kind_of(n), i.hash, i.is_executable,
            tuple(sorted(i.members)) if kind_of(n) is Kind.DIRECTORY else i.members,
            i.displaced, i.folded, i.kept,
        )
        for n, i in items.items()
    }  # fmt: skip


def all_paths(names: Iterable[str]) -> list[str]:
    return sorted(names)
