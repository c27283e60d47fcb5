"""The sockets of the web endpoint: HTTP/1.1 and 2 over TCP by hypercorn, 3 over UDP by our server.

Connections are admitted here, before TLS, because hypercorn takes as many as there come, and they
share their descriptors with the links of devices.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from starlette.types import ASGIApp

from protocol import tcp
from protocol.certificates import LinkCertificate
from protocol.quic_door import QuicDoor
from relay.doorway import Doorway, Place
from relay.errors import BadConfig
from relay.http3_connection import Http3Connection, server_configuration
from relay.http3_server import Http3Server
from relay.origins import origin_of
from relay.web_answers import BrokenOff

log = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 1_024
CONNECTIONS_PER_ADDRESS_MAX: Final = 256
"""A browser has six of HTTP/1.1, or one of the others; an office has many browsers."""
HANDSHAKE_TIMEOUT_S: Final = 10.0
IDLE_TIMEOUT_S: Final = 30.0
"""Between requests, and for the head of one."""
HEAD_LENGTH_MAX: Final = 16 << 10
RENEWED_EVERY_S: Final = 60.0
"""How often the certificate's files are looked at: who renews them need not tell."""
STREAMS_MAX: Final = 32
"""Requests at once on one connection of HTTP/2."""
SELF_SIGNED_NAME: Final = "web-self-signed.pem"


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files that TLS needs."""

    certificate: Path
    key: Path

    @classmethod
    def self_signed(cls, home: Path, host: str) -> Certificate:
        """One that no browser trusts by itself, kept in the relay's home; for tries and tests."""
        path = home / SELF_SIGNED_NAME
        if not path.exists():
            made = LinkCertificate.for_hosts(host, "localhost").to_pem()
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(made)
        return cls(path, path)

    def contents(self) -> bytes:
        """Both files, a few kibibytes; raises OSError."""
        return self.certificate.read_bytes() + b"\0" + self.key.read_bytes()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class WebServer:
    """One endpoint at work; `run` ends when it is cancelled."""

    def __init__(self, app: ASGIApp, certificate: Certificate | None) -> None:
        """Without a certificate it is plain HTTP, for a proxy on this machine."""
        self._application = app
        self._app = ASGIWrapper(app)  # type: ignore[arg-type] # two libraries' words for one thing
        self._config = config = Config()
        config.include_server_header = False
        config.accesslog = None
        config.errorlog = _quiet_log()
        config.keep_alive_timeout = IDLE_TIMEOUT_S
        config.h11_max_incomplete_size = HEAD_LENGTH_MAX
        config.h2_max_concurrent_streams = STREAMS_MAX
        config.h2_max_header_list_size = HEAD_LENGTH_MAX
        self._context: ssl.SSLContext | None = None
        self._certificate, self._loaded = certificate, b""
        if certificate is not None:
            config.certfile = str(certificate.certificate)
            config.keyfile = str(certificate.key)
            self._loaded, self._context = self._load(certificate)
            self._quic = server_configuration(certificate.certificate, certificate.key)
        self._doorway = Doorway(CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX)
        self._worker = WorkerContext(None)

    def renew(self) -> bool:
        """Takes the certificate's files if they have changed, for connections from now on; those
        that are open go on with the old one. Raises BadConfig, and then the old one stays.
        """
        if self._certificate is None or self._context is None:
            return False
        if self._certificate.contents() == self._loaded:
            return False
        self._loaded, _ = self._load(self._certificate)  # a pair that does not fit is found here
        place = self._certificate
        self._context.load_cert_chain(place.certificate, place.key)
        self._quic.load_cert_chain(place.certificate, place.key)
        return True

    def _load(self, certificate: Certificate) -> tuple[bytes, ssl.SSLContext]:
        try:
            contents = certificate.contents()
            return contents, self._config.create_ssl_context()  # type: ignore[return-value]
        except OSError as error:  # ssl.SSLError is one
            raise BadConfig(
                f"The certificate {certificate.certificate} with the key {certificate.key}"
                f" cannot be used: {error}. Both have to be PEM, and belong together."
            ) from error

    async def _renew_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(RENEWED_EVERY_S)
            try:
                if self.renew():
                    log.info("the certificate was renewed")
            except (BadConfig, OSError) as error:
                log.error("the certificate that was there is kept: %s", error)

    async def run(self, listening: socket.socket, udp: socket.socket | None) -> None:
        """Answers on these sockets, which it closes at the end."""
        port = listening.getsockname()[1]
        if udp is not None:
            assert self._context is not None, "HTTP/3 has no plain form"
            self._config.alt_svc_headers = [f'h3=":{port}"; ma=3600']
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._renew_now_and_then())
                if udp is not None:
                    door = QuicDoor(self._quic, Http3Connection)
                    server = Http3Server(self._application, door)
                    tasks.create_task(server.run(udp))
                await self._accept(listening, tasks)
        finally:
            listening.close()
            if udp is not None:
                udp.close()

    async def _accept(self, listening: socket.socket, tasks: asyncio.TaskGroup) -> None:
        while True:
            connection, address = await tcp.accept(listening)
            place = self._doorway.enter(origin_of(address))
            if place is None:
                connection.close()
                continue
            place.evict = tasks.create_task(self._answer(connection, place)).cancel

    async def _answer(self, connection: socket.socket, place: Place) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        writer: asyncio.StreamWriter | None = None
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if self._context else None,
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            await TCPServer(self._app, loop, self._config, self._worker, {}, reader, writer)
        except OSError:  # ssl.SSLError, a handshake that did not come to its end, is one
            connection.close()
        except Exception as error:  # noqa: BLE001 - the door to a library
            # hypercorn falls over a body of HTTP/2 that comes after its answer.
            first = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
            log.warning("a connection of a visitor is ended: %s", type(first).__name__)
        finally:
            self._doorway.leave(place)
            if writer is not None:
                writer.transport.abort()


def _quiet_log() -> logging.Logger:
    """hypercorn's complaints, without the answers that we break off ourselves."""
    complaints = logging.getLogger("hypercorn.error")
    if not complaints.filters:
        complaints.addFilter(_is_defect)
    return complaints


def _is_defect(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], BrokenOff))
