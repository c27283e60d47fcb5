"""What a share link is to give: the files at a path of a folder, as the index knows them.

Only what is on this disk and known by its chunks can be given; what was saved a moment ago is
waited for, and what does not become known is told. What the folder ignores is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from crypto.ids import ChunkId
from peer.core.disk_types import INTERNAL_NAME, Kind, Listing, Problem, Stat, Trouble
from peer.core.rows import Row, content_of
from peer.errors import LinkNotMade
from peer.folders.folder import Folder
from peer.history.history import History, is_as_known
from protocol.names import exact_key
from protocol.records import chunks_of

FILES_MAX: Final = 100_000
"""Of one link: what a browser can list."""
LISTED_AT_ONCE: Final = 64
"""Directories: so many a disk keeps open in one batch."""

Names = tuple[str, ...]


class Given(NamedTuple):
    """One file, or with a slash at its end an empty directory."""

    path: str
    size: int
    mtime_ns: int
    chunks: tuple[tuple[ChunkId, int], ...]


@dataclass(slots=True)
class _Directory:
    """One as the disk has it, without what is not given: both in the order of their names."""

    files: list[tuple[str, Stat]] = field(default_factory=list)
    subdirectories: list[str] = field(default_factory=list)


async def given_at(
    folder: Folder,
    history: History,
    root: Path,
    names: Names,
    name: str,
    *,
    only_known: bool = False,
) -> list[Given]:
    """All files at a path, under another name if there is one; raises LinkNotMade, which with
    `only_known` says nothing of files that are not known yet: they are left out.
    """
    at = tuple(map(exact_key, names))
    path = root.joinpath(*names)
    top = name or (at[-1] if at else root.name)
    # In one turn of the folder's task: between disk and index nothing else is taken in.
    return await folder.call(
        lambda: _Giving(folder, history, root, only_known=only_known).given(path, at, top)
    )


class _Giving:
    """One look at a disk and at what the index says of it."""

    def __init__(self, folder: Folder, history: History, root: Path, *, only_known: bool) -> None:
        self._folder, self._history, self._root = folder, history, root
        self._only_known = only_known

    async def given(self, path: Path, names: Names, top: str) -> list[Given]:
        """Of what is there."""
        stat = await self._history.on_disk(names)
        if stat is not None and stat.kind is Kind.FILE:
            return [self._given(await self._history.row_at(names), stat, names, top)]
        if stat is None or stat.kind is not Kind.DIRECTORY or INTERNAL_NAME in names[:1]:
            raise LinkNotMade(f"{path} is no file and no directory on this disk.")
        tree = await self._tree(path, names)
        rows = await self._history.rows_below(names)
        found: list[Given] = []
        for below, there in _in_order(tree, names):
            shown = "/".join((top, *below[len(names) :]))
            if there is None:
                found.append(Given(shown + "/", 0, 0, ()))
                continue
            try:
                found.append(self._given(rows.get(below), there, below, shown))
            except LinkNotMade:
                if not self._only_known:
                    raise
        return found

    async def _tree(self, path: Path, names: Names) -> dict[Names, _Directory]:
        """What is below a directory; raises LinkNotMade if it is too much, or is not to be seen."""
        tree: dict[Names, _Directory] = {}
        waiting, count = [names], 0
        while waiting:
            some, waiting = waiting[:LISTED_AT_ONCE], waiting[LISTED_AT_ONCE:]
            for listing in await self._history.listed(some):
                self._check(listing)
                tree[listing.path] = directory = self._directory(listing)
                waiting += [(*listing.path, each) for each in directory.subdirectories]
                count += len(directory.files) or not directory.subdirectories
            if count > FILES_MAX:
                raise LinkNotMade(f"{path} has more than {FILES_MAX:,} files: share parts of it.")
        return tree

    def _directory(self, listing: Listing) -> _Directory:
        directory = _Directory()
        for name, stat in sorted((exact_key(name), stat) for name, stat in listing.entries or ()):
            is_directory = stat.kind is Kind.DIRECTORY
            if stat.kind is Kind.SYMLINK or self._is_ignored((*listing.path, name), is_directory):
                continue
            if is_directory:
                directory.subdirectories.append(name)
            else:
                directory.files.append((name, stat))
        return directory

    def _check(self, listing: Listing) -> None:
        """Raises LinkNotMade for what may be a file and cannot be given."""
        if self._only_known:
            return
        for problem in listing.problems:
            if not self._is_no_loss(problem):
                path = self._root.joinpath(*problem.path)
                raise LinkNotMade(f"{path} cannot be shared. {problem.reason}")

    def _is_no_loss(self, problem: Problem) -> bool:
        if problem.trouble is Trouble.SPECIAL or problem.path[-1:] == (INTERNAL_NAME,):
            return True
        return self._is_ignored(problem.path, is_directory=False)

    def _is_ignored(self, path: Names, is_directory: bool) -> bool:
        intake = self._folder.intake
        return intake is not None and intake.is_ignored(path, is_directory)

    def _given(self, row: Row | None, stat: Stat, names: Names, shown: str) -> Given:
        content = None if row is None else content_of(row.base, row.shown.hash)
        if row is None or content is None or not is_as_known(row, stat):
            raise LinkNotMade(
                f"{self._root.joinpath(*names)} was changed just now, or is one of those that are"
                " not synced: `holdfast status` lists them. Try again in a moment."
            )
        return Given(shown, content.size, stat.mtime_ns, tuple(chunks_of(content)))


def _in_order(tree: Mapping[Names, _Directory], top: Names) -> Iterator[tuple[Names, Stat | None]]:
    """Files from the top down, those of a directory before those below it, and with nothing
    directories that are empty.
    """
    waiting = [top]
    while waiting:
        path = waiting.pop()
        directory = tree[path]
        for name, stat in directory.files:
            yield (*path, name), stat
        if not directory.files and not directory.subdirectories:
            yield path, None
        waiting += [(*path, name) for name in reversed(directory.subdirectories)]
