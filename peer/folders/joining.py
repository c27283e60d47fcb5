"""When a folder that comes to a full directory, or has lost its index, may look at the disk: once
it knows what the members know, or has waited long enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from crypto.ids import LogId
from protocol.messages import FrontierEntry

ALONE_MAX_S: Final = 20.0
"""How long nobody may be there before the disk is looked at without them."""
STALLED_MAX_S: Final = 60.0
"""How long the logs may not grow though somebody holds more of them."""


class Joining:
    """Pure: it is told what others hold, and asked whether that has come."""

    def __init__(self, now: float, floor: Mapping[LogId, int], *, has_others: bool) -> None:
        """`floor`: what the device that let us in held then; less than that is an old state."""
        self._wanted = dict(floor)
        self._has_others = has_others
        self._has_heard = False
        self._give_up_at = now + ALONE_MAX_S
        self._had = -1

    def told(self, entries: Iterable[FrontierEntry], now: float) -> None:
        """A member said how far it holds the logs."""
        for entry in entries:
            self._wanted[entry.log_id] = max(entry.seq, self._wanted.get(entry.log_id, 0))
        if not self._has_heard:
            # Once only: after this, nothing but logs that grow is worth more patience.
            self._has_heard = True
            self._give_up_at = now + STALLED_MAX_S

    def is_ready(self, seq_of: Callable[[LogId], int], now: float) -> bool:
        """Whether the disk may be looked at; `seq_of`: how far we hold a log."""
        if not self._has_others:
            return True
        have = sum(min(seq, seq_of(log_id)) for log_id, seq in self._wanted.items())
        if have > self._had:
            self._had = have
            self._give_up_at = max(
                self._give_up_at, now + (STALLED_MAX_S if self._has_heard else ALONE_MAX_S)
            )
        if self._has_heard and have == sum(self._wanted.values()):
            return True
        return now >= self._give_up_at

    @property
    def deadline(self) -> float:
        """When to ask again, if nothing comes before."""
        return self._give_up_at
