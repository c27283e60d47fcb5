"""A device's ways to a relay: the link on which they talk, and the streams that it joins.

The link authenticates both: the relay by the fingerprint in its address, the device by a pseudonym
that no other relay sees. A stream is a TCP connection to the same place that begins with a ticket;
what follows is the devices' own TLS, which is why the relay's hop needs none of its own.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

from crypto.ids import DeviceId
from crypto.keys import DeviceKeys, device_id_of
from crypto.primitives import KEY_SIZE, is_equal
from crypto.relay_ids import pseudonym_keys, relay_ask, relay_id_of
from protocol import tcp, tls
from protocol.errors import ErrorCode, LinkError, NotAuthenticated, ProtocolError, TimedOut
from protocol.handshake import HELLO, Authenticated, PeerKeys
from protocol.link import Address, Link
from protocol.links import HALF_OPEN_TIMEOUT_S, authenticate_client, authenticate_server
from protocol.relay_address import RelayAddress
from protocol.relay_messages import (
    RELAY_FRAME_LENGTH_MAX,
    RELAY_VERSION,
    RelayAsk,
    RelayKeys,
    decode,
    encode,
    stream_prefix,
)

STREAM_TIMEOUT_S: Final = 5.0
"""For a connection and its first 36 bytes."""


async def dial_relay(address: RelayAddress, keys: DeviceKeys) -> Link:
    """A link to the relay of that address, and to no other; raises LinkError."""
    link, _ = await dial_as(address, pseudonym_keys(keys, address.relay_id))
    return link


async def dial_as(address: RelayAddress, own: DeviceKeys) -> tuple[Link, RelayKeys]:
    """The same under these very keys, with those of the relay."""
    link = await tls.dial(address.host, address.port)
    try:
        link.keep_alive()
        async with asyncio.timeout(HALF_OPEN_TIMEOUT_S):
            number, payload = encode(
                RelayAsk(RELAY_VERSION, relay_ask(address.relay_id, link.binding))
            )
            link.send(number, [payload])
            frame = await link.receive()
        answer = decode(*frame) if frame is not None else None
        if not isinstance(answer, RelayKeys):
            raise NotAuthenticated("not a relay of this address")
        if relay_id_of(answer.sign_pk, answer.dh_pk) != address.relay_id:
            raise NotAuthenticated("the relay has other keys")
        server = PeerKeys(device_id_of(answer.sign_pk, answer.dh_pk), answer.sign_pk, answer.dh_pk)
        await authenticate_client(
            link,
            own,
            server,
            [own.sign_public + own.dh_public],
            frame_length_max=RELAY_FRAME_LENGTH_MAX,
        )
    except (TimedOut, TimeoutError) as error:
        link.abort(ErrorCode.TIMEOUT)
        raise LinkError(
            f"What answers at {address.host} port {address.port} took the connection and said"
            f" nothing for {HALF_OPEN_TIMEOUT_S:.0f} s: the relay may be busy, or something else is"
            " there. It is tried again."
        ) from error
    except ProtocolError as error:
        link.abort(ErrorCode.NOT_AUTHENTICATED)
        raise LinkError(
            f"What answers at {address.host} port {address.port} is not the relay of that"
            " fingerprint."
        ) from error
    except BaseException:
        link.abort()
        raise
    return link, answer


async def accept_device(
    link: Link, keys: DeviceKeys, random: Callable[[int], bytes] = os.urandom
) -> Authenticated:
    """The relay's side: a word only to who knows its address; raises ProtocolError."""
    relay_id = relay_id_of(keys.sign_public, keys.dh_public)
    try:
        ask = await _next(link)
        message = decode(*ask)
        if not isinstance(message, RelayAsk) or not is_equal(
            message.proof, relay_ask(relay_id, link.binding)
        ):
            raise NotAuthenticated("not asked for this relay")
        number, payload = encode(RelayKeys(RELAY_VERSION, keys.sign_public, keys.dh_public))
        link.send(number, [payload])
        hello = await _next(link)
        if hello[0] != HELLO:
            raise NotAuthenticated("no Hello")
    except BaseException:
        link.abort(ErrorCode.NOT_AUTHENTICATED)
        raise
    return await authenticate_server(
        link, hello, keys, pseudonym, random, frame_length_max=RELAY_FRAME_LENGTH_MAX
    )


async def _next(link: Link) -> tuple[int, bytes]:
    frame = await link.receive()
    if frame is None:
        raise NotAuthenticated("the other side closed the link")
    return frame


def pseudonym(device_id: DeviceId, introduction: Sequence[bytes]) -> PeerKeys | None:
    """Who calls a relay: whoever brings the two keys that its id stands for."""
    if len(introduction) != 1 or len(introduction[0]) != 2 * KEY_SIZE:
        return None
    sign_pk, dh_pk = introduction[0][:KEY_SIZE], introduction[0][KEY_SIZE:]
    if device_id_of(sign_pk, dh_pk) != device_id:
        return None
    return PeerKeys(device_id, sign_pk, dh_pk)


async def open_stream(place: Address, ticket: bytes) -> socket.socket:
    """A connection to a relay that it joins with another one; raises LinkError.

    `place` is where the link to the relay ends, so that both meet the same machine of a name.
    """
    host, port = place
    connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(STREAM_TIMEOUT_S):
            await loop.sock_connect(connection, (host, port))
            await loop.sock_sendall(connection, stream_prefix(ticket))
        tcp.keep_alive(connection)
    except (OSError, TimeoutError) as error:  # TimeoutError is an OSError; said for the reader
        connection.close()
        raise LinkError(f"The relay at {host} port {port} takes no stream: {error}.") from error
    except BaseException:
        connection.close()
        raise
    return connection
