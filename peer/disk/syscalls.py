"""The Linux calls that Python does not offer, through libc: the one place that knows ctypes.

Each is absent (`None` or a False `HAS_...`) where the system has none, and its caller has a plain
way instead. Errors are OSErrors like those of `os`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)
_IS_LINUX: Final = sys.platform == "linux"

_SYS_OPENAT2: Final = 437
"""One number on every architecture, for it is younger than their unification."""
_RESOLVE_BENEATH: Final = 0x08
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_XDEV: Final = 0x01
_RENAME_NOREPLACE: Final = 1
_RENAME_EXCHANGE: Final = 2
_SYNC_FILE_RANGE_WRITE: Final = 2
_SYNC_FILE_RANGE_ALL: Final = 1 | _SYNC_FILE_RANGE_WRITE | 4
"""Waits for what is being written, writes, and waits for that."""
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_DIRECTORY_HOW: Final = _OpenHow(
    os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
    0,
    _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_XDEV,
)
_DIRECTORY_HOW_POINTER: Final = ctypes.byref(_DIRECTORY_HOW)
_OPEN_HOW_SIZE: Final = ctypes.c_size_t(ctypes.sizeof(_OpenHow))


def _error(name: str | bytes = "") -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), os.fsdecode(name))


def open_directory_beneath(directory_fd: int, path: bytes) -> int:
    """Opens a directory some levels down in one call, through no symlink, into nothing that is
    mounted there (EXDEV) and never above the start (openat2).
    """
    fd: int = _libc.syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(directory_fd),
        ctypes.c_char_p(path),
        _DIRECTORY_HOW_POINTER,
        _OPEN_HOW_SIZE,
    )
    if fd < 0:
        raise _error(path)
    return fd


def _has_openat2() -> bool:
    """Old kernels have no such call (ENOSYS), and some containers forbid what they do not know
    (EPERM).
    """
    if not _IS_LINUX:
        return False
    try:
        root_fd = os.open("/", os.O_RDONLY)
        try:
            os.close(open_directory_beneath(root_fd, b"."))
        finally:
            os.close(root_fd)
    except OSError:
        return False
    return True


HAS_OPENAT2: Final = _has_openat2()


_renameat2 = getattr(_libc, "renameat2", None)
if _renameat2 is not None:
    _renameat2.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    )


def _rename(source_fd: int, source: str, target_fd: int, target: str, flags: int) -> None:
    if _renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _renameat2(source_fd, os.fsencode(source), target_fd, os.fsencode(target), flags):
        raise _error(target)


def rename_exchange(source_fd: int, source: str, target_fd: int, target: str) -> None:
    """Swaps two names in one step, or raises OSError: ENOSYS or EINVAL where system or file system
    cannot.
    """
    _rename(source_fd, source, target_fd, target, _RENAME_EXCHANGE)


def rename_noreplace(source_fd: int, source: str, target_fd: int, target: str) -> None:
    """Renames where nothing may be at the target, or raises FileExistsError; ENOSYS or EINVAL as
    above.
    """
    _rename(source_fd, source, target_fd, target, _RENAME_NOREPLACE)


HAS_SYNCFS: Final = _IS_LINUX and hasattr(_libc, "syncfs")


def syncfs(fd: int) -> None:
    """Writes a whole file system back. Since Linux 5.8 it reports what could not be written since
    `fd` was opened.
    """
    if _libc.syncfs(fd):
        raise _error()


HAS_SYNC_FILE_RANGE: Final = _IS_LINUX and hasattr(_libc, "sync_file_range")


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Lets the kernel begin to write a range and returns; a mere hint, so that the fsync later is
    short.
    """
    if HAS_SYNC_FILE_RANGE:
        _sync_file_range(fd, offset, length, _SYNC_FILE_RANGE_WRITE)


def write_back(fd: int, offset: int, length: int) -> None:
    """Writes the contents of a range back, and returns when that is done; not what tells where they
    lie, which is for an fsync. Nothing where the system has no such call. Raises OSError.
    """
    if HAS_SYNC_FILE_RANGE and _sync_file_range(fd, offset, length, _SYNC_FILE_RANGE_ALL):
        error = _error()
        # The kernel tells of a failed write once: an fsync would not hear of it any more.
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
            raise error


def _sync_file_range(fd: int, offset: int, length: int, flags: int) -> bool:
    wide = ctypes.c_longlong
    return bool(_libc.sync_file_range(fd, wide(offset), wide(length), ctypes.c_uint(flags)))


def forget_cached(fd: int) -> None:
    """Lets go of what the kernel keeps of a file in memory, so that it is read from the disk next;
    what is still to be written stays. A mere hint, and not there on macOS.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def keep_freed_memory(kept_bytes: int) -> bool:
    """Has the C library keep so many freed bytes of each of its heaps for the next who asks, and
    take blocks of up to an eighth of that from there (mallopt of glibc); False where it cannot.

    By default a chunk's buffer comes from the kernel and goes back to it each time: mapping and
    clearing its pages costs more than hashing what it holds.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is None:
        return False
    is_trim_set = mallopt(_M_TRIM_THRESHOLD, ctypes.c_int(kept_bytes))
    return bool(is_trim_set and mallopt(_M_MMAP_THRESHOLD, ctypes.c_int(kept_bytes // 8)))


HAS_COPY_FILE_RANGE: Final = hasattr(os, "copy_file_range")


def copy_file_range(source_fd: int, source: int, fd: int, offset: int, length: int) -> int:
    """Copies some of a range between files within the kernel and says how much; 0 at the source's
    end.
    """
    if sys.platform == "linux":
        return os.copy_file_range(source_fd, fd, length, source, offset)
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def inotify_init() -> int:
    """Opens an inotify queue that does not block; EMFILE when the user has too many of them."""
    fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise _error()
    return fd


def inotify_add_watch(queue_fd: int, path: str, mask: int) -> int:
    """Watches a directory; the number is the old one if its inode is watched already. ENOSPC at the
    user's limit.
    """
    number: int = _libc.inotify_add_watch(queue_fd, os.fsencode(path), ctypes.c_uint32(mask))
    if number < 0:
        raise _error(path)
    return number


def inotify_rm_watch(queue_fd: int, number: int) -> None:
    """Ends a watch; one that has ended by itself is no trouble."""
    _libc.inotify_rm_watch(queue_fd, number)
