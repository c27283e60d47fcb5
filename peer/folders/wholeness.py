"""Whether what is known of a folder is whole enough to be shown on the disk.

A newcomer takes up logs from their floors: what stood below is told again piece by piece, by each
author for itself. Until the last piece is here, files may lack their place and directories their
parent, and what was deleted long ago may look alive.
"""

from __future__ import annotations

from typing import Final

from crypto.ids import LogId
from protocol.logs import LogBook

STALLED_MAX_S: Final = 60.0
"""How long nothing may come before what there is is shown: somebody may have declared a floor and
be gone, and the rest of the folder must not wait for it.
"""


class Wholeness:
    """Pure: it is asked with the logs as they are, and the time."""

    def __init__(self) -> None:
        self._given_up: set[tuple[LogId, int]] = set()
        self._had = -1
        self.deadline = float("inf")
        """When it gives up, if nothing comes before."""

    @property
    def is_waiting(self) -> bool:
        """Whether nothing may be shown for now, as of the last time it was asked."""
        return self.deadline < float("inf")

    def is_whole(self, book: LogBook, now: float) -> bool:
        """Whether the disk may show what is known."""
        waiting = [one for one in book.unfinished() if one not in self._given_up]
        if not waiting:
            self.deadline = float("inf")
            return True
        have = sum(book.seq_of(log_id) for log_id in book.log_ids())
        if have != self._had:
            self._had, self.deadline = have, now + STALLED_MAX_S
        if now < self.deadline:
            return False
        self._given_up.update(waiting)
        return True
