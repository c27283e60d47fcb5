"""Files by their ids, for programs: what a file is, its bytes, new bytes, and an end.

A file's id is that of its folder and of its node, so it stays through renames, on every device.
What is written or deleted is an edit as a person makes it, told by the scan that follows; what it
replaces is kept as a version.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from crypto.ids import FolderId, NodeId
from peer.core.rows import Row, content_of
from peer.device.home_store import Folder as StoredFolder
from peer.errors import FileChanged, NotRestored, UnknownFile, UsageError
from peer.folders.folder import Folder
from peer.history.history import History
from peer.history.history_requests import HistoryRequests, check_awake
from peer.status import FileEntry, RestoreReport, VersionList
from protocol.names import exact_key, name_problem
from protocol.nodes import shown_mtime_ns

FILE_SIZE_MAX: Final = 64 << 20
"""What can be written at once by a request, which is in memory meanwhile; what is larger is put
into the folder on the disk.
"""
PIECE_BYTES: Final = 1 << 20
_ID: Final = re.compile(r"([0-9a-f]{64})\.([0-9a-f]{32})")


class Found(NamedTuple):
    """A file that a request is about."""

    folder: Folder
    history: History
    names: tuple[str, ...]
    row: Row


class FileRequests:
    """One daemon's."""

    def __init__(
        self,
        stored: Mapping[FolderId, StoredFolder],
        folders: Mapping[FolderId, Folder],
        name_of: Callable[[StoredFolder], str],
        requests: HistoryRequests,
    ) -> None:
        self._stored, self._folders = stored, folders
        self._name_of, self._requests = name_of, requests

    async def metadata(self, file_id: str) -> FileEntry:
        """What a file is; raises UnknownFile."""
        return self._entry(await self._find(file_id))

    async def lookup(self, path: Path) -> FileEntry:
        """The same of what is shown at a path of this machine."""
        folder, history, names = self._requests.locate(path)
        row = await folder.call(lambda: history.row_at(names))
        if row is None:
            raise UnknownFile(f"There is no file at {path}, or it is not synced yet.")
        return self._entry(Found(folder, history, names, row))

    async def read(self, file_id: str, etag: str, offset: int, size: int) -> AsyncIterator[bytes]:
        """A range of a file's bytes. Raises FileChanged, also in the middle, if they are not those
        of the ETag any more.
        """
        while size > 0:
            found = await self._find(file_id)
            _check(found, etag)
            piece = min(size, PIECE_BYTES)
            data = await found.history.read(found.names, offset, piece)
            if data is None or len(data) < piece:
                raise FileChanged
            yield data
            offset, size = offset + piece, size - piece

    async def upload(self, folder: str, path: str, data: bytes) -> FileEntry | None:
        """Makes a new file in a folder, or gives one new bytes; None until it is scanned."""
        folder_id, stored = self._folder(folder)
        names = tuple(map(exact_key, path.split("/")))
        problem = next((p for p in map(name_problem, names) if p is not None), None)
        if problem is not None or names[0] == ".holdfast":
            raise UsageError(f"{path!r} cannot be a file in a folder: {problem or 'it is ours'}.")
        at_work = self._folders.get(folder_id)
        if at_work is None or at_work.history is None or stored.path is None:
            raise UsageError(f"The folder {folder} is not on this device.")
        check_awake(at_work)
        history = at_work.history
        await self._write(at_work, history, names, data, None)
        row = await at_work.call(lambda: history.row_at(names))
        return None if row is None else self._entry(Found(at_work, history, names, row))

    async def replace(self, file_id: str, data: bytes, etag: str | None) -> None:
        """Gives a file new bytes; with an ETag only if it is still what that names."""
        found = await self._find(file_id)
        check_awake(found.folder)
        _check(found, etag)
        await self._write(found.folder, found.history, found.names, data, found.row)

    async def delete(self, file_id: str, etag: str | None) -> None:
        """Deletes a file on all devices; it is kept as a version."""
        found = await self._find(file_id)
        check_awake(found.folder)
        _check(found, etag)
        history = found.history
        if reason := await found.folder.call(lambda: history.remove(found.names, found.row)):
            raise FileChanged(reason)

    async def versions(self, file_id: str) -> VersionList:
        """What a file was."""
        return await self._requests.versions(self._place(await self._find(file_id)))

    async def restore(self, file_id: str, version: int | None, at_s: int | None) -> RestoreReport:
        """Brings an earlier version of a file back."""
        place = self._place(await self._find(file_id))
        report = await self._requests.restore(place, version, at_s, None)
        if report["failed"]:
            raise NotRestored(report["failed"][0]["reason"])
        return report

    # ------------------------------------------------------------ which

    async def _find(self, file_id: str) -> Found:
        parts = _ID.fullmatch(file_id)
        if parts is None:
            raise UnknownFile
        folder = self._folders.get(FolderId(bytes.fromhex(parts[1])))
        if folder is None or folder.history is None:
            raise UnknownFile
        history, node = folder.history, NodeId(bytes.fromhex(parts[2]))
        found = await folder.call(lambda: history.row_of(node))
        if found is None:
            raise UnknownFile
        return Found(folder, history, *found)

    def _folder(self, name_or_id: str) -> tuple[FolderId, StoredFolder]:
        found = [
            (folder_id, stored)
            for folder_id, stored in self._stored.items()
            if name_or_id in (folder_id.hex(), self._name_of(stored))
        ]
        if len(found) != 1:
            raise UnknownFile(f"There is no folder {name_or_id!r}, or more than one.")
        return found[0]

    def _place(self, found: Found) -> Path:
        root = self._stored[found.folder.folder_id].path
        assert root is not None  # there is a history only of what is attached
        return root.joinpath(*found.names)

    async def _write(
        self,
        folder: Folder,
        history: History,
        names: tuple[str, ...],
        data: bytes,
        row: Row | None,
    ) -> None:
        is_executable = row is not None and row.shown.is_executable
        now_ns = time.time_ns()
        reason = await folder.call(
            lambda: history.write(names, data, now_ns, is_executable=is_executable)
        )
        folder.wake()
        if reason:
            raise FileChanged(reason)

    def _entry(self, found: Found) -> FileEntry:
        folder_id, shown = found.folder.folder_id, found.row.shown
        content = content_of(found.row.base, shown.hash)
        mtime_ns = (
            shown.mtime_ns
            if content is None
            else shown_mtime_ns(content, found.row.base.attributes)
        )
        return {
            "id": f"{folder_id.hex()}.{found.row.id.hex()}",
            "folder": self._name_of(self._stored[folder_id]),
            "path": "/".join(found.names),
            "place": str(self._place(found)),
            "type": "symlink" if found.row.id[15] & 3 else "file",
            "size": shown.size,
            "executable": shown.is_executable,
            "modified_s": mtime_ns / 1e9,
            "written_s": content.time_s if content is not None else 0,
            "device": content.label if content is not None else "",
            "etag": etag_of(found.row),
        }


def etag_of(row: Row) -> str:
    """What names a file's bytes, as HTTP quotes it."""
    return f'"{row.shown.hash[:16].hex()}"'


def _check(found: Found, etag: str | None) -> None:
    if etag is not None and etag not in ("*", etag_of(found.row)):
        raise FileChanged
