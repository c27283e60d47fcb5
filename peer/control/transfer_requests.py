"""What a person sees of bytes on their way: the files that this device is fetching just now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from crypto.ids import FolderId, NodeId
from peer.control.under_way import UnderWay
from peer.core.lacking import places
from peer.core.versions import PATH_SEPARATOR
from peer.device.home_store import Folder as StoredFolder
from peer.folders.fetcher import Fetcher
from peer.folders.folder import Folder
from peer.folders.pausing import Pausing
from peer.history.history_requests import locate
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
        """The files on their way; those that were begun stand first, then the largest, and last
        those that are paused.
        """
        entries: list[TransferEntry] = []
        waiting = 0
        for stored in list(self._stored()):
            folder = self._folders.get(stored.folder_id)
            fetcher = None if folder is None else folder.fetcher
            if folder is None or fetcher is None or folder.is_closed:
                continue
            moving, paused = _moving(fetcher), _paused(fetcher)
            waiting += max(0, len(moving) - LISTED_MAX) + max(0, len(paused) - LISTED_MAX)
            listed = [*moving[:LISTED_MAX], *paused[:LISTED_MAX]]
            owners = [one.owner for one in listed]
            where = await folder.drive(places(folder.engine.directories, owners))
            name, folder_id = self._name_of(stored), folder.folder_id.hex()
            for one in listed:
                path = PATH_SEPARATOR.join(where.get(one.owner, ()))
                entries.append({
                    "folder": name, "folder_id": folder_id, "path": path, "size": one.size,
                    "done_bytes": max(0, one.size - one.lacking), "paused": one.is_paused,
                })  # fmt: skip
        return {"transfers": entries, "more": waiting, "under_way": self.now.listed()}

    async def pause(self, path: Path) -> None:
        """Lets a file that is on its way wait. Raises NotInFolder, NotOnItsWay."""
        folder, _, names = locate(self._stored(), self._folders, path)
        await folder.call(lambda: _pausing(folder).pause(names))

    async def resume(self, path: Path) -> None:
        """Lets it go on. Raises the same."""
        folder, _, names = locate(self._stored(), self._folders, path)
        await folder.call(lambda: _pausing(folder).resume(names))


class _Listed(NamedTuple):
    owner: NodeId
    size: int
    lacking: int
    is_paused: bool = False


def _moving(fetcher: Fetcher) -> list[_Listed]:
    """Those that were begun stand first, then the largest."""
    jobs = list(fetcher.jobs.values())
    jobs.sort(key=lambda job: (not job.is_begun, -job.content.size))
    return [
        _Listed(next(iter(job.owners), job.key[0]), job.content.size, job.lacking_bytes)
        for job in jobs
    ]


def _paused(fetcher: Fetcher) -> list[_Listed]:
    found = [
        _Listed(need.owner, need.content.size, fetcher.resting_bytes(key), is_paused=True)
        for key, need in fetcher.resting.items()
    ]
    return sorted(found, key=lambda one: -one.size)


def _pausing(folder: Folder) -> Pausing:
    assert folder.delivery is not None  # who locates a path finds folders that have one
    return folder.delivery.pausing
