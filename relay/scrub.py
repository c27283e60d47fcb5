"""Reading all that is stored, at a steady pace, so that no byte goes unread for long.

The share that was looked at least recently is next. Between two shares there is a pause in
proportion to the first one's part of the whole, so that the disk works evenly and everything has
had its turn after eleven days: three days before the fourteen that are promised, for a node that
was switched off meanwhile. What is overdue is read without much of a pause.
"""

from __future__ import annotations

import asyncio
import bisect
from typing import Final

from protocol.storage_messages import ShareState
from relay import share_rows as rows
from relay.share_links import ShareLinks
from relay.shares import DAY_S, Shares

PROMISE_S: Final = 14 * DAY_S
ROUND_S: Final = 11 * DAY_S
PAUSE_MAX_S: Final = 3600.0
"""A node with little reads it more often than it has to."""
HURRY_BYTES_PER_S: Final = 16_000_000
"""A tenth of what a slow disk gives: devices come first."""


def pause_s(size: int, total: int, age_s: int) -> float:
    """How long to wait after a share of this size, of so many bytes in all, that was last looked at
    so long before.
    """
    if age_s >= ROUND_S:
        return size / HURRY_BYTES_PER_S
    return min(PAUSE_MAX_S, ROUND_S * size / max(total, size))


class Scrub:
    """One node's scrub; its owner waits as long as each `step` says."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self.read_bytes = 0
        self.damaged_leaves = 0
        """Found since the start."""
        self._unread_since_s: int | None = None

    async def step(self) -> float:
        """Looks at one share; how long to wait for the next. Raises OSError or sqlite3.Error."""
        self._unread_since_s = await rows.unchecked_s(self._shares.store)
        row = await rows.least_checked(self._shares.store)
        if row is None:
            return PAUSE_MAX_S
        age_s = self._shares.now_s() - row.checked_s
        self.damaged_leaves += await self._shares.look_at(row)
        self.read_bytes += row.size
        sizes, _, _ = self._shares.namespaces.totals()
        return pause_s(row.size, sizes[ShareState.WHOLE] + sizes[ShareState.TRASHED], age_s)

    @property
    def unread_for_s(self) -> int:
        """The age of the oldest byte that was not looked at since, as of the last step; 0 if
        nothing is stored.
        """
        since_s = self._unread_since_s
        return 0 if since_s is None else max(0, self._shares.now_s() - since_s)


class LinkScrub:
    """The same of sealed manifests of share links: a few each minute, all within a round. There is
    no other copy of one, so its damage is said and nothing else.
    """

    def __init__(self, links: ShareLinks) -> None:
        self._links = links
        self._last = b""

    async def step(self, interval_s: float) -> int:
        """Looks at those that are due of a round of which a step comes every so many seconds; how
        many are damaged.
        """
        ids = sorted(self._links.with_blobs())
        count = min(len(ids), int(len(ids) * interval_s / ROUND_S) + 1)
        start = bisect.bisect_right(ids, self._last)
        due = [ids[(start + each) % len(ids)] for each in range(count)]
        self._last = due[-1] if due else b""
        return sum([not await asyncio.to_thread(self._links.look_at, each) for each in due])
