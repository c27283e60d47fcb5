from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import ssl
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import tcp
from protocol.certificates import ALPN, LinkCertificate
from protocol.errors import TimedOut
from protocol.half_open import HALF_OPEN_PER_HOST_MAX
from protocol.link import LinkKind
from protocol.tls import GATHER_BYTES, TlsLink, _gather, client_context, server_context
from protocol.wire import frame
from tests.protocol.link_stage import LOOPBACK, link_pair, serving

TLS = LinkKind.TLS


@pytest.mark.parametrize("has_memory_files", [True, False])
def test_the_key_is_left_in_no_file(
    has_memory_files: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []
    load = ssl.SSLContext.load_cert_chain

    def look(context: ssl.SSLContext, path: str) -> None:
        seen.append((path, os.stat(path).st_mode & 0o777))
        load(context, path)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", look)
    if not has_memory_files:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    server_context(LinkCertificate.generate())
    ((path, mode),) = seen
    assert not os.path.exists(path) or not hasattr(os, "memfd_create")
    assert list(tmp_path.iterdir()) == []
    if not has_memory_files:
        assert mode == 0o600
        assert path.startswith(str(tmp_path))


@pytest.mark.row("A26")
async def test_a26_no_old_versions_no_tickets_and_no_resumption() -> None:
    async with link_pair(TLS) as (client, server):
        for link in (client, server):
            assert isinstance(link, TlsLink)
            assert link._transport is not None
            tls = link._transport.get_extra_info("ssl_object")
            assert tls.version() == "TLSv1.3"
            assert tls.selected_alpn_protocol() == ALPN
            assert not tls.session_reused
        client.send(1, [b"x"])
        async with asyncio.timeout(60):
            await server.receive()
        # Tickets would have come with the server's first flight.
        session = client._transport.get_extra_info("ssl_object").session  # type: ignore[attr-defined]
        assert session is None or not session.has_ticket


def shake_hands(port: int, change: object) -> str:
    context = client_context()
    assert callable(change)
    change(context)
    with socket.create_connection((LOOPBACK, port), timeout=5) as plain:
        try:
            with context.wrap_socket(plain) as tls:
                return tls.version() or ""
        except (ssl.SSLError, OSError) as error:
            return f"refused: {type(error).__name__}"


def resume(
    client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> ssl.SSLObject:
    """The client's end of a connection in memory, with whatever tickets it was given."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, session=session)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours, theirs):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    theirs.write(b"x")
    assert ours.read(1) == b"x"
    return ours


@pytest.mark.row("A26")
def test_a26_a_ticket_that_is_offered_is_refused() -> None:
    certificate = LinkCertificate.generate()
    client, server, giving = client_context(), *(server_context(certificate) for _ in range(2))
    giving.num_tickets = 2
    session = resume(client, giving).session
    assert session is not None
    assert session.has_ticket
    assert resume(client, giving, session).session_reused  # else it would prove nothing
    refused = resume(client, server, session)
    assert not refused.session_reused
    assert refused.session is None or not refused.session.has_ticket


@pytest.mark.row("A05")
async def test_tls_1_2_is_refused() -> None:
    def old(context: ssl.SSLContext) -> None:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    async with serving() as server:
        assert await asyncio.to_thread(shake_hands, server.port, lambda context: None) == "TLSv1.3"
        assert (await asyncio.to_thread(shake_hands, server.port, old)).startswith("refused")


async def test_who_speaks_no_tls_gets_nothing_and_harms_nothing() -> None:
    async with asyncio.timeout(60), serving(admits=False) as server:
        for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(100), b""):
            reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
            writer.write(junk)
            if not junk:
                writer.close()
            try:
                assert len(await reader.read(1_000)) < 100
            except ConnectionError:
                pass
            writer.close()
        link = await server.dial(TLS)
        assert not link.is_closed
        assert len(server.listener.half_open) == 1


async def test_small_frames_of_one_turn_leave_in_one_record() -> None:
    async with link_pair(TLS) as (client, server):
        before = client.sent_bytes
        for number in range(100):
            client.send(number, [b"1234567890"])
        async with asyncio.timeout(60):
            for number in range(100):
                assert await server.receive() == (number, b"1234567890")
        assert client.sent_bytes - before == 100 * 15 + 22


async def test_frames_around_the_sizes_of_the_buffers() -> None:
    sizes = [n + d for n in (32 << 10, 64 << 10, 512 << 10, 1 << 20) for d in (-6, -5, -1, 0, 1)]
    async with asyncio.timeout(60), link_pair(TLS) as (client, server):
        payloads = [os.urandom(size) for size in sizes for _ in range(2)]

        async def send() -> None:
            for number, payload in enumerate(payloads):
                client.send(number, [payload[:7], payload[7:]])
                await client.drain()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            for number, payload in enumerate(payloads):
                assert await server.receive() == (number, payload)


async def test_links_that_share_a_buffer_mix_nothing_and_keep_none() -> None:
    """A relay's links: idle ones have no buffer, and pieces of frames come in any order."""
    rng = random.Random(7)
    links = [TlsLink(False, bytes(32)) for _ in range(3)]
    frames = [
        [(n, rng.randbytes(rng.choice((0, 9, 900, 16_384)))) for n in range(20)] for _ in links
    ]
    rests = [b"".join(b"".join(frame(n, [p])) for n, p in each) for each in frames]
    got: list[list[tuple[int, bytes]]] = [[], [], []]
    while any(rests):
        number = rng.choice([n for n, rest in enumerate(rests) if rest])
        link, rest = links[number], rests[number]
        for each in links:
            assert len(each.get_buffer(-1)) > 0  # TLS asks also when it has nothing to fill in
        buffer = link.get_buffer(-1)
        size = min(len(buffer), len(rest), rng.choice((1, 4, 1000, 20_000)))
        buffer[:size], rests[number] = rest[:size], rest[size:]
        link.buffer_updated(size)
        while link._unread or len(got[number]) < _whole(frames[number], rests[number]):
            async with asyncio.timeout(60):
                received = await link.receive()
            assert received is not None
            got[number].append(received)
    assert got == frames
    assert [len(link._buffer) for link in links] == [0, 0, 0]


def _whole(frames: list[tuple[int, bytes]], rest: bytes) -> int:
    """How many frames have come in whole."""
    missing, left = len(rest), len(frames)
    while missing > 0:
        left -= 1
        missing -= 5 + len(frames[left][1])
    return left


@given(st.lists(st.binary(max_size=50) | st.just(bytes(GATHER_BYTES)), max_size=40))
def test_gathering_keeps_every_byte_and_copies_no_long_part(parts: list[bytes]) -> None:
    gathered = _gather(parts)
    assert b"".join(gathered) == b"".join(parts)
    long_parts = [part for part in parts if len(part) >= GATHER_BYTES]
    assert sum(any(part is each for part in long_parts) for each in gathered) == len(long_parts)
    assert len(gathered) <= 2 * len(long_parts) + 1


@pytest.mark.row("A29")
async def test_a29_one_byte_at_a_time_is_no_way_to_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    from protocol import links

    monkeypatch.setattr(links, "HALF_OPEN_TIMEOUT_S", 1.0)
    async with asyncio.timeout(60), serving(admits=False) as server:
        client = await server.dial(TLS)
        assert isinstance(client, TlsLink)
        assert client._transport is not None
        header = b"\x00\x00\x40\x00\x01"
        number = 0
        while not client.is_closed:  # it ends in time, or this test does
            client._transport.write(header[number : number + 1] or b"x")
            number += 1
            await asyncio.sleep(0.02)
        assert len(server.listener.half_open) == 0


@pytest.mark.row("A29")
async def test_stuck_strangers_do_not_keep_a_friend_out() -> None:
    """A29: connections that never speak TLS take their address's places and nothing else."""
    async with asyncio.timeout(60), serving(admits=False) as server:
        stuck = [await asyncio.open_connection(LOOPBACK, server.port) for _ in range(100)]
        for reader, _ in stuck[HALF_OPEN_PER_HOST_MAX:]:
            assert await reader.read(1) == b""  # no place: closed without a word
        assert len(server.listener.half_open) == HALF_OPEN_PER_HOST_MAX
        elsewhere = ("127.0.0.2", 0)  # a friend comes from another address
        context = client_context()
        _, friend = await asyncio.open_connection(
            LOOPBACK, server.port, local_addr=elsewhere, ssl=context, server_hostname=""
        )
        assert (await server.links.get()).peer_address[0] == elsewhere[0]
        friend.transport.abort()
        for _, writer in stuck:
            writer.transport.abort()


async def test_a_link_on_which_nothing_is_acknowledged_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel's word for it is made up: on loopback it acknowledges all by itself."""
    monkeypatch.setattr(tcp, "LOOK_INTERVAL_S", 0.01)
    monkeypatch.setattr(tcp, "UNANSWERED_MAX_S", 0.03)
    monkeypatch.setattr(tcp, "unanswered_s", lambda _: 100.0)
    async with link_pair(TLS) as (client, _):
        client.send(1, [b"x"])
        async with asyncio.timeout(60):
            with pytest.raises(TimedOut):
                await client.receive()


async def test_a_link_that_rests_is_not_looked_at() -> None:
    async with link_pair(TLS) as (client, server):
        client.send(1, [b"x"])
        await server.receive()
        assert isinstance(client, TlsLink)
        assert client._look_handle is not None
        client._look_handle.cancel()
        assert client._transport is not None
        async with asyncio.timeout(60):  # the kernel waits 40 ms before it acknowledges
            while tcp.unanswered_s(client._transport.get_extra_info("socket")) is not None:
                await asyncio.sleep(0.005)
        client._look()
        assert client._look_handle is None
        assert not client.is_closed


async def test_a_link_that_has_ended_holds_no_transport() -> None:
    """A device that is linked anew a thousand times a day is not to keep a thousand of them until
    the cycle collector comes.
    """
    gc.disable()
    try:
        async with link_pair(TLS) as (client, server):
            left = [weakref.ref(link._transport) for link in (client, server)]  # type: ignore[attr-defined]
            client.set_frame_limit(1 << 20)
            client.send(1, [b"x"])
            async with asyncio.timeout(60):
                await server.receive()
                await client.close()
                assert await server.receive() is None
                await server.close()
                while any(transport() is not None for transport in left):
                    await asyncio.sleep(0)
            assert not any(len(link._buffer) for link in (client, server))  # type: ignore[attr-defined]
    finally:
        gc.enable()
