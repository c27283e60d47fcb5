"""Renames that destroy nothing: each moves only to where nothing is, or swaps two names.

Where the system or the file system has no such call (NFS, some FUSE), links do nearly the same,
with windows of microseconds that are said where they are.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from peer.disk import syscalls

_UNSUPPORTED: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP})


def move_noreplace(source_fd: int, source: str, target_fd: int, target: str) -> None:
    """Renames where nothing may be at the target; FileExistsError if something is."""
    try:
        syscalls.rename_noreplace(source_fd, source, target_fd, target)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        _move_by_link(source_fd, source, target_fd, target)


def can_exchange(source_fd: int, source: str, target_fd: int, target: str) -> bool:
    """Swaps two names in one step; False where that cannot be done here, and nothing was."""
    try:
        syscalls.rename_exchange(source_fd, source, target_fd, target)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return False
    return True


def _move_by_link(source_fd: int, source: str, target_fd: int, target: str) -> None:
    """A link fails where something is, as wanted. Directories have no links: between look and
    rename somebody may make one.
    """
    try:
        os.link(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        os.unlink(source, dir_fd=source_fd)
        return
    try:
        os.stat(target, dir_fd=target_fd, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
