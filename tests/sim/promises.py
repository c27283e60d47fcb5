"""The promises that a town is held to, at every commit, at every power cut, and at rest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from crypto.ids import LogId, NodeId
from peer.core import commands as c
from peer.core.disk_types import TRASH
from peer.core.rows import Directories, Row
from peer.core.turn import is_directory
from peer.folders import index_store
from protocol.nodes import NOTHING, Node, join
from tests.sim.checkers import (
    Broken,
    Paths,
    check_reloaded,
    difference,
    disk_paths,
    oracle_paths,
    tree_paths,
)
from tests.sim.disk import HASHER, ROOT_INODE

if TYPE_CHECKING:
    from tests.sim.machine import Machine
    from tests.sim.town import Town


class TownWatch:
    """Looks at every commit and every power cut."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._states: dict[int, dict[NodeId, Node]] = {}
        self._said: dict[tuple[LogId, int], bytes] = {}
        """What each position of each log was, as its author committed it."""
        self.safe: dict[int, set[bytes]] = {}
        """By machine: what was synced there, by whoever saved it or by Holdfast."""
        self.broken: Broken | None = None
        """The first promise that was broken where nobody can be told of it."""

    def break_(self, what: str) -> None:
        """A promise does not hold."""
        if self.broken is None:
            self.broken = Broken(what)

    def check_peers(self, machine: Machine, counts: dict[str, int]) -> None:
        """Nobody gave it other bytes than those that it asked for, whatever the disks gave."""
        if counts.get("WrongChunk"):
            self.break_(f"somebody gave {machine.name} wrong bytes")

    def forget(self, machine: Machine) -> None:
        """The machine has another index."""
        self._states.pop(machine.number, None)

    # ------------------------------------------------------------ commits

    def committed(self, machine: Machine, commit: c.Commit) -> None:
        """Records only grow, nothing is said twice or before it is durable."""
        known = self._states.setdefault(machine.number, {})
        for node_id in commit.deleted:
            known.pop(node_id, None)
        for row in commit.rows:
            old = known.get(row.id)
            if old is not None and old is not row.state and join(old, row.state) != row.state:
                self.break_(f"{machine.name} forgot a record of {row.id.hex()}")
            known[row.id] = row.state
        own = machine.own_log()
        for log, seq, hash_, _, _ in commit.changesets:
            self._town.note("commit", machine.name, log, seq, hash_)
            said = self._said.get((log, seq))
            if log == own:
                if said is not None:
                    self.break_(f"{machine.name} said position {seq} twice")
                self._said[log, seq] = hash_
            elif said != hash_:
                self.break_(f"{machine.name} heard position {seq} before it was durable")
        self._note_safe(machine, commit)

    def _note_safe(self, machine: Machine, commit: c.Commit) -> None:
        """What Holdfast wrote or has told of may not be lost any more."""
        hashes = {r.shown.hash for r in commit.rows if r.disk.inode and not is_directory(r.id)}
        if not hashes:
            return
        by_hash = self._town.account.by_hash
        there = {machine.files.inodes[place.inode].data for place in machine.files.walk()}
        self.safe.setdefault(machine.number, set()).update(
            data for h in hashes if (data := by_hash.get(h)) is not None and data in there
        )

    def loaded(self, machine: Machine, directories: Directories) -> None:
        """A device that starts again knows what it knew."""
        folder = machine.folder
        is_comparable = machine.commit is None and machine.number in self._states
        if folder is not None and is_comparable:
            check_reloaded(machine.name, folder.engine.directories, directories)

    # ------------------------------------------------------------ power cuts

    def power_was_cut(self, machine: Machine, held: set[bytes]) -> None:
        """What was synced is there; what was not is nobody's promise."""
        account, files = self._town.account, machine.files
        safe = self.safe.setdefault(machine.number, set())
        # A copy of what was not written back may lie in the trash, and the file is what it was.
        shown = {files.inodes[place.inode].data for place in files.walk()}
        account.given_up |= (held & account.owed & files.unsure) - shown
        others = [m.files.contents() for m in self._town.machines if m is not machine]
        for data in sorted((held & account.owed) - files.contents()):
            if data in files.unsure:
                account.given_up.add(data)  # F04: whoever read it read what was nowhere but there
                continue
            if any(data in there for there in others):
                continue  # it has to come back
            if data in safe:
                self.break_(f"{machine.name} lost {data!r}, which was safe")
            account.given_up.add(data)
        for place in files.walk():
            inode = files.inodes[place.inode]
            if inode.is_torn:
                account.note(inode.data)
                if inode.is_ours:
                    self.break_(f"{machine.name} shows {place.name} half written: {inode.data!r}")


# ---------------------------------------------------------------- at rest


def rows_of(machine: Machine) -> dict[NodeId, Row]:
    """All that the index holds."""
    sql = f"SELECT {index_store._ROW} FROM node"
    return {row.id: row for row in map(index_store._row, machine.index.execute(sql))}


def replica_of(machine: Machine) -> dict[NodeId, Node]:
    """All records that a machine has."""
    return {i: r.state for i, r in rows_of(machine).items() if r.state != NOTHING}


def paths_of(machine: Machine) -> Paths:
    """What its disk shows."""
    return disk_paths(_view(machine))


def _view(machine: Machine) -> Any:
    assert machine.folder is not None
    return SimpleNamespace(
        name=machine.name,
        disk=machine.files,
        directories=machine.folder.engine.directories,
        index=SimpleNamespace(rows=rows_of(machine)),
    )


def check_at_rest(town: Town) -> None:
    """One tree, nothing lost, nothing left to do."""
    first = replica_of(town.machines[0])
    for machine in town.machines:
        replica = replica_of(machine)
        if replica != first:
            raise Broken(f"{machine.name} and {town.machines[0].name} have different replicas")
        view = _view(machine)
        # While a version of a file is on no disk any more, its other versions stay where they are.
        holders = town.machines if town.is_anybody_bereft() else [machine]
        there = {m.files.inodes[p.inode].data for m in holders for p in m.files.walk()}
        lost = town.account.owed - there
        if lost & town.account.moved_in_the_middle:
            lost -= town.account.moved_in_the_middle & _kept_anywhere(town)
        if lost:
            raise Broken(f"{machine.name} does not have {sorted(lost)}")
        if len(holders) > 1:
            continue  # it cannot show what nobody has
        have = disk_paths(view)
        want = oracle_paths(replica, machine.files.folds_case)
        if have != want:
            raise Broken(f"{machine.name}'s disk is not the oracle's: {difference(have, want)}")
        if tree_paths(view) != want:
            raise Broken(f"{machine.name}'s tree: {difference(tree_paths(view), want)}")
        _check_versions(machine)


def _kept_anywhere(town: Town) -> set[bytes]:
    """What some index calls a version whose bytes are kept."""
    sql = "SELECT hash FROM version WHERE kept NOT NULL"
    by_hash = town.account.by_hash
    found = (by_hash.get(h) for m in town.machines for (h,) in m.index.execute(sql))
    return {data for data in found if data is not None}


def _check_versions(machine: Machine) -> None:
    """What the index calls kept is in the trash, and is what it says, but for what a power cut took
    of it when it was the person's file still (F04).
    """
    inodes = machine.files.inodes
    there = inodes[ROOT_INODE].entries
    for name in TRASH:
        there = inodes[there[name]].entries if name in there else {}
    for kept, hash_ in machine.index.execute("SELECT kept, hash FROM version WHERE kept NOT NULL"):
        if kept not in there:
            raise Broken(f"{machine.name} says that it keeps {kept}")
        inode = inodes[there[kept]]
        is_cut = inode.is_torn or inode.is_set_back
        if not is_cut and HASHER.chunk_id(inode.data) != hash_:
            raise Broken(f"{machine.name} keeps {kept}, and it is something else")
