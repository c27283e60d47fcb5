"""How programs save, replayed call by call (FAULTS F21): no conflict copies on either side, nothing
half-saved on the other one, and a file stays the node that it was.
"""

import os
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from peer.disk import syscalls
from tests.end_to_end.device import Device, end, explain, make_pair, wait_for_same, wait_until

SAVES = 4
NAME = "document.txt"

Pair = tuple[Device, Device]


def version(number: int) -> bytes:
    """What is saved the n-th time: no beginning, and no end, of one is another."""
    return b"".join(b"%d: line %d of the document\n" % (number, line) for line in range(3_000))


def write(path: Path, data: bytes, flags: int = os.O_CREAT | os.O_EXCL) -> None:
    """Opens, writes in two calls, makes durable and closes."""
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        half = len(data) // 2
        os.write(fd, data[:half])
        os.write(fd, data[half:])
        os.fsync(fd)
    finally:
        os.close(fd)


def vim_with_backup(path: Path, data: bytes) -> None:
    """`set backup backupcopy=no`: a swap file all the time, a file to see whether one may write."""
    swap, backup, probe = path.with_name(f".{NAME}.swp"), Path(f"{path}~"), path.with_name("4913")
    write(swap, b"b0VIM 9.0")
    write(probe, b"")
    probe.unlink()
    backup.unlink(missing_ok=True)
    path.rename(backup)
    write(path, data)
    path.chmod(0o644)
    swap.unlink()


def vim_in_place(path: Path, data: bytes) -> None:
    """`set nowritebackup`."""
    swap = path.with_name(f".{NAME}.swp")
    write(swap, b"b0VIM 9.0")
    write(path, data, os.O_TRUNC)
    swap.unlink()


def emacs(path: Path, data: bytes) -> None:
    """A lock that is a dangling symlink, an auto-save file, a backup by renaming."""
    lock, auto = path.with_name(f".#{NAME}"), path.with_name(f"#{NAME}#")
    lock.symlink_to("person@machine.4711:1600000000")
    write(auto, data[: len(data) // 3])
    path.rename(f"{path}~")
    write(path, data)
    auto.unlink()
    lock.unlink()


def libreoffice(path: Path, data: bytes) -> None:
    """A lock file, a temporary file beside the document, and a rename over it."""
    lock, temporary = path.with_name(f".~lock.{NAME}#"), path.with_name("lu4711abcd.tmp")
    write(lock, b",person,machine,01.01.2026 12:00,file:///home/person;")
    write(temporary, data)
    temporary.rename(path)
    lock.unlink()


def vs_code(path: Path, data: bytes) -> None:
    """Truncates and writes."""
    write(path, data, os.O_TRUNC)


def glib(path: Path, data: bytes) -> None:
    """gedit and all who save by GLib, with a backup that is a second name of the old file."""
    temporary, backup = path.with_name(".goutputstream-4711AB"), Path(f"{path}~")
    write(temporary, data)
    backup.unlink(missing_ok=True)
    os.link(path, backup)
    temporary.rename(path)


def sed(path: Path, data: bytes) -> None:
    """The program itself: each line's number becomes the new one."""
    number = data.split(b":")[0].decode()
    subprocess.run(["sed", "-i", f"s/^[0-9]*:/{number}:/", str(path)], check=True)


def word(path: Path, data: bytes) -> None:
    """An owner file; the new one beside the old one, two renames, and the old one goes."""
    owner, new, old = (path.with_name(n) for n in (f"~${NAME[2:]}", "~WRD0001.tmp", "~WRL0002.tmp"))
    write(owner, b"person")
    write(new, data)
    path.rename(old)
    new.rename(path)
    old.unlink()
    owner.unlink()


def macos_safe_save(path: Path, data: bytes) -> None:
    """The new file in a directory of its own beside the old one, swapped with it in one step."""
    aside = path.with_name(f"(A Document Being Saved By Editor){NAME}.sb-4711")
    aside.mkdir()
    write(aside / NAME, data)
    source, target = (os.open(p, os.O_RDONLY) for p in (aside, path.parent))
    try:
        syscalls.rename_exchange(source, NAME, target, NAME)
    finally:
        os.close(source)
        os.close(target)
    (aside / NAME).unlink()
    aside.rmdir()


def kate(path: Path, data: bytes) -> None:
    """A temporary name of its own beside the document, and a rename over it (QSaveFile)."""
    temporary = path.with_name(f"{NAME}.PbDk4711")
    write(temporary, data)
    temporary.rename(path)


PATTERNS: list[Callable[[Path, bytes], None]] = [
    vim_with_backup, vim_in_place, emacs, libreoffice, vs_code, glib, sed, word, macos_safe_save,
    kate,
]  # fmt: skip


class Reader:
    """Reads a file on the other device again and again, and remembers what it saw."""

    def __init__(self, path: Path) -> None:
        self.seen: set[bytes] = set()
        self._path, self._is_over = path, threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        while not self._is_over.wait(0.002):
            try:
                self.seen.add(self._path.read_bytes())
            except FileNotFoundError:
                self.seen.add(b"nothing")

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = make_pair(tmp_path_factory.mktemp("editors"))
    yield pair
    end(list(pair))


def node_of(device: Device, place: str) -> list[bytes]:
    """The id of the node that is shown as the document in this place."""
    [index] = (device.home / "folders").glob("*.db")
    query = """SELECT file.id FROM node AS file JOIN node AS above ON file.parent = above.id
        WHERE file.name = ? AND above.name = ?"""
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as db:
        return [row[0] for row in db.execute(query, (NAME, place))]


@pytest.mark.row("F21")
@pytest.mark.parametrize("save", PATTERNS, ids=lambda save: save.__name__)
def test_a_save_is_one_change_of_one_file(pair: Pair, save: Callable[[Path, bytes], None]) -> None:
    one, other = pair
    place = save.__name__
    (one.folder / place).mkdir()
    here, there = one.folder / place / NAME, other.folder / place / NAME
    here.write_bytes(version(0))
    wait_until(there.exists, lambda: explain(pair))
    wait_for_same(*pair)
    node = node_of(one, place)
    assert len(node) == 1
    with Reader(there) as reader:
        for number in range(1, SAVES + 1):
            save(here, version(number))
            wait_until(lambda n=number: there.read_bytes() == version(n), lambda: explain(pair))  # type: ignore[misc]
    tree = wait_for_same(*pair)
    assert reader.seen <= {version(n) for n in range(SAVES + 1)}
    assert not [name for name in tree if "conflict" in name]
    assert {name for name in tree if name.startswith(place)} <= {
        place, f"{place}/{NAME}", f"{place}/{NAME}~"
    }  # fmt: skip
    assert node_of(one, place) == node_of(other, place) == node
