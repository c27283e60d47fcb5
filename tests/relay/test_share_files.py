"""The directory of a node's shares: whose it is, and names that count only when they should."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from crypto.ids import RelayId
from crypto.packs import LEAF_SIZE
from relay.errors import PathUnusable
from relay.share_files import ASIDE, INCOMING, MARKER, SHARES, ShareFiles, ShareName

NODE, OTHER = RelayId(b"1" * 32), RelayId(b"2" * 32)
NAME = ShareName(b"n" * 16, b"d" * 32, 3)
LEAVES = b"a" * LEAF_SIZE + b"b" * LEAF_SIZE


@pytest.fixture
def files(tmp_path: Path) -> Iterator[ShareFiles]:
    opened = ShareFiles.open(tmp_path / "shares", NODE, is_new=True)
    yield opened
    opened.close()


def test_a_share_counts_once_it_is_placed(files: ShareFiles) -> None:
    descriptor = files.begin(NAME)
    files.write(descriptor, 1, LEAVES[LEAF_SIZE:])
    files.write(descriptor, 0, LEAVES[:LEAF_SIZE])
    assert files.found() == (set(), {NAME})
    with pytest.raises(FileNotFoundError):
        files.read(NAME, 0, 1)
    files.sync(descriptor)
    files.place([NAME])
    assert files.found() == ({NAME}, set())
    assert files.read(NAME, 0, 2) == LEAVES
    assert files.read(NAME, 1, 1) == LEAVES[LEAF_SIZE:]
    assert files.read(NAME, 1, 5) == LEAVES[LEAF_SIZE:], "shorter where the file ends"
    files.close_file(descriptor)


def test_what_was_begun_is_gone_on_with(files: ShareFiles) -> None:
    descriptor = files.begin(NAME)
    files.write(descriptor, 0, LEAVES)
    files.close_file(descriptor)
    again = files.begin(NAME)
    assert files.read_incoming(again, 1, 1) == LEAVES[LEAF_SIZE:]
    files.close_file(again)


def test_removing_takes_both_names_and_nothing_else(files: ShareFiles) -> None:
    other = NAME._replace(number=4)
    for name in (NAME, other):
        files.close_file(files.begin(name))
        files.place([name])
    files.close_file(files.begin(NAME))
    files.remove([NAME, NAME._replace(namespace=b"m" * 16)])
    assert files.found() == ({other}, set())


def test_other_files_are_left_alone(files: ShareFiles, tmp_path: Path) -> None:
    files.close_file(files.begin(NAME))
    files.place([NAME])
    root = tmp_path / "shares"
    strange = [root / "shares" / "README", root / "shares" / NAME.folder / "x", root / "incoming/y"]
    for path in strange:
        path.touch()
    assert files.found() == ({NAME}, set())
    assert all(path.exists() for path in strange)


def test_no_symlink_is_followed(files: ShareFiles, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "shares"
    (root / "shares" / NAME.folder).symlink_to(tmp_path / "elsewhere")
    files.close_file(files.begin(NAME))
    with pytest.raises(OSError, match=r".*"):
        files.place([NAME])
    (root / "incoming" / NAME._replace(number=5).incoming).symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match=r".*"):
        files.begin(NAME._replace(number=5))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not (tmp_path / "secret").exists()


def test_a_disk_that_is_not_mounted_is_no_empty_one(tmp_path: Path) -> None:
    for path in (tmp_path / "not there", tmp_path):
        with pytest.raises(PathUnusable, match="mounted"):
            ShareFiles.open(path, NODE, is_new=False)
    assert list(tmp_path.iterdir()) == []


def test_the_directory_belongs_to_one_node_that_runs_once(tmp_path: Path) -> None:
    first = ShareFiles.open(tmp_path / "a", NODE, is_new=True)
    with pytest.raises(PathUnusable, match="another relay"):
        ShareFiles.open(tmp_path / "a", OTHER, is_new=True)
    with pytest.raises(PathUnusable, match="that runs"):
        ShareFiles.open(tmp_path / "a", NODE, is_new=False)
    first.close()
    ShareFiles.open(tmp_path / "a", NODE, is_new=False).close()


def test_a_directory_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PathUnusable, match=r"storage\.path"):
        ShareFiles.open(tmp_path / "file", NODE, is_new=True)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(PathUnusable):
            ShareFiles.open(tmp_path / "file", NODE, is_new=True)
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_free_is_the_disk_s(files: ShareFiles) -> None:
    assert files.free_bytes() > 0


def test_of_two_that_begin_in_one_place_at_once_one_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other begins while the marker is being made durable."""
    path, fsync, opened = tmp_path / "shares", os.fsync, list[ShareFiles]()

    def meanwhile(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        opened.append(ShareFiles.open(path, NODE, is_new=True))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(PathUnusable, match="Another relay"):
        ShareFiles.open(path, NODE, is_new=True)
    assert {each.name for each in path.iterdir()} == {MARKER, INCOMING, SHARES, ASIDE}
    opened[0].close()
    ShareFiles.open(path, NODE, is_new=False).close()
