"""The list of links that a device has made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crypto.errors import OpenError
from crypto.ids import ChunkId, DeviceId, EntryId, FolderId, RelayId
from peer.errors import HomeDamaged
from peer.share_links.link_store import LinkStore, MadeLink, OwnEndKey, StoredChunk
from protocol.link_records import EndKey, LinkRecord, UploadRecord

KEY = b"k" * 32
LINK = MadeLink(
    b"l" * 16, "holdfast-relay://a", "https://a", b"s" * 32, b"p" * 32, "Reise", True, 3, 70, 5,
    9, 2, 0,
)  # fmt: skip
RELAY, OTHER, FOLDER = RelayId(b"r" * 32), RelayId(b"o" * 32), FolderId(b"f" * 32)


def chunk(name: bytes, pack: bytes = b"p") -> StoredChunk:
    return StoredChunk(
        ChunkId(name * 32), pack * 32, pack.upper() * 32, 32, 60, 0, 32, EntryId(b"e" * 32),
        b"h" * 32,
    )  # fmt: skip


def files_in(place: Path) -> list[Path]:
    return list(place.iterdir())


async def test_links_are_kept_sealed(tmp_path: Path) -> None:
    path = tmp_path / "links.db"
    store = await LinkStore.open(path, KEY)
    await store.add(LINK, os.urandom(32))
    await store.add(LINK._replace(link_id=b"m" * 16, made_s=6), os.urandom(32))
    await store.close()
    assert path.stat().st_mode & 0o077 == 0
    on_disk = b"".join(each.read_bytes() for each in files_in(tmp_path))
    assert LINK.secret not in on_disk
    assert LINK.key not in on_disk
    store = await LinkStore.open(path, KEY)
    try:
        assert [link.link_id for link in await store.links()] == [b"m" * 16, LINK.link_id]
        assert (await store.links())[1] == LINK
        await store.revoked(LINK.link_id, 77)
        assert (await store.links())[1].revoked_s == 77
        await store.forget(LINK.link_id)
        assert len(await store.links()) == 1
    finally:
        await store.close()


async def test_another_home_s_key_opens_none(tmp_path: Path) -> None:
    store = await LinkStore.open(tmp_path / "links.db", KEY)
    await store.add(LINK, os.urandom(32))
    await store.close()
    store = await LinkStore.open(tmp_path / "links.db", b"x" * 32)
    try:
        with pytest.raises(OpenError):
            await store.links()
    finally:
        await store.close()


async def test_chunks_are_found_where_they_lie_while_they_are_leased(tmp_path: Path) -> None:
    store = await LinkStore.open(tmp_path / "links.db", KEY)
    try:
        a, b = chunk(b"a"), chunk(b"b")
        await store.put_pack(RELAY, FOLDER, 100, [a, b])
        wanted = [a.id, b.id, ChunkId(b"c" * 32)]
        assert await store.find(RELAY, FOLDER, wanted, 100) == {a.id: a, b.id: b}
        assert await store.find(RELAY, FOLDER, wanted, 101) == {}
        assert await store.find(OTHER, FOLDER, wanted, 100) == {}
        assert await store.find(RELAY, FolderId(b"g" * 32), wanted, 100) == {}
        await store.leased(RELAY, [a.descriptor_id], 200)
        assert len(await store.find(RELAY, FOLDER, wanted, 200)) == 2
        await store.forget_packs(RELAY, [a.descriptor_id])
        assert await store.find(RELAY, FOLDER, wanted, 0) == {}
    finally:
        await store.close()


async def test_a_damaged_list_is_told(tmp_path: Path) -> None:
    path = tmp_path / "links.db"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(HomeDamaged, match="Move it away"):
        await LinkStore.open(path, KEY)


async def test_keys_that_end_links_are_kept_sealed_and_by_whose_they_are(tmp_path: Path) -> None:
    path = tmp_path / "links.db"
    store = await LinkStore.open(path, KEY)
    told = LinkRecord(
        b"t" * 16, "https://a", b"s" * 32, "r", "Reise", False, 1, 2, 3, 0, 0, 0
    )  # fmt: skip
    own, theirs, other = (EndKey(id_ * 16, id_ * 32) for id_ in (b"O", b"T", b"Z"))
    await store.put_end_key(own._replace(key=b"o" * 32), b"before")
    await store.put_end_key(own, b"now")
    one, two = DeviceId(b"1" * 32), DeviceId(b"2" * 32)
    await store.tell(one, "one", [told])
    await store.tell_keys(one, [theirs])
    await store.tell(two, "two", [told])
    invited = UploadRecord(
        b"u" * 16, "https://a", b"v" * 32, "r", "Party", True, 1, 0, 2, 3, 4, 0
    )  # fmt: skip
    three = DeviceId(b"3" * 32)  # has made no link of the other kind
    await store.tell_uploads(three, "three", [invited])
    await store.tell_keys(three, [other])
    await store.wish(told.link_id)
    await store.ended_there(told.link_id, 5)
    await store.ended_there(told.link_id, 6)
    await store.close()
    on_disk = b"".join(each.read_bytes() for each in files_in(tmp_path))
    assert not [key for key in (own, theirs) if key.key in on_disk]
    assert told.secret not in on_disk
    assert invited.secret not in on_disk
    store = await LinkStore.open(path, KEY)
    try:
        assert await store.end_keys() == {own.link_id: OwnEndKey(own, b"now")}
        found = {each.device: each.end_keys for each in await store.told()}
        assert found == {
            "one": {theirs.link_id: theirs.key}, "two": {}, "three": {other.link_id: other.key}
        }  # fmt: skip
        assert [each.records for each in await store.told()] == [(told,), (told,), (invited,)]
        assert await store.all_ended_there() == {told.link_id}
        await store.unwish([told.link_id])
        assert (await store.wishes(), await store.all_ended_there()) == ([], set())
        await store.drop_end_key(own.link_id)
        assert await store.end_keys() == {}
    finally:
        await store.close()


async def test_a_list_that_is_older_than_end_keys_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "links.db"
    store = await LinkStore.open(path, KEY)
    await store.add(LINK, os.urandom(32))
    await store.tell(DeviceId(b"1" * 32), "one", [])
    for table in ("end_key", "told_keys", "told_uploads", "ended_there"):
        await store._db.execute_fetchall(f"DROP TABLE {table}")
    await store.close()
    store = await LinkStore.open(path, KEY)
    try:
        assert [link.link_id for link in await store.links()] == [LINK.link_id]
        assert [each.end_keys for each in await store.told()] == [{}]
        assert await store.end_keys() == {}
    finally:
        await store.close()
