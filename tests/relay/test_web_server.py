"""The endpoint's sockets: HTTP/2 and 3 beside 1.1, certificates, and connections without end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from crypto.packs import LEAF_SIZE
from relay import web_server
from relay.errors import BadConfig
from relay.web_server import Certificate, WebServer, is_loopback
from tests.relay.http2_visitor import http2_to
from tests.relay.http3_visitor import asked, visiting
from tests.relay.relay_stage import LOOPBACK, until
from tests.relay.web_stage import WebStage, web_stage


def http2(stage: WebStage, requests: list[list[tuple[str, str]]]) -> list[tuple[int, bytes]]:
    """All of them at once on one connection."""
    with http2_to(stage.port) as visitor:
        return [visitor.end(stream) for stream in [visitor.begin(each) for each in requests]]


async def test_http_2_serves_many_at_once(tmp_path: Path) -> None:
    async with web_stage(tmp_path, is_tls=True) as stage:
        made = await stage.links.made(packs=(4,))
        ticket = await stage.ticket(made)
        spans = [
            asked(
                "GET",
                made.pack_path(),
                range=f"bytes={at * LEAF_SIZE}-{(at + 1) * LEAF_SIZE - 1}",
                x_holdfast_ticket=ticket,
            )
            for at in range(4)
        ]
        answers = await asyncio.to_thread(http2, stage, [asked("GET", made.path), *spans])
        assert [status for status, _ in answers] == [200, *[206] * 4]
        pack = stage.links.packs.packs[made.packs[0]]
        assert b"".join(body for _, body in answers[1:]) == pack


async def test_http_3_serves_as_the_others_do(tmp_path: Path) -> None:
    async with web_stage(tmp_path, is_tls=True) as stage:
        made = await stage.links.made(packs=(16,))
        ticket = await stage.ticket(made)
        async with visiting(stage.port) as visitor:
            headers, _ = await visitor.ask(asked("GET", made.path))
            assert headers[b":status"] == b"200"
            assert headers[b"referrer-policy"] == b"no-referrer"
            size = 16 * LEAF_SIZE
            headers, body = await visitor.ask(
                asked(
                    "GET",
                    made.pack_path(),
                    range=f"bytes=0-{size - 1}",
                    x_holdfast_ticket=ticket,
                )
            )
            assert headers[b":status"] == b"206"
            assert headers[b"content-range"] == f"bytes 0-{size - 1}/{size}".encode()
            assert body == stage.links.packs.packs[made.packs[0]]


async def test_one_address_has_so_many_connections_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_server, "CONNECTIONS_PER_ADDRESS_MAX", 3)
    monkeypatch.setattr(web_server, "IDLE_TIMEOUT_S", 3.0)  # else they are waited for at the end
    async with web_stage(tmp_path) as stage:
        place = (LOOPBACK, stage.port)
        connections = [await asyncio.open_connection(*place) for _ in range(4)]
        async with asyncio.timeout(60):
            assert await connections[3][0].read() == b""  # the fourth is closed
        connections[0][1].close()
        statuses: list[int] = []

        async def ask() -> None:
            while True:
                try:
                    statuses.append((await stage.ask("GET", "/")).status)
                except OSError:
                    await asyncio.sleep(0.01)
                else:
                    return

        async with asyncio.timeout(60):
            await ask()
        assert statuses == [404]
        for _, writer in connections:
            writer.close()


async def test_who_does_not_end_a_handshake_or_a_request_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_server, "HANDSHAKE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(web_server, "IDLE_TIMEOUT_S", 0.2)
    async with web_stage(tmp_path, is_tls=True) as stage:
        reader, writer = await asyncio.open_connection(LOOPBACK, stage.port)
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()
    async with web_stage(tmp_path / "plain") as stage:
        reader, writer = await asyncio.open_connection(LOOPBACK, stage.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        async with asyncio.timeout(60):
            assert b"200" not in await reader.read()
        writer.close()


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x00\x05hello", b"\x00" * 2000, b"GET / HTTP"])
async def test_garbage_ends_its_own_connection_alone(tmp_path: Path, garbage: bytes) -> None:
    async with web_stage(tmp_path, is_tls=True) as stage:
        _, writer = await asyncio.open_connection(LOOPBACK, stage.port)
        writer.write(garbage)
        await writer.drain()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(garbage.ljust(1300, b"\xc0"), (LOOPBACK, stage.port))
        assert (await stage.ask("GET", "/s/" + "A" * 22)).status == 200
        writer.close()


def test_a_certificate_of_one_s_own_is_made_once(tmp_path: Path) -> None:
    first = Certificate.self_signed(tmp_path, LOOPBACK)
    made = first.certificate.read_bytes()
    assert Certificate.self_signed(tmp_path, LOOPBACK).certificate.read_bytes() == made
    assert first.key.stat().st_mode & 0o077 == 0


async def app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("nothing is asked")


def test_files_that_are_no_certificate_are_told(tmp_path: Path) -> None:
    path = tmp_path / "cert.pem"
    with pytest.raises(BadConfig, match="cannot be used"):
        WebServer(app, Certificate(path, path))
    path.write_text("no certificate")
    with pytest.raises(BadConfig, match="cannot be used"):
        WebServer(app, Certificate(path, path))


async def test_a_renewed_certificate_is_taken_and_nobody_is_cut_off(tmp_path: Path) -> None:
    async with web_stage(tmp_path, is_tls=True) as stage:
        made = await stage.links.made(packs=(2,))
        old = stage.connect()
        await asyncio.to_thread(old.connect)
        assert not stage.server.renew(), "nothing has changed"
        place = Certificate.self_signed(tmp_path, LOOPBACK).certificate
        before = await asyncio.to_thread(shown, stage.port)
        place.write_bytes(b"half of a cert")
        with pytest.raises(BadConfig, match="cannot be used"):
            stage.server.renew()
        assert await asyncio.to_thread(shown, stage.port) == before, "the old one stays"
        place.unlink()
        Certificate.self_signed(tmp_path, LOOPBACK)
        assert stage.server.renew()
        after = await asyncio.to_thread(shown, stage.port)
        assert after != before
        assert after == await shown_by_quic(stage.port)

        def ask() -> int:
            old.request("GET", made.path)
            return old.getresponse().status

        assert await asyncio.to_thread(ask) == 200, "a connection from before goes on"
        old.close()


def shown(port: int) -> bytes:
    """The certificate that a visitor is shown, in DER."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((LOOPBACK, port), timeout=60) as raw:
        with context.wrap_socket(raw) as connection:
            return connection.getpeercert(binary_form=True) or b""


async def shown_by_quic(port: int) -> bytes:
    async with visiting(port) as visitor:
        found = visitor._quic.tls._peer_certificate
        assert found is not None
        return bytes(found.public_bytes(Encoding.DER))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.0.2.1", False),
        ("example.org", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


async def test_it_stops_when_it_is_told(tmp_path: Path) -> None:
    async with web_stage(tmp_path) as stage:
        port = stage.port
        assert (await stage.ask("GET", "/")).status == 404

    def is_closed() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, port)) != 0

    await until(is_closed)
