"""Writing for many at once: all who wait share a round of renames and one commit.

A commit and the flush of a directory take milliseconds of a disk each, however much is in them.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import aiosqlite

from relay.share_files import ShareFiles, ShareName
from relay.store import RelayStore

log = logging.getLogger(__name__)

AT_ONCE_MAX: Final = 256
"""Of one round, so that the last does not wait long for the first."""

T = TypeVar("T")


@dataclass(slots=True)
class _Waiting:
    work: Callable[[aiosqlite.Connection], Awaitable[Any]]
    place: ShareName | None
    done: asyncio.Future[Any]


class ShareCommits:
    """What is to be written; `run` has to run meanwhile."""

    def __init__(self, store: RelayStore, files: ShareFiles) -> None:
        self._store, self._files = store, files
        self._waiting: list[_Waiting] = []
        self._has_waiting = asyncio.Event()

    async def do(
        self,
        work: Callable[[aiosqlite.Connection], Awaitable[T]],
        place: ShareName | None = None,
    ) -> T:
        """Does the work in a transaction that others share, after the file has got its name.

        Raises OSError or sqlite3.Error, and then nothing of it counts.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(work, place, done))
        self._has_waiting.set()
        return await done

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            await self._has_waiting.wait()
            some, self._waiting = self._waiting[:AT_ONCE_MAX], self._waiting[AT_ONCE_MAX:]
            if not self._waiting:
                self._has_waiting.clear()
            try:
                await self._write(some)
            finally:
                for one in some:
                    if not one.done.done():
                        one.done.cancel()

    async def _write(self, some: list[_Waiting]) -> None:
        placed = [one.place for one in some if one.place is not None]
        results: list[Any] = []
        try:
            if placed:
                await asyncio.to_thread(self._files.place, placed)
            async with self._store.transaction() as db:
                for one in some:
                    results.append(await one.work(db))
        except (OSError, sqlite3.Error) as error:
            log.error("shares cannot be written: %s", error)
            for one in some:
                if not one.done.done():
                    one.done.set_exception(cast(Exception, error))
            return
        for one, result in zip(some, results, strict=True):
            if not one.done.done():
                one.done.set_result(result)
