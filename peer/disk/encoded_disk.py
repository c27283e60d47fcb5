"""A disk that refuses some names, and its watcher: true names go in and come out.

Whether a disk is one is asked of it once, by making a file, and noted beside the folder's marker:
were it taken for another later, every such file would seem to have been renamed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path as FilePath
from typing import Final

from crypto.ids import ChunkId, FolderId
from peer.core.disk_types import (
    INTERNAL_NAME,
    Disk,
    FileRead,
    Known,
    Listing,
    Operation,
    Path,
    Problem,
    RangeRequest,
    ReadRequest,
    Refusal,
    StagedFile,
    StageFile,
    Stat,
    Trouble,
)
from peer.disk.reserved_names import decode_name, encode_name, is_encoded
from peer.disk.watcher import Hints, Watcher

NOTE: Final = "refuses-reserved-names"
_PROBE: Final = "probe:"
_NOT_OURS: Final = (
    "Its name holds private characters (U+F022 to U+F07C, U+F0FF) in a way that stands for no name."
    " Rename it."
)


def refuses_reserved(root: FilePath) -> bool:
    """Whether the folder at this path is on a disk that refuses such names."""
    internal = root / INTERNAL_NAME
    note, probe = internal / NOTE, internal / _PROBE
    if note.exists():
        return True
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as error:
        # Anything else is no answer, and a disk that was taken in before has its note.
        if error.errno != errno.EINVAL or not internal.is_dir():
            return False
        note.touch()
        return True
    probe.unlink(missing_ok=True)
    return False


def encoded(path: Path) -> Path:
    """A path of true names as the disk has it."""
    return tuple(map(encode_name, path))


def decoded(path: Path) -> Path:
    """The other way."""
    return tuple(map(decode_name, path))


class EncodedDisk(Disk):
    """Another disk, of which paths and names are encoded."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def list_directories(
        self, paths: Sequence[Path], known: Sequence[Known] | None = None
    ) -> list[Listing]:
        """Lists directories."""
        if known is not None:
            known = [{encode_name(name): facts for name, facts in of.items()} for of in known]
        found = self._disk.list_directories(list(map(encoded, paths)), known)
        return [_listing(path, listing) for path, listing in zip(paths, found, strict=True)]

    def stat(self, paths: Sequence[Path]) -> list[Stat | None]:
        """Looks at paths."""
        return self._disk.stat(list(map(encoded, paths)))

    def read_files(self, requests: Sequence[ReadRequest]) -> list[FileRead | Problem]:
        """Reads and hashes files."""
        asked = [request._replace(path=encoded(request.path)) for request in requests]
        read = self._disk.read_files(asked)
        return [one._replace(path=decoded(one.path)) for one in read]

    def sync_saved(self, paths: Sequence[Path]) -> None:
        """One durability round of files that people saved."""
        self._disk.sync_saved(list(map(encoded, paths)))

    def read_ranges(self, requests: Sequence[RangeRequest]) -> list[bytes | None]:
        """Reads ranges of files."""
        return self._disk.read_ranges([r._replace(path=encoded(r.path)) for r in requests])

    def forget_cached(self, paths: Sequence[Path]) -> None:
        """Has files read from the disk itself next."""
        self._disk.forget_cached(list(map(encoded, paths)))

    def stage(self, files: Sequence[StageFile]) -> list[Stat | Problem]:
        """Lays small files down; their temporary names are ours."""
        return self._disk.stage(files)

    def open_staged(self, temp_name: str, size: int, *, resume: bool = False) -> StagedFile:
        """Opens a large file for writing."""
        return _EncodedStaged(self._disk.open_staged(temp_name, size, resume=resume))

    def staged_names(self) -> list[str]:
        """The temp files in the incoming directory."""
        return self._disk.staged_names()

    def discard_staged(self, temp_names: Sequence[str]) -> None:
        """Deletes temp files."""
        self._disk.discard_staged(temp_names)

    def sync_staged(self) -> None:
        """One durability round of what was staged."""
        self._disk.sync_staged()

    def apply(self, operations: Sequence[Operation]) -> list[Stat | Refusal]:
        """Does the operations in order."""
        return self._disk.apply(list(map(_operation, operations)))

    def sync_directories(self, paths: Sequence[Path]) -> None:
        """One durability round for directories."""
        self._disk.sync_directories(list(map(encoded, paths)))

    def free_bytes(self) -> int:
        """Space that is left."""
        return self._disk.free_bytes()

    def marker_present(self, folder_id: FolderId) -> bool:
        """Whether this is the folder."""
        return self._disk.marker_present(folder_id)

    def create_marker(self, folder_id: FolderId) -> None:
        """Makes the root into this folder."""
        self._disk.create_marker(folder_id)

    def remove_marker(self, folder_id: FolderId) -> None:
        """Makes the root an ordinary directory again."""
        self._disk.remove_marker(folder_id)

    def close(self) -> None:
        """Lets go of the disk."""
        self._disk.close()


class EncodedWatcher(Watcher):
    """The watcher of such a disk."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def fileno(self) -> int:
        """A descriptor that is readable when `read` has something."""
        return self._watcher.fileno()

    def watch(self, paths: Iterable[Path]) -> list[Problem]:
        """Watches directories."""
        found = self._watcher.watch(map(encoded, paths))
        return [problem._replace(path=decoded(problem.path)) for problem in found]

    def read(self) -> Hints:
        """Takes what has come up."""
        hints = self._watcher.read()
        hints.changed = {
            decoded(path): set(map(decode_name, names)) for path, names in hints.changed.items()
        }
        hints.closed = set(map(decoded, hints.closed))
        hints.unwatched = [p._replace(path=decoded(p.path)) for p in hints.unwatched]
        return hints

    def close(self) -> None:
        """Ends all watches."""
        self._watcher.close()


class _EncodedStaged(StagedFile):
    """A staged file, which can copy from files of the folder."""

    def __init__(self, staged: StagedFile) -> None:
        self._staged = staged

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self._staged.write(offset, data)

    def copy_range(self, path: Path, source_offset: int, offset: int, length: int) -> bool:
        return self._staged.copy_range(encoded(path), source_offset, offset, length)

    def chunk_id(self, offset: int, length: int) -> ChunkId:
        return self._staged.chunk_id(offset, length)

    def file_hash(self) -> bytes:
        return self._staged.file_hash()

    def finish(self, mtime_ns: int, executable: bool) -> Stat:
        return self._staged.finish(mtime_ns, executable)

    def pause(self) -> None:
        self._staged.pause()

    def abandon(self) -> None:
        self._staged.abandon()


def _operation(operation: Operation) -> Operation:
    changes = {
        name: encoded(getattr(operation, name))
        for name in ("path", "source", "target")
        if hasattr(operation, name)
    }
    return operation._replace(**changes)  # type: ignore[arg-type]


def _listing(path: Path, listing: Listing) -> Listing:
    problems = [problem._replace(path=decoded(problem.path)) for problem in listing.problems]
    entries = listing.entries
    if entries is not None:
        problems += [
            Problem((*path, name), _NOT_OURS, Trouble.BAD_NAME)
            for name, _ in entries
            if not is_encoded(name)
        ]
        entries = [(decode_name(name), stat) for name, stat in entries if is_encoded(name)]
    unseen = listing.unseen if listing.unseen is None else set(map(decode_name, listing.unseen))
    return Listing(path, listing.inode, entries, problems, unseen)
