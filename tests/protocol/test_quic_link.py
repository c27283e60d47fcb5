"""QUIC links over real sockets: through a bad network, against floods, across a new address."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from pathlib import Path
from random import Random

import pytest

from protocol import quic_link
from protocol.errors import LinkError, Unexpected
from protocol.half_open import HALF_OPEN_MAX, VALIDATE_FROM, VALIDATE_FROM_PER_HOST
from protocol.link import Link, LinkKind
from protocol.quic import Connection, client_configuration
from protocol.quic_link import QuicEndpoint, QuicLink
from protocol.wire import FRAME_LENGTH_MAX
from tests.protocol.link_stage import LOOPBACK, Server, link_pair, serving
from tests.protocol.lossy_proxy import Weather, lossy_proxy

QUIC = LinkKind.QUIC
FRAMES = [Random(number).randbytes(64 << 10) for number in range(32)]  # 2 MiB

WEATHERS = {
    "clean": Weather(),
    "lossy": Weather(loss=0.02, delay_s=0.002),
    "jumbled": Weather(reorder=0.1, duplicate=0.05, delay_s=0.001),
    "damaged": Weather(corrupt=0.02),
    "narrow": Weather(length_max=1_300, loss=0.005),
    "storm": Weather(loss=0.02, duplicate=0.02, corrupt=0.01, reorder=0.05, delay_s=0.001),
}


async def dialled(server: Server, port: int) -> tuple[Link, Link]:
    from protocol.links import dial

    client = await dial(QUIC, LOOPBACK, port)
    client.send(0, [b"first"])
    accepted = await server.links.get()
    assert await accepted.receive() == (0, b"first")
    for link in (client, accepted):
        link.set_frame_limit(FRAME_LENGTH_MAX)
    return client, accepted


async def take(link: Link, count: int) -> list[tuple[int, bytes]]:
    frames = []
    for _ in range(count):
        frame = await link.receive()
        assert frame is not None
        frames.append(frame)
    return frames


@pytest.mark.row("F12")
@pytest.mark.parametrize("name", WEATHERS)
async def test_two_mebibytes_arrive_whole_whatever_the_weather(name: str) -> None:
    async with (
        asyncio.timeout(60),
        serving() as server,
        lossy_proxy((LOOPBACK, server.port), WEATHERS[name], seed=11) as proxy,
    ):
        client, accepted = await dialled(server, proxy.address[1])
        for number, payload in enumerate(FRAMES):
            client.send(number, [payload], bulk=True)
            await client.drain()
        frames = await take(accepted, len(FRAMES))
        assert dict(frames) == dict(enumerate(FRAMES))
        assert proxy.counts["lost"] == 0 or WEATHERS[name].loss > 0
        client.abort()


@pytest.mark.row("F14")
async def test_a_link_survives_a_new_address() -> None:
    async with (
        asyncio.timeout(60),
        serving() as server,
        lossy_proxy((LOOPBACK, server.port), Weather(), seed=1) as proxy,
    ):
        client, accepted = await dialled(server, proxy.address[1])
        proxy.rebind()
        for number in range(5):
            client.send(number, [os.urandom(5_000)])
            assert (await take(accepted, 1))[0][0] == number
            accepted.send(number, [os.urandom(5_000)])
            assert (await take(client, 1))[0][0] == number
        client.abort()


async def test_control_frames_do_not_wait_behind_bulk() -> None:
    async with asyncio.timeout(60), link_pair(QUIC) as (client, server):
        for _ in range(4):
            client.send(1, [bytes(1 << 20)], bulk=True)
        client.send(2, [b"soon"])
        numbers = [number for number, _ in await take(server, 5)]
        assert numbers.index(2) == 0


@pytest.mark.row("A25")
async def test_bulk_before_authentication_ends_the_link() -> None:
    async with asyncio.timeout(60), serving() as server:
        client = await server.dial(QUIC)
        client.send(0, [b"first"])
        client.send(1, [b"x"], bulk=True)
        accepted = await server.links.get()
        with pytest.raises(Unexpected):
            await take(accepted, 2)
        assert await client.receive() is None


async def test_an_address_has_to_be_shown_when_places_run_low() -> None:
    async with asyncio.timeout(60), serving(admits=False) as server:
        places = server.listener.half_open
        for number in range(VALIDATE_FROM_PER_HOST + 2):
            assert places.must_validate(LOOPBACK) == (number >= VALIDATE_FROM_PER_HOST)
            link = await server.dial(QUIC)
            assert isinstance(link, QuicLink)
            assert link.connection._retry_count == int(number >= VALIDATE_FROM_PER_HOST)


FLOOD = 10_000


def resident_bytes() -> int:
    """What this process holds now; its peak may be of an earlier test, and hide any growth."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def spoofed_initial(source: tuple[str, int]) -> bytes:
    connection = Connection(client_configuration())
    connection.connect(source, 0.0)
    ((datagram, _),) = connection.datagrams_to_send(0.0)
    return datagram


@pytest.mark.row("A27")
async def test_a27_a_flood_of_first_packets_neither_fills_memory_nor_keeps_friends_out() -> None:
    async with asyncio.timeout(60), serving() as server:
        endpoint = server.listener._endpoints[0]
        pool = [spoofed_initial((LOOPBACK, 9)) for _ in range(20)]
        sent: list[int] = []
        endpoint.udp.send = lambda datagrams, address: sent.append(sum(map(len, datagrams)))  # type: ignore[method-assign]
        before, most = resident_bytes(), 0
        for number in range(FLOOD):
            datagram = pool[number % len(pool)]
            fresh = datagram[:6] + number.to_bytes(8, "big") + datagram[14:]
            host = f"198.51.{number // 250}.{number % 250}"
            endpoint._on_datagrams([fresh], (host, 1_000))
            if number % 100 == 0:
                most = max(most, resident_bytes())
        assert len(server.listener.half_open) <= VALIDATE_FROM < HALF_OPEN_MAX
        assert len(endpoint.links) <= 3 * VALIDATE_FROM
        assert sum(sent) <= 3 * FLOOD * 1_200
        assert most - before < 50 << 20
        del endpoint.udp.send
        begin = asyncio.get_running_loop().time()
        await server.dial(QUIC)
        assert asyncio.get_running_loop().time() - begin < 2


@pytest.mark.row("A28")
async def test_a28_a_peer_that_is_not_read_stops_at_the_window() -> None:
    async with link_pair(QUIC) as (client, server):
        assert isinstance(server, QuicLink)
        for _ in range(12):
            client.send(1, [bytes(1 << 20)], bulk=True)
        held = -1
        async with asyncio.timeout(60):
            while held != server.received_bytes:
                held = server.received_bytes
                await asyncio.sleep(0.3)
        buffered = (
            server._unread_bytes
            + server._held_bytes
            + sum(len(stream.receiver._buffer) for stream in server.connection._streams.values())
        )
        assert buffered <= (4 << 20) + 3 * (1 << 20)  # the window, and a frame begun on each stream
        async with asyncio.timeout(60):
            await take(server, 12)


async def test_many_small_frames_share_datagrams() -> None:
    async with link_pair(QUIC) as (client, server):
        assert isinstance(client, QuicLink)
        before = client.connection._packet_number
        for number in range(500):
            client.send(number % 250, [b"12345"])
        async with asyncio.timeout(60):
            await take(server, 500)
        assert client.connection._packet_number - before < 30


async def test_a_socket_of_one_dial_goes_with_its_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quic_link, "DIAL_TIMEOUT_S", 0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dead:
        dead.bind((LOOPBACK, 0))
        address = dead.getsockname()
        endpoint = QuicEndpoint(quic_link.bind_for(address))
        with pytest.raises(LinkError):
            await endpoint.dial(address)
        assert endpoint.udp._socket.fileno() == -1
        assert endpoint.links == {}


async def test_damaged_datagrams_from_strangers_are_survived() -> None:
    random = Random(6)
    async with asyncio.timeout(60), serving() as server:
        endpoint = server.listener._endpoints[0]
        initial = spoofed_initial((LOOPBACK, 9))
        for number in range(300):
            data = bytearray(initial)
            for _ in range(random.randrange(1, 8)):
                data[random.randrange(40)] = random.randrange(256)
            endpoint._on_datagrams([bytes(data)], (f"203.0.113.{number % 250}", 5))
        await server.dial(QUIC)
