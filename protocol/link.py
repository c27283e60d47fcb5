"""A link is an encrypted connection that carries frames; both kinds look the same from here.

A fresh link proves nothing about the other side: `links.authenticate_client` and
`authenticate_server`, or pairing, come first. Until `admit` a link is half-open: there are few of
them, for a few seconds. Until `set_frame_limit` allows more, frames are short and each is cut
only when `receive` asks for it, so that what the other side sends behind its last handshake frame
is measured by the limit that this frame brings.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Final

from protocol.datagrams import RelayedAddress
from protocol.errors import ErrorCode, ProtocolError
from protocol.wire import HANDSHAKE_FRAME_LENGTH_MAX

Address = tuple[str, int]
"""Numeric host and port; IPv6 without brackets."""

UNREAD_BYTES_MAX: Final = 4 << 20
"""Reading from the network pauses while more than this waits for `receive`."""
FRAME_OVERHEAD_BYTES: Final = 256
"""What an unread frame counts beside its payload, so that empty frames are not free memory."""
SEND_HIGH_WATER_BYTES: Final = 1 << 20
SEND_LOW_WATER_BYTES: Final = 256 << 10


class LinkKind(IntEnum):
    """How a link travels; signed in the handshake, so that one kind cannot pass for the other."""

    QUIC = 1
    TLS = 2


class Link(ABC):
    """Frames both ways over one encrypted connection; one task at a time may `receive`."""

    def __init__(
        self, kind: LinkKind, is_client: bool, binding: bytes, peer_address: Address
    ) -> None:
        self.kind = kind
        self.is_client = is_client
        self.binding = binding
        """32 bytes that name the server's certificate on both sides (CRYPTO 7, cb)."""
        self.peer_address = peer_address
        """For a relayed link the relay's."""
        self.is_relayed = False
        """Whether a relay carries it; what the two devices prove to each other is the same."""
        self.relay_path: RelayedAddress | None = None
        """For a relayed link: where datagrams for the other device go, if the relay forwards any.
        """
        self.is_passing = False
        """Whether its address is good only now, and says nothing of where the device can be found.
        """
        self.is_mapped = False
        """Whether it goes to a port that a router was asked to open."""
        self.sent_bytes = 0
        self.received_bytes = 0
        """Bytes on the wire, without the headers of IP and TCP or UDP."""
        self.link_id = b""
        """32 bytes that both sides of an authenticated link know it by; empty before that."""
        self.close_code: int | None = None
        """The code that the other side closed with, where the kind of link can carry one."""
        self.on_admit: Callable[[], None] | None = None
        """Set by the listener: gives back what a half-open link holds."""
        self._frame_length_max = HANDSHAKE_FRAME_LENGTH_MAX
        self._unread: deque[tuple[int, bytes]] = deque()
        self._unread_bytes = 0
        self._is_ended = False
        self._error: ProtocolError | None = None
        self._receiver: asyncio.Future[None] | None = None
        self._drainers: list[asyncio.Future[None]] = []

    @property
    def is_closed(self) -> bool:
        """Whether the link has ended, by either side or by an error."""
        return self._is_ended

    @property
    def round_trip_s(self) -> float | None:
        """What the link itself knows of it; None if it does not measure it end to end."""
        return None

    @property
    def unsent_bytes(self) -> int:
        """How much of what was sent has not left yet."""
        return self._queued_bytes()

    @abstractmethod
    def send(self, number: int, parts: Sequence[bytes | memoryview], *, bulk: bool = False) -> None:
        """Queues one frame without blocking; its buffers must not change. Lost if closed."""

    @abstractmethod
    async def close(self, code: int = ErrorCode.NONE) -> None:
        """Closes after what is queued was sent, waiting a second at most for that."""

    @abstractmethod
    def abort(self, code: int = ErrorCode.NONE) -> None:
        """Closes at once, with nothing but the code."""

    @abstractmethod
    def _queued_bytes(self) -> int:
        """How much of what was sent has not left yet."""

    @abstractmethod
    def _unread_changed(self) -> None:
        """Called when `receive` took a frame: reading may go on, windows may grow."""

    @abstractmethod
    def _pull(self) -> None:
        """Called when `receive` finds no frame: delivers what was held back, or goes on reading."""

    @property
    def _is_early(self) -> bool:
        """Whether frames are cut one at a time, on demand."""
        return self._frame_length_max <= HANDSHAKE_FRAME_LENGTH_MAX

    def set_frame_limit(self, length_max: int) -> None:
        """The longest frame accepted from now on: 16 KiB at first, more for a known other side."""
        self._frame_length_max = length_max

    def admit(self) -> None:
        """The other side is known, or a person is being asked: the link is no longer half-open."""
        on_admit, self.on_admit = self.on_admit, None
        if on_admit is not None:
            on_admit()

    async def receive(self) -> tuple[int, bytes] | None:
        """The next frame (number, payload); None at the link's end; raises what the peer broke."""
        while not self._unread:
            self._pull()
            if self._unread:
                break
            if self._error is not None:
                raise self._error
            if self._is_ended:
                return None
            assert self._receiver is None, "two tasks receive from one link"
            self._receiver = asyncio.get_running_loop().create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None
        number, payload = self._unread.popleft()
        self._unread_bytes -= len(payload) + FRAME_OVERHEAD_BYTES
        self._unread_changed()
        return number, payload

    async def drain(self) -> None:
        """Returns at once if less than 1 MiB is queued, else when that has fallen to 256 KiB."""
        if self._is_ended or self._queued_bytes() <= SEND_HIGH_WATER_BYTES:
            return
        drainer = asyncio.get_running_loop().create_future()
        self._drainers.append(drainer)
        try:
            await drainer
        finally:
            self._drainers.remove(drainer)

    def _deliver(self, number: int, payload: bytes) -> None:
        """A frame has come in."""
        self._unread.append((number, payload))
        self._unread_bytes += len(payload) + FRAME_OVERHEAD_BYTES
        self._wake_receiver()

    def _fail(self, error: ProtocolError) -> None:
        """The other side broke the framing: `receive` raises that, after the frames before it."""
        if self._error is None:
            self._error = error
        self.abort(error.code)

    def _drained(self) -> None:
        """The send queue has fallen below its low-water mark."""
        for drainer in self._drainers:
            if not drainer.done():
                drainer.set_result(None)

    def _end(self) -> None:
        """The link is over; what was received before can still be read."""
        if self._is_ended:
            return
        self._is_ended = True
        self.admit()
        self._drained()
        self._wake_receiver()

    def _wake_receiver(self) -> None:
        if self._receiver is not None and not self._receiver.done():
            self._receiver.set_result(None)
