"""The server of HTTP/3: one UDP socket, the connections on it, and their requests as ASGI has them.

hypercorn, which does HTTP/1.1 and 2, takes the whole of each answer of HTTP/3 into memory at once,
as many connections as there come, and ends all of them for what one visitor breaks. Here a visitor
who does not read is waited for, and no more is kept for it than these numbers say.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

from protocol.quic_door import QuicDoor, destination_id, read_initial
from protocol.quic_link import TIMER_SLACK_S
from protocol.quic_packets import CONNECTION_ID_SIZE
from protocol.udp import SocketAddress, UdpEndpoint
from relay.doorway import Doorway, Place
from relay.http3_connection import (
    IDLE_TIMEOUT_S,
    NARROW_BYTES,
    WIDE_BYTES,
    Asked,
    BodyCame,
    BodyEnded,
    BrokenOff,
    Ended,
    Event,
    Http3Connection,
    IdIssued,
    IdRetired,
)
from relay.origins import origin_of
from relay.web_answers import BrokenOff as AnswerBrokenOff

log = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 256
CONNECTIONS_PER_ADDRESS_MAX: Final = 32
"""A browser has one; who gets none takes HTTP/2."""
VALIDATE_FROM: Final = 32
"""With so many connections, who comes has to show first that it receives at its address."""
WIDE_MAX: Final = 64
"""How many connections at once may have WIDE_BYTES on their way, each way; others NARROW_BYTES."""
SLICE_BYTES: Final = 64 << 10
"""What is handed to the engine at once."""
GATHER_S: Final = 0.001
"""What comes from who is sent much is taken after so long, by the dozen: each acknowledgement alone
would cost as much as sealing what it makes room for.
"""
GATHERED_MAX: Final = 64
STALL_S: Final = 60.0
"""The rest of an answer that does not arrive for so long is not waited for."""


class Http3Server:
    """All visitors by HTTP/3 of one socket; `run` ends when it is cancelled."""

    def __init__(self, app: ASGIApp, door: QuicDoor[Http3Connection]) -> None:
        self.app = app
        self.visits: dict[bytes, Visit] = {}
        self.wide = 0
        self.doorway = Doorway(CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX)
        self._door = door

    async def run(self, udp: socket.socket) -> None:
        """Answers on this socket, which it closes at the end."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            self.tasks, self.server = tasks, udp.getsockname()[:2]
            self.udp = UdpEndpoint(udp, self._on_datagrams)
            try:
                await loop.create_future()
            finally:
                for visit in set(self.visits.values()):
                    visit.end()
                self.udp.close()

    def _on_datagrams(self, datagrams: list[bytes], address: SocketAddress) -> None:
        run: dict[Visit, list[bytes]] = {}
        for datagram in datagrams:
            visit = self.visits.get(destination_id(datagram)) or self._accept(datagram, address)
            if visit is not None:
                run.setdefault(visit, []).append(datagram)
        for visit, own in run.items():
            visit.receive(own, address)

    def _accept(self, datagram: bytes, address: SocketAddress) -> Visit | None:
        """A new connection, if there is a place for one; or an answer without one, or nothing."""
        initial, now = read_initial(datagram), asyncio.get_running_loop().time()
        if initial is None:
            return None
        if (answer := self._door.negotiate(initial)) is not None:
            self.udp.send([answer], address)
            return None
        if not initial.token and len(self.doorway) >= VALIDATE_FROM:
            new_id = os.urandom(CONNECTION_ID_SIZE)
            self.udp.send([self._door.retry(initial, address, new_id, now)], address)
            return None
        connection = self._door.accept(initial, address, now)
        place = None if connection is None else self.doorway.enter(origin_of(address[0]))
        if connection is None or place is None:
            return None
        visit = Visit(self, connection, place, (address[0], address[1]))
        place.evict = visit.end
        self.visits[initial.destination_id] = self.visits[connection.host_cid] = visit
        return visit


class Visit:
    """One connection at work."""

    def __init__(
        self, server: Http3Server, connection: Http3Connection, place: Place, client: Any
    ) -> None:
        self.connection, self.client = connection, client
        self.server = server
        self.requests: dict[int, Request] = {}
        self.progress = asyncio.Event()
        """Set for a moment whenever something came in: acknowledgements among it."""
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._came: list[bytes] = []
        self._came_from: SocketAddress | None = None
        self._take_soon: asyncio.TimerHandle | None = None
        self._flush_soon: asyncio.Handle | None = None
        self._moved_bytes = 0
        self._is_wide = self._is_over = False
        self._wait_for_requests()

    # What comes in

    def receive(self, datagrams: list[bytes], address: SocketAddress) -> None:
        """Takes what came for this connection; while much is on its way out, a few at once."""
        if address != self._came_from:
            self._take_what_came()
            self._came_from = address
        self._came += datagrams
        if len(self._came) >= GATHERED_MAX:
            self._take_what_came()
        elif self._take_soon is None:
            is_giving = self._is_wide and self.connection.unsent_bytes() > NARROW_BYTES
            self._take_soon = self._loop.call_later(
                GATHER_S if is_giving else 0.0, self._take_what_came
            )

    def _take_what_came(self) -> None:
        if self._take_soon is not None:
            self._take_soon.cancel()
            self._take_soon = None
        came, self._came = self._came, []
        address = self._came_from
        if not came or self._is_over:
            return
        assert address is not None

        def take() -> None:
            self.connection.receive(came, address, self._loop.time())
            self._hear()
            self.flush_soon()

        self._safely(take)

    def _safely(self, act: Callable[[], None]) -> None:
        """What breaks in the engine ends this connection and no other."""
        try:
            act()
        except Exception as error:  # noqa: BLE001 - the door to a library
            log.warning("a connection of HTTP/3 is ended: %s", type(error).__name__)
            self._over()

    def _hear(self) -> None:
        for event in self.connection.take_events():
            self._take(event)
        self.progress.set()
        self.progress.clear()

    def _take(self, event: Event) -> None:
        match event:
            case Asked(stream_id, headers):
                request = Request(self, stream_id, dict(headers).get(b":method") == b"HEAD")
                scope = request.scope(list(headers))
                if scope is None or self._is_over:
                    self.connection.break_off(stream_id)
                    self.connection.forget(stream_id)
                    return
                self.requests[stream_id] = request
                self._wait_for_requests()
                self.server.tasks.create_task(request.run(scope))
            case BodyCame(stream_id, data):
                if (request := self.requests.get(stream_id)) is not None:  # type: ignore[assignment]
                    self.connection.unread_bytes += len(data)
                    request.body_came(data)
            case BodyEnded(stream_id):
                if (request := self.requests.get(stream_id)) is not None:  # type: ignore[assignment]
                    request.body_ended()
            case BrokenOff(stream_id):
                if (request := self.requests.get(stream_id)) is not None:  # type: ignore[assignment]
                    request.break_off()
            case IdIssued(connection_id):
                self.server.visits[connection_id] = self
            case IdRetired(connection_id):
                self.server.visits.pop(connection_id, None)
            case Ended():
                self._over()

    # What goes out

    @property
    def has_room(self) -> bool:
        """Whether more of answers may be kept here until it has arrived."""
        return self.connection.unsent_bytes() < (WIDE_BYTES if self._is_wide else NARROW_BYTES)

    def moved(self, count: int) -> None:
        """So many bytes were read, or given: to whom they arrive, more may be on its way."""
        self._moved_bytes += count
        arrived = self._moved_bytes - self.connection.unsent_bytes()
        if not self._is_wide and arrived > NARROW_BYTES and self.server.wide < WIDE_MAX:
            self._is_wide = True
            self.server.wide += 1
            self.connection.window = WIDE_BYTES

    def flush_soon(self) -> None:
        """Sends what may be sent, once those who are to run now have said all that they say."""
        if self._flush_soon is None and not self._is_over:
            self._flush_soon = self._loop.call_soon(self._safely, self.flush)

    def flush(self) -> None:
        """Sends what may be sent now, and sees to the time at which something is due."""
        if self._flush_soon is not None:
            self._flush_soon.cancel()
            self._flush_soon = None
        if self._is_over:
            return
        for datagrams, address in self.connection.take_datagrams(self._loop.time()):
            self.server.udp.send(datagrams, address)
        self._set_timer()

    def _set_timer(self) -> None:
        """A timer that is too early only looks and sets itself again: cheaper than moving it."""
        due = self.connection.get_timer()
        if self._timer is not None:
            if due is not None and self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = None if due is None else self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._is_over:
            return
        due, now = self.connection.get_timer(), self._loop.time()
        if due is None or due > now + TIMER_SLACK_S:
            self._set_timer()
            return

        def take() -> None:
            self.connection.handle_timer(max(due, now))
            self._hear()
            self.flush_soon()

        self._safely(take)

    # Ends

    def answered(self, request: Request) -> None:
        """A request is over."""
        if self.requests.pop(request.stream_id, None) is not None and not self._is_over:
            self.connection.forget(request.stream_id)
            self._wait_for_requests()
            self.flush_soon()

    def end(self) -> None:
        """Closes the connection, with a last word."""
        if self._is_over:
            return
        self.connection.close()
        self._safely(self.flush)
        self._over()

    def _over(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self.server.doorway.leave(self._place)
        self.server.wide -= self._is_wide
        for handle in (self._timer, self._idle, self._take_soon, self._flush_soon):
            if handle is not None:
                handle.cancel()
        visits = self.server.visits
        for connection_id in [each for each, visit in visits.items() if visit is self]:
            del visits[connection_id]
        for request in self.requests.values():
            request.break_off()

    def _wait_for_requests(self) -> None:
        """Without any request a connection has so long."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if not self.requests:
            self._idle = self._loop.call_later(IDLE_TIMEOUT_S, self.end)


class Request:
    """One request, and its answer on the way."""

    def __init__(self, visit: Visit, stream_id: int, is_head: bool) -> None:
        self.stream_id = stream_id
        self._visit, self._connection = visit, visit.connection
        self._body = bytearray()
        self._is_whole = self._is_broken = False
        self._is_told = False
        self._came = asyncio.Event()
        self._is_head = is_head

    def scope(self, fields: list[tuple[bytes, bytes]]) -> dict[str, Any] | None:
        """What ASGI says of it; None if it makes no sense."""
        pseudo = {name: value for name, value in fields if name.startswith(b":")}
        headers = [(name, value) for name, value in fields if not name.startswith(b":")]
        if b":authority" in pseudo:
            headers.insert(0, (b"host", pseudo[b":authority"]))
        raw_path, _, query = pseudo.get(b":path", b"").partition(b"?")
        if not raw_path.startswith(b"/") or not (raw_path + pseudo[b":method"]).isascii():
            return None
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "3",
            "method": pseudo[b":method"].decode().upper(),
            "scheme": "https",
            "path": unquote(raw_path.decode()),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": self._visit.client,
            "server": self._visit.server.server,
        }

    async def run(self, scope: dict[str, Any]) -> None:
        """Lets the application answer."""
        try:
            await self._visit.server.app(scope, self._receive, self._send)
            await self._arrived()
        except (AnswerBrokenOff, ConnectionError, TimeoutError):
            pass
        except Exception:
            log.exception("a request by HTTP/3 was not answered")
        finally:
            if not self._is_broken and not self._connection.is_delivered(self.stream_id):
                self._connection.break_off(self.stream_id)
            self._take_body()
            self._visit.answered(self)

    def body_came(self, data: bytes) -> None:
        """Some of the body is here."""
        self._body += data
        self._came.set()

    def body_ended(self) -> None:
        """All of it is here."""
        self._is_whole = True
        self._came.set()

    def break_off(self) -> None:
        """The visitor wants no answer."""
        self._is_broken = True
        self._came.set()
        self._visit.progress.set()
        self._visit.progress.clear()

    def _take_body(self) -> bytes:
        body = bytes(self._body)
        self._body.clear()
        self._connection.unread_bytes -= len(body)
        return body

    async def _receive(self) -> Message:
        while not (self._body or self._is_whole or self._is_broken):
            self._came.clear()
            await self._came.wait()
        if self._is_broken:
            return {"type": "http.disconnect"}
        if self._is_told:  # there is nothing more to come but the end of the visit
            while not self._is_broken:
                self._came.clear()
                await self._came.wait()
            return {"type": "http.disconnect"}
        self._is_told = self._is_whole
        body = self._take_body()
        self._visit.moved(len(body))
        if self._connection.has_window_to_give():
            self._visit.flush_soon()
        return {"type": "http.request", "body": body, "more_body": not self._is_whole}

    async def _send(self, message: Message) -> None:
        if self._is_broken:
            raise ConnectionResetError
        if message["type"] == "http.response.start":
            status = b"%d" % message["status"]
            date = (b"date", formatdate(usegmt=True).encode())
            headers = [(name.lower(), value) for name, value in message["headers"]]
            self._connection.answer(self.stream_id, [(b":status", status), *headers, date])
            return
        body = b"" if self._is_head else message.get("body", b"")
        for at in range(0, len(body), SLICE_BYTES):
            await self._wait_for_room()
            part = body[at : at + SLICE_BYTES]
            self._connection.send(self.stream_id, bytes(part), is_last=False)
            self._visit.moved(len(part))
            self._visit.flush_soon()
        if not message.get("more_body", False):
            self._connection.send(self.stream_id, b"", is_last=True)
            self._visit.flush_soon()

    async def _wait_for_room(self) -> None:
        while not self._visit.has_room:
            await self._visit.progress.wait()
            if self._is_broken:
                raise ConnectionResetError

    async def _arrived(self) -> None:
        """Waits for the rest of the answer, which takes room until then."""
        async with asyncio.timeout(STALL_S):
            while not self._is_broken and not self._connection.is_delivered(self.stream_id):
                await self._visit.progress.wait()
