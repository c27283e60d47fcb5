"""The copies of this device's folders at super-nodes: which, where, and how they stand.

What a person decides is a record that all devices of the user tell each other, so any of them may
fetch what is there and go on with what another one began.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from crypto.errors import CryptoError
from crypto.ids import FolderId, RelayId
from crypto.keys import KitKeys
from crypto.shares import SHARES_MAX
from peer.backup.backup_report import report
from peer.backup.backup_settings import BACKUPS_SETTING, VAULT_SETTING
from peer.backup.backup_source import BackupSource
from peer.backup.folder_backup import FolderBackup
from peer.backup.node_keys import FolderAtNode, storage_at
from peer.backup.node_pool import NodePool, node_of
from peer.backup.pack_leases import PackLeases
from peer.backup.pack_store import PackStore
from peer.backup.placement import weaknesses
from peer.backup.read_back import ReadBack
from peer.backup.sealed_chunks import SealedChunks
from peer.backup.share_transfers import NODE_TROUBLE, Opened, trouble_at
from peer.backup.vaults import Vaults
from peer.connectivity.connection import Connection
from peer.connectivity.network import Network
from peer.control.under_way import UnderWay
from peer.core.lacking import as_coming
from peer.core.versions import Version
from peer.device.home import Home
from peer.device.home_store import Folder as StoredFolder
from peer.device.home_store import is_damage
from peer.device.ledgers import FolderMembership, Ledgers
from peer.errors import BadRecoveryKit, PeerError, TooFewNodes, UsageError
from peer.folders.folder import Folder
from peer.folders.neighbours import Parcel
from peer.status import BackupEntry, BackupList, FolderState, KitSheet, RepairReport
from protocol.backup_records import (
    BackupRecord,
    merge,
    next_version,
    read_records,
    write_records,
)
from protocol.changesets import Changeset, decode_changeset
from protocol.errors import BadKit, LinkError, ProtocolError, StorageRefused
from protocol.events import BackupsReceived
from protocol.folder_actions import Storage
from protocol.kit import decode_kit, encode_kit
from protocol.ledger import LedgerKind
from protocol.messages import BackupsKnown
from protocol.relay_address import RelayAddress
from protocol.storage_client import StorageClient
from protocol.version_records import VersionRecord

log = logging.getLogger(__name__)

LOOK_INTERVAL_S: Final = 60.0
"""Between passes over a folder in which nothing changes: nodes come back, devices put something."""
SETTLE_S: Final = 1.0
"""After a change, for more of it."""
RETRY_S: Final = 5.0
REST_SHARE: Final = 5
"""A pass is followed by a rest of so many times its length, lest a folder in which something always
changes keep the disk busy."""
KEEPER_AWAY_S: Final = 60.0
"""Another device goes on for the one that uploads when that was not seen for so long."""
TAKEN_TIMEOUT_S: Final = 120.0
WIRES_AT_ONCE: Final = 1000
_EXPECTED: Final = (
    LinkError, StorageRefused, ProtocolError, CryptoError, PeerError, sqlite3.Error, TimeoutError,
)  # fmt: skip
"""What nodes, disks and other devices may do to a pass; it is made again."""


class Backups:
    """All of them; `start` begins, and the daemon's tasks carry it out."""

    def __init__(
        self,
        home: Home,
        ledgers: Ledgers,
        network: Network,
        tasks: asyncio.TaskGroup,
        find: Callable[[str], StoredFolder],
        names: Callable[[], Mapping[FolderId, str]],
        relays: Callable[[], tuple[Any, ...]],
        on_membership: Callable[[], Awaitable[None]],
        now: UnderWay,
    ) -> None:
        """`find` gives the folder that a person names; `names` what all folders are called;
        `relays` the records of the user's relays; `on_membership` is told when a ledger has grown;
        `now` shows how far a repair is.
        """
        self._now = now
        self._home, self._ledgers, self._network, self._tasks = home, ledgers, network, tasks
        self._find, self._names, self._on_membership = find, names, on_membership
        self._pool = NodePool(home.keys, tasks)
        self._records: dict[FolderId, BackupRecord] = {}
        self._changing = asyncio.Lock()
        self._vault_secret = b""
        self._relays = relays
        self.read_back = ReadBack(home)
        self._vaults = Vaults(home, ledgers, names, relays)
        self._work: dict[FolderId, asyncio.Task[None]] = {}
        self._backups: dict[FolderId, FolderBackup] = {}
        self._wakes: dict[FolderId, asyncio.Event] = {}
        self._sources: dict[FolderId, BackupSource] = {}
        self._opened: dict[tuple[FolderId, RelayId], Opened] = {}
        self._keeper_seen_at: dict[FolderId, float] = {}
        self._passing: dict[FolderId, asyncio.Lock] = {}
        """A pass and a repair that a person asks for come one after the other."""
        self.on_stored: Callable[[FolderId, int], Awaitable[None]] = _nobody
        """Told when a pass over a folder is done, with the number of its latest pack, before the
        folder counts as up to date.
        """
        network.on_own[BackupsReceived] = self._received
        grown = network.on_grown

        def on_grown() -> None:
            grown()
            self.wake()

        network.on_grown = on_grown

    # ------------------------------------------------------------ which

    async def start(self) -> None:
        """Goes on with what is in the home."""
        self._records = read_records(await self._home.store.setting(BACKUPS_SETTING) or b"")
        self._vault_secret = await self._home.store.setting(VAULT_SETTING) or b""
        await self.read_back.load()
        self._follow()

    @property
    def known(self) -> BackupsKnown:
        """What the user's other devices are told."""
        return BackupsKnown(self._vault_secret, tuple(self._records.values()))

    def wake(self) -> None:
        """Something is new in a folder."""
        for wake in self._wakes.values():
            wake.set()

    async def add(
        self, folder: str, addresses: Sequence[RelayAddress], needed: int, count: int
    ) -> BackupEntry:
        """Keeps a folder at these nodes from now on; raises TooFewNodes, UsageError or LinkError's
        sentence as PeerError.
        """
        stored = self._find(folder)
        if not 1 <= needed <= count <= SHARES_MAX:
            raise UsageError(f"A scheme is K/N with 1 <= K <= N <= {SHARES_MAX}.")
        places = {address.relay_id: address for address in addresses}
        if len(places) < count:
            raise TooFewNodes(
                f"{count} shares need {count} super-nodes and {len(places)} are named. Name more,"
                " or choose a smaller scheme with --scheme K/N."
            )
        for address in places.values():
            try:
                await self._pool.client(address, is_urgent=True)
            except LinkError as error:
                raise PeerError(trouble_at(address, error)) from error
        await self._say(
            BackupRecord(
                stored.folder_id, needed, count, tuple(str(a) for a in places.values()),
                self._home.keys.device_id, 0,
            )
        )  # fmt: skip
        return await self._entry(self._records[stored.folder_id])

    async def remove(self, folder: str) -> None:
        """Keeps a folder no more: what is at the nodes is let go of when its leases end."""
        await self._say(self._kept(folder)._replace(needed=0))

    async def repair(self, folder: str) -> RepairReport:
        """Looks at once whether nodes hold what they should, and has everything that they do not
        show stored anew, also what lies at nodes that are away. Raises UsageError, or PeerError
        before the first pass.
        """
        stored = self._find(folder)
        record, backup = self._kept(folder), self._backups.get(stored.folder_id)
        if backup is None:
            raise PeerError(f"{folder!r} is being opened. Try again in a moment.")
        backup.audit.hasten()
        await self._tried(stored.folder_id, backup.store)
        async with self._passing[stored.folder_id]:
            backup.healing.seen = (0, 0)
            try:
                with self._now.doing("repair", folder, "packs", lambda: backup.healing.seen):
                    healed = await backup.healing.complete(record, counts_away=False)
            except NODE_TROUBLE as error:
                raise PeerError(f"{error} Not everything was looked at.") from error
            await backup.lists.tell(backup.present(), backup.addresses)
        away = [a for node, a in backup.addresses.items() if node not in backup.present()]
        return {
            "folder": self._name_of(stored.folder_id),
            "rebuilt": healed.rebuilt,
            "lacking": healed.lacking,
            "lost": healed.lost,
            "away": away,
        }

    def _kept(self, folder: str) -> BackupRecord:
        record = self._records.get(self._find(folder).folder_id)
        if record is None or not record.is_on:
            raise UsageError(f"{folder!r} is not kept at super-nodes.")
        return record

    async def every(self) -> BackupList:
        """What `backup status` shows."""
        return {
            "backups": [await self._entry(r) for r in list(self._records.values()) if r.is_on],
            "kit": bool(self._vault_secret),
        }

    def check_read_back(self) -> None:
        """Raises NotReadBack while not all has come back to a device that was made by the kit."""
        kept = [folder_id for folder_id, record in self._records.items() if record.is_on]
        self.read_back.check({folder_id: self._name_of(folder_id) for folder_id in kept})

    def places(self, folder_id: FolderId) -> Sequence[RelayAddress]:
        """The nodes at which a folder is kept."""
        record = self._records.get(folder_id)
        return record.places if record is not None and record.is_on else ()

    def leases_of(self, folder_id: FolderId) -> PackLeases | None:
        """Those of a folder's packs, on whichever device; None if it is not kept at nodes."""
        backup = self._backups.get(folder_id)
        return backup.leases if backup is not None and self.places(folder_id) else None

    async def sealed_at(self, folder_id: FolderId, client: StorageClient) -> SealedChunks | None:
        """What of a folder lies sealed at the node to which this is a link, its namespace opened on
        it; None if that is not one of the folder's nodes, or cannot be opened now.
        """
        backup, membership = self._backups.get(folder_id), self._ledgers.folders.get(folder_id)
        node = client.address.relay_id
        is_kept = node in {address.relay_id for address in self.places(folder_id)}
        if backup is None or membership is None or not is_kept:
            return None
        try:
            opened = await self._at_node(folder_id, membership, client).open(may_found=False)
        except NODE_TROUBLE as error:
            log.info("a folder's copies are not used for a share link: %s", error)
            return None
        return SealedChunks(backup, membership, node, opened.namespace)

    def _at_node(
        self, folder_id: FolderId, membership: FolderMembership, client: StorageClient
    ) -> FolderAtNode:
        return FolderAtNode(
            membership.ledger, membership.chain, client,
            self._ledgers.user.state().identity.emergency_pk, os.urandom,
            lambda storage: self._tell_storage(folder_id, storage),
        )  # fmt: skip

    async def show_kit(self, kit: str) -> KitSheet:
        """Checks a kit against this user, has this device keep its vault, and tells what is printed
        beside it. Raises BadRecoveryKit.
        """
        try:
            keys = KitKeys.from_secret(decode_kit(kit))
        except BadKit as error:
            raise BadRecoveryKit(str(error)) from error
        user = self._ledgers.user
        if keys.identity_public != user.state().identity.identity_pk:
            raise BadRecoveryKit("This is the recovery kit of somebody else, or an older one.")
        if keys.vault_secret != self._vault_secret:
            await self.keep_vault_secret(keys.vault_secret)
        nodes = [a for record in self._records.values() if record.is_on for a in record.nodes]
        addresses = [*nodes, *(record.address for record in self._relays() if record.is_used)]
        return {
            "kit": encode_kit(decode_kit(kit)),
            "user": user.user_id.hex(),
            "relays": list(dict.fromkeys(addresses)),
        }

    async def keep_vault_secret(self, secret: bytes) -> None:
        """From now on this device keeps the vault of its user's kit up to date."""
        async with self._home.store.transaction() as write:
            await write.put_setting(VAULT_SETTING, secret)
        self._vault_secret = secret
        self._network.tell_own(self.known)
        self.wake()

    async def _say(self, record: BackupRecord) -> None:
        async with self._changing:
            record = record._replace(version=next_version(self._records))
            await self._keep_records({**self._records, record.folder_id: record})

    async def _received(self, event: BackupsReceived, _: Connection) -> None:
        if event.vault_secret and not self._vault_secret:
            await self.keep_vault_secret(event.vault_secret)
        async with self._changing:
            await self._keep_records(merge(self._records, event.records))

    async def _keep_records(self, records: dict[FolderId, BackupRecord]) -> None:
        if records == self._records:
            return
        async with self._home.store.transaction() as write:
            await write.put_setting(BACKUPS_SETTING, write_records(records))
        self._records = records
        self._follow()
        self._network.tell_own(self.known)
        self.wake()

    def _follow(self) -> None:
        for folder_id, record in self._records.items():
            if record.is_on and folder_id not in self._work:
                self._wakes[folder_id] = asyncio.Event()
                self._work[folder_id] = self._tasks.create_task(self._keep(folder_id))
            elif not record.is_on and folder_id in self._work:
                self._work.pop(folder_id).cancel()
                self._end(folder_id)

    # ------------------------------------------------------------ one folder

    async def _keep(self, folder_id: FolderId) -> None:
        """Makes passes, whenever something has changed, until cancelled."""
        loop, wake = asyncio.get_running_loop(), self._wakes[folder_id]
        path = self._home.folders_path / f"{folder_id.hex()}.packs"
        store = await self._open(folder_id, path)
        try:
            while True:
                wake.clear()
                began_at = loop.time()
                is_done = await self._tried(folder_id, store)
                if store.is_damaged:
                    await store.close()
                    store = await self._open(folder_id, path, is_damaged=True)
                    self._backups.pop(folder_id, None)
                wait_s = LOOK_INTERVAL_S if is_done else RETRY_S
                rest_s = min(LOOK_INTERVAL_S, REST_SHARE * (loop.time() - began_at))
                await asyncio.sleep(min(wait_s, max(SETTLE_S, rest_s)))
                try:
                    async with asyncio.timeout(wait_s):
                        await wake.wait()
                except TimeoutError:
                    pass
        finally:
            await store.close()

    async def _open(
        self, folder_id: FolderId, path: Path, *, is_damaged: bool = False
    ) -> PackStore:
        """What is remembered of a folder's packs, as soon as the disk lets it be opened."""
        while True:
            try:
                return await PackStore.open(path, is_damaged=is_damaged)
            except (sqlite3.Error, OSError) as error:
                log.warning("%s: copies: %s", self._name_of(folder_id), error)
            await asyncio.sleep(RETRY_S)

    async def _tried(self, folder_id: FolderId, store: PackStore) -> bool:
        """A pass; False if it is to be made again soon, of whatever that may come."""
        try:
            async with self._passing.setdefault(folder_id, asyncio.Lock()):
                return await self._pass(folder_id, store)
        except* _EXPECTED as group:
            error = group.exceptions[0]
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            store.is_damaged |= isinstance(error, sqlite3.Error) and is_damage(error)
            self._trouble(folder_id, str(error) or repr(error))
            self._close(folder_id)
        return False

    def _trouble(self, folder_id: FolderId, reason: str) -> None:
        backup = self._backups.get(folder_id)
        if backup is not None:
            if backup.progress.problem != reason:
                log.warning("%s: copies: %s", self._name_of(folder_id), reason)
            backup.progress = backup.progress._replace(state="trouble", problem=reason)

    async def _pass(self, folder_id: FolderId, store: PackStore) -> bool:
        """One pass; False if it is to be made again soon."""
        record, membership = self._records[folder_id], self._ledgers.folders.get(folder_id)
        folder = self._network.folders.get(folder_id)
        if membership is None or folder is None or folder.is_closed:
            return False
        backup = self._backups.get(folder_id)
        if backup is None:
            backup = self._backups[folder_id] = FolderBackup(
                membership, store, os.urandom, lambda: self._network.folders.get(folder_id),
                lambda wires: self._take_changesets(folder_id, wires),
                lambda versions: self._take_versions(folder_id, versions),
            )  # fmt: skip
        backup.progress = backup.progress._replace(problem="")
        clients = await self._pool.reachable(record.places)
        if backup.sealing != (sealing := membership.chain.sealing_epoch()):
            self._close(folder_id)  # nodes are to be told of the new keys
            backup.sealing = sealing
        opened = {}
        for relay_id, client in clients.items():
            known = self._opened.get((folder_id, relay_id))
            storage = storage_at(membership.ledger, relay_id)
            is_same = storage is None or known is None or known.namespace == storage.namespace
            if not is_same:  # two devices founded one at once, and all take the same
                await store.drop_node(relay_id)
            if known is None or known.client is not client or not is_same:
                at_node = self._at_node(folder_id, membership, client)
                try:
                    known = await at_node.open(may_found=self._is_keeper(record))
                except NODE_TROUBLE as error:
                    self._trouble(folder_id, str(error))
                    continue
                if at_node.was_lost:
                    log.warning("%s has lost all that it held", client.address.host)
                    await store.drop_node(relay_id)
                self._opened[folder_id, relay_id] = known
            opened[relay_id] = known
        backup.nodes_are(opened, {place.relay_id: str(place) for place in record.places})
        await self._vaults.write(self._vault_secret, clients.values(), self.known.records)
        if not opened:
            self._trouble(folder_id, "None of the super-nodes can be reached; it is tried again.")
            self._offer(folder, backup, is_there=False)
            return False
        folder = self._network.folders.get(folder_id, folder)  # it may have been opened anew
        await self._look(folder, backup, record.needed)
        folder = self._network.folders.get(folder_id, folder)
        if backup.has_read_all:
            await self.read_back.is_read(folder_id)
        is_whole = folder.progress.state is FolderState.IN_SYNC
        is_keeper = self._is_keeper(record)
        if is_keeper:
            # Before anybody finds it in the trash; and what is still to come back must not end.
            await backup.leases.renew(of_all=folder.disk is None or not is_whole)
        await backup.audit.verify(backup.present())
        self._offer(folder, backup, is_there=True)
        if folder.disk is None or not is_keeper:
            backup.progress = backup.progress._replace(state="watching")
            return True
        if not is_whole:
            backup.progress = backup.progress._replace(state="waiting")
            return False
        return await self._store(record, backup)

    async def _store(self, record: BackupRecord, backup: FolderBackup) -> bool:
        """What a pass of the device that uploads does; False if it is to be made again soon."""
        backup.progress = backup.progress._replace(state="storing")
        await backup.store_new(record)
        await backup.repacking.step(record)
        healed = await backup.healing.complete(record)
        await backup.healing.rebalance()
        await backup.lists.tell(backup.present(), backup.addresses)
        await backup.audit.sample(backup.present(), int(time.time()))
        problem = backup.progress.problem
        if not problem:
            packs = await backup.store.packs("number = (SELECT max(number) FROM pack)")
            await self.on_stored(record.folder_id, packs[0].number if packs else 0)
        backup.progress = backup.progress._replace(
            state="trouble" if problem else "up to date", lacking=healed.lacking
        )
        return not problem and not healed.lost

    async def _look(self, folder: Folder, backup: FolderBackup, needed: int) -> None:
        """Reads what is new at the nodes. Meanwhile nobody is told that a file is nowhere."""
        folder.progress.is_read_back = not backup.has_read_all
        if not backup.has_read_all:
            told = folder.progress.undelivered
            told.update({path: as_coming(why) for path, why in told.items()})
        try:
            await backup.look(needed)
        finally:
            now = self._network.folders.get(folder.folder_id, folder)  # it may be opened anew
            folder.progress.is_read_back = now.progress.is_read_back = False

    def _name_of(self, folder_id: FolderId) -> str:
        return self._names().get(folder_id, folder_id.hex()[:16])

    def _is_keeper(self, record: BackupRecord) -> bool:
        """Whether this device uploads: the one that was told to, or another while it is away."""
        own = self._home.keys.device_id
        if record.keeper == own:
            return True
        now = asyncio.get_running_loop().time()
        seen_at = self._keeper_seen_at.setdefault(record.folder_id, now)
        if record.keeper in self._network.connections:
            self._keeper_seen_at[record.folder_id] = now
            return False
        others = [d for d in self._network.connections if self._ledgers.is_own(d)]
        return now - seen_at > KEEPER_AWAY_S and own <= min(others, default=own)

    async def _tell_storage(self, folder_id: FolderId, storage: Storage) -> None:
        """Writes into the folder's ledger which namespace is its own at a node."""
        membership = self._ledgers.folders[folder_id]
        entry = membership.ledger.act(self._home.keys, [storage], time.time())
        await self._ledgers.store_entries(LedgerKind.FOLDER, folder_id, [entry])
        await self._on_membership()

    def _offer(self, folder: Folder, backup: FolderBackup, *, is_there: bool) -> None:
        """Has the folder ask the nodes for chunks that no device has."""
        known = self._sources.get(folder.folder_id)
        if known is not None and (not is_there or known.backup is not backup):
            self._network.sources.remove(known.source_id)
            del self._sources[folder.folder_id]
            known = None
        keys = self._ledgers.folders[folder.folder_id].chain.folder_keys()
        if known is None and is_there and keys is not None:
            source = BackupSource(
                folder.folder_id, backup, keys.chunk_id_key, self._network.sources, self._tasks
            )
            self._sources[folder.folder_id] = source
            self._network.sources.add(source.source_id, folder.folder_id, source)
        elif folder.lacks_bytes:
            folder.ask_again()

    async def _take_changesets(self, folder_id: FolderId, wires: Sequence[bytes]) -> None:
        """Has the folder take in what it does not hold, in the order in which it was written."""
        for start in range(0, len(in_order := _in_order(wires)), WIRES_AT_ONCE):
            folder = self._network.folders.get(folder_id)  # it may be opened anew in between
            if folder is None:
                raise LinkError("The folder is being opened anew.")
            parcel = Parcel("super-nodes")
            some = in_order[start : start + WIRES_AT_ONCE]
            folder.changesets_received(tuple(some), parcel, 0)
            async with asyncio.timeout(TAKEN_TIMEOUT_S):
                await parcel.taken.wait()

    async def _take_versions(self, folder_id: FolderId, versions: Sequence[VersionRecord]) -> None:
        """Has the folder know what its files were before; their bytes are at nodes."""
        folder = self._network.folders.get(folder_id)
        if folder is None:
            raise LinkError("The folder is being opened anew.")
        await folder.store.versions.learn(Version(*version, None) for version in versions)

    def _end(self, folder_id: FolderId) -> None:
        source = self._sources.pop(folder_id, None)
        if source is not None:
            self._network.sources.remove(source.source_id)
        self._backups.pop(folder_id, None)
        self._wakes.pop(folder_id, None)
        self._close(folder_id)

    def _close(self, folder_id: FolderId) -> None:
        """Opens its namespaces anew at the next pass."""
        for key in [key for key in self._opened if key[0] == folder_id]:
            del self._opened[key]

    # ------------------------------------------------------------ how they stand

    async def _entry(self, record: BackupRecord) -> BackupEntry:
        backup = self._backups.get(record.folder_id)
        clients = await self._pool.reachable(record.places)
        nodes = [node_of(client) for client in clients.values()]
        warnings = weaknesses(nodes, record.needed, record.shares) if nodes else []
        if not self._vault_secret:
            warnings.append(
                "This device does not know your recovery kit, so a kit alone would not find these"
                " copies: give it once with `holdfast kit print`."
            )
        return await report(
            record, self._name_of(record.folder_id), backup, self._pool, clients, warnings
        )


def _in_order(wires: Sequence[bytes]) -> list[bytes]:
    """Changesets as they rest on each other; of a log whose beginning was compacted away, what
    declares its floor comes first.
    """
    changesets: list[Changeset] = []
    for wire in wires:
        try:
            changesets.append(decode_changeset(wire))
        except ProtocolError as error:
            log.warning("something from super-nodes is no changeset: %s", error)
    floors: dict[bytes, Changeset] = {}
    first: dict[bytes, int] = {}
    for changeset in changesets:
        log_id, slot = changeset.log_id, changeset.slot
        first[log_id] = min(first.get(log_id, slot.seq), slot.seq)
        if slot.floor > 1 and (log_id not in floors or slot.floor > floors[log_id].slot.floor):
            floors[log_id] = changeset
    declared = [c.wire for log_id, c in floors.items() if first[log_id] > 1]
    changesets.sort(key=lambda c: (c.slot.lamport, c.slot.seq))
    return declared + [changeset.wire for changeset in changesets]


async def _nobody(_folder_id: FolderId, _mark: int) -> None:
    """Who is told that a folder is stored until somebody wants to know."""
