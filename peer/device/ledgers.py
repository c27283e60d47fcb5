"""The ledgers that this device holds, kept in the home database: its user's, and one a folder with
its keys.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from crypto.ids import DeviceId, EntryId, FolderId, UserId
from crypto.keys import DeviceKeys
from peer.device import home_store
from peer.device.home_store import HomeStore, HomeTransaction
from protocol.epochs import EpochChain, OpeningKey, Wrap, create_folder, rotate
from protocol.errors import BadLedger, LimitReached, ProtocolError
from protocol.folder_actions import Expel, FolderKind
from protocol.folder_ledger import FolderLedger
from protocol.handshake import PeerKeys
from protocol.ledger import Entry, LedgerKind, Waiting
from protocol.messages import LedgerHeads
from protocol.user_ledger import UserLedger

log = logging.getLogger(__name__)

FOLDERS_MAX = 1_024
"""A device of one's own that was taken over could else make up folders without end."""


@dataclass(slots=True)
class FolderMembership:
    """Who may do what in a folder, and the secrets that this device can open."""

    ledger: FolderLedger
    chain: EpochChain

    @property
    def folder_id(self) -> FolderId:
        """The folder's id."""
        return self.ledger.folder_id


class Ledgers:
    """All ledgers, in memory and in the store alike."""

    def __init__(
        self, store: HomeStore, keys: DeviceKeys, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self.keys = keys
        self.users: dict[UserId, UserLedger] = {}
        self.folders: dict[FolderId, FolderMembership] = {}
        self.user_id = UserId(b"")
        self._store, self._random = store, random
        self._introduced: list[Entry] = []
        """Entries of the user's ledger that came with an introduction and are not in the store."""
        self._owed: list[Callable[[HomeTransaction], Awaitable[None]]] = []
        """What is in memory and could not be stored, in its order."""

    @property
    def user(self) -> UserLedger:
        """This device's own user."""
        return self.users[self.user_id]

    async def load(self, user_id: UserId) -> None:
        """Reads everything back."""
        self.user_id = user_id
        for kind, ledger_id in await self._store.ledgers():
            entries = await self._store.ledger_entries(ledger_id)
            if kind == LedgerKind.USER:
                self.users[UserId(ledger_id)] = UserLedger.restore(entries)
        for kind, ledger_id in await self._store.ledgers():
            if kind == LedgerKind.FOLDER:
                entries = await self._store.ledger_entries(ledger_id)
                ledger = FolderLedger.restore(entries, self.users)
                wraps = await self._store.wraps(FolderId(ledger_id))
                chain = EpochChain(
                    ledger,
                    OpeningKey.of_device(self.keys),
                    [Wrap(w.epoch_id, w.recipient_id, w.wrap) for w in wraps],
                )
                self.folders[FolderId(ledger_id)] = FolderMembership(ledger, chain)

    # ------------------------------------------------------------ who is who

    def peer_keys(self, device_id: DeviceId) -> PeerKeys | None:
        """The keys of a device that this one talks to: a live one of its user, or one in a folder
        with it.
        """
        if device_id == self.keys.device_id:
            return None
        certificate = self.user.live_devices().get(device_id)
        if certificate is None:
            for membership in self.folders.values():
                found = membership.ledger.devices().get(device_id)
                if found is not None and device_id in self.users[found[0]].live_devices():
                    certificate = found[1]
                    break
        if certificate is None:
            return None
        return PeerKeys(device_id, certificate.sign_pk, certificate.dh_pk)

    def lookup(self, device_id: DeviceId, entries: Sequence[bytes]) -> PeerKeys | None:
        """The same, for one that introduces itself with ledger entries that may be new here."""
        if entries and self.peer_keys(device_id) is None:
            try:
                for entry in entries:
                    self._introduced += self.user.add(entry)
            except ProtocolError:
                return None
        return self.peer_keys(device_id)

    async def keep_introduced(self) -> bool:
        """Keeps what introductions brought; True if there was something."""
        placed, self._introduced = self._introduced, []
        if placed:
            await self._keep_told(self.store_entries(LedgerKind.USER, self.user_id, placed))
        return bool(placed)

    def is_own(self, device_id: DeviceId) -> bool:
        """True for the user's own live devices."""
        return device_id in self.user.live_devices()

    def is_member(self, device_id: DeviceId, folder_id: FolderId) -> bool:
        """True if the device is admitted to the folder, and its user did not revoke it since."""
        membership = self.folders.get(folder_id)
        return membership is not None and membership.ledger.is_live(device_id)

    def heads_for(self, device_id: DeviceId) -> tuple[LedgerHeads, ...]:
        """How far each ledger that this device may see is known here."""
        known = []
        if self.is_own(device_id):
            known.append(LedgerHeads(LedgerKind.USER, self.user_id, tuple(self.user.heads()[:8])))
        for folder_id, membership in self.folders.items():
            if self.is_member(device_id, folder_id):
                heads = tuple(membership.ledger.heads()[:8])
                known.append(LedgerHeads(LedgerKind.FOLDER, folder_id, heads))
        return tuple(known)

    def knows(self, heads: LedgerHeads) -> bool:
        """Whether all these heads are known here."""
        ledger: UserLedger | FolderLedger | None = self.users.get(UserId(heads.ledger_id))
        if heads.kind == LedgerKind.FOLDER:
            membership = self.folders.get(FolderId(heads.ledger_id))
            ledger = membership.ledger if membership is not None else None
        return ledger is not None and all(head in ledger for head in heads.heads)

    # ------------------------------------------------------------ growing

    async def store_entries(
        self, kind: LedgerKind, ledger_id: bytes, entries: Iterable[Entry],
        wraps: Iterable[Wrap] = (),
    ) -> None:  # fmt: skip
        """Keeps new entries of a ledger and wraps of its epochs, all or none, after what is owed.
        Raises what the disk says, and owes them then.
        """
        rows = [(e.id, e.wire) for e in entries]
        if rows:
            self._owed.append(lambda write: write.add_ledger_entries(kind, ledger_id, rows))
        await self.store_wraps(FolderId(ledger_id), wraps)

    async def store_wraps(self, folder_id: FolderId, wraps: Iterable[Wrap]) -> None:
        """Keeps wraps in the same way."""
        rows = [home_store.Wrap(w.epoch_id, w.recipient_id, w.wrapped) for w in wraps]
        if rows:
            self._owed.append(lambda write: write.put_wraps(folder_id, rows))
        await self.keep_owed()

    async def keep_owed(self) -> bool:
        """Stores what could not be stored before; True if there was something."""
        owed = list(self._owed)
        if not owed:
            return False
        async with self._store.transaction() as write:
            for keep in owed:
                await keep(write)
        self._owed = [keep for keep in self._owed if keep not in owed]
        return True

    async def _keep_told(self, keeping: Awaitable[None]) -> None:
        """What others told counts at once, and is stored when the disk takes it: after a restart
        before that, they tell it again.
        """
        try:
            await keeping
        except sqlite3.OperationalError as error:
            log.warning("what others told of devices and folders cannot be stored yet: %s", error)

    async def create_folder(
        self, prepare: Callable[[FolderId], None] = lambda folder_id: None
    ) -> FolderMembership:
        """A new folder of the user, with this device in it; `settle` admits the others. There is
        none if `prepare`, which is told its id, raises.
        """
        ledger, wraps = create_folder(
            self.keys, self.user, self.users, FolderKind.FILES, time.time(), self._random
        )
        chain = EpochChain(ledger, OpeningKey.of_device(self.keys), wraps)
        membership = FolderMembership(ledger, chain)
        rows = [home_store.Wrap(w.epoch_id, w.recipient_id, w.wrapped) for w in wraps]
        prepare(ledger.folder_id)
        # There is no folder if it cannot be stored: nothing of it is owed then.
        async with self._store.transaction() as write:
            await write.add_ledger_entries(
                LedgerKind.FOLDER, ledger.folder_id, [(e.id, e.wire) for e in ledger]
            )
            await write.put_wraps(ledger.folder_id, rows)
        self.folders[ledger.folder_id] = membership
        return membership

    async def add_device(self, certificate: bytes, signature: bytes) -> None:
        """Adds a new device of the user, and admits it to all of the user's folders."""
        await self.keep_introduced()  # before what rests on it
        entry = self.user.add_device(self.keys, certificate, signature, time.time())
        await self.store_entries(LedgerKind.USER, self.user_id, [entry])
        await self.settle()

    async def settle(self) -> list[FolderId]:
        """Does what is owed: admissions of own devices, rotations, wraps. Returns what
        changed.
        """
        changed = []
        for folder_id, membership in list(self.folders.items()):
            ledger, chain = membership.ledger, membership.chain
            if not ledger.is_writer(self.keys.device_id):
                continue
            entries: list[Entry] = []
            wraps: list[Wrap] = []
            admits = ledger.admits_owed(self.user_id)
            if admits:
                entries.append(ledger.act(self.keys, admits, time.time()))
            if ledger.rotation_owed() and chain.first_read_secret() is not None:
                entry, made = rotate(chain, ledger, self.keys, time.time(), self._random)
                entries.append(entry)
                wraps += made
            wraps += chain.wraps_owed()
            if entries or wraps:
                await self.store_entries(LedgerKind.FOLDER, folder_id, entries, wraps)
                changed.append(folder_id)
        return changed

    async def expel(self, folder_id: FolderId, expels: Sequence[Expel]) -> None:
        """Puts devices out of a folder, with a new epoch that they cannot read."""
        ledger, chain = self.folders[folder_id].ledger, self.folders[folder_id].chain
        now, wraps = time.time(), list[Wrap]()
        if chain.first_read_secret() is not None:
            entry, wraps = rotate(chain, ledger, self.keys, now, self._random, expels)
        else:
            entry = ledger.act(self.keys, expels, now)
        await self.store_entries(LedgerKind.FOLDER, folder_id, [entry], wraps)

    async def receive(self, kind: int, ledger_id: bytes, wires: Sequence[bytes]) -> bool:
        """Takes entries from another device; True if any was new. Raises what is wrong there."""
        if kind == LedgerKind.USER:
            user = self.users.get(UserId(ledger_id))
            if user is None:
                raise BadLedger("the ledger of an unknown user")
            await self.keep_introduced()  # before what rests on it
            placed = await self._extend(user, ledger_id, wires)
            for folder_id, membership in list(self.folders.items()):
                more = membership.ledger.retry()
                if more:
                    await self._keep_told(self.store_entries(LedgerKind.FOLDER, folder_id, more))
            return bool(placed)
        if kind != LedgerKind.FOLDER:
            raise BadLedger("a ledger of an unknown kind")
        known = self.folders.get(FolderId(ledger_id))
        if known is None:
            return await self._receive_folder(ledger_id, wires)
        return bool(await self._extend(known.ledger, ledger_id, wires))

    async def _extend(
        self, ledger: UserLedger | FolderLedger, ledger_id: bytes, wires: Sequence[bytes]
    ) -> list[Entry]:
        """Takes entries in and keeps them; of those before one that is wrong, too."""
        placed: list[Entry] = []
        try:
            for wire in wires:
                placed += ledger.add(wire)
        finally:
            if placed:
                await self._keep_told(self.store_entries(ledger.kind, ledger_id, placed))
        return placed

    async def _receive_folder(self, ledger_id: bytes, wires: Sequence[bytes]) -> bool:
        try:
            ledger = FolderLedger.restore(wires, self.users)
        except Waiting as error:
            raise BadLedger("the ledger of an unknown user's folder") from error
        if ledger.folder_id != ledger_id or self.keys.device_id not in ledger.devices():
            raise BadLedger("a folder that this device is not in")
        if len(self.folders) >= FOLDERS_MAX:
            raise LimitReached(f"{len(self.folders)} folders")
        chain = EpochChain(ledger, OpeningKey.of_device(self.keys))
        self.folders[ledger.folder_id] = FolderMembership(ledger, chain)
        await self._keep_told(self.store_entries(LedgerKind.FOLDER, ledger_id, ledger))
        return True

    async def receive_wraps(
        self, folder_id: FolderId, epoch_id: EntryId, wraps: Iterable[tuple[bytes, bytes]]
    ) -> bool:
        """Takes wraps of an epoch from another device; True if any was new."""
        membership = self.folders.get(folder_id)
        if membership is None:
            return False
        taken = [
            wrap
            for wrap in (Wrap(epoch_id, recipient, sealed) for recipient, sealed in wraps)
            if membership.chain.offer(wrap)
        ]
        await self._keep_told(self.store_wraps(folder_id, taken))
        return bool(taken)
