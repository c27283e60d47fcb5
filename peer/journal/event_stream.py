"""What happens on this device, as it happens: a bounded stream that any number of readers follow.

A reader that comes back names the last event that it saw and is given what followed; if that is
not known any more, or was told by another run of the daemon, it is told `reset`, and asks for
everything anew. Nobody waits for a reader: one that lags behind is let go, and comes back.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, NamedTuple

KEPT_MAX: Final = 512
"""Events for those who come back; 100 KB."""
LAG_MAX: Final = 256
"""Events that a reader has not taken yet."""
READERS_MAX: Final = 32
HEARTBEAT_S: Final = 15.0
"""A comment line, so that each side notices when the other is gone."""


class TooManyReaders(Exception):
    """There is no place for one more."""


class Event(NamedTuple):
    """One thing that happened."""

    number: int
    kind: str
    data: Mapping[str, Any]


class EventStream:
    """One run's."""

    def __init__(self) -> None:
        self.run = secrets.token_hex(4)
        """Which run of the daemon numbered the events."""
        self._number = 0
        self._kept: deque[Event] = deque(maxlen=KEPT_MAX)
        self._readers: set[asyncio.Queue[Event | None]] = set()
        self._is_closed = False

    def publish(self, kind: str, **data: Any) -> None:
        """Something has happened."""
        self._number += 1
        event = Event(self._number, kind, data)
        self._kept.append(event)
        for queue in list(self._readers):
            if queue.qsize() >= LAG_MAX:
                self._let_go(queue)
            else:
                queue.put_nowait(event)

    def close(self) -> None:
        """The daemon stops: every reader's stream ends."""
        self._is_closed = True
        for queue in list(self._readers):
            self._let_go(queue)

    @property
    def readers(self) -> int:
        """How many follow."""
        return len(self._readers)

    def _let_go(self, queue: asyncio.Queue[Event | None]) -> None:
        self._readers.discard(queue)
        queue.put_nowait(None)

    def follow(self, last_id: str | None) -> AsyncIterator[bytes]:
        """The stream from after an event on, or from now, in the form of server-sent events.

        Raises TooManyReaders at once.
        """
        if len(self._readers) >= READERS_MAX or self._is_closed:
            raise TooManyReaders
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        missed = self._since(last_id)
        kind, number = ("reset", self._number) if missed is None else ("hello", self._number)
        missed = missed or []
        self._readers.add(queue)
        return self._tell(queue, [Event(number - len(missed), kind, {}), *missed])

    def _since(self, last_id: str | None) -> list[Event] | None:
        """What followed an event; None if nobody knows."""
        if last_id is None:
            return []
        run, _, text = last_id.partition("-")
        if run != self.run or not text.isascii() or not text.isdecimal():
            return None
        number = int(text[:15])
        first = self._kept[0].number if self._kept else self._number + 1
        if not first - 1 <= number <= self._number:
            return None
        return [event for event in self._kept if event.number > number]

    async def _tell(
        self, queue: asyncio.Queue[Event | None], first: list[Event]
    ) -> AsyncIterator[bytes]:
        try:
            for event in first:
                yield self._form(event)
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        next_event = await queue.get()
                except TimeoutError:
                    yield b":\n\n"
                    continue
                if next_event is None:
                    return
                yield self._form(next_event)
        finally:
            self._readers.discard(queue)

    def _form(self, event: Event) -> bytes:
        data = json.dumps(event.data, separators=(",", ":"))
        return f"id: {self.run}-{event.number}\nevent: {event.kind}\ndata: {data}\n\n".encode()
