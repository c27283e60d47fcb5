import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.core.disk_types import Kind
from peer.disk.directories import OPEN_MAX, Directories


@pytest.fixture(params=[True, False], ids=["openat2", "walk"])
def directories(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Directories]:
    root_fd = os.open(tmp_path, os.O_RDONLY)
    opened = Directories(root_fd, has_openat2=request.param)
    yield opened
    opened.close()
    os.close(root_fd)


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def is_at(fd: int, path: Path) -> bool:
    return os.path.samestat(os.fstat(fd), path.stat())


def test_opens_and_keeps(directories: Directories, tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    fd = directories.open(("a", "b", "c"))
    assert is_at(fd, tmp_path / "a" / "b" / "c")
    assert directories.open(("a", "b", "c")) == fd
    assert directories.open(()) == directories.root_fd


@pytest.mark.row("A35")
def test_no_symlink_on_the_way(directories: Directories, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "a" / "out").symlink_to("/")
    before = open_fds()
    for path in (("link",), ("link", "b"), ("a", "out"), ("a", "out", "etc")):
        with pytest.raises(OSError, match=r"Not a dir|symbolic") as error:
            directories.open(path)
        assert error.value.errno in (errno.ELOOP, errno.ENOTDIR)
    assert open_fds() == before


@pytest.mark.parametrize("has_openat2", [True, False])
@pytest.mark.parametrize("path", [("proc",), ("proc", "1")])
def test_nothing_that_is_mounted_on_the_way(has_openat2: bool, path: tuple[str, ...]) -> None:
    """What is there depends on what is plugged in. Every system has something at /proc."""
    root_fd, before = os.open("/", os.O_RDONLY), open_fds()
    opened = Directories(root_fd, has_openat2=has_openat2)
    with pytest.raises(OSError, match="cross-device") as error:
        opened.open(path)
    assert error.value.errno == errno.EXDEV
    opened.close()
    assert open_fds() == before
    os.close(root_fd)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0b"])
def test_only_plain_names(directories: Directories, tmp_path: Path, name: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for act in (lambda: directories.open((name,)), lambda: directories.at(("a", name))):
        with pytest.raises(OSError, match="not a name"):
            act()


def test_few_are_open_at_once_and_none_after(directories: Directories, tmp_path: Path) -> None:
    before = open_fds()
    for number in range(OPEN_MAX * 2):
        (tmp_path / f"d{number}").mkdir()
        assert is_at(directories.open((f"d{number}",)), tmp_path / f"d{number}")
    assert open_fds() == before + OPEN_MAX
    assert is_at(directories.open(("d0",)), tmp_path / "d0")
    directories.close()
    assert open_fds() == before


def test_what_moved_is_forgotten_with_all_below(directories: Directories, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    directories.open(("a", "b"))
    directories.open(("a",))
    (tmp_path / "a").rename(tmp_path / "z")
    (tmp_path / "a" / "b").mkdir(parents=True)
    directories.forget(("a",))
    assert is_at(directories.open(("a", "b")), tmp_path / "a" / "b")
    assert is_at(directories.open(("z", "b")), tmp_path / "z" / "b")


@pytest.mark.row("F35")
def test_paths_longer_than_the_kernel_takes(directories: Directories, tmp_path: Path) -> None:
    path = tuple("d" * 200 for _ in range(60))
    fd = os.open(tmp_path, os.O_RDONLY)
    for name in path:
        os.mkdir(name, dir_fd=fd)
        next_fd = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = next_fd
    deepest = os.fstat(fd)
    os.close(fd)
    before = open_fds()
    assert os.path.samestat(os.fstat(directories.open(path)), deepest)
    assert open_fds() == before + 1


def test_a_stat_says_what_is_synced(directories: Directories, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    (tmp_path / "f").chmod(0o744)
    (tmp_path / "s").symlink_to("none")
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "p")
    root_fd = directories.root_fd
    file = directories.look(root_fd, "f")
    assert file is not None
    assert (file.kind, file.size, file.executable, file.links) == (Kind.FILE, 5, True, 1)
    assert file.device == 0
    assert file.mtime_ns == (tmp_path / "f").stat().st_mtime_ns
    kinds = [stat and stat.kind for stat in (directories.look(root_fd, name) for name in "sdpx")]
    assert kinds == [Kind.SYMLINK, Kind.DIRECTORY, None, None]
    link = directories.look(root_fd, "s")
    assert link is not None
    assert not link.executable
