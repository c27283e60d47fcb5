"""A folder's index and directories without a disk: records are put in, the engine's parts run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from random import Random
from typing import Any, TypeVar

from crypto.ids import LogId, NodeId
from peer.core import commands as c
from peer.core.batch import Batch
from peer.core.disk_types import Kind, Listing, Path, Stat
from peer.core.local_changes import link, take_in
from peer.core.rows import Directories, Row
from peer.core.tree import show
from peer.core.turn import Turn
from protocol.nodes import NO_LOG, NO_NODE, ROOT, Attributes, Content, Node, Place
from protocol.records import Stamp
from protocol.version_vector import Vector
from tests.peer.fake_index import FakeIndex
from tests.peer.listings import shortened

R = TypeVar("R")

OWN = LogId(b"O" * 16)
A = LogId(b"A" * 16)
B = LogId(b"B" * 16)
NOW_NS = 10**18
X, Y, Z = (letter * 32 for letter in (b"x", b"y", b"z"))


def directory_id(number: int) -> NodeId:
    return NodeId(bytes([number]) * 15 + b"\x01")


def file_id(number: int) -> NodeId:
    return NodeId(bytes([number]) * 15 + b"\x00")


def symlink_id(number: int) -> NodeId:
    return NodeId(bytes([number]) * 15 + b"\x02")


def place(
    parent: NodeId = ROOT, name: str = "a", vector: Vector = ((A, 1),), lamport: int = 1,
    log: LogId = A, **more: Any,
) -> Place:  # fmt: skip
    return Place(vector, lamport, log, parent, name, label="L", time_s=0)._replace(**more)


def content(
    hash_: bytes = X, vector: Vector = ((A, 1),), lamport: int = 1, log: LogId = A
) -> Content:
    return Content(vector, lamport, log, hash_, 5, label="L", time_s=0)


def directory(parent: NodeId = ROOT, name: str = "a", **more: Any) -> Node:
    since = more.pop("since", (more.get("lamport", 1), more.get("log", A)))
    return Node((place(parent, name, **more)._replace(since=since),))


def file(parent: NodeId = ROOT, name: str = "a", hash_: bytes = X, **more: Any) -> Node:
    write = place(parent, name, **more)
    return Node((write,), (content(hash_, write.vector, write.lamport, write.author),))


def stat(
    inode: int, kind: Kind = Kind.FILE, size: int = 5, mtime_ns: int = 1, ctime_ns: int = 1,
    executable: bool = False, links: int = 1,
) -> Stat:  # fmt: skip
    return Stat(kind, inode, 0, size, mtime_ns, ctime_ns, executable, links)


class TreeStage:
    """What one device has of a folder, and a disk that is a dictionary of literal listings."""

    def __init__(self, fold: bool = False) -> None:
        self.index = FakeIndex()
        self.directories = Directories(fold)
        self.random = Random(7).randbytes
        self.disk: dict[Path, Listing] = {}
        self.commands: list[c.Command[Any]] = []
        self.seq = 0

    def perform(self, command: c.Command[Any]) -> Any:
        self.commands.append(command)
        match command:
            case c.ListDirectories(paths, known):
                listings = [self.disk.get(p, Listing(p, 0, None, [])) for p in paths]
                if known is None:
                    return listings
                return [shortened(listing, k) for listing, k in zip(listings, known, strict=True)]
            case c.StatPaths(paths):
                return [self._stat(p) for p in paths]
            case _:
                return self.index.perform(command)

    def _stat(self, path: Path) -> Stat | None:
        listing = self.disk.get(path[:-1])
        return None if listing is None else dict(listing.entries or ()).get(path[-1])

    def lies(self, path: Path, **entries: Stat) -> None:
        """This directory holds these entries now."""
        self.disk[path] = Listing(path, 1, list(entries.items()), [])

    def run(self, routine: Coroutine[c.Command[Any], Any, R]) -> R:
        return c.run(routine, self.perform)

    def turn(self) -> Turn:
        return Turn(self.directories, self.random)

    def put(
        self,
        records: dict[NodeId, Node],
        inodes: dict[NodeId, Stat] | None = None,
        origins: dict[NodeId, NodeId] | None = None,
    ) -> None:
        """These records are on the disk and in the replica."""
        turn = self.turn()

        async def routine() -> None:
            await turn.load(records)
            for node_id, node in records.items():
                turn.rows[node_id].state = node
                turn.rows[node_id].origin = (origins or {}).get(node_id, NO_NODE)
            await show(turn, records)
            for node_id, found in (inodes or {}).items():
                await link(turn, node_id, found, NOW_NS)
            await turn.finish()

        self.run(routine())
        self.index.commit(turn)

    def batch(self, act: Callable[[Batch], Coroutine[Any, Any, Any]]) -> Batch:
        """One changeset of this device, taken in and committed."""
        self.seq += 1
        turn = self.turn()
        batch = Batch(turn, Stamp(OWN, self.seq, 10 + self.seq), "Me", 60)

        async def routine() -> None:
            await act(batch)
            await take_in(batch)
            await turn.finish()

        self.run(routine())
        self.index.commit(turn)
        return batch

    def row(self, node_id: NodeId) -> Row:
        return self.index.rows[node_id]

    def tree(self) -> dict[str, NodeId]:
        """Every shown path and what represents it."""
        out = {"/".join(self.directories.path(i)): i for i in self.directories.items if i != ROOT}
        for row in self.index.rows.values():
            if row.shown.parent and row.shown.item == row.id and row.id[15] & 3 != 1:
                path = self.directories.child_path(row.shown.parent, row.shown.name)
                assert path is not None
                out["/".join(path)] = row.id
        return dict(sorted(out.items()))


def ids(rows: Iterable[Row]) -> set[NodeId]:
    return {row.id for row in rows}


__all__ = ["NO_LOG", "Attributes"]
