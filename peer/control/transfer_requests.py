"""What a person sees of bytes on their way: the files that this device is fetching just now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final

from crypto.ids import FolderId
from peer.control.under_way import UnderWay
from peer.device.home_store import Folder as StoredFolder
from peer.folders.fetcher import Job
from peer.folders.folder import Folder
from peer.status import TransferEntry, TransferList

LISTED_MAX: Final = 50
"""Of a folder: more than a screen shows, and cheap to count every second."""


class TransferRequests:
    """One daemon's."""

    def __init__(
        self,
        stored: Callable[[], Iterable[StoredFolder]],
        folders: Mapping[FolderId, Folder],
        name_of: Callable[[StoredFolder], str],
    ) -> None:
        self._stored, self._folders, self._name_of = stored, folders, name_of
        self.now = UnderWay()
        """What it was asked to do and has not done yet; whoever does it says so there."""

    async def listed(self) -> TransferList:
        """The files on their way; those that were begun stand first, then the largest."""
        entries: list[TransferEntry] = []
        waiting = 0
        for stored in list(self._stored()):
            folder = self._folders.get(stored.folder_id)
            fetcher = None if folder is None else folder.fetcher
            if folder is None or fetcher is None or folder.is_closed:
                continue
            jobs = list(fetcher.jobs.values())
            jobs.sort(key=lambda job: (not job.is_begun, -job.content.size))
            waiting += max(0, len(jobs) - LISTED_MAX)
            for job in islice(jobs, LISTED_MAX):
                entries.append(await _entry(self._name_of(stored), folder, job))
        return {"transfers": entries, "more": waiting, "under_way": self.now.listed()}


async def _entry(name: str, folder: Folder, job: Job) -> TransferEntry:
    owner = next(iter(job.owners), job.key[0])
    path = await folder.drive(folder.engine.path_of(owner))
    return {
        "folder": name, "folder_id": folder.folder_id.hex(), "path": "/".join(path or ()),
        "size": job.content.size, "done_bytes": max(0, job.content.size - job.lacking_bytes),
    }  # fmt: skip
