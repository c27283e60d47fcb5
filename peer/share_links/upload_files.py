"""Files of strangers on their way into a folder: written aside, then moved to where nothing is.

Everything is done below the folder's own descriptor and through no symlink. A file is whole and
durable in `.holdfast/received` before it gets a name in the folder; the move destroys nothing.
Blocking.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from crypto.uploads import SEGMENT_SIZE
from peer.core.disk_types import INTERNAL_NAME
from peer.disk.directories import Directories
from peer.disk.renames import move_noreplace

RECEIVED: Final = (INTERNAL_NAME, "received")
SPARE_BYTES: Final = 64 << 20
"""Left free on the disk by what strangers put in."""


class Identity(NamedTuple):
    """By what a file is known after it was moved."""

    inode: int
    size: int
    mtime_ns: int


@dataclass(slots=True)
class Begun:
    """A file on its way, aside under a name that ends with how much of it is durable."""

    descriptor: int
    """At that length; to be closed by who began it."""
    name: str
    segments: int

    @property
    def so_far(self) -> str:
        """Its name for now."""
        return f"{self.name}.{self.segments}"


class NoPlace(Exception):
    """The folder is not there just now, or something else is where its directory was."""


class Receiving:
    """One folder's root, open; for one file after the other."""

    def __init__(self, root_fd: int) -> None:
        self._directories = Directories(root_fd)
        try:
            os.mkdir(RECEIVED[1], 0o700, dir_fd=self._directories.open((INTERNAL_NAME,)))
        except FileExistsError:
            pass
        except OSError as error:
            # A disk that is not mounted leaves an empty directory, in which nothing of ours is.
            raise NoPlace from error

    def close(self) -> None:
        """Closes the directories."""
        self._directories.close()

    def has_room_for(self, size: int) -> bool:
        """Whether the disk takes so much and keeps a little."""
        found = os.fstatvfs(self._directories.root_fd)
        return found.f_bavail * found.f_frsize >= size + SPARE_BYTES

    def segments_of(self, name: str) -> int:
        """How much is there of a file that was begun."""
        return max((number for _, number in self._begun(name)), default=0)

    def begin(self, name: str) -> Begun:
        """A file aside, gone on with where there is one that did not come whole."""
        aside, segments = self._directories.open(RECEIVED), self.segments_of(name)
        begun = Begun(-1, name, segments)
        for each, number in self._begun(name):
            if number != segments or not segments:
                os.unlink(each, dir_fd=aside)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        begun.descriptor = os.open(begun.so_far, flags, 0o666, dir_fd=aside)
        size = os.fstat(begun.descriptor).st_size
        if size < segments * SEGMENT_SIZE:  # somebody has been at it
            os.close(begun.descriptor)
            os.unlink(begun.so_far, dir_fd=aside)
            return self.begin(name)
        os.ftruncate(begun.descriptor, segments * SEGMENT_SIZE)
        os.lseek(begun.descriptor, 0, os.SEEK_END)
        return begun

    def keep(self, begun: Begun, segments: int) -> None:
        """So many segments are written: they are made durable, and only then it is said so."""
        os.fsync(begun.descriptor)
        aside, before = self._directories.open(RECEIVED), begun.so_far
        begun.segments = segments
        os.rename(before, begun.so_far, src_dir_fd=aside, dst_dir_fd=aside)

    def finish(self, begun: Begun, name: str, mtime_ns: int) -> Identity:
        """Makes a file aside durable, with its time, and gives it the name of what is whole."""
        os.utime(begun.descriptor, ns=(mtime_ns, mtime_ns))
        os.fsync(begun.descriptor)
        aside = self._directories.open(RECEIVED)
        os.rename(begun.so_far, name, src_dir_fd=aside, dst_dir_fd=aside)
        os.fsync(aside)
        return _identity(os.fstat(begun.descriptor))

    def discard(self, name: str) -> None:
        """Removes what there is of a file aside."""
        for each, _ in self._begun(name):
            with suppress(FileNotFoundError):
                os.unlink(each, dir_fd=self._directories.open(RECEIVED))

    def _begun(self, name: str) -> list[tuple[str, int]]:
        found = []
        for each in os.listdir(self._directories.open(RECEIVED)):
            head, _, number = each.rpartition(".")
            if head == name and number.isascii() and number.isdecimal() and len(number) <= 7:
                found.append((each, int(number)))
        return found

    def is_aside(self, name: str, identity: Identity) -> bool:
        """Whether this very file is aside still."""
        return self._is_there((*RECEIVED, name), identity)

    def is_placed(self, path: tuple[str, ...], identity: Identity) -> bool:
        """Whether this very file is at a path of the folder."""
        return self._is_there(path, identity)

    def is_free(self, path: tuple[str, ...]) -> bool:
        """Whether nothing is at a path, as far as its directories are there."""
        try:
            directory_fd, name = self._directories.at(path)
            os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return True
        return False

    def make_directories(self, path: tuple[str, ...]) -> None:
        """All directories above a path; NotADirectoryError if something else is there."""
        for depth in range(1, len(path)):
            directory_fd, name = self._directories.at(path[:depth])
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=directory_fd)
                os.fsync(directory_fd)
            try:
                self._directories.open(path[:depth])
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise NotADirectoryError(errno.ENOTDIR, "something is in the way") from error
                raise

    def place(self, name: str, path: tuple[str, ...]) -> None:
        """Moves a file from aside to a path; FileExistsError if something is there."""
        aside = self._directories.open(RECEIVED)
        directory_fd, last = self._directories.at(path)
        move_noreplace(aside, name, directory_fd, last)
        os.fsync(directory_fd)
        os.fsync(self._directories.open(RECEIVED))

    def _is_there(self, path: tuple[str, ...], identity: Identity) -> bool:
        try:
            directory_fd, name = self._directories.at(path)
            found = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return _identity(found) == identity


@contextmanager
def receiving(root: Path) -> Iterator[Receiving]:
    """A folder's root for what comes; raises NoPlace."""
    try:
        root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NoPlace from error
    try:
        place = Receiving(root_fd)
        try:
            yield place
        finally:
            place.close()
    finally:
        os.close(root_fd)


def _identity(status: os.stat_result) -> Identity:
    return Identity(status.st_ino, status.st_size, status.st_mtime_ns)
