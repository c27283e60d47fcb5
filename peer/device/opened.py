"""What a daemon opens when it is first needed, and closes with itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What is to be closed."""

    async def close(self) -> None:
        """Closes it."""


T = TypeVar("T", bound=Closable)


class Opened(Generic[T]):
    """One of them. Opened twice, one of the two would be closed by nobody, and the daemon never
    end.
    """

    def __init__(self, open_: Callable[[], Awaitable[T]]) -> None:
        """`open_` leaves nothing open when it fails or is cancelled."""
        self._open = open_
        self._turn = asyncio.Lock()
        self._opened: T | None = None
        self._is_closed = False

    async def get(self) -> T:
        """The open one; raises what opening it raises, and ValueError when all is closed."""
        async with self._turn:
            if self._is_closed:
                raise ValueError("it is closed for good")
            if self._opened is None:
                self._opened = await self._open()
            return self._opened

    async def close(self) -> None:
        """Closes it, if it ever was open, and opens it no more."""
        async with self._turn:
            self._is_closed = True
            if self._opened is not None:
                await self._opened.close()
