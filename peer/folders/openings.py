"""Which folders of this device are at work: opens them, and opens them anew when their place has
changed or their index has failed.

What keeps one folder from being opened is that folder's trouble: it is told in `status` and tried
again, ever more rarely, while all others go on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from crypto.ids import FolderId
from peer.connectivity.network import Network
from peer.core.patience import Patience
from peer.device.config import Config
from peer.device.home import Home
from peer.device.home_store import Folder as StoredFolder
from peer.device.home_store import FolderState as StoredState
from peer.device.ledgers import Ledgers
from peer.errors import DiskFull, IndexDamaged, PeerError
from peer.folders import folder_setup
from peer.folders.folder import Folder
from peer.folders.index_store import IndexBehind
from peer.status import FolderState
from protocol.changesets import INCARNATION_SIZE

log = logging.getLogger(__name__)

REOPEN_MAX_S: Final = 60.0
"""An index that cannot be opened is looked at once a minute at last: that costs little, and whoever
has made room for it, or put its disk back, looks at `status` and waits.
"""
WILL_TRY: Final = "It is tried again by itself."
OPENING_ERRORS: Final = (PeerError, OSError, sqlite3.Error)
"""What the world can do to the opening of a folder."""


class Failure(NamedTuple):
    """Why a folder is not at work."""

    state: FolderState
    reason: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """As a person is told of it."""
        text = str(error) or (error.__doc__ or type(error).__name__)
        is_full = isinstance(error, DiskFull)
        return cls(
            FolderState.NO_SPACE if is_full else FolderState.TROUBLE,
            f"{text.rstrip('.')}. {WILL_TRY}",
        )


class Openings:
    """One daemon's folders, from the home's rows to folders at work."""

    def __init__(
        self,
        home: Home,
        ledgers: Ledgers,
        network: Network,
        config: Config,
        tasks: asyncio.TaskGroup,
        on_late: Callable[[Folder], Awaitable[None]],
    ) -> None:
        """`on_late`: a folder that could not be opened before is at work."""
        self.stored: dict[FolderId, StoredFolder] = {}
        """All folders that are known here."""
        self.failures: dict[FolderId, Failure] = {}
        """Those that should be at work and are not."""
        self.label = ""
        """What this device is called."""
        self.on_deeds: Callable[[Folder, Sequence[object]], None] = lambda folder, deeds: None
        """Who hears of what is done to files."""
        self.on_opened: Callable[[Folder], None] = lambda folder: None
        """Who looks after a folder that is about to work."""
        self._home, self._ledgers, self._network = home, ledgers, network
        self._config, self._tasks, self._on_late = config, tasks, on_late
        self._running: dict[FolderId, asyncio.Task[None]] = {}
        self._retried: set[FolderId] = set()
        self._behind: set[FolderId] = set()
        """Folders of which a commit failed: their log may say what their index does not, but for
        want of space.
        """
        self._rebuilt: set[FolderId] = set()
        """Folders whose index was found damaged while it was used."""
        self._turn = asyncio.Lock()

    # ------------------------------------------------------------ opening

    async def open_all(self) -> None:
        """Opens what this device may read and has not opened yet."""
        async with self._turn:
            for folder_id, membership in list(self._ledgers.folders.items()):
                if folder_id in self._network.folders or folder_id in self.failures:
                    continue
                if membership.chain.folder_keys() is None:
                    continue
                if self._home.keys.device_id not in membership.ledger.devices():
                    continue
                stored = self.stored.get(folder_id)
                if stored is None:
                    stored = StoredFolder(
                        folder_id, "", None, StoredState.OFFERED, os.urandom(INCARNATION_SIZE)
                    )
                    await self.store(stored)
                try:
                    await self._open(stored)
                except OPENING_ERRORS as error:
                    self._note_failure(stored, error)

    async def make(self, create: Callable[[], Awaitable[StoredFolder]]) -> Folder:
        """Opens a folder that `create` makes. Until it is open, a change of the ledgers opens none:
        two that are at work in one folder would write two logs into one.

        Raises what keeps it from being opened, and then it is not tried again.
        """
        async with self._turn:
            return await self._open(await create())

    async def reopen(self, folder_id: FolderId, damage: IndexDamaged | None = None) -> Folder:
        """Starts a folder anew, attached or not; who talks of it with us notices nothing.

        Raises what keeps it from being opened, which is told in `status` then and tried again.
        """
        async with self._turn:
            return await self._reopen_noted(folder_id, damage)

    async def _reopen_noted(self, folder_id: FolderId, damage: IndexDamaged | None) -> Folder:
        stored = self.stored[folder_id]  # in its turn: somebody may have put it elsewhere before
        try:
            folder = await self._reopen(stored, damage)
        except OPENING_ERRORS as error:
            self._note_failure(stored, error)
            raise
        self.failures.pop(folder_id, None)
        return folder

    async def _open(self, stored: StoredFolder) -> Folder:
        if stored.path is not None:  # also one from before that was refused, or whose path moved
            folder_setup.check_apart(stored.path, self._home.path)
        folder = await folder_setup.open_folder(
            self._home, self._ledgers.folders[stored.folder_id], stored, self.label,
            self._config, self._network, self.renew_incarnation,
        )  # fmt: skip
        folder.is_paused = stored.state is StoredState.PAUSED
        folder.store.tell = partial(self.on_deeds, folder)
        self.on_opened(folder)
        before = self._network.folders.get(folder.folder_id)
        if before is not None and _holds_less(folder, before):
            # How far it holds the logs does not name what it holds no more: whoever is linked with
            # us would never send that again. Whom we begin anew with does.
            self._network.remove_folder(folder.folder_id)
        self._network.add_folder(folder)
        self._running[stored.folder_id] = self._tasks.create_task(self._run(folder))
        return folder

    async def _reopen(self, stored: StoredFolder, damage: IndexDamaged | None) -> Folder:
        folder_id = stored.folder_id
        old = self._network.folders.get(folder_id)
        if old is not None:
            task = self._running.pop(folder_id, None)
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await old.close()
            if damage is not None:
                path = folder_setup.index_path(self._home, folder_id)
                folder_setup.move_aside(path, damage)
        if folder_id in self._behind:
            # What a commit said that a failing disk may have carried out, and may lose in a crash,
            # is never said again under the same position.
            await self.renew_incarnation(folder_id, os.urandom(INCARNATION_SIZE))
            stored = replace(stored, incarnation=self.stored[folder_id].incarnation)
        new = await self._open(stored)
        self._behind.discard(folder_id)
        if old is not None:
            new.take_over(old)
        return new

    # ------------------------------------------------------------ what can go wrong

    async def _run(self, folder: Folder) -> None:
        folder_id = folder.folder_id
        try:
            await folder.run()
        except IndexDamaged as error:
            self._tasks.create_task(self._rebuild(folder, error))
        except IndexBehind as error:
            # For want of space SQLite writes nothing that counts: the index is as it was, nobody
            # has heard of more, and the log goes on. (A sync that fails is another error.)
            if not isinstance(error.cause, DiskFull):
                self._behind.add(folder_id)
            self._note_failure(self.stored[folder_id], error.cause, at_once=True)
        except Exception:
            # The engine's door (STYLE 4.4): a defect in one folder must not end the others.
            log.exception("the folder %s stopped by a defect", folder.engine.name)
            _end(folder, "Holdfast has a defect here; its log says which. Restart it.")

    async def _rebuild(self, folder: Folder, error: IndexDamaged) -> None:
        """Goes on with an empty index; once a run, for then it is the disk that has to be
        replaced.
        """
        folder_id = folder.folder_id
        if folder_id in self._rebuilt:
            _end(folder, f"{error} It happened twice: look after this disk.")
            return
        self._rebuilt.add(folder_id)
        try:
            async with self._turn:
                if self._network.folders.get(folder_id) is folder:  # else it was opened anew before
                    await self._reopen_noted(folder_id, error)
        except OPENING_ERRORS as again:
            log.warning("the index of %s cannot be made anew: %s", folder.engine.name, again)

    def _note_failure(self, stored: StoredFolder, error: Exception, at_once: bool = False) -> None:
        """From now on it is tried again, by one task a folder."""
        folder_id = stored.folder_id
        failure = Failure.of(error)
        if self.failures.get(folder_id) != failure:  # once, however often it is tried
            log.warning("%s: %s", stored.name or folder_id.hex()[:8], failure.reason)
        self.failures[folder_id] = failure
        if folder_id not in self._retried:
            self._retried.add(folder_id)
            self._tasks.create_task(self._try_again(folder_id, at_once))

    async def _try_again(self, folder_id: FolderId, at_once: bool) -> None:
        patience, loop = Patience(REOPEN_MAX_S), asyncio.get_running_loop()
        try:
            while folder_id in self.failures:
                if not at_once:
                    patience.wait(loop.time())
                    retry_at = patience.retry_at
                    await asyncio.sleep(retry_at - loop.time())
                    patience.time_came(retry_at)
                at_once = False
                await self._try_once(folder_id)
        finally:
            self._retried.discard(folder_id)

    async def _try_once(self, folder_id: FolderId) -> None:
        async with self._turn:
            if folder_id not in self.failures:
                return  # somebody has opened it meanwhile
            stored = self.stored[folder_id]
            try:
                folder = await self._reopen(stored, None)
            except OPENING_ERRORS as error:
                self._note_failure(stored, error)
                return
            del self.failures[folder_id]
        try:
            await self._on_late(folder)
        except OPENING_ERRORS as error:
            log.warning("%s: %s", stored.name or folder_id.hex()[:8], error)

    # ------------------------------------------------------------ the home's rows

    async def store(self, stored: StoredFolder) -> None:
        """Writes down what this device does with a folder."""
        self.stored[stored.folder_id] = stored
        async with self._home.store.transaction() as write:
            await write.put_folder(stored)

    async def renew_incarnation(self, folder_id: FolderId, incarnation: bytes) -> None:
        """Writes down which log this device writes in the folder from now on."""
        await self.store(replace(self.stored[folder_id], incarnation=incarnation))


def _end(folder: Folder, trouble: str) -> None:
    """It rests until a person has done something about it; who waits for it is told so."""
    folder.progress.state, folder.progress.trouble = FolderState.TROUBLE, trouble
    folder.calls.end(trouble)


def _holds_less(folder: Folder, before: Folder) -> bool:
    """Whether changes that were here are here no more, for the index was lost."""
    held = folder.engine.book.seq_of
    return any(held(log_id) < seq for log_id, seq, _ in before.engine.frontier)
