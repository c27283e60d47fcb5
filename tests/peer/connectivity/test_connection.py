"""One connection over a link in memory: what it gives, and what ends it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from crypto.compression import decompress
from crypto.ids import ChunkId, FolderId
from peer.connectivity.connection import UNSENT_BYTES_MAX, Connection
from protocol import messages as m
from protocol.chunk_frames import CODEC_RAW
from protocol.errors import ErrorCode, NotEntitled, ProtocolError, TooLong
from protocol.events import (
    ChunksMissing,
    ChunksReceived,
    Closed,
    Event,
    FolderShared,
    PeerGreeted,
    PeerState,
)
from protocol.link import SEND_HIGH_WATER_BYTES, LinkKind
from protocol.session import PING_AFTER_S, SILENCE_MAX_S
from tests.peer.device_stage import pass_time, until
from tests.peer.evil_peer import EvilPeer
from tests.peer.pipe_link import PipeLink, pipe
from tests.protocol.link_stage import new_keys, peer_keys

FOLDER = FolderId(b"f" * 32)
PEER = peer_keys(new_keys())

Handle = Callable[[Connection, Event], Coroutine[Any, Any, None]]


def chunk(number: int) -> ChunkId:
    return ChunkId(number.to_bytes(32))


class Stage:
    """A connection at work, and the other side by hand."""

    def __init__(self, kind: LinkKind, handle: Handle | None) -> None:
        self.link, other = pipe(kind)
        self.peer = EvilPeer(other)
        self.events: list[Event] = []
        self.store: dict[ChunkId, bytes] = {}
        self.reads: list[list[ChunkId]] = []
        self.at_once = 1000
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.connection = Connection(self.link, PEER, "device", handle or self.note, self.read)

    @property
    def other(self) -> PipeLink:
        return self.link.other

    async def note(self, connection: Connection, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, FolderShared):
            connection.session.share(event.folder_id, ())

    async def read(self, folder_id: FolderId, ids: list[ChunkId]) -> list[bytes | None]:
        assert folder_id == FOLDER
        ids = ids[: self.at_once]
        self.reads.append(ids)
        await self.may_read.wait()
        return [self.store.get(chunk_id) for chunk_id in ids]

    async def meet(self) -> None:
        self.peer.claim(FOLDER)
        await self.peer.hear(PeerGreeted)
        await self.peer.hear(FolderShared)

    def ask(self, *ids: ChunkId) -> int:
        request = self.peer.session.want(FOLDER, ids)
        self.peer.flush()
        return request

    def has_heard_now(self) -> bool:
        """Whether the session takes the other side for alive at this time."""
        since_s = asyncio.get_running_loop().time() - self.connection.session._heard_at
        return since_s < PING_AFTER_S

    async def hear_chunks(self, count: int) -> list[bytes]:
        """So many chunks, in the order in which they came."""
        chunks: list[bytes] = []
        while len(chunks) < count:
            for got in (await self.peer.hear(ChunksReceived)).chunks:
                chunks.append(decompress(got.codec, bytes(got.data), got.plain_length))
        return chunks


@asynccontextmanager
async def talking(
    kind: LinkKind = LinkKind.TLS, handle: Handle | None = None
) -> AsyncIterator[tuple[Stage, asyncio.Task[None]]]:
    stage = Stage(kind, handle)
    running = asyncio.get_running_loop().create_task(stage.connection.run())
    try:
        yield stage, running
    finally:
        stage.link.abort()
        await asyncio.wait([running])


async def ends(running: asyncio.Task[None]) -> None:
    """Waits for the end, which nothing but what was just done may bring."""
    async with asyncio.timeout(60):
        await running


# ---------------------------------------------------------------- giving chunks


async def test_both_sides_greet_and_hear_of_each_other() -> None:
    async with talking() as (stage, _):
        await stage.meet()
        greeted = [e for e in stage.events if isinstance(e, PeerGreeted)]
        assert [e.device_name for e in greeted] == ["evil"]
        assert stage.connection.kind_name == "tls"
        assert stage.connection.device_id == PEER.device_id


async def test_what_is_wanted_is_given_and_what_is_not_here_is_said() -> None:
    async with talking() as (stage, _):
        await stage.meet()
        stage.store = {chunk(n): os.urandom(100 + n) for n in range(200) if n % 10}
        ids = [chunk(n) for n in range(200)]
        stage.ask(*ids)
        chunks = await stage.hear_chunks(180)
        assert chunks == [stage.store[i] for i in ids if i in stage.store]
        missing: set[ChunkId] = set()
        while len(missing) < 20:
            missing.update((await stage.peer.hear(ChunksMissing)).chunk_ids)
        assert missing == {chunk(n) for n in range(0, 200, 10)}


async def test_requests_are_answered_in_their_order() -> None:
    async with talking() as (stage, _):
        await stage.meet()
        stage.store = {chunk(n): b"%d" % n for n in range(10)}
        for number in (3, 1, 2):
            stage.ask(chunk(number))
        assert await stage.hear_chunks(3) == [b"3", b"1", b"2"]


@pytest.mark.parametrize("kind", LinkKind)
async def test_chunks_are_compressed_where_bytes_cost_more_than_time(kind: LinkKind) -> None:
    async with talking(kind) as (stage, _):
        await stage.meet()
        stage.store = {chunk(0): b"compressible " * 1000, chunk(1): b"short"}
        stage.ask(chunk(0), chunk(1))
        received = [got for got in (await stage.peer.hear(ChunksReceived)).chunks]
        assert (received[0].codec != CODEC_RAW) == (kind is LinkKind.QUIC)
        assert received[1].codec == CODEC_RAW
        plain = decompress(received[0].codec, bytes(received[0].data), received[0].plain_length)
        assert plain == stage.store[chunk(0)]


async def test_a_slow_reader_holds_little_of_what_it_asked_for() -> None:
    async with talking() as (stage, _):
        await stage.meet()
        stage.link.is_blocked = True
        data = os.urandom(128 << 10)
        stage.store = {chunk(n): data for n in range(100)}
        stage.ask(*stage.store)
        await until(lambda: stage.link.unsent_bytes > SEND_HIGH_WATER_BYTES)
        for _ in range(100):
            await asyncio.sleep(0)
        read = sum(map(len, stage.reads))
        assert read <= 64  # the first step, taken before it is known how large they are
        stage.link.unblock()
        assert await stage.hear_chunks(100) == [data] * 100
        assert max(map(len, stage.reads[1:])) <= 8  # a megabyte


async def test_a_reader_of_files_that_gives_a_few_at_a_time_is_asked_for_the_rest() -> None:
    async with talking() as (stage, _):
        await stage.meet()
        stage.at_once = 3
        stage.store = {chunk(n): b"%d" % n for n in range(10)}
        stage.ask(*stage.store)
        assert await stage.hear_chunks(10) == list(stage.store.values())
        assert [len(ids) for ids in stage.reads] == [3, 3, 3, 1]


async def test_what_is_taken_back_is_not_read() -> None:
    async with talking() as (stage, _):
        await stage.meet()
        stage.store = {chunk(n): b"%d" % n for n in range(10)}
        stage.may_read.clear()
        stage.ask(chunk(1))
        await until(lambda: stage.reads)
        taken_back = stage.ask(chunk(2))
        stage.ask(chunk(3))
        stage.peer.session.cancel(taken_back)
        stage.peer.flush()
        await until(lambda: taken_back not in stage.connection._wanted)
        stage.may_read.set()
        assert await stage.hear_chunks(2) == [b"1", b"3"]
        assert stage.reads == [[chunk(1)], [chunk(3)]]


async def test_what_is_taken_back_while_it_is_read_is_not_given() -> None:
    """And the number may name another request by then."""
    async with talking() as (stage, running):
        await stage.meet()
        stage.store = {chunk(n): b"%d" % n for n in range(200)}
        stage.may_read.clear()
        ids = tuple(chunk(n) for n in range(100))
        stage.peer.send(m.Want(FOLDER, 7, ids))
        await until(lambda: stage.reads)
        stage.peer.send(m.Cancel(7))
        stage.peer.send(m.Want(FOLDER, 7, (chunk(150),)))
        await until(lambda: stage.connection._wanted[7].chunk_ids == (chunk(150),))
        stage.may_read.set()
        await until(lambda: not stage.connection._wanted)
        assert stage.reads == [list(ids[:64]), [chunk(150)]]
        assert not running.done()


@pytest.mark.row("A29")
async def test_asking_and_taking_back_fills_no_memory() -> None:
    """A peer that asks and never takes: what it took back is forgotten at once."""
    async with talking() as (stage, running):
        await stage.meet()
        stage.may_read.clear()
        stage.ask(chunk(0))
        await until(lambda: stage.reads)
        for _ in range(200):
            stage.peer.session.cancel(stage.ask(*(chunk(n) for n in range(500))))
            stage.peer.flush()
        await until(lambda: not stage.link._unread)
        assert len(stage.connection._wanted) == 1
        for _ in range(200):
            stage.peer.session.unshare(FOLDER)
            stage.peer.session.share(FOLDER, ())
            stage.ask(chunk(1))
        await until(lambda: not stage.link._unread)
        assert len(stage.connection._wanted) == 1
        assert not running.done()


# ---------------------------------------------------------------- what ends it


async def test_goodbye_is_said_and_ends_it() -> None:
    async with talking() as (stage, running):
        await stage.meet()
        stage.connection.close(ErrorCode.NONE, "bye")
        await ends(running)
        closed = await stage.peer.hear(Closed)
        assert (closed.code, closed.text, closed.by_peer) == (ErrorCode.NONE, "bye", True)
        assert stage.link.is_closed


async def test_the_other_s_goodbye_ends_it() -> None:
    async with talking() as (stage, running):
        await stage.meet()
        stage.peer.session.close(ErrorCode.LIMIT, "too much")
        stage.peer.flush()
        await ends(running)
        assert stage.connection.close_reason == "too much"


async def test_a_lost_link_ends_it() -> None:
    async with talking() as (stage, running):
        await stage.meet()
        stage.other.abort()
        await ends(running)


async def test_broken_framing_ends_it_and_the_code_is_told() -> None:
    async with talking() as (stage, running):
        await stage.meet()
        error: ProtocolError = TooLong("a frame of 9 GB")
        stage.link._error = error
        stage.link._wake_receiver()
        await ends(running)
        assert (await stage.peer.hear(Closed)).code == ErrorCode.TOO_LONG
        assert stage.connection.close_reason == "a frame of 9 GB"


async def test_a_session_that_its_owner_closed_ends_at_once() -> None:
    """Not when the other side feels like it."""

    async def refuse(connection: Connection, event: Event) -> None:
        if isinstance(event, PeerState):
            connection.session.close(NotEntitled.code, "not for you")
        elif isinstance(event, FolderShared):
            connection.session.share(event.folder_id, ())

    async with talking(handle=refuse) as (stage, running):
        await stage.meet()
        stage.peer.send(m.State(FOLDER, 0, 0, False))
        await ends(running)
        assert (await stage.peer.hear(Closed)).code == ErrorCode.NOT_ENTITLED


async def test_a_defect_ends_it_and_is_told_to_the_owner() -> None:
    async def defect(connection: Connection, event: Event) -> None:
        raise ZeroDivisionError

    async with talking(handle=defect) as (stage, running):
        stage.peer.flush()
        with pytest.raises(ExceptionGroup) as failed:
            await ends(running)
        assert failed.group_contains(ZeroDivisionError)
        assert stage.link.is_closed


@pytest.mark.row("A29")
async def test_who_does_not_read_is_given_up() -> None:
    async with talking() as (stage, running):
        await stage.meet()
        stage.link.is_blocked = True
        state = m.State(FOLDER, 0, 0, False)
        wire = m.encode(state)
        size = sum(len(part) for part in wire[1])
        stage.link._waiting = [(m.MessageNumber.STATE, bytes(UNSENT_BYTES_MAX - size + 1))]
        stage.connection.session.send(state)
        stage.connection.poke()
        await ends(running)
        assert "does not read" in stage.connection.close_reason


# ---------------------------------------------------------------- silence


async def test_after_silence_it_asks_and_then_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with talking() as (stage, running):
        await stage.meet()
        pass_time(monkeypatch, PING_AFTER_S)
        await until(lambda: stage.other._unread)
        assert [number for number, _ in stage.other._unread] == [m.MessageNumber.PING]
        pass_time(monkeypatch, SILENCE_MAX_S - PING_AFTER_S)
        await ends(running)
        assert (await stage.peer.hear(Closed)).code == ErrorCode.TIMEOUT


async def test_an_answer_is_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    async with talking() as (stage, running):
        await stage.meet()
        for _ in range(6):
            pass_time(monkeypatch, PING_AFTER_S)
            await until(lambda: stage.other._unread)
            await stage.peer._receive()
            await until(lambda: not stage.link._unread)
        assert not running.done()


async def test_a_long_frame_on_a_slow_link_is_a_sign_of_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its bytes come, though for minutes no frame is whole."""
    async with talking() as (stage, running):
        await stage.meet()
        for _ in range(6):
            stage.link.received_bytes += 1000
            pass_time(monkeypatch, PING_AFTER_S)
            await until(stage.has_heard_now)
            assert not running.done()
        assert not stage.other._unread
        pass_time(monkeypatch, PING_AFTER_S)
        await until(lambda: stage.other._unread)  # it has stopped coming: ask
        pass_time(monkeypatch, SILENCE_MAX_S)
        await ends(running)


async def test_what_came_before_the_last_frame_is_no_sign_of_life_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the question that keeps a NAT's mapping alive would come late."""
    async with talking() as (stage, _):
        await stage.meet()
        stage.peer.send(m.State(FOLDER, 1, 1, False))
        await until(lambda: len(stage.events) >= 3)
        pass_time(monkeypatch, PING_AFTER_S)
        await until(lambda: stage.other._unread)
        assert [number for number, _ in stage.other._unread] == [m.MessageNumber.PING]
