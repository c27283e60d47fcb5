"""What the server of HTTP/3 answers before there is a connection, keeping nothing."""

from __future__ import annotations

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import NetworkAddress
from aioquic.quic.packet import encode_quic_retry, encode_quic_version_negotiation
from aioquic.quic.retry import QuicRetryTokenHandler

from protocol.quic_door import Initial
from relay.http3_connection import Http3Connection


class Http3Door:
    """Versions, Retry, and the connections that are let in."""

    def __init__(self, configuration: QuicConfiguration) -> None:
        self._configuration = configuration
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
        """Asks the visitor to show that it receives at its address."""
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

    def accept(
        self, initial: Initial, address: NetworkAddress, now: float
    ) -> Http3Connection | None:
        """A connection for the visitor; None if it brings a token that is not ours."""
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
        return Http3Connection(
            self._configuration,
            original_destination_connection_id=original_id,
            retry_source_connection_id=retry_id,
        )
