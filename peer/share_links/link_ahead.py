"""Puts the pages of a folder's share links at their relay beforehand, so that a link is instant.

It follows the copies at super-nodes: where a folder is kept by this device, and they are up to date
and stay so for a while. Nothing rests on it: a link puts there what is missing.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from crypto.errors import CryptoError
from crypto.ids import FolderId
from peer.errors import PeerError
from protocol.errors import LinkError, ProtocolError, StorageRefused

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 15.0
QUIET_S: Final = 15.0
"""So long nothing new was stored: a folder that is being filled is not gone through again and
again.
"""
REST_S: Final = 3600.0
"""Between two times of one folder: what goes out of use takes room for as long as its lease."""
RENEW_AFTER_S: Final = 5 * 86_400.0
LEASE_S: Final = 14 * 86_400
"""Of what is prepared; it is prolonged in good time, and for as long as a link names it."""
TIMEOUT_S: Final = 1800.0
"""A folder that is closed meanwhile answers no more."""
_EXPECTED: Final = (
    LinkError, StorageRefused, ProtocolError, CryptoError, PeerError, OSError, sqlite3.Error,
    ValueError,
)  # fmt: skip
"""What relays and disks may do; the last is a database of a folder that was let go meanwhile."""

Stored = Callable[[], Awaitable[Mapping[FolderId, int]]]
"""Folders whose copies are up to date, each with a number that grows with what is stored."""


@dataclass(slots=True)
class _Known:
    mark: int
    since: float
    done_mark: int = -1
    done_at: float = float("-inf")


class LinksAhead:
    """One daemon's."""

    def __init__(self, stored: Stored, prepare: Callable[[FolderId], Awaitable[int]]) -> None:
        """`prepare` puts what a folder lacks and says how many bytes."""
        self._stored, self._prepare = stored, prepare
        self._known: dict[FolderId, _Known] = {}

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.step(loop.time())

    async def step(self, now: float) -> None:
        """Prepares the folders whose time it is."""
        try:
            stored = await self._stored()
        except _EXPECTED as error:
            log.info("what is stored is not known: %s", error)
            return
        for folder_id, mark in stored.items():
            known = self._known.setdefault(folder_id, _Known(mark, now))
            if mark != known.mark:
                known.mark, known.since = mark, now
            is_new = mark != known.done_mark and now >= known.done_at + REST_S
            if now < known.since + QUIET_S or not (is_new or now >= known.done_at + RENEW_AFTER_S):
                continue
            known.done_mark, known.done_at = mark, now
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    size = await self._prepare(folder_id)
            except _EXPECTED as error:
                log.info("share links are not prepared: %s", error)
            else:
                log.info("share links are prepared: %d bytes put", size)
