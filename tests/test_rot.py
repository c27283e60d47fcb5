"""One bit flips in each kind of thing that is stored: it is found, never served as what it was,
made again where another copy exists, and said.

The kinds are read off the code: every table of every database and every directory in which files
rest has to be named here, so that what is new is not forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Final

import pytest

from crypto.errors import CryptoError
from crypto.ids import UserId
from crypto.keys import DeviceKeys
from crypto.packs import LEAF_SIZE
from crypto.share_links import open_link
from peer.backup.pack_store import PackStore
from peer.core.disk_types import TRASH
from peer.daemon import Daemon
from peer.device import home as home_module
from peer.device.home import Home
from peer.errors import HomeDamaged, IndexDamaged
from peer.folders.index_store import IndexStore
from peer.history.history import NOT_HERE
from peer.journal.trail_file import TRAIL_NAME, TrailFile, segments_of, verify_trail
from peer.share_links.link_store import LinkStore
from peer.share_links.upload_store import UploadStore
from protocol.storage_client import storing
from protocol.storage_messages import ShareState
from relay import service, share_files, web_service
from relay import share_rows as rows
from relay.row_mending import address_of
from relay.scrub import PROMISE_S, LinkScrub, Scrub
from relay.share_rows import ShareRow
from relay.shares import TRASH_S, ShareFault
from relay.store import RelayStore, schemas
from tests.peer.backup_stage import keep, nodes
from tests.peer.device_stage import Stage, devices, folder_of, until
from tests.relay.storage_stage import FAR_S, files_of
from tests.relay.test_repairer import PACKED, Town, town
from tests.relay.test_shares import running
from tests.relay.web_stage import link_stage

Case = Callable[[Path, pytest.LogCaptureFixture], Awaitable[None]]


def flip(path: Path, at: int = 100) -> None:
    """One bit, as a disk does it: nothing else of the file says so."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def flipped(value: bytes, at: int) -> bytes:
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]


async def change(store: RelayStore, sql: str, *values: Any) -> None:
    """What the disk makes of a row."""
    async with store.transaction() as db:
        await db.execute_fetchall(sql, values)


def said(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return any(words in record.getMessage() for record in caplog.records)


# ---------------------------------------------------------------- at a node


@asynccontextmanager
async def stored(tmp_path: Path) -> AsyncIterator[tuple[Town, RelayStore, Scrub, ShareRow]]:
    """A pack at four nodes; the third one's part of it is what rots."""
    async with town(tmp_path, 5) as place:
        await place.put(PACKED)
        relay = place.nodes[2].stage.relay
        desk = relay.desk.storage
        assert relay.scrub is not None
        assert desk is not None
        (row,) = await rows.shares_of(desk.shares.store, 1)
        yield place, desk.shares.store, relay.scrub, row


async def is_whole(place: Town) -> None:
    """All nodes hold what they held, and the third one gives the right bytes."""
    assert (await place.held(PACKED))[:4] == [[0], [1], [2], [3]]
    async with storing(place.nodes[2].stage.address, place.device) as client:
        namespace = await place.owner.open(client)
        assert await client.fetch(namespace, PACKED.descriptor, 2) == PACKED.shares[2]


async def share_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with stored(tmp_path) as (place, store, scrub, row):
        (path,) = files_of(place.nodes[2].home)
        flip(path)
        desk = place.nodes[2].stage.relay.desk.storage
        assert desk is not None
        with pytest.raises(ShareFault):
            await desk.shares.read(row, 0, 1)
        assert said(caplog, "a share on this disk is damaged")
        await place.nodes[2].repairer.round()
        await is_whole(place)
        flip(path)
        began_s, step_s = place.clock.now_s, 0.0
        while (await rows.shares_of(store, 1))[0].state == ShareState.WHOLE:
            place.clock.now_s += int(step_s)
            step_s = max(1.0, await scrub.step())
            assert place.clock.now_s - began_s <= PROMISE_S
        await place.nodes[2].repairer.round()
        await is_whole(place)
        assert said(caplog, "a share was rebuilt")


async def leaf_hashes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file is right, and shows by the root which of both has rotted."""
    async with stored(tmp_path) as (place, store, scrub, row):
        await change(store, "UPDATE shares SET hashes = ?", flipped(row.hashes, 40))
        async with storing(place.nodes[2].stage.address, place.device) as client:
            namespace = await place.owner.open(client)
            with pytest.raises(Exception, match="not the right ones"):
                await client.fetch(namespace, PACKED.descriptor, 2)
        assert said(caplog, "the hashes of a share were damaged, and were made again")
        await is_whole(place)
        await change(store, "UPDATE shares SET hashes = ?", flipped(row.hashes, 5))
        await scrub.step()
        await is_whole(place)


async def leaf_hashes_and_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with stored(tmp_path) as (place, store, scrub, row):
        (path,) = files_of(place.nodes[2].home)
        flip(path)
        await change(store, "UPDATE shares SET hashes = ?", flipped(row.hashes, 40))
        await scrub.step()
        assert (await place.held(PACKED))[2] == []
        await place.nodes[2].repairer.round()
        await is_whole(place)


async def descriptor_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with stored(tmp_path) as (place, store, scrub, row):
        for at in (0, 33, len(row.descriptor) - 3):  # its version, its size, a root
            await change(store, "UPDATE packs SET descriptor = ?", flipped(row.descriptor, at))
            await scrub.step()
            assert (await place.held(PACKED))[2] == []
            await place.nodes[2].repairer.round()
            assert said(caplog, "the row of a pack was damaged, and was made again")
            await is_whole(place)


async def lease_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A lease that ends too early has its pack go to the trash, where it waits for whoever asks."""
    async with stored(tmp_path) as (place, store, _, row):
        await change(store, "UPDATE packs SET lease_until_s = ?", row.lease_until_s & ~(1 << 30))
        desk = place.nodes[2].stage.relay.desk.storage
        assert desk is not None
        await desk.shares.sweep()
        assert (await place.held(PACKED))[2] == []
        place.clock.now_s += TRASH_S - 1
        await desk.shares.sweep()
        async with storing(place.nodes[2].stage.address, place.device) as client:
            namespace = await place.owner.open(client)
            await client.put(namespace, PACKED.descriptor, 2, PACKED.shares[2], FAR_S, ())
        await is_whole(place)


async def node_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with stored(tmp_path) as (place, store, _, _):
        known = await store.rows("SELECT node, node_id, address FROM nodes ORDER BY node")
        node, id_, address = known[0]
        broken = (
            (flipped(id_, 3), address),
            (id_, address.replace("127.0.0.1", "127.0.0.q")),
            (id_, address[:-1] + ("a" if address[-1] != "a" else "b")),
            (id_, "garbage"),
        )
        for wrong in broken:
            sql = "UPDATE nodes SET node_id = ?, address = ? WHERE node = ?"
            await change(store, sql, *wrong, node)
            await place.nodes[2].repairer.round()
            if address_of(*wrong) is None:
                assert said(caplog, "the row of another node was damaged, and was made again")
                caplog.clear()
                after = await store.rows("SELECT node, node_id, address FROM nodes ORDER BY node")
                assert after == known
            await change(store, sql, id_, address, node)
        await is_whole(place)


async def holder_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever is asked for a share that it has not is found out, and costs no share."""
    async with stored(tmp_path) as (place, store, scrub, _):
        await change(store, "UPDATE holders SET number = 1 WHERE number = 0")
        (path,) = files_of(place.nodes[2].home)
        flip(path)
        await scrub.step()
        await place.nodes[2].repairer.round()
        await place.rounds(4, every=2)
        await is_whole(place)


async def incoming_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path) as node:
        incoming = await node.begin(PACKED)
        assert incoming is not None
        await node.shares.take(incoming, 0, PACKED.shares[0][: 2 * LEAF_SIZE])
        node.shares.leave(incoming)
        (path,) = files_of(tmp_path)
        flip(path, LEAF_SIZE + 5)
        incoming = await node.begin(PACKED)
        assert incoming is not None
        assert incoming.next_leaf == 1
        node.shares.leave(incoming)
        await node.put(PACKED)
        assert await node.read(PACKED) == PACKED.shares[0]


async def file_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path) as node:
        await node.put(PACKED)
        await change(node.store, "DELETE FROM shares")
        await node.shares.start()
        (path,) = files_of(tmp_path)
        assert path.parent.name == share_files.ASIDE
        flip(path)
        await node.put(PACKED)
        assert await node.read(PACKED) == PACKED.shares[0]


async def delegation_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A node that cannot read who may do what lets nobody do it, and goes on with all others."""
    async with running(tmp_path) as node:
        await node.put(PACKED)
        ((delegation,),) = await node.store.rows("SELECT delegation FROM namespaces")
        await change(node.store, "UPDATE namespaces SET delegation = ?", flipped(delegation, 0))
    async with running(tmp_path) as node:  # which founds it again, as a device does
        assert said(caplog, "who may use a namespace cannot be read any more")
        assert await node.read(PACKED) == PACKED.shares[0]


async def relay_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SQLite itself finds what it is made of; the values in it are covered by their own cases."""
    async with running(tmp_path) as node:
        await node.put(PACKED)
    flip(tmp_path / "relay.db", 4096)  # the kind of the second page
    with pytest.raises(Exception, match="Put it back from a copy"):
        await RelayStore.open(tmp_path)


async def link_blob(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """There is one copy of it, at its relay, which says so; who opens it is given nothing wrong."""
    async with link_stage(tmp_path) as stage:
        made = [await stage.made() for _ in range(3)]
        scrub = LinkScrub(stage.links)
        for _ in range(4):
            assert await scrub.step(60) == 0
        path = stage.links._path(made[1].link_id)
        right = path.read_bytes()
        for at in (0, 20, len(right) // 2, len(right) - 1):
            path.write_bytes(flipped(right, at))
            caplog.clear()
            assert sum([await scrub.step(60) for _ in range(3)]) == 1
            assert said(caplog, "a share link on this disk is damaged")
            with pytest.raises(CryptoError):
                open_link(made[1].link_id, made[1].secrets, path.read_bytes())
        path.write_bytes(right)
        assert await scrub.step(PROMISE_S) == 0, "all of them in one round"


# ---------------------------------------------------------------- at a device


@asynccontextmanager
async def pair(tmp_path: Path, count: int) -> AsyncIterator[tuple[Stage, Daemon]]:
    """Two devices with a folder and a version in it; the second, which has kept that version, is
    given, and keeps the folder at so many nodes.
    """
    async with nodes(tmp_path, count) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await stage.share(one, two)
        for data in (FIRST, SECOND):
            (stage.root("one") / "note").write_bytes(data)
            there = stage.root("two") / "note"
            await until(lambda: there.exists() and there.read_bytes() == data)  # noqa: B023
        await until(lambda: list((stage.root("two").joinpath(*TRASH)).glob("kept-*")))
        if count:
            await keep(stage, two, some, 1)
        yield stage, two


async def chunk_in_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What has rotted in a synced file goes to nobody; nodes have it."""
    async with pair(tmp_path, 1) as (stage, two):
        flip(stage.root("two") / "note")
        folder = folder_of(two)
        chunks = [id_ async for some in folder.store.wanted.chunks() for id_, _ in some]
        assert await folder.read_chunks(chunks) == [None]
        source = two.backups._sources[folder.folder_id]
        (place,) = (await source.backup.store.find(chunks)).values()
        pack = await source.backup.store.pack(place.pack)
        assert pack is not None
        assert [got.data for got in await source._read(pack, [place])] == [SECOND]


async def chunk_in_the_trash(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An earlier version that rotted comes from nodes, and is refused in words where it is not."""
    for count in (1, 0):
        base = tmp_path / str(count)
        base.mkdir()
        async with pair(base, count) as (stage, two):
            path = stage.root("two") / "note"
            (_, before) = (await two.versions(path))["versions"]
            (kept,) = (stage.root("two").joinpath(*TRASH)).glob("kept-*")
            flip(kept)
            report = await two.restore(path, before["version"], None, None)
            if count:
                assert report["restored"] == ["note"]
                assert path.read_bytes() == FIRST
            else:
                assert [each["reason"] for each in report["failed"]] == [NOT_HERE]
                assert path.read_bytes() == SECOND


async def pack_index(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What lies where in a pack is known from nodes too: the pack itself shows that it is right."""
    async with pair(tmp_path, 1) as (_, two):
        folder = folder_of(two)
        chunks = [id_ async for some in folder.store.wanted.chunks() for id_, _ in some]
        source = two.backups._sources[folder.folder_id]
        store = source.backup.store
        (place,) = (await store.find(chunks)).values()
        pack = await store.pack(place.pack)
        assert pack is not None
        await store._db.execute_fetchall("UPDATE slot SET offset = offset + 64")
        (wrong,) = (await store.find(chunks)).values()
        with pytest.raises(CryptoError):
            await source._read(pack, [wrong])
        assert said(caplog, "what lies where in a pack is damaged here")
        assert await store.find(chunks) == {}
        two.backups.wake()

        async def is_back() -> bool:
            return bool(await store.find(chunks))

        async with asyncio.timeout(60):
            while not await is_back():
                await asyncio.sleep(0.05)
        (right,) = (await store.find(chunks)).values()
        pack = await store.pack(right.pack)
        assert pack is not None
        assert [got.data for got in await source._read(pack, [right])] == [SECOND]


async def pack_index_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "packs.db"
    await (await PackStore.open(path)).close()
    for at in (0, 4096):
        flip(path, at)
        store = await PackStore.open(path)
        assert said(caplog, "is begun anew, and read back from the super-nodes")
        assert await store.packs() == []
        await store.close()


async def index_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An index that is damaged is set aside, and made again of the disk and the other devices."""
    path = tmp_path / "index.db"
    await (await IndexStore.open(path)).close()
    flip(path)
    with pytest.raises(IndexDamaged):
        await IndexStore.open(path)


async def home_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of the home's database there is a copy, which is put in its place."""
    home = await Home.create(tmp_path / "home", DeviceKeys.generate(os.urandom))
    async with home.store.transaction() as write:
        await write.put_user(UserId(b"u" * 32), "one")
    await home.write_key(None)
    await home.close()
    path = tmp_path / "home" / "home.db"
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    flip(path, 4096)
    home = await Home.open(tmp_path / "home")
    assert "was damaged and is kept as" in home.notices[0]
    await home.close()


async def links_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """There is no other copy of the keys of links: that is said, and what is to be done."""
    for opens in (LinkStore.open, UploadStore.open):
        path = tmp_path / opens.__qualname__
        await (await opens(path, b"k" * 32)).close()
        flip(path, 0)
        with pytest.raises(HomeDamaged):
            await opens(path, b"k" * 32)


async def trail_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / TRAIL_NAME
    trail = TrailFile.open(directory, DeviceKeys.generate(os.urandom), os.urandom, 1)
    for number in range(3):
        trail.append({"time": number, "what": "x"}, number)
    trail.close(9)
    (path,) = segments_of(directory)
    flip(path, path.stat().st_size // 2)
    assert verify_trail(directory).problems


# ---------------------------------------------------------------- all of them

FIRST: Final = b"first" * 50
SECOND: Final = b"second" * 50
BY_PAGE: Final = "its page"
"""Values that nobody but their own relay or device knows: SQLite sees to the page they are in."""

CASES: Final[dict[str, Case]] = {
    case.__name__: case
    for case in (
        share_file, leaf_hashes, leaf_hashes_and_file, descriptor_row, lease_row, node_row,
        holder_row, incoming_file, file_set_aside, delegation_row, relay_page, link_blob,
        chunk_in_a_file, chunk_in_the_trash, pack_index, pack_index_page, index_page, home_page,
        links_page, trail_line,
    )
}  # fmt: skip

NODE_TABLES: Final = {
    "namespaces": "delegation_row",
    "packs": "descriptor_row",
    "shares": "leaf_hashes",
    "nodes": "node_row",
    "holders": "holder_row",
    **dict.fromkeys(
        ("invitations", "admissions", "usage", "links", "link_packs", "link_tickets", "mailboxes",
         "upload_links"),
        "relay_page",
    ),
    # Dropped when it is read, so that who put it does so again.
    "mailbox_items": "relay/test_mailboxes.py",
    "uploads": "peer/share_links/test_upload_intake.py",
}  # fmt: skip
NODE_FILES: Final = {
    share_files.SHARES: "share_file",
    share_files.INCOMING: "incoming_file",
    share_files.ASIDE: "file_set_aside",
    web_service.LINKS_NAME: "link_blob",
    # Sealed by its sender; its maker opens each segment before it is written.
    web_service.UPLOADS_NAME: "peer/share_links/test_upload_intake.py",
    web_service.CACHE_NAME: "relay/test_pack_cache.py",
}
DEVICE_TABLES: Final = {
    "peer.folders/index.sql": "index_page",
    "peer.backup/packs.sql": "pack_index",
    "peer.device/home.sql": "home_page",
    "peer.share_links/links.sql": "links_page",
    "peer.share_links/uploads.sql": "links_page",
    # It holds nothing that is not elsewhere, and is made again.
    "peer.search/search.sql": "peer/search/test_search_index.py",
}
DEVICE_FILES: Final = {
    "KEY_NAME": "crypto/test_key_file.py",
    "RELAY_KEY_NAME": "crypto/test_key_file.py",
    "DATABASE_NAME": "home_page",
    "LINKS_NAME": "links_page",
    "UPLOADS_NAME": "links_page",
    "FOLDERS_NAME": "index_page",
    "CONFIG_NAME": "peer/device/test_config.py",
    "GENERATION_NAME": "peer/device/test_generation.py",
    "LOCK_NAME": "peer/device/test_home.py",  # nothing is in it
    "TRAIL_NAME": "trail_line",
    "SEARCH_NAME": "peer/search/test_search_index.py",
}


@pytest.mark.row("F08", "A07")
@pytest.mark.parametrize("kind", CASES)
async def test_a_flipped_bit_is_found_said_and_healed(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await CASES[kind](tmp_path, caplog)


def test_no_kind_of_stored_thing_is_forgotten() -> None:
    with sqlite3.connect(":memory:") as db:
        for script in schemas():
            db.executescript(script)
        found = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = {name for (name,) in found if not name.startswith("sqlite_")}
    db.close()
    assert tables == NODE_TABLES.keys()
    homes = (service, web_service, share_files)
    names = {
        value
        for module in homes
        for name, value in vars(module).items()
        if name in ("LINKS_NAME", "CACHE_NAME", "UPLOADS_NAME", "INCOMING", "SHARES", "ASIDE")
    }
    assert names == NODE_FILES.keys()
    packages = [f"peer.{p.name}" for p in resources.files("peer").iterdir() if p.is_dir()]
    scripts = {
        f"{package}/{file.name}"
        for package in packages
        if not package.endswith("__")
        for file in resources.files("peer").joinpath(package.removeprefix("peer.")).iterdir()
        if file.name.endswith(".sql")
    }
    assert scripts == DEVICE_TABLES.keys()
    own = {name for name in vars(home_module) if name.endswith("_NAME")} | {"TRAIL_NAME"}
    assert own <= DEVICE_FILES.keys()
    every = [NODE_TABLES, NODE_FILES, DEVICE_TABLES, DEVICE_FILES]
    root = Path(__file__).parent
    for place in {place for one in every for place in one.values()}:
        assert place in CASES or (root / place).is_file(), place
