import os
from pathlib import Path

import pytest

from peer.command_line.demo_tree import (
    Entry,
    choose_scenes,
    copy_source,
    differences,
    list_tree,
    try_list,
)
from peer.errors import DemoFailed, UsageError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree of 3 directories: `big` with 30 files, `small` with 3, and one file at the top."""
    root = tmp_path / "source"
    for name, files in (("big", 30), ("small", 3), ("__pycache__", 2)):
        (root / name).mkdir(parents=True)
        for number in range(files):
            (root / name / f"{number}.txt").write_text("x" * number)
    (root / "top.txt").write_text("top")
    (root / "tool").write_text("#!/bin/sh\n")
    (root / "tool").chmod(0o755)
    (root / "link").symlink_to("top.txt")
    (root / "dangling").symlink_to("nowhere")
    (root / "empty").mkdir()
    os.mkfifo(root / "pipe")
    return root


def test_a_copy_is_the_same_but_for_what_is_left_out(source: Path, tmp_path: Path) -> None:
    copy_source(source, tmp_path / "copy")
    assert differences(source, tmp_path / "copy") == [
        "__pycache__",
        "__pycache__/0.txt",
        "__pycache__/1.txt",
        "pipe",
    ]
    assert list_tree(tmp_path / "copy")["dangling"] == Entry("symlink", 0, "nowhere", False)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda root: (root / "top.txt").write_text("pot"), "top.txt"),
        (lambda root: (root / "tool").chmod(0o644), "tool"),
        (lambda root: (root / "empty").rmdir(), "empty"),
        (lambda root: (root / "big" / "new").touch(), "big/new"),
        (lambda root: os.replace(root / "dangling", root / "link"), "link"),
    ],
)
def test_each_difference_is_found(source: Path, tmp_path: Path, change, path: str) -> None:  # type: ignore[no-untyped-def]
    copy_source(source, tmp_path / "one")
    copy_source(source, tmp_path / "other")
    (tmp_path / "other" / ".holdfast").mkdir()
    assert differences(tmp_path / "one", tmp_path / "other") == []
    change(tmp_path / "other")
    assert path in differences(tmp_path / "one", tmp_path / "other")


def test_what_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        copy_source(tmp_path / "nothing", tmp_path / "copy")
    assert try_list(tmp_path / "nothing") is None


def test_what_cannot_be_read(source: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()  # the target is there already
    with pytest.raises(DemoFailed, match="cannot be copied"):
        copy_source(source, tmp_path / "copy")


def test_scenes_are_chosen_apart(source: Path, tmp_path: Path) -> None:
    copy_source(source, tmp_path / "copy")
    scenes = choose_scenes(tmp_path / "copy")
    assert scenes.renamed == "big"
    assert scenes.deleted == "small"
    assert scenes.edited == "tool"


def test_a_tree_that_lacks_everything(tmp_path: Path) -> None:
    scenes = choose_scenes(tmp_path)
    assert scenes == ("notes/page 1.txt", "papers", "scraps")
    assert (tmp_path / scenes.edited).is_file()
    assert len(list_tree(tmp_path / scenes.deleted)) == 5
    again = choose_scenes(tmp_path)
    assert len({again.renamed, again.deleted, again.edited.split("/")[0]}) == 3
