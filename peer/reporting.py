"""What a daemon tells of itself: status, folders and devices, put together from those who know."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from crypto.ids import DeviceId, FolderId
from peer.connectivity.connection import Connection
from peer.connectivity.network import Network
from peer.connectivity.staleness import silent_s
from peer.connectivity.staleness import warning as stale_warning
from peer.connectivity.ways import path_of
from peer.device.home import Home
from peer.device.home_store import Folder as StoredFolder
from peer.device.ledgers import Ledgers
from peer.folders.folder import Folder
from peer.folders.index_store import Summary
from peer.folders.openings import Failure
from peer.folders.progress import CHANGING
from peer.mail.mailboxes import Mailboxes
from peer.status import (
    DeviceEntry,
    DeviceList,
    FolderEntry,
    FolderState,
    FolderStatus,
    LinkStatus,
    Status,
)

NOT_TRIED: Final = "No direct way was tried yet."


class Reports:
    """One daemon's answers (`peer.status` says their shapes)."""

    def __init__(
        self,
        home: Home,
        ledgers: Ledgers,
        network: Network,
        failures: Mapping[FolderId, Failure],
        mailboxes: Mailboxes,
    ) -> None:
        """`failures`: the folders that could not be opened."""
        self._home, self._ledgers, self._network = home, ledgers, network
        self._failures, self._mailboxes = failures, mailboxes

    def name_of(self, stored: StoredFolder) -> str:
        """What the folder is called now."""
        folder = self._network.folders.get(stored.folder_id)
        return (folder.engine.name if folder is not None else "") or stored.name

    def entry(self, stored: StoredFolder) -> FolderEntry:
        """One row of `folder list`."""
        folder = self._network.folders.get(stored.folder_id)
        state = FolderState.OFFERED
        if folder is not None and stored.path is not None:
            state = FolderState.PAUSED if folder.is_paused else folder.progress.state
        if failure := self._failures.get(stored.folder_id):
            state = failure.state
        return {
            "id": stored.folder_id.hex(),
            "name": self.name_of(stored),
            "path": str(stored.path) if stored.path is not None else None,
            "state": state,
        }

    def brief(self, stored: StoredFolder) -> tuple[FolderState, str]:
        """How a folder stands, and in a sentence why, if something is wrong or to be answered."""
        folder = self._network.folders.get(stored.folder_id)
        if failure := self._failures.get(stored.folder_id):
            return failure.state, failure.reason
        if folder is None or stored.path is None:
            return FolderState.OFFERED, ""
        state, progress = _state_of(folder), folder.progress
        if state is FolderState.ASKING and folder.asks:
            return state, _question(folder, stored, self.name_of(stored))
        told = {**progress.undelivered, **progress.problems}
        if progress.trouble or not told:
            return state, progress.trouble
        path, reason = min(told.items(), key=lambda one: one[1] == CHANGING)  # that may pass
        more = f" {len(told) - 1} more are not synced." if len(told) > 1 else ""
        return state, f"{'/'.join(path)}: {reason}{more}"

    async def status(self, folders: Sequence[StoredFolder]) -> Status:
        """Everything that `holdfast status` shows."""
        network = self._network
        sent = sum(c.link.sent_bytes for c in network.connections.values())
        received = sum(c.link.received_bytes for c in network.connections.values())
        silence_s = await self._silence_s()
        return {
            "device": self._device(self._home.keys.device_id, network.own_name, None),
            "folders": [await self._folder(stored, silence_s) for stored in folders],
            "links": [self._link(c) for c in network.status()],
            "totals": {
                "sent_bytes": network.past_sent_bytes + sent,
                "received_bytes": network.past_received_bytes + received,
            },
        }

    def _link(self, connection: Connection) -> LinkStatus:
        link = connection.link
        host, port = link.peer_address[:2]
        problem, rates = "", connection.note_rates()
        if link.is_relayed:
            problem = self._network.direct_problems.get(connection.device_id, NOT_TRIED)
        return {
            "device": connection.device_id.hex(),
            "name": connection.name,
            "kind": connection.kind_name,
            "path": path_of(link),
            "address": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "round_trip_s": connection.round_trip_s,
            "direct_problem": problem,
            "sent_bytes": link.sent_bytes,
            "received_bytes": link.received_bytes,
            "sent_bytes_s": rates.sent_bytes_s,
            "received_bytes_s": rates.received_bytes_s,
        }

    async def devices(self) -> DeviceList:
        """The user's live devices."""
        known = {d.device_id: d for d in await self._home.store.devices()}
        own_id, own_name = self._home.keys.device_id, self._network.own_name
        entries = []
        for device_id in self._ledgers.user.live_devices():
            device = known.get(device_id)
            name = own_name if device_id == own_id else ""
            name = name or (device.name if device is not None else "")
            heard = (device.last_seen if device else None, self._mailboxes.heard_s(device_id))
            seen = max((at for at in heard if at is not None), default=None)
            entries.append(self._device(device_id, name, seen))
        return {"devices": entries}

    def _device(self, device_id: DeviceId, name: str, last_seen: float | None) -> DeviceEntry:
        is_this = device_id == self._home.keys.device_id
        return {
            "id": device_id.hex(),
            "name": name,
            "this": is_this,
            "connected": is_this or device_id in self._network.connections,
            "last_seen_s": None if last_seen is None else max(0.0, time.time() - last_seen),
        }

    async def _silence_s(self) -> float | None:
        """How long no other device was heard of; nothing is looked up where one is connected."""
        others = {*self._ledgers.user.live_devices()} - {self._home.keys.device_id}
        if not others or not others.isdisjoint(self._network.connections):
            return None
        return silent_s((await self.devices())["devices"])

    async def _folder(self, stored: StoredFolder, silence_s: float | None) -> FolderStatus:
        folder = self._network.folders.get(stored.folder_id)
        name = self.name_of(stored)
        failure = self._failures.get(stored.folder_id)
        if folder is None or stored.path is None or failure is not None:
            summary = Summary(0, 0, 0, 0) if folder is None else folder.progress.summary
            return {
                "id": stored.folder_id.hex(), "name": name,
                "path": str(stored.path) if stored.path is not None else None,
                "state": FolderState.OFFERED if failure is None else failure.state,
                "files": summary.files, "bytes": summary.size_bytes,
                "need_files": summary.need_files, "need_bytes": 0,
                "errors": [] if failure is None else [{"path": "", "reason": failure.reason}],
            }  # fmt: skip
        answer = await _attached(folder, stored, name)
        warnings = await self._warnings(folder)
        if silence_s is not None:
            answer["possibly_stale_s"] = silence_s
            warnings.append(stale_warning(silence_s, time.time()))
        if warnings:
            answer["warnings"] = warnings
        if folder.history is not None:
            rechecking = folder.history.rechecking
            if rechecking.round.whole_s:
                answer["checked_s"] = rechecking.round.whole_s
            if damaged := rechecking.damage.count(time.time()):
                answer["damaged_files"] = damaged
        return answer

    async def suspicions(self, folder: Folder) -> list[str]:
        """What this disk, or a live device of the user, has done that none does by itself: a
        sentence each.
        """
        suspects, of_disk = _suspects(folder), _of_disk(folder)
        if not suspects:
            return of_disk
        devices = {entry["id"]: entry for entry in (await self.devices())["devices"]}
        return of_disk + [
            _warning(devices[device_id.hex()], has_forked)
            for device_id, has_forked in sorted(set(suspects))
            if device_id.hex() in devices
        ]

    async def _warnings(self, folder: Folder) -> list[str]:
        """What this folder's logs prove of live devices of the user; one that was removed is told
        of no more, since that is what there was to do.
        """
        suspects = _suspects(folder)
        newer = {
            device_id
            for where, device_id in self._network.newer
            if where in (None, folder.folder_id)
        }
        told_of = self._mailboxes.told_of(folder.folder_id)
        if not suspects and not newer and not told_of:
            return _of_disk(folder)
        live = set(self._ledgers.user.live_devices())
        devices = {entry["id"]: entry for entry in (await self.devices())["devices"]}
        return (
            [_waits_for_update(devices[device_id.hex()]) for device_id in sorted(newer & live)]
            + await self.suspicions(folder)
            + [
                _waiting(devices[device_id.hex()], count, time_s)
                for device_id, count, time_s in told_of
                if device_id in live
            ]
        )


async def _attached(folder: Folder, stored: StoredFolder, name: str) -> FolderStatus:
    summary = await folder.summary()
    progress = folder.progress
    state = _state_of(folder)
    errors = [
        {"path": "/".join(path), "reason": reason}
        for path, reason in {**progress.undelivered, **progress.problems}.items()
    ]
    if progress.trouble:
        errors.append({"path": "", "reason": progress.trouble})
    answer: FolderStatus = {
        "id": stored.folder_id.hex(),
        "name": name,
        "path": str(stored.path),
        "state": state,
        "files": summary.files,
        "bytes": summary.size_bytes,
        "need_files": summary.need_files,
        "need_bytes": folder.fetcher.lacking_bytes if folder.fetcher is not None else 0,
        "errors": errors,  # type: ignore[typeddict-item]
    }
    if folder.fetcher is not None and folder.fetcher.resting:
        answer["paused_files"], answer["paused_bytes"] = folder.fetcher.paused_lack
    if folder.history is not None:
        answer["kept_versions"], answer["kept_bytes"] = folder.history.kept
    if folder.asks:
        answer["question"] = _question(folder, stored, name)
    return answer


def _of_disk(folder: Folder) -> list[str]:
    return [] if folder.history is None else folder.history.rechecking.warnings(time.time())


def _suspects(folder: Folder) -> list[tuple[DeviceId, bool]]:
    """Devices whose logs prove something, and whether that is a fork."""
    book = folder.engine.book
    return [
        (log.device_id, bool(log.forked_at))
        for log in map(book.log, book.log_ids())
        if log is not None and (log.forked_at or log.stopped_at)
    ]


def _state_of(folder: Folder) -> FolderState:
    progress = folder.progress
    if folder.is_paused:
        return FolderState.PAUSED
    if progress.state is FolderState.IN_SYNC and progress.is_troubled:
        return FolderState.TROUBLE
    return progress.state


def _who(device: DeviceEntry) -> str:
    return f"The device {device['name'] or 'without a name'} ({device['id'][:8]})"


def _waits_for_update(device: DeviceEntry) -> str:
    return (
        f"{_who(device)} runs a newer version of Holdfast than this one, which cannot read all"
        " that it tells. Nothing is lost: update Holdfast here, and it goes on."
    )


def _warning(device: DeviceEntry, has_forked: bool) -> str:
    """What a device has done that no device does by itself, and what to do about it."""
    who, where = _who(device), ""
    if device["this"]:
        who, where = "This device", " on another device"
    cure = f"remove it{where}: `holdfast devices remove {device['id']}`"
    if has_forked:
        return (
            f"{who} has told two histories. One of them counts, the same on"
            " every device; the other is kept aside. If it was copied or put back from a backup,"
            " there is nothing to do, as long as only one copy of it runs: it tells again what only"
            f" the other history had. If it was not, somebody else uses its keys: {cure}."
        )
    return (
        f"{who} has told something that no honest device tells. Nothing is"
        f" taken of what followed. Unless it runs another version of Holdfast, {cure}."
    )


def _waiting(device: DeviceEntry, count: int, time_s: int) -> str:
    """What a device that is away had, by its own word, and no relay gives."""
    who = device["name"] or device["id"][:8]
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(time_s))
    return (
        f"{who} had {count} more changes at {when}, and no relay that is connected has them: they"
        f" come when {who} is connected. If that is so every time, use another relay."
    )


def _question(folder: Folder, stored: StoredFolder, name: str) -> str:
    """What the folder asks, and what each answer does."""
    gone, rewritten = folder.guard.held, len(folder.rewrites.held)
    said, restored = [], []
    if gone:
        said.append(f"{gone} files and directories are gone from {stored.path}.")
        restored.append("brings back what is gone")
    if rewritten:
        said.append(f"{rewritten} files in {stored.path} were rewritten within a short time.")
        restored.append(
            "brings the old contents back from your other devices and keeps the new ones beside"
            " them as conflict copies"
        )
    lacking = folder.restoring.lacking if folder.restoring is not None else 0
    if rewritten and lacking:
        said.append(
            f"Of {lacking} of them no connected device has the old contents: connect one that has"
            " them, and answer once more."
        )
    return (
        f"{' '.join(said)} Your other devices were not told. Was it meant? `holdfast answer {name}"
        f" accept` tells them; `holdfast answer {name} restore` {', and '.join(restored)}."
    )
