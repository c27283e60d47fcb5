"""Calls under way: two tickets each, good once and for seconds. No I/O but the closing of streams.

A ticket is known to the device that it was sent to over its authenticated link. It leads to one end
of one call, so nobody is ever joined with somebody of another call.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from protocol.relay_messages import TICKET_SIZE
from relay.limits import Limits
from relay.registry import Client

TICKET_LIFETIME_S: Final = 10.0
"""Twice what a connection and its prefix may take."""

K = TypeVar("K", bytes, str)


@dataclass(slots=True, eq=False)
class Call:
    """Two streams to be joined, as soon as both are there."""

    caller: Client
    called: Client
    expires_at: float
    tickets: tuple[bytes, bytes]
    waiting: dict[bytes, socket.socket] = field(default_factory=dict)
    """Streams that have come, by their tickets."""
    is_over: bool = False


class Calls:
    """All calls, from the moment a caller is given its ticket to their end."""

    def __init__(self, random: Callable[[int], bytes], limits: Limits) -> None:
        self._random, self._limits = random, limits
        self._tickets: dict[bytes, Call] = {}
        self._pending: dict[Call, None] = {}
        """Calls of which a stream is missing, the oldest first."""
        self._callers: Counter[bytes] = Counter()
        """Calls that are not over of each device, whichever of its links it began them on."""
        self._hosts: Counter[str] = Counter()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def tickets(self) -> int:
        """How many tickets are good now."""
        return len(self._tickets)

    def begin(self, caller: Client, called: Client, now: float) -> Call | None:
        """A new call; None if there are too many, in all or of this caller."""
        self.expire(now)
        if (
            self._count >= self._limits.calls
            or self._callers[caller.pseudonym] >= self._limits.calls_per_device
            or self._hosts[caller.host] >= self._limits.calls_per_address
        ):
            return None
        tickets = (self._random(TICKET_SIZE), self._random(TICKET_SIZE))
        call = Call(caller, called, now + TICKET_LIFETIME_S, tickets)
        for ticket in tickets:
            self._tickets[ticket] = call
        self._pending[call] = None
        self._count += 1
        self._callers[caller.pseudonym] += 1
        self._hosts[caller.host] += 1
        return call

    def arrive(
        self, ticket: bytes, stream: socket.socket, now: float
    ) -> tuple[Call, socket.socket] | None:
        """Takes over a stream that came with a ticket, which is used up with that.

        Gives the call and its other stream once both are there. A stream without a right is closed.
        """
        self.expire(now)
        call = self._tickets.pop(ticket, None)
        if call is None:
            stream.close()
            return None
        if not call.waiting:
            call.waiting[ticket] = stream
            return None
        (other,) = call.waiting.values()
        call.waiting.clear()
        del self._pending[call]
        return call, other

    def expire(self, now: float) -> None:
        """Ends the calls whose other side did not come in time."""
        while self._pending:
            call = next(iter(self._pending))
            if call.expires_at > now:
                return
            self.end(call)

    def end(self, call: Call) -> None:
        """Ends a call, however far it was; nothing if it is over."""
        if call.is_over:
            return
        call.is_over = True
        self._pending.pop(call, None)
        for ticket in call.tickets:
            self._tickets.pop(ticket, None)
        for stream in call.waiting.values():
            stream.close()
        call.waiting.clear()
        self._count -= 1
        _count_down(self._callers, call.caller.pseudonym)
        _count_down(self._hosts, call.caller.host)

    def end_all(self) -> None:
        """Ends what still waits; what is joined ends with its tasks."""
        for call in list(self._pending):
            self.end(call)


def _count_down(counts: Counter[K], key: K) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
