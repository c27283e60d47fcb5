"""EvilPeer against a daemon: refused and counted, and everybody else's links live on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from crypto.chunks import ChunkHasher
from crypto.ids import ChunkId, FolderId, LogId
from peer.connectivity import network as network_module
from peer.connectivity.connection import Connection
from peer.connectivity.network import Network
from peer.daemon import Daemon
from peer.device.home import Home
from peer.device.home_store import HomeTransaction
from peer.folders.folder import Folder
from peer.status import FolderState
from protocol import messages as m
from protocol.chunk_frames import Piece
from protocol.errors import ErrorCode, NotAuthenticated
from protocol.events import (
    ChangesetsNeeded,
    ChunksMissing,
    ChunksReceived,
    ChunksWanted,
    Closed,
    Event,
    PeerGreeted,
    ReceivedChunk,
)
from protocol.ledger import LedgerKind
from protocol.link import LinkKind
from protocol.links import authenticate_client, dial
from protocol.nodes import ROOT
from protocol.session import GREETING_TIMEOUT_S, Session
from protocol.wire import FRAME_LENGTH_MAX
from tests.peer.device_stage import (
    DEADLINE_S,
    LOOPBACK,
    Stage,
    are_linked,
    copy_homes,
    device_id,
    devices,
    folder_of,
    make_homes,
    pass_time,
    port_of,
    until,
)
from tests.peer.evil_peer import EvilPeer, evil_peer
from tests.protocol.people import Person, Place


class Scene:
    """Two honest devices that share a folder, and a third of the user that does not behave."""

    def __init__(self, stage: Stage, one: Daemon, two: Daemon, evil: Home) -> None:
        self.stage, self.one, self.two, self.evil = stage, one, two, evil
        self.serial = 0

    @property
    def folder(self) -> Folder:
        return folder_of(self.one)

    @property
    def counts(self) -> dict[str, int]:
        return self.one.network.counts

    async def lives_on(self) -> None:
        """The honest devices are linked, and what one does the other shows."""
        self.serial += 1
        name, data = f"alive-{self.serial}", os.urandom(8)
        (self.stage.root("one") / name).write_bytes(data)
        there = self.stage.root("two") / name
        await until(lambda: there.exists() and there.read_bytes() == data)
        assert are_linked(self.one, self.two)

    def place(self) -> Place:
        """What the evil device has of the folder: its ledger, its keys, a log of its own."""
        (membership,) = self.one.ledgers.folders.values()
        users = {self.one.ledgers.user_id: self.one.ledgers.user}
        place = Place(self.evil.keys, membership.ledger, users, membership.chain.wraps())
        assert place.epochs.folder_keys() is not None
        return place

    def hasher(self) -> ChunkHasher:
        keys = self.one.ledgers.folders[self.folder.folder_id].chain.folder_keys()
        assert keys is not None
        return ChunkHasher(keys.chunk_id_key)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, "one", "two", "evil"))
    return base


@pytest.fixture
async def scene(homes: Path, tmp_path: Path) -> AsyncIterator[Scene]:
    copy_homes(homes, tmp_path)
    async with devices(tmp_path) as stage:
        one, two = await stage.start("one"), await stage.start("two")
        await stage.meet(one, two)
        await stage.share(one, two)
        evil = await Home.open(stage.home("evil"))
        try:
            yield Scene(stage, one, two, evil)
        finally:
            await evil.close()


# ---------------------------------------------------------------- frames and messages


@pytest.mark.row("A33")
async def test_a_broken_message_ends_that_link_only(scene: Scene) -> None:
    for number, payload in (
        (99, b""), (1, b"\x80"), (m.MessageNumber.GREETING, b"\x82\x01aX"),
        (m.MessageNumber.WANT, b"\xff" * 100), (m.MessageNumber.CHUNKS, b"\0"),
        (m.MessageNumber.CHANGESETS, b"\x9f"), (m.MessageNumber.PONG, b"\x80"),
        (m.MessageNumber.LEDGER, b"\x81" * 1000), (m.MessageNumber.FRONTIER, b""),
    ):  # fmt: skip
        async with evil_peer(scene.one, scene.evil) as peer:
            await peer.meet()
            peer.send_frame(number, payload)
            assert await peer.is_hung_up_on()
    await scene.lives_on()


async def test_a_pong_to_no_ping_harms_nobody(scene: Scene) -> None:
    async with evil_peer(scene.one, scene.evil) as peer:
        await peer.meet()
        peer.send(m.Pong(99))
        await scene.lives_on()
        assert not peer.link.is_closed


@pytest.mark.row("A33")
async def test_a_frame_too_long_ends_the_link_by_its_header(scene: Scene) -> None:
    """A29: it is not waited for, let alone kept."""
    async with evil_peer(scene.one, scene.evil) as peer:
        await peer.meet()
        peer.send_bytes((FRAME_LENGTH_MAX + 1).to_bytes(4) + b"\x15")
        assert await peer.is_hung_up_on()
    await scene.lives_on()


@pytest.mark.row("A29")
async def test_who_does_not_greet_is_given_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A29: only its own link waits, and not for long."""
    async with evil_peer(scene.one, scene.evil, greets=False) as peer:
        await until(lambda: len(scene.one.network.connections) == 2)
        pass_time(monkeypatch, GREETING_TIMEOUT_S)
        assert await peer.is_hung_up_on()
    await scene.lives_on()


# ---------------------------------------------------------------- changesets


@pytest.mark.row("A10")
async def test_changesets_that_are_none_are_refused_and_counted(scene: Scene) -> None:
    async with evil_peer(scene.one, scene.evil) as peer:
        folder_id = await peer.meet()
        peer.claim(folder_id)
        peer.send(m.Changesets(folder_id, (b"garbage", b"\x83\x01\x02\x03")))
        await until(lambda: sum(scene.counts.values()) == 2)
        await scene.lives_on()
        assert not peer.link.is_closed  # it may be passing on what it got


@pytest.mark.row("A09")
async def test_a_forged_signature_is_refused_and_counted(scene: Scene) -> None:
    wire = scene.place().draft_and_seal([[0, "evil", 0]]).changeset.wire
    async with evil_peer(scene.one, scene.evil) as peer:
        folder_id = await peer.meet()
        peer.claim(folder_id)
        peer.send(m.Changesets(folder_id, (wire[:-1] + bytes([wire[-1] ^ 1]),)))
        await until(lambda: scene.counts.get("BadSignature") == 1)
    await scene.lives_on()


@pytest.mark.row("A09", "A34")
async def test_a_hostile_record_freezes_its_log_and_reaches_no_disk(scene: Scene) -> None:
    """A09, A34: signed by a member, and still nothing that could leave the folder."""
    record = [1, b"\x07" * 15 + b"\0", ROOT, "../escaped", 0, [], [], None, None]
    wire = scene.place().draft_and_seal([[0, "evil", 0], record]).changeset.wire
    async with evil_peer(scene.one, scene.evil) as peer:
        folder_id = await peer.meet()
        peer.claim(folder_id)
        peer.send(m.Changesets(folder_id, (wire,)))
        await until(lambda: scene.counts.get("BadName") == 1)
    await scene.lives_on()
    assert not list(scene.stage.base.rglob("escaped"))
    assert scene.folder.progress.state is not FolderState.TROUBLE
    (told,) = (await scene.one.status())["folders"]
    (warning,) = told["warnings"]
    assert f"({scene.evil.keys.device_id.hex()[:8]}) has told something that no honest" in warning


@pytest.mark.row("A14")
async def test_a_fork_is_counted(scene: Scene) -> None:
    place = scene.place()
    first = place.draft_and_seal([[0, "evil", 0]])
    second = place.draft_and_seal([[0, "evil", 1]])
    async with evil_peer(scene.one, scene.evil) as peer:
        folder_id = await peer.meet()
        peer.claim(folder_id)
        peer.send(m.Changesets(folder_id, (first.changeset.wire, second.changeset.wire)))
        await until(lambda: scene.counts.get("Fork") == 1)
    await scene.lives_on()


@pytest.mark.row("A12", "F31")
async def test_an_older_database_takes_a_new_incarnation(scene: Scene) -> None:
    """Somebody holds more of our log than we do: our database is a copy of an earlier one."""
    folder = scene.folder
    before = folder.engine.incarnation
    async with evil_peer(scene.one, scene.evil) as peer:
        folder_id = await peer.meet()
        ahead = [
            m.FrontierEntry(e.log_id, e.seq + 5, b"h" * 32) for e in folder.engine.book.frontier()
        ]
        assert ahead
        peer.claim(folder_id, ahead)
        await until(lambda: folder.engine.incarnation != before)
    await scene.lives_on()


# ---------------------------------------------------------------- chunks

PROMISED = b"what was promised"


async def offer_file(scene: Scene, peer: EvilPeer) -> ChunksWanted:
    """The evil device says, rightly signed, that there is a file; and is asked for its bytes."""
    folder_id = await peer.meet()
    node = b"\x0e" * 15 + b"\0"
    records: list[object] = [
        [0, "evil", 0],
        [1, node, ROOT, "offered", 0, [], [], None, None],
        [2, node, scene.hasher().chunk_id(PROMISED), len(PROMISED), 1, b"", []],
    ]
    changeset = scene.place().draft_and_seal(records).changeset
    peer.claim(folder_id, [m.FrontierEntry(changeset.log_id, 1, changeset.hash)])
    need = await peer.hear(ChangesetsNeeded)
    assert [log.log_id for log in need.logs] == [changeset.log_id]
    peer.session.offer_changesets(folder_id, changeset.log_id, 1, [changeset.wire])
    peer.flush()
    return await peer.hear(ChunksWanted)


async def asked_again(scene: Scene, peer: EvilPeer) -> ChunksWanted:
    """The folder asks for what it lacks when it is told to, unless it does so before by itself: the
    other honest device may say at any time that it has more.
    """
    async with asyncio.TaskGroup() as tasks:
        hearing = tasks.create_task(peer.hear(ChunksWanted))
        while not hearing.done():
            if scene.folder.lacks_bytes:
                scene.folder.ask_again()
            await asyncio.sleep(0.005)
    return hearing.result()


@pytest.mark.row("A07")
async def test_a_chunk_with_the_wrong_hash_ends_the_link_and_writes_nothing(scene: Scene) -> None:
    """A07."""
    async with evil_peer(scene.one, scene.evil) as peer:
        wanted = await offer_file(scene, peer)
        peer.session.give(wanted.request, [Piece(0, 0, 17, b"what was not prom")])
        peer.flush()
        assert await peer.is_hung_up_on()
        assert [e.code for e in peer.events if isinstance(e, Closed)] == [ErrorCode.WRONG_CHUNK]
    assert scene.counts["WrongChunk"] == 1
    assert not (scene.stage.root("one") / "offered").exists()
    await scene.lives_on()


async def test_the_right_chunk_from_the_same_offer_is_written(scene: Scene) -> None:
    """Else the test above would prove nothing."""
    async with evil_peer(scene.one, scene.evil) as peer:
        wanted = await offer_file(scene, peer)
        peer.session.give(wanted.request, [Piece(0, 0, 17, PROMISED)])
        peer.flush()
        offered = scene.stage.root("one") / "offered"
        await until(lambda: offered.exists() and offered.read_bytes() == PROMISED)
    await scene.lives_on()


async def test_what_one_sends_wrong_is_not_blamed_on_another(scene: Scene) -> None:
    """Both sent a chunk of one id, and both wait for the disk's thread."""
    network, folder = scene.one.network, scene.folder
    honest = network.connections[device_id(scene.two)]
    async with evil_peer(scene.one, scene.evil) as peer:
        await peer.meet()
        evil = network.connections[scene.evil.keys.device_id]
        chunk_id = scene.hasher().chunk_id(PROMISED)
        queue = network._chunks[folder.folder_id]
        for connection, data in ((evil, b"what was not prom"), (honest, PROMISED)):
            chunk = ReceivedChunk(chunk_id, 0, len(data), data)
            queue.put_nowait((connection, ChunksReceived(folder.folder_id, 0, (chunk,))))
        assert await peer.is_hung_up_on()
    assert scene.counts["WrongChunk"] == 1
    assert not honest.link.is_closed
    await scene.lives_on()


async def test_what_is_asked_in_vain_is_not_remembered_for_ever(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_module, "REQUESTS_MIN", 2)
    scene.one.network._requests_max = 2
    async with evil_peer(scene.one, scene.evil) as peer:
        wanted = await offer_file(scene, peer)
        for _ in range(20):
            peer.session.give_missing(wanted.request, [0])
            peer.flush()
            wanted = await asked_again(scene, peer)
        assert len(scene.one.network._requests) <= 5
    await scene.lives_on()


async def test_bytes_that_could_not_be_written_are_asked_for_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk takes nothing, and what is on its way then must not be waited for for ever."""
    takes, has_refused = scene.folder.receive_chunks, asyncio.Event()

    async def take_nothing(chunks: Sequence[ReceivedChunk]) -> tuple[list[ChunkId], list[ChunkId]]:
        has_refused.set()
        return [], []

    async with evil_peer(scene.one, scene.evil) as peer:
        wanted = await offer_file(scene, peer)
        monkeypatch.setattr(scene.folder, "receive_chunks", take_nothing)
        peer.session.give(wanted.request, [Piece(0, 0, 17, PROMISED)])
        peer.flush()
        await asyncio.wait_for(has_refused.wait(), DEADLINE_S)
        monkeypatch.setattr(scene.folder, "receive_chunks", takes)
        wanted = await asked_again(scene, peer)
        peer.session.give(wanted.request, [Piece(0, 0, 17, PROMISED)])
        peer.flush()
        offered = scene.stage.root("one") / "offered"
        await until(lambda: offered.exists() and offered.read_bytes() == PROMISED)


async def test_a_peer_that_has_not_what_it_said_holds_up_nothing_else(scene: Scene) -> None:
    async with evil_peer(scene.one, scene.evil) as peer:
        wanted = await offer_file(scene, peer)
        peer.session.give_missing(wanted.request, [0])
        peer.flush()
        await scene.lives_on()
    assert not (scene.stage.root("one") / "offered").exists()


async def test_chunks_are_for_those_who_share_the_folder(scene: Scene) -> None:
    (scene.stage.root("one") / "mine").write_bytes(b"not for strangers")
    await scene.lives_on()
    chunk_id = scene.hasher().chunk_id(b"not for strangers")
    async with evil_peer(scene.one, scene.evil) as peer:
        folder_id = await peer.meet()
        peer.claim(folder_id)
        request = peer.session.want(folder_id, [chunk_id, ChunkId(b"n" * 32)])
        peer.flush()
        got = await peer.hear(ChunksReceived)
        missing = await peer.hear(ChunksMissing)
        assert got.request == request
        assert [bytes(c.data) for c in got.chunks] == [b"not for strangers"]
        assert missing.chunk_ids == (b"n" * 32,)
    async with evil_peer(scene.one, scene.evil) as peer:
        await peer.meet()
        peer.send(m.Want(FolderId(b"x" * 32), 0, (chunk_id,)))
        assert await peer.is_hung_up_on()


# ---------------------------------------------------------------- ledgers


async def test_a_ledger_of_somebody_else_is_refused_and_counted(scene: Scene) -> None:
    """A01, A02: a peer is no source of keys."""
    stranger = Person(5)
    place = Place.found(stranger)
    before = set(scene.one.ledgers.folders), set(scene.one.ledgers.users)
    for count, ledger in enumerate(
        (
            m.Ledger(LedgerKind.USER, stranger.id, tuple(stranger.ledger.export())),
            m.Ledger(LedgerKind.FOLDER, place.ledger.folder_id, tuple(place.ledger.export())),
        ),
        1,
    ):
        async with evil_peer(scene.one, scene.evil) as peer:
            await peer.meet()
            peer.send(ledger)
            assert await peer.is_hung_up_on()
        assert scene.counts["BadLedger"] == count
    assert (set(scene.one.ledgers.folders), set(scene.one.ledgers.users)) == before
    await scene.lives_on()


async def revoke_evil(scene: Scene) -> None:
    one = scene.one
    entry = one.ledgers.user.revoke(one.home.keys, scene.evil.keys.device_id, time.time())
    await one.ledgers.store_entries(LedgerKind.USER, one.ledgers.user_id, [entry])
    await one._membership_changed()


@pytest.mark.row("A25")
async def test_a_revoked_device_gets_no_link(scene: Scene) -> None:
    await revoke_evil(scene)
    with pytest.raises(NotAuthenticated):
        async with evil_peer(scene.one, scene.evil):
            pass
    await scene.lives_on()


async def test_news_of_devices_end_no_link_while_the_home_is_full(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who is revoked meanwhile is out at once all the same."""

    @contextlib.asynccontextmanager
    async def full() -> AsyncIterator[HomeTransaction]:
        raise sqlite3.OperationalError("database or disk is full")
        yield

    connection = scene.two.network.connections[device_id(scene.one)]
    async with evil_peer(scene.two, scene.evil) as peer:
        await peer.meet()
        with monkeypatch.context() as patch:
            patch.setattr(scene.two.home.store, "transaction", full)
            await revoke_evil(scene)
            assert await peer.is_hung_up_on()
            assert scene.two.network.connections[device_id(scene.one)] is connection
    assert await scene.two.ledgers.keep_owed()
    assert "defect" not in caplog.text
    await scene.lives_on()


async def test_a_device_that_is_revoked_loses_the_link_that_it_has(scene: Scene) -> None:
    """A14."""
    async with evil_peer(scene.one, scene.evil) as peer:
        peer.claim(await peer.meet())
        await revoke_evil(scene)
        assert await peer.is_hung_up_on()
    await scene.lives_on()


# ---------------------------------------------------------------- links


async def test_of_two_links_to_one_device_one_stays(scene: Scene) -> None:
    async with evil_peer(scene.one, scene.evil) as first:
        await first.meet()
        async with evil_peer(scene.one, scene.evil) as second:
            await second.meet()
            assert await first.is_hung_up_on()
            assert not second.link.is_closed
            connections = scene.one.network.connections
            assert set(connections) == {device_id(scene.two), scene.evil.keys.device_id}
    await until(lambda: scene.evil.keys.device_id not in scene.one.network.connections)
    await scene.lives_on()


async def test_what_a_link_carried_still_counts_when_it_is_gone(scene: Scene) -> None:
    before = (await scene.one.status())["totals"]["received_bytes"]
    async with evil_peer(scene.one, scene.evil) as peer:
        await peer.meet()
        sent = peer.link.sent_bytes
    await until(lambda: scene.evil.keys.device_id not in scene.one.network.connections)
    assert (await scene.one.status())["totals"]["received_bytes"] >= before + sent // 2


async def test_a_defect_in_handling_one_peer_is_that_link_s(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatch = Network._dispatch

    async def defect(self: Network, connection: Connection, event: Event) -> None:
        if isinstance(event, PeerGreeted) and event.device_name == "evil":
            raise ZeroDivisionError("a defect")
        await dispatch(self, connection, event)

    monkeypatch.setattr(Network, "_dispatch", defect)
    with caplog.at_level(logging.CRITICAL, "peer.connectivity.network"):
        async with evil_peer(scene.one, scene.evil) as peer:
            assert await peer.is_hung_up_on()
    await scene.lives_on()


async def test_goodbye_is_said(scene: Scene) -> None:
    async with evil_peer(scene.one, scene.evil) as peer:
        await peer.meet()
        scene.one.network.close_all()
        assert await peer.is_hung_up_on()
        assert [e.code for e in peer.events if isinstance(e, Closed)] == [ErrorCode.NONE]


async def test_what_a_link_was_to_show_the_next_link_shows(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two devices move from one link to a better one while what is to be shown of a log, which
    nobody can ask for, waits for its folder.
    """
    copy_homes(homes, tmp_path)
    async with devices(tmp_path) as stage:
        one, two = await stage.start("one"), await stage.start("two")
        await stage.meet(one, two)
        await stage.share(one, two)
        folder, old = folder_of(one), one.network.connections[device_id(two)]
        log_id, hash_, wire = LogId(b"l" * 16), b"h" * 32, b"declaration"
        monkeypatch.setattr(
            folder.engine.book, "declarations", lambda: [(log_id, (9, hash_, wire))]
        )
        shown: list[Connection] = []
        show = Session.show_changesets

        def showing(session: Session, *what: Any) -> None:
            if what[1] == log_id:
                shown.extend(c for c in one.network.connections.values() if c.session is session)
                return
            show(session, *what)

        monkeypatch.setattr(Session, "show_changesets", showing)
        is_held, goes_on = asyncio.Event(), asyncio.Event()

        async def held() -> None:
            is_held.set()
            await goes_on.wait()

        holding = asyncio.ensure_future(folder.call(held))
        await is_held.wait()
        one.network._branches._shown.clear()
        waiting = asyncio.ensure_future(one.network._show(old, folder))
        await asyncio.sleep(0)  # it waits behind the other call
        dialler, other = (one, two) if old.link.is_client else (two, one)
        keys = dialler.ledgers.peer_keys(device_id(other))
        assert keys is not None
        link = await dial(LinkKind.TLS, LOOPBACK, port_of(other))
        found = await authenticate_client(link, dialler.home.keys, keys, [])
        stage.tasks.create_task(dialler.network.run_connection(link, found.peer))
        await until(lambda: one.network.connections.get(old.device_id) not in (None, old))
        new = one.network.connections[old.device_id]
        await until(lambda: folder.folder_id in new.shared_there)
        goes_on.set()
        await holding
        await waiting
        await until(lambda: new in shown)
