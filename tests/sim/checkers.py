"""The promises, as checks of a world (MERGE.md, ATTACKS, FAULTS)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crypto.ids import NodeId
from peer.core.rows import MISNAMED, Directories, Row
from peer.core.turn import is_directory
from protocol.nodes import NOTHING, ROOT, Node, join, kind_of
from tests.peer import oracle
from tests.sim.disk import HASHER

if TYPE_CHECKING:
    from tests.sim.world import Device, World

Paths = dict[str, tuple[int, bytes, bool]]
"""Path -> kind, whole-file hash, executable."""


class Broken(AssertionError):
    """A promise does not hold."""


def disk_paths(device: Device) -> Paths:
    """What a disk shows."""
    return {
        path: (int(kind), b"" if kind == 1 else HASHER.chunk_id(data), is_executable)
        for path, (kind, data, is_executable) in device.disk.paths().items()
    }


def tree_paths(device: Device) -> Paths:
    """What the synced tree shows, by the index and the directories in memory."""
    directories = device.directories
    out: Paths = {}
    for item in directories.items.values():
        if item.id != ROOT:
            out["/".join(directories.path(item.id))] = (1, b"", False)
    for row in device.index.rows.values():
        if row.shown.parent and not is_directory(row.id) and row.shown.item == row.id:
            above = directories.path(directories.nodes[row.shown.parent].item)
            path = "/".join((*above, row.shown.name))
            if path in out:
                raise Broken(f"two things at {path}")
            out[path] = (row.id[15] & 3, row.shown.hash, row.shown.is_executable)
    return out


def oracle_paths(replica: dict[NodeId, Node], folds_case: bool) -> Paths:
    """What the merge rules say."""
    shown = oracle.paths(oracle.materialise(replica, folds_case))
    return {
        path: (int(kind), hash_, is_executable and kind == 0)
        for path, (kind, hash_, is_executable, *_) in shown.items()
    }


def replica(device: Device) -> dict[NodeId, Node]:
    """All records that a device has."""
    return {i: r.state for i, r in device.index.rows.items() if r.state != NOTHING}


def difference(have: Paths, want: Paths) -> str:
    """What differs, for people."""
    lines = []
    for path in sorted(have.keys() | want.keys()):
        if have.get(path) != want.get(path):
            lines.append(f"{path!r}: {_say(have.get(path))} instead of {_say(want.get(path))}")
    return "; ".join(lines)


def _say(value: Any) -> str:
    return "nothing" if value is None else f"{value[0]}/{value[1].hex()[:6]}/{value[2]:d}"


# ---------------------------------------------------------------- at any time


def check_scanned(device: Device) -> None:
    """What people did is in the tree, and nothing else has moved."""
    have, want = tree_paths(device), disk_paths(device)
    if have != want:
        raise Broken(f"{device.name}'s tree is not its disk: {difference(have, want)}")
    if device.scan():
        raise Broken(f"a second scan of {device.name} wrote records")


def check_reloaded(name: str, before: Directories, after: Directories) -> None:
    """A device that starts again knows what it knew."""

    def summary(directories: Directories) -> dict[NodeId, object]:
        nodes = {
            i: (d.parent, d.name, d.is_adrift, d.children, d.counted_key, d.item)
            for i, d in directories.nodes.items()
            if d.counted_in
        }
        return {
            i: (node, item and (item.members, item.parent, item.name, item.flags, item.inode))
            for i, node in nodes.items()
            for item in [directories.items.get(i)]
        }

    old, new = summary(before), summary(after)
    for node_id in old.keys() | new.keys():
        if old.get(node_id) != new.get(node_id):
            what = f"{new.get(node_id)} instead of {old.get(node_id)}"
            raise Broken(f"{name} starts with other directories: {what}")


class Watch:
    """Compares every step with the one before."""

    def __init__(self) -> None:
        self._before: dict[tuple[int, NodeId], Row] = {}

    def check(self, devices: Sequence[Device]) -> None:
        """Records only grow, what is shown was told, and nobody's parked files are forgotten."""
        for device in devices:
            written, device.index.written = device.index.written, {}
            for node_id in written:
                row = device.index.rows.get(node_id)
                old = self._before.get((device.number, node_id))
                if row is None or old is row:
                    continue
                self._before[device.number, node_id] = row
                if join(row.state, row.synced) != row.state:
                    raise Broken(f"{device.name} shows what nobody wrote of {node_id.hex()}")
                if old is None:
                    continue
                if join(old.state, row.state) != row.state:
                    raise Broken(f"{device.name} forgot a record of {node_id.hex()}")
                if join(old.synced, row.synced) != row.synced and not _forgot_copies(old, row):
                    raise Broken(f"{device.name} went back with {node_id.hex()}")
            if device.disk.parked():
                raise Broken(f"{device.name} left something parked")


def _forgot_copies(old: Row, row: Row) -> bool:
    """Whether all that went back is that conflict copies are not shown, which are to come again: a
    crash may have kept from the index that a plan took them away (`half_done.forget_copies`).
    """
    rest = tuple(content for content in old.synced.contents if content in row.synced.contents)
    return row.is_dirty and row.synced == old.synced._replace(contents=rest)


# ---------------------------------------------------------------- at rest


def check_settled(world: World) -> None:
    """After a full exchange: one tree, nothing lost, nobody has anything to say."""
    world.exchange()
    first = world.devices[0]
    for device in world.devices:
        if replica(device) != replica(first):
            raise Broken(f"{device.name} and {first.name} have different replicas")
        for row in device.index.rows.values():
            if row.is_dirty:
                raise Broken(f"{device.name} does not show {row.id.hex()}")
        have = disk_paths(device)
        want = oracle_paths(replica(device), device.disk.folds_case)
        if have != want:
            raise Broken(f"{device.name}'s disk is not the oracle's: {difference(have, want)}")
        if tree_paths(device) != want:
            raise Broken(f"{device.name}'s tree: {difference(tree_paths(device), want)}")
        _check_times(device)
    _check_nothing_lost(world)
    _check_quiet(world)


def _check_times(device: Device) -> None:
    """A file has the mtime that its record says; one that stands for several, that of any."""
    rows = [r for r in device.index.rows.values() if r.shown.parent and r.id[15] & 3 == 0]
    told: dict[NodeId, set[int]] = {}
    for row in rows:
        told.setdefault(row.shown.item, set()).add(row.shown.mtime_ns)
    for row in rows:
        if row.shown.item == row.id and len(told[row.id]) == 1:
            if row.disk.mtime_ns not in told[row.id]:
                raise Broken(f"{device.name} has {row.shown.name} with another time")


def _check_nothing_lost(world: World) -> None:
    for device in world.devices:
        there = {inode.data for inode in device.disk.inodes.values()}
        lost = world.account.owed - there
        if lost:
            raise Broken(f"{device.name} does not have {sorted(lost)}")


def _check_quiet(world: World) -> None:
    before = [d.engine.book.frontier() for d in world.devices]
    for device in world.devices:
        operations = device.disk.operations
        device.start()
        if device.scan():
            raise Broken(f"{device.name} had something to say after all")
        device.settle()
        if device.disk.operations != operations:
            raise Broken(f"{device.name} had something to write after all")
    world.exchange()
    if before != [d.engine.book.frontier() for d in world.devices]:
        raise Broken("the devices go on talking")


def check_mirror(world: World, rounds: int) -> None:
    """One person at a time, all in touch: every other disk becomes exactly the actor's."""
    for _ in range(rounds):
        device = world.random.choice(world.devices)
        world.act(device)
        device.scan()
        want = disk_paths(device)
        # Whether its folding of case had taken a name that this act gives back.
        is_misnamed = any(row.shown.flags & MISNAMED for row in device.index.rows.values())
        world.exchange()
        if is_misnamed:
            continue
        for other in world.devices:
            if other.disk.folds_case == device.disk.folds_case and disk_paths(other) != want:
                wrong = difference(disk_paths(other), want)
                raise Broken(f"{other.name} does not show what {device.name} did: {wrong}")


__all__ = [
    "Broken",
    "Watch",
    "check_mirror",
    "check_scanned",
    "check_settled",
    "kind_of",
]
