"""A device shows itself to one relay by UDP, again and again, and hears where it was seen. No I/O.

What goes out keeps the way through the routers open; what comes back says whether UDP gets through
at all, and from which address.
"""

from __future__ import annotations

from typing import Final

from protocol.datagrams import (
    NO_COOKIE,
    DatagramType,
    Sight,
    is_authentic,
    read_show,
    read_sight,
    write_show,
)
from protocol.errors import ProtocolError

SHOW_INTERVAL_S: Final = 20.0
"""Many routers forget a UDP flow after 30 seconds."""
RETRY_S: Final = (0.2, 0.4, 0.8, 1.6, 3.0)
"""After what was not answered; then it is shown as rarely as if it were."""


class Showing:
    """One device at one relay; `observed` is where it was seen last."""

    def __init__(self, client_id: bytes, key: bytes, now: float) -> None:
        self.client_id = client_id
        self.observed: tuple[str, int] | None = None
        self.is_blocked = False
        """Whether several datagrams in a row were not answered."""
        self._key = key
        self._counter = 0
        self._cookie = NO_COOKIE
        self._unanswered = 0
        self._next_at = now

    def datagrams_to_send(self, now: float, jitter: float) -> list[bytes]:
        """A SHOW if one is due; `jitter` between 0 and 1 spreads devices that began together."""
        if now < self._next_at:
            return []
        self._counter += 1
        if self._unanswered >= len(RETRY_S):
            self.is_blocked, self.observed = True, None
        first = SHOW_INTERVAL_S * (0.75 + jitter / 4)
        retry_s = RETRY_S[self._unanswered] if self._unanswered < len(RETRY_S) else first
        self._next_at = now + retry_s
        self._unanswered += 1
        sight = Sight("::", 0, self._cookie)
        return [write_show(self._key, DatagramType.SHOW, self.client_id, self._counter, sight)]

    def receive(self, datagram: bytes, now: float, jitter: float) -> bool:
        """Takes in a SEEN; True if this device is somewhere else than it was, or through again."""
        try:
            seen = read_show(datagram)
            is_answer = seen.type is DatagramType.SEEN and seen.client_id == self.client_id
            if not is_answer or not is_authentic(self._key, datagram):
                return False
            if seen.counter != self._counter or not self._unanswered:
                return False  # late, or a repetition
            sight = read_sight(self._key, seen)
        except ProtocolError:
            return False
        self._unanswered = 0
        self.is_blocked = False
        if sight.cookie != self._cookie:
            self._cookie = sight.cookie
            self._next_at = now  # the relay wants to know that its answer arrived here
            return False
        self._next_at = now + SHOW_INTERVAL_S * (0.75 + jitter / 4)
        has_moved = self.observed != (sight.host, sight.port)
        self.observed = (sight.host, sight.port)
        return has_moved

    def hurry(self, now: float) -> None:
        """The network has changed: it is shown at once."""
        self._unanswered = 0
        self._next_at = now

    @property
    def next_deadline(self) -> float:
        """When the next SHOW is due."""
        return self._next_at
