"""A node that is lost while a pack is stored, made whole or written anew costs its own share.

It is lost at every request in turn, be it that the request never comes to it or that its answer
does not come back: what the others hold gives every byte, and nothing counts as stored that is not.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from crypto.chunks import SealedChunk
from crypto.ids import RelayId
from crypto.packs import LEAF_SIZE, Pack, PackKind, PackWriter
from peer.backup import backups
from peer.backup.folder_backup import FolderBackup
from peer.backup.pack_store import KnownPack
from protocol.backup_records import BackupRecord
from protocol.errors import LinkError
from protocol.storage_client import Answer, Request, StorageClient
from protocol.storage_messages import PIECE_LEAVES_MAX
from tests.peer.backup_stage import Nodes, nodes, until_kept
from tests.peer.device_stage import devices, folder_of

REQUESTS_MAX = 40
"""More than any of these needs of one node."""
SLOT_SIZE = 2 * (PIECE_LEAVES_MAX + 1) * LEAF_SIZE - LEAF_SIZE // 2
"""Of a pack of which each of two shares goes in two pieces."""


class Mortal(StorageClient):
    """The link of another client, to a node that is lost at one of the next requests."""

    def __init__(self, client: StorageClient, left: int, *, hears_last: bool) -> None:
        self.__dict__.update(client.__dict__)
        self._client, self._left, self._hears_last = client, left, hears_last
        self.is_lost = False

    def number(self) -> int:
        return self._client.number()

    @property
    def is_closed(self) -> bool:
        return self.is_lost or self._client.is_closed

    async def send(self, request: Request) -> asyncio.Future[Answer]:
        if not self.is_lost and self._left > 0:
            self._left -= 1
            return await self._client.send(request)
        if not self.is_lost and self._hears_last:
            await (await self._client.send(request))
        self.is_lost = True
        raise LinkError("The link to the node has ended.")


class Place:
    """A folder's copies at nodes that can be lost, each for a while."""

    def __init__(self, backup: FolderBackup, record: BackupRecord, some: Nodes) -> None:
        self.backup, self.record, self.some = backup, record, some
        self.ids = [address.relay_id for address in some.addresses]
        self._opened = backup.present()
        assert len(self._opened) == len(self.ids)

    def losing(
        self,
        left: int,
        lost: Collection[RelayId],
        *,
        hears_last: bool = False,
        away: Collection[RelayId] = (),
    ) -> list[Mortal]:
        """These nodes are lost at so many requests from now on, and others are away already."""
        mortal = {
            id_: Mortal(self._opened[id_].client, left, hears_last=hears_last) for id_ in lost
        }
        opened = {
            id_: node._replace(client=mortal[id_]) if id_ in mortal else node
            for id_, node in self._opened.items()
            if id_ not in away
        }
        self.backup.nodes_are(opened, self.backup.addresses)
        return list(mortal.values())

    def back(self) -> None:
        """All nodes are there again."""
        self.backup.nodes_are(self._opened, self.backup.addresses)

    async def pack(self, id_: bytes) -> KnownPack | None:
        return next(
            (p for p in await self.backup.store.packs() if p.descriptor.pack_id == id_), None
        )

    async def read(self, pack: KnownPack) -> bytes:
        """What nodes give of it now, and not what was read before."""
        self.backup._packs.clear()
        return await self.backup.pack_bytes(pack)

    async def is_whole(self, pack: KnownPack) -> bool:
        """Whether each share lies at a node of its own and is right there."""
        held = await self.backup.store.holdings(pack.number)
        for holding in held:
            node = self._opened[holding.node]
            await node.client.fetch(node.namespace, pack.descriptor, holding.share)
        numbers = sorted(holding.share for holding in held)
        return numbers == [*range(pack.descriptor.count)] == [*range(len({h.node for h in held}))]

    def new_pack(self) -> Pack:
        """A pack of something that is in no file."""
        random = self.backup.random
        writer = PackWriter(self.backup.sealing_secret()[1], PackKind.CHUNKS, random)
        writer.add(random(32), SealedChunk(0, SLOT_SIZE - 28, random(SLOT_SIZE)))
        return writer.close()


@asynccontextmanager
async def kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, needed: int, shares: int
) -> AsyncIterator[Place]:
    """A folder of two files that is kept at nodes, and has no pass of its own any more."""
    monkeypatch.setattr(backups, "REST_SHARE", 0)
    async with nodes(tmp_path, count) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        for name in ("a", "b"):
            (stage.root("one") / name).write_bytes(os.urandom(20_000))
        await one.add_folder(stage.root("one"), "f")
        await one.backups.add("f", some.addresses, needed, shares)
        await until_kept(one)
        folder_id = folder_of(one).folder_id
        async with one.backups._passing[folder_id]:
            backup = one.backups._backups[folder_id]
            yield Place(backup, one.backups._records[folder_id], some)


def each_request() -> Iterator[tuple[int, bool]]:
    """How many requests a node answers yet, and whether it hears the next one."""
    return ((left, hears) for left in range(REQUESTS_MAX) for hears in (False, True))


@pytest.mark.row("F23", "F25")
async def test_a_node_that_is_lost_during_an_upload_costs_its_own_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(tmp_path, monkeypatch, 3, 2, 3) as place:
        backup, (sealing, _) = place.backup, place.backup.sealing_secret()
        rounds = 0
        for left, hears in each_request():
            pack = place.new_pack()
            (one,) = place.losing(left, place.ids[:1], hears_last=hears)
            await backup.store_pack(pack, place.record, sealing)
            is_lost, known = one.is_lost, await place.pack(pack.pack_id)
            assert known is not None
            assert (known.stored_s is None) == is_lost, "stored is what all have that should"
            assert len(await backup.store.holdings(known.number)) == 3 - is_lost
            assert await place.read(known) == pack.data
            place.back()
            assert (await backup.healing.complete(place.record)).rebuilt == is_lost
            assert await place.is_whole(known)
            await backup.store.forget([known.number])
            if not is_lost:
                break
            # With two of three lost nothing counts as stored; what they have taken is no harm.
            pack = place.new_pack()
            place.losing(left, place.ids[:2], hears_last=hears)
            with pytest.raises(LinkError, match="Only 1 super-nodes took a share, and 2"):
                await backup.store_pack(pack, place.record, sealing)
            assert await place.pack(pack.pack_id) is None
            place.back()
            await backup.store_pack(pack, place.record, sealing)
            known = await place.pack(pack.pack_id)
            assert known is not None
            assert await place.is_whole(known)
            await backup.store.forget([known.number])
            rounds += 1
        assert rounds == 2 * 4, "lost at the beginning, at each of two pieces and at the end"


@pytest.mark.row("F24", "F25")
async def test_a_node_that_is_lost_during_a_repair_leaves_what_can_be_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost is one that is read from, or the one that is to have what is made."""
    async with kept(tmp_path, monkeypatch, 4, 2, 3) as place:
        backup, (sealing, _) = place.backup, place.backup.sealing_secret()
        await backup.store.forget([known.number for known in await backup.store.packs()])
        rounds = 0
        for which in ("source", "target"):
            for left, hears in each_request():
                pack = place.new_pack()
                await backup.store_pack(pack, place.record, sealing)
                known = await place.pack(pack.pack_id)
                assert known is not None
                held = {h.share: h.node for h in await backup.store.holdings(known.number)}
                (spare,) = set(place.ids) - set(held.values())
                gone = held.pop(2)
                lost = [spare] if which == "target" else [held[0]]
                (one,) = place.losing(left, lost, hears_last=hears, away=[gone])
                backup._packs.clear()
                healed = await backup.healing.complete(place.record, counts_away=False)
                is_made = healed.rebuilt == 1
                after = {(h.share, h.node) for h in await backup.store.holdings(known.number)}
                made = {(2, spare)} if is_made else set()
                assert after == {*held.items(), (2, gone)} | made, "held is what was acknowledged"
                place.back()
                await backup.store.drop(known.number, 2, gone)
                await backup.healing.complete(place.record, counts_away=False)
                assert await place.is_whole(known)
                assert await place.read(known) == pack.data
                await backup.store.forget([known.number])
                if not one.is_lost:
                    assert is_made
                    break
                assert not is_made
                rounds += 1
        assert rounds == 2 * (2 + 4), "a source gives two pieces, and a target is asked four times"


@pytest.mark.row("F29")
async def test_a_node_that_is_lost_while_packs_are_written_anew_takes_nothing_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(tmp_path, monkeypatch, 3, 2, 3) as place:
        backup, rounds = place.backup, 0
        wanted = await opened(place)
        assert len(wanted) >= 4, "two files, and changesets that tell of them"
        for left in range(REQUESTS_MAX):
            await scatter(place)
            (one,) = place.losing(left, place.ids[:1], hears_last=bool(left % 2))
            backup.repacking._looked_at = float("-inf")
            await backup.repacking.step(place.record)
            is_lost = one.is_lost
            place.losing(0, (), away=place.ids[:1])
            assert await opened(place) == wanted, "two of three nodes give everything"
            place.back()
            await backup.healing.complete(place.record)
            place.losing(0, (), away=place.ids[1:2])
            assert await opened(place) == wanted, "and the one that came back with one of them"
            place.back()
            if not is_lost:
                break
            rounds += 1
            # With two lost a new pack may not come to be: what is in the old ones stays there.
            await scatter(place)
            place.losing(left, place.ids[:2], hears_last=bool(left % 2))
            backup.repacking._looked_at = float("-inf")
            with suppress(LinkError):
                await backup.repacking.step(place.record)
            place.back()
            assert await opened(place) == wanted
        assert rounds >= 8


@pytest.mark.row("A41")
async def test_what_a_node_does_not_prolong_for_it_is_not_there_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(tmp_path, monkeypatch, 3, 2, 3) as place:
        backup = place.backup
        (pack, *others) = await backup.store.packs()
        desk = place.some.stages[0].relay.desk.storage
        assert desk is not None
        namespace = backup.present()[place.ids[0]].namespace
        async with desk.shares.store.transaction() as db:
            await db.execute_fetchall(
                "DELETE FROM packs WHERE namespace = ? AND descriptor_id = ?", (namespace, pack.id)
            )
        await backup.store.renewed([each.number for each in (pack, *others)], 0)
        await backup.leases.renew()
        held = await backup.store.holdings()
        lacking = {(h.pack, h.node) for h in held} ^ {
            (each.number, id_) for each in (pack, *others) for id_ in place.ids
        }
        assert lacking == {(pack.number, place.ids[0])}, "the others have theirs, and said so"
        assert (pack.number, place.ids[0]) not in await backup.store.told()
        assert (await backup.healing.complete(place.record)).rebuilt == 1
        assert await place.is_whole(pack)


async def scatter(place: Place) -> None:
    """Puts each thing that is wanted into a pack of its own."""
    backup = place.backup
    epoch, secret = backup.sealing_secret()
    kinds = {pack.number: pack.kind for pack in await backup.store.packs()}
    for number, slots in (await backup.wanted_slots()).items():
        pack = await backup.store.pack(number)
        assert pack is not None
        data = await place.read(pack)
        for slot, sealed in backup.repacking._sealed_anew(kinds[number], data, slots, secret):
            writer = PackWriter(secret, kinds[number], backup.random)
            writer.add(slot.id, sealed)
            await backup.store_pack(writer.close(), place.record, epoch)
        await backup.store.forget([number])


async def opened(place: Place) -> set[tuple[bytes, bytes]]:
    """All that is wanted, and what nodes give for it now."""
    backup = place.backup
    found: set[tuple[bytes, bytes]] = set()
    for number, slots in (await backup.wanted_slots()).items():
        pack = await backup.store.pack(number)
        assert pack is not None
        data = await place.read(pack)
        # Opening compares a chunk with its id; sealing it anew says nothing else of it.
        items = backup.repacking._sealed_anew(pack.kind, data, slots, backup.sealing_secret()[1])
        found |= {(slot.id, slot.plain_len.to_bytes(4, "big")) for slot, _ in items}
    return found
