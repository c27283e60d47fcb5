"""What nodes were before, read back from the stored logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crypto.ids import NodeId
from peer.core.past import Superseded, read_past, read_records
from protocol.changesets import decode_changeset
from protocol.epochs import EpochChain, OpeningKey
from protocol.logs import LogBook
from tests.peer.folder_stage import HASHER, FolderDevice, two_places

Pair = tuple[FolderDevice, FolderDevice]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    one, two = two_places()
    devices = (
        await FolderDevice.open(tmp_path, "one", one),
        await FolderDevice.open(tmp_path, "two", two),
    )
    yield devices
    for device in devices:
        await device.close()


async def past_of(device: FolderDevice) -> dict[NodeId, Superseded]:
    return await device.performer.drive(read_past(device.engine.book))


async def write(device: FolderDevice, name: str, *contents: bytes) -> None:
    for content in contents:
        (device.root / name).write_bytes(content)
        await device.scan()


def hashes(*contents: bytes) -> list[bytes]:
    return [HASHER.chunk_id(content) for content in contents]


async def test_what_was_written_once_has_no_past(pair: Pair) -> None:
    one, _ = pair
    assert await past_of(one) == {}
    (one.root / "d").mkdir()
    await write(one, "d/a", b"1")
    await write(one, "b", b"2")
    assert await past_of(one) == {}


async def test_the_contents_that_a_file_had_before(pair: Pair) -> None:
    one, _ = pair
    await write(one, "a", b"first", b"second one", b"the third")
    (old,) = (await past_of(one)).values()
    assert [c.hash for c in old.contents] == hashes(b"first", b"second one")
    assert [c.size for c in old.contents] == [5, 10]
    assert old.places == []


async def test_the_places_that_a_file_had_before(pair: Pair) -> None:
    one, _ = pair
    await write(one, "a", b"1")
    for old_name, name in (("a", "b"), ("b", "c")):
        (one.root / old_name).rename(one.root / name)
        await one.scan()
    (old,) = (await past_of(one)).values()
    assert [place.name for place in old.places] == ["a", "b"]
    assert old.contents == []


async def test_where_and_what_a_deleted_file_was(pair: Pair) -> None:
    one, _ = pair
    await write(one, "a", b"1")
    (one.root / "a").unlink()
    await one.scan()
    (old,) = (await past_of(one)).values()
    assert [(place.name, place.is_deleted) for place in old.places] == [("a", False)]


async def test_what_others_wrote_is_past_as_well(pair: Pair) -> None:
    one, two = pair
    await write(one, "a", b"first", b"second")
    await two.sync(one)
    await write(two, "a", b"third")
    await one.sync(two)
    for device in pair:
        (old,) = (await past_of(device)).values()
        assert [c.hash for c in old.contents] == hashes(b"first", b"second")


async def test_both_sides_of_a_conflict_are_present(pair: Pair) -> None:
    one, two = pair
    await write(one, "a", b"before")
    await two.sync(one)
    await write(one, "a", b"of one")
    await write(two, "a", b"of two")
    await one.sync(two)
    contents = {c.hash for old in (await past_of(one)).values() for c in old.contents}
    assert contents == set(hashes(b"before"))


async def test_more_than_is_read_at_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = pair
    await write(one, "a", *(b"%d" % number for number in range(8)))
    monkeypatch.setattr("peer.core.past.READ_BYTES", 1)
    (old,) = (await past_of(one)).values()
    assert [c.hash for c in old.contents] == hashes(*(b"%d" % number for number in range(7)))


async def test_without_a_key_nothing_is_known(pair: Pair) -> None:
    one, _ = pair
    await write(one, "a", b"1")
    changeset = decode_changeset(one.authored[0])
    ledger = one.place.ledger
    book = LogBook(ledger, EpochChain(ledger, OpeningKey.of_device(one.place.keys), []))
    assert read_records(book, changeset) is None
    records = read_records(one.engine.book, changeset)
    assert records is not None
    assert [place.name for node in records.nodes.values() for place in node.places] == ["a"]
