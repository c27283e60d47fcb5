"""A link in memory whose other end is at hand, and that can be stopped in the middle."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.errors import ErrorCode
from protocol.link import Link, LinkKind
from protocol.wire import FRAME_LENGTH_MAX

BINDING = b"b" * 32


class PipeLink(Link):
    """One end: what it sends is at the other end at once, or waits here while it is blocked."""

    other: PipeLink

    def __init__(self, kind: LinkKind, is_client: bool) -> None:
        super().__init__(kind, is_client, BINDING, ("192.0.2.1", 22000))
        self.is_blocked = False
        self._waiting: list[tuple[int, bytes]] = []
        self.set_frame_limit(FRAME_LENGTH_MAX)

    def send(self, number: int, parts: Sequence[bytes | memoryview], *, bulk: bool = False) -> None:
        if not self._is_ended:
            self._waiting.append((number, b"".join(parts)))
            if not self.is_blocked:
                self.unblock()

    def unblock(self) -> None:
        """Everything that waited goes."""
        self.is_blocked = False
        waiting, self._waiting = self._waiting, []
        for number, payload in waiting:
            self.sent_bytes += len(payload)
            self.other.received_bytes += len(payload)
            self.other._deliver(number, payload)
        self._drained()

    async def close(self, code: int = ErrorCode.NONE) -> None:
        self.unblock()
        self.abort(code)

    def abort(self, code: int = ErrorCode.NONE) -> None:
        self._end()
        self.other._end()

    def _queued_bytes(self) -> int:
        return sum(len(payload) for _, payload in self._waiting)

    def _unread_changed(self) -> None:
        pass

    def _pull(self) -> None:
        pass


def pipe(kind: LinkKind = LinkKind.TLS) -> tuple[PipeLink, PipeLink]:
    """(client, server), both admitted."""
    client, server = PipeLink(kind, True), PipeLink(kind, False)
    client.other, server.other = server, client
    return client, server
