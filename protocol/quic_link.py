"""Links over QUIC: frames on streams, and the one UDP socket that all of them share.

Control frames go on one bidirectional stream, bulk frames round robin on a few unidirectional
ones; each stream is cut into frames by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from crypto.link_auth import link_binding
from protocol import udp
from protocol.datagrams import RelayedAddress
from protocol.errors import ErrorCode, LinkError, ProtocolError, Unexpected
from protocol.half_open import HalfOpen
from protocol.link import (
    SEND_LOW_WATER_BYTES,
    Link,
    LinkKind,
)
from protocol.quic import (
    BULK_STREAMS,
    CONTROL_STREAM,
    Connection,
    client_configuration,
)
from protocol.quic_door import Door, destination_id, read_initial
from protocol.quic_packets import CONNECTION_ID_SIZE
from protocol.udp import SocketAddress, UdpEndpoint
from protocol.wire import FrameReader, frame

DIAL_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 1.0
KEEPALIVE_S: Final = 15.0
"""Many routers forget a UDP flow after 30 seconds."""


TIMER_SLACK_S: Final = 0.001
"""uvloop's timers are in whole milliseconds and may be early by half of one."""


class QuicLink(Link):
    """One QUIC connection as a link; it hears its connection and drives its timer."""

    def __init__(
        self,
        endpoint: QuicEndpoint,
        connection: Connection,
        is_client: bool,
        binding: bytes,
        address: SocketAddress,
        on_established: Callable[[QuicLink], None],
    ) -> None:
        super().__init__(LinkKind.QUIC, is_client, binding, (address[0], address[1]))
        if isinstance(address, RelayedAddress):
            self.is_relayed, self.relay_path = True, address
        self.connection = connection
        self._endpoint = endpoint
        self._on_established = on_established
        self._loop = asyncio.get_running_loop()
        self._readers: dict[int, FrameReader] = {}
        self._held: deque[tuple[int, bytes]] = deque()
        self._held_bytes = 0
        self._cutter: Iterator[tuple[int, bytes]] = iter(())
        self._fed_bytes = 0
        first = 2 if is_client else 3
        self._bulk_streams = [first + 4 * index for index in range(BULK_STREAMS)]
        self._next_bulk = 0
        self._flush_handle: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._keepalive = self._loop.call_later(KEEPALIVE_S, self._keep_alive)
        self._terminated = self._loop.create_future()
        self._is_terminated = False

    @property
    def round_trip_s(self) -> float | None:
        """As smoothed by QUIC, from its acknowledgements."""
        return self.connection.round_trip_s

    # Sending

    def send(self, number: int, parts: Sequence[bytes | memoryview], *, bulk: bool = False) -> None:
        """Queues one frame; frames sent in one turn of the loop leave together."""
        if self._is_ended:
            return
        stream_id = CONTROL_STREAM
        if bulk:
            stream_id = self._bulk_streams[self._next_bulk]
            self._next_bulk = (self._next_bulk + 1) % BULK_STREAMS
        self.connection.send_stream_data(stream_id, b"".join(frame(number, parts)))
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flush_handle is None:
            self._flush_handle = self._loop.call_soon(self._flush)

    def _flush(self, now: float | None = None) -> None:
        """Sends what may be sent now, and sets the timer."""
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        if self._is_terminated:
            return
        if now is None:
            now = self._loop.time()
        for datagrams, address in self.connection.take_datagrams(now):
            self.sent_bytes += sum(map(len, datagrams))
            self._endpoint.udp.send(datagrams, address)
        self.connection.dispatch(self)
        self._set_timer()
        if self._drainers and self._queued_bytes() <= SEND_LOW_WATER_BYTES:
            self._drained()

    def _queued_bytes(self) -> int:
        unsent = self.connection.unsent_bytes
        return unsent(CONTROL_STREAM) + sum(map(unsent, self._bulk_streams))

    def _set_timer(self) -> None:
        """A timer that is too early only looks and sets itself again: cheaper than moving it."""
        if self._is_terminated:
            return
        at = self.connection.get_timer()
        if self._timer is not None:
            if at is not None and self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer = None
        if at is not None:
            self._timer, self._timer_at = self._loop.call_at(at, self._on_timer), at

    def _on_timer(self) -> None:
        self._timer = None
        at = self.connection.get_timer()
        now = self._loop.time()
        if at is None or at > now + TIMER_SLACK_S:
            self._set_timer()
            return
        now = max(now, at)
        self.connection.handle_timer(now)
        self.connection.dispatch(self)
        self._flush(now)

    def _keep_alive(self) -> None:
        self._keepalive = self._loop.call_later(KEEPALIVE_S, self._keep_alive)
        self.connection.send_ping(0)
        self._flush_soon()

    # Receiving

    def receive_datagrams(self, datagrams: list[bytes], address: SocketAddress) -> None:
        """What came in for this connection in one go."""
        self.received_bytes += sum(map(len, datagrams))
        self.connection.receive(datagrams, address, self._loop.time())
        self.connection.dispatch(self)
        self._flush()

    def established(self) -> None:
        """TLS is done: the binding is known now."""
        if self.is_client:
            self.binding = link_binding(self.connection.peer_certificate)
        self._on_established(self)

    def stream_data(self, stream_id: int, data: bytes) -> None:
        """The next bytes of a stream."""
        if self._is_ended:
            self._fed_bytes += len(data)
            return
        self._held.append((stream_id, data))
        self._held_bytes += len(data)
        if not self._is_early:
            self._cut_all()
        elif self._receiver is not None and not self._unread:
            self._pull()

    def _cut_all(self) -> None:
        self._cut(one=False)

    def _pull(self) -> None:
        if self._is_early:
            self._cut(one=True)

    def _cut(self, *, one: bool) -> None:
        """Delivers frames of what was received: the next one, or all."""
        try:
            while True:
                for number, payload in self._cutter:
                    self._deliver(number, payload)
                    if one:
                        return
                if not self._held:
                    break
                stream_id, data = self._held.popleft()
                self._held_bytes -= len(data)
                self._fed_bytes += len(data)
                self._cutter = self._reader(stream_id).feed(data)
        except ProtocolError as error:
            self._fail(error)
        finally:
            self._count_consumed()

    def _reader(self, stream_id: int) -> FrameReader:
        reader = self._readers.get(stream_id)
        if reader is None:
            if self._is_early and stream_id != CONTROL_STREAM:
                raise Unexpected("bulk before authentication")
            reader = self._readers[stream_id] = FrameReader(self._frame_length_max)
        return reader

    def set_frame_limit(self, length_max: int) -> None:
        """The longest frame accepted; a link that may carry long ones gets the full window."""
        super().set_frame_limit(length_max)
        for reader in self._readers.values():
            reader.length_max = length_max
        if not self._is_early:
            self.connection.admit()
            self._cut_all()
            self._flush_soon()

    def _unread_changed(self) -> None:
        self._count_consumed()
        if self.connection.has_window_to_give() and not self._is_terminated:
            self._flush_soon()

    def _count_consumed(self) -> None:
        """The window follows what was read: unread frames and data on its way share it."""
        consumed = self._fed_bytes - max(0, self._unread_bytes)
        self.connection.consumed_bytes = max(self.connection.consumed_bytes, consumed)

    # Ending

    async def close(self, code: int = ErrorCode.NONE) -> None:
        """Waits a second at most until all is acknowledged, then closes with the code."""
        self._end()
        if not self._is_terminated:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    while self._unacknowledged():
                        await asyncio.wait([self._terminated], timeout=0.01)
        self.abort(code)

    def _unacknowledged(self) -> bool:
        streams = (CONTROL_STREAM, *self._bulk_streams)
        return not self._is_terminated and any(map(self.connection.unacknowledged_bytes, streams))

    def abort(self, code: int = ErrorCode.NONE) -> None:
        """Closes at once; the other side learns the code."""
        self._end()
        if self._is_terminated:
            return
        self.connection.close(error_code=code)
        self._flush()
        self.terminated(None)  # the engine would not repeat a goodbye that was lost

    def terminated(self, code: int | None) -> None:
        """The connection is over and needs nothing more."""
        if self._is_terminated:
            return
        self._is_terminated = True
        self.close_code = code
        if self._timer is not None:
            self._timer.cancel()
        self._keepalive.cancel()
        self._end()
        self._endpoint.forget(self)
        if not self._terminated.done():
            self._terminated.set_result(None)

    def connection_id_issued(self, connection_id: bytes) -> None:
        """Datagrams may come in under this id."""
        self._endpoint.links[connection_id] = self

    def connection_id_retired(self, connection_id: bytes) -> None:
        """No more datagrams under this id."""
        self._endpoint.links.pop(connection_id, None)


class QuicEndpoint:
    """All QUIC links of one UDP socket, as server (with a door) and as client."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        door: Door | None = None,
        half_open: HalfOpen | None = None,
        on_half_open: Callable[[QuicLink], None] | None = None,
        on_link: Callable[[QuicLink], None] | None = None,
    ) -> None:
        self.udp = UdpEndpoint(sock, self._on_datagrams)
        self.links: dict[bytes, QuicLink] = {}
        self._door = door
        self._half_open = HalfOpen() if half_open is None else half_open
        self._on_half_open = on_half_open
        self._on_link = on_link
        self.is_for_one_link = door is None
        """Whether the socket was made for one dial, and goes with its link."""
        self._loop = asyncio.get_running_loop()
        if door is not None:
            self._binding = link_binding(door.binding_certificate)

    def close(self) -> None:
        """Closes the socket and every link on it, each with a last word."""
        self._door = None
        for link in set(self.links.values()):
            link.abort()
        self.links.clear()
        self.udp.close()

    def forget(self, link: QuicLink) -> None:
        """Drops the ids of a link that is over."""
        for connection_id in [key for key, value in self.links.items() if value is link]:
            del self.links[connection_id]
        if self.is_for_one_link and not self.links:
            self.udp.close()

    async def dial(self, address: SocketAddress) -> QuicLink:
        """Connects within five seconds; raises LinkError."""
        established: asyncio.Future[QuicLink] = self._loop.create_future()

        def resolve(link: QuicLink) -> None:
            if not established.done():
                established.set_result(link)

        connection = Connection(client_configuration())
        link = QuicLink(self, connection, True, b"", address, resolve)
        self.links[connection.host_cid] = link
        connection.connect(address, self._loop.time())
        link._flush()
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                await asyncio.wait(
                    [established, link._terminated], return_when=asyncio.FIRST_COMPLETED
                )
        except TimeoutError:
            pass
        except BaseException:
            link.abort()  # cancelled, perhaps at the very moment that it was established
            raise
        if not established.done():
            link.abort()
            raise LinkError(f"No QUIC link to {address[0]} port {address[1]}.")
        return link

    def _on_datagrams(self, datagrams: list[bytes], address: SocketAddress) -> None:
        """Gives each run of datagrams to the link that its connection id names."""
        run: list[bytes] = []
        run_id: bytes | None = None
        for datagram in datagrams:
            connection_id = destination_id(datagram)
            if connection_id != run_id:
                self._give(run_id, run, address)
                run, run_id = [], connection_id
            run.append(datagram)
        self._give(run_id, run, address)

    def _give(self, connection_id: bytes | None, run: list[bytes], address: SocketAddress) -> None:
        if not run or connection_id is None:
            return
        link = self.links.get(connection_id)
        if link is None:
            link = self._accept(run[0], address)
        if link is not None:
            link.receive_datagrams(run, address)

    def _accept(self, datagram: bytes, address: SocketAddress) -> QuicLink | None:
        """A new connection, if there is a place for one; or a stateless answer, or nothing."""
        door, now = self._door, self._loop.time()
        initial = read_initial(datagram) if door is not None else None
        if door is None or initial is None:
            return None
        host = address[0]
        if (answer := door.negotiate(initial)) is not None:
            self.udp.send([answer], address)
            return None
        if not initial.token and self._half_open.must_validate(host):
            new_id = os.urandom(CONNECTION_ID_SIZE)
            self.udp.send([door.retry(initial, address, new_id, now)], address)
            return None
        connection = door.accept(initial, address, now)
        if connection is None or not self._half_open.enter(host):
            return None
        link = QuicLink(self, connection, False, self._binding, address, self._established)
        link.on_admit = lambda: self._half_open.leave(host)
        if self._on_half_open is not None:
            self._on_half_open(link)
        self.links[initial.destination_id] = link
        self.links[connection.host_cid] = link
        return link

    def _established(self, link: QuicLink) -> None:
        if self._on_link is not None and not link.is_closed:
            self._on_link(link)


def bind_for(address: SocketAddress) -> socket.socket:
    """A socket of the address's family on any port; raises LinkError."""
    try:
        return udp.bind("::" if ":" in address[0] else "0.0.0.0", 0)  # noqa: S104
    except OSError as error:
        raise LinkError(f"No UDP socket: {error}.") from error
