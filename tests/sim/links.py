"""Links between machines of a world: in order and whole as TLS gives them, or with bulk frames on
streams of their own as QUIC does; late, stalled one way or both, and broken in the middle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

from protocol.errors import ErrorCode
from protocol.link import SEND_LOW_WATER_BYTES, Link, LinkKind

DELAYS_S = [0.0, 0.001, 0.001, 0.05, 1.5]


class SimLink(Link):
    """One end; the other end is `peer`."""

    def __init__(self, kind: LinkKind, is_client: bool, name: str, random: Random) -> None:
        super().__init__(kind, is_client, bytes(32), ("192.0.2.1", 22330))
        self.name, self.random = name, random
        self.peer: SimLink = self
        self.is_stalled = False
        """What is sent here does not come through for now."""
        self._queue: list[tuple[int, bytes, bool]] = []
        self._queued = 0
        self._ready_at = {False: 0.0, True: 0.0}
        self._loop = asyncio.get_running_loop()

    def send(self, number: int, parts: Sequence[bytes | memoryview], *, bulk: bool = False) -> None:
        if self.is_closed:
            return
        payload = b"".join(parts)
        self.sent_bytes += len(payload)
        self._queue.append((number, payload, bulk))
        self._queued += len(payload)
        if not self.is_stalled:
            self._move()

    def resume(self) -> None:
        """What was stalled comes through."""
        self.is_stalled = False
        self._move()

    def _move(self) -> None:
        frames, self._queue = self._queue, []
        for number, payload, bulk in frames:
            # Frames of one stream stay in order; those of different streams overtake each other.
            stream = bulk and self.kind is LinkKind.QUIC
            at = max(self._loop.time() + self.random.choice(DELAYS_S), self._ready_at[stream])
            self._ready_at[stream] = at
            self._loop.call_at(at, self._arrive, number, payload)

    def _arrive(self, number: int, payload: bytes) -> None:
        self._queued -= len(payload)
        if self.is_closed or self.peer.is_closed:
            return
        self.peer.received_bytes += len(payload)
        self.peer._deliver(number, payload)
        if self._queued <= SEND_LOW_WATER_BYTES:
            self._drained()

    async def close(self, code: int = ErrorCode.NONE) -> None:
        if not self.is_closed:
            at = max(self._loop.time(), *self._ready_at.values())
            self._loop.call_at(at, self.abort, code)

    def abort(self, code: int = ErrorCode.NONE) -> None:
        self.break_off()

    def break_off(self) -> None:
        """Both ends are over; what is on its way is lost."""
        self._end()
        self.peer._end()

    def _queued_bytes(self) -> int:
        return self._queued

    def _unread_changed(self) -> None:
        pass

    def _pull(self) -> None:
        pass


def connect(kind: LinkKind, client: str, server: str, random: Random) -> tuple[SimLink, SimLink]:
    """Both ends of a new link, the client's first."""
    one, other = SimLink(kind, True, client, random), SimLink(kind, False, server, random)
    one.peer, other.peer = other, one
    return one, other
