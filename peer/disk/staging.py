"""The incoming directory: files are laid down whole and made durable before they are seen.

A temp file that was not synced is never published. Nothing but our own bytes is ever in here,
whenever a crash comes: what a publish displaces is in the trash from the first moment (`writer`).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Final

from crypto.chunks import ChunkHasher
from crypto.ids import ChunkId
from peer.core.disk_types import (
    INCOMING,
    DiskError,
    Path,
    Problem,
    StagedFile,
    StageFile,
    Stat,
    Trouble,
)
from peer.disk import syscalls
from peer.disk.directories import Directories, check_name, open_file
from peer.disk.durability import disk_error, sync_files
from peer.disk.reader import Reader, StreamingHash, read_exactly

_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITEBACK_BYTES: Final = 8 << 20
"""A large file's pages go to the disk in such steps while it is written."""
_PLAIN_COPY_BYTES: Final = 1 << 20
_MTIME_S_MAX: Final = 1 << 34
"""ext4 ends in 2446; beyond what a disk can hold a time is cut, not refused (FAULTS F22)."""


def times(mtime_ns: int) -> tuple[int, int]:
    """(access, modification) time in nanoseconds within what disks hold."""
    limit_ns = _MTIME_S_MAX * 10**9
    mtime_ns = max(-limit_ns // 8, min(mtime_ns, limit_ns - 1))
    return mtime_ns, mtime_ns


class Staging:
    """The incoming directory of one folder. Its directories exist (`disk.PosixDisk` makes them)."""

    def __init__(self, hasher: ChunkHasher, reader: Reader) -> None:
        self._hasher = hasher
        self._reader = reader
        self._unsynced: set[str] = set()
        self._files: dict[str, Stat] = {}
        """Plain files that this process has laid down, as they were then."""
        self._open_files: set[PosixStagedFile] = set()

    def is_busy(self) -> bool:
        """Whether the root's descriptor must stay open: a syncfs reports only what failed since it
        was opened.
        """
        return bool(self._unsynced or self._open_files)

    def look(self, directories: Directories, incoming_fd: int, temp_name: str) -> Stat | None:
        """What a temp file is; a look at the disk if this process did not lay it down whole."""
        return self._files.get(temp_name) or directories.look(incoming_fd, temp_name)

    def is_synced(self, temp_name: str) -> bool:
        """Whether a temp file may be published."""
        return temp_name not in self._unsynced

    def stage(self, directories: Directories, files: Iterable[StageFile]) -> list[Stat | Problem]:
        """Lays files down; what one cannot be is its Problem."""
        incoming_fd = directories.open(INCOMING)
        results: list[Stat | Problem] = []
        for file in files:
            check_name(file.temp_name)
            try:
                stat = self._lay_down(directories, incoming_fd, file)
            except OSError as error:
                _unlink(incoming_fd, file.temp_name)
                results.append(_problem(file.temp_name, error))
                continue
            self._unsynced.add(file.temp_name)
            if file.target is None:
                self._files[file.temp_name] = stat
            results.append(stat)
        return results

    def open(
        self,
        batch: Callable[[], AbstractContextManager[Directories]],
        temp_name: str,
        size: int,
        is_resumed: bool,
    ) -> PosixStagedFile:
        """Opens a large file for writing. `batch` gives it the folder's directories whenever it
        copies.
        """
        check_name(temp_name)
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        with batch() as directories:
            incoming_fd = directories.open(INCOMING)
            try:
                if is_resumed:
                    with contextlib.suppress(FileNotFoundError):
                        fd = os.open(temp_name, flags, dir_fd=incoming_fd)
                        return self._track(batch, directories, fd, temp_name, size, False)
                _unlink(incoming_fd, temp_name)
                fd = os.open(temp_name, flags | _CREATE, 0o666, dir_fd=incoming_fd)
                return self._track(batch, directories, fd, temp_name, size, True)
            except OSError as error:
                raise disk_error(error, "open a temp file") from error

    def discard(self, directories: Directories, temp_names: Iterable[str]) -> None:
        """Deletes temp files."""
        incoming_fd = directories.open(INCOMING)
        for name in temp_names:
            check_name(name)
            _unlink(incoming_fd, name)
            self.forget(name)

    def forget(self, temp_name: str) -> None:
        """A temp file is not in the incoming directory any more."""
        self._unsynced.discard(temp_name)
        self._files.pop(temp_name, None)

    def sync(self, directories: Directories) -> None:
        """Makes all that was finished durable. When that fails, nothing in here is trusted any more
        and all of it is deleted.
        """
        incoming_fd = directories.open(INCOMING)
        try:
            sync_files(directories.root_fd, incoming_fd, sorted(self._unsynced))
        except DiskError:
            for file in list(self._open_files):
                file.fail()
            for name in os.listdir(incoming_fd):
                _unlink(incoming_fd, name)
            self._files.clear()
            raise
        finally:
            self._unsynced.clear()

    def close_file(self, file: PosixStagedFile, temp_name: str, *, is_finished: bool) -> None:
        """A large file is written no more."""
        self._open_files.discard(file)
        if is_finished:
            self._unsynced.add(temp_name)

    def _lay_down(self, directories: Directories, incoming_fd: int, file: StageFile) -> Stat:
        name = file.temp_name
        if file.target is not None:
            _unlink(incoming_fd, name)
            os.symlink(file.target, name, dir_fd=incoming_fd)
            os.utime(name, ns=times(file.mtime_ns), dir_fd=incoming_fd, follow_symlinks=False)
            stat = directories.look(incoming_fd, name)
        else:
            assert file.data is not None
            # The mode is what any program would create it with: the umask applies, and setuid bits
            # cannot come in.
            mode = 0o777 if file.executable else 0o666
            try:
                fd = os.open(name, os.O_WRONLY | _CREATE, mode, dir_fd=incoming_fd)
            except FileExistsError:
                _unlink(incoming_fd, name)
                fd = os.open(name, os.O_WRONLY | _CREATE, mode, dir_fd=incoming_fd)
            try:
                written = os.write(fd, file.data)
                if written != len(file.data):
                    write_all(fd, memoryview(file.data)[written:], written)
                os.utime(fd, ns=times(file.mtime_ns))
                stat = directories.to_stat(os.fstat(fd))
            finally:
                os.close(fd)
        assert stat is not None
        return stat

    def _track(
        self,
        batch: Callable[[], AbstractContextManager[Directories]],
        directories: Directories,
        fd: int,
        temp_name: str,
        size: int,
        is_new: bool,
    ) -> PosixStagedFile:
        try:
            status = os.fstat(fd)
            if status.st_nlink != 1:
                raise OSError(errno.EMLINK, "The temp file has a second name")
            if status.st_size != size:
                os.ftruncate(fd, size)
        except OSError:
            os.close(fd)
            raise
        file = PosixStagedFile(self, batch, fd, temp_name, is_new)
        self._open_files.add(file)
        return file

    def chunk_id(self, data: bytes) -> ChunkId:
        """Names a chunk."""
        return self._hasher.chunk_id(data)

    def new_file_hash(self) -> StreamingHash:
        """For what is written from a file's start on."""
        return self._hasher.file_hash()

    def hash_rest(self, fd: int, file_hash: StreamingHash, offset: int) -> bytes:
        """The hash of a whole open file of which some bytes from its start were hashed already."""
        return self._reader.hash_rest(fd, file_hash, offset)


class PosixStagedFile(StagedFile):
    """A large file in a real incoming directory."""

    def __init__(
        self,
        staging: Staging,
        batch: Callable[[], AbstractContextManager[Directories]],
        fd: int,
        temp_name: str,
        is_blank: bool,
    ) -> None:
        self._staging = staging
        self._batch = batch
        self._fd = fd
        self._temp_name = temp_name
        self._is_blank = is_blank
        """Wherever nothing was written yet it reads as zeros, and takes no room on the disk."""
        self._has_failed = False
        self._hash = staging.new_file_hash()
        self._hashed = 0
        """So many bytes from the start on are in the hash: those that were written in order. The
        rest is read back."""
        self._written = 0
        """Bytes since the last writeback; they lie about _low.._high."""
        self._low = self._high = 0

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Writes bytes at an offset."""
        fd = self._usable_fd()
        if not (self._is_blank and _is_zeros(data)):
            try:
                write_all(fd, data, offset)
            except OSError as error:
                raise disk_error(error, "write") from error
            self._note_written(offset, len(data))
        # else a hole stays one: a disk image of 100 GB may hold 5
        self._unhash(offset)
        if offset == self._hashed:
            self._hash.update(data)
            self._hashed += len(data)

    def copy_range(self, path: Path, source_offset: int, offset: int, length: int) -> bool:
        """Copies a range of a file of the folder if it is there."""
        fd = self._usable_fd()
        self._is_blank = False  # what was copied may turn out to be wrong, and is written again
        self._unhash(offset)
        with self._batch() as directories:
            source_fd = open_file(directories, path)
            if source_fd < 0:
                return False
            try:
                for start in range(0, length, _WRITEBACK_BYTES):
                    step = min(length - start, _WRITEBACK_BYTES)
                    if not _copy(source_fd, source_offset + start, fd, offset + start, step):
                        return False
                    self._note_written(offset + start, step)
            except OSError as error:
                raise disk_error(error, "copy within the folder") from error
            finally:
                os.close(source_fd)
        return True

    def chunk_id(self, offset: int, length: int) -> ChunkId:
        """Reads a range back and names it."""
        data = read_exactly(self._usable_fd(), offset, length)
        if data is None:
            raise DiskError
        return self._staging.chunk_id(data)

    def file_hash(self) -> bytes:
        """The hash of the file: as it was written, where that was from its start on and in order;
        read back where not.
        """
        fd = self._usable_fd()
        try:
            return self._staging.hash_rest(fd, self._hash.copy(), self._hashed)
        except OSError as error:
            raise disk_error(error, "read back") from error

    def _unhash(self, offset: int) -> None:
        """From here on the file is written again."""
        if offset < self._hashed:
            self._hash, self._hashed = self._staging.new_file_hash(), 0

    def finish(self, mtime_ns: int, executable: bool) -> Stat:
        """Sets the file's time and mode and closes it."""
        fd = self._usable_fd()
        try:
            if executable:
                mode = os.fstat(fd).st_mode & 0o777
                os.fchmod(fd, mode | (mode & 0o444) >> 2)
            os.utime(fd, ns=times(mtime_ns))
            status = os.fstat(fd)
        except OSError as error:
            raise disk_error(error, "finish a file") from error
        with self._batch() as directories:
            stat = directories.to_stat(status)
        assert stat is not None
        self._close(is_finished=True)
        return stat

    def pause(self) -> None:
        """Closes the file and leaves it."""
        self._close(is_finished=False)

    def abandon(self) -> None:
        """Closes the file and deletes it."""
        if self._fd >= 0:
            with self._batch() as directories:
                _unlink(directories.open(INCOMING), self._temp_name)
                self._close(is_finished=False)
                self._staging.forget(self._temp_name)

    def fail(self) -> None:
        """A durability round failed: some of these bytes may be lost, and the kernel will not say
        which.
        """
        self._has_failed = True

    def _usable_fd(self) -> int:
        assert self._fd >= 0, "the file was finished"
        if self._has_failed:
            raise DiskError()
        return self._fd

    def _note_written(self, offset: int, length: int) -> None:
        if self._written == 0:
            self._low = self._high = offset
        self._low = min(self._low, offset)
        self._high = max(self._high, offset + length)
        self._written += length
        if self._written >= _WRITEBACK_BYTES:
            syscalls.start_writeback(self._fd, self._low, self._high - self._low)
            self._written = 0

    def _close(self, *, is_finished: bool) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
            self._staging.close_file(self, self._temp_name, is_finished=is_finished)


def write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Writes all of some bytes at an offset, however many calls the system makes of it."""
    written = os.pwrite(fd, data, offset)
    while written < len(data):
        written += os.pwrite(fd, memoryview(data)[written:], offset + written)


def _copy(source_fd: int, source: int, fd: int, offset: int, length: int) -> bool:
    """Copies a range from one open file to another; False if it cannot be read there whole.

    Within the kernel where it can: some disks copy no bytes at all then, and the others each once
    less.
    """
    copied = 0
    while copied < length and syscalls.HAS_COPY_FILE_RANGE:
        try:
            count = syscalls.copy_file_range(
                source_fd, source + copied, fd, offset + copied, length - copied
            )
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            break  # not on this disk, or not this range: the plain way says which
        if count == 0:
            return False
        copied += count
    while copied < length:
        data = read_exactly(source_fd, source + copied, min(length - copied, _PLAIN_COPY_BYTES))
        if data is None:
            return False
        write_all(fd, data, offset + copied)
        copied += len(data)
    return True


def _is_zeros(data: bytes | memoryview) -> bool:
    if not len(data) or data[0] or data[-1]:
        return False
    return bytes(data).count(0) == len(data)


def _unlink(directory_fd: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory_fd)


def _problem(temp_name: str, error: OSError) -> Problem:
    path = (*INCOMING, temp_name)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem(path, "There is no space for it on the disk.", Trouble.NO_SPACE)
    return Problem(path, f"It cannot be written: {error.strerror}.", Trouble.UNREADABLE)
