"""Open directories of one folder, walked from its root and through no symlink (ATTACKS A35).

A few are kept open while a batch of work lasts. They are not kept for longer: a descriptor follows
its directory when somebody renames it, and then stands for another path.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Final

from peer.core.disk_types import Kind, Path, Stat
from peer.disk import syscalls
from protocol.names import exact_key

OPEN_MAX: Final = 64
_PIECE_BYTES_MAX: Final = 3_500
"""The kernel takes paths below 4,096 bytes; deeper ones are opened piece by piece."""
_TRIES: Final = 8
_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""O_NONBLOCK: opening a fifo that took a file's place must not wait for its writer."""
_KINDS: Final = {0o100000: Kind.FILE, 0o040000: Kind.DIRECTORY, 0o120000: Kind.SYMLINK}
_FILE: Final = Kind.FILE


class Directories:
    """The directories that one batch has open, at most OPEN_MAX of them; its `close` leaves the
    root's descriptor alone.
    """

    def __init__(self, root_fd: int, *, has_openat2: bool | None = None) -> None:
        self.root_fd = root_fd
        self.root_device = os.fstat(root_fd).st_dev
        self._has_openat2 = syscalls.HAS_OPENAT2 if has_openat2 is None else has_openat2
        self._open: dict[Path, int] = {}
        """In order of use, the newest last."""
        self._spellings: dict[Path, dict[str, str]] = {}

    def open(self, path: Path) -> int:
        """Gives a directory's descriptor, which is good until two more calls. Raises OSError, ELOOP
        or ENOTDIR at a symlink, EXDEV where something else is mounted.
        """
        if not path:
            return self.root_fd
        fd = self._open.pop(path, None)
        if fd is None:
            if len(self._open) >= OPEN_MAX:
                os.close(self._open.pop(next(iter(self._open))))
            fd = self._walk_spelled(path)
        self._open[path] = fd
        return fd

    def at(self, path: Path) -> tuple[int, str]:
        """Gives the descriptor of a path's directory and the path's last name; the root itself has
        none (EINVAL).
        """
        if not path:
            raise OSError(errno.EINVAL, "the folder itself")
        check_name(path[-1])
        directory_fd = self.open(path[:-1])
        return directory_fd, self._spell(directory_fd, path)

    def to_stat(self, status: os.stat_result) -> Stat | None:
        """What the system says of a path as a Stat; None for a kind that is not synced.

        The device is 0 for the root's and a difference from it for one that is mounted inside: the
        numbers themselves change when a machine or a disk starts again, and every file would look
        changed.
        """
        mode = status.st_mode
        kind = _KINDS.get(mode & 0o170000)
        if kind is None:
            return None
        # tuple.__new__ skips the argument handling of Stat(...), half of its 0.7 us: this runs for
        # every file of a scan.
        return tuple.__new__(
            Stat,
            (
                kind,
                status.st_ino,
                status.st_dev - self.root_device,
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
                kind is _FILE and mode & 0o100 != 0,
                status.st_nlink,
            ),
        )

    def look(self, directory_fd: int, name: str) -> Stat | None:
        """What is at a name, never following a symlink; None if nothing, or nothing of a kind that
        is synced.
        """
        try:
            return self.to_stat(os.stat(name, dir_fd=directory_fd, follow_symlinks=False))
        except FileNotFoundError:
            return None

    def forget(self, path: Path) -> None:
        """Closes a directory and all beneath it, for they are elsewhere now."""
        depth = len(path)
        for known in [known for known in self._open if known[:depth] == path]:
            os.close(self._open.pop(known))

    def close(self) -> None:
        """Closes them all."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def _spell(self, directory_fd: int, path: Path) -> str:
        """A path's last name as the disk spells it: names are told in NFC, and Linux keeps
        whatever was written.
        """
        name = path[-1]
        if name.isascii():
            return name
        try:
            os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        except FileNotFoundError:
            # Asked once a batch: a thousand new names must not list their directory a thousand
            # times.
            spellings = self._spellings.get(path[:-1])
            if spellings is None:
                spellings = self._spellings[path[:-1]] = {
                    exact_key(n): n for n in os.listdir(directory_fd) if not n.isascii()
                }
            return spellings.get(name, name)
        return name

    def _walk_spelled(self, path: Path) -> int:
        try:
            return self._walk(path)
        except FileNotFoundError:
            if all(name.isascii() for name in path):
                raise
        parent_fd = self.open(path[:-1])
        return self._open_piece(parent_fd, [self._spell(parent_fd, path)])

    def _walk(self, path: Path) -> int:
        for name in path:
            check_name(name)
        start, names = self.root_fd, path
        if (parent := self._open.get(path[:-1])) is not None:
            start, names = parent, path[-1:]
        fd = start
        try:
            for piece in _pieces(names) if self._has_openat2 else ([name] for name in names):
                next_fd = self._open_piece(fd, piece)
                if fd != start:
                    os.close(fd)
                fd = next_fd
        except OSError:
            if fd != start:
                os.close(fd)
            raise
        return fd

    def _open_piece(self, directory_fd: int, names: Sequence[str]) -> int:
        if not self._has_openat2:
            fd = os.open(names[0], _FLAGS, dir_fd=directory_fd)
            if os.fstat(fd).st_dev != self.root_device:
                os.close(fd)
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), names[0])
            return fd
        joined = os.fsencode("/".join(names))
        for _ in range(_TRIES):
            try:
                return syscalls.open_directory_beneath(directory_fd, joined)
            except BlockingIOError:
                # EAGAIN: something was renamed meanwhile and the kernel cannot tell whether the
                # path stayed beneath.
                continue
        raise OSError(errno.EAGAIN, "renamed too often while it was opened", os.fsdecode(joined))


def check_name(name: str) -> None:
    """The last guard, behind the decoder's check of names: nothing but a plain name ever reaches
    the kernel.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise OSError(errno.EINVAL, "not a name", name)


def _pieces(names: Sequence[str]) -> list[list[str]]:
    """Cuts a path into pieces that the kernel takes."""
    pieces: list[list[str]] = [[]]
    size = 0
    for name in names:
        length = 4 * len(name) + 1
        if size + length > _PIECE_BYTES_MAX and pieces[-1]:
            pieces.append([])
            size = 0
        pieces[-1].append(name)
        size += length
    return pieces


def open_file(directories: Directories, path: Path) -> int:
    """Opens a regular file for reading; -1 where none is, whatever the reason."""
    try:
        directory_fd, name = directories.at(path)
        fd = os.open(name, FILE_FLAGS, dir_fd=directory_fd)
    except OSError:
        return -1
    stat = directories.to_stat(os.fstat(fd))
    if stat is None or stat.kind is not Kind.FILE:
        os.close(fd)
        return -1
    return fd
