"""A folder is kept at super-nodes: what is new goes there, what is lost there comes again, and
another device goes on where one ended.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from crypto.ids import ChunkId, DeviceId, RelayId
from peer.backup import backups
from peer.backup.backup_settings import BACKUPS_SETTING
from peer.backup.folder_backup import FolderBackup
from peer.backup.node_pool import NodePool
from peer.backup.pack_leases import PackLeases
from peer.command_line.demo_device import find_free_port
from peer.core.lacking import COMING
from peer.daemon import Daemon
from peer.device.database import DatabaseClosed
from peer.errors import BadRecoveryKit, PeerError, TooFewNodes, UsageError
from peer.status import FolderState
from protocol.backup_records import read_records
from protocol.errors import LinkError
from protocol.kit import encode_kit
from protocol.relay_address import RelayAddress
from protocol.storage_client import StorageClient
from tests.peer.backup_stage import Nodes, keep, nodes, until_kept
from tests.peer.device_stage import DEADLINE_S, LOOPBACK, Stage, devices, folder_of, until


class Kept(NamedTuple):
    """A device whose folder, `f`, is kept by three nodes of which two are needed."""

    stage: Stage
    nodes: Nodes
    one: Daemon


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    async with nodes(tmp_path, 3) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        (stage.root("one") / "a").write_bytes(os.urandom(300_000))
        await one.add_folder(stage.root("one"), "f")
        await keep(stage, one, some, 2)
        yield Kept(stage, some, one)


async def test_what_a_person_can_get_wrong(kept: Kept) -> None:
    one, some = kept.one, kept.nodes
    with pytest.raises(TooFewNodes, match="4 shares need 4 super-nodes and 3 are named"):
        await one.backups.add("f", some.addresses, 2, 4)
    with pytest.raises(UsageError, match="scheme"):
        await one.backups.add("f", some.addresses, 3, 2)
    nobody = RelayAddress(LOOPBACK, find_free_port(), RelayId(b"n" * 32))
    with pytest.raises(PeerError, match=str(nobody.port)):
        await one.backups.add("f", [*some.addresses, nobody], 2, 3)
    with pytest.raises(BadRecoveryKit, match="somebody else"):
        await one.backups.show_kit(encode_kit(bytes(32)))
    await one.backups.remove("f")
    assert (await one.backups.every())["backups"] == []
    with pytest.raises(UsageError, match="not kept"):
        await one.backups.remove("f")


@pytest.mark.row("A17")
async def test_each_node_holds_a_share_of_each_pack_and_nothing_to_be_read(kept: Kept) -> None:
    canary = b"canary-" + os.urandom(8).hex().encode()
    (kept.stage.root("one") / canary.decode()).write_bytes(canary * 100)
    entry = await until_kept(kept.one, packs=4)
    counts = [len(kept.nodes.files(number)) for number in range(3)]
    assert counts == [counts[0]] * 3  # the vault lies there, too
    assert counts[0] > entry["packs"]
    for path in kept.nodes.base.glob("node-*/**/*"):
        assert not path.is_file() or canary not in path.read_bytes()


async def test_what_did_not_change_is_not_stored_again(kept: Kept) -> None:
    root = kept.stage.root("one")
    (root / "copy").write_bytes((root / "a").read_bytes())
    (root / "a").rename(root / "b")
    entry = await until_kept(kept.one, packs=3)
    assert (entry["packs"], entry["health"]) == (3, "healthy")  # only a log of changes came


@pytest.mark.row("F24")
async def test_a_node_that_lost_its_disk_is_given_all_again(kept: Kept) -> None:
    one, some = kept.one, kept.nodes
    folder_id = folder_of(one).folder_id
    backup = one.backups._backups[folder_id]
    node_id = some.addresses[0].relay_id
    before = await backup.store.holdings()
    for holding in before:
        if holding.node == node_id:
            await backup.store.drop(holding.pack, holding.share, node_id)
    one.backups.wake()
    await until_kept(one)
    assert len(await backup.store.holdings()) == len(before)


async def test_another_device_fetches_what_no_device_has(kept: Kept) -> None:
    one = kept.one
    two = await kept.stage.join(one, "two")
    await until(lambda: bool(two.backups.known.records))
    assert two.backups.known.vault_secret == one.backups.known.vault_secret
    await until(lambda: any(two._name_of(s) == "f" for s in two.stored.values()))
    # The first one is gone before the second has the folder: its log and its bytes are at nodes.
    one.network.close_all()
    one.dialling.heard_of = lambda *_: None  # type: ignore[method-assign]
    await one._listener.stop()
    await two.attach_folder("f", kept.stage.root("two"))
    await until(lambda: folder_of(two).progress.state is FolderState.IN_SYNC)
    data = (kept.stage.root("one") / "a").read_bytes()
    await until(lambda: (kept.stage.root("two") / "a").read_bytes() == data)


async def test_nobody_is_told_that_a_file_is_nowhere_while_nodes_are_read(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, may_end, look = kept.one, asyncio.Event(), FolderBackup.look
    is_attached, reachable = asyncio.Event(), NodePool.reachable

    async def slow(backup: FolderBackup, needed: int = 1) -> None:
        await look(backup, needed)
        if backup not in one.backups._backups.values():
            await may_end.wait()

    async def late(
        pool: NodePool, addresses: Iterable[RelayAddress], *, is_urgent: bool = False
    ) -> dict[RelayId, StorageClient]:
        clients = await reachable(pool, addresses, is_urgent=is_urgent)
        if pool is not one.backups._pool:
            await is_attached.wait()  # the folder that the pass began with is another by now
        return clients

    monkeypatch.setattr(FolderBackup, "look", slow)
    monkeypatch.setattr(NodePool, "reachable", late)
    two = await kept.stage.join(one, "two")
    await until(lambda: bool(two.backups.known.records))
    await until(lambda: any(two._name_of(s) == "f" for s in two.stored.values()))
    one.network.close_all()
    one.dialling.heard_of = lambda *_: None  # type: ignore[method-assign]
    await one._listener.stop()
    await two.attach_folder("f", kept.stage.root("two"))
    is_attached.set()
    await until(lambda: two.network.folders and folder_of(two).fetcher)
    folder = folder_of(two)
    fetcher = folder.fetcher
    assert fetcher is not None
    await until(lambda: fetcher.jobs)
    for key in list(fetcher.jobs):
        fetcher.give_up(key)
    folder.wake()
    await until(lambda: folder.progress.undelivered == {("a",): COMING})
    may_end.set()
    await until(lambda: folder_of(two).progress.state is FolderState.IN_SYNC)
    assert not folder.progress.undelivered


@pytest.mark.row("F29")
async def test_while_something_is_lacking_all_that_lies_at_nodes_is_asked_for(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes, folder = kept.one.backups, folder_of(kept.one)
    store, asked = passes._backups[folder.folder_id].store, list[bool]()

    async def renew(leases: PackLeases, *, of_all: bool = False) -> None:
        asked.append(of_all)

    monkeypatch.setattr(PackLeases, "renew", renew)
    async with passes._passing[folder.folder_id]:
        await passes._pass(folder.folder_id, store)
        lacking = property(lambda _: FolderState.SYNCING, lambda *_: None)
        monkeypatch.setattr(type(folder.progress), "state", lacking)
        await passes._pass(folder.folder_id, store)
        assert asked == [False, True]
    monkeypatch.undo()


async def test_only_one_of_two_devices_uploads(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    record = next(iter(kept.one.backups._records.values()))
    away = record._replace(keeper=DeviceId(b"a" * 32))
    assert kept.one.backups._is_keeper(record)
    assert not kept.one.backups._is_keeper(away)
    monkeypatch.setattr(backups, "KEEPER_AWAY_S", 0.0)
    await asyncio.sleep(0.01)
    assert kept.one.backups._is_keeper(away)


async def test_what_is_kept_is_in_the_home(kept: Kept) -> None:
    stored = await kept.one.home.store.setting("backups")
    assert read_records(stored or b"") == kept.one.backups._records
    assert await kept.one.home.store.setting("vault secret") == kept.one.backups.known.vault_secret


async def test_of_two_who_decide_at_once_both_are_heard(kept: Kept) -> None:
    one, addresses = kept.one, kept.nodes.addresses
    for name in ("g", "h"):
        await one.add_folder(kept.stage.root(name), name)
    await asyncio.gather(*(one.backups.add(name, addresses, 2, 3) for name in ("g", "h")))
    every = (await one.backups.every())["backups"]
    assert sorted(entry["folder"] for entry in every) == ["f", "g", "h"]
    told = read_records(await one.home.store.setting(BACKUPS_SETTING) or b"")
    assert told == {record.folder_id: record for record in one.backups.known.records}
    assert len({record.version for record in told.values()}) == 3


async def test_a_folder_that_is_opened_anew_in_the_middle_of_a_pass_ends_nothing(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its index is closed; the pass is made again with the one that is open."""
    one, folder = kept.one, folder_of(kept.one)
    chunks, is_done = folder.store.wanted.chunks, asyncio.Event()

    async def meanwhile() -> AsyncIterator[list[tuple[ChunkId, int]]]:
        await one.openings.reopen(folder.folder_id)
        is_done.set()
        async for some in chunks():
            yield some

    monkeypatch.setattr(folder.store.wanted, "chunks", meanwhile)
    (kept.stage.root("one") / "b").write_bytes(b"new")
    await is_done.wait()
    (kept.stage.root("one") / "c").write_bytes(b"newer")
    one.backups.wake()
    backup = one.backups._backups[folder.folder_id]
    names = [b"new", b"newer"]
    hasher = folder_of(one)._serving._hasher
    ids = [hasher.chunk_id(name) for name in names]

    async def are_stored() -> None:
        while len(await backup.store.find(ids)) < len(ids):
            one.backups.wake()
            await asyncio.sleep(0.02)

    async with asyncio.timeout(DEADLINE_S):
        await are_stored()


async def test_what_nodes_have_is_told_the_folder_that_is_open_by_then(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes in pieces, and the folder is opened anew between two of them."""
    monkeypatch.setattr(backups, "WIRES_AT_ONCE", 1)
    monkeypatch.setattr(backups, "TAKEN_TIMEOUT_S", 5.0)
    one, folder = kept.one, folder_of(kept.one)
    found = await folder.changesets(next(iter(folder.engine.frontier)).log_id, 0, 1 << 20)
    assert found is not None
    wires = [found.wires[0]] * 3
    received = folder.changesets_received
    begun = asyncio.Event()

    def hears(wires: tuple[bytes, ...], origin: object, batch: int) -> None:
        received(wires, origin, batch)
        begun.set()

    monkeypatch.setattr(folder, "changesets_received", hears)
    taking = asyncio.ensure_future(one.backups._take_changesets(folder.folder_id, wires))
    await begun.wait()
    await one.openings.reopen(folder.folder_id)
    await taking  # else nobody takes the second piece, and it waits in vain


async def test_a_request_for_chunks_outlives_the_end_of_the_copies(kept: Kept) -> None:
    one, folder_id = kept.one, folder_of(kept.one).folder_id
    await until(lambda: folder_id in one.backups._sources)
    source = one.backups._sources[folder_id]
    await one.backups.remove("f")
    await until(lambda: source.backup.store._db._connection is None)
    with pytest.raises(DatabaseClosed):
        await source.backup.store.totals()
    await source._answer([ChunkId(bytes(32))])


async def test_who_has_a_folder_repaired_is_told_of_a_node_that_fails(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = kept.one
    (backup,) = one.backups._backups.values()

    async def fails(*_: object, **__: object) -> None:
        raise LinkError("127.0.0.1 port 1: the link was lost.")

    monkeypatch.setattr(backup.healing, "complete", fails)
    with pytest.raises(PeerError, match=r"the link was lost\. Not everything was looked at"):
        await one.backups.repair("f")
