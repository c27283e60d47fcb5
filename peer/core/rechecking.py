"""When the files of a folder are read again, and which come next: what a disk has changed by itself
shows in no time and no size. Pure.

One round goes through the index in its own order and takes most of the interval, so that each file
is read once within it; how far it is, is kept, and a large file may take many pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, NamedTuple

from crypto.ids import ChunkId, NodeId
from peer.core.disk_types import Stat
from peer.core.rows import Row, content_of
from protocol.records import placed_chunks_of

PIECE_BYTES: Final = 8 << 20
"""Read at once, unless one chunk is larger: a disk has it within a tenth of a second."""
FILE_COST_BYTES: Final = 64 << 10
"""What opening a file counts as: a disk that has to seek reads no more in that time."""
FILES_AT_ONCE: Final = PIECE_BYTES // FILE_COST_BYTES
LEEWAY: Final = 0.9
"""Of the interval, for one round: a device is off at times."""
DAMAGED_MAX: Final = 10_000
"""Files remembered as damaged; of a disk that has more there is no hope, and the rest is found by
the next round.
"""
TOLD_S: Final = 30 * 86_400
"""A disk that has changed files by itself is spoken of for so long."""
_ROUND: Final = Struct(">QQQIQQ")
_HEAD: Final = Struct(">IQ")
_DAMAGED: Final = Struct(">16s32s")


class Part(NamedTuple):
    """What is read of one file in one piece of work."""

    number: int
    row: Row
    chunks: Sequence[tuple[ChunkId, int, int]]
    """Id, offset and length of each."""
    next_chunk: int
    """Where the next piece goes on; 0 if this one comes to the file's end."""


@dataclass(slots=True)
class Round:
    """How far one reading of all files is."""

    began_s: int = 0
    """0: none has begun."""
    number: int = 0
    """All files up to this number of the index were read."""
    partial: int = 0
    """The number of the file that was read in part."""
    chunk: int = 0
    """How many of its chunks."""
    done: int = 0
    """What was read, in bytes, with FILE_COST_BYTES for each file."""
    whole_s: int = 0
    """When the last round that was brought to its end had begun; 0: none was."""

    @classmethod
    def decode(cls, stored: bytes) -> Round:
        """As it was kept; anew where that cannot be read."""
        return cls(*_ROUND.unpack(stored)) if len(stored) == _ROUND.size else cls()

    def encode(self) -> bytes:
        """What is kept of it."""
        return _ROUND.pack(
            self.began_s, self.number, self.partial, self.chunk, self.done, self.whole_s
        )

    def due_s(self, interval_s: float, total: int) -> float:
        """When the next piece is to be read, of so much in all."""
        share = min(1.0, (self.done + PIECE_BYTES) / max(1, total))
        return self.began_s + LEEWAY * interval_s * share

    def parts(self, files: Sequence[tuple[int, Row]]) -> list[Part]:
        """What to read next, of the files that come next."""
        out: list[Part] = []
        cost = 0
        for number, row in files:
            content = content_of(row.base, row.shown.hash)
            chunks = placed_chunks_of(content) if content is not None else ()
            first = self.chunk if number == self.partial else 0
            taken: list[tuple[ChunkId, int, int]] = []
            next_chunk = 0
            for at, chunk in enumerate(chunks):
                if at < first:
                    continue
                if taken and cost >= PIECE_BYTES:
                    next_chunk = at
                    break
                taken.append(chunk)
                cost += chunk[2]
            out.append(Part(number, row, taken, next_chunk))
            cost += FILE_COST_BYTES
            if next_chunk or cost >= PIECE_BYTES:
                break
        return out

    def advance(self, parts: Sequence[Part]) -> None:
        """These were read."""
        for part in parts:
            self.done += FILE_COST_BYTES + sum(length for _, _, length in part.chunks)
            if part.next_chunk:
                self.partial, self.chunk = part.number, part.next_chunk
            else:
                self.number, self.partial, self.chunk = part.number, 0, 0

    def begin(self, now_s: int, interval_s: float) -> None:
        """The next round, which does not come sooner for this one having ended early."""
        if self.began_s:
            self.whole_s = self.began_s
        next_s = int(self.began_s + LEEWAY * interval_s)
        self.began_s = max(now_s, next_s) if self.began_s else now_s
        self.number = self.partial = self.chunk = self.done = 0


@dataclass(slots=True)
class Damage:
    """What was found so far."""

    files: dict[NodeId, bytes] = field(default_factory=dict)
    """Items whose files are not what they were, by the hash that they have to have."""
    mended: int = 0
    """How many were brought back, since the disk was last well for TOLD_S."""
    last_s: int = 0
    """When something was found or brought back last."""

    @classmethod
    def decode(cls, stored: bytes) -> Damage:
        """As it was kept; none where that cannot be read."""
        if len(stored) < _HEAD.size or (len(stored) - _HEAD.size) % _DAMAGED.size:
            return cls()
        mended, last_s = _HEAD.unpack_from(stored)
        files = {NodeId(node): hash_ for node, hash_ in _DAMAGED.iter_unpack(stored[_HEAD.size :])}
        return cls(files, mended, last_s)

    def encode(self) -> bytes:
        """What is kept of it."""
        head = _HEAD.pack(self.mended, self.last_s)
        return head + b"".join(_DAMAGED.pack(*item) for item in self.files.items())

    def found(self, node: NodeId, hash_: bytes, now_s: int) -> None:
        """One more."""
        if now_s >= self.last_s + TOLD_S:
            self.mended = 0
        if len(self.files) < DAMAGED_MAX:
            self.files[node] = hash_
        self.last_s = now_s

    def count(self, now_s: float) -> int:
        """How many there are, with those that were brought back not long ago."""
        return len(self.files) + (self.mended if now_s < self.last_s + TOLD_S else 0)


def is_untouched(row: Row, stat: Stat | None) -> bool:
    """Whether, by all that the disk says of a file, nobody has written to it since it was read."""
    return stat is not None and row.disk == (stat.inode, stat.size, stat.mtime_ns, stat.ctime_ns)
