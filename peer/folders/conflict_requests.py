"""What a person asks of the conflicts of all folders of this device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from crypto.ids import FolderId
from peer.device.home_store import Folder as StoredFolder
from peer.errors import NotResolved
from peer.folders.conflicts import Conflict
from peer.folders.folder import Folder
from peer.history.history_requests import check_awake
from peer.status import Choice, ConflictEntry, ConflictList


class ConflictRequests:
    """One daemon's."""

    def __init__(
        self,
        stored: Callable[[], Iterable[StoredFolder]],
        folders: Mapping[FolderId, Folder],
        name_of: Callable[[StoredFolder], str],
        locate: Callable[[Path], tuple[Folder, object, tuple[str, ...]]],
    ) -> None:
        self._stored, self._folders = stored, folders
        self._name_of, self._locate = name_of, locate

    async def list(self) -> ConflictList:
        """All conflict copies."""
        entries: list[ConflictEntry] = []
        for stored in list(self._stored()):
            folder = self._folders.get(stored.folder_id)
            if stored.path is None or folder is None or folder.conflicts is None:
                continue
            found = await folder.call(folder.conflicts.list)
            name, root = self._name_of(stored), stored.path
            entries += [_entry(name, root, one) for one in found]
        return {"conflicts": entries}

    async def resolve(self, path: Path, choice: Choice) -> None:
        """Does what a person decided about a copy; raises NotResolved."""
        folder, _, names = self._locate(path)
        check_awake(folder)
        conflicts = folder.conflicts
        assert conflicts is not None  # there is one where there is a history
        if reason := await folder.call(lambda: conflicts.resolve(names, choice)):
            raise NotResolved(reason)

    async def merge(self, path: Path, text: str) -> None:
        """Puts a text that a person made of both in the place of the original; raises
        NotResolved.
        """
        folder, _, names = self._locate(path)
        check_awake(folder)
        conflicts, data = folder.conflicts, text.encode(errors="replace")
        assert conflicts is not None
        reason = await folder.call(lambda: conflicts.merge(names, data, time.time_ns()))
        folder.wake()
        if reason:
            raise NotResolved(reason)


def _entry(name: str, root: Path, one: Conflict) -> ConflictEntry:
    return {
        "folder": name, "path": "/".join(one.path), "place": str(root.joinpath(*one.path)),
        "original": "/".join(one.original), "device": one.label, "written_s": one.written_s,
        "size": one.size,
    }  # fmt: skip
