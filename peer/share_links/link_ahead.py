"""Puts the pages of a folder's share links at their relay beforehand, so that a link is instant.

It is the last step of storing a folder at super-nodes: what counts as stored can be linked to at
once. Nothing rests on it: a link puts there what is missing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from crypto.ids import FolderId
from peer.share_links.link_ending import TROUBLE
from peer.share_links.link_listing import PREPARED_SHARE

log = logging.getLogger(__name__)

REST_SHARE: Final = 20
"""It is followed by a rest of so many times its length: storing is not slowed by more than that."""
ROOM_S: Final = 3600.0
"""In so long a folder's pages may be put once, at their largest: what goes out of use takes room
for as long as its lease.
"""
TROUBLE_REST_S: Final = 3600.0
RENEW_AFTER_S: Final = 5 * 86_400.0
LEASE_S: Final = 14 * 86_400
"""Of what is prepared; it is prolonged in good time, and for as long as a link names it."""
TIMEOUT_S: Final = 300.0
"""What was put by then is found the next time."""


class Prepared(NamedTuple):
    """What it took."""

    put_bytes: int = 0
    """Of pages that were not there."""
    listed_bytes: int = 0
    """Of the files that all pages list."""


@dataclass(slots=True)
class _Known:
    mark: int = -1
    done_at: float = float("-inf")
    rest_until: float = float("-inf")
    used: float = 0.0
    """Of what may be put at once, a share that comes back within ROOM_S."""


class LinksAhead:
    """One daemon's."""

    def __init__(
        self,
        prepare: Callable[[FolderId], Awaitable[Prepared]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`prepare` puts what a folder lacks."""
        self._prepare = prepare
        self._now = now
        self._known: dict[FolderId, _Known] = {}

    async def stored(self, folder_id: FolderId, mark: int) -> None:
        """All of a folder is stored, as far as this mark, which grows: prepares links to it."""
        known, began = self._known.setdefault(folder_id, _Known()), self._now()
        is_new = mark != known.mark and began >= known.rest_until
        if not is_new and began < known.done_at + RENEW_AFTER_S:
            return
        back = (began - known.done_at) / ROOM_S
        known.done_at = began
        try:
            async with asyncio.timeout(TIMEOUT_S):
                prepared = await self._prepare(folder_id)
        except (*TROUBLE, ValueError) as error:
            # The last is a database of a folder that was let go meanwhile.
            log.info("share links are not prepared: %s", error)
            known.rest_until = self._now() + TROUBLE_REST_S
            return
        log.info("share links are prepared: %d bytes put", prepared.put_bytes)
        known.mark = mark
        put = prepared.put_bytes * PREPARED_SHARE / max(1, prepared.listed_bytes)
        known.used = max(0.0, known.used - back) + put
        took, over = self._now() - began, max(0.0, known.used - 1.0)
        known.rest_until = self._now() + max(REST_SHARE * took, ROOM_S * over)
