"""Packs of which little is wanted are written anew, and nothing that is wanted is lost by it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crypto.packs import LEAF_SIZE, PackKind
from crypto.shares import Descriptor
from peer.backup import backups
from peer.backup.pack_store import KnownPack
from peer.backup.repacking import room_of, worth
from tests.peer.backup_stage import nodes, until_kept
from tests.peer.device_stage import devices, folder_of


def pack(number: int, leaves: int, needed: int = 4) -> KnownPack:
    roots = (bytes(32),) * (needed + 1)
    descriptor = Descriptor(bytes([number]) * 32, leaves * LEAF_SIZE, needed, roots)
    return KnownPack(number, descriptor.id(), descriptor, PackKind.CHUNKS, 1, 1)


def test_what_pays_is_written_anew() -> None:
    whole, half, small = pack(1, 128), pack(2, 128), [pack(n, 1) for n in range(3, 9)]
    assert room_of(small[0]) == 4 * LEAF_SIZE, "a small pack takes a leaf at each node"
    full = room_of(whole)
    assert worth({1: full, 2: full // 2}, [whole, half], 4) == []
    assert worth({1: full, 2: full // 3}, [whole, half], 4) == [half]
    assert worth({}, [whole], 4) == [], "what nobody wants at all just ends"
    assert worth({3: 1000}, small[:1], 4) == [], "one small pack would become one small pack"
    assert len(worth(dict.fromkeys(range(3, 9), 1000), small, 4)) == 6


@pytest.mark.row("F29")
async def test_small_packs_become_one_and_every_byte_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "REST_SHARE", 0)  # between passes there is nothing to spare here
    async with nodes(tmp_path, 3) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        root = stage.root("one")
        (root / "a").write_bytes(os.urandom(20_000))
        await one.add_folder(root, "f")
        await one.backups.add("f", some.addresses, 2, 3)
        await until_kept(one)
        for number in range(3):
            (root / f"b{number}").write_bytes(os.urandom(20_000))
            await until_kept(one, packs=4 + 2 * number)
        folder_id = folder_of(one).folder_id
        backup, record = one.backups._backups[folder_id], one.backups._records[folder_id]
        async with one.backups._passing[folder_id]:
            before = await backup.store.packs()
            slots = await backup.wanted_slots()
            ids = {slot.id for each in slots.values() for slot in each}
            files = [len(some.files(number)) for number in range(3)]
            backup.repacking._looked_at = float("-inf")
            assert await backup.repacking.step(record) == len(before) == 8
            after = await backup.store.packs()
            assert [p.kind for p in after] == [PackKind.CHUNKS, PackKind.LOG]
            found = await backup.wanted_slots()
            assert {slot.id for each in found.values() for slot in each} == ids
            assert all([len(some.files(n)) == files[n] + 2 for n in range(3)]), "none was deleted"
            assert await backup.repacking.step(record) == 0, "once a day"
            folder = one.network.folders[folder_id]
            secret = backup.sealing_secret()[1]
            for each in after:
                backup._packs.clear()
                data = await backup.pack_bytes(each)
                items = backup.repacking._sealed_anew(each.kind, data, found[each.number], secret)
                assert len(items) == len(found[each.number]), "each opens under the folder's keys"
            assert folder is not None
        entry = await until_kept(one)
        assert (entry["packs"], entry["health"]) == (2, "healthy")
