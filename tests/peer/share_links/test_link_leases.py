"""What living links name is kept at nodes though the folder has no use for it, and no longer."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crypto.ids import FolderId
from crypto.packs import PackKind
from peer.backup import backups, pack_leases
from peer.backup.pack_leases import RENEW_AFTER_S
from peer.share_links.link_get import get
from peer.share_links.link_leases import LinkLeases
from peer.share_links.link_maker import Wish
from peer.share_links.link_store import LinkStore, MadeLink
from protocol.share_url import ShareUrl
from relay import share_rows
from relay.shares import DAY_S, Shares
from tests.peer.backup_stage import nodes, until_kept
from tests.peer.device_stage import devices, folder_of
from tests.peer.link_stage import link_relaying
from tests.relay.test_shares import Clock

FOLDER, OTHER = FolderId(b"f" * 32), FolderId(b"g" * 32)
LINK = MadeLink(
    b"l" * 16, "relay a", "https://a", b"s" * 32, b"p" * 32, "x", False, 1, 1, 5, 0, 0, 0
)


class Folders:
    """What is asked of nodes, and what relays say."""

    def __init__(self, store: LinkStore) -> None:
        self.store = store
        self.asked: list[tuple[FolderId, list[bytes]]] = []
        self.over: set[bytes] = set()
        self.relays: list[set[str]] = []
        self.is_willing = True
        self.leases = LinkLeases(self.opened, self.of, self.ended)

    async def opened(self) -> LinkStore:
        return self.store

    def of(self, folder_id: FolderId) -> Any:
        async def prolong_named(ids: Sequence[bytes], now_s: int) -> bool:
            self.asked.append((folder_id, list(ids)))
            return self.is_willing

        return SimpleNamespace(prolong_named=prolong_named) if folder_id == FOLDER else None

    async def ended(self, relays: Collection[str]) -> set[bytes]:
        self.relays.append(set(relays))
        return self.over

    async def step(self, now_s: float) -> list[tuple[FolderId, list[bytes]]]:
        self.asked.clear()
        await self.leases.step(now_s)
        return self.asked


@pytest.fixture
async def folders(tmp_path: Path) -> AsyncIterator[Folders]:
    store = await LinkStore.open(tmp_path / "links.db", b"k" * 32)
    await store.add(LINK, os.urandom(32), FOLDER, [b"1", b"2"])
    yield Folders(store)
    await store.close()


async def test_what_links_name_is_asked_for_once_a_week(folders: Folders) -> None:
    assert await folders.step(1000.0) == [(FOLDER, [b"1", b"2"])]
    assert folders.relays == [{"relay a"}]
    assert await folders.step(1000.0 + RENEW_AFTER_S - 1) == []
    assert await folders.step(1000.0 + RENEW_AFTER_S) == [(FOLDER, [b"1", b"2"])]
    assert await folders.step(900.0) == [(FOLDER, [b"1", b"2"])], "the clock was set back"
    folders.is_willing = False
    later = 1000.0 + 3 * RENEW_AFTER_S
    assert await folders.step(later) == await folders.step(later + 1) != []


async def test_a_link_that_has_ended_names_nothing(folders: Folders) -> None:
    for number, expires_s in ((1, 5000), (2, 0), (3, 0)):
        link = LINK._replace(link_id=bytes([number]) * 16, expires_s=expires_s)
        await folders.store.add(link, os.urandom(32), FOLDER, [b"2", b"%d of it" % number])
    await folders.store.add(LINK._replace(link_id=b"o" * 16), os.urandom(32), OTHER, [b"9"])
    await folders.store.revoked(bytes([2]) * 16, 4000)
    folders.over = {bytes([3]) * 16}  # used up, says its relay
    assert await folders.step(4999.0) == [(FOLDER, [b"1", b"1 of it", b"2"])]
    assert await folders.step(4999.0 + RENEW_AFTER_S) == [(FOLDER, [b"1", b"2"])]
    await folders.store.forget(LINK.link_id)
    assert await folders.step(4999.0 + 2 * RENEW_AFTER_S) == []


@pytest.mark.row("F29")
async def test_a_link_outlives_what_it_names_and_its_packs_do_not_outlive_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "REST_SHARE", 0)
    noise, clock = os.urandom(300_000), Clock()
    clock.now_s = int(time.time())
    monkeypatch.setattr(pack_leases, "time", SimpleNamespace(time=clock))
    async with (
        link_relaying(tmp_path / "relay") as place,
        nodes(tmp_path, 2) as some,
        devices(tmp_path) as stage,
    ):
        one = await stage.found("one")
        root = stage.root("one")
        (root / "big").write_bytes(noise)
        await one.add_folder(root, "f")
        await one.backups.add("f", [*some.addresses, place.address], 2, 3)
        await until_kept(one)
        folder_id = folder_of(one).folder_id
        stages = [place.relay, *some.stages]
        shares = [cast(Shares, each.relay.desk.storage.shares) for each in stages]  # type: ignore[union-attr]
        for each in (*shares, place.links):
            each._wall_clock = clock  # type: ignore[attr-defined]
        async with one.backups._passing[folder_id]:
            backup, record = one.backups._backups[folder_id], one.backups._records[folder_id]
            link = await one.share_links.create(root, "", None, Wish())
            assert link["uploaded_bytes"] == 0
            old = [p for p in await backup.store.packs() if p.kind is PackKind.CHUNKS]
            slots = await backup.wanted_slots()
            assert await backup.repacking._rewrite(PackKind.CHUNKS, old, slots, record) == 1
            leases = one.share_links.leases()

            async def weeks(count: int) -> list[int]:
                """How many nodes have something of the old pack after so many weeks."""
                for _ in range(count):
                    clock.now_s += 7 * DAY_S
                    await leases.step(clock.now_s)
                    await backup.leases.renew()
                    await place.links.sweep()
                    for each in shares:
                        while await each.sweep():
                            pass
                (pack,) = old
                found = [await share_rows.packs_of_descriptor(s.store, pack.id) for s in shares]
                return [len(each) for each in found]

            assert await weeks(20) == [1, 1, 1]
            await asyncio.to_thread(get, ShareUrl.parse(link["url"]), tmp_path / "out", str)
            assert (tmp_path / "out" / root.name / "big").read_bytes() == noise
            await one.share_links.revoke(link["url"])
            assert await weeks(15) == [0, 0, 0], "nobody refers to it any more"
            new = await backup.store.packs()
            assert {h.pack for h in await backup.store.holdings()} == {p.number for p in new}
            backup._packs.clear()
            for pack in new:
                await backup.pack_bytes(pack)
