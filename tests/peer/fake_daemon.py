"""A daemon that remembers what it was asked, for the tests of who asks it."""

from __future__ import annotations

import logging
import os
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, cast, get_type_hints

from crypto.ids import RelayId
from peer.control.control_people import UsersApi
from peer.control.control_socket import serve_control
from peer.control.log_requests import LogChoice
from peer.control.user_requests import UserRequests
from peer.errors import FileChanged, PeerError, UnknownFile
from peer.journal.daemon_log import DaemonLog
from peer.journal.event_stream import EventStream
from peer.share_links.link_entries import LinkEntry, LinkListing, NewLinkEntry, UploadLinkEntry
from peer.share_links.link_maker import Wish
from peer.share_links.upload_links import UploadWish
from peer.status import (
    BackupEntry,
    BackupList,
    Choice,
    ConflictEntry,
    ConflictList,
    DeviceList,
    FileEntry,
    FolderEntry,
    FolderList,
    FolderState,
    FolderStatus,
    HoldAnswer,
    Invitation,
    KitSheet,
    LogPage,
    NoticeEntry,
    NoticeList,
    Profile,
    RelayEntry,
    RelayList,
    RepairReport,
    RestoreReport,
    SearchAnswer,
    SearchEntry,
    SettingEntry,
    SettingList,
    Status,
    Suggestions,
    TransferEntry,
    TransferList,
    UnderWayEntry,
    VersionBytes,
    VersionEntry,
    VersionList,
)
from protocol.relay_address import RelayAddress

FOLDER_ID = "ab" * 32
DEVICE_ID = "cd" * 32
RELAY = RelayAddress("relay.example", 443, RelayId(b"r" * 32))


NOTICE: NoticeEntry = {
    "id": 7, "time_s": 1_700_000_000, "priority": "question", "kind": "conflict",
    "folder": "photos", "text": "In photos, two edits of one file were kept: a.", "count": 1,
    "read": False, "over": False,
}  # fmt: skip


LINK: NewLinkEntry = {
    "id": "A" * 22, "url": f"https://relay.example/s/{'A' * 22}#{'A' * 43}", "name": "Reise",
    "files": 3, "bytes": 1_400, "has_password": True, "made_s": 10**9, "expires_s": 2 * 10**9,
    "downloads": 1, "downloads_max": 9, "state": "live", "relay": "holdfast-relay://a",
    "device": "",
    "uploaded_bytes": 0, "manifest_bytes": 500,
}  # fmt: skip


UPLOAD_LINK: UploadLinkEntry = {
    "id": "B" * 22, "url": "https://relay.example/s/" + "B" * 22 + "#" + "B" * 43, "name": "Party",
    "place": "/data/In\x1b", "has_password": True, "made_s": 1_700_000_000, "expires_s": 0,
    "files": 3, "bytes": 5000, "files_max": 10, "file_bytes_max": 1_000_000,
    "bytes_max": 2_000_000, "refused": 1, "waiting": None, "state": "live",
    "senders": [{"label": "Ada\x1b", "files": 2, "bytes": 4000, "came_s": 1_700_000_000},
                {"label": "", "files": 1, "bytes": 1000, "came_s": 1_700_000_000}],
    "problem": "The disk has no room for it.", "relay": "holdfast-relay://a", "device": "",
}  # fmt: skip


class FakeLinks:
    """A ShareLinkApi that notes what it was asked."""

    def __init__(self, calls: list[tuple[Any, ...]] | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = [] if calls is None else calls

    async def create(self, path: Path, name: str, relay: str | None, wish: Wish) -> NewLinkEntry:
        self.calls.append(("create", path, name, relay, wish))
        return LINK

    async def listed(self) -> LinkListing:
        self.calls.append(("listed",))
        entry = {key: value for key, value in LINK.items() if key in get_type_hints(LinkEntry)}
        return {"links": [cast(LinkEntry, entry)], "requests": [UPLOAD_LINK]}

    async def request(
        self, path: Path, name: str, relay: str | None, wish: UploadWish
    ) -> UploadLinkEntry:
        self.calls.append(("request", path, name, relay, wish))
        return UPLOAD_LINK

    async def revoke(self, url_or_id: str) -> bool:
        self.calls.append(("revoke", url_or_id))
        return url_or_id != "told"


BACKUP: BackupEntry = {
    "folder": "photos", "id": FOLDER_ID, "scheme": "4/7", "state": "up to date", "problem": "",
    "health": "at risk", "packs": 9, "pack_bytes": 9 << 20, "stored_bytes": 16 << 20,
    "healthy": 7, "degraded": 1, "at_risk": 1, "lost": 0, "stored_until_s": 1_700_000_000,
    "unverified_s": 7200, "sampled_leaves": 0, "sampled_wrong": 0, "sampled_s": None,
    "warnings": ["Only 2 owners\x1b."],
    "nodes": [{"address": str(RELAY), "connected": False, "problem": "Nobody answers.", "owner": "",
               "region": "", "shares": 9, "broken": 2, "free_bytes": 0}],
    "heals": 4, "healed_s": 1_700_000_000,
    "domains": [{"kind": "owner", "name": "me", "shares": 9}],
    "outlook": {"loss_in_a_year": 1e-7, "reason": "", "assumptions": ["Nothing burns."]},
}  # fmt: skip


SETTING: SettingEntry = {
    "key": "folders.hold_files", "value": "500", "default": "500",
    "allowed": "1 to 1,000,000,000 files",
}  # fmt: skip


class FakeBackups:
    """Its copies at super-nodes."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self._note, self._coming = daemon.note, daemon.coming

    async def add(
        self, folder: str, addresses: Sequence[RelayAddress], needed: int, count: int
    ) -> BackupEntry:
        self._note("add_backup", folder, list(addresses), needed, count)
        return BACKUP

    async def remove(self, folder: str) -> None:
        self._note("remove_backup", folder)

    async def repair(self, folder: str) -> RepairReport:
        self._note("repair_backup", folder)
        return {"folder": folder, "rebuilt": 3, "lacking": 2, "lost": 1, "away": [str(RELAY)]}

    async def every(self) -> BackupList:
        self._note("backups")
        changes = self._coming.pop(0) if self._coming else {}
        return {"backups": [cast(BackupEntry, BACKUP | changes)], "kit": True}

    async def show_kit(self, kit: str) -> KitSheet:
        self._note("show_kit", kit)
        return {"kit": kit, "user": DEVICE_ID, "relays": [str(RELAY)]}


class FakeHome:
    """Its settings."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self._note = daemon.note

    async def settings(self) -> SettingList:
        self._note("settings")
        return {"settings": [SETTING]}

    async def set(self, key: str, value: str) -> SettingEntry:
        self._note("set", key, value)
        return SETTING


class FakeFiles:
    """Files by their ids, in memory."""

    def __init__(self) -> None:
        self.there: dict[str, bytes] = {}

    def put(self, path: str, data: bytes) -> None:
        self.there[path] = data

    def _path(self, file_id: str) -> str:
        for path in self.there:
            if self._entry(path)["id"] == file_id:
                return path
        raise UnknownFile

    def _entry(self, path: str) -> FileEntry:
        if path not in self.there:
            raise UnknownFile
        data = self.there[path]
        return {
            "id": f"{FOLDER_ID}.{sha256(path.encode()).hexdigest()[:32]}", "folder": "photos",
            "path": path, "place": path, "type": "file", "size": len(data), "executable": False,
            "modified_s": 1e9, "written_s": 10**9, "device": "be\x1bta",
            "etag": f'"{sha256(data).hexdigest()}"',
        }  # fmt: skip

    async def metadata(self, file_id: str) -> FileEntry:
        return self._entry(self._path(file_id))

    async def lookup(self, path: Path) -> FileEntry:
        return self._entry(str(path))

    async def read(self, file_id: str, etag: str, offset: int, size: int) -> AsyncIterator[bytes]:
        yield self.there[self._path(file_id)][offset : offset + size]

    async def replace(self, file_id: str, data: bytes, etag: str | None) -> None:
        path = self._path(file_id)
        if etag not in (None, self._entry(path)["etag"]):
            raise FileChanged
        self.there[path] = data

    async def upload(self, folder: str, path: str, data: bytes) -> FileEntry | None:
        raise UnknownFile

    async def delete(self, file_id: str, etag: str | None) -> None:
        raise UnknownFile

    async def versions(self, file_id: str) -> VersionList:
        raise UnknownFile

    async def restore(self, file_id: str, version: int | None, at_s: int | None) -> RestoreReport:
        raise UnknownFile


class FakeTransfers:
    """What is on its way."""

    def __init__(self, note: Callable[..., None]) -> None:
        self._note = note
        self.entries: list[TransferEntry] = [
            {"folder": "photos", "folder_id": FOLDER_ID, "path": "a/la\x1brge", "size": 1_400_000,
             "done_bytes": 350_000, "paused": False},
        ]  # fmt: skip
        self.under_way: list[UnderWayEntry] = []
        self.asked = 0

    async def listed(self) -> TransferList:
        self.asked += 1
        return {"transfers": self.entries, "more": 2, "under_way": self.under_way}

    async def pause(self, path: Path) -> None:
        self._note("pause_transfer", path)
        self._set(path, is_paused=True)

    async def resume(self, path: Path) -> None:
        self._note("resume_transfer", path)
        self._set(path, is_paused=False)

    def _set(self, path: Path, *, is_paused: bool) -> None:
        for entry in self.entries:
            if str(path).endswith(entry["path"]):
                entry["paused"] = is_paused


def said() -> DaemonLog:
    """What the daemon has said, at one time."""
    log, failed = DaemonLog(), "The request /api/x failed.\nTraceback\nValueError: be\x1bta"
    for level, name, text in (
        (logging.INFO, "peer.connectivity.network", "be\x1bta: linked by tls"),
        (logging.WARNING, "peer.folders.folder", "no space: The disk is full."),
        (logging.ERROR, "peer.control.control", failed.split("\n")[0]),
    ):
        record = logging.LogRecord(name, level, "", 0, text, None, None)
        record.created = 1_700_000_000.0
        if level == logging.ERROR:
            record.exc_text = failed.partition("\n")[2].replace("\x1b", "\\x1b")
        log.handle(record)
    return log


class FakeUsers(UserRequests):
    """The real ones, of a device whose key file is locked."""

    def _is_locked(self) -> bool:
        return True


class FakeDaemon:
    """A DaemonApi. Each call is noted; `failure`, when set, is what the next calls raise."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.share_links = FakeLinks(self.calls)
        self.coming: list[dict[str, object]] = []
        """What is otherwise of its copies, look by look."""
        self.transfers = FakeTransfers(self.note)
        self.files = FakeFiles()
        self.home_requests = FakeHome(self)
        self.log_lines = said()
        self.old = b"what it was\n"
        self.acts: list[tuple[str, dict[str, Any]]] = []
        self.events = EventStream()
        self.logins = FakeUsers(Path("key"), self.profile)
        self.failure: Exception | None = None
        self.gone: list[VersionEntry] = []
        self.copies: list[ConflictEntry] = [
            {"folder": "photos", "path": "a (conflict be\x1bta).txt", "place": "/data/photos/a",
             "original": "a.txt", "device": "be\x1bta", "written_s": 10**9, "size": 1_400}
        ]  # fmt: skip
        self.names = ["photos"]
        self.path: str | None = "/data/photos"
        self.state = FolderState.SYNCING
        self.question = ""
        self.errors = [{"path": "a/b", "reason": "It is a socket, and sockets are not synced."}]

    @property
    def backups(self) -> FakeBackups:
        return FakeBackups(self)

    async def profile(self) -> Profile:
        device = (await self.devices())["devices"][0]
        return {"user": "cd" * 32, "device": device, "devices": 2, "folders": 1}

    def note(self, *call: Any) -> None:
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure

    def entry(self, path: Path | None) -> FolderEntry:
        return {
            "id": FOLDER_ID,
            "name": "photos",
            "path": None if path is None else str(path),
            "state": FolderState.IN_SYNC,
        }

    def folder(self, number: int) -> FolderStatus:
        name = self.names[number]
        folder: FolderStatus = {
            "id": FOLDER_ID if name == "photos" else name.encode().hex(),
            "name": name,
            "path": self.path,
            "state": self.state,
            "files": 10,
            "bytes": 5_000_000,
            "need_files": 3,
            "need_bytes": 1_400_000,
            "errors": [{"path": one["path"], "reason": one["reason"]} for one in self.errors],
        }
        waiting = [one for one in self.transfers.entries if one["paused"]]
        if waiting and folder["id"] == FOLDER_ID:
            folder["paused_files"] = len(waiting)
            folder["paused_bytes"] = sum(one["size"] - one["done_bytes"] for one in waiting)
            folder["need_bytes"] -= folder["paused_bytes"]
        if self.question:
            folder["question"] = self.question
        return folder

    async def status(self) -> Status:
        self.note("status")
        return {
            "device": {
                "id": DEVICE_ID,
                "name": "alpha",
                "this": True,
                "connected": False,
                "last_seen_s": None,
            },
            "folders": [self.folder(number) for number in range(len(self.names))],
            "links": [
                {
                    "device": "ef" * 32,
                    "name": "beta\x1b[2J",
                    "kind": "tls",
                    "path": "lan",
                    "round_trip_s": 0.0123,
                    "direct_problem": "",
                    "address": "192.0.2.7:22330",
                    "sent_bytes": 10,
                    "received_bytes": 20,
                    "sent_bytes_s": 0.0,
                    "received_bytes_s": 0.0,
                }
            ],
            "totals": {"sent_bytes": 10, "received_bytes": 20},
        }

    async def invite(self) -> Invitation:
        self.note("invite")
        return {"code": "7-crossover-clockwork", "expires_s": 600, "relays": [str(RELAY)]}

    async def add_folder(self, path: Path, name: str) -> FolderEntry:
        self.note("add_folder", path, name)
        return self.entry(path)

    async def folders(self) -> FolderList:
        self.note("folders")
        return {"folders": [self.entry(None)]}

    async def attach_folder(self, name_or_id: str, path: Path) -> FolderEntry:
        self.note("attach_folder", name_or_id, path)
        return self.entry(path)

    async def remove_folder(self, name_or_id: str) -> None:
        self.note("remove_folder", name_or_id)

    async def devices(self) -> DeviceList:
        self.note("devices")
        this = (await self.status())["device"]
        seen: Any = {**this, "id": "12" * 32, "name": "gamma", "this": False, "last_seen_s": 7300.0}
        return {"devices": [this, seen]}

    async def remove_device(self, name_or_id: str) -> None:
        self.note("remove_device", name_or_id)

    async def add_relay(self, address: RelayAddress, token: bytes = b"") -> RelayEntry:
        self.note("add_relay", address, *([token] if token else []))
        return {"address": str(address), "connected": True, "problem": ""}

    async def list_relays(self) -> RelayList:
        self.note("list_relays")
        lost: RelayEntry = {"address": str(RELAY), "connected": False, "problem": "It is\x1b gone."}
        return {"relays": [lost]}

    async def remove_relay(self, address_or_host: str) -> None:
        self.note("remove_relay", address_or_host)

    async def pause(self, name_or_id: str | None) -> None:
        self.note("pause", name_or_id)

    async def resume(self, name_or_id: str | None) -> None:
        self.note("resume", name_or_id)

    async def answer_hold(self, name_or_id: str, answer: HoldAnswer) -> None:
        self.note("answer_hold", name_or_id, answer)

    async def conflicts(self) -> ConflictList:
        self.note("conflicts")
        return {"conflicts": self.copies}

    async def resolve(self, path: Path, choice: Choice) -> None:
        self.note("resolve", path, choice)

    async def merge(self, path: Path, text: str) -> None:
        self.note("merge", path, text)

    async def log(self, choice: LogChoice) -> LogPage:
        self.note("log", choice)
        last = 9 if choice.cursor is None else 4
        return {
            "entries": [
                {"number": number, "time": 1_700_000_000, "what": "changed", "by": "be\x1bta",
                 "folder": "photos",
                 "text": f"photos: the file number {number}\x1b[2J was changed."}
                for number in range(last, max(0, last - 5), -1)
            ],
            "next": "5-1700000000" if choice.cursor is None else None,
        }  # fmt: skip

    @property
    def users(self) -> UsersApi:
        return self.logins

    async def search(self, query: str, limit: int) -> SearchAnswer:
        self.note("search", query, limit)
        found: SearchEntry = {
            "folder": "photos", "path": "a/no\x1bte", "place": "/data/photos/a/note",
            "directory": False, "size": 1_400, "modified_s": 1e9,
        }  # fmt: skip
        above: SearchEntry = {**found, "path": "a", "directory": True, "modified_s": None}
        above["place"] = "/data/photos/a"
        return {"query": query, "found": [found, above] if query != "none" else [], "more": True}

    async def suggest(self, query: str, limit: int) -> Suggestions:
        self.note("suggest", query, limit)
        return {"query": query, "suggestions": [f"{query}day", f"{query} two"]}

    async def versions(self, path: Path) -> VersionList:
        self.note("versions", path)
        return {
            "path": str(path),
            "root": "/data/photos",
            "versions": [self.version(0), self.version(7)],
        }

    async def read_version(self, path: Path, version: int) -> VersionBytes:
        self.note("read_version", path, version)
        return {"version": version, "size": 9, "data": b64encode(self.old).decode()}

    async def deleted(self, path: Path) -> VersionList:
        self.note("deleted", path)
        return {"path": str(path), "root": "/data/photos", "versions": self.gone}

    def version(self, number: int) -> VersionEntry:
        return {
            "version": number, "path": "a/no\x1bte", "size": 1_400, "written_s": 10**9,
            "ended_s": 10**9 + 60 if number else None, "device": "beta",
            "deleted": bool(number), "here": not number,
        }  # fmt: skip

    async def restore(
        self, path: Path, version: int | None, at_s: int | None, out: Path | None
    ) -> RestoreReport:
        self.note("restore", path, version, at_s, out)
        return {
            "restored": [] if self.errors else [str(out or path)],
            "failed": [{"path": one["path"], "reason": one["reason"]} for one in self.errors],
            "unchanged": 0,
        }

    async def restore_folder(self, path: Path, at_s: int, *, is_dry: bool) -> RestoreReport:
        self.note("restore_folder", path, at_s, is_dry)
        return {"restored": ["a", "b"], "failed": [], "unchanged": 0}

    async def stop(self) -> None:
        self.note("stop")

    @property
    def witness(self) -> FakeDaemon:
        return self

    def acted(self, path: str, members: Mapping[str, Any]) -> None:
        self.acts.append((path, dict(members)))

    async def notifications(self, *, unread_only: bool, limit: int) -> NoticeList:
        self.note("notifications", unread_only, limit)
        return {"notifications": [NOTICE], "unread": 1}

    async def mark_as_read(self, ids: Sequence[int] | None) -> int:
        self.note("mark_as_read", ids)
        return 1


class Refusal(PeerError):
    """An error that only a test knows."""

    exit_code = 99


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[FakeDaemon]:
    """A fake daemon behind the real control API in this home."""
    os.makedirs(home, mode=0o700, exist_ok=True)
    daemon = FakeDaemon()
    async with serve_control(daemon, home):
        yield daemon
