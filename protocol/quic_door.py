"""The door of a QUIC server: what it answers before there is a connection, keeping nothing.

With `quic.py` and `quic_burst.py` the only importer of aioquic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import NetworkAddress, QuicConnection
from aioquic.quic.packet import (
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import QuicRetryTokenHandler

from protocol.certificates import LinkCertificate
from protocol.quic import Connection, server_configuration
from protocol.quic_packets import CONNECTION_ID_SIZE

FIRST_ID_SIZE_MIN = 8
"""RFC 9000, 7.2. A connection of an empty id would be given whatever else comes to the port."""
Made = TypeVar("Made", bound=QuicConnection)


@dataclass(frozen=True, slots=True)
class Initial:
    """The first packet of a connection that somebody wants."""

    destination_id: bytes
    source_id: bytes
    version: int
    token: bytes


def destination_id(datagram: bytes) -> bytes:
    """The connection id that a datagram is for; empty for what is no QUIC."""
    if not datagram[0] & 0x80:
        return datagram[1 : 1 + CONNECTION_ID_SIZE]
    return datagram[6 : 6 + datagram[5]] if len(datagram) > 5 else b""


def read_initial(datagram: bytes) -> Initial | None:
    """The header of an Initial packet in a datagram of full size; None for anything else."""
    if len(datagram) < SMALLEST_MAX_DATAGRAM_SIZE or not datagram[0] & 0x80:
        return None
    try:
        header = pull_quic_header(Buffer(data=datagram), host_cid_length=CONNECTION_ID_SIZE)
    except ValueError:
        return None
    if header.version is None or header.packet_type is not QuicPacketType.INITIAL:
        return None
    if len(header.destination_cid) < FIRST_ID_SIZE_MIN:
        return None
    return Initial(header.destination_cid, header.source_cid, header.version, header.token)


class QuicDoor(Generic[Made]):
    """The stateless part of a server: versions, Retry, and the connections that it lets in."""

    def __init__(self, configuration: QuicConfiguration, connection: Callable[..., Made]) -> None:
        """`connection` makes one, by the arguments of aioquic's `QuicConnection`."""
        self._configuration, self._connection = configuration, connection
        self._tokens = QuicRetryTokenHandler()

    def negotiate(self, initial: Initial) -> bytes | None:
        """The answer to a version that we do not speak; None if we do."""
        versions = self._configuration.supported_versions
        if initial.version in versions:
            return None
        return encode_quic_version_negotiation(
            source_cid=initial.destination_id,
            destination_cid=initial.source_id,
            supported_versions=versions,
        )

    def retry(self, initial: Initial, address: NetworkAddress, new_id: bytes, now: float) -> bytes:
        """Asks the client to show that it receives at its address; nothing is kept here."""
        return encode_quic_retry(
            version=initial.version,
            source_cid=new_id,
            destination_cid=initial.source_id,
            original_destination_cid=initial.destination_id,
            retry_token=self._tokens.create_token(
                address=address,
                original_destination_connection_id=initial.destination_id,
                retry_source_connection_id=new_id,
                now=now,
            ),
        )

    def accept(self, initial: Initial, address: NetworkAddress, now: float) -> Made | None:
        """A connection for the client; None if it brings a token that is not ours."""
        original_id, retry_id = initial.destination_id, None
        if initial.token:
            try:
                original_id = self._tokens.validate_token(
                    address=address,
                    destination_cid=initial.destination_id,
                    token=initial.token,
                    now=now,
                )
            except ValueError:
                return None
            retry_id = initial.destination_id
        return self._connection(
            configuration=self._configuration,
            original_destination_connection_id=original_id,
            retry_source_connection_id=retry_id,
        )


class Door(QuicDoor[Connection]):
    """That of a server of links."""

    def __init__(self, certificate: LinkCertificate) -> None:
        super().__init__(server_configuration(certificate), Connection)
        self.binding_certificate = certificate.der
