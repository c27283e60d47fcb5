"""What a person asks of folders as wholes: to make one, put it on a directory, let it rest, answer
its question, or be without it.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from crypto.ids import FolderId
from peer.connectivity.network import Network
from peer.device.home_store import Folder as StoredFolder
from peer.device.home_store import FolderState as StoredState
from peer.device.ledgers import Ledgers
from peer.errors import (
    AmbiguousFolder,
    FolderExists,
    NothingToAnswer,
    PathUnusable,
    UnknownFolder,
)
from peer.folders import folder_setup
from peer.folders.folder import Folder
from peer.folders.openings import OPENING_ERRORS, Openings
from peer.status import FolderEntry, FolderList, HoldAnswer
from protocol.changesets import INCARNATION_SIZE

SHOWN_ID_LENGTH: Final = 8
"""Letters of an id in the list of folders."""


class FolderRequests:
    """Folders by their names, which `name_of` knows, or their ids; `entry` is what is told of
    one.
    """

    def __init__(
        self,
        ledgers: Ledgers,
        network: Network,
        openings: Openings,
        home_path: Path,
        name_of: Callable[[StoredFolder], str],
        entry: Callable[[StoredFolder], FolderEntry],
    ) -> None:
        self._ledgers, self._network, self._openings = ledgers, network, openings
        self._home_path = home_path
        self._name_of, self._entry = name_of, entry
        self._stored: Mapping[FolderId, StoredFolder] = openings.stored
        self._turn = asyncio.Lock()
        """What one request has looked at stays so until it is done."""

    def find(self, name_or_id: str) -> StoredFolder:
        """The folder of this name, or whose id begins with this, as lists show it; UnknownFolder,
        AmbiguousFolder for a name of several.
        """
        is_id = len(name_or_id) >= SHOWN_ID_LENGTH
        found = [
            stored
            for folder_id, stored in self._stored.items()
            if self._name_of(stored) == name_or_id
            or (is_id and folder_id.hex().startswith(name_or_id.lower()))
        ]
        if not found:
            raise UnknownFolder(
                f"There is no folder {name_or_id!r}. `holdfast folder list` shows all."
            )
        if len(found) > 1:
            raise AmbiguousFolder(
                f"Several folders are called {name_or_id!r}; give the id instead."
            )
        return found[0]

    def list(self) -> FolderList:
        """All folders that are known here."""
        return {"folders": [self._entry(stored) for stored in self._stored.values()]}

    async def add(self, path: Path, name: str) -> FolderEntry:
        """Makes a folder of a directory."""
        async with self._turn:
            return await self._add(path, name)

    async def _add(self, path: Path, name: str) -> FolderEntry:
        name = folder_setup.checked_name(name)
        self._check_path(path)
        if any(self._name_of(stored) == name for stored in self._stored.values()):
            raise FolderExists(f"You have a folder {name!r} already. Choose another name.")
        folder_setup.check_markable(path)
        folder = await self._openings.make(lambda: self._create(path, name))
        stored = self._stored[folder.folder_id]
        await folder.call(folder.end_joining)  # it is new: nobody knows more of it
        changesets = await folder.call(
            lambda: folder.drive(folder.engine.name_folder(name, time.time_ns()))
        )
        self._network.announce(stored.folder_id, changesets)
        self._network.tell_ledgers()
        return self._entry(stored)

    async def _create(self, path: Path, name: str) -> StoredFolder:
        with contextlib.ExitStack() as undo:

            def mark(folder_id: FolderId) -> None:
                folder_setup.mark(path, folder_id)
                undo.callback(folder_setup.unmark, path, folder_id)

            # Before anything is stored: a folder without a marker could never be at work.
            membership = await self._ledgers.create_folder(mark)
            undo.pop_all()
        stored = StoredFolder(
            membership.folder_id, name, path, StoredState.ACTIVE, os.urandom(INCARNATION_SIZE)
        )
        await self._openings.store(stored)
        await self._ledgers.settle()
        return stored

    async def attach(self, name_or_id: str, path: Path) -> FolderEntry:
        """Puts an offered folder on a directory."""
        async with self._turn:
            return await self._attach(name_or_id, path)

    async def _attach(self, name_or_id: str, path: Path) -> FolderEntry:
        stored = self.find(name_or_id)
        if stored.path is not None:
            raise FolderExists(f"{name_or_id!r} is on {stored.path} already.")
        self._check_path(path)
        folder_setup.mark(path, stored.folder_id)
        attached = StoredFolder(
            stored.folder_id, self._name_of(stored), path, StoredState.ACTIVE, stored.incarnation
        )
        await self._openings.store(attached)
        await self._openings.reopen(stored.folder_id)
        return self._entry(self._stored[stored.folder_id])

    async def remove(self, name_or_id: str) -> None:
        """Stops to sync a folder here; its files and its index stay."""
        async with self._turn:
            await self._remove(self.find(name_or_id))

    async def _remove(self, stored: StoredFolder) -> None:
        detached = StoredFolder(
            stored.folder_id, self._name_of(stored), None, StoredState.REMOVED,
            os.urandom(INCARNATION_SIZE),
        )  # fmt: skip
        await self._openings.store(detached)
        with contextlib.suppress(*OPENING_ERRORS):  # told in `status`, and tried again
            await self._openings.reopen(stored.folder_id)
        if stored.path is not None:
            folder_setup.unmark(stored.path, stored.folder_id)

    async def set_paused(self, name_or_id: str | None, is_paused: bool) -> None:
        """Pauses a folder or lets it go on; None is all of them."""
        state = StoredState.PAUSED if is_paused else StoredState.ACTIVE
        async with self._turn:
            chosen = list(self._stored) if name_or_id is None else [self.find(name_or_id).folder_id]
            for folder_id in chosen:
                # As it is by now: while one is stored, another may begin a new log.
                stored = self._stored[folder_id]
                if stored.path is None:
                    continue
                await self._openings.store(replace(stored, state=state))
                folder = self._folder(stored)
                if folder is not None:
                    folder.pause(is_paused)

    async def answer_hold(self, name_or_id: str, answer: HoldAnswer) -> None:
        """Goes on with a folder that asks; NothingToAnswer where none does."""
        folder = self._folder(self.find(name_or_id))
        if folder is not None and folder.asks_for_newer and not folder.asks:
            if answer is HoldAnswer.ACCEPT:
                await folder.take_older()
            return
        if folder is None or not folder.asks:
            raise NothingToAnswer(f"{name_or_id!r} asks nothing.")
        folder.answer(answer is HoldAnswer.ACCEPT)

    def _folder(self, stored: StoredFolder) -> Folder | None:
        return self._network.folders.get(stored.folder_id)

    def _check_path(self, path: Path) -> None:
        if not path.is_dir():
            if path.exists():
                raise PathUnusable(f"{path} is a file. A folder takes the directory that it is in.")
            raise PathUnusable(f"{path} is not there. Make the directory first.")
        folder_setup.check_apart(path, self._home_path)
        for stored in self._stored.values():
            if stored.path == path:
                name = self._name_of(stored)
                raise FolderExists(f"{path} is the folder {name!r} already.")
            if stored.path is not None and folder_setup.do_overlap(path, stored.path):
                raise PathUnusable(
                    f"{path} overlaps with the folder on {stored.path}. Choose another directory."
                )
