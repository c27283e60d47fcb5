"""Says where in a folder something has changed: hints, never facts, for a look at the disk tells.

On Linux this is inotify by our own hands. watchdog holds back every rename for 0.5 s to pair its
halves, spends some 20 us of Python on each event, and cannot leave out `.holdfast`, where each file
that we write makes five of them. Elsewhere watchdog does it (`watcher_portable`).
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from peer.core.disk_types import INTERNAL_NAME, Path, Problem, Trouble
from peer.disk import syscalls
from peer.disk.directories import Directories


@dataclass(slots=True)
class Hints:
    """What one `read` brought together."""

    changed: dict[Path, set[str]] = field(default_factory=dict)
    """Names that changed, by directory. An empty set: list the whole directory and all below, for
    it is new here.
    """
    closed: set[Path] = field(default_factory=set)
    """Directories in which a file that had been written was closed."""
    has_overflowed: bool = False
    """Some hints were lost: rescan the folder, watching each directory before listing it."""
    is_root_gone: bool = False
    """The root was removed or unmounted: nothing more will come."""
    unwatched: list[Problem] = field(default_factory=list)
    """Directories that could not be watched: only rescans find what changes there."""

    def add(self, directory: Path, name: str) -> None:
        """Notes a change, unless the whole directory is to be listed anyway."""
        names = self.changed.get(directory)
        if names is None:
            self.changed[directory] = {name}
        elif names:
            names.add(name)


class Watcher(ABC):
    """Watches the directories of one folder that it was told of, and new ones in them by itself."""

    @abstractmethod
    def fileno(self) -> int:
        """A descriptor that is readable when `read` has something."""

    @abstractmethod
    def watch(self, paths: Iterable[Path]) -> list[Problem]:
        """Watches directories, whether they were watched before or not; those that cannot be are
        Problems.

        To miss nothing, watch a directory and then list it. Parents come before their children.
        """

    @abstractmethod
    def read(self) -> Hints:
        """Takes what has come up, without waiting."""

    @abstractmethod
    def close(self) -> None:
        """Ends all watches."""


def open_watcher(root: str) -> Watcher:
    """The watcher for this system. Raises OSError if it gives us none; then rescans have to do."""
    if sys.platform == "linux":
        return InotifyWatcher(root)
    from peer.disk.watcher_portable import PortableWatcher

    return PortableWatcher(root)


_EVENT: Final = Struct("iIII")
"""watch number, mask, cookie, length of the name that follows."""
_READ_BYTES: Final = 256 << 10
_READS_MAX: Final = 8
"""A writer that never stops must not keep `read` from returning; the rest comes with the next one.
"""

_MODIFY: Final = 0x2
_ATTRIB: Final = 0x4
_CLOSE_WRITE: Final = 0x8
_MOVED_FROM: Final = 0x40
_MOVED_TO: Final = 0x80
_CREATE: Final = 0x100
_DELETE: Final = 0x200
_DELETE_SELF: Final = 0x400
_UNMOUNT: Final = 0x2000
_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000
_IS_DIRECTORY: Final = 0x4000_0000
_MASK: Final = (
    _MODIFY
    | _ATTRIB
    | _CLOSE_WRITE
    | _MOVED_FROM
    | _MOVED_TO
    | _CREATE
    | _DELETE
    | _DELETE_SELF
    | 0x0100_0000  # IN_ONLYDIR
    | 0x0400_0000  # IN_EXCL_UNLINK: no events of deleted files that are still open
)

_LIMIT_CURE: Final = (
    "The system allows no more watches, so changes in it are found by rescans only. "
    "To allow more: sudo sysctl fs.inotify.max_user_watches=1048576"
)


class InotifyWatcher(Watcher):
    """One inotify watch for each directory.

    A watch stays with its directory's inode when that is renamed. So a watch knows its parent's
    number and its own name, and a rename of a directory of a million files is the change of one
    entry here.
    """

    def __init__(self, root: str) -> None:
        self._root = os.path.abspath(root)
        self._queue_fd = syscalls.inotify_init()
        self._turn = threading.Lock()
        """The disk's thread watches, while the event loop reads."""
        self._place: dict[int, tuple[int, str]] = {}
        """watch -> (watch of its parent, name); the root's parent is 0, for numbers begin with 1.
        """
        self._children: dict[int, dict[str, int]] = {}
        self._root_watch = 0
        self._moving: dict[int, int] = {}
        """cookie -> watch of a directory that left its place and has not yet come to another."""

    def fileno(self) -> int:
        """The inotify queue."""
        return self._queue_fd

    def watch(self, paths: Iterable[Path]) -> list[Problem]:
        """Watches directories."""
        problems: list[Problem] = []
        with self._open_root() as directories:
            for path in paths:
                # Between opening a directory and noting its place nobody may take the event of its
                # rename: the watch would stand for a path that is none any more, and what happens
                # in the directory from then on would be looked for there.
                with self._turn:
                    self._watch(directories, path, problems)
        return problems

    def read(self) -> Hints:
        """Takes the events that have come up."""
        with self._turn:
            return self._read()

    def _read(self) -> Hints:
        hints = Hints()
        left = self._moving
        self._moving = {}
        for _ in range(_READS_MAX):
            try:
                data = os.read(self._queue_fd, _READ_BYTES)
            except BlockingIOError:
                break
            self._take(data, hints, left)
        # A rename's two halves are queued at once, though a read may end between them. So what has
        # no second half by now, after it had a whole read's time, has left the folder, and what
        # happens in it there is not our business.
        for watch in left.values():
            if self._place.get(watch) == (0, ""):
                self._drop(watch, is_watched=True)
        return hints

    def close(self) -> None:
        """Closes the queue, and with it all watches."""
        if self._queue_fd >= 0:
            os.close(self._queue_fd)
            self._queue_fd = -1

    def _take(self, data: bytes, hints: Hints, left: dict[int, int]) -> None:
        offset = 0
        while offset < len(data):
            watch, mask, cookie, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            raw = data[offset : offset + length]
            offset += length
            if mask & _OVERFLOW:
                hints.has_overflowed = True
            elif watch in self._place:
                self._take_event(watch, mask, cookie, os.fsdecode(raw.rstrip(b"\0")), hints, left)

    def _take_event(
        self, watch: int, mask: int, cookie: int, name: str, hints: Hints, left: dict[int, int]
    ) -> None:
        if mask & (_UNMOUNT | _DELETE_SELF | _IGNORED):
            if watch == self._root_watch:
                hints.is_root_gone = True
            if mask & _IGNORED:
                self._drop(watch, is_watched=False)
            return
        if watch == self._root_watch and name == INTERNAL_NAME:
            return
        directory = self._path(watch)
        if mask & _IS_DIRECTORY and name:
            if mask & _MOVED_FROM:
                self._detach(watch, name, cookie)
            elif mask & (_MOVED_TO | _CREATE) and directory is not None:
                moved = self._moving.pop(cookie, 0) or left.pop(cookie, 0) if cookie else 0
                if moved:
                    self._place_at(moved, watch, name)
                else:
                    self._watch_new(directory, name, hints)
        if directory is None:
            return
        if mask & _CLOSE_WRITE:
            hints.closed.add(directory)
        if name:
            hints.add(directory, name)
        elif directory:
            hints.add(directory[:-1], directory[-1])

    def _watch_new(self, directory: Path, name: str, hints: Hints) -> None:
        """Watches a directory that has just come, and what is already in it: it may have been
        filled before we were told.
        """
        with self._open_root() as directories:
            pending = [(*directory, name)]
            while pending:
                path = pending.pop()
                hints.changed[path] = set()
                if not self._watch(directories, path, hints.unwatched):
                    continue
                with suppress(OSError), os.scandir(directories.open(path)) as items:
                    pending += [
                        (*path, item.name) for item in items if item.is_dir(follow_symlinks=False)
                    ]

    def _watch(self, directories: Directories, path: Path, problems: list[Problem]) -> bool:
        if path[:1] == (INTERNAL_NAME,):
            return False
        parent = self._find(path[:-1])
        if path and parent == 0:
            # Nobody would tell when its parent is renamed, and then such a watch would give wrong
            # paths.
            reason = "It cannot be watched without its parent. Rescans find what changes in it."
            problems.append(Problem(path, reason, Trouble.UNWATCHED))
            return False
        try:
            # The descriptor was opened beneath the root and through no symlink; a path would be
            # walked again, and has a limit.
            watch = syscalls.inotify_add_watch(
                self._queue_fd, f"/proc/self/fd/{directories.open(path)}", _MASK
            )
        except OSError as error:
            if error.errno == errno.ENOSPC:
                problems.append(Problem(path, _LIMIT_CURE, Trouble.UNWATCHED))
            elif error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                reason = f"It cannot be watched: {error.strerror}. Rescans find what changes in it."
                problems.append(Problem(path, reason, Trouble.UNWATCHED))
            return False
        if path:
            self._place_at(watch, parent, path[-1])
        else:
            self._root_watch = watch
            self._place[watch] = (0, "")
        return True

    def _open_root(self) -> AbstractContextManager[Directories]:
        return _OpenRoot(self._root)

    def _find(self, path: Path) -> int:
        """The watch of a path, 0 if it has none."""
        watch = self._root_watch
        for name in path:
            watch = self._children.get(watch, {}).get(name, 0)
            if watch == 0:
                return 0
        return watch

    def _path(self, watch: int) -> Path | None:
        """Where a watch's directory is; None while it is on the way somewhere else."""
        names: list[str] = []
        while watch != self._root_watch:
            place = self._place.get(watch)
            if place is None or place[0] == 0:
                return None
            watch, name = place
            names.append(name)
        return tuple(reversed(names))

    def _place_at(self, watch: int, parent: int, name: str) -> None:
        self._unplace(watch)
        siblings = self._children.setdefault(parent, {})
        replaced = siblings.get(name, 0)
        if replaced and replaced != watch:
            self._place[replaced] = (0, "")
        siblings[name] = watch
        self._place[watch] = (parent, name)

    def _unplace(self, watch: int) -> None:
        parent, name = self._place.get(watch, (0, ""))
        siblings = self._children.get(parent)
        if siblings is not None and siblings.get(name) == watch:
            del siblings[name]
            if not siblings:
                del self._children[parent]

    def _detach(self, parent: int, name: str, cookie: int) -> None:
        watch = self._children.get(parent, {}).get(name, 0)
        if watch:
            self._unplace(watch)
            self._place[watch] = (0, "")
            self._moving[cookie] = watch

    def _drop(self, watch: int, *, is_watched: bool) -> None:
        """Forgets a watch and all below it."""
        self._unplace(watch)
        pending = [watch]
        while pending:
            gone = pending.pop()
            if self._place.pop(gone, None) is None:
                continue
            pending += self._children.pop(gone, {}).values()
            if is_watched:
                syscalls.inotify_rm_watch(self._queue_fd, gone)


class _OpenRoot(AbstractContextManager[Directories]):
    """The root and what is opened below it, closed at the end: a held descriptor would keep a disk
    from being unmounted.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._directories: Directories | None = None

    def __enter__(self) -> Directories:
        root_fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._directories = Directories(root_fd)
        return self._directories

    def __exit__(self, *_: object) -> None:
        if self._directories is not None:
            self._directories.close()
            os.close(self._directories.root_fd)
