"""EvilMember: a device whose keys are right and that signs what no honest device would."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crypto.ids import ChunkId, NodeId
from peer.core import commands as c
from peer.folders import folder as folder_module
from protocol import messages as m
from protocol.changesets import author_changeset
from protocol.chunk_frames import Piece
from protocol.events import ChangesetsReceived, ChunksWanted
from protocol.folder_actions import Role
from protocol.ledger import LedgerKind
from protocol.nodes import ROOT, Kind, Node
from protocol.records import encode_manifest
from protocol.wire import CHUNK_LENGTH_MAX, encode
from tests.peer.device_stage import folder_of, make_homes, until
from tests.peer.evil_peer import EvilPeer, evil_peer
from tests.peer.evil_stage import (
    EvilStage,
    bounded_memory,
    evil_stage,
    is_file,
    node_id,
    offer,
    place_record,
    sign_anyway,
    tell,
)
from tests.peer.folder_stage import FolderDevice
from tests.protocol.people import Person, Place

HEADER = [0, "evil", 0]
PARTS = (b"one" * 10, b"two" * 20, b"three" * 30, b"four" * 40, b"five" * 50)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, "one", "two", "evil"))
    return base


@pytest.fixture
async def scene(homes: Path, tmp_path: Path) -> AsyncIterator[EvilStage]:
    async with evil_stage(homes, tmp_path) as scene:
        yield scene


def content_record(number: int, hash_: bytes, size: int, manifest: bytes) -> list[Any]:
    return [2, node_id(number), hash_, size, 1, manifest, []]


async def give_all(scene: EvilStage, peer: EvilPeer, having: dict[ChunkId, bytes]) -> None:
    """Answers what is asked for until all of it was."""
    left = dict(having)
    while left:
        wanted = await peer.hear(ChunksWanted)
        pieces = [
            Piece(index, 0, len(having[chunk_id]), having[chunk_id])
            for index, chunk_id in enumerate(wanted.chunk_ids)
        ]
        peer.session.give(wanted.request, pieces)
        peer.flush()
        for chunk_id in wanted.chunk_ids:
            left.pop(chunk_id, None)


# ---------------------------------------------------------------- chunks


@pytest.mark.row("A07")
async def test_a_flipped_bit_is_not_written_and_another_holder_gives_the_file(
    scene: EvilStage,
) -> None:
    data = b"what both have"
    chunk_id = ChunkId(scene.hasher().chunk_id(data))
    records = [place_record(node_id(1), ROOT, "f"), content_record(1, chunk_id, len(data), b"")]
    async with evil_peer(scene.one, scene.evil) as peer:
        changeset = scene.place().draft_and_seal([HEADER, *records]).changeset
        await offer(peer, await peer.meet(), changeset)
        wanted = await peer.hear(ChunksWanted)
        flipped = bytes([data[0] ^ 1]) + data[1:]
        peer.session.give(wanted.request, [Piece(0, 0, len(data), flipped)])
        peer.flush()
        assert await peer.is_hung_up_on()
    assert scene.counts["WrongChunk"] == 1
    assert not (scene.root(scene.one) / "f").exists()
    (scene.root(scene.two) / "copy").write_bytes(data)
    await until(lambda: is_file(scene.root(scene.one) / "f", data))
    await scene.lives_on()


@pytest.mark.row("A08")
async def test_of_all_orders_of_five_chunks_one_is_the_file(scene: EvilStage) -> None:
    """119 permutations, a file with each chunk left out, doubled or from another file, or cut at
    each boundary: every chunk is what its id names, and the whole is not what its hash says.
    """
    hasher = scene.hasher()
    whole = b"".join(PARTS)
    foreign = b"of another file"
    chunks = [(hasher.chunk_id(part), len(part)) for part in PARTS]
    other = (hasher.chunk_id(foreign), len(foreign))
    right = tuple(chunks)
    wrong = [order for order in itertools.permutations(chunks) if order != right]
    for at in range(len(chunks)):
        wrong.append((*right[:at], *right[at + 1 :]))
        wrong.append((*right[:at], right[at], *right[at:]))
        wrong.append((*right[:at], other, *right[at + 1 :]))
    wrong += [right[:length] for length in range(2, len(right))]  # of one: no record at all
    records: list[Any] = []
    for number, order in enumerate([*wrong, right]):
        size = sum(length for _, length in order)
        records.append(place_record(node_id(number), ROOT, f"f{number:03}"))
        manifest = encode_manifest(order)
        records.append(content_record(number, hasher.chunk_id(whole), size, manifest))
    async with evil_peer(scene.one, scene.evil) as peer:
        changeset = scene.place().draft_and_seal([HEADER, *records]).changeset
        await offer(peer, await peer.meet(), changeset)
        having = {ChunkId(hasher.chunk_id(part)): part for part in (*PARTS, foreign)}
        await give_all(scene, peer, having)
        shown = scene.root(scene.one) / f"f{len(wrong):03}"
        await until(lambda: is_file(shown, whole))
        fetcher = scene.folder.fetcher
        assert fetcher is not None
        await until(lambda: len(fetcher.problems) == len(wrong))
    assert [path.name for path in scene.root(scene.one).glob("f*")] == [shown.name]
    await scene.lives_on()


@pytest.mark.row("A31")
async def test_files_larger_than_the_disk_take_no_memory_and_no_disk(
    scene: EvilStage,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """160 GB in one changeset, each file of chunks that can be; and 2^53 bytes, which cannot."""
    monkeypatch.setattr(folder_module, "RETRY_S", 0.2)
    hasher = scene.hasher()
    size = 100 * CHUNK_LENGTH_MAX
    ids = [hasher.chunk_id(bytes([n])) for n in range(100)]
    manifest = encode_manifest([(chunk_id, CHUNK_LENGTH_MAX) for chunk_id in ids])
    records: list[Any] = []
    for number in range(100):
        records.append(place_record(node_id(number), ROOT, f"large {number:03}"))
        hash_ = hasher.chunk_id(b"%d" % number)
        records.append(content_record(number, hash_, size, manifest))
    impossible: list[Any] = [
        HEADER,
        place_record(node_id(200), ROOT, "large"),
        content_record(200, b"h" * 32, (1 << 53) - 1, b""),
    ]
    root = scene.root(scene.one)
    with bounded_memory(32 << 20) as peak:
        async with evil_peer(scene.one, scene.evil) as peer:
            tell(peer, await peer.meet(), scene.place().draft_and_seal(impossible).changeset)
            await until(lambda: scene.counts.get("BadRecord") == 1)
        for path in root.iterdir():
            assert not path.name.startswith("large")
    record_property("figure", f"{peak[0] / (1 << 20):.1f} MiB held at most")
    held = scene.place()
    held.incarnation = b"another!"
    changeset = held.draft_and_seal([HEADER, *records]).changeset
    with bounded_memory(32 << 20):
        async with evil_peer(scene.one, scene.evil) as peer:
            await offer(peer, await peer.meet(), changeset)
            await peer.hear(ChunksWanted)
            disk_bytes = sum(path.stat().st_blocks * 512 for path in root.rglob("*"))
            assert disk_bytes < 1 << 20
        await scene.lives_on()
    assert not list(root.glob("large*"))


# ---------------------------------------------------------------- changesets


@pytest.mark.row("A09", "A10")
async def test_nobody_signs_for_another_device(scene: EvilStage) -> None:
    """In the other's name, with a key that is not its own: refused, and its log is not touched."""
    place = scene.place()
    two, incarnation = scene.two.home.keys, folder_of(scene.two).engine.incarnation
    slot = place.book.draft(two.device_id, incarnation).slot
    record_key = place.epochs.record_key(slot.epoch_id)
    assert record_key is not None
    records = [HEADER, place_record(node_id(1), ROOT, "in two's name")]
    rightly = author_changeset(two, record_key, slot, [], records, place.random)
    signature = scene.evil.keys.sign("changeset", rightly.slot_bytes, rightly.body_hash)
    wire = encode([rightly.slot_bytes, rightly.body, signature])
    forged = replace(rightly, signature=signature, wire=wire)
    before = scene.folder.engine.book.frontier()
    async with evil_peer(scene.one, scene.evil) as peer:
        tell(peer, await peer.meet(), forged)
        await until(lambda: scene.counts.get("BadSignature") == 1)
    assert scene.folder.engine.book.frontier() == before
    await scene.lives_on()
    assert not (scene.root(scene.one) / "in two's name").exists()


@pytest.mark.row("A10", "A20")
@pytest.mark.parametrize("who", ["stranger", "reader", "removed"])
async def test_who_may_not_write_changes_no_tree(tmp_path: Path, who: str) -> None:
    """Rightly sealed and signed, and still not by one that may: new files and deletions alike."""
    owner, other = Person(1), Person(2)
    home = Place.found(owner)
    theirs = home.join(other, Role.READ if who == "reader" else Role.WRITE)
    device = await FolderDevice.open(tmp_path, "one", home)
    try:
        (device.root / "mine").write_bytes(b"mine")
        await device.scan()
        (mine,) = await rows_of(device)
        if who == "removed":
            home.remove(other)
        elif who == "stranger":
            theirs.keys = Person(3).device
        before = device.tree(), home.book.frontier(), await rows_of(device)
        for number, record in enumerate(
            (
                place_record(node_id(1, Kind.DIRECTORY), ROOT, "theirs"),
                [1, mine, ROOT, "mine", 1, [], [], None, None],
                place_record(mine, ROOT, "theirs"),
            )
        ):
            forged = sign_anyway(theirs, home, [HEADER, record], bytes([number]) * 8)
            ingested = await device.ingest([forged.wire])
            assert ingested.nodes == []
            await device.bring(device)
        assert (device.tree(), home.book.frontier(), await rows_of(device)) == before
    finally:
        await device.close()


async def rows_of(device: FolderDevice) -> dict[NodeId, Node]:
    """The files in the root, as the replica has them."""
    rows = await device.store.perform(c.LoadChildren([ROOT]))
    return {row.id: row.state for row in rows}


@pytest.mark.row("A12")
async def test_what_was_is_replayed_in_vain(scene: EvilStage) -> None:
    """Old changesets, old frontiers and old ledgers, again and in any order."""
    root, there = scene.root(scene.one), scene.root(scene.two)
    (root / "f").write_bytes(b"old")
    await until(lambda: is_file(there / "f", b"old"))
    async with evil_peer(scene.one, scene.evil) as peer:
        folder_id = await peer.meet()
        peer.claim(folder_id)
        wires: list[bytes] = []
        old = scene.folder.engine.book.frontier()
        while len(wires) < sum(entry.seq for entry in old):
            wires += (await peer.hear(ChangesetsReceived)).changesets
        heads = heads_of(scene)
    (there / "f").write_bytes(b"new")
    await until(lambda: is_file(root / "f", b"new"))
    (root / "g").write_bytes(b"g")
    await scene.lives_on()
    before = {entry.log_id: entry.seq for entry in scene.folder.engine.book.frontier()}
    async with evil_peer(scene.one, scene.evil) as peer:
        await peer.meet()
        peer.claim(folder_id, [m.FrontierEntry(*entry) for entry in old])
        for again in (wires, wires[::-1], wires[:1] * 50):
            peer.send(m.Changesets(folder_id, tuple(again)))
        ledger = scene.one.ledgers.folders[folder_id].ledger
        peer.send(m.Ledger(LedgerKind.FOLDER, folder_id, tuple(ledger.export())[:1]))
        await scene.lives_on()
        assert not peer.link.is_closed
    assert is_file(root / "f", b"new")
    after = {entry.log_id: entry.seq for entry in scene.folder.engine.book.frontier()}
    assert all(after[log_id] >= seq for log_id, seq in before.items())
    assert heads_of(scene) == heads
    assert scene.counts == {}


def heads_of(scene: EvilStage) -> list[Any]:
    ledgers = scene.one.ledgers
    return [ledgers.user.heads(), ledgers.folders[scene.folder_id].ledger.heads()]


@pytest.mark.row("A13", "A14")
@pytest.mark.parametrize("counting", [0, 1], ids=["the first counts", "the second counts"])
async def test_two_faces_are_seen_when_those_meet_who_were_shown_them(
    scene: EvilStage, counting: int
) -> None:
    """One position, signed twice: both devices notice, take the same side, and keep
    what was signed on the other.
    """
    place = scene.place()
    records: list[list[Any]] = [
        [HEADER, place_record(node_id(n, Kind.DIRECTORY), ROOT, f"face {n}")] for n in (0, 1)
    ]
    faces = [place.draft_and_seal(each) for each in records]
    while (faces[0].changeset.hash < faces[1].changeset.hash) != (counting == 0):
        faces[1] = place.draft_and_seal(records[1])
    roots = [scene.root(scene.one), scene.root(scene.two)]
    async with evil_peer(scene.one, scene.evil) as peer:
        await offer(peer, await peer.meet(), faces[0].changeset)
        await until(lambda: all((root / "face 0").is_dir() for root in roots))
    async with evil_peer(scene.two, scene.evil) as peer:
        tell(peer, await peer.meet(), faces[1].changeset)
        for root in roots:
            await until(lambda root=root: (root / f"face {counting}").is_dir())  # type: ignore[misc]
            await until(lambda root=root: not (root / f"face {1 - counting}").exists())  # type: ignore[misc]
        await scene.lives_on()
    one, two = folder_of(scene.one), folder_of(scene.two)
    assert scene.two.network.counts["Fork"] == 1
    assert one.engine.book.frontier() == two.engine.book.frontier()
    log_id = faces[0].changeset.log_id
    assert next(e for e in one.engine.book.frontier() if e.log_id == log_id).seq == 1
    for folder in (one, two):
        kept = await folder.store.aside(log_id, 1 << 20)
        assert faces[1 - counting].changeset.wire in [wire for _, _, wire in kept]
    evil_id = scene.evil.keys.device_id
    for daemon in (scene.one, scene.two):
        (told,) = (await daemon.status())["folders"]
        (warning,) = told["warnings"]
        assert f"({evil_id.hex()[:8]}) has told two histories" in warning
        assert f"`holdfast devices remove {evil_id.hex()}`" in warning
    await scene.one.remove_device(evil_id.hex())
    for daemon in (scene.one, scene.two):
        await until(
            lambda daemon=daemon: evil_id not in daemon.ledgers.user.live_devices()  # type: ignore[misc]
        )
        (told,) = (await daemon.status())["folders"]
        assert "warnings" not in told
