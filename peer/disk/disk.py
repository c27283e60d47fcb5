"""A folder on a real disk: gives each batch of work its open directories.

Reading is `reader`'s, laying down `staging`'s, changing the tree `writer`'s.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from crypto.chunks import ChunkHasher
from crypto.ids import FolderId
from peer.core.chunker import Chunker
from peer.core.disk_types import (
    INCOMING,
    INTERNAL_NAME,
    PARKED,
    TRASH,
    Disk,
    DiskError,
    DiskGone,
    FileRead,
    Kind,
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
    name_problem,
)
from peer.disk import syscalls
from peer.disk.directories import Directories, open_file
from peer.disk.durability import (
    clean_saved,
    disk_error,
    full_sync,
    sync_all,
    sync_directories,
    sync_saved,
)
from peer.disk.reader import WHOLE_BYTES_MAX, Reader, let_clock_tick
from peer.disk.staging import Staging
from peer.disk.writer import Writer

_MARKER: Final = "folder-id"
_MARKER_BYTES_MAX: Final = 256
_FOR_GOOD: Final = frozenset({errno.EACCES, errno.EPERM, errno.ENAMETOOLONG})
"""Why a directory cannot be read that nothing could have come into unseen."""
_MOUNTED: Final = (
    "Another disk is mounted here. What is on it is not synced: it would be taken for deleted where"
    " it is not mounted. Add it as a folder of its own."
)
_EXECUTABLE: Final = {0o100000: False, 0o100100: True, 0o120000: False, 0o120100: False}
"""The bit of files and symlinks, by kind and owner's bit; nothing else is known by its stat."""


class PosixDisk(Disk):
    """A folder below a directory of this system."""

    def __init__(
        self,
        root: str,
        hasher: ChunkHasher,
        chunker: Chunker,
        *,
        may_links_leave: bool = False,
        name_problem: Callable[[str], str | None] = name_problem,
    ) -> None:
        self._root = os.path.abspath(root)
        self._name_problem = name_problem
        self._may_links_leave = may_links_leave
        self._reader = Reader(hasher, chunker, may_links_leave=may_links_leave)
        self._staging = Staging(hasher, self._reader)
        self._root_fd = -1
        self._batches = 0
        self._identity: tuple[int, int] | None = None
        """(device, inode) of the root: another directory at its path is another disk."""
        self._has_internals = False
        self._owes_sync = False

    def list_directories(
        self, paths: Sequence[Path], known: Sequence[Known] | None = None
    ) -> list[Listing]:
        """Lists directories, one answer for each path."""
        with self._batch() as directories:
            if known is None:
                return [self._list(directories, path, None) for path in paths]
            both = zip(paths, known, strict=True)
            return [self._list(directories, path, of_it) for path, of_it in both]

    def stat(self, paths: Sequence[Path]) -> list[Stat | None]:
        """Looks at paths."""
        results: list[Stat | None] = []
        with self._batch() as directories:
            for path in paths:
                try:
                    if path:
                        directory_fd, name = directories.at(path)
                        results.append(directories.look(directory_fd, name))
                    else:
                        results.append(directories.to_stat(os.fstat(directories.root_fd)))
                except OSError:
                    results.append(None)
        return results

    def read_files(self, requests: Sequence[ReadRequest]) -> list[FileRead | Problem]:
        """Reads and hashes files."""
        with self._batch() as directories:
            self._clean(directories, requests)
            return [self._reader.read(directories, request) for request in requests]

    def _clean(self, directories: Directories, requests: Sequence[ReadRequest]) -> None:
        """Has small files that people saved written back before they are read; the reader does it
        with large ones as it goes. Raises DiskError.

        Who writes through a mapping changes the time of a file by the first write to a page, and by
        no other before that page was written back: of a page that is clean each write is seen.
        """
        small = [
            (request.path, request.expected.ctime_ns)
            for request in requests
            if request.expected is not None and request.expected.size <= WHOLE_BYTES_MAX
        ]
        if small:
            let_clock_tick(max(ctime_ns for _, ctime_ns in small))
            clean_saved(directories, [path for path, _ in small])

    def sync_saved(self, paths: Sequence[Path]) -> None:
        """One durability round of files that people saved."""
        with self._batch() as directories:
            self._sync_owed(directories)
            sync_saved(directories, paths)

    def read_ranges(self, requests: Sequence[RangeRequest]) -> list[bytes | None]:
        """Reads ranges of files."""
        with self._batch() as directories:
            return self._reader.read_ranges(directories, requests)

    def forget_cached(self, paths: Sequence[Path]) -> None:
        """Has files read from the disk itself next."""
        with self._batch() as directories:
            for path in paths:
                fd = open_file(directories, path)
                if fd >= 0:
                    try:
                        syscalls.forget_cached(fd)
                    finally:
                        os.close(fd)

    def stage(self, files: Sequence[StageFile]) -> list[Stat | Problem]:
        """Lays small files and symlinks down in the incoming directory."""
        with self._batch() as directories:
            self._make_internals(directories)
            return self._staging.stage(directories, files)

    def open_staged(self, temp_name: str, size: int, *, resume: bool = False) -> StagedFile:
        """Opens a large file for writing."""
        with self._batch() as directories:
            self._make_internals(directories)
        return self._staging.open(self._batch, temp_name, size, resume)

    def staged_names(self) -> list[str]:
        """The temp files in the incoming directory."""
        with self._batch() as directories:
            self._make_internals(directories)
            return sorted(os.listdir(directories.open(INCOMING)))

    def discard_staged(self, temp_names: Sequence[str]) -> None:
        """Deletes temp files."""
        with self._batch() as directories:
            self._make_internals(directories)
            self._staging.discard(directories, temp_names)

    def sync_staged(self) -> None:
        """One durability round of what was staged."""
        with self._batch() as directories:
            self._make_internals(directories)
            self._staging.sync(directories)

    def apply(self, operations: Sequence[Operation]) -> list[Stat | Refusal]:
        """Does the operations in order."""
        with self._batch() as directories:
            self._make_internals(directories)
            writer = Writer(
                directories,
                self._staging,
                partial(self._sync_directories, directories),
                may_links_leave=self._may_links_leave,
            )
            return writer.apply(operations)

    def sync_directories(self, paths: Sequence[Path]) -> None:
        """One durability round of directories."""
        with self._batch() as directories:
            self._sync_directories(directories, paths)

    def _sync_directories(self, directories: Directories, paths: Sequence[Path]) -> None:
        # What was kept is in the trash, and its entry there has to be as durable as its absence
        # elsewhere.
        trash = [TRASH] if self._has_internals else []
        self._sync_owed(directories)
        try:
            sync_directories(directories, [*trash, *paths])
        except DiskError:
            self._owes_sync = True
            raise

    def _sync_owed(self, directories: Directories) -> None:
        """What we did in directories that could not be synced lasts before anything rests on it:
        a scan takes it for a person's act, and they may lie elsewhere by now.
        """
        if self._owes_sync:
            sync_all(directories.root_fd)
            self._owes_sync = False

    def free_bytes(self) -> int:
        """Space that is left for us."""
        with self._batch() as directories:
            status = os.fstatvfs(directories.root_fd)
            return status.f_bavail * status.f_frsize

    def marker_present(self, folder_id: FolderId) -> bool:
        """Whether this is the folder. A root that has become another directory is taken on if it
        has the marker.
        """
        known, self._identity = self._identity, None
        try:
            with self._batch() as directories:
                if self._read_marker(directories) == folder_id.hex():
                    return True
        except DiskError:
            pass
        self._identity = known
        return False

    def create_marker(self, folder_id: FolderId) -> None:
        """Makes the root into this folder."""
        with self._batch() as directories:
            try:
                self._make_internals(directories)
                there = self._read_marker(directories)
                if there == folder_id.hex():
                    return
                if there is not None:
                    raise DiskError(
                        "Another Holdfast folder is here already. Choose another directory."
                    )
                internal_fd = directories.open((INTERNAL_NAME,))
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(_MARKER, flags, 0o600, dir_fd=internal_fd)
                try:
                    os.write(fd, folder_id.hex().encode() + b"\n")
                    full_sync(fd)
                finally:
                    os.close(fd)
                full_sync(internal_fd)
                full_sync(directories.root_fd)
            except OSError as error:
                raise disk_error(error, "hold the folder's marker") from error

    def remove_marker(self, folder_id: FolderId) -> None:
        """Makes the root an ordinary directory again."""
        with self._batch() as directories:
            if self._read_marker(directories) != folder_id.hex():
                return
            try:
                internal_fd = directories.open((INTERNAL_NAME,))
                os.unlink(_MARKER, dir_fd=internal_fd)
                full_sync(internal_fd)
            except OSError as error:
                raise disk_error(error, "take the folder's marker away") from error

    def close(self) -> None:
        """Lets go of the disk."""
        self._reader.close()
        self._let_go()

    @contextlib.contextmanager
    def _batch(self) -> Iterator[Directories]:
        """Open directories for one batch; batches nest when a staged file copies within the folder.

        The root is held no longer than needed, for an open descriptor keeps a disk from being
        unmounted.
        """
        if self._root_fd < 0:
            self._take_hold()
        directories = Directories(self._root_fd)
        self._batches += 1
        try:
            yield directories
        except OSError as error:
            raise disk_error(error, "do what was asked") from error
        finally:
            self._batches -= 1
            directories.close()
            if self._batches == 0 and not self._staging.is_busy():
                self._let_go()

    def _take_hold(self) -> None:
        try:
            fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise DiskGone() from error
        status = os.fstat(fd)
        identity = status.st_dev, status.st_ino
        if self._identity is None:
            self._has_internals = False
        elif self._identity != identity:
            os.close(fd)
            raise DiskGone()
        self._identity = identity
        self._root_fd = fd

    def _let_go(self) -> None:
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1

    def _make_internals(self, directories: Directories) -> None:
        """Makes our own directories, for the user alone; a symlink in their place is refused by
        what opens them.
        """
        if self._has_internals:
            try:
                directories.open(INCOMING)
            except OSError as error:
                raise DiskGone() from error
            return
        try:
            for path in ((INTERNAL_NAME,), INCOMING, PARKED, TRASH):
                directory_fd, name = directories.at(path)
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=directory_fd)
                directories.open(path)
        except OSError as error:
            raise disk_error(error, f"hold {INTERNAL_NAME}") from error
        self._has_internals = True

    def _read_marker(self, directories: Directories) -> str | None:
        try:
            internal_fd = directories.open((INTERNAL_NAME,))
            fd = os.open(_MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=internal_fd)
        except FileNotFoundError:
            return None
        try:
            return os.read(fd, _MARKER_BYTES_MAX).decode("ascii", "replace").strip()
        finally:
            os.close(fd)

    def _list(self, directories: Directories, path: Path, known: Known | None) -> Listing:
        # By the spelling on the disk, so names that may have two are for the caller to compare.
        left = {} if known is None else dict(known)
        try:
            fd = directories.open(path)
            inode = os.fstat(fd).st_ino
            entries: list[tuple[str, Stat]] = []
            problems: list[Problem] = []
            is_partial = False
            to_stat, find_problem = directories.to_stat, self._name_problem
            with os.scandir(fd) as items:
                for item in items:
                    name = item.name
                    try:
                        status = item.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        unseen = f"It cannot be looked at: {error.strerror}."
                        problems.append(Problem((*path, name), unseen, Trouble.UNREADABLE))
                        is_partial |= error.errno not in _FOR_GOOD
                        continue
                    if (
                        name in left
                        and name.isascii()
                        and left[name][:5] == (
                            status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
                            _EXECUTABLE.get(status.st_mode & 0o170100),
                        )
                    ):  # fmt: skip
                        del left[name]
                        continue
                    if reason := find_problem(name):
                        if name != INTERNAL_NAME or path:
                            problems.append(Problem((*path, name), reason, Trouble.BAD_NAME))
                        continue
                    stat = to_stat(status)
                    if stat is None:
                        reason = "It is neither a file nor a directory nor a symlink."
                        problems.append(Problem((*path, name), reason, Trouble.SPECIAL))
                    elif stat.device and stat.kind is Kind.DIRECTORY:
                        problems.append(Problem((*path, name), _MOUNTED, Trouble.UNSUPPORTED))
                    else:
                        entries.append((name, stat))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return Listing(path, 0, None, [])
            if error.errno == errno.EXDEV:
                return Listing(path, 0, None, [Problem(path, _MOUNTED, Trouble.UNSUPPORTED)])
            reason = f"The directory cannot be read: {error.strerror}."
            trouble = Trouble.UNREADABLE if error.errno in _FOR_GOOD else Trouble.UNLISTED
            return Listing(path, 0, None, [Problem(path, reason, trouble)])
        if is_partial:  # what is gone elsewhere may be one of those
            reason = "Not all that is in the directory can be looked at."
            problems.append(Problem(path, reason, Trouble.UNLISTED))
        return Listing(path, inode, entries, problems, None if known is None else left.keys())
