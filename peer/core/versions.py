"""Versions: contents that the disk showed once and shows no more. Pure.

A version ends when a turn commits that another content, or none, is shown. Its bytes are kept, as
the file that it was, in the folder's trash if this device was the one to replace or remove it; if
the person here did, others that held it keep them in theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from crypto.ids import ChunkId, NodeId
from peer.core.rows import DiskFacts, content_of
from peer.core.turn import Turn, is_directory
from protocol.nodes import Content, Kind
from protocol.records import MANIFEST_ENTRY
from protocol.version_records import VersionRecord

SetAside = dict[NodeId, str]
"""Files that were moved to the trash at a person's word, and under which names: the scan that
follows ends their versions.
"""
_KEPT: Final = re.compile(r"kept-([0-9a-f]{32})-([0-9a-f]{2,128})-\d+-\d+")
PATH_SEPARATOR: Final = "/"


class Version(NamedTuple):
    """One content that a file or symlink had."""

    node: NodeId
    hash: bytes
    """Of the whole file, by the folder's key."""
    size: int
    mtime_ns: int
    is_executable: bool
    manifest: bytes
    """As in `protocol.nodes.Content`: the chunks, or a symlink's target."""
    written_s: int
    """When it was written, by the clock of the device that wrote it."""
    label: str
    """That device's name."""
    path: str
    """Where it was shown last, with `/` between the names."""
    ended_s: int
    """When it stopped to be shown here, by this device's clock."""
    is_deleted: bool
    """Nothing took its place."""
    kept: str | None
    """The name of its file in the trash; None if its bytes are not kept here."""

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symlink's target, which the manifest holds."""
        return self.node[15] & 3 == Kind.SYMLINK

    def chunks(self) -> list[tuple[ChunkId, int]]:
        """(id, length) of what a file's bytes are made of; nothing for a symlink."""
        if self.is_symlink or not self.size:
            return []
        if not self.manifest:
            return [(ChunkId(self.hash), self.size)]
        return [(ChunkId(id_), n) for id_, n in MANIFEST_ENTRY.iter_unpack(self.manifest)]

    def record(self) -> VersionRecord:
        """What is stored of it at super-nodes."""
        return VersionRecord(*self[:-1])

    def content(self) -> Content:
        """What a fetcher needs to know of it."""
        return Content(
            (), 0, self.hash, self.hash, self.size, self.manifest, self.mtime_ns,  # type: ignore[arg-type]
            self.written_s, self.label,
        )  # fmt: skip


def kept_name(node: NodeId, hash_: bytes, disk: DiskFacts) -> str:
    """What the trash calls the file that showed this content: it says all that is needed to find
    the version again, should a crash come before the index knows of it.
    """
    return f"kept-{node.hex()}-{hash_.hex()}-{disk.inode}-{max(0, disk.ctime_ns)}"


def trash_name(node: NodeId, hash_: bytes, disk: DiskFacts) -> str | None:
    """Under which name the trash keeps what shows this content; None for a symlink: what it was is
    in its record.
    """
    return None if node[15] & 3 else kept_name(node, hash_, disk)


def read_kept_name(name: str) -> tuple[NodeId, bytes] | None:
    """The node and the hash in such a name; None for any other."""
    found = _KEPT.fullmatch(name)
    return None if found is None else (NodeId(bytes.fromhex(found[1])), bytes.fromhex(found[2]))


def ended(turn: Turn, now_s: int, kept: Mapping[NodeId, str]) -> list[Version]:
    """The versions that end with this turn; `kept`: items whose files went to the trash, and under
    which name.
    """
    out: list[Version] = []
    for node_id, before in turn.before.items():
        if not before.hash or before.item != node_id or is_directory(node_id):
            continue
        now = turn.rows[node_id].shown
        if now.parent and now.hash == before.hash:
            continue  # it was moved, or is shown by another node of the same bytes
        path = turn.resident.child_path(before.parent, before.name)
        if path is None:
            continue
        content = content_of(turn.bases.get(node_id, turn.rows[node_id].base), before.hash)
        out.append(
            Version(
                node_id, before.hash, before.size, before.mtime_ns, before.is_executable,
                content.manifest if content is not None else b"",
                content.time_s if content is not None else 0,
                content.label if content is not None else "",
                PATH_SEPARATOR.join(path), now_s, not now.parent, kept.get(node_id),
            )
        )  # fmt: skip
    return out


def ended_here(turn: Turn, now_s: int, set_aside: SetAside) -> list[Version]:
    """The versions that end with a turn that tells what was done on this disk. What was set aside
    is one of theirs from then on.
    """
    over = ended(turn, now_s, {})
    for number, version in enumerate(over):
        name = set_aside.get(version.node)
        if name is not None and read_kept_name(name) == (version.node, version.hash):
            over[number] = version._replace(kept=set_aside.pop(version.node))
    return over
