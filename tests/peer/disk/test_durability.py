import errno
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from peer.core.disk_types import DiskError, DiskFull
from peer.disk import syscalls
from peer.disk.directories import Directories
from peer.disk.durability import (
    FSYNC_MAX,
    clean_saved,
    disk_error,
    sync_directories,
    sync_files,
    sync_saved,
)
from tests.peer.real_disk import open_disk


@pytest.fixture
def directories(tmp_path: Path) -> Iterator[Directories]:
    root_fd = os.open(tmp_path, os.O_RDONLY)
    opened = Directories(root_fd)
    yield opened
    opened.close()
    os.close(root_fd)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What reached the disk: paths that were fsynced, or `all`."""
    done: list[str] = []
    real_fsync, real_syncfs = os.fsync, syscalls.syncfs

    def fsync(fd: int) -> None:
        real_fsync(fd)
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))

    def syncfs(fd: int) -> None:
        real_syncfs(fd)
        done.append("all")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(syscalls, "syncfs", syncfs)
    return done


def test_few_files_one_by_one_many_at_once(
    directories: Directories, tmp_path: Path, synced: list[str]
) -> None:
    names = [f"f{number}" for number in range(FSYNC_MAX + 1)]
    for name in names:
        (tmp_path / name).touch()
    fd = directories.root_fd
    sync_files(fd, fd, [])
    assert synced == []
    sync_files(fd, fd, names[:FSYNC_MAX])
    assert synced == names[:FSYNC_MAX]
    synced.clear()
    sync_files(fd, fd, names)
    assert synced == ["all"]


def test_every_file_is_synced_where_there_is_no_syncfs(
    directories: Directories, tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syscalls, "HAS_SYNCFS", False)
    names = [f"f{number}" for number in range(FSYNC_MAX + 1)]
    for name in names:
        (tmp_path / name).touch()
    sync_files(directories.root_fd, directories.root_fd, names)
    assert synced == names


def test_a_symlink_is_synced_by_its_directory(
    directories: Directories, tmp_path: Path, synced: list[str]
) -> None:
    (tmp_path / "s").symlink_to("nowhere")
    sync_files(directories.root_fd, directories.root_fd, ["s"])
    assert synced == [tmp_path.name]


def test_directories_once_each_and_the_nearest_of_what_is_gone(
    directories: Directories, tmp_path: Path, synced: list[str]
) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "f").touch()
    sync_directories(directories, [("d",), ("d",), ("d", "gone", "x"), ("d", "e")])
    assert synced == ["d", "d", "e"]
    synced.clear()
    sync_directories(directories, [("f",)])
    assert synced == [tmp_path.name]


@pytest.mark.parametrize("count", [1, FSYNC_MAX + 1])
def test_an_error_is_an_error(
    directories: Directories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(syscalls, "syncfs", fail)
    names = [f"f{number}" for number in range(count)]
    for name in names:
        (tmp_path / name).mkdir()
    with pytest.raises(DiskError, match="Input/output error"):
        sync_files(directories.root_fd, directories.root_fd, names)
    with pytest.raises(DiskError, match="Input/output error"):
        sync_directories(directories, [(name,) for name in names])


def test_a_file_that_is_not_there_is_not_durable(directories: Directories) -> None:
    with pytest.raises(DiskError):
        sync_files(directories.root_fd, directories.root_fd, ["none"])


def test_a_full_disk_is_said_to_be_full() -> None:
    assert type(disk_error(OSError(errno.ENOSPC, ""), "write")) is DiskFull
    assert type(disk_error(OSError(errno.EDQUOT, ""), "write")) is DiskFull
    assert "failed to write: Input/output error." in str(
        disk_error(OSError(errno.EIO, ""), "write")
    )


def test_what_people_saved_is_synced_with_its_name(
    directories: Directories, tmp_path: Path, synced: list[str]
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").touch()
    (tmp_path / "d" / "link").symlink_to("f")
    sync_saved(directories, [("d", "f"), ("d", "link"), ("d", "gone"), ("gone", "f")])
    assert synced == ["f", "d", "d", tmp_path.name]
    synced.clear()
    sync_saved(directories, [("d", "f")] * (FSYNC_MAX + 1))
    assert synced == ["all"]


def test_what_is_to_be_read_is_written_back_and_what_cannot_be_opened_left_to_the_reader(
    directories: Directories, tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d").mkdir()
    for name in "f", "bad", "g":
        (tmp_path / "d" / name).touch()
    (tmp_path / "d" / "link").symlink_to("f")
    os.mkfifo(tmp_path / "d" / "fifo")
    open_file = os.open

    def fails(path: str, flags: int, *, dir_fd: int) -> int:
        if path == "bad":
            raise OSError(errno.EIO, "no")
        return open_file(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", fails)
    paths = [("d", name) for name in ("f", "bad", "link", "fifo", "gone", "g")]
    clean_saved(directories, [*paths, ("gone", "f")])
    assert synced == ["f", "g"]
    synced.clear()
    clean_saved(directories, [("d", "f")] * (FSYNC_MAX + 1))
    assert synced == ["all"]


@pytest.mark.parametrize("sync", [sync_saved, clean_saved])
def test_what_people_saved_and_the_disk_cannot_hold_is_an_error(
    directories: Directories,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sync: Callable[[Directories, Sequence[tuple[str, ...]]], None],
) -> None:
    (tmp_path / "f").touch()

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskError):
        sync(directories, [("f",)])


@pytest.mark.row("F04")
@pytest.mark.parametrize("has_syncfs", [True, False])
def test_directories_that_could_not_be_synced_are_before_anything_rests_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_syncfs: bool
) -> None:
    """They may have been renamed meanwhile, so the whole file system is."""
    done: list[str] = []
    monkeypatch.setattr(syscalls, "HAS_SYNCFS", has_syncfs)
    monkeypatch.setattr(syscalls, "syncfs", lambda fd: done.append("all"))
    monkeypatch.setattr(os, "sync", lambda: done.append("all"))
    disk = open_disk(tmp_path / "root")
    (tmp_path / "root" / "d").mkdir()

    def fail(fd: int) -> None:
        raise OSError(errno.ENOSPC, "no")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(DiskFull):
            disk.sync_directories([("d",)])
    disk.sync_saved([])
    assert done == ["all"]
    disk.sync_directories([("d",)])
    assert done == ["all"]
    disk.close()


def test_a_directory_that_something_is_mounted_on_is_synced_above(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing was written into it."""
    synced: list[tuple[int, int]] = []

    def note(fd: int) -> None:
        status = os.fstat(fd)
        synced.append((status.st_dev, status.st_ino))

    monkeypatch.setattr(os, "fsync", note)
    root_fd = os.open("/", os.O_RDONLY)
    directories = Directories(root_fd)
    sync_directories(directories, [("proc",)])
    status = os.fstat(root_fd)
    assert synced == [(status.st_dev, status.st_ino)]
    directories.close()
    os.close(root_fd)
