"""The files of shares below one directory: written under a name that does not count, then renamed.

    node          which node's directory this is
    incoming/     shares of which not all leaves are here
    shares/NS/    whole ones, a directory a namespace
    aside/        whole ones that the database does not know of; here for some days yet

Everything is opened below a directory's descriptor and follows no symlink. All of it blocks, and is
called in threads; nothing here knows of the database, whose rows say which files count. The steps
of keeping a share are methods of their own, because a crash may come between any two.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from crypto.ids import RelayId
from crypto.packs import LEAF_SIZE
from protocol.relay_address import fingerprint_of
from relay.errors import PathUnusable

MARKER: Final = "node"
INCOMING: Final = "incoming"
SHARES: Final = "shares"
ASIDE: Final = "aside"
_OPEN: Final = os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | _OPEN


class ShareName(NamedTuple):
    """Which share a file is of."""

    namespace: bytes
    descriptor_id: bytes
    number: int

    @property
    def folder(self) -> str:
        """The namespace's directory."""
        return self.namespace.hex()

    @property
    def file(self) -> str:
        """The file's name in it."""
        return f"{self.descriptor_id.hex()}-{self.number}"

    @property
    def incoming(self) -> str:
        """Its name before it is whole."""
        return f"{self.folder}-{self.file}"


class ShareFiles:
    """The open directory of one node; `ShareFiles.open` finds or makes it."""

    def __init__(self, root: int, marker: int) -> None:
        self._root, self._marker = root, marker
        self._incoming = os.open(INCOMING, _DIRECTORY, dir_fd=root)
        self._shares = os.open(SHARES, _DIRECTORY, dir_fd=root)
        self._aside = os.open(ASIDE, _DIRECTORY, dir_fd=root)

    @classmethod
    def open(cls, path: Path, node_id: RelayId, *, is_new: bool) -> ShareFiles:
        """The directory of this node, which is made only where it holds nothing yet (`is_new`).

        Raises PathUnusable: a disk that is not mounted must not pass for an empty one.
        """
        mark = fingerprint_of(node_id) + "\n"
        try:
            if is_new:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            root = os.open(path, _DIRECTORY)
            try:
                marker = _open_marker(root, mark, is_new=is_new)
            except BaseException:
                os.close(root)
                raise
            try:
                if os.pread(marker, 4096, 0).decode(errors="replace") != mark:
                    raise PathUnusable(
                        f"{path} holds the shares of another relay. Name another directory by"
                        " storage.path in relay.toml."
                    )
                fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for name in (INCOMING, SHARES, ASIDE):
                    _make_directory(name, root)
                return cls(root, marker)
            except BaseException:
                os.close(marker)
                os.close(root)
                raise
        except FileNotFoundError:
            raise PathUnusable(
                f"{path} is not there, or holds nothing of the shares that this relay keeps in it."
                " Is its disk mounted? If they are lost for good, name another directory by"
                " storage.path in relay.toml."
            ) from None
        except BlockingIOError:
            raise PathUnusable(f"Another relay that runs keeps its shares in {path}.") from None
        except OSError as error:
            raise PathUnusable(
                f"{error.filename or path} cannot be used: {error.strerror}. Name another directory"
                " by storage.path in relay.toml."
            ) from error

    def close(self) -> None:
        """Lets go of the directory."""
        for descriptor in (
            self._aside, self._shares, self._incoming, self._marker, self._root,
        ):  # fmt: skip
            os.close(descriptor)

    def free_bytes(self) -> int:
        """What the disk has left for who is not its administrator."""
        found = os.fstatvfs(self._root)
        return found.f_bavail * found.f_frsize

    # ------------------------------------------------------------ steps of keeping

    def begin(self, name: ShareName) -> int:
        """A descriptor of the incoming file, as far as an earlier try wrote it, or of one that was
        set aside.
        """
        try:
            os.stat(name.incoming, dir_fd=self._incoming, follow_symlinks=False)
        except FileNotFoundError:
            with suppress(FileNotFoundError):
                os.rename(
                    name.incoming, name.incoming, src_dir_fd=self._aside, dst_dir_fd=self._incoming
                )
        flags = os.O_RDWR | os.O_CREAT | _OPEN
        return os.open(name.incoming, flags, 0o600, dir_fd=self._incoming)

    def write(self, descriptor: int, first: int, data: bytes | memoryview) -> None:
        """Writes leaves at their place."""
        view, at = memoryview(data), first * LEAF_SIZE
        while view:
            count = os.pwrite(descriptor, view, at)
            view, at = view[count:], at + count

    def sync(self, descriptor: int) -> None:
        """Makes what was written durable, still under its incoming name."""
        os.fsync(descriptor)

    def close_file(self, descriptor: int) -> None:
        """Closes what `begin` opened."""
        os.close(descriptor)

    def discard(self, name: ShareName) -> None:
        """Forgets the incoming file: after a failed flush nobody knows what of it is on disk."""
        _unlink(name.incoming, self._incoming)

    def place(self, names: Iterable[ShareName]) -> None:
        """Gives files their names, and makes the names durable, once for all."""
        folders: dict[str, int] = {}
        try:
            for name in names:
                if name.folder not in folders:
                    folders[name.folder] = self._folder(name, makes=True)
                self.rename(name, folders[name.folder])
            for descriptor in folders.values():
                self.sync_directory(descriptor)
        finally:
            for descriptor in folders.values():
                os.close(descriptor)

    def rename(self, name: ShareName, folder: int) -> None:
        """From its incoming name to the one that counts once the database says so."""
        os.rename(name.incoming, name.file, src_dir_fd=self._incoming, dst_dir_fd=folder)

    def sync_directory(self, descriptor: int) -> None:
        """Makes names durable."""
        os.fsync(descriptor)

    # ------------------------------------------------------------ reading and removing

    def read(self, name: ShareName, first: int, count: int) -> bytes:
        """Leaves of a whole share; shorter if the file is. Raises OSError."""
        folder = self._folder(name)
        try:
            descriptor = os.open(name.file, os.O_RDONLY | _OPEN, dir_fd=folder)
        finally:
            os.close(folder)
        try:
            return os.pread(descriptor, count * LEAF_SIZE, first * LEAF_SIZE)
        finally:
            os.close(descriptor)

    def read_incoming(self, descriptor: int, first: int, count: int) -> bytes:
        """The same of a file that is being written."""
        return os.pread(descriptor, count * LEAF_SIZE, first * LEAF_SIZE)

    def remove(self, names: Iterable[ShareName]) -> None:
        """Takes away whole and incoming files of these names, as far as there are any."""
        for name in names:
            _unlink(name.incoming, self._incoming)
            try:
                folder = self._folder(name)
            except FileNotFoundError:
                continue
            try:
                _unlink(name.file, folder)
            finally:
                os.close(folder)

    def set_aside(self, names: Iterable[ShareName], now_s: int) -> None:
        """Takes whole files out of the way of those that count, without deleting any."""
        for name in names:
            folder = self._folder(name)
            try:
                os.utime(name.file, (now_s, now_s), dir_fd=folder, follow_symlinks=False)
                os.rename(name.file, name.incoming, src_dir_fd=folder, dst_dir_fd=self._aside)
            finally:
                os.close(folder)

    def remove_aside(self, before_s: int) -> int:
        """Deletes what was set aside before then; says how many."""
        count = 0
        for entry in os.listdir(self._aside):
            found = os.stat(entry, dir_fd=self._aside, follow_symlinks=False)
            if found.st_mtime < before_s:
                _unlink(entry, self._aside)
                count += 1
        return count

    def found(self) -> tuple[set[ShareName], set[ShareName]]:
        """Every file there is, under the name that counts and under the other."""
        whole: set[ShareName] = set()
        incoming: set[ShareName] = set()
        for entry in os.listdir(self._incoming):
            folder, _, rest = entry.partition("-")
            incoming.update(_parse(folder, rest))
        for folder in os.listdir(self._shares):
            try:
                descriptor = os.open(folder, _DIRECTORY, dir_fd=self._shares)
            except NotADirectoryError:
                continue
            try:
                names = os.listdir(descriptor)
            finally:
                os.close(descriptor)
            for entry in names:
                whole.update(_parse(folder, entry))
        return whole, incoming

    def _folder(self, name: ShareName, *, makes: bool = False) -> int:
        if makes:
            _make_directory(name.folder, self._shares)
        return os.open(name.folder, _DIRECTORY, dir_fd=self._shares)


def _open_marker(root: int, mark: str, *, is_new: bool) -> int:
    try:
        return os.open(MARKER, os.O_RDWR | _OPEN, dir_fd=root)
    except FileNotFoundError:
        if not is_new:
            raise
    # Of two relays that begin in one place at once, one makes the marker, and both mean that one:
    # its lock is no use on a file that another has taken the name of.
    unfinished = f"{MARKER}.{os.urandom(8).hex()}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN
    made = os.open(unfinished, flags, 0o600, dir_fd=root)
    try:
        os.write(made, mark.encode())
        os.fsync(made)
        with suppress(FileExistsError):
            os.link(unfinished, MARKER, src_dir_fd=root, dst_dir_fd=root)
    finally:
        os.close(made)
        os.unlink(unfinished, dir_fd=root)
    os.fsync(root)
    return os.open(MARKER, os.O_RDWR | _OPEN, dir_fd=root)


def _make_directory(name: str, parent: int) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return
    os.fsync(parent)


def _unlink(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return


def _parse(folder: str, entry: str) -> Iterator[ShareName]:
    descriptor_id, separator, number = entry.partition("-")
    try:
        name = ShareName(bytes.fromhex(folder), bytes.fromhex(descriptor_id), int(number))
    except ValueError:
        return
    if separator and (name.folder, name.file) == (folder, entry):
        yield name
