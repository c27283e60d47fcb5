"""One folder's copies at super-nodes: kept up as files change, completed as nodes come back.

A pass compares what is on this disk with what lies in packs, puts what is lacking into new ones,
has each pack's shares stored by as many nodes as the scheme says, and reads back what other devices
have put there. It works from the nodes' own lists, so one that broke off is made once more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

from crypto.chunks import open_log_item
from crypto.errors import CryptoError
from crypto.ids import EntryId, RelayId
from crypto.packs import (
    SALT_SIZE,
    TAIL_SIZE,
    TRAILER_BOX_SIZE,
    Pack,
    PackIndex,
    PackKind,
    PackSlot,
    is_pack_of,
    open_pack_index,
    open_pack_trailer,
)
from crypto.shares import Descriptor, decode_descriptor
from peer.backup.folder_packs import FolderPacks
from peer.backup.holder_lists import LEASE_S, HolderLists, holder_list, mark_of
from peer.backup.node_pool import node_of
from peer.backup.pack_hashes import sealed_pack
from peer.backup.pack_leases import PackLeases
from peer.backup.pack_notes import Heal
from peer.backup.pack_store import Holding, KnownPack, PackStore, Place
from peer.backup.placement import assign
from peer.backup.repacking import Repacking
from peer.backup.share_audit import ShareAudit
from peer.backup.share_healing import ShareHealing
from peer.backup.share_receipts import receipt_of
from peer.backup.share_transfers import (
    NODE_TROUBLE,
    CutPack,
    Holders,
    Opened,
    PackLost,
    cut_pack,
    read_pack,
    read_range,
)
from peer.device.ledgers import FolderMembership
from peer.folders.folder import Folder
from protocol.backup_records import BackupRecord
from protocol.errors import LinkError, ProtocolError
from protocol.storage_messages import (
    DESCRIBED_MAX,
    Listed,
    ShareState,
    Stat,
    StoreDescribe,
    StoreDescribed,
    StoreList,
    StoreListed,
    StoreStat,
    StoreStats,
)
from protocol.version_records import VersionRecord, decode_version, item_id

log = logging.getLogger(__name__)

PACKS_AT_ONCE: Final = 2
"""On their way together: while one is cut and hashed another is sent. Each takes 30 MB."""
PACKS_KEPT: Final = 3
"""Packs that were read, for what is asked of them next."""
LEARNED_S: Final = 0
"""When leases were prolonged that somebody else has asked for: nobody knows, so it is time."""
TAIL_READ: Final = 64 << 10
"""Of a pack that another device made: its last leaf, where the index of most packs is."""


class Progress(NamedTuple):
    """How far the copies are."""

    state: str = "waiting"
    problem: str = ""
    stored_until_s: int = 0
    """Everything that was on this disk then is at nodes; 0: never yet."""
    lacking: int = 0
    """Packs with fewer shares than the scheme says."""


class FolderBackup:
    """The copies of one folder, as one device sees and makes them."""

    def __init__(
        self,
        membership: FolderMembership,
        store: PackStore,
        random: Callable[[int], bytes],
        folder: Callable[[], Folder | None],
        take_changesets: Callable[[Sequence[bytes]], Awaitable[None]],
        take_versions: Callable[[Sequence[VersionRecord]], Awaitable[None]],
    ) -> None:
        """`folder` gives the folder while it is at work here; `take_changesets` has it take in what
        was read back from nodes, and `take_versions` what files were before.
        """
        self.store = store
        self.audit = ShareAudit(store)
        self.lists = HolderLists(store)
        self.healing = ShareHealing(self)
        self.leases = PackLeases(self)
        self.repacking = Repacking(self)
        self.progress = Progress()
        self.sealing: EntryId | None = None
        """The epoch whose keys open the namespaces now."""
        self._take_changesets, self._take_versions = take_changesets, take_versions
        self._membership, self.random, self._folder = membership, random, folder
        self.has_read_all = False
        """Whether the last look at the nodes' lists left nothing that was not taken up."""
        self._lost: set[bytes] = set()
        """Packs of which too few shares are left to read them."""
        self._opened: dict[RelayId, Opened] = {}
        self._addresses: dict[RelayId, str] = {}
        self._packs: OrderedDict[int, bytes] = OrderedDict()
        self._reading: dict[int, asyncio.Lock] = {}

    # ------------------------------------------------------------ nodes

    def nodes_are(self, opened: Mapping[RelayId, Opened], addresses: Mapping[RelayId, str]) -> None:
        """Which nodes can be reached, with the folder's namespace open, and where they are."""
        self._opened, self._addresses = dict(opened), dict(addresses)

    @property
    def is_open(self) -> bool:
        """Whether the folder is at work here, so that it can be asked what it wants."""
        return self._folder() is not None

    @property
    def addresses(self) -> Mapping[RelayId, str]:
        """Where the nodes that are named for the folder are, those that are away too."""
        return self._addresses

    def present(self) -> dict[RelayId, Opened]:
        """The nodes that can be reached now."""
        return {id_: node for id_, node in self._opened.items() if not node.client.is_closed}

    async def look(self, needed: int = 1) -> None:
        """Reads what is new in the nodes' lists, and takes up what other devices put there; any
        `needed` shares of a pack are enough.
        """
        listed: dict[RelayId, list[Listed]] = {}
        for relay_id, node in self.present().items():
            try:
                listed[relay_id] = await self._list(relay_id, node)
            except NODE_TROUBLE as error:
                log.info("what a super-node holds is not known: %s", error)
        told: dict[bytes, RelayId] = {}
        for relay_id, shares in listed.items():
            told.update((s.descriptor_id, relay_id) for s in shares if s.state == ShareState.WHOLE)
        for relay_id in listed:
            ids = [id_ for id_ in await self.store.unknown(list(told)) if told[id_] == relay_id]
            if ids:
                await self._learn(self._opened[relay_id], ids)
        left = set(await self.store.unknown(list(told)))
        are_all = len(listed) == len(self._addresses)
        if are_all:
            left -= self._lost  # nobody brings them back
        self.has_read_all = not left and len(self._addresses) - len(listed) < needed
        numbers = {pack.id: pack.number for pack in await self._of(list(told))}
        await self._note_heals(listed, numbers)
        for relay_id, shares in listed.items():
            await self.store.hold(
                Holding(numbers[s.descriptor_id], s.number, relay_id, s.lease_until_s, 0)
                for s in shares
                if s.descriptor_id in numbers and s.state == ShareState.WHOLE
            )
            lasting = {s.descriptor_id for s in shares if s.state != ShareState.TRASHED}
            if shares and numbers.keys() >= lasting:
                last = max(share.position for share in shares)
                await self.store.put_position(relay_id, last)

    async def _note_heals(
        self, listed: Mapping[RelayId, Sequence[Listed]], numbers: Mapping[bytes, int]
    ) -> None:
        """Writes down which shares are at another node than before: somebody has rebuilt them."""
        new = [(s, id_) for id_, some in listed.items() for s in some if s.descriptor_id in numbers]
        if not new:
            return
        held: dict[tuple[int, int], set[RelayId]] = {}
        for holding in await self.store.holdings():
            held.setdefault((holding.pack, holding.share), set()).add(holding.node)
        for share, relay_id in new:
            before = held.get((numbers[share.descriptor_id], share.number), set())
            if before and relay_id not in before and share.state == ShareState.WHOLE:
                host = self._addresses.get(relay_id, "a super-node")
                id_ = share.descriptor_id
                log.info(
                    "share %d of pack %s was rebuilt at %s", share.number, id_.hex()[:16], host
                )
                heal = Heal(int(time.time()), id_, share.number, relay_id, False)
                await self.store.notes.healed(heal)

    async def _list(self, relay_id: RelayId, node: Opened) -> list[Listed]:
        position, found = await self.store.position(relay_id), list[Listed]()
        while True:
            listed = await node.client.ask(
                StoreList(node.client.number(), node.namespace, position), StoreListed
            )
            found += listed.shares
            if not listed.is_more or not listed.shares:
                return found
            position = max(share.position for share in listed.shares)

    async def _learn(self, node: Opened, unknown: Sequence[bytes]) -> None:
        """Takes up packs that another device made, or this one before it lost its memory.

        Logs are kept as known only once the folder has taken in what they tell.
        """
        logs: list[tuple[Descriptor, PackIndex]] = []
        wires: list[bytes] = []
        versions: list[VersionRecord] = []

        async def learn(
            encoded: bytes, asked: Sequence[bytes], holders: Mapping[bytes, Holders]
        ) -> None:
            try:
                descriptor = decode_descriptor(encoded)
                if descriptor.id() not in asked:
                    return
                own = holders.get(descriptor.id(), {})
                if len(own) < descriptor.needed:
                    # A piece of it may be had; but it counts on nobody, as what was let go of does.
                    self._lost.add(descriptor.id())
                    raise PackLost(f"{len(own)} shares are there and {descriptor.needed} needed")
                index, secret = await self._open(descriptor, own)
                if index.kind is PackKind.LOG:
                    told = await self._read_log(descriptor, index, own, secret)
                    wires.extend(told[0])
                    versions.extend(told[1])
                    logs.append((descriptor, index))
                    return
            except (*NODE_TROUBLE, CryptoError) as error:
                log.info("a pack at a super-node cannot be read: %r", error)
                return
            await self.store.add(descriptor, index, LEARNED_S)

        for start in range(0, len(unknown), DESCRIBED_MAX):
            part = tuple(unknown[start : start + DESCRIBED_MAX])
            described = await node.client.ask(
                StoreDescribe(node.client.number(), node.namespace, part), StoreDescribed
            )
            holders = await self._ask_holders(part)
            packs = [one.descriptor for one in described.packs]
            for at in range(0, len(packs), PACKS_AT_ONCE):
                await asyncio.gather(
                    *(learn(encoded, part, holders) for encoded in packs[at : at + PACKS_AT_ONCE])
                )
        if wires:
            await self._take_changesets(wires)
        if versions:
            await self._take_versions(versions)
        for descriptor, index in logs:
            await self.store.add(descriptor, index, LEARNED_S)

    async def _of(self, ids: Sequence[bytes]) -> list[KnownPack]:
        found: list[KnownPack] = []
        for start in range(0, len(ids), 500):
            part = list(ids[start : start + 500])
            marks = ",".join("?" * len(part))
            found += await self.store.packs(f"id IN ({marks})", part)
        return found

    async def _ask_holders(self, ids: tuple[bytes, ...]) -> dict[bytes, Holders]:
        """Which of the nodes hold which shares of packs that are not known here yet."""

        async def ask(node: Opened) -> Sequence[Stat]:
            request = StoreStat(node.client.number(), node.namespace, ids)
            try:
                return (await node.client.ask(request, StoreStats)).stats
            except NODE_TROUBLE:
                return ()

        nodes = list(self.present().values())
        holders: dict[bytes, dict[int, list[Opened]]] = {}
        for node, stats in zip(nodes, await asyncio.gather(*map(ask, nodes)), strict=True):
            for stat in stats:
                if stat.state == ShareState.WHOLE:
                    of_pack = holders.setdefault(stat.descriptor_id, {})
                    of_pack.setdefault(stat.number, []).append(node)
        return dict(holders)

    # ------------------------------------------------------------ reading

    async def _holders(self, pack: KnownPack) -> dict[int, list[Opened]]:
        present = self.present()
        holders: dict[int, list[Opened]] = {}
        for holding in await self.store.holdings(pack.number):
            if holding.node in present:
                holders.setdefault(holding.share, []).append(present[holding.node])
        return holders

    def read_secret(self, salt: bytes, hint: bytes) -> bytes | None:
        """That of the epoch under which a pack was made; None if it cannot be opened here."""
        for epoch_id in reversed(self._membership.ledger.epoch_ids()):
            secret = self._membership.chain.read_secret(epoch_id)
            if secret is not None and is_pack_of(secret, salt, hint):
                return secret
        return None

    async def _open(self, descriptor: Descriptor, holders: Holders) -> tuple[PackIndex, bytes]:
        """A pack's index, and the read secret that opens what is in it."""

        async def ranged(first: int, end: int) -> bytes:
            begin, data = await read_range(holders, descriptor, first, end)
            return data[first - begin : end - begin]

        try:
            return await self._open_by(ranged, descriptor.pack_size)
        except (*NODE_TROUBLE, CryptoError) as error:
            log.info("the ends of a pack are not as they have to be: %r", error)
        # Of the whole of it each share shows whether it is right.
        whole, _ = await read_pack(holders, descriptor)

        async def cut(first: int, end: int) -> bytes:
            return whole[first:end]

        return await self._open_by(cut, descriptor.pack_size)

    async def _open_by(
        self, read: Callable[[int, int], Awaitable[bytes]], size: int
    ) -> tuple[PackIndex, bytes]:
        begin = max(0, size - TAIL_READ)
        head, last = await read(0, SALT_SIZE), await read(begin, size)
        secret = self.read_secret(head, last[-TAIL_SIZE:-TRAILER_BOX_SIZE])
        if secret is None:
            raise LinkError("a pack that none of the folder's keys opens")
        offset, length = open_pack_trailer(secret, head, last[-TRAILER_BOX_SIZE:], size)
        end = offset + length
        box = last[offset - begin : end - begin] if offset >= begin else await read(offset, end)
        return open_pack_index(secret, head, box, offset), secret

    async def _read_log(
        self,
        descriptor: Descriptor,
        index: PackIndex,
        holders: Holders,
        secret: bytes,
    ) -> tuple[list[bytes], list[VersionRecord]]:
        data, _ = await read_pack(holders, descriptor)
        wires: list[bytes] = []
        versions: list[VersionRecord] = []
        for slot in index.slots:
            try:
                item = open_log_item(secret, slot.id, slot.cut(data))
                if slot.id == item_id(item):
                    versions.append(decode_version(item))
                else:
                    wires.append(item)
            except (CryptoError, ProtocolError) as error:
                log.warning("something in a pack of changes is damaged: %r", error)
        return wires, versions

    async def pack_bytes(self, pack: KnownPack) -> bytes:
        """A whole pack, from memory or from nodes; raises PackLost."""
        lock = self._reading.setdefault(pack.number, asyncio.Lock())
        async with lock:
            data = self._packs.get(pack.number)
            if data is None:
                data, wrong = await read_pack(await self._holders(pack), pack.descriptor)
                for share in wrong:
                    log.warning("share %d of a pack was wrong or not to be had", share)
                self._packs[pack.number] = data
                while len(self._packs) > PACKS_KEPT:
                    self._packs.popitem(last=False)
            self._packs.move_to_end(pack.number)
        self._reading.pop(pack.number, None)
        return data

    async def slot_bytes(self, pack: KnownPack, first: int, end: int) -> tuple[int, bytes]:
        """A range of a pack from the systematic shares alone, unverified, and where it begins."""
        if pack.number in self._packs:
            return 0, self._packs[pack.number]
        return await read_range(await self._holders(pack), pack.descriptor, first, end)

    # ------------------------------------------------------------ storing

    async def store_new(self, record: BackupRecord) -> None:
        """Puts what is lacking into packs and has them stored; raises LinkError where it ends."""
        folder = self._folder()
        if folder is None:
            return
        began_s = int(time.time())
        sealing, secret = self.sealing_secret()
        packs = FolderPacks(folder, self.store, secret, self.random)
        under_way: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as tasks:
            async for pack in packs.new_packs():
                while len(under_way) >= PACKS_AT_ONCE:
                    done, under_way = await asyncio.wait(
                        under_way, return_when=asyncio.FIRST_COMPLETED
                    )
                    for task in done:
                        task.result()
                under_way.add(tasks.create_task(self.store_pack(pack, record, sealing)))
        if not packs.unread:
            self.progress = self.progress._replace(stored_until_s=began_s)

    def sealing_secret(self) -> tuple[EntryId, bytes]:
        """The epoch under which packs are made now, and its read secret; raises LinkError."""
        sealing = self._membership.chain.sealing_epoch()
        secret = None if sealing is None else self._membership.chain.read_secret(sealing)
        if sealing is None or secret is None:
            raise LinkError("The folder's keys are to be renewed first.")
        return sealing, secret

    def secret_of(self, salt: bytes, hint: bytes) -> bytes:
        """That of a pack that was made here or elsewhere; raises LinkError."""
        secret = self.read_secret(salt, hint)
        if secret is None:
            raise LinkError("A pack was made under a key that is not here yet.")
        return secret

    def chunk_id_key(self) -> bytes:
        """What chunks are named by in this folder; raises LinkError."""
        keys = self._membership.chain.folder_keys()
        if keys is None:
            raise LinkError("The folder's keys are not all here yet.")
        return keys.chunk_id_key

    async def store_pack(self, pack: Pack, record: BackupRecord, sealing: EntryId) -> None:
        """Has shares stored, each at another node; raises LinkError if too few take one."""
        cut = await asyncio.to_thread(
            cut_pack, pack.pack_id, pack.data, record.needed, record.shares
        )
        descriptor = cut.descriptor
        stored = await self.put(cut, {}, turn=pack.pack_id[0])
        if len(stored) < record.needed:
            raise LinkError(
                f"Only {len(stored)} super-nodes took a share, and {record.needed} are needed."
            )
        now_s = int(time.time())
        number = await self.store.add(descriptor, pack.index, now_s)
        if pack.index.kind is PackKind.CHUNKS:
            sealed = await asyncio.to_thread(sealed_pack, sealing, pack.index, pack.data)
            await self.store.hashes.keep(number, sealed)
        await self.store.hold(holding._replace(pack=number) for holding in stored)
        if len(stored) == record.shares:
            await self.store.stored(number, now_s)
            mark = mark_of(holder_list(((h.share, h.node) for h in stored), self._addresses))
            await self.store.tell((number, holding.node, mark) for holding in stored)

    async def put(
        self,
        cut: CutPack,
        held: Mapping[int, RelayId],
        turn: int,
    ) -> list[Holding]:
        """Stores the shares that nobody holds yet, each at another node; what came of it."""
        present, descriptor = self.present(), cut.descriptor
        nodes = [node_of(node.client) for node in present.values()]
        placed = assign(nodes, descriptor.count, held, turn)
        holders = holder_list([*held.items(), *placed.items()], self._addresses)
        lease_s = int(time.time()) + LEASE_S

        async def put(share: int, relay_id: RelayId) -> Holding | None:
            node = present[relay_id]
            try:
                kept = await node.client.put(
                    node.namespace, descriptor, share, cut.shares[share], lease_s, holders,
                    cut.hashes[share],
                )  # fmt: skip
                receipt = receipt_of(node.client, descriptor, share, kept)
            except NODE_TROUBLE as error:
                log.info("a share could not be stored: %s", error)
                self.progress = self.progress._replace(problem=str(error))
                return None
            await self.store.notes.keep_receipt(receipt)
            return Holding(0, share, relay_id, kept.lease_until_s, kept.time_s)

        results = await asyncio.gather(*(put(s, r) for s, r in placed.items()))
        return [holding for holding in results if holding is not None]

    async def wanted_slots(self) -> dict[int, list[PackSlot]]:
        """For each pack what is wanted of it: by files as they are, by what they were, by logs."""
        folder = self._folder()
        if folder is None:
            raise LinkError("The folder is being opened anew.")
        wanted: dict[bytes, Place] = {}
        async for some in folder.store.wanted.chunks():
            wanted |= await self.store.find([id_ for id_, _ in some])
        async for versions in folder.store.wanted.versions():
            ids: list[bytes] = [item_id(v.record().encode()) for v in versions]
            ids += [id_ for v in versions for id_, _ in v.chunks()]
            wanted |= await self.store.find(ids)
        async for changesets in folder.store.wanted.changesets():
            wanted |= await self.store.find([hash_ for hash_, _ in changesets])
        slots: dict[int, list[PackSlot]] = {}
        for place in wanted.values():
            slots.setdefault(place.pack, []).append(place.slot)
        return slots
