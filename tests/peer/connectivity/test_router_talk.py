"""Whoever answers in the router's name is held to bounds of time and size, and led nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from peer.connectivity import router_talk
from peer.connectivity.gateway import Gateway
from peer.connectivity.router_talk import ask, fetch, search
from protocol import upnp
from protocol.errors import Malformed
from tests.nat.lab import Home, World
from tests.nat.routers import Kind


@asynccontextmanager
async def serving(answer: bytes, *, holds: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A web server that says this to whatever it is asked; gives its URL and what it was asked."""
    asked: list[bytes] = []
    is_over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(65536))
        writer.write(answer)
        if holds:
            await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        is_over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    async with server:
        yield f"http://{host}:{port}/desc.xml?a=b", asked
        await is_over.wait()


async def test_a_document_is_fetched() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more") as (
        url,
        asked,
    ):
        assert await fetch(url) == (200, b"hello")
    assert asked[0].startswith(b"GET /desc.xml?a=b HTTP/1.1\r\n")


async def test_an_action_is_posted_and_the_answer_may_come_in_pieces() -> None:
    answer = (
        b"HTTP/1.1 500 no\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    async with serving(answer) as (url, asked):
        assert await fetch(url, soap=(b'"x#y"', b"<a/>")) == (500, b"abcde")
    assert asked[0].startswith(b"POST ")
    assert b'SOAPAction: "x#y"' in asked[0]
    assert asked[0].endswith(b"\r\n\r\n<a/>")


@pytest.mark.row("A32")
async def test_a_redirect_is_not_followed() -> None:
    answer = b"HTTP/1.1 302 no\r\nLocation: http://10.9.9.9/\r\nContent-Length: 0\r\n\r\n"
    async with serving(answer) as (url, _):
        assert await fetch(url) == (302, b"")


@pytest.mark.row("A32", "A31")
@pytest.mark.parametrize(
    "answer",
    [
        b"\x16\x03\x01 no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + bytes(upnp.DOCUMENT_MAX + 1),
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 9000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nshort",
    ],
)
async def test_what_is_too_long_or_no_http_is_refused(answer: bytes) -> None:
    async with serving(answer) as (url, _):
        with pytest.raises(Malformed):
            await fetch(url)


@pytest.mark.row("A29")
async def test_a_server_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_talk, "HTTP_TIMEOUT_S", 0.2)
    async with serving(b"HTTP/1.1 200", holds=True) as (url, _):
        with pytest.raises(TimeoutError):
            await fetch(url)


async def test_nobody_at_the_port_is_known_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert await ask(Gateway("127.0.0.1", "127.0.0.1"), port, b"?", bytes) is None


async def test_malformed_answers_are_passed_over() -> None:
    def read(data: bytes) -> bytes:
        if data == b"bad":
            raise Malformed(data)
        return data

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        answers = threading.Thread(target=answer_badly_then_well, args=(server,))
        answers.start()
        gateway, port = Gateway("127.0.0.1", "127.0.0.1"), server.getsockname()[1]
        assert await ask(gateway, port, b"?", read) == b"good"
        answers.join()


def answer_badly_then_well(server: socket.socket) -> None:
    _, place = server.recvfrom(100)
    for answer in (b"bad", b"bad", b"good"):
        server.sendto(answer, place)


# ---------------------------------------------------------------- searching, in a network


def search_in(home: Home, answer: Callable[[socket.socket, socket.socket], None]) -> str | None:
    """What the first host of a home finds; `answer` gets a socket of the router's that hears the
    search, and one of another host of the network.
    """

    def hears() -> socket.socket:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.settimeout(10)
        udp.bind(upnp.SEARCHED_AT)
        group = socket.inet_aton(upnp.SEARCHED_AT[0]) + socket.inet_aton("10.0.0.1")
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        return udp

    def other() -> socket.socket:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("0.0.0.0", 0))
        return udp

    with home.router.call(hears) as router, home.hosts[1].call(other) as evil:
        thread = threading.Thread(target=answer, args=(router, evil))
        thread.start()
        try:
            return home.hosts[0].call(lambda: asyncio.run(search(Gateway("10.0.0.1", "10.0.0.2"))))
        finally:
            thread.join()


def said(location: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nLocation: {location}\r\n\r\n".encode()


@pytest.mark.row("A32")
def test_the_router_is_found_by_its_own_answer_alone() -> None:
    def answer(router: socket.socket, evil: socket.socket) -> None:
        asked, place = router.recvfrom(2048)
        assert asked == upnp.search_request()
        evil.sendto(said("http://10.0.0.1:1/other-host-in-its-name"), place)
        router.sendto(said("http://10.0.0.3/not-its-own-address"), place)
        router.sendto(b"no answer", place)
        router.sendto(said("http://10.0.0.1:5000/rootDesc.xml"), place)

    with World() as world:
        home = world.home(Kind.PORT_RESTRICTED, hosts=2)
        assert search_in(home, answer) == "http://10.0.0.1:5000/rootDesc.xml"


@pytest.mark.row("A32")
def test_others_who_answer_are_not_heard() -> None:
    def answer(router: socket.socket, evil: socket.socket) -> None:
        _, place = router.recvfrom(2048)
        evil.sendto(said("http://10.0.0.1:5000/rootDesc.xml"), place)

    with World() as world:
        home = world.home(Kind.PORT_RESTRICTED, hosts=2)
        assert search_in(home, answer) is None
