import contextlib
import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crypto.ids import FolderId
from peer.core.chunker import Chunker
from peer.core.disk_types import DiskError, DiskGone, Kind, MakeDirectory, Stat, Trouble
from peer.disk.disk import PosixDisk
from tests.peer.real_disk import FOLDER, HASHER, SEED, contents, open_disk, publish


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[PosixDisk]:
    disk = open_disk(tmp_path / "root")
    yield disk
    disk.close()


@pytest.fixture
def root(disk: PosixDisk, tmp_path: Path) -> Path:
    return tmp_path / "root"


def test_a_listing_has_what_is_synced_and_names_the_rest(disk: PosixDisk, root: Path) -> None:
    (root / "f").write_bytes(b"123")
    (root / "d").mkdir()
    (root / "s").symlink_to("f")
    os.mkfifo(root / "fifo")
    (root / "end.").touch()
    (root / "d" / ".holdfast").touch()
    (root / os.fsdecode(b"bad\xff")).touch()
    top, below, none, file = disk.list_directories([(), ("d",), ("none",), ("f",)])
    assert top.entries is not None
    kinds = {name: stat.kind for name, stat in top.entries}
    assert kinds == {"f": Kind.FILE, "d": Kind.DIRECTORY, "s": Kind.SYMLINK}
    assert dict(top.entries)["f"] == disk.stat([("f",)])[0]
    assert top.inode == root.stat().st_ino
    troubles = {problem.path[-1]: problem.trouble for problem in top.problems}
    assert troubles == {
        "fifo": Trouble.SPECIAL,
        "end.": Trouble.BAD_NAME,
        os.fsdecode(b"bad\xff"): Trouble.BAD_NAME,
    }
    assert below.entries == []
    assert [problem.path for problem in below.problems] == [("d", ".holdfast")]
    for listing in (none, file):
        assert (listing.entries, listing.problems) == (None, [])


def test_what_is_as_it_is_known_is_left_out_of_a_listing(disk: PosixDisk, root: Path) -> None:
    for name in ("same", "grown", "new", "caf\u00e9"):
        (root / name).write_bytes(b"123")
    (root / "run").write_bytes(b"#!")
    (root / "run").chmod(0o700)
    (root / "link").symlink_to("same")
    (root / "d").mkdir()
    ((_, _, entries, _, unseen),) = disk.list_directories([()])
    assert unseen is None
    known = {
        name: (s.inode, s.size, s.mtime_ns, s.ctime_ns, s.executable)
        for name, s in entries or ()
        if name not in ("d", "new")
    }
    known["gone"] = (1, 2, 3, 4, False)
    (root / "grown").write_bytes(b"1234")
    (root / "run").unlink()
    (root / "run").mkdir()
    (listing,) = disk.list_directories([()], [known])
    left = dict(listing.entries or ())
    assert set(left) == {"d", "grown", "new", "caf\u00e9", "run"}
    assert left["grown"].size == 4
    unseen = set(listing.unseen or ())
    assert unseen == {"gone", "grown", "run", "caf\u00e9"}, "who knows how the last is spelled"


@pytest.mark.parametrize("field", range(5))
def test_whatever_differs_of_a_file_is_listed(disk: PosixDisk, root: Path, field: int) -> None:
    (root / "f").write_bytes(b"123")
    (s,) = disk.stat([("f",)])
    assert s is not None
    facts = [s.inode, s.size, s.mtime_ns, s.ctime_ns, s.executable]
    facts[field] = not facts[field] if field == 4 else facts[field] + 1
    (listing,) = disk.list_directories([()], [{"f": tuple(facts)}])
    assert listing.entries == [("f", s)]


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (errno.EIO, Trouble.UNLISTED),
        (errno.EMFILE, Trouble.UNLISTED),
        (errno.EACCES, Trouble.UNREADABLE),
    ],
)
def test_what_cannot_be_listed_is_not_taken_for_gone(
    disk: PosixDisk, monkeypatch: pytest.MonkeyPatch, error: int, trouble: Trouble
) -> None:
    def fail(fd: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "scandir", fail)
    (listing,) = disk.list_directories([()])
    assert listing.entries is None
    assert [problem.trouble for problem in listing.problems] == [trouble]


class _Blind:
    """An entry of a directory that the disk lists and cannot look at."""

    name = "blind"

    def __init__(self, error: int) -> None:
        self._error = error

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        raise OSError(self._error, os.strerror(self._error))


@pytest.mark.row("F04")
@pytest.mark.parametrize(
    ("error", "is_whole"), [(errno.EIO, False), (errno.EACCES, True), (errno.ENOENT, True)]
)
def test_an_entry_that_cannot_be_looked_at_may_be_what_is_gone_elsewhere(
    disk: PosixDisk, root: Path, monkeypatch: pytest.MonkeyPatch, error: int, is_whole: bool
) -> None:
    (root / "seen").write_text("1")
    scandir = os.scandir

    @contextlib.contextmanager
    def with_blind(fd: int) -> Iterator[Iterator[Any]]:
        with scandir(fd) as entries:
            yield itertools.chain(entries, [_Blind(error)])

    monkeypatch.setattr(os, "scandir", with_blind)
    (listing,) = disk.list_directories([()])
    assert [name for name, _ in listing.entries or ()] == ["seen"]
    assert all(p.trouble is not Trouble.UNLISTED for p in listing.problems) is is_whole
    told = [p.path for p in listing.problems if p.trouble is Trouble.UNREADABLE]
    assert told == ([] if error == errno.ENOENT else [("blind",)])


@pytest.mark.row("F04")
def test_what_is_mounted_inside_is_left_out_and_said() -> None:
    """Where it is not mounted an empty directory would show, and all of it be told as deleted."""
    disk = PosixDisk("/", HASHER, Chunker(SEED))
    listing, inside = disk.list_directories([(), ("proc",)])
    assert "proc" not in [name for name, _ in listing.entries or ()]
    assert "etc" in [name for name, _ in listing.entries or ()]
    (problem,) = [p for p in listing.problems if p.path == ("proc",)]
    assert problem.trouble is Trouble.UNSUPPORTED
    assert inside.entries is None
    assert inside.problems == [problem]
    disk.close()


def test_stat_of_anything(disk: PosixDisk, root: Path) -> None:
    os.mkfifo(root / "fifo")
    results = disk.stat([(), ("none",), ("fifo",), ("..",), ("a\0b",), (".holdfast",)])
    assert [result and result.kind for result in results] == [
        Kind.DIRECTORY, None, None, None, None, Kind.DIRECTORY,
    ]  # fmt: skip


def test_the_marker_makes_the_folder(disk: PosixDisk, root: Path) -> None:
    other = FolderId(b"x" * 32)
    assert disk.marker_present(FOLDER)
    assert not disk.marker_present(other)
    disk.create_marker(FOLDER)
    with pytest.raises(DiskError):
        disk.create_marker(other)
    assert contents(root) == {".holdfast/folder-id": FOLDER.hex().encode() + b"\n"}
    (root / ".holdfast" / "folder-id").unlink()
    assert not disk.marker_present(FOLDER)


def test_the_marker_goes_and_the_files_stay(disk: PosixDisk, root: Path) -> None:
    publish(disk, b"x", ("f",))
    disk.remove_marker(FolderId(b"x" * 32))
    assert disk.marker_present(FOLDER)
    disk.remove_marker(FOLDER)
    disk.remove_marker(FOLDER)
    assert not disk.marker_present(FOLDER)
    assert contents(root) == {"f": b"x"}
    disk.create_marker(FolderId(b"x" * 32))


def test_a_disk_that_is_not_there_is_not_empty(disk: PosixDisk, root: Path) -> None:
    root.rename(root.with_name("away"))
    for _ in range(2):
        with pytest.raises(DiskGone):
            disk.list_directories([()])
        assert not disk.marker_present(FOLDER)
        root.mkdir(exist_ok=True)
    with pytest.raises(DiskGone):
        disk.apply([MakeDirectory(("d",))])
    root.rmdir()
    root.with_name("away").rename(root)
    assert disk.marker_present(FOLDER)
    assert disk.list_directories([()])[0].entries == []


def test_without_our_own_directory_nothing_is_written(disk: PosixDisk, root: Path) -> None:
    publish(disk, b"x", ("f",))
    shutil.rmtree(root / ".holdfast")
    for act in (
        lambda: disk.stage([]),
        lambda: disk.open_staged("temp", 1),
        lambda: disk.apply([MakeDirectory(("d",))]),
    ):
        with pytest.raises(DiskGone):
            act()
    assert contents(root) == {"f": b"x"}


def test_a_failing_disk_is_a_disk_error(disk: PosixDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "listdir", fail)
    monkeypatch.setattr(os, "fstatvfs", fail)
    for act in (disk.staged_names, disk.free_bytes):
        with pytest.raises(DiskError, match="Input/output error"):
            act()


def test_a_disk_that_came_back_as_another_inode_is_taken_by_its_marker(
    disk: PosixDisk, root: Path
) -> None:
    disk.list_directories([()])
    root.rename(root.with_name("away"))
    open_disk(root)
    with pytest.raises(DiskGone):
        disk.list_directories([()])
    assert disk.marker_present(FOLDER)
    assert disk.list_directories([()])[0].entries == []
    assert isinstance(publish(disk, b"x", ("f",)), Stat)


def test_a_symlink_in_the_place_of_ours_is_refused(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / ".holdfast").symlink_to(outside)
    with pytest.raises(DiskError):
        open_disk(root)
    assert os.listdir(outside) == []


def test_what_was_kept_is_made_durable_with_its_absence_elsewhere(
    disk: PosixDisk, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "f").write_bytes(b"old")
    (stat,) = disk.stat([("f",)])
    publish(disk, b"new", ("f",), stat, keep="v1")
    synced: list[str] = []
    real_fsync = os.fsync

    def fsync(fd: int) -> None:
        real_fsync(fd)
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))

    monkeypatch.setattr(os, "fsync", fsync)
    disk.sync_directories([()])
    assert sorted(synced) == ["root", "trash"]


def test_free_space(disk: PosixDisk, root: Path) -> None:
    status = os.statvfs(root)
    assert abs(disk.free_bytes() - status.f_bavail * status.f_frsize) < 1 << 30


def test_no_descriptor_is_left(disk: PosixDisk, root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    publish(disk, b"x", ("f",))
    disk.list_directories([(), ("d",)])
    disk.sync_directories([()])
    disk.marker_present(FOLDER)
    disk.free_bytes()
    assert len(os.listdir("/proc/self/fd")) == before
