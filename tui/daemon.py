"""The daemon, as the screen asks it: each question in a thread, so that the screen never waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from peer.control_client import ControlClient
from peer.status import (
    Choice,
    ConflictList,
    DeviceList,
    FolderEntry,
    HoldAnswer,
    Invitation,
    NoticeList,
    RelayEntry,
    RelayList,
    RestoreReport,
    SearchAnswer,
    Status,
    VersionList,
)

T = TypeVar("T")


class Daemon:
    """One home's; every method raises PeerError."""

    def __init__(self, home: Path) -> None:
        self._client = ControlClient(home, timeout_s=10)

    async def status(self) -> Status:
        """Everything."""
        return await _ask(self._client.status)

    async def devices(self) -> DeviceList:
        """The user's devices."""
        return await _ask(self._client.devices)

    async def relays(self) -> RelayList:
        """The relays of this device."""
        return await _ask(self._client.relays)

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

    async def conflicts(self) -> ConflictList:
        """The conflict copies of all folders."""
        return await _ask(self._client.conflicts)

    async def resolve(self, place: str, choice: Choice) -> None:
        """The person's decision about a copy."""
        await _ask(self._client.resolve, Path(place), choice)

    async def notifications(self) -> NoticeList:
        """What a person should hear of."""
        return await _ask(self._client.notifications)

    async def mark_as_read(self, ids: Sequence[int] | None) -> int:
        """The person has read these, or all."""
        return await _ask(self._client.mark_as_read, ids)

    def events(self, last_id: str | None) -> AsyncIterator[tuple[str, str]]:
        """The id and the kind of what happens from an event on, or from now."""
        return self._client.events(last_id)

    async def search(self, query: str) -> SearchAnswer:
        """Files and directories by name."""
        return await _ask(self._client.search, query)

    async def versions(self, text: str) -> tuple[VersionList, bool]:
        """What a file was, or what was deleted from a directory; and whether it is one."""

        def find() -> tuple[VersionList, bool]:
            path = Path(text).expanduser()
            is_directory = path.is_dir()
            return self._client.versions(path, is_deleted=is_directory), is_directory

        return await _ask(find)

    async def restore(self, path: Path, version: int, out: Path | None) -> RestoreReport:
        """A version comes back."""
        return await _ask(self._client.restore, path, version, None, out)


async def _ask(call: Callable[..., T], *given: Any) -> T:
    return await asyncio.to_thread(call, *given)
