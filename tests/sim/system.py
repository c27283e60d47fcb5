"""The system calls that the disk's modules make, answered by file systems in memory.

`installed` puts these stand-ins where `disk` and what it is made of look for `os`, `time` and
`syscalls`, so that all of the product's own code runs, down to the order of its calls.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

from crypto import changesets, primitives
from peer.core import past
from peer.core.chunker import ChunkSizes
from peer.core.disk_types import INTERNAL_NAME, Kind
from peer.disk import directories, disk, durability, reader, renames, staging, syscalls, writer
from peer.folders import delivery, fetcher, folder, intake, performing, restoring, serving
from peer.history import history, spares
from protocol import logs, messages, session
from protocol.changesets import Body, Changeset, decode_changeset, open_changeset
from tests.sim.disk import ROOT_INODE, TICK_NS, Place
from tests.sim.filesystem import CachedInode, FileSystem, error
from tests.sim.loop import SimExecutor

_FDS = count(1)
"""Descriptors of another history than the one that is being played are nobody's."""
_MODES = {Kind.FILE: 0o100644, Kind.DIRECTORY: 0o040755, Kind.SYMLINK: 0o120777}


class Status(NamedTuple):
    """What stat gives, as far as anybody looks."""

    st_mode: int
    st_ino: int
    st_dev: int
    st_nlink: int
    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int


class Space(NamedTuple):
    """What statvfs gives."""

    f_bavail: int = 1 << 30
    f_frsize: int = 4096


class Entry(NamedTuple):
    """What scandir gives."""

    name: str
    status: Status
    error: int = 0

    def stat(self, *, follow_symlinks: bool) -> Status:
        if self.error:
            raise error(self.error, self.name)
        return self.status


@dataclass(slots=True)
class Handle:
    """An open file."""

    files: FileSystem
    key: int
    offset: int = 0

    @property
    def inode(self) -> CachedInode:
        return self.files.inodes[self.key]


class Entries(list[Entry]):
    """A scandir iterator that is closed by `with`."""

    def __enter__(self) -> Entries:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def status_of(inode: CachedInode) -> Status:
    mode = _MODES[inode.kind] | (0o111 if inode.is_executable else 0)
    size = len(inode.data) if inode.kind is not Kind.DIRECTORY else 4096
    links = 1 if inode.kind is Kind.DIRECTORY else inode.links
    return Status(mode, inode.number, 1, links, size, inode.mtime_ns, inode.ctime_ns)


def _as_it_is(files: FileSystem, data: bytes, offset: int, is_proof: bool) -> bytes:
    return data


class System:
    """`os` for several machines: whose disk is meant is in the path or the descriptor."""

    path = os.path

    def __init__(self) -> None:
        self.roots: dict[str, FileSystem] = {}
        self._handles: dict[int, Handle] = {}
        self._next_fd = next(_FDS) << 20
        self.read_back: Callable[[FileSystem, bytes, int, bool], bytes] = _as_it_is
        """What the disk gives for a range (whose bytes, from where, whether to prove a file right)
        that has a hash to be told by: the same, or others. What a scan reads is not of these: the
        file is what the disk says.
        """
        self.random: Callable[[int], bytes] = lambda size: bytes(size)

    def urandom(self, size: int) -> bytes:
        return self.random(size)

    # ------------------------------------------------------------ descriptors

    def _handle(self, fd: int, call: str, name: str = "") -> Handle:
        handle = self._handles[fd]
        if handle.files.is_dead:
            raise error(errno.ENODEV)
        handle.files.before_call(call, name)
        return handle

    def _fd(self, files: FileSystem, key: int) -> int:
        fd, self._next_fd = self._next_fd, self._next_fd + 1
        self._handles[fd] = Handle(files, key)
        files.inodes[key].opened += 1
        return fd

    def _find(self, handle: Handle, name: str) -> int:
        key = handle.files.look(handle.key, name)
        if not key:
            raise error(errno.ENOENT, name)
        return key

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int = -1) -> int:
        if dir_fd < 0:
            files = self.roots[path]
            if files.is_dead:
                raise error(errno.ENODEV)
            return self._fd(files, ROOT_INODE)
        handle = self._handle(dir_fd, "create" if flags & os.O_CREAT else "open", path)
        files, key = handle.files, handle.files.look(handle.key, path)
        if not key:
            if not flags & os.O_CREAT:
                raise error(errno.ENOENT, path)
            self._require_there(handle)
            made = CachedInode(Kind.FILE, is_executable=bool(mode & 0o100), is_ours=True)
            key = files._add(made)
            files._change((handle.key, path, key))
            return self._fd(files, key)
        if flags & os.O_EXCL:
            raise error(errno.EEXIST, path)
        kind = files.inodes[key].kind
        if kind is Kind.SYMLINK:
            raise error(errno.ELOOP, path)
        if flags & os.O_DIRECTORY and kind is not Kind.DIRECTORY:
            raise error(errno.ENOTDIR, path)
        return self._fd(files, key)

    def open_directory_beneath(self, directory_fd: int, path: bytes) -> int:
        handle = self._handle(directory_fd, "open")
        files, key = handle.files, handle.key
        for name in os.fsdecode(path).split("/"):
            key = files.look(key, name)
            if not key:
                raise error(errno.ENOENT, name)
            if files.inodes[key].kind is Kind.SYMLINK:
                raise error(errno.ELOOP, name)
            if files.inodes[key].kind is not Kind.DIRECTORY:
                raise error(errno.ENOTDIR, name)
        return self._fd(files, key)

    def close(self, fd: int) -> None:
        handle = self._handles.pop(fd, None)
        if handle is None:
            return  # of a history that is over
        inode = handle.files.inodes.get(handle.key)
        if inode is not None and not handle.files.is_dead:
            inode.opened -= 1
            if inode.links == 0 and handle.key != ROOT_INODE:
                handle.files._release(handle.key)

    # ------------------------------------------------------------ looking

    def fstat(self, fd: int) -> Status:
        return status_of(self._handle(fd, "fstat").inode)

    def stat(self, name: str, *, dir_fd: int, follow_symlinks: bool) -> Status:
        handle = self._handle(dir_fd, "stat", name)
        key = self._find(handle, name)
        inode = handle.files.inodes[key]
        if key in handle.files.blind and inode.kind is not Kind.DIRECTORY:
            raise error(handle.files.blind[key], name)
        return status_of(inode)

    def listdir(self, fd: int) -> list[str]:
        return list(self._handle(fd, "list").inode.entries)

    def scandir(self, fd: int) -> Entries:
        handle = self._handle(fd, "list")
        files, inodes = handle.files, handle.files.inodes
        if handle.key in files.blind:
            raise error(files.blind[handle.key])
        named = list(handle.inode.entries.items())
        if files.tears and named and (files.path(handle.key) or ("",))[0] != INTERNAL_NAME:
            files.tears -= 1
            del named[files.random.randrange(len(named))]
        # What is a directory is looked at, and not into; only of files nothing can be said.
        found = ((n, k, inodes[k].kind is not Kind.DIRECTORY) for n, k in named)
        return Entries(
            Entry(n, status_of(inodes[k]), files.blind.get(k, 0) if is_file else 0)
            for n, k, is_file in found
        )

    def fstatvfs(self, fd: int) -> Space:
        return Space()

    def readlink(self, name: str, *, dir_fd: int) -> str:
        handle = self._handle(dir_fd, "read", name)
        return handle.files.inodes[self._find(handle, name)].data.decode()

    def read(self, fd: int, size: int) -> bytes:
        handle = self._handle(fd, "read")
        data = handle.inode.data[handle.offset : handle.offset + size]
        handle.offset += len(data)
        return data

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        handle = self._handle(fd, "read")
        data = handle.inode.data[offset : offset + size]
        return self.read_back(handle.files, data, offset, False)

    def preadv(self, fd: int, buffers: Sequence[memoryview], offset: int) -> int:
        handle = self._handle(fd, "read")
        data = handle.inode.data[offset : offset + len(buffers[0])]
        data = self.read_back(handle.files, data, offset, True)
        buffers[0][: len(data)] = data
        return len(data)

    # ------------------------------------------------------------ writing

    def _require_there(self, handle: Handle) -> None:
        if handle.inode.links == 0 and handle.key != ROOT_INODE:
            raise error(errno.ENOENT)

    def _dirty(self, inode: CachedInode, files: FileSystem) -> None:
        inode.ctime_ns = files.stamp_ns
        inode.is_dirty = True
        files.writes += 1

    def write(self, fd: int, data: bytes | memoryview) -> int:
        handle = self._handle(fd, "write")
        count = self.pwrite(fd, data, handle.offset)
        handle.offset += count
        return count

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        handle = self._handle(fd, "write")
        inode = handle.inode
        old = inode.data.ljust(offset, b"\0")
        inode.data = old[:offset] + bytes(data) + old[offset + len(data) :]
        inode.mtime_ns = handle.files.stamp_ns
        self._dirty(inode, handle.files)
        return len(data)

    def ftruncate(self, fd: int, size: int) -> None:
        handle = self._handle(fd, "write")
        handle.inode.data = handle.inode.data[:size].ljust(size, b"\0")
        self._dirty(handle.inode, handle.files)

    def fchmod(self, fd: int, mode: int) -> None:
        handle = self._handle(fd, "chmod")
        handle.inode.is_executable = bool(mode & 0o100)
        self._dirty(handle.inode, handle.files)

    def utime(
        self, name: str | int, *, ns: tuple[int, int], dir_fd: int = -1,
        follow_symlinks: bool = False,
    ) -> None:  # fmt: skip
        if isinstance(name, int):
            handle = self._handle(name, "utime")
            inode = handle.inode
        else:
            handle = self._handle(dir_fd, "utime", name)
            inode = handle.files.inodes[self._find(handle, name)]
        inode.mtime_ns = ns[1]
        self._dirty(inode, handle.files)

    def fsync(self, fd: int) -> None:
        try:
            handle = self._handle(fd, "fsync")
        except OSError:
            handle = self._handles[fd]
            if not handle.files.is_dead:
                handle.files.lose_file(handle.key)
            raise
        if handle.inode.kind is Kind.DIRECTORY:
            handle.files.sync_directory(handle.key)
        elif handle.inode.is_dirty:
            handle.files.sync_file(handle.key)

    def syncfs(self, fd: int) -> None:
        try:
            self._handle(fd, "fsync").files.sync_all()
        except OSError:
            files = self._handles[fd].files
            if not files.is_dead:
                for key, inode in files.inodes.items():
                    if inode.is_dirty and files.random.random() < 0.5:
                        files.lose_file(key)
            raise

    def mkdir(self, name: str, mode: int = 0o777, *, dir_fd: int) -> None:
        handle = self._handle(dir_fd, "mkdir", name)
        self._require_there(handle)
        if handle.files.look(handle.key, name):
            raise error(errno.EEXIST, name)
        key = handle.files._add(CachedInode(Kind.DIRECTORY, is_ours=True))
        handle.files._change((handle.key, name, key))

    def symlink(self, target: str, name: str, *, dir_fd: int) -> None:
        handle = self._handle(dir_fd, "create", name)
        self._require_there(handle)
        if handle.files.look(handle.key, name):
            raise error(errno.EEXIST, name)
        key = handle.files._add(CachedInode(Kind.SYMLINK, target.encode(), is_ours=True))
        handle.files._change((handle.key, name, key))

    def link(
        self, name: str, new: str, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool
    ) -> None:
        source, target = self._handle(src_dir_fd, "link", name), self._handles[dst_dir_fd]
        key = self._find(source, name)
        if target.files.look(target.key, new):
            raise error(errno.EEXIST, new)
        if target.files.inodes[key].kind is Kind.DIRECTORY:
            raise error(errno.EPERM, name)
        target.files._change((target.key, new, key))

    def unlink(self, name: str, *, dir_fd: int) -> None:
        handle = self._handle(dir_fd, "unlink", name)
        key = self._find(handle, name)
        if handle.files.inodes[key].kind is Kind.DIRECTORY:
            raise error(errno.EISDIR, name)
        handle.files._change((handle.key, handle.files.find(handle.key, name) or name, 0))

    def rmdir(self, name: str, *, dir_fd: int) -> None:
        handle = self._handle(dir_fd, "rmdir", name)
        inode = handle.files.inodes[self._find(handle, name)]
        if inode.kind is not Kind.DIRECTORY:
            raise error(errno.ENOTDIR, name)
        if inode.entries:
            raise error(errno.ENOTEMPTY, name)
        handle.files._change((handle.key, handle.files.find(handle.key, name) or name, 0))

    def rename(self, name: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        """Only where nothing else is: neither does Holdfast rename over what a person made."""
        source, target = self._handle(src_dir_fd, "rename", name), self._handles[dst_dir_fd]
        files, key = source.files, self._find(source, name)
        there = files.look(target.key, new)
        if there and there != key:
            assert files.inodes[there].kind is not Kind.DIRECTORY
        self._rename(source, name, target, new)

    def rename_noreplace(self, source_fd: int, name: str, target_fd: int, new: str) -> None:
        source, target = self._handle(source_fd, "rename", name), self._handles[target_fd]
        self._find(source, name)
        if source.files.look(target.key, new):
            raise error(errno.EEXIST, new)
        self._rename(source, name, target, new)

    def _rename(self, source: Handle, name: str, target: Handle, new: str) -> None:
        """No directory comes to lie within itself."""
        files, key = source.files, self._find(source, name)
        self._require_there(target)
        if files.inodes[key].kind is Kind.DIRECTORY:
            if target.key == key or any(p.inode == target.key for p in files.walk(key)):
                raise error(errno.EINVAL, new)
        spelled = files.find(source.key, name) or name
        files.rename(Place(source.key, spelled, key), target.key, new)

    def rename_exchange(self, source_fd: int, name: str, target_fd: int, other: str) -> None:
        source, target = self._handle(source_fd, "rename", name), self._handles[target_fd]
        self._find(source, name)
        self._find(target, other)
        files = source.files
        files.exchange(
            (source.key, files.find(source.key, name) or name),
            (target.key, files.find(target.key, other) or other),
        )


for _name in dir(os):  # what has nothing to do with a disk is as it is everywhere
    if _name.startswith("O_") or _name in ("strerror", "fsencode", "fsdecode", "stat_result"):
        _value = getattr(os, _name)
        setattr(System, _name, staticmethod(_value) if callable(_value) else _value)


class Time:
    """`time`, by the clock of the machine that asks."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        self.clock: ContextVar[Callable[[], int]] = ContextVar("clock")
        self._advance = advance

    def time_ns(self) -> int:
        return self.clock.get()()

    def time(self) -> float:
        return self.time_ns() / 1e9

    def sleep(self, seconds: float) -> None:
        self._advance(seconds + TICK_NS / 1e9)


class Cutter:
    """Cuts after each `+`, so that an append leaves the chunks before it as they were."""

    def cut(self, data: bytes | memoryview, sizes: ChunkSizes) -> list[int]:
        parts = bytes(data).split(b"+")
        lengths = [len(part) + 1 for part in parts[:-1]] + [len(parts[-1])]
        return [length for length in lengths if length]


def _sizes(file_size: int, previous_average: int | None = None) -> ChunkSizes:
    return ChunkSizes(2, 8, WINDOW_BYTES // 2)


WINDOW_BYTES = 1 << 16
"""Read at once: files here are of some bytes, and 4 MiB that are zeroed at every start are not."""
REMEMBERED_MAX = 4096
"""Verdicts and plaintexts: some 300 changesets are written in one history, a kilobyte each."""
# What one machine found out of the same bytes, another one finds as well: each signature is checked
# once in a process, and only what is right is remembered.
_verify = lru_cache(REMEMBERED_MAX)(primitives.verify)
_sign = lru_cache(REMEMBERED_MAX)(primitives.sign)
_open_sealed = lru_cache(REMEMBERED_MAX)(primitives.open_sealed)
# So it is with what the same bytes say: nobody changes what was made of them.
_decode_changeset = lru_cache(REMEMBERED_MAX)(decode_changeset)
_decode_message = lru_cache(REMEMBERED_MAX)(messages.decode)
_bodies: dict[tuple[bytes, bytes], Body] = {}
"""By changeset and key."""


def _open_changeset(changeset: Changeset, record_key: bytes) -> Body:
    body = _bodies.get((changeset.hash, record_key))
    if body is None:
        if len(_bodies) >= REMEMBERED_MAX:
            _bodies.clear()
        body = _bodies[changeset.hash, record_key] = open_changeset(changeset, record_key)
    return body


@contextmanager
def installed(system: System, time: Time, is_small_chunked: bool) -> Iterator[None]:
    """The stand-ins, for as long as a history lasts."""
    places: list[tuple[Any, str, Any]] = [
        (module, "os", system)
        for module in (directories, disk, durability, reader, renames, staging, writer, folder)
    ]
    places += [(module, "ThreadPoolExecutor", SimExecutor) for module in (performing, serving)]
    places += [
        (module, "time", time)
        for module in (reader, folder, performing, intake, delivery, history, restoring, spares)
    ]
    places += [
        (syscalls, name, getattr(system, name))
        for name in (
            "open_directory_beneath", "rename_noreplace", "rename_exchange", "syncfs",
        )
    ]  # fmt: skip
    places += [
        (changesets, "verify", _verify), (changesets, "sign", _sign),
        (changesets, "open_sealed", _open_sealed), (reader, "_WINDOW_BYTES", WINDOW_BYTES),
    ]  # fmt: skip
    places += [(module, "decode_changeset", _decode_changeset) for module in (logs, past)]
    places += [(session, "decode", _decode_message), (logs, "open_changeset", _open_changeset)]
    for name in ("start_writeback", "write_back"):
        places += [(syscalls, name, lambda fd, low, length: None)]
    places += [(syscalls, "HAS_OPENAT2", True), (syscalls, "HAS_SYNCFS", True)]
    if is_small_chunked:
        places += [(reader, "chunk_sizes", _sizes), (fetcher, "SMALL_BYTES_MAX", 3)]
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    for module, name, value in places:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


__all__ = ["System", "Time", "installed"]
