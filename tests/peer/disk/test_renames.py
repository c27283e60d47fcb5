import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.disk import syscalls
from peer.disk.renames import can_exchange, move_noreplace


@pytest.fixture
def root_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture(params=["renameat2", "links", "no links"], autouse=True)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise PermissionError(1, "this file system has no links")

    if request.param != "renameat2":
        monkeypatch.setattr(syscalls, "_renameat2", None)
    if request.param == "no links":
        monkeypatch.setattr(os, "link", no_link)


@pytest.mark.parametrize("is_directory", [False, True])
def test_moves_only_to_where_nothing_is(tmp_path: Path, root_fd: int, is_directory: bool) -> None:
    source, taken = tmp_path / "a", tmp_path / "taken"
    if is_directory:
        source.mkdir()
        taken.mkdir()
    else:
        source.write_text("mine")
        taken.write_text("theirs")
    inode = source.stat().st_ino
    with pytest.raises(FileExistsError):
        move_noreplace(root_fd, "a", root_fd, "taken")
    move_noreplace(root_fd, "a", root_fd, "b")
    assert sorted(os.listdir(tmp_path)) == ["b", "taken"]
    assert (tmp_path / "b").stat().st_ino == inode
    with pytest.raises(FileNotFoundError):
        move_noreplace(root_fd, "a", root_fd, "c")


def test_a_dangling_symlink_is_something(tmp_path: Path, root_fd: int) -> None:
    (tmp_path / "a").symlink_to("nowhere")
    (tmp_path / "b").symlink_to("nowhere else")
    with pytest.raises(FileExistsError):
        move_noreplace(root_fd, "a", root_fd, "b")
    move_noreplace(root_fd, "a", root_fd, "c")
    assert os.readlink(tmp_path / "c") == "nowhere"


def test_exchanges_or_does_nothing(tmp_path: Path, root_fd: int) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    is_done = can_exchange(root_fd, "a", root_fd, "b")
    assert is_done == (syscalls._renameat2 is not None)
    assert (tmp_path / "a").read_text() == ("b" if is_done else "a")
