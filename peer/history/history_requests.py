"""What a person asks of the history of folders: a path on this machine becomes a folder and a path
in it, and the answer takes the shape of `peer.status`.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from crypto.ids import FolderId
from peer.control.under_way import UnderWay
from peer.core.disk_types import TRASH
from peer.core.versions import PATH_SEPARATOR, Version
from peer.device.home_store import Folder as StoredFolder
from peer.errors import NoSuchVersion, NotInFolder, PathUnusable
from peer.folders.folder import Folder
from peer.history.history import History, Restored, Wanted
from peer.history.version_store import StoredVersion
from peer.status import RestoreReport, VersionBytes, VersionEntry, VersionList
from protocol.names import exact_key
from protocol.nodes import Content

READ_MAX: Final = 256 << 10
"""Bytes of a version that are given to look at: more than anybody reads on a screen."""
DELETED_MAX: Final = 1000
"""Deleted files listed at once; who looks for more names a directory."""


class HistoryRequests:
    """One daemon's."""

    def __init__(
        self,
        stored: Callable[[], Iterable[StoredFolder]],
        folders: Mapping[FolderId, Folder],
        under_way: UnderWay,
    ) -> None:
        self._stored, self._folders = stored, folders
        self._under_way = under_way

    async def versions(self, path: Path) -> VersionList:
        """What a file is and what it was, the newest first."""
        folder, history, names = self.locate(path)
        content, found = await folder.call(lambda: history.of_path(names))
        entries = [_entry(stored) for stored in found]
        if content is not None:
            entries.insert(0, _current(PATH_SEPARATOR.join(names), content))
        return {"path": str(path), "root": self.root(folder), "versions": entries}

    async def deleted(self, path: Path) -> VersionList:
        """The files below a directory that are deleted, the latest first."""
        folder, history, names = self.locate(path)
        found = await folder.call(lambda: history.deleted(names, DELETED_MAX))
        entries = [_entry(stored) for stored in found]
        return {"path": str(path), "root": self.root(folder), "versions": entries}

    async def restore(
        self, path: Path, number: int | None, at_s: int | None, out: Path | None
    ) -> RestoreReport:
        """Brings one version of a file back: the one of this number, that of a time, or the newest
        that there is.
        """
        folder, history, names = self.locate(path)
        check_awake(folder)
        content, found = await folder.call(lambda: history.of_path(names))
        version = _choose(found, number, at_s)
        if version is None and content is not None and at_s is not None:
            if content.time_s <= at_s:
                return {"restored": [], "failed": [], "unchanged": 1}
        if version is None:
            if content is None and not found and await self._was_directory(path):
                raise NoSuchVersion(
                    f"{path} is a directory: `holdfast restore-folder {path} --at TIME` brings back"
                    " what was in it then, and `holdfast versions PATH --deleted` shows what was"
                    " deleted from it."
                )
            written = [] if content is None else [content.time_s]
            raise _none_then(at_s, [*written, *(one.version.written_s for one in found)])
        inside = None if out is None else self._inside(folder, out)
        target = names if out is None else inside
        wanted = Wanted(version, target or names, str(out) if out and inside is None else None)
        return _report(await history.restore([wanted]))

    async def read(self, path: Path, number: int) -> VersionBytes:
        """The beginning of an earlier version of which this device keeps the bytes."""
        folder, history, names = self.locate(path)
        _, found = await folder.call(lambda: history.of_path(names))
        version = next((one.version for one in found if one.number == number), None)
        if version is None:
            raise NoSuchVersion
        if version.is_symlink:
            data: bytes | None = version.manifest
        elif version.kept is None:
            raise NoSuchVersion("Its bytes are on another device: restore it to look at it.")
        else:
            place = (*TRASH, version.kept)
            data = await history.read(place, 0, min(version.size, READ_MAX))
        if data is None:
            raise NoSuchVersion("Its bytes cannot be read any more.")
        return {
            "version": number, "size": version.size, "data": b64encode(data[:READ_MAX]).decode(),
        }  # fmt: skip

    async def restore_folder(self, path: Path, at_s: int, *, is_dry: bool) -> RestoreReport:
        """Brings all files below a directory back to what they were at a time; those that are newer
        stay. A dry run tells what it would do.
        """
        folder, history, names = self.locate(path)
        check_awake(folder)
        versions = await folder.call(lambda: history.at_time(names, at_s))
        if not versions and not await self._was_directory(path):
            raise NoSuchVersion(
                f"There is no directory {path}, and nothing is kept that was in it."
            )
        if is_dry:
            return {"restored": [v.path for v in versions], "failed": [], "unchanged": 0}
        wanted = [Wanted(v, tuple(v.path.split(PATH_SEPARATOR))) for v in versions]
        result = Restored()

        def count() -> tuple[int, int]:
            return len(result.done) + len(result.failed), len(wanted)

        with self._under_way.doing("restore", str(path), "files", count):
            return _report(await history.restore(wanted, result))

    async def _was_directory(self, path: Path) -> bool:
        """Whether there is a directory, or there was one from which something is kept."""
        folder, history, names = self.locate(path)
        is_there = await asyncio.to_thread(path.is_dir)
        return is_there or bool(await folder.call(lambda: history.deleted(names, 1)))

    # ------------------------------------------------------------ where

    def locate(self, path: Path) -> tuple[Folder, History, tuple[str, ...]]:
        """The folder that a path on this machine is in, and its names there; raises NotInFolder."""
        return locate(self._stored(), self._folders, path)

    def root(self, folder: Folder) -> str:
        """Where a folder is on this disk."""
        return next(str(s.path) for s in self._stored() if s.folder_id == folder.folder_id)

    def writable_root(self, folder_id: FolderId) -> Path | None:
        """Where a folder is on this disk; None where it is not, or is not to be written to."""
        folder = self._folders.get(folder_id)
        if folder is None or folder.is_paused or folder.history is None:
            return None
        return next((s.path for s in self._stored() if s.folder_id == folder_id), None)

    def _inside(self, folder: Folder, out: Path) -> tuple[str, ...] | None:
        """A path in the same folder is put there as any other restored file is; one in another
        folder would go around that one's scan.
        """
        for stored in self._stored():
            names = _names_below(stored.path, out) if stored.path is not None else None
            if names is None:
                continue
            if self._folders.get(stored.folder_id) is not folder or not names:
                raise PathUnusable(f"{out} is in another folder. Choose a path outside of it.")
            return names
        return None


def locate(
    stored: Iterable[StoredFolder], folders: Mapping[FolderId, Folder], path: Path
) -> tuple[Folder, History, tuple[str, ...]]:
    """The folder of these that a path on this machine is in, and its names there; raises
    NotInFolder.
    """
    for one in stored:
        folder = folders.get(one.folder_id)
        if one.path is None or folder is None or folder.history is None:
            continue
        names = _names_below(one.path, path)
        if names is not None:
            return folder, folder.history, names
    raise NotInFolder(f"{path} is in none of your folders. `holdfast folder list` shows them.")


def _names_below(root: Path, path: Path) -> tuple[str, ...] | None:
    for candidate in (path, path.parent.resolve() / path.name):
        if candidate.is_relative_to(root):
            return tuple(map(exact_key, candidate.relative_to(root).parts))
    return None


def check_awake(folder: Folder) -> None:
    """A folder that is paused is not written to; raises PathUnusable."""
    if folder.is_paused:
        raise PathUnusable("The folder is paused. `holdfast resume` lets it go on.")


def _choose(found: Iterable[StoredVersion], number: int | None, at_s: int | None) -> Version | None:
    if number is not None:
        return next((v.version for v in found if v.number == number), None)
    versions = [v.version for v in found]
    if at_s is None:
        return versions[0] if versions else None
    then = [v for v in versions if v.written_s <= at_s < v.ended_s]
    return min(then, key=lambda v: v.ended_s, default=None)


def _none_then(at_s: int | None, written_s: Sequence[int]) -> NoSuchVersion:
    """Why there is none of a time, by when those there are were written."""
    if at_s is None or not written_s:
        return NoSuchVersion()
    then, first = (
        time.strftime("%Y-%m-%d %H:%M", time.localtime(s)) for s in (at_s, min(written_s))
    )
    if at_s < min(written_s):
        said = f"There is no version of {then}: the first that is known is of {first}."
    else:
        said = f"There is no version of {then}: it was deleted then, or is kept no longer."
    return NoSuchVersion(f"{said} `holdfast versions PATH` lists those there are.")


def _entry(stored: StoredVersion) -> VersionEntry:
    version = stored.version
    return {
        "version": stored.number, "path": version.path, "size": version.size,
        "written_s": version.written_s, "ended_s": version.ended_s, "device": version.label,
        "deleted": version.is_deleted, "here": version.kept is not None or version.is_symlink,
    }  # fmt: skip


def _current(path: str, content: Content) -> VersionEntry:
    return {
        "version": 0, "path": path, "size": content.size, "written_s": content.time_s,
        "ended_s": None, "device": content.label, "deleted": False, "here": True,
    }  # fmt: skip


def _report(restored: Restored) -> RestoreReport:
    return {
        "restored": restored.done,
        "failed": [{"path": p, "reason": why} for p, why in restored.failed.items()],
        "unchanged": 0,
    }
