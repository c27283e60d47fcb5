"""The demo's files: what is copied, what is compared, and which of it is edited, renamed and
deleted.
"""

import filecmp
import os
import shutil
import stat
import sysconfig
from pathlib import Path
from typing import NamedTuple

from peer.errors import DemoFailed, UsageError

OWN_DIRECTORY = ".holdfast"
LEFT_OUT = ("site-packages", "dist-packages", "__pycache__", OWN_DIRECTORY)
EDITED_BYTES_MAX = 1 << 20
DELETED_FILES_MAX = 200
DELETED_SHARE_MAX = 0.1
"""Fewer than what makes a folder ask whether the deletions were meant."""


class Entry(NamedTuple):
    """What two sides must agree on without reading the bytes."""

    kind: str
    """`file`, `directory` or `symlink`."""
    size_bytes: int
    """Of a file; 0 for the others."""
    target: str
    """Of a symlink; empty for the others."""
    is_executable: bool


Tree = dict[str, Entry]


def list_tree(root: Path) -> Tree:
    """Everything beneath the root by its path from there, but for Holdfast's own directory."""
    tree: Tree = {}
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                if not prefix and entry.name == OWN_DIRECTORY:
                    continue
                path = os.path.join(prefix, entry.name)
                tree[path] = _describe(entry)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
    return tree


def _describe(entry: "os.DirEntry[str]") -> Entry:
    if entry.is_symlink():
        return Entry("symlink", 0, os.readlink(entry.path), False)
    if entry.is_dir(follow_symlinks=False):
        return Entry("directory", 0, "", False)
    status = entry.stat(follow_symlinks=False)
    return Entry("file", status.st_size, "", bool(status.st_mode & stat.S_IXUSR))


def try_list(root: Path) -> Tree | None:
    """The same of a tree that is being written: None when it changed under the look."""
    try:
        return list_tree(root)
    except (FileNotFoundError, NotADirectoryError):
        return None


def differences(one: Path, other: Path) -> list[str]:
    """Every path on which the two sides differ, files compared byte for byte."""
    ours, theirs = list_tree(one), list_tree(other)
    paths = {path for path, _ in ours.items() ^ theirs.items()}
    for path, entry in ours.items():
        if path not in paths and entry.kind == "file":
            if not filecmp.cmp(one / path, other / path, shallow=False):
                paths.add(path)
    return sorted(paths)


def copy_source(source: Path | None, target: Path) -> None:
    """Copy the person's tree, or Python's own library, to where the first device will find it."""
    source = Path(sysconfig.get_path("stdlib")) if source is None else source
    if not source.is_dir():
        raise UsageError(f"{source} is no directory that the demo could copy.")
    try:
        size_bytes = sum(entry.size_bytes for entry in list_tree(source).values())
        if shutil.disk_usage(target.parent).free < 3 * size_bytes:
            raise DemoFailed(f"{target.parent} has no room for two copies of {source}.")
        shutil.copytree(source, target, symlinks=True, ignore=_left_out)
    except OSError as error:  # shutil.Error, which gathers what went wrong, is one.
        raise DemoFailed(f"{source} cannot be copied: {error}") from error


def _left_out(directory: str, names: list[str]) -> set[str]:
    """What is not copied: caches, other people's packages, and what is no file, directory or
    link.
    """
    out = set()
    for name in names:
        mode = os.lstat(os.path.join(directory, name)).st_mode
        if name in LEFT_OUT or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            out.add(name)
    return out


class Scenes(NamedTuple):
    """Which parts of the tree the demo works on."""

    edited: str
    """The file that is edited, and later edited on both sides."""
    renamed: str
    """The top-level directory that is renamed: the one with most files."""
    deleted: str
    """The directory that is deleted."""


def choose_scenes(root: Path) -> Scenes:
    """Choose from what the tree holds; what it lacks is put there."""
    tree = list_tree(root)
    counts = _count_files(tree)
    tops = [path for path in counts if os.sep not in path]
    renamed = max(tops, key=lambda path: (counts[path], path), default="")
    if not renamed:
        renamed = _plant(root, "papers", 20)
    limit = min(DELETED_FILES_MAX, int(DELETED_SHARE_MAX * len(tree)))
    spare = [
        path
        for path, count in counts.items()
        if 0 < count <= limit and path.split(os.sep)[0] != renamed
    ]
    deleted = max(spare, key=lambda path: (counts[path], path), default="")
    if not deleted:
        deleted = _plant(root, "scraps", 5)
    files = [
        path
        for path, entry in tree.items()
        if entry.kind == "file"
        and 0 < entry.size_bytes <= EDITED_BYTES_MAX
        and path.split(os.sep)[0] != renamed
        and not path.startswith(deleted + os.sep)
    ]
    edited = max(files, key=lambda path: (tree[path].size_bytes, path), default="")
    if not edited:
        edited = os.path.join(_plant(root, "notes", 1), "page 1.txt")
    return Scenes(edited, renamed, deleted)


def _count_files(tree: Tree) -> dict[str, int]:
    """For each directory, the files anywhere beneath it."""
    counts = {path: 0 for path, entry in tree.items() if entry.kind == "directory"}
    for path, entry in tree.items():
        if entry.kind != "directory":
            while path := os.path.dirname(path):
                counts[path] += 1
    return counts


def _plant(root: Path, name: str, files: int) -> str:
    """A new directory with a few short texts; its name made longer until it is free."""
    while (root / name).exists():
        name += " too"
    (root / name).mkdir()
    for number in range(1, files + 1):
        (root / name / f"page {number}.txt").write_text(f"This is page {number}.\n" * 50)
    return name
