"""EvilPeer against a daemon: refused and counted, and everybody else's links live on."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crypto.ids import ChunkId, FolderId, LogId
from peer.daemon import Daemon
from peer.folder import Folder
from peer.home import Home
from peer.network import Network
from peer.status import FolderState
from protocol import messages as m
from protocol.chunk_frames import Piece
from protocol.errors import ErrorCode
from protocol.events import (
    ChangesetsNeeded,
    ChunksMissing,
    ChunksReceived,
    ChunksWanted,
    FolderShared,
    PeerGreeted,
)
from protocol.ledger import LedgerKind
from protocol.link import LinkKind
from protocol.wire import FRAME_LENGTH_MAX
from tests.peer.device_stage import Stage, are_linked, device_id, devices, folder_of, until
from tests.peer.evil_peer import EvilPeer, evil_device, evil_peer
from tests.protocol.people import Place


class Scene:
    """Two honest devices that share a folder, and a third of the user that does not behave."""

    def __init__(self, stage: Stage, one: Daemon, two: Daemon, evil: Home) -> None:
        self.stage, self.one, self.two, self.evil = stage, one, two, evil
        self.serial = 0

    @property
    def folder(self) -> Folder:
        return folder_of(self.one)

    async def lives_on(self) -> None:
        """The honest devices are linked, and what one does the other shows."""
        self.serial += 1
        name, data = f"alive-{self.serial}", os.urandom(8)
        (self.stage.root("one") / name).write_bytes(data)
        there = self.stage.root("two") / name
        await until(lambda: there.exists() and there.read_bytes() == data)
        assert are_linked(self.one, self.two)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await stage.share(one, two)
        await until(lambda: are_linked(one, two))
        async with evil_device(stage, one) as evil:
            yield Scene(stage, one, two, evil)


async def known(peer: EvilPeer) -> FolderId:
    """Greets, and hears of the folder."""
    assert await peer.listen(PeerGreeted) is not None
    shared = await peer.listen(FolderShared)
    return shared.folder_id  # type: ignore[no-any-return]


async def place_of(scene: Scene) -> Place:
    """What the evil device has of the folder: its ledger, its keys, a log of its own."""
    (membership,) = scene.one.ledgers.folders.values()
    users = {scene.one.ledgers.user_id: scene.one.ledgers.user}
    place = Place(scene.evil.keys, membership.ledger, users, membership.chain.wraps())
    assert place.epochs.folder_keys() is not None
    return place


# ---------------------------------------------------------------- frames and messages


@pytest.mark.parametrize("kind", [LinkKind.TLS])
@pytest.mark.parametrize(
    ("number", "payload"),
    [
        (99, b""), (1, b"\x80"), (m.MessageNumber.GREETING, b"\x82\x01aX"),
        (m.MessageNumber.WANT, b"\xff" * 100), (m.MessageNumber.CHUNKS, b"\0"),
        (m.MessageNumber.CHANGESETS, b"\x9f"), (m.MessageNumber.PONG, b"\x81\x18\x63"),
        (m.MessageNumber.LEDGER, b"\x81" * 1000), (m.MessageNumber.FRONTIER, b""),
    ],
)  # fmt: skip
async def test_a_broken_message_ends_that_link_only(
    scene: Scene, kind: LinkKind, number: int, payload: bytes
) -> None:
    async with evil_peer(scene.one, scene.evil, kind) as peer:
        await known(peer)
        peer.raw(number, payload)
        if number != m.MessageNumber.PONG:  # a pong to no ping is nobody's harm
            assert await peer.ended()
    await scene.lives_on()


async def test_a_frame_too_long_ends_the_link_by_its_header(scene: Scene) -> None:
    async with evil_peer(scene.one, scene.evil) as peer:
        await known(peer)
        before = scene.one.network.connections[scene.evil.keys.device_id].link.received_bytes
        length = (FRAME_LENGTH_MAX + 1).to_bytes(4)
        peer.link._tls.write(length + b"\x15")  # type: ignore[attr-defined]
        peer.link._flush()  # type: ignore[attr-defined]
        assert await peer.ended()
        assert before < 100_000
    await scene.lives_on()


async def test_who_does_not_greet_is_given_up(scene: Scene) -> None:
    """A29: only its own link waits."""
    async with evil_peer(scene.one, scene.evil) as peer:
        peer.session.frames_to_send()
        assert peer.link.sent_bytes
        await scene.lives_on()


# ---------------------------------------------------------------- changesets


async def test_changesets_that_are_none_are_refused_and_counted(scene: Scene) -> None:
    async with evil_peer(scene.one, scene.evil) as peer:
        folder_id = await known(peer)
        peer.claim(folder_id)
        peer.send(m.Changesets(folder_id, (b"", b"garbage", b"\x83\x01\x02\x03")[1:]))
        await until(lambda: sum(scene.one.network.counts.values()) >= 2)
        assert not peer.link.is_closed  # it may be passing on what it got
    await scene.lives_on()


async def test_a_forged_signature_is_refused_and_counted(scene: Scene) -> None:
    place = await place_of(scene)
    wire = place.draft_and_seal([[0, "evil", 0]]).changeset.wire
    async with evil_peer(scene.one, scene.evil) as peer:
        folder_id = await known(peer)
        peer.claim(folder_id)
        peer.send(m.Changesets(folder_id, (wire[:-1] + bytes([wire[-1] ^ 1]),)))
        await until(lambda: scene.one.network.counts.get("BadSignature"))
    await scene.lives_on()


async def test_a_hostile_record_freezes_its_log_and_reaches_no_disk(scene: Scene) -> None:
    """A09, A34: signed by a member, and still nothing that could leave the folder."""
    place = await place_of(scene)
    from protocol.nodes import ROOT

    record = [1, b"\x07" * 15 + b"\0", ROOT, "../escaped", 0, [], [], None, None]
    wire = place.draft_and_seal([[0, "evil", 0], record]).changeset.wire
    async with evil_peer(scene.one, scene.evil) as peer:
        folder_id = await known(peer)
        peer.claim(folder_id)
        peer.send(m.Changesets(folder_id, (wire,)))
        await until(lambda: scene.one.network.counts.get("BadName"))
    await scene.lives_on()
    assert not list(scene.stage.base.rglob("escaped"))
    assert scene.folder.progress.state is not FolderState.TROUBLE


async def test_a_fork_is_counted_and_freezes(scene: Scene) -> None:
    place = await place_of(scene)
    first = place.draft_and_seal([[0, "evil", 0]])
    second = place.draft_and_seal([[0, "evil", 1]])
    async with evil_peer(scene.one, scene.evil) as peer:
        folder_id = await known(peer)
        peer.claim(folder_id)
        peer.send(m.Changesets(folder_id, (first.changeset.wire, second.changeset.wire)))
        await until(lambda: scene.one.network.counts.get("Fork"))
    await scene.lives_on()


# ---------------------------------------------------------------- chunks


async def offered_file(scene: Scene, peer: EvilPeer, data: bytes) -> FolderId:
    """The evil device says, rightly signed, that there is a file of these bytes."""
    from protocol.nodes import ROOT

    place = await place_of(scene)
    folder_id = await known(peer)
    keys = place.epochs.folder_keys()
    assert keys is not None
    from crypto.chunks import ChunkHasher

    hash_ = ChunkHasher(keys.chunk_id_key).chunk_id(data)
    node = b"\x0e" * 15 + b"\0"
    records = [
        [0, "evil", 0],
        [1, node, ROOT, "offered", 0, [], [], None, None],
        [2, node, hash_, len(data), 1, b"", []],
    ]
    changeset = place.draft_and_seal(records).changeset
    peer.claim(folder_id, [m.FrontierEntry(changeset.log_id, 1, changeset.hash)])
    need = await peer.listen(ChangesetsNeeded)
    peer.session.offer_changesets(folder_id, need.logs[0].log_id, 1, [])
    peer.send(m.Changesets(folder_id, (changeset.wire,)))
    return folder_id


async def test_a_chunk_with_the_wrong_hash_ends_the_link_and_writes_nothing(scene: Scene) -> None:
    """A07."""
    async with evil_peer(scene.one, scene.evil) as peer:
        await offered_file(scene, peer, b"what was promised")
        wanted = await peer.listen(ChunksWanted)
        peer.session.give(wanted.request, [Piece(0, 0, 17, b"what was not prom")])
        peer.flush()
        await until(lambda: scene.one.network.counts.get("WrongChunk") == 1)
        assert await peer.ended()
    assert not (scene.stage.root("one") / "offered").exists()
    await scene.lives_on()


async def test_the_right_chunk_from_the_same_offer_is_written(scene: Scene) -> None:
    """Else the test above would prove nothing."""
    async with evil_peer(scene.one, scene.evil) as peer:
        await offered_file(scene, peer, b"what was promised")
        wanted = await peer.listen(ChunksWanted)
        peer.session.give(wanted.request, [Piece(0, 0, 17, b"what was promised")])
        peer.flush()
        offered = scene.stage.root("one") / "offered"
        await until(lambda: offered.exists() and offered.read_bytes() == b"what was promised")
    await scene.lives_on()


async def test_a_peer_that_has_not_what_it_said_holds_up_nothing_else(scene: Scene) -> None:
    async with evil_peer(scene.one, scene.evil) as peer:
        await offered_file(scene, peer, b"what was promised")
        wanted = await peer.listen(ChunksWanted)
        peer.session.give_missing(wanted.request, [0])
        peer.flush()
        await scene.lives_on()


async def test_chunks_are_for_those_who_share_the_folder(scene: Scene) -> None:
    (scene.stage.root("one") / "mine").write_bytes(b"not for strangers")
    await scene.lives_on()
    keys = scene.one.ledgers.folders[scene.folder.folder_id].chain.folder_keys()
    assert keys is not None
    from crypto.chunks import ChunkHasher

    chunk_id = ChunkId(ChunkHasher(keys.chunk_id_key).chunk_id(b"not for strangers"))
    async with evil_peer(scene.one, scene.evil) as peer:
        folder_id = await known(peer)
        peer.claim(folder_id)
        request = peer.session.want(folder_id, [chunk_id, ChunkId(b"n" * 32)])
        peer.flush()
        got = await peer.listen(ChunksReceived)
        missing = await peer.listen(ChunksMissing)
        assert (got.request, [bytes(c.data) for c in got.chunks]) == (
            request, [b"not for strangers"]
        )  # fmt: skip
        assert missing.chunk_ids == (b"n" * 32,)
    async with evil_peer(scene.one, scene.evil) as peer:
        await known(peer)
        peer.raw(*flat(m.encode(m.Want(FolderId(b"x" * 32), 0, (chunk_id,)))))
        assert await peer.ended()


def flat(frame: tuple[int, object]) -> tuple[int, bytes]:
    number, parts = frame
    return number, b"".join(bytes(p) for p in parts)  # type: ignore[attr-defined]


# ---------------------------------------------------------------- ledgers


async def test_a_ledger_of_somebody_else_is_refused_and_counted(scene: Scene) -> None:
    """A01, A02: a peer is no source of keys."""
    async with evil_peer(scene.one, scene.evil) as peer:
        await known(peer)
        peer.send(m.Ledger(LedgerKind.USER, b"u" * 32, (b"entry",)))
        assert await peer.ended()
    assert scene.one.network.counts["BadLedger"] == 1
    before = set(scene.one.ledgers.folders)
    async with evil_peer(scene.one, scene.evil) as peer:
        await known(peer)
        peer.send(m.Ledger(LedgerKind.FOLDER, b"f" * 32, (b"entry",)))
        assert await peer.ended()
    assert set(scene.one.ledgers.folders) == before
    await scene.lives_on()


async def test_a_revoked_device_gets_no_link(scene: Scene) -> None:
    async with evil_peer(scene.one, scene.evil) as peer:
        await known(peer)
    scene.one.ledgers.user.live_devices = (  # type: ignore[method-assign]
        lambda: {d: c for d, c in live.items() if d != scene.evil.keys.device_id}
    )
    live = dict(scene.two.ledgers.user.live_devices())
    from protocol.errors import NotAuthenticated, ProtocolError

    with pytest.raises(ProtocolError) as refused:
        async with evil_peer(scene.one, scene.evil):
            pass
    assert isinstance(refused.value, NotAuthenticated)
    await scene.lives_on()


# ---------------------------------------------------------------- links


async def test_of_two_links_to_one_device_one_stays(scene: Scene) -> None:
    async with evil_peer(scene.one, scene.evil) as first:
        await known(first)
        async with evil_peer(scene.one, scene.evil) as second:
            await known(second)
            assert await first.ended()
            assert not second.link.is_closed
            connections = scene.one.network.connections
            assert set(connections) == {device_id(scene.two), scene.evil.keys.device_id}
    await until(lambda: scene.evil.keys.device_id not in scene.one.network.connections)
    await scene.lives_on()


async def test_what_a_link_carried_still_counts_when_it_is_gone(scene: Scene) -> None:
    before = (await scene.one.status())["totals"]["received_bytes"]
    async with evil_peer(scene.one, scene.evil) as peer:
        await known(peer)
        sent = peer.link.sent_bytes
    await until(lambda: scene.evil.keys.device_id not in scene.one.network.connections)
    assert (await scene.one.status())["totals"]["received_bytes"] >= before + sent // 2


async def test_a_defect_in_handling_one_peer_is_that_link_s(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatch = Network._dispatch

    async def defect(self: Network, connection: object, event: object) -> None:
        if isinstance(event, PeerGreeted) and event.device_name == "evil":
            raise ZeroDivisionError("a defect")
        await dispatch(self, connection, event)  # type: ignore[arg-type]

    monkeypatch.setattr(Network, "_dispatch", defect)
    with caplog.at_level(logging.CRITICAL, "peer.network"):
        async with evil_peer(scene.one, scene.evil) as peer:
            assert await peer.ended()
    await scene.lives_on()


async def test_an_older_database_takes_a_new_incarnation(scene: Scene) -> None:
    """Somebody holds more of our log than we do: our database is a copy of an earlier one."""
    folder = scene.folder
    before = folder.engine.incarnation
    own = [e for e in folder.engine.book.frontier()]
    async with evil_peer(scene.one, scene.evil) as peer:
        folder_id = await known(peer)
        ahead = [m.FrontierEntry(LogId(e.log_id), e.seq + 5, b"h" * 32) for e in own]
        peer.claim(folder_id, ahead)
        await until(lambda: folder.engine.incarnation != before)
    await scene.lives_on()


async def test_goodbye_is_said(scene: Scene) -> None:
    async with evil_peer(scene.one, scene.evil) as peer:
        await known(peer)
        scene.one.network.close_all()
        assert await peer.ended()
        codes = [e.code for e in peer.events if hasattr(e, "code")]
        assert codes == [ErrorCode.NONE]
    await asyncio.sleep(0)
