"""Changes a folder's tree, each operation only if the disk still shows what the plan saw.

Between a look and a rename somebody may save a file (FAULTS F20). So nothing is overwritten or
deleted in place: what goes is first moved or swapped into the trash, looked at there, and put back
if it is not what was expected. From the first moment to the last it has a name, so no crash loses
it. What still may happen is that a program which has the old file open goes on writing into it:
that is what keeping it in the trash for a while is for.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from peer.core.disk_types import (
    INCOMING,
    INTERNAL_NAME,
    PARKED,
    TRASH,
    Kind,
    MakeDirectory,
    Move,
    Operation,
    Path,
    Publish,
    Refusal,
    RefusalKind,
    Remove,
    RemoveDirectory,
    SetExecutable,
    SetMtime,
    Stat,
    is_unchanged,
    symlink_leaves,
)
from peer.disk.directories import Directories, check_name
from peer.disk.renames import can_exchange, move_noreplace
from peer.disk.staging import Staging, times

LITTER: Final = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""What desktops drop into directories and make anew: it does not keep a directory from being
removed.
"""
_NAMED_MAX: Final = 3
_UNSTAGED: Final = "What was to be put here is not in the incoming files."


class _Refused(Exception):
    """Ends an operation; `Writer.apply` turns it into its answer."""

    def __init__(self, kind: RefusalKind, reason: str, actual: Stat | None = None) -> None:
        super().__init__(reason)
        self.refusal = Refusal(kind, reason, actual)


class Writer:
    """Applies operations within one batch."""

    def __init__(
        self,
        directories: Directories,
        staging: Staging,
        sync: Callable[[Sequence[Path]], None],
        *,
        may_links_leave: bool,
    ) -> None:
        """`sync` makes the entries of directories durable, or raises DiskError."""
        self._directories = directories
        self._staging = staging
        self._sync = sync
        self._may_links_leave = may_links_leave
        self._made: dict[Stat, Stat] = {}
        """What operations of this batch made of the stats that they expected: a rename, for one,
        gives a file a new ctime, and the next operation on it was planned before.
        """
        self._left: set[Path] = set()
        """Directories out of which something was moved, at any depth, and not synced yet."""
        self._came: dict[Path, None] = {}
        """Directories into which it was moved."""
        self._handlers: dict[type[Operation], Callable[[Any], Stat]] = {
            MakeDirectory: self._make_directory,
            Move: self._move,
            Publish: self._publish,
            Remove: self._remove,
            RemoveDirectory: self._remove_directory,
            SetExecutable: self._set_executable,
            SetMtime: self._set_mtime,
        }

    def apply(self, operations: Sequence[Operation]) -> list[Stat | Refusal]:
        """Does the operations in order, one answer for each."""
        results: list[Stat | Refusal] = []
        for operation in operations:
            try:
                result = self._handlers[type(operation)](operation)
                expected = getattr(operation, "expected", None)
                if expected is not None:
                    self._made[expected] = result
                results.append(result)
            except _Refused as refused:
                results.append(refused.refusal)
            except OSError as error:
                results.append(_refusal(error))
        return results

    def _make_directory(self, operation: MakeDirectory) -> Stat:
        directory_fd, name = self._at(operation.path)
        try:
            os.mkdir(name, 0o777, dir_fd=directory_fd)
        except FileExistsError:
            raise self._exists(directory_fd, name) from None
        return self._result(directory_fd, name)

    def _move(self, operation: Move) -> Stat:
        source, target, expected = operation
        # How it came there changed its ctime, perhaps in an earlier batch.
        is_restored = source[:1] == (INTERNAL_NAME,)
        source_fd, source_name = self._at(source, is_trash_allowed=True)
        target_fd, target_name = self._at(target, is_trash_allowed=source[:2] == TRASH)
        self._require(source_fd, source_name, expected, is_renamed=is_restored)
        try:
            move_noreplace(source_fd, source_name, target_fd, target_name)
        except FileExistsError:
            there = self._directories.look(target_fd, target_name)
            is_same = there is not None and there[1:3] == expected[1:3] and there.links == 1
            if not is_same and not (is_same_directory(there, expected) and source != target):
                raise self._exists(target_fd, target_name) from None
            # On a disk that folds case `a` and `A` are one name, and this is what changes its
            # spelling.
            os.rename(source_name, target_name, src_dir_fd=source_fd, dst_dir_fd=target_fd)
        self._directories.forget(source)
        self._directories.forget(target)
        moved = self._result(target_fd, target_name)
        if not is_unchanged(self._now(expected), moved, is_renamed=True):
            move_noreplace(target_fd, target_name, source_fd, source_name)
            raise _changed(moved)
        self._left.update(source[:depth] for depth in range(1, len(source)))
        self._came[target[:-1]] = None
        return moved

    def _publish(self, operation: Publish) -> Stat:
        try:
            return self._publish_staged(operation)
        except FileNotFoundError:
            incoming_fd = self._directories.open(INCOMING)
            if self._directories.look(incoming_fd, operation.temp_name) is not None:
                raise
            self._staging.forget(operation.temp_name)
            raise _Refused(RefusalKind.UNSTAGED, _UNSTAGED) from None

    def _publish_staged(self, operation: Publish) -> Stat:
        temp_name, target, expected, mtime_ns, keep = operation
        check_name(temp_name)
        assert self._staging.is_synced(temp_name), "published before it was durable"
        incoming_fd = self._directories.open(INCOMING)
        staged = self._staging.look(self._directories, incoming_fd, temp_name)
        if staged is None:
            raise _Refused(RefusalKind.UNSTAGED, _UNSTAGED)
        if staged.kind is Kind.SYMLINK and not self._may_links_leave:
            if symlink_leaves(target, os.readlink(temp_name, dir_fd=incoming_fd)):
                reason = "It is a symlink that leads, or might lead, out of the folder."
                raise _Refused(RefusalKind.ERROR, reason)
        if mtime_ns is not None:
            os.utime(temp_name, ns=times(mtime_ns), dir_fd=incoming_fd, follow_symlinks=False)
            staged = self._result(incoming_fd, temp_name)
        # What is copied into the trash never was anywhere else (`spares`).
        directory_fd, name = self._at(target, is_trash_allowed=True)
        if expected is None:
            try:
                move_noreplace(incoming_fd, temp_name, directory_fd, name)
            except FileExistsError:
                raise self._exists(directory_fd, name) from None
        else:
            self._replace(incoming_fd, temp_name, directory_fd, name, expected, keep)
        self._staging.forget(temp_name)
        return _if_ours(staged, self._result(directory_fd, name))

    def _replace(
        self,
        incoming_fd: int,
        temp_name: str,
        directory_fd: int,
        name: str,
        expected: Stat,
        keep: str | None,
    ) -> None:
        """Swaps a staged file with what is at its target, by way of the trash, where the old one
        then is.
        """
        self._require(directory_fd, name, expected)
        if expected.kind is Kind.DIRECTORY:
            raise _Refused(RefusalKind.CHANGED, "There is a directory in its place.", expected)
        staged = os.stat(temp_name, dir_fd=incoming_fd, follow_symlinks=False)
        trash_fd = self._directories.open(TRASH)
        if keep is not None:
            self._require_free(trash_fd, keep, expected)
        # Not under the name it is to be kept by: should the swap not come to pass, and a crash or
        # the disk keep the new one here, it would stand there for the old one.
        trash_name = self._going_place(trash_fd, expected, staged.st_ino, keep)
        move_noreplace(incoming_fd, temp_name, trash_fd, trash_name)
        ours = self._result(trash_fd, trash_name)
        try:
            if not can_exchange(trash_fd, trash_name, directory_fd, name):
                move_noreplace(trash_fd, trash_name, incoming_fd, temp_name)
                self._replace_by_link(incoming_fd, temp_name, directory_fd, name, expected, keep)
                return
        except OSError:
            move_noreplace(trash_fd, trash_name, incoming_fd, temp_name)
            raise
        displaced = self._directories.look(trash_fd, trash_name)
        if not is_unchanged(self._now(expected), displaced, is_renamed=True):
            self._swap_back(trash_fd, trash_name, directory_fd, name)
            back = self._directories.look(trash_fd, trash_name)
            if back is not None and not is_unchanged(ours, back, is_renamed=True):
                # Somebody has saved over what we had put there: it is no staged file. Under this
                # name it is given back by the next start.
                saved = self._going_place(trash_fd, expected)
                move_noreplace(trash_fd, trash_name, trash_fd, saved)
                reason = f"It has changed, twice; the second of the two is in the trash as {saved}."
                raise _Refused(RefusalKind.CHANGED, reason, displaced)
            with contextlib.suppress(OSError):
                move_noreplace(trash_fd, trash_name, incoming_fd, temp_name)
            raise _changed(displaced)
        self._let_go(trash_fd, trash_name, keep)

    def _swap_back(self, trash_fd: int, trash_name: str, directory_fd: int, name: str) -> None:
        """Gives a person's file its name back. If the new one was removed meanwhile, its place is
        free for it.
        """
        try:
            can_exchange(trash_fd, trash_name, directory_fd, name)
        except FileNotFoundError:
            move_noreplace(trash_fd, trash_name, directory_fd, name)

    def _replace_by_link(
        self,
        incoming_fd: int,
        temp_name: str,
        directory_fd: int,
        name: str,
        expected: Stat,
        keep: str | None,
    ) -> None:
        """Replaces where names cannot be swapped: a second name in the trash, one more look, and a
        rename over it.

        A file that takes the target's place between that look and the rename would be lost; a write
        into the target is not.
        """
        trash_fd, trash_name = self._trash_place(keep, expected)
        os.link(
            name, trash_name, src_dir_fd=directory_fd, dst_dir_fd=trash_fd, follow_symlinks=False
        )
        try:
            self._require(directory_fd, name, expected, is_renamed=True)
            os.rename(temp_name, name, src_dir_fd=incoming_fd, dst_dir_fd=directory_fd)
        except (OSError, _Refused):
            os.unlink(trash_name, dir_fd=trash_fd)
            raise
        self._let_go(trash_fd, trash_name, keep)

    def _remove(self, operation: Remove) -> Stat:
        path, expected, keep = operation
        directory_fd, name = self._at(path, is_trash_allowed=True)
        is_trash = path[:2] == TRASH
        actual = self._require(directory_fd, name, expected, is_renamed=is_trash)
        if actual.kind is Kind.DIRECTORY:
            raise _Refused(RefusalKind.CHANGED, "It is a directory.", actual)
        if is_trash:
            os.unlink(name, dir_fd=directory_fd)
            return actual
        trash_fd, trash_name = self._trash_place(keep, expected)
        move_noreplace(directory_fd, name, trash_fd, trash_name)
        moved = self._directories.look(trash_fd, trash_name)
        if not is_unchanged(self._now(expected), moved, is_renamed=True):
            try:
                move_noreplace(trash_fd, trash_name, directory_fd, name)
            except FileExistsError:
                reason = (
                    f"It has changed, twice; the first of the two is in the trash as {trash_name}."
                )
                raise _Refused(RefusalKind.CHANGED, reason, moved) from None
            raise _changed(moved)
        self._let_go(trash_fd, trash_name, keep)
        return actual

    def _remove_directory(self, operation: RemoveDirectory) -> Stat:
        path = operation.path
        if path in self._left:
            # A disk that in a power cut forgets the move and not this has neither; and one sync of
            # both, where the move was to beside the directory, does not say in which order.
            self._sync(list(self._came))
            self._left.clear()
            self._came.clear()
        directory_fd, name = self._at(path)
        actual = self._directories.look(directory_fd, name)
        try:
            os.rmdir(name, dir_fd=directory_fd)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            self._sweep(path)
            os.rmdir(name, dir_fd=directory_fd)
        self._directories.forget(path)
        if actual is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return actual

    def _sweep(self, path: Path) -> None:
        """Deletes litter from a directory if there is nothing else in it."""
        fd = self._directories.open(path)
        names = os.listdir(fd)
        others = sorted(name for name in names if name not in LITTER)
        for name in names:
            stat = self._directories.look(fd, name)
            if name in LITTER and (stat is None or stat.kind is not Kind.FILE):
                others.append(name)
        if others:
            more = len(others) - _NAMED_MAX
            named = ", ".join(map(ascii, others[:_NAMED_MAX])) + (
                f" and {more} more" if more > 0 else ""
            )
            raise _Refused(RefusalKind.NOT_EMPTY, f"There is still something in it: {named}.")
        for name in names:
            os.unlink(name, dir_fd=fd)

    def _set_executable(self, operation: SetExecutable) -> Stat:
        path, is_executable, expected = operation
        directory_fd, name = self._at(path)
        fd = os.open(name, _OPEN_FLAGS, dir_fd=directory_fd)
        try:
            status = os.fstat(fd)
            actual = self._directories.to_stat(status)
            if (
                actual is None
                or actual.kind is not Kind.FILE
                or not is_unchanged(self._now(expected), actual)
            ):
                raise _changed(actual)
            mode = status.st_mode & 0o777
            # Who may read may execute, as compilers and git do it.
            mode = mode | (mode & 0o444) >> 2 if is_executable else mode & ~0o111
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
        return _if_ours(actual, self._result(directory_fd, name))

    def _set_mtime(self, operation: SetMtime) -> Stat:
        path, mtime_ns, expected = operation
        directory_fd, name = self._at(path)
        self._require(directory_fd, name, expected)
        os.utime(name, ns=times(mtime_ns), dir_fd=directory_fd, follow_symlinks=False)
        # What somebody wrote just before has no mtime of its own any more.
        return self._result(directory_fd, name)._replace(ctime_ns=0)

    def _at(self, path: Path, *, is_trash_allowed: bool = False) -> tuple[int, str]:
        """A path's directory and name. Our own directory is out of reach, but things may be parked
        in it, and what is in the trash may leave it.
        """
        is_ours = path[:1] == (INTERNAL_NAME,)
        is_trash = is_trash_allowed and path[:2] == TRASH and len(path) == 3
        is_parked = path[:2] == PARKED and len(path) >= 3
        if is_ours and not is_trash and not is_parked:
            raise OSError(errno.EINVAL, f"{INTERNAL_NAME} is Holdfast's own")
        return self._directories.at(path)

    def _require(
        self, directory_fd: int, name: str, expected: Stat, *, is_renamed: bool = False
    ) -> Stat:
        actual = self._directories.look(directory_fd, name)
        if actual is None:
            raise _Refused(RefusalKind.GONE, "It is not there any more.")
        if not is_unchanged(self._now(expected), actual, is_renamed=is_renamed):
            raise _changed(actual)
        return actual

    def _now(self, expected: Stat) -> Stat:
        return self._made.get(expected, expected)

    def _result(self, directory_fd: int, name: str) -> Stat:
        stat = self._directories.look(directory_fd, name)
        if stat is None:
            raise _Refused(RefusalKind.GONE, "It was taken away as soon as it was done.")
        return stat

    def _trash_place(self, keep: str | None, expected: Stat) -> tuple[int, str]:
        """Where something goes before it is looked at there, to be kept or not: it may be what a
        person has just saved.
        """
        trash_fd = self._directories.open(TRASH)
        if keep is not None:
            self._require_free(trash_fd, keep, expected)
        return trash_fd, self._going_place(trash_fd, expected, 0, keep)

    def _let_go(self, trash_fd: int, name: str, keep: str | None) -> None:
        """What lies in the trash under this name is what was to go."""
        if keep is not None:
            move_noreplace(trash_fd, name, trash_fd, keep)
            return
        # It has left its place: what the disk does not let go of yet goes at the next start.
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=trash_fd)

    def _going_place(
        self, trash_fd: int, expected: Stat, new_inode: int = 0, keep: str | None = None
    ) -> str:
        name = going_name(expected, new_inode, keep)
        with contextlib.suppress(FileNotFoundError):
            os.rename(name, f"{name}-left", src_dir_fd=trash_fd, dst_dir_fd=trash_fd)
        return name

    def _require_free(self, trash_fd: int, keep: str, expected: Stat) -> None:
        check_name(keep)
        there = self._directories.look(trash_fd, keep)
        if there is None:
            return
        if there.inode == expected.inode and there.links > 1:
            # The same file by a second name, which a crash left on its way there.
            os.unlink(keep, dir_fd=trash_fd)
            return
        raise _Refused(RefusalKind.EXISTS, f"The trash holds a {keep} already.")

    def _exists(self, directory_fd: int, name: str) -> _Refused:
        actual = self._directories.look(directory_fd, name)
        return _Refused(RefusalKind.EXISTS, "There is something in its place already.", actual)


def _if_ours(meant: Stat, actual: Stat) -> Stat:
    """What is there after an act of ours; without a ctime when it is not what we put there, for
    somebody has written to it at once: then the next scan reads it.
    """
    if is_unchanged(meant, actual, is_renamed=True):
        return actual
    return actual._replace(ctime_ns=0)


def going_name(expected: Stat, new_inode: int = 0, keep: str | None = None) -> str:
    """Where something goes that is to be deleted, or kept, once it was looked at there.

    `new_inode`: the file that comes in its place, which lies there for a moment before.
    """
    meant = (expected.inode, expected.size, expected.mtime_ns, expected.ctime_ns, new_inode)
    name = "-".join(("going", *map(str, meant)))
    return name if keep is None else f"{name}-as-{keep}"


_OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def is_same_directory(there: Stat | None, expected: Stat) -> bool:
    """Whether two stats are one directory, whatever its link count says."""
    return there is not None and there.kind is Kind.DIRECTORY and there[:3] == expected[:3]


def _changed(actual: Stat | None) -> _Refused:
    return _Refused(RefusalKind.CHANGED, "It has changed meanwhile.", actual)


def _refusal(error: OSError) -> Refusal:
    match error.errno:
        case errno.ENOENT:
            return Refusal(RefusalKind.GONE, "It, or the directory it belongs in, is not there.")
        case errno.ENOTDIR | errno.ELOOP:
            reason = "There is something else where a directory was."
            return Refusal(RefusalKind.CHANGED, reason)
        case errno.EEXIST:
            return Refusal(RefusalKind.EXISTS, "There is something in its place already.")
        case errno.ENOTEMPTY:
            return Refusal(RefusalKind.NOT_EMPTY, "There is still something in it.")
        case errno.ENOSPC | errno.EDQUOT:
            return Refusal(RefusalKind.NO_SPACE, "There is no space for it on the disk.")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return Refusal(RefusalKind.NO_PERMISSION, "Holdfast may not change it.")
        case errno.ENAMETOOLONG:
            return Refusal(RefusalKind.ERROR, "Its name is too long for this disk.")
        case errno.EXDEV:
            return Refusal(RefusalKind.ERROR, "Another disk is mounted where it belongs.")
    return Refusal(RefusalKind.ERROR, f"It cannot be changed: {error.strerror}.")
