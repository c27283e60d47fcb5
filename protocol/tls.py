"""Links over TLS 1.3 and TCP: the fastest on a LAN, and a way where UDP is blocked.

No tickets, no resumption, no early data, no client certificate: TLS gives secrecy and names the
server's certificate, the handshake of `handshake.py` gives everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import Any, Final, cast

from crypto.link_auth import link_binding
from protocol import tcp
from protocol.certificates import ALPN, LinkCertificate
from protocol.errors import ErrorCode, LinkError, ProtocolError, TimedOut, TooLong, reason_of
from protocol.link import (
    SEND_HIGH_WATER_BYTES,
    SEND_LOW_WATER_BYTES,
    UNREAD_BYTES_MAX,
    Link,
    LinkKind,
)
from protocol.wire import FRAME_HEADER, frame

HANDSHAKE_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 1.0
EARLY_BUFFER_BYTES: Final = 17 << 10
"""Receive buffer of a link whose frames are short: room for the longest of them. Such a link has
one of its own only while something is in it, for a relay holds thousands that say nothing."""
BUFFER_BYTES: Final = 512 << 10
"""Receive buffer of an admitted link; measured: 256 KiB 8 % less, 1 MiB no more."""
DIRECT_BYTES: Final = 32 << 10
"""A frame longer than this that is not complete yet is received into a buffer of its own."""
GATHER_BYTES: Final = 16 << 10
"""Shorter parts are joined with their neighbours into one write; a TLS record is 16 KiB."""
FLUSH_BYTES: Final = 256 << 10
"""Queued frames are written at once when they are this much, else when the loop comes round."""
NO_BUFFER: Final = memoryview(b"")
_shared = threading.local()
"""The buffer that links with nothing in theirs are lent: TLS asks for one, fills it and says so in
one go, and asks often when there is nothing to fill in."""
RECORD_BYTES: Final = 16 << 10
RECORD_OVERHEAD_BYTES: Final = 22
"""Header, content type and tag of one TLS 1.3 record."""


def server_context(certificate: LinkCertificate) -> ssl.SSLContext:
    """TLS 1.3 only, no tickets, our ALPN; the key never stays in a file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    context.num_tickets = 0
    with _as_file(certificate.to_pem()) as path:
        context.load_cert_chain(path)
    return context


def client_context() -> ssl.SSLContext:
    """TLS 1.3 only; any certificate will do, because the handshake signs the one that was met."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path for `ssl`: memory on Linux, elsewhere a file of mode 0600 that is gone right after."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("link", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        descriptor, path = tempfile.mkstemp()
        try:
            os.write(descriptor, content)
            yield path
        finally:
            os.close(descriptor)
            os.unlink(path)


class TlsLink(Link, asyncio.BufferedProtocol):
    """One TLS connection. Large frames are received straight into their own buffer."""

    def __init__(
        self, is_client: bool, binding: bytes, on_link: Callable[[TlsLink], None] | None = None
    ) -> None:
        super().__init__(LinkKind.TLS, is_client, binding, ("", 0))
        self._on_link = on_link
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._is_reading = True
        self._is_writable = True
        self._buffer = NO_BUFFER
        self._start = self._stop = 0
        self._large: BytesIO | None = None
        self._large_view = NO_BUFFER
        self._large_number = self._large_filled = 0
        self._out: list[bytes | memoryview] = []
        self._out_bytes = 0
        self._flush_handle: asyncio.Handle | None = None
        self._patience = tcp.Patience()
        self._look_handle: asyncio.Handle | None = None
        self._closed = self._loop.create_future()

    # Sending

    def send(self, number: int, parts: Sequence[bytes | memoryview], *, bulk: bool = False) -> None:
        """Queues one frame; frames sent in one turn of the loop leave together."""
        if self._is_ended:
            return
        buffers = frame(number, parts)
        self._out += buffers
        self._out_bytes += sum(map(len, buffers))
        if self._out_bytes >= FLUSH_BYTES:
            self._flush()
        elif self._flush_handle is None:
            self._flush_handle = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        if not self._out or self._transport is None:
            return
        records = -(-self._out_bytes // RECORD_BYTES)
        self.sent_bytes += self._out_bytes + records * RECORD_OVERHEAD_BYTES
        gathered = _gather(self._out)
        self._out = []
        self._out_bytes = 0
        if not self._transport.is_closing():
            self._transport.writelines(gathered)
            if self._look_handle is None:
                self._look_handle = self._loop.call_later(tcp.LOOK_INTERVAL_S, self._look)

    def _look(self) -> None:
        """Gives the link up if what was sent is not even acknowledged."""
        self._look_handle = None
        if self._is_ended or self._transport is None:
            return
        try:
            unanswered = tcp.unanswered_s(self._transport.get_extra_info("socket"))
        except OSError:  # it is being closed
            return
        if self._patience.is_at_end(unanswered, self._loop.time()):
            self._fail(TimedOut("nothing that is sent is acknowledged"))
        elif unanswered is not None:
            self._look_handle = self._loop.call_later(tcp.LOOK_INTERVAL_S, self._look)

    def _queued_bytes(self) -> int:
        # The transport's marks decide: not writable from its high one down to its low one.
        return self._out_bytes + (0 if self._is_writable else SEND_HIGH_WATER_BYTES + 1)

    def pause_writing(self) -> None:
        """The transport's queue is above the high-water mark."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """The transport's queue is below the low-water mark."""
        self._is_writable = True
        self._drained()

    # Receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is up: the binding is known now."""
        transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport = transport
        transport.set_write_buffer_limits(SEND_HIGH_WATER_BYTES, SEND_LOW_WATER_BYTES)
        peer = transport.get_extra_info("peername")
        self.peer_address = (peer[0], peer[1]) if peer else ("", 0)
        tcp.prepare(transport.get_extra_info("socket"))
        if self.is_client:
            tls = transport.get_extra_info("ssl_object")
            self.binding = link_binding(tls.getpeercert(True))
        if self._is_ended:
            transport.abort()  # given up while TLS was still shaking hands
        elif self._on_link is not None:
            self._on_link(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: into the large frame under way, or behind what is not cut."""
        if self._large is not None:
            return self._large_view[self._large_filled :]
        if not self._buffer:
            return _shared_buffer()
        return self._buffer[self._stop :]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come in."""
        self.received_bytes += nbytes + -(-nbytes // RECORD_BYTES) * RECORD_OVERHEAD_BYTES
        if self._is_ended:
            return
        if self._large is None:
            is_lent = not self._buffer
            if is_lent:
                self._buffer = _shared_buffer()
            self._stop += nbytes
            self._cut_all()
            if is_lent and self._buffer:  # what is left has to stay
                self._buffer = memoryview(bytearray(self._buffer))
        else:
            self._large_filled += nbytes
            if self._large_filled == len(self._large_view):
                self._large_view.release()
                # What was filled in place is handed out as it is: CPython copies nothing here.
                payload, self._large = self._large.getvalue(), None
                self._deliver(self._large_number, payload)
        self._pace_reading()

    def _cut_all(self) -> None:
        try:
            self._cut()
        except ProtocolError as error:
            self._fail(error)

    def _cut(self) -> None:
        """Delivers the buffer's whole frames (early: one at a time), and makes room for more."""
        buffer, start, stop = self._buffer, self._start, self._stop
        header_size = FRAME_HEADER.size
        while stop - start >= header_size and not (self._is_early and self._unread):
            length, number = FRAME_HEADER.unpack_from(buffer, start)
            if length > self._frame_length_max:
                raise TooLong(f"a frame of {length} bytes")
            end = start + header_size + length
            if end <= stop:
                self._deliver(number, bytes(buffer[start + header_size : end]))
                start = end
            elif length > DIRECT_BYTES:
                self._large = BytesIO(bytes(length))
                self._large_view = self._large.getbuffer()
                filled = stop - start - header_size
                self._large_view[:filled] = buffer[start + header_size : stop]
                self._large_number, self._large_filled = number, filled
                start = stop
            else:
                break
        if start == stop:
            start = stop = 0
            if self._is_early:
                self._buffer = NO_BUFFER
        elif start:
            buffer[: stop - start] = bytes(buffer[start:stop])
            start, stop = 0, stop - start
        self._start, self._stop = start, stop

    def set_frame_limit(self, length_max: int) -> None:
        """The longest frame accepted; a link that may carry long ones gets a larger buffer."""
        super().set_frame_limit(length_max)
        if self._is_early:
            return
        if len(self._buffer) < BUFFER_BYTES:
            buffer = memoryview(bytearray(BUFFER_BYTES))
            buffer[: self._stop] = self._buffer[: self._stop]
            self._buffer = buffer
        self._cut_all()
        self._pace_reading()

    def _pull(self) -> None:
        if self._is_early:
            self._cut_all()
            self._pace_reading()

    def _unread_changed(self) -> None:
        if not self._is_reading:
            self._pace_reading()

    def _pace_reading(self) -> None:
        """Reads while what is unread is little; early, while nothing is."""
        if self._is_early:
            is_reading = not self._unread
        else:
            limit = UNREAD_BYTES_MAX if self._is_reading else UNREAD_BYTES_MAX // 2
            is_reading = self._unread_bytes <= limit
        if is_reading is self._is_reading or self._is_ended or self._transport is None:
            return
        self._is_reading = is_reading
        if is_reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    # Ending

    def keep_alive(self) -> None:
        """Notices within ten seconds that nobody is there, also while nothing is said."""
        assert self._transport is not None
        with contextlib.suppress(OSError):  # it is being closed
            tcp.keep_alive(self._transport.get_extra_info("socket"))

    async def close(self, code: int = ErrorCode.NONE) -> None:
        """Sends what is queued, says goodbye, and waits for that a second at most."""
        self._flush()
        self._end()
        transport = self._transport
        if transport is None:
            return
        if not self._is_reading:
            self._is_reading = True
            transport.resume_reading()  # else the other side's goodbye is never read
        transport.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await asyncio.shield(self._closed)
        transport.abort()

    def abort(self, code: int = ErrorCode.NONE) -> None:
        """Cuts the connection; TLS carries no code."""
        self._end()
        if self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> bool:
        """The other side is done; half-closed links are of no use to us."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: the end of the link, whatever the reason."""
        self._end()
        if self._look_handle is not None:
            self._look_handle.cancel()
            self._look_handle = None
        if not self._closed.done():
            self._closed.set_result(None)
        # Who is in cycles waits for the collector, which comes after so many objects and not after
        # so many bytes: a transport has 300 KB of buffers and of OpenSSL's.
        self._transport = None
        self._out, self._large, self._large_view = [], None, NO_BUFFER
        if not self._is_early:  # what is complete has been cut
            self._buffer, self._start, self._stop = NO_BUFFER, 0, 0


def _shared_buffer() -> memoryview:
    buffer: memoryview | None = getattr(_shared, "buffer", None)
    if buffer is None:
        buffer = _shared.buffer = memoryview(bytearray(EARLY_BUFFER_BYTES))
    return buffer


def _gather(buffers: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """Joins runs of short buffers; leaves long ones as they are, to copy nothing twice."""
    gathered: list[bytes | memoryview] = []
    run: list[bytes | memoryview] = []
    for buffer in buffers:
        if len(buffer) < GATHER_BYTES:
            run.append(buffer)
            continue
        if run:
            gathered.append(b"".join(run))
            run = []
        gathered.append(buffer)
    if run:
        gathered.append(b"".join(run))
    return gathered


async def dial(host: str, port: int) -> TlsLink:
    """Connects within five seconds; raises LinkError."""
    return await _connect(f"{host} port {port}", host=host, port=port)


async def dial_over(connection: socket.socket) -> TlsLink:
    """The client's side of TLS on a connection that a relay joins with another device's; it is
    the link's from now on. Raises LinkError.
    """
    try:
        link = await _connect("the other device through the relay", sock=connection)
    except BaseException:
        connection.close()
        raise
    link.is_relayed = True
    return link


async def _connect(whom: str, **where: Any) -> TlsLink:
    loop = asyncio.get_running_loop()
    link = TlsLink(True, b"")
    try:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
            await loop.create_connection(
                lambda: link,
                **where,
                ssl=client_context(),
                server_hostname="",
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                ssl_shutdown_timeout=CLOSE_TIMEOUT_S,
            )
    except BaseException as error:
        link.abort()  # nobody else knows of it, even if it was just made
        if isinstance(error, OSError | TimeoutError | UnicodeError):  # the last: no host's name
            raise LinkError(f"No TLS link to {whom}: {reason_of(error)}.") from error
        raise
    return link


async def accept(connection: socket.socket, context: ssl.SSLContext, link: TlsLink) -> None:
    """Runs the server's side of TLS on an accepted connection; raises LinkError."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: link,
            connection,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            ssl_shutdown_timeout=CLOSE_TIMEOUT_S,
        )
    except OSError as error:
        raise LinkError(f"TLS failed: {reason_of(error)}.") from error
