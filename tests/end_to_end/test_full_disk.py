"""A disk that fills (FAULTS F06): it is said in a sentence, nothing is torn, deletions still work,
and all goes on by itself when there is space.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.device import (
    Device,
    attach,
    end,
    explain,
    found,
    join,
    wait_for_same,
    wait_until,
)
from tests.end_to_end.inject import FULL, Injected, Point

DISK_BYTES = 8 << 20
FILE_BYTES = 1 << 20
FILES = 12
SMALL_BYTES = 100 << 10
MOUNT_TIMEOUT_S = 20


class SmallDisk:
    """Eight megabytes: a file system in memory where one may be mounted, else a directory and a
    daemon whose calls fail as on a full disk.
    """

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self._place = place
        self._injected: Injected | None = None
        words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
        self.is_mounted = _run(words)

    def fill(self, device: Device, calls: Point, n: int) -> None:
        """From now on there is no space for this device; `calls` fail if nothing can be mounted."""
        if self.is_mounted:
            with contextlib.suppress(OSError), (self._place / "filler").open("wb", 0) as file:
                while file.write(b"x" * 4096):
                    pass
            return
        device.stop()
        self._injected = Injected(device, calls, FULL, n)
        device.wait_for_answer()

    def free(self) -> None:
        """There is space again; nobody tells the daemon."""
        if self._injected is not None:
            self._injected.lift()
        (self._place / "filler").unlink(missing_ok=True)

    def remove(self) -> None:
        """Takes the disk away."""
        if self.is_mounted:
            _run(["umount", "-l", str(self._place)])


def _run(words: list[str]) -> bool:
    try:
        done = subprocess.run(words, capture_output=True, timeout=MOUNT_TIMEOUT_S, check=False)
    except OSError:  # there is no such program
        return False
    return done.returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk")
    yield disk
    disk.remove()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Device, Device]]:
    """Two devices, not yet made."""
    pair = Device(tmp_path, "alpha"), Device(tmp_path, "beta")
    yield pair
    end(list(pair))


def link(one: Device, other: Device) -> None:
    found(one)
    join(other, one)
    one.command("folder", "add", str(one.folder), "--name", "notes")
    attach(other)
    wait_for_same(one, other)


def reasons(device: Device) -> str:
    return " ".join(error["reason"] for error in device.folder_status()["errors"])


def says_full(device: Device) -> bool:
    return device.folder_status()["state"] == "no space" and bool(reasons(device))


@pytest.mark.row("F06")
def test_the_folder_s_disk_fills(
    disk: SmallDisk, pair: tuple[Device, Device], tmp_path: Path
) -> None:
    one, other = pair
    other.config = "[folders]\nfree_space_min_bytes = 0\n"  # it is to fill to the last byte
    other.folder = tmp_path / "disk" / "beta"
    other.folder.mkdir()
    link(one, other)
    saved = {f"{n}": os.urandom(FILE_BYTES) for n in range(FILES)}
    (one.folder / "early").write_text("there before the disk was full")
    (one.folder / "stays").write_text("old")
    wait_until((other.folder / "stays").exists, lambda: explain(pair))
    wait_for_same(*pair)
    disk.fill(other, Point("new files", "utimensat"), 1)
    for name, content in saved.items():
        (one.folder / name).write_bytes(content)
    (one.folder / "stays").write_text("new")
    wait_until(lambda: says_full(other), lambda: explain(pair))
    (one.folder / "early").unlink()
    wait_until(lambda: not (other.folder / "early").exists(), lambda: explain(pair))
    for path in other.folder.iterdir():
        if path.is_file() and path.name in saved:
            assert path.read_bytes() == saved[path.name]
    assert (other.folder / "stays").read_text() in ("old", "new")
    for name in list(saved)[FILES // 3 :]:  # what is left fits
        (one.folder / name).unlink()
        del saved[name]
    disk.free()
    wait_until(lambda: all((other.folder / name).exists() for name in saved), lambda: explain(pair))
    tree = wait_for_same(*pair)
    assert {name: tree[name][1] for name in saved} == saved
    assert tree["stays"][1] == b"new"
    assert set(tree) == {*saved, "stays"}
    assert other.temp_files() == []


@pytest.mark.row("F06")
def test_small_files_come_within_seconds_when_there_is_space(
    disk: SmallDisk, pair: tuple[Device, Device], tmp_path: Path
) -> None:
    """They are laid down whole, and nothing but the space itself tells that there is some."""
    one, other = pair
    other.config = "[folders]\nfree_space_min_bytes = 0\n"
    other.folder = tmp_path / "disk" / "beta"
    other.folder.mkdir()
    link(one, other)
    disk.fill(other, Point("new files", "utimensat"), 1)
    (one.folder / "d").mkdir()
    for number in range(30):
        (one.folder / "d" / f"{number}").write_bytes(os.urandom(SMALL_BYTES))
    wait_until(lambda: says_full(other), lambda: explain(pair))
    disk.free()
    last = other.folder / "d" / "29"
    wait_until(last.exists, lambda: explain(pair))
    assert len(wait_for_same(*pair)) == 31


@pytest.mark.row("F06")
def test_the_home_s_disk_fills(
    disk: SmallDisk, pair: tuple[Device, Device], tmp_path: Path
) -> None:
    """The index cannot be written, so nothing is told that would be forgotten."""
    one, other = pair
    other.home = tmp_path / "disk" / "beta-home"
    other.client = type(other.client)(other.home)
    link(one, other)
    disk.fill(other, Point("writes to the index", "pwrite64", "index"), 40)
    for number in range(300):
        (other.folder / f"of beta {number}").write_text("saved while the home's disk was full")
    wait_until(lambda: "full" in reasons(other), lambda: explain(pair))
    assert not (one.folder / "of beta 299").exists()
    disk.free()
    wait_until((one.folder / "of beta 299").exists, lambda: explain(pair))
    (one.folder / "of alpha").write_text("later")
    wait_until((other.folder / "of alpha").exists, lambda: explain(pair))
    assert len(wait_for_same(*pair)) == 301
