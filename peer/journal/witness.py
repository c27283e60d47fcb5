"""Notices what happens on this device, and tells who keeps it: the audit trail, and the board of
what a person should hear of.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from crypto.ids import DeviceId, FolderId
from peer.control.log_requests import LogChoice, page_of
from peer.core.deeds import Deeds
from peer.device.config import KEYS, Config
from peer.device.home import Home
from peer.device.home_store import Folder as StoredFolder
from peer.device.home_store import FolderState as StoredState
from peer.device.ledgers import Ledgers
from peer.errors import PeerError
from peer.folders.conflicts import LISTED_MAX
from peer.folders.folder import Folder
from peer.folders.progress import CHANGING
from peer.journal.event_stream import EventStream
from peer.journal.notice_outlets import Outlet, open_outlets
from peer.journal.notices import NoticeBoard
from peer.journal.trail import Trail
from peer.reporting import Reports
from peer.share_links.upload_intake import Came, Trouble
from peer.status import FolderState, LogPage, NoticeList

LOOK_INTERVAL_S: Final = 2.0
"""Soon enough for what a person is told; a look costs some microseconds a folder."""
LOOKS_TO_SUSPECT: Final = 15
"""Looks between two at what the logs prove, which asks the database for names."""
STEADY_LOOKS: Final = 2
"""What passes within a look is no trouble."""
CHANGING_S: Final = 600
"""A file that is written for longer is no copy that comes to its end."""
SYNCED_CHANGES_MIN: Final = 50
"""Fewer changes from others come and go all day, and are in the trail."""
SETTING: Final = "notices"
CONFIG_SETTING: Final = "config told"
PRIVATE_KEYS: Final = frozenset({"notifications.command", "notifications.webhook"})
"""Their values may hold a secret of another program's."""
TROUBLES: Final = frozenset({FolderState.NO_DISK, FolderState.NO_SPACE, FolderState.TROUBLE})

log = logging.getLogger(__name__)


class Witness:
    """One daemon's."""

    def __init__(
        self,
        home: Home,
        ledgers: Ledgers,
        stored: Mapping[FolderId, StoredFolder],
        folders: Mapping[FolderId, Folder],
        reports: Reports,
        config: Config,
        linked: Callable[[], Iterable[DeviceId]],
    ) -> None:
        """`linked`: the devices that there is a link to."""
        self._home, self._ledgers, self._config = home, ledgers, config
        self._stored, self._folders, self._reports = stored, folders, reports
        self._linked_now = linked
        self._devices: set[DeviceId] = set()
        self._known: set[FolderId] = set()
        self._nameless: set[FolderId] = set()
        """Folders that were offered and whose name has not come yet."""
        self._states: dict[FolderId, tuple[FolderState, int]] = {}
        """How each folder stood at the last look, and for how many looks before."""
        self._changing_since: dict[FolderId, int] = {}
        """Since when nothing is amiss but that files are being written."""
        self._came: dict[FolderId, int] = {}
        """Changes from others since the folder was in sync."""
        self._outlets: list[Outlet] = []
        self._saved = 0
        self._looks = 0
        self._has_decided = False
        self._touched: set[FolderId] = set()
        """Folders in which something was done since their conflicts were counted."""
        self.trail = Trail(home.path, home.keys)
        self.board = NoticeBoard()
        self.events = EventStream()
        self._linked: set[DeviceId] = set()
        self._announced = 0
        """The board's version that was told of last."""

    async def open(self, name: str, *, is_suspect: bool) -> list[str]:
        """From here on what happens is told; says what was found wrong with the trail."""
        self.board = NoticeBoard(await self._home.store.setting(SETTING))
        config = self._config
        self._outlets = open_outlets(
            config.notice_command, config.notice_webhook, name, desktop=config.notice_desktop
        )
        for outlet in self._outlets:
            outlet.on_settled = self.board.settle
            for waiting in self.board.waiting_for(outlet.name):
                outlet.put(waiting)
        notices = self.trail.open(name, begins_anew=is_suspect)
        for notice in notices:
            self.board.tell("trail", int(time.time()), about=notice)
        await self._note_settings()
        return notices

    async def _note_settings(self) -> None:
        """What a person has set otherwise since the last run is in the trail."""
        values = {key: getattr(self._config, field) for field, key in KEYS.items()}
        now = {key.dotted: json.dumps(key.write(value)) for key, value in values.items()}
        # What an earlier version of Holdfast has kept is in Python's words.
        earlier = {key.dotted: repr(value) for key, value in values.items()}
        kept = await self._home.store.setting(CONFIG_SETTING)
        before: dict[str, str] = {} if kept is None else json.loads(kept)
        changed = [k for k, v in now.items() if before.get(k, v) not in (v, earlier[k])]
        for key in changed:
            value = "another" if key in PRIVATE_KEYS else now[key]
            self.trail.note("setting", key=key, value=value)
        if kept is None or changed:
            async with self._home.store.transaction() as write:
                await write.put_setting(CONFIG_SETTING, json.dumps(now).encode())

    def begin(self) -> None:
        """What there is now is no news."""
        self._devices = set(self._ledgers.user.live_devices())
        self._known = set(self._stored)
        self._touched = set(self._stored)

    # ------------------------------------------------------------ what is said

    async def membership_changed(self) -> None:
        """Ledgers have grown: devices may have come and gone, and folders may be offered."""
        live = set(self._ledgers.user.live_devices())
        came, went = live - self._devices, self._devices - live
        new = (s for i, s in self._stored.items() if i not in self._known)
        self._nameless |= {s.folder_id for s in new if s.state is StoredState.OFFERED}
        self._devices, self._known = live, set(self._stored)
        if came or went:
            names = {d.device_id: d.name for d in await self._home.store.devices()}
            for device_id in sorted(came):
                self._told("joined", device_id, names)
            for device_id in sorted(went):
                self._told("removed", device_id, names)

    def _told(self, what: str, device_id: DeviceId, names: Mapping[DeviceId, str]) -> None:
        name = names.get(device_id, "")
        self.trail.note(what, **{what: device_id.hex()}, name=name)
        self.board.tell(what, int(time.time()), about=name or device_id.hex()[:8])
        self.events.publish("device", id=device_id.hex(), name=name, change=what)
        self._announce()

    def deeds(self, folder: Folder, deeds: Sequence[object]) -> None:
        """Somebody has done something to files of this folder."""
        book, own = folder.engine.book, self._home.keys.device_id
        stored = self._stored.get(folder.folder_id)
        name = folder.engine.name if stored is None else self._reports.name_of(stored)
        told = [one for one in deeds if isinstance(one, Deeds)]
        authors = {
            one.author: found[0] if (found := book.device_of(one.author)) is not None else None
            for one in told
        }
        self.trail.files(name, told, authors.get)
        self._touched.add(folder.folder_id)
        for one in told:
            if authors[one.author] not in (own, None):
                count = self._came.get(folder.folder_id, 0) + sum(one.counts.values())
                self._came[folder.folder_id] = count
            counts = {what.value: count for what, count in one.counts.items()}
            self.events.publish("files", folder=name, by=one.label, counts=counts)
            for path in one.conflicts:
                self.board.tell("conflict", int(time.time()), folder=name, about=path)
        self._announce()

    def received(self, folder_id: FolderId, link: str, what: Came | Trouble) -> None:
        """A stranger's file has come by an upload link, or was not taken."""
        stored, now_s = self._stored.get(folder_id), int(time.time())
        folder = "" if stored is None else self._reports.name_of(stored)
        match what:
            case Came(label, path):
                self.trail.note("received", folder=folder, link=link, label=label, path=path)
                self.board.tell("received", now_s, folder, label)
                self.events.publish("received", folder=folder, label=label, path=path)
            case Trouble(reason):
                about = f"a file that came by the upload link {link} was not taken: {reason}."
                self.board.tell("warning", now_s, folder, about)
        self._announce()

    def acted(self, path: str, members: Mapping[str, Any]) -> None:
        """A person, or a program of theirs, had the daemon do something."""
        self.trail.asked(path, members)
        self.events.publish("asked", path=path)

    def decided(self) -> None:
        """A person has resolved a conflict: the next look finds the disk so."""
        self._has_decided = True

    def link_changed(self) -> None:
        """Devices are linked that were not, or the other way round."""
        linked = set(self._linked_now())
        for device_id in sorted(linked ^ self._linked):
            change = "linked" if device_id in linked else "lost"
            self.events.publish("device", id=device_id.hex(), change=change)
        self._linked = linked

    def _announce(self) -> None:
        """Tells who follows that the board has changed."""
        if self.board.version != self._announced:
            self._announced = self.board.version
            self.events.publish("notifications", unread=self.board.unread)

    # ------------------------------------------------------------ what has to be looked for

    async def run(self) -> None:
        """Looks from time to time for what nobody says, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.trail.run())
            for outlet in self._outlets:
                tasks.create_task(outlet.run())
            while True:
                await asyncio.sleep(LOOK_INTERVAL_S)
                self.look()
                is_time = self._looks % LOOKS_TO_SUSPECT == 1
                if is_time:
                    await self._suspect()
                    await self.name_devices()
                if is_time or self._has_decided:
                    await self.settle_conflicts()
                await self.save()

    def look(self) -> None:
        """What has come about since it was last looked for."""
        now_s = int(time.time())
        self._looks += 1
        for folder_id in list(self._nameless):
            name = self._reports.name_of(self._stored[folder_id])
            if name:
                self._nameless.discard(folder_id)
                self.trail.note("offered", folder=name, id=folder_id.hex())
                self.board.tell("offered", now_s, folder=name)
        for stored in list(self._stored.values()):
            self._look_at(stored, now_s)
        self.link_changed()
        self._announce()
        for notice in self.board.take_due(now_s, [outlet.name for outlet in self._outlets]):
            for outlet in self._outlets:
                outlet.put(notice)

    def _look_at(self, stored: StoredFolder, now_s: int) -> None:
        folder_id, name = stored.folder_id, self._reports.name_of(stored)
        if stored.path is not None:
            self.board.end("offered", name, now_s)
        state, reason = self._reports.brief(stored)
        before, looks = self._states.get(folder_id, (state, 0))
        looks = looks + 1 if state is before else 1
        if state is not before or looks == 1:
            self.events.publish("folder", id=folder_id.hex(), name=name, state=state.value)
        self._states[folder_id] = state, looks
        if looks < STEADY_LOOKS:
            return
        is_passing = self._is_passing(folder_id, reason, now_s)
        if state in TROUBLES and reason and not is_passing:
            self.board.tell("trouble", now_s, folder=name, about=reason)
        else:
            self.board.end("trouble", name, now_s)
        if state is FolderState.ASKING:
            self.board.tell("asking", now_s, folder=name, about=reason)
        else:
            self.board.end("asking", name, now_s)
        if state is FolderState.IN_SYNC:
            count = self._came.pop(folder_id, 0)
            if count >= SYNCED_CHANGES_MIN:
                self.board.tell("synced", now_s, folder=name, count=count)

    def _is_passing(self, folder_id: FolderId, reason: str, now_s: int) -> bool:
        """Whether nothing is amiss but that a file is being written, as by a copy."""
        if CHANGING not in reason:
            self._changing_since.pop(folder_id, None)
            return False
        return now_s - self._changing_since.setdefault(folder_id, now_s) < CHANGING_S

    async def _suspect(self) -> None:
        for folder in list(self._folders.values()):
            stored = self._stored.get(folder.folder_id)
            for sentence in await self._reports.suspicions(folder) if stored is not None else ():
                name = folder.engine.name
                self.board.tell("warning", int(time.time()), folder=name, about=sentence)

    async def name_devices(self) -> None:
        """A device that came by the recovery kit says its name only once it is linked."""
        with suppress(sqlite3.Error):
            for device in await self._home.store.devices():
                if device.name:
                    self.board.name("joined", device.device_id.hex()[:8], device.name)
        self._announce()

    async def settle_conflicts(self) -> None:
        """Of conflicts that were resolved, here or on another device, nobody has to read."""
        self._has_decided = False
        for folder_id in list(self._touched):
            stored, folder = self._stored.get(folder_id), self._folders.get(folder_id)
            name = "" if stored is None else self._reports.name_of(stored)
            if not self.board.has_conflicts(name):
                self._touched.discard(folder_id)
                continue
            if folder is None or folder.conflicts is None or folder.is_paused:
                continue
            if folder.progress.state is not FolderState.IN_SYNC:
                continue  # what has come may be one, and is not shown yet
            self._touched.discard(folder_id)
            # A folder may be opened anew meanwhile; it is looked at again when it is touched.
            with suppress(TimeoutError, sqlite3.Error, PeerError):
                async with asyncio.timeout(LOOK_INTERVAL_S):
                    left = await folder.call(folder.conflicts.list)
                if len(left) < LISTED_MAX:
                    self.board.settle_conflicts(name, ["/".join(one.path) for one in left])
        self._announce()

    # ------------------------------------------------------------ the board

    async def notifications(self, *, unread_only: bool, limit: int) -> NoticeList:
        """What a person should hear of."""
        listed = self.board.listed(unread_only=unread_only, limit=limit)
        return {"notifications": listed, "unread": self.board.unread}

    async def log(self, choice: LogChoice) -> LogPage:
        """A page of the audit trail."""
        return await asyncio.to_thread(page_of, self.trail.directory, choice)

    async def mark_as_read(self, ids: Sequence[int] | None) -> int:
        """A person has read these, or all; says how many they had not."""
        count = self.board.mark_as_read(ids)
        self._announce()
        await self.save()
        return count

    async def save(self) -> None:
        """Keeps the board over a restart, if it has changed."""
        version = self.board.version
        if version == self._saved:
            return
        try:
            async with self._home.store.transaction() as write:
                await write.put_setting(SETTING, self.board.encode())
        except sqlite3.OperationalError as error:
            log.warning("the notifications cannot be kept: %s", error)
            return  # they are tried again at the next look
        self._saved = version

    async def close(self) -> None:
        """The last word."""
        await self.save()
        self.trail.close()
