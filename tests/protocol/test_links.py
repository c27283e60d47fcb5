from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket

import pytest
import uvloop

from crypto.ids import DeviceId
from protocol import links, quic_link, tls
from protocol.errors import ErrorCode, LinkError, NotAuthenticated, TimedOut, TooLong
from protocol.half_open import HALF_OPEN_PER_HOST_MAX
from protocol.handshake import Authenticated, PeerKeys
from protocol.link import Link, LinkKind
from protocol.links import Listener, authenticate_client, authenticate_server, dial
from tests.protocol.link_stage import LOOPBACK, Server, link_pair, new_keys, peer_keys, serving

KINDS = list(LinkKind)
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@kinds
async def test_frames_arrive_both_ways_in_order(kind: LinkKind) -> None:
    async with link_pair(kind) as (client, server):
        frames = [(number, os.urandom(number * 37)) for number in range(200)]
        for number, payload in frames:
            client.send(number, [payload[:10], memoryview(payload)[10:]])
            server.send(number, [payload])
        async with asyncio.timeout(60):
            assert [await server.receive() for _ in frames] == frames
            assert [await client.receive() for _ in frames] == frames


@kinds
@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_large_frames_on_both_event_loops(kind: LinkKind, runner: object) -> None:
    async def scenario() -> None:
        async with link_pair(kind) as (client, server):
            sizes = [0, 1, 32_768, 40_000, 131_072, 524_288, 1_500_000]
            sent = {index: os.urandom(size) for index, size in enumerate(sizes)}
            for index, payload in sent.items():
                client.send(index, [payload], bulk=True)
                await client.drain()
            received: dict[int, bytes] = {}
            async with asyncio.timeout(60):
                while len(received) < len(sent):
                    frame = await server.receive()
                    assert frame is not None
                    received[frame[0]] = frame[1]
            assert received == sent

    assert callable(runner)
    runner(scenario())


@kinds
async def test_both_ends_have_one_binding_and_it_differs_by_process_certificate(
    kind: LinkKind,
) -> None:
    async with link_pair(kind) as (client, server), link_pair(kind) as (other, _):
        assert client.binding == server.binding
        assert len(client.binding) == 32
        assert client.binding != other.binding
        assert client.kind is server.kind is kind
        assert client.is_client
        assert not server.is_client


@kinds
async def test_bytes_on_the_wire_are_counted(kind: LinkKind) -> None:
    async with link_pair(kind) as (client, server):
        client.send(9, [bytes(100_000)], bulk=True)
        async with asyncio.timeout(60):
            await server.receive()
        assert 100_000 < client.sent_bytes < 150_000
        assert 100_000 < server.received_bytes < 150_000


@kinds
async def test_close_delivers_what_was_sent_before(kind: LinkKind) -> None:
    async with link_pair(kind) as (client, server):
        client.send(7, [os.urandom(300_000)])
        client.send(8, [b"last"])
        async with asyncio.timeout(60):
            closing = asyncio.gather(client.close(ErrorCode.LIMIT), return_exceptions=True)
            first, last = await server.receive(), await server.receive()
            assert first is not None
            assert first[0] == 7
            assert last == (8, b"last")
            assert await server.receive() is None
            await closing
        assert await client.receive() is None
        client.send(1, [b"into the void"])
        await client.drain()
        if kind is LinkKind.QUIC:
            assert server.close_code == ErrorCode.LIMIT


@kinds
async def test_the_other_end_notices_an_abort(kind: LinkKind) -> None:
    async with link_pair(kind) as (client, server):
        server.abort()
        async with asyncio.timeout(60):
            assert await client.receive() is None
        assert client.is_closed


@pytest.mark.row("A33")
@kinds
async def test_a_frame_beyond_the_limit_ends_the_link(kind: LinkKind) -> None:
    async with serving() as server:
        client = await server.dial(kind)
        client.send(1, [bytes(16 << 10)])
        client.send(2, [bytes((16 << 10) + 1)])
        async with asyncio.timeout(60):
            link = await server.links.get()
            assert await link.receive() == (1, bytes(16 << 10))
            with pytest.raises(TooLong):
                await link.receive()
            assert await client.receive() is None


@kinds
async def test_what_follows_the_last_early_frame_is_measured_by_the_new_limit(
    kind: LinkKind,
) -> None:
    async with serving() as server:
        client = await server.dial(kind)
        client.send(3, [b"proof"])
        client.send(16, [bytes(40_000)])
        async with asyncio.timeout(60):
            link = await server.links.get()
            assert await link.receive() == (3, b"proof")
            link.set_frame_limit(1 << 20)
            assert await link.receive() == (16, bytes(40_000))


@kinds
async def test_a_reader_that_does_not_read_holds_the_writer(kind: LinkKind) -> None:
    async with link_pair(kind) as (client, server):
        total = 24 << 20
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while sent < total:
                    client.send(5, [bytes(256 << 10)], bulk=True)
                    sent += 256 << 10
                    await client.drain()
        assert sent < 16 << 20  # 4 MiB unread, the windows or socket buffers, and our own queue
        async with asyncio.timeout(60):
            received = 0
            while received < sent:
                frame = await server.receive()
                assert frame is not None
                received += len(frame[1])


@kinds
async def test_devices_that_know_each_other_authenticate(kind: LinkKind) -> None:
    alice, bob = new_keys(), new_keys()
    entries_seen: list[list[bytes]] = []

    def lookup(device_id: DeviceId, entries: list[bytes]) -> PeerKeys | None:
        entries_seen.append(entries)
        return peer_keys(alice) if device_id == alice.device_id else None

    async with serving(admits=False) as server:
        client = await server.dial(kind)

        async def serve() -> Authenticated:
            link = await server.links.get()
            first = await link.receive()
            assert first is not None
            return await authenticate_server(link, first, bob, lookup)

        async with asyncio.timeout(60):
            ours, theirs = await asyncio.gather(
                authenticate_client(client, alice, peer_keys(bob), [b"entry"]), serve()
            )
        assert ours.peer == peer_keys(bob)
        assert theirs.peer == peer_keys(alice)
        assert ours.link_id == theirs.link_id
        assert entries_seen == [[b"entry"]]
        assert len(server.listener.half_open) == 0


@kinds
async def test_a_stranger_gets_no_answer(kind: LinkKind) -> None:
    mallory, bob = new_keys(), new_keys()
    async with serving(admits=False) as server:
        client = await server.dial(kind)

        async def serve() -> None:
            link = await server.links.get()
            first = await link.receive()
            assert first is not None
            with pytest.raises(NotAuthenticated):
                await authenticate_server(link, first, bob, lambda device_id, entries: None)

        async with asyncio.timeout(60):
            serving_task = asyncio.gather(serve())
            with pytest.raises(NotAuthenticated):
                await authenticate_client(client, mallory, peer_keys(bob))
            await serving_task
        assert await client.receive() is None


@pytest.mark.row("A29")
@kinds
async def test_who_sends_half_a_handshake_is_dropped_in_time(
    kind: LinkKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "HALF_OPEN_TIMEOUT_S", 1.5)  # a busy machine dials in less
    async with serving(admits=False) as server:
        client = await server.dial(kind)
        assert len(server.listener.half_open) == 1
        async with asyncio.timeout(60):
            assert await client.receive() is None
            with pytest.raises(NotAuthenticated):
                await authenticate_client(client, new_keys(), peer_keys(new_keys()))
        assert len(server.listener.half_open) == 0


async def test_a_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "HALF_OPEN_TIMEOUT_S", 0.2)
    async with link_pair(LinkKind.TLS) as (client, _):
        with pytest.raises(TimedOut):
            await authenticate_client(client, new_keys(), peer_keys(new_keys()))


@pytest.mark.row("A29")
@kinds
async def test_one_host_gets_few_half_open_places_and_an_admitted_link_takes_none(
    kind: LinkKind,
) -> None:
    async with serving(admits=False) as server:
        held = [await server.dial(kind) for _ in range(HALF_OPEN_PER_HOST_MAX)]
        assert len(server.listener.half_open) == HALF_OPEN_PER_HOST_MAX
        if kind is LinkKind.TLS:
            with pytest.raises(LinkError):
                await server.dial(kind)
        (await server.links.get()).admit()
        assert len(server.listener.half_open) == HALF_OPEN_PER_HOST_MAX - 1
        held.append(await server.dial(kind))


async def test_listeners_dial_quic_from_their_own_port() -> None:
    async with serving() as server, serving() as other:
        link = await other.listener.dial(LinkKind.QUIC, LOOPBACK, server.port)
        accepted = await server.links.get()
        assert accepted.peer_address == (LOOPBACK, other.port)
        link.abort()


async def test_a_port_in_use_and_a_dead_address_are_said_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quic_link, "DIAL_TIMEOUT_S", 0.2)
    async with serving() as server, asyncio.TaskGroup() as tasks:
        with pytest.raises(LinkError, match=r"Cannot listen on .*: [Aa]ddress already in use\.$"):
            await Listener(tasks).start(LOOPBACK, server.port, KINDS, server.take)
        port = server.port
    for kind in KINDS:
        with pytest.raises(LinkError, match=f"port {port}"):
            async with asyncio.timeout(60):
                await dial(kind, LOOPBACK, port)


async def test_ipv6_and_ipv4_on_one_port() -> None:
    received: asyncio.Queue[Link] = asyncio.Queue()

    async def take(link: Link) -> None:
        link.admit()
        received.put_nowait(link)
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        listener = Listener(tasks)
        port = await listener.start([LOOPBACK, "::1"], 0, KINDS, take)
        for host in (LOOPBACK, "::1"):
            for kind in KINDS:
                async with asyncio.timeout(60):
                    link = await dial(kind, host, port)
                    accepted = await received.get()
                assert accepted.peer_address[0] == host
                link.abort()
        await listener.stop()


@kinds
async def test_a_dial_that_is_cancelled_leaves_nothing_behind(
    kind: LinkKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "HALF_OPEN_TIMEOUT_S", 0.5)
    async with asyncio.timeout(60), serving(admits=False) as server:
        for delay_s in (0.0, 0.001, 0.002, 0.004, 0.008):
            dialling = asyncio.ensure_future(server.listener.dial(kind, LOOPBACK, server.port))
            await asyncio.sleep(delay_s)
            if not dialling.cancel():
                (await dialling).abort()
            await asyncio.wait([dialling])
            if not dialling.cancelled():
                dialling.result().abort()
        for endpoint in server.listener._endpoints:
            assert not any(link.is_client for link in endpoint.links.values())
        # What the server saw of it ends with the client's goodbye, or in time.
        while len(server.listener.half_open):
            await asyncio.sleep(0.05)


class _Over(Exception):
    """The owner's tasks end."""


async def test_a_link_that_comes_when_its_owner_s_tasks_are_over_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links, "HALF_OPEN_TIMEOUT_S", 60.0)
    taken: list[Link] = []

    async def take(link: Link) -> None:
        taken.append(link)

    listener: Listener | None = None
    with contextlib.suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as tasks:
            listener = Listener(tasks)
            port = await listener.start(LOOPBACK, 0, [LinkKind.QUIC], take)
            raise _Over
    assert listener is not None
    link = await dial(LinkKind.QUIC, LOOPBACK, port)
    try:
        async with asyncio.timeout(60):
            assert await link.receive() is None
    finally:
        link.abort()
        await listener.stop()
    assert not taken
    assert len(listener.half_open) == 0


async def test_a_connection_whose_task_never_began_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The owner's tasks end between TCP's handshake and TLS's."""
    loop = asyncio.get_running_loop()
    is_cancelled = asyncio.Event()
    accepted: list[socket.socket] = []

    def cancel_all(listener: Listener) -> None:
        accepted.extend(listener._accepted)
        for task in listener._running:
            task.cancel()
        is_cancelled.set()

    async with asyncio.TaskGroup() as tasks, asyncio.timeout(60):
        listener = Listener(tasks)

        def enter(host: str) -> bool:
            loop.call_soon(cancel_all, listener)  # before the task that is made next begins
            return True

        monkeypatch.setattr(listener.half_open, "enter", enter)
        port = await listener.start(LOOPBACK, 0, [LinkKind.TLS], Server(tasks).take)
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        await is_cancelled.wait()
        await listener.stop()
        assert await reader.read() == b""
        writer.close()
    assert [connection.fileno() for connection in accepted] == [-1]


@kinds
@pytest.mark.parametrize("host", ["a..b", "x" * 70, "\udcff"])
async def test_what_cannot_be_a_host_s_name_is_said(kind: LinkKind, host: str) -> None:
    with pytest.raises(LinkError):
        await dial(kind, host, 22000)


@pytest.mark.parametrize("turns", range(5))
async def test_whoever_comes_in_the_moment_of_the_end_leaves_no_socket(turns: int) -> None:
    """Else the collector finds it, whenever it looks."""
    async with serving() as server:
        for _ in range(5):
            await asyncio.sleep(0)  # until it waits for somebody
        with socket.create_connection((LOOPBACK, server.port)) as client:
            client.settimeout(60)
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.listener.stop()
            for _ in range(5):  # an aborted transport closes its socket some turns later
                await asyncio.sleep(0)
            gc.collect()
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""


async def test_an_adopted_connection_is_a_relayed_link_with_the_places_of_its_host() -> None:
    """Its other end dialled a relay, and both are authenticated as on any link."""
    async with serving(admits=False) as server:
        listener = server.listener
        near, far = await connected_pair()
        listener.adopt(near, "relay")
        dialling = asyncio.ensure_future(tls.dial_over(far))
        accepted = await server.links.get()
        client = await dialling
        assert (client.is_relayed, accepted.is_relayed) == (True, True)
        assert client.binding == accepted.binding
        assert len(listener.half_open) == 1
        mine, theirs = new_keys(), new_keys()
        proving = asyncio.ensure_future(authenticate_client(client, mine, peer_keys(theirs)))
        first = await accepted.receive()
        assert first is not None
        found = await authenticate_server(accepted, first, theirs, lambda *_: peer_keys(mine))
        assert found.link_id == (await proving).link_id
        assert len(listener.half_open) == 0
        client.abort()


async def test_a_listener_adopts_few_at_once_and_none_when_it_has_stopped() -> None:
    async with serving(admits=False) as server:
        ends = [await connected_pair() for _ in range(HALF_OPEN_PER_HOST_MAX + 1)]
        for near, _ in ends:
            server.listener.adopt(near, "relay")
        assert ends[-1][0].fileno() == -1, "closed, for this host has its places"
        await server.listener.stop()
        late, far = await connected_pair()
        server.listener.adopt(late, "elsewhere")
        assert late.fileno() == -1
        for _, end in [*ends, (late, far)]:
            end.close()


async def connected_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server((LOOPBACK, 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    for end in (near, far):
        end.setblocking(False)
    return near, far


async def test_who_is_nobody_at_the_other_end_of_a_relay_is_a_link_error() -> None:
    near, far = await connected_pair()
    near.close()
    with pytest.raises(LinkError, match="through the relay"):
        await tls.dial_over(far)
    assert far.fileno() == -1
