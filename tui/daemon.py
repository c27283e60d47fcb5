"""The daemon, as the screen asks it: each question in a thread, so that the screen never waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from peer.control.control_client import ControlClient
from peer.status import (
    Choice,
    FileEntry,
    FolderEntry,
    HoldAnswer,
    Invitation,
    LogLines,
    LogPage,
    Overview,
    RelayEntry,
    RepairReport,
    RestoreReport,
    SearchAnswer,
    SettingEntry,
    SettingList,
    Status,
    VersionBytes,
    VersionList,
)

T = TypeVar("T")
READ_MAX: Final = 256 << 10
"""Bytes of a file that are read to be shown."""
RELAYS_TIMEOUT_S: Final = 60.0
"""The daemon asks up to four relays, each of which may be away."""
LINK_TIMEOUT_S: Final = 24 * 3600.0
"""An upload takes as long as it takes."""


class Daemon:
    """One home's; every method raises PeerError."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._client = ControlClient(home, timeout_s=10)

    async def status(self) -> Status:
        """Everything."""
        return await _ask(self._client.status)

    async def overview(
        self, etag: str, *, conflicts: bool, backups: bool
    ) -> tuple[Overview | None, str]:
        """All that is shown at one look, and its ETag; None if that is still the one given."""

        def look() -> tuple[Overview | None, str]:
            return self._client.overview(etag, conflicts=conflicts, backups=backups)

        return await _ask(look)

    async def invite(self) -> Invitation:
        """A code for another device."""
        return await _ask(self._client.invite)

    async def add_folder(self, path: Path, name: str) -> FolderEntry:
        """A new folder."""
        return await _ask(self._client.add_folder, path, name)

    async def attach_folder(self, folder_id: str, path: Path) -> FolderEntry:
        """An offered folder gets a path."""
        return await _ask(self._client.attach_folder, folder_id, path)

    async def remove_folder(self, folder_id: str) -> None:
        """A folder is synced here no more."""
        await _ask(self._client.remove_folder, folder_id)

    async def set_paused(self, folder_id: str, is_paused: bool) -> None:
        """A folder rests, or goes on."""
        await _ask(self._client.pause if is_paused else self._client.resume, folder_id)

    async def set_transfer_paused(self, path: Path, is_paused: bool) -> None:
        """A file that is on its way waits, or goes on."""
        client = self._client
        await _ask(client.pause_transfer if is_paused else client.resume_transfer, path)

    async def answer(self, folder_id: str, answer: HoldAnswer) -> None:
        """The person's word on many changes."""
        await _ask(self._client.answer, folder_id, answer)

    async def remove_device(self, device_id: str) -> None:
        """A device is the user's no more."""
        await _ask(self._client.remove_device, device_id)

    async def add_relay(self, address: str) -> RelayEntry:
        """One more relay."""
        return await _ask(self._client.add_relay, address)

    async def remove_relay(self, address: str) -> None:
        """One relay less."""
        await _ask(self._client.remove_relay, address)

    async def resolve(self, place: str, choice: Choice) -> None:
        """The person's decision about a copy."""
        await _ask(self._client.resolve, Path(place), choice)

    async def mark_as_read(self, ids: Sequence[int] | None) -> int:
        """The person has read these, or all."""
        return await _ask(self._client.mark_as_read, ids)

    def events(self, last_id: str | None) -> AsyncIterator[tuple[str, str]]:
        """The id and the kind of what happens from an event on, or from now."""
        return self._client.events(last_id)

    async def add_backup(self, folder: str, nodes: Sequence[str], scheme: tuple[int, int]) -> None:
        """A folder is kept at super-nodes from now on, any so many of so many shares of which
        bring it back.
        """
        await _ask(self._client.add_backup, folder, nodes, *scheme)

    async def remove_backup(self, folder: str) -> None:
        """It is kept there no more."""
        await _ask(self._client.remove_backup, folder)

    async def repair_backup(self, folder: str) -> RepairReport:
        """What is missing of its copies is stored anew."""
        return await _ask(self._client.repair_backup, folder)

    async def search(self, query: str) -> SearchAnswer:
        """Files and directories by name."""
        return await _ask(self._client.search, query)

    async def suggest(self, query: str) -> Sequence[str]:
        """What a query may become."""
        body = {"query": query}
        answer = await _ask(self._client.request, "POST", "/api/search/suggest", body)
        return cast(Sequence[str], answer["suggestions"])

    async def versions(self, text: str) -> tuple[VersionList, bool]:
        """What a file was, or what was deleted from a directory; and whether it is one."""

        def find() -> tuple[VersionList, bool]:
            path = Path(text).expanduser()
            is_directory = path.is_dir()
            return self._client.versions(path, is_deleted=is_directory), is_directory

        return await _ask(find)

    async def read_version(self, path: Path, version: int) -> VersionBytes:
        """The beginning of an earlier version."""
        return await _ask(self._client.read_version, path, version)

    async def file_at(self, path: Path) -> FileEntry:
        """What is shown at a path of this machine."""
        return await _ask(self._client.file_at, path)

    async def read_file(self, file_id: str) -> bytes:
        """The beginning of a file, as much of it as anybody looks at."""
        return await _ask(self._client.read_file, file_id, READ_MAX)

    async def write_file(self, file_id: str, data: bytes, etag: str) -> None:
        """New bytes for a file that is still what the ETag names."""
        await _ask(self._client.write_file, file_id, data, etag)

    async def settings(self) -> SettingList:
        """All settings."""
        return await _ask(self._client.settings)

    async def set(self, key: str, value: str) -> SettingEntry:
        """Another value for one."""
        return await _ask(self._client.set, key, value)

    async def log(self, cursor: str | None = None) -> LogPage:
        """Who did what: the newest, or the page that another one names."""
        return await _ask(self._client.log, cursor)

    async def log_lines(self, after: str | None) -> LogLines:
        """The newest lines of the daemon's log, or what came since."""
        return await _ask(self._client.log_lines, after)

    async def links(self) -> tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]:
        """The user's share links and upload links, asked of their relays."""
        answer = await _ask(self._client.request, "GET", "/api/links", None, RELAYS_TIMEOUT_S)
        return answer["links"], answer["requests"]

    async def create_link(self, wish: Mapping[str, Any]) -> Mapping[str, Any]:
        """One more; what is not at the relay is uploaded first."""
        body = dict(wish)
        return await _ask(self._client.request, "POST", "/api/links/create", body, LINK_TIMEOUT_S)

    async def create_upload_link(self, wish: Mapping[str, Any]) -> Mapping[str, Any]:
        """One by which files come in."""
        body, request = dict(wish), self._client.request
        return await _ask(request, "POST", "/api/links/request", body, RELAYS_TIMEOUT_S)

    async def revoke_link(self, link_id: str) -> bool:
        """One less; False if its relay, or the device that made it, is yet to hear of it."""
        body = {"link": link_id}
        request = self._client.request
        answer = await _ask(request, "POST", "/api/links/revoke", body, RELAYS_TIMEOUT_S)
        return bool(answer["ended"])

    async def restore(self, path: Path, version: int, out: Path | None) -> RestoreReport:
        """A version comes back."""
        return await _ask(self._client.restore, path, version, None, out)


async def _ask(call: Callable[..., T], *given: Any) -> T:
    return await asyncio.to_thread(call, *given)
