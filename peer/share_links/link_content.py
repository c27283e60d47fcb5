"""What a share link is to give: the files at a path of a folder, as the index knows them.

Only what is on this disk and known by its chunks can be given; what was saved a moment ago is
waited for, and what does not become known is told.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from crypto.ids import ChunkId
from peer.core.rows import Row, content_of
from peer.errors import LinkNotMade
from peer.folders.folder import Folder
from peer.history.history import History
from protocol.records import chunks_of

FILES_MAX: Final = 100_000
"""Of one link: what a browser can list."""
OWN_NAME: Final = ".holdfast"


class Given(NamedTuple):
    """One file, or with a slash at its end an empty directory."""

    path: str
    size: int
    mtime_ns: int
    chunks: tuple[tuple[ChunkId, int], ...]


async def given_at(
    folder: Folder,
    history: History,
    root: Path,
    names: tuple[str, ...],
    name: str,
    *,
    only_known: bool = False,
) -> list[Given]:
    """All files at a path, under another name if there is one; raises LinkNotMade, which with
    `only_known` says nothing of files that are not known yet: they are left out.
    """
    path = root.joinpath(*names)
    top = name or (names[-1] if names else root.name)
    if path.is_symlink() or not path.exists():
        raise LinkNotMade(f"{path} is no file and no directory on this disk.")
    if path.is_file():
        return [await _given(folder, history, path, names, top)]
    found = []
    for below, is_directory in _below(path):
        shown = "/".join((top, *below))
        if is_directory:
            found.append(Given(shown + "/", 0, 0, ()))
        else:
            where = path.joinpath(*below)
            try:
                found.append(await _given(folder, history, where, (*names, *below), shown))
            except (LinkNotMade, FileNotFoundError):
                if not only_known:
                    raise
        if len(found) > FILES_MAX:
            raise LinkNotMade(f"{path} has more than {FILES_MAX:,} files: share parts of it.")
    if not found:
        found = [Given(top + "/", 0, 0, ())]
    return found


def _below(path: Path) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Files below a directory, and those directories in which there is nothing. No symlinks."""
    for directory, subdirectories, files in os.walk(path):
        below = Path(directory).relative_to(path).parts
        subdirectories[:] = sorted(
            each
            for each in subdirectories
            if each != OWN_NAME and not os.path.islink(os.path.join(directory, each))
        )
        plain = [f for f in sorted(files) if _is_plain(os.path.join(directory, f))]
        for each in plain:
            yield (*below, each), False
        if below and not plain and not subdirectories:
            yield below, True


def _is_plain(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)


async def _given(
    folder: Folder, history: History, path: Path, names: tuple[str, ...], shown: str
) -> Given:
    row = await folder.call(lambda: history.row_at(names))
    stat = await asyncio.to_thread(path.stat)
    content = None if row is None else content_of(row.base, row.shown.hash)
    if row is None or content is None or not _is_known(row, stat):
        raise LinkNotMade(
            f"{path} was changed just now, or is one of those that are not synced: `holdfast"
            " status` lists them. Try again in a moment."
        )
    return Given(shown, content.size, stat.st_mtime_ns, tuple(chunks_of(content)))


def _is_known(row: Row, stat: os.stat_result) -> bool:
    known = (row.disk.inode, row.disk.size, row.disk.mtime_ns)
    return known == (stat.st_ino, stat.st_size, stat.st_mtime_ns)
