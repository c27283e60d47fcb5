"""What a folder's task is asked to do between its routines, and who waits for the answer.

A folder that is opened anew ends its task, wherever that is. Nobody waits for an answer that does
not come: what was begun is said to have been cut short, and what was not is asked of the new one.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from peer.errors import PeerError

T = TypeVar("T")
Routine = Callable[[], Coroutine[Any, Any, T]]

CUT_SHORT: Final = (
    "The folder was opened anew or removed meanwhile. `holdfast status` shows how it stands; look"
    " whether this was done, and try again if it was not."
)
NOT_AT_WORK: Final = (
    "The folder is just being opened anew, or cannot be opened. `holdfast status` shows how it"
    " stands."
)


class Calls:
    """One folder's."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake`: there is something to be done."""
        self._wake = wake
        self._waiting: deque[tuple[Routine[Any], asyncio.Future[Any]]] = deque()
        self._next: Calls | None = None
        """Those of the folder that has taken this one's place."""
        self._refusal = ""
        """Why nothing is done here any more."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def ask(self, routine: Routine[T]) -> T:
        """Has something done by the folder's task. Raises what it raises, or PeerError."""
        if self._next is not None:  # whoever asks has found the old folder just before
            return await self._next.ask(lambda: _of_the_old(routine))
        if self._refusal:  # when there is another one, and whether, nobody knows
            raise PeerError(self._refusal)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((routine, future))
        self._wake()
        return await asyncio.shield(future)  # who waits no longer leaves it to be answered

    def close(self) -> None:
        """The folder ends; what waits is for the one that takes its place."""
        self._refusal = NOT_AT_WORK

    def end(self, why: str) -> None:
        """The folder's task has ended for good, and no other takes its place by itself."""
        self._refusal = why
        for _, future in self._waiting:
            future.set_exception(PeerError(why))
            future.exception()  # nobody may wait for it any more
        self._waiting.clear()

    async def answer(self) -> None:
        """In the folder's task: does the first, and raises what ends the folder."""
        routine, future = self._waiting.popleft()
        try:
            future.set_result(await routine())
        except sqlite3.OperationalError as error:
            future.set_exception(error)
            raise
        except asyncio.CancelledError:
            future.set_exception(PeerError(CUT_SHORT))
            future.exception()  # nobody may wait for it any more
            raise
        except Exception as error:  # noqa: BLE001 - handed to whoever asked
            future.set_exception(error)

    def take_over(self, old: Calls) -> None:
        """What the old folder has not begun is done by this one."""
        for routine, future in old._waiting:
            self._waiting.append((lambda r=routine: _of_the_old(r), future))  # type: ignore[misc]
        old._waiting.clear()
        old._next = self
        self._wake()


async def _of_the_old(routine: Routine[T]) -> T:
    """What was meant for the folder as it was: its index and the disk's thread are closed."""
    try:
        return await routine()
    except (ValueError, RuntimeError) as error:
        raise PeerError(CUT_SHORT) from error
