"""What the engine and a disk say to each other: plain values and the interface `Disk`, no I/O.

A real folder (`disk`) and the simulator's fake one implement the same interface. Everything
comes in batches, because a thread hop for each file would cost more than the work on it. A trouble
with one item is an answer (`Problem`, `Refusal`) and the rest of the batch goes on; a trouble with
the whole disk is a `DiskError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from enum import Enum, IntEnum
from typing import Final, NamedTuple, TypeAlias

from crypto.ids import ChunkId, FolderId
from peer.errors import DiskError as DiskError
from peer.errors import DiskFull as DiskFull
from peer.errors import DiskGone as DiskGone
from protocol import names

Path: TypeAlias = tuple[str, ...]
"""Names from the folder's root downwards; () is the root itself."""

INTERNAL_NAME: Final = ".holdfast"
"""The directory in a folder's root that is ours: the marker, incoming temp files, the trash. It is
never synced.
"""
INCOMING: Final[Path] = (INTERNAL_NAME, "incoming")
TRASH: Final[Path] = (INTERNAL_NAME, "trash")
PARKED: Final[Path] = (INTERNAL_NAME, "parked")
"""Where a plan may move things for a moment, when two of them change places. After a crash a
person's files may be left in it: they belong back in the tree before anything is taken for deleted.
"""

KEPT_BYTES_MAX: Final = 64 << 10
"""Files up to this size come back with their bytes, so that a small new file can be sent without a
second read.
"""


class Kind(IntEnum):
    """What a path is. Nothing else is synced."""

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2


class Stat(NamedTuple):
    """What the disk says about one path, never following a symlink."""

    kind: Kind
    inode: int
    device: int
    size: int
    mtime_ns: int
    ctime_ns: int
    executable: bool
    links: int = 1
    """How many names the inode has; with more than one it says nothing about which path moved
    (MERGE 13).
    """


def is_unchanged(expected: Stat, actual: Stat | None, *, is_renamed: bool = False) -> bool:
    """Whether a path still is what a plan saw. A directory is its inode alone, for its times change
    with its entries.

    The ctime catches what keeps size and mtime; after a rename of ours (`is_renamed`) it is new by
    itself and not compared.
    """
    if actual is None or expected[:3] != actual[:3]:
        return False
    if expected.kind is Kind.DIRECTORY:
        return True
    return expected[3:5] == actual[3:5] and (is_renamed or expected.ctime_ns == actual.ctime_ns)


class Trouble(Enum):
    """Why an item is left out, for programs; the sentence beside it is for people."""

    CHANGING = "changing"
    """It was written while it was read: ask again when it has settled."""
    GONE = "gone"
    UNREADABLE = "unreadable"
    """Permission or an I/O error. What cannot be read is not known to be deleted."""
    UNLISTED = "unlisted"
    """A directory of which the disk does not say what is in it: what is gone elsewhere may be."""
    UNSUPPORTED = "unsupported"
    """A symlink that is not synced: it leads out of the folder, or its target is not text. Or a
    directory in which another disk is mounted.
    """
    SPECIAL = "special"
    """A fifo, a socket, a device: nothing that could be synced is in it."""
    BAD_NAME = "bad_name"
    NO_SPACE = "no_space"
    UNWATCHED = "unwatched"
    """No change notices for this directory: it is found by rescans only."""


class Problem(NamedTuple):
    """One path that is left out, with a sentence that says why."""

    path: Path
    reason: str
    trouble: Trouble = Trouble.UNREADABLE


Known: TypeAlias = Mapping[str, Sequence[object]]
"""The files and symlinks that are known of a directory, by name. The first five values of each are
the inode, size, mtime_ns, ctime_ns and executable bit that were last seen of it (`rows.Facts`).
"""


class Listing(NamedTuple):
    """One directory. No entries and no problems: there is no directory. No entries and a problem:
    nobody knows.

    An entry whose name or kind cannot be synced is a problem here and not an entry.
    """

    path: Path
    inode: int
    entries: list[tuple[str, Stat]] | None
    problems: list[Problem]
    unseen: Collection[str] | None = None
    """If it was told what is known: what was not found as it is known, or has a name that may be
    spelled in two ways. What was found so is left out here and is no entry. None: the entries are
    all there is.
    """


class ReadRequest(NamedTuple):
    """A file or symlink to read and hash."""

    path: Path
    expected: Stat | None = None
    """If given, the file must still be this one, else the answer is a Problem."""
    chunk_average: int | None = None
    """The average that the file was chunked with before (`chunker.chunk_sizes`); None for a new
    file.
    """


class FileRead(NamedTuple):
    """A file or symlink that stood still while it was read."""

    path: Path
    stat: Stat
    file_hash: bytes
    """Keyed BLAKE3 of the whole, or of a symlink's target: equality of contents is equality of this
    (MERGE 1).
    """
    chunks: list[tuple[ChunkId, int]]
    """(id, length) in order; none for a symlink or an empty file."""
    data: bytes | None
    """The contents if at most KEPT_BYTES_MAX, a symlink's target in UTF-8, else None."""
    chunk_average: int


class RangeRequest(NamedTuple):
    """A range of a file, to serve a chunk in place. Runs of one path open it once."""

    path: Path
    offset: int
    length: int


class StageFile(NamedTuple):
    """A small file or a symlink to be laid down in the incoming directory, under a name that the
    caller chose.
    """

    temp_name: str
    data: bytes | None
    target: str | None
    mtime_ns: int
    executable: bool


class RefusalKind(Enum):
    """Why an operation was not done. After each of them the disk is as it was."""

    CHANGED = "changed"
    EXISTS = "exists"
    GONE = "gone"
    UNSTAGED = "unstaged"
    """What was to be published is not in the incoming directory (any more)."""
    NOT_EMPTY = "not_empty"
    NO_SPACE = "no_space"
    NO_PERMISSION = "no_permission"
    ERROR = "error"


class Refusal(NamedTuple):
    """An operation that was not done, with a sentence and with what is there instead, where that is
    known.
    """

    kind: RefusalKind
    reason: str
    actual: Stat | None = None


class MakeDirectory(NamedTuple):
    """Makes one directory; its parent is there."""

    path: Path


class Move(NamedTuple):
    """Renames a file, symlink or whole directory to a path where nothing is."""

    source: Path
    target: Path
    expected: Stat


class Publish(NamedTuple):
    """Puts a staged, synced file in its place, over exactly what the plan saw there."""

    temp_name: str
    target: Path
    expected: Stat | None
    """None: nothing may be there."""
    mtime_ns: int | None = None
    """Set before the rename; None leaves what it was staged with."""
    keep: str | None = None
    """The trash name under which what is replaced is kept; None deletes it."""


class Remove(NamedTuple):
    """Removes a file or symlink; with `keep` it goes to the trash under that name."""

    path: Path
    expected: Stat
    keep: str | None = None


class RemoveDirectory(NamedTuple):
    """Removes a directory that holds nothing, or nothing but what desktops litter."""

    path: Path


class SetExecutable(NamedTuple):
    """Sets or clears a file's executable bits."""

    path: Path
    is_executable: bool
    expected: Stat


class SetMtime(NamedTuple):
    """Sets a file's or symlink's modification time."""

    path: Path
    mtime_ns: int
    expected: Stat


Operation: TypeAlias = (
    MakeDirectory | Move | Publish | Remove | RemoveDirectory | SetExecutable | SetMtime
)


class StagedFile(ABC):
    """A large file that is being written in the incoming directory, in any order.

    Its methods raise DiskFull or DiskError. It ends with `finish` or `abandon`; as a context
    manager it is abandoned if not finished.
    """

    @abstractmethod
    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Writes bytes at an offset."""

    @abstractmethod
    def copy_range(self, path: Path, source_offset: int, offset: int, length: int) -> bool:
        """Copies a range of a file of the folder; False if there are not so many bytes (any more).
        What they are is for `file_hash` and `chunk_id` to say.
        """

    @abstractmethod
    def chunk_id(self, offset: int, length: int) -> ChunkId:
        """Reads a range back and names it; it is at most RANGE_BYTES_MAX and within the file."""

    @abstractmethod
    def file_hash(self) -> bytes:
        """The hash of the whole file. What was written may count as it was given; what was copied
        is read back.
        """

    @abstractmethod
    def finish(self, mtime_ns: int, executable: bool) -> Stat:
        """Completes the file; it is durable after the next `sync_staged`."""

    @abstractmethod
    def pause(self) -> None:
        """Closes the file and leaves its bytes for `open_staged(..., resume=True)`."""

    @abstractmethod
    def abandon(self) -> None:
        """Closes and deletes the file; does nothing after `finish` or `pause`."""

    def __enter__(self) -> StagedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()


class Disk(ABC):
    """One folder on one disk. Blocking, in batches, for one caller at a time.

    The order of a change to files is: `stage` or `open_staged`, `sync_staged`, `apply`,
    `sync_directories`, then the caller's database (DESIGN 5). Any method raises DiskGone when the
    folder's root is not what it was at the first call.
    """

    @abstractmethod
    def list_directories(
        self, paths: Sequence[Path], known: Sequence[Known] | None = None
    ) -> list[Listing]:
        """Lists directories, one answer for each path; `known` of each may shorten it."""

    @abstractmethod
    def stat(self, paths: Sequence[Path]) -> list[Stat | None]:
        """Looks at paths; None where nothing is, or nothing of a kind that is synced."""

    @abstractmethod
    def read_files(self, requests: Sequence[ReadRequest]) -> list[FileRead | Problem]:
        """Reads and hashes files, one answer for each request."""

    @abstractmethod
    def sync_saved(self, paths: Sequence[Path]) -> None:
        """One durability round for files that people saved, as for ours: a power cut must not take
        back what others have been told of. Those that are gone meanwhile are no trouble.
        """

    @abstractmethod
    def read_ranges(self, requests: Sequence[RangeRequest]) -> list[bytes | None]:
        """Reads ranges; None where there are not so many bytes. What is read is to be verified by
        the caller.
        """

    @abstractmethod
    def forget_cached(self, paths: Sequence[Path]) -> None:
        """Has these files read from the disk itself next, where the system allows to ask for it."""

    @abstractmethod
    def stage(self, files: Sequence[StageFile]) -> list[Stat | Problem]:
        """Lays small files and symlinks down in the incoming directory. A Problem's path is the
        temp file's.
        """

    @abstractmethod
    def open_staged(self, temp_name: str, size: int, *, resume: bool = False) -> StagedFile:
        """Opens a large file for writing, new or (`resume`) what a `pause` or a crash has left."""

    @abstractmethod
    def staged_names(self) -> list[str]:
        """The temp files that lie in the incoming directory, to resume or discard after a start."""

    @abstractmethod
    def discard_staged(self, temp_names: Sequence[str]) -> None:
        """Deletes temp files; those that are not there are no trouble."""

    @abstractmethod
    def sync_staged(self) -> None:
        """One durability round: all that was staged is on the disk, or DiskError and none of it may
        be published.
        """

    @abstractmethod
    def apply(self, operations: Sequence[Operation]) -> list[Stat | Refusal]:
        """Does the operations in order, one answer for each; a refusal does not stop the rest.

        The Stat is of what is there after the operation; of a removed item it is the last one. It
        has no ctime where somebody may just have written to it: the next scan reads it then. An
        `expected` may be of before an earlier operation of this batch: what that one made of it
        counts. Paths are in the tree, or under PARKED, or (only to leave it) directly in TRASH.
        """

    @abstractmethod
    def sync_directories(self, paths: Sequence[Path]) -> None:
        """One durability round for the directories whose entries were changed."""

    @abstractmethod
    def free_bytes(self) -> int:
        """Space that is left for us on the folder's disk."""

    @abstractmethod
    def marker_present(self, folder_id: FolderId) -> bool:
        """Whether this is the folder: its `.holdfast/folder-id` is there and names it."""

    @abstractmethod
    def create_marker(self, folder_id: FolderId) -> None:
        """Makes the root into this folder, durably; its own earlier marker is no trouble, another
        folder's is a DiskError.
        """

    @abstractmethod
    def remove_marker(self, folder_id: FolderId) -> None:
        """Makes the root an ordinary directory again, if it is this folder; the files stay."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of the disk, so that it can be unmounted; the next call takes hold again."""


_DEVICE_STARTS = frozenset({"con", "prn", "aux", "nul", "com", "lpt"})
_BAD_ENDS = frozenset({"", ".", " "})
_QUICK_LENGTH_MAX = 200


def name_problem(name: str) -> str | None:
    """Says what keeps a name on a disk from being synced, or None (ATTACKS A34).

    The rule is `protocol.names`', after NFC, for that is how the name will be told. Nearly every
    name there is passes by the tests before it, at a fraction of the price.
    """
    if (
        name.isascii()
        and name.isprintable()
        and name[-1:] not in _BAD_ENDS
        and "/" not in name
        and "\\" not in name
        and name[:3].lower() not in _DEVICE_STARTS
        and len(name) <= _QUICK_LENGTH_MAX
        and name != INTERNAL_NAME
    ):
        return None
    reason = names.name_problem(names.exact_key(name))
    return None if reason is None else f"{reason[0].upper()}{reason[1:]}."


def symlink_leaves(path: Path, target: str) -> bool:
    """Whether a symlink at this path may point out of the folder, by its text alone (ATTACKS A35).

    `..` counts only at the front, where it climbs real directories: after a name, which may be
    another symlink, nobody can tell where it leads.
    """
    if not target or target.startswith("/"):
        return True
    parts = [part for part in target.split("/") if part not in ("", ".")]
    climbs = 0
    while climbs < len(parts) and parts[climbs] == "..":
        climbs += 1
    return climbs >= len(path) or ".." in parts[climbs:]
