"""Notices what happens on this device and tells who keeps it: the audit trail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from crypto.ids import DeviceId, FolderId
from peer.deeds import Deeds
from peer.folder import Folder
from peer.home import Home
from peer.home_store import Folder as StoredFolder
from peer.home_store import FolderState as StoredState
from peer.ledgers import Ledgers
from peer.trail import Trail

LOOK_INTERVAL_S: Final = 2.0
"""Soon enough for what a person is told; a look costs some microseconds a folder."""


class Witness:
    """One daemon's."""

    def __init__(
        self,
        home: Home,
        ledgers: Ledgers,
        stored: Mapping[FolderId, StoredFolder],
        name_of: Callable[[StoredFolder], str],
    ) -> None:
        self._home, self._ledgers = home, ledgers
        self._stored, self._name_of = stored, name_of
        self._devices: set[DeviceId] = set()
        self._folders: set[FolderId] = set()
        self._nameless: set[FolderId] = set()
        """Folders that were offered and whose name has not come yet."""
        self.trail = Trail(home.path, home.keys)

    def open(self, name: str, *, is_suspect: bool) -> list[str]:
        """From here on what happens is told; says what was found wrong with the trail."""
        return self.trail.open(name, begins_anew=is_suspect)

    def begin(self) -> None:
        """What there is now is no news."""
        self._devices = set(self._ledgers.user.live_devices())
        self._folders = set(self._stored)

    async def membership_changed(self) -> None:
        """Ledgers have grown: devices may have come and gone, and folders may be offered."""
        live = set(self._ledgers.user.live_devices())
        came, went = live - self._devices, self._devices - live
        new = (s for i, s in self._stored.items() if i not in self._folders)
        self._nameless |= {s.folder_id for s in new if s.state is StoredState.OFFERED}
        self._devices, self._folders = live, set(self._stored)
        if came or went:
            names = {d.device_id: d.name for d in await self._home.store.devices()}
            for device_id in sorted(came):
                self._told("joined", device_id, names)
            for device_id in sorted(went):
                self._told("removed", device_id, names)

    async def run(self) -> None:
        """Looks from time to time for what nobody says, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.trail.run())
            while True:
                await asyncio.sleep(LOOK_INTERVAL_S)
                self.look()

    def look(self) -> None:
        """What has come about since it was last looked for."""
        for folder_id in list(self._nameless):
            name = self._name_of(self._stored[folder_id])
            if name:
                self._nameless.discard(folder_id)
                self.trail.note("offered", folder=name, id=folder_id.hex())

    def _told(self, what: str, device_id: DeviceId, names: Mapping[DeviceId, str]) -> None:
        self.trail.note(what, **{what: device_id.hex()}, name=names.get(device_id, ""))

    def deeds(self, folder: Folder, deeds: Sequence[object]) -> None:
        """Somebody has done something to files of this folder."""
        book = folder.engine.book
        stored = self._stored.get(folder.folder_id)
        name = folder.engine.name if stored is None else self._name_of(stored)
        self.trail.files(
            name,
            [one for one in deeds if isinstance(one, Deeds)],
            lambda log: found[0] if (found := book.device_of(log)) is not None else None,
        )

    def acted(self, path: str, members: Mapping[str, Any]) -> None:
        """A person, or a program of theirs, had the daemon do something."""
        self.trail.asked(path, members)

    def close(self) -> None:
        """The last word."""
        self.trail.close()
