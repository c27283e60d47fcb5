"""Who of the web endpoint's visitors may ask now: places for requests at once, however they come.

A connection of HTTP/2 or 3 brings many requests, and each that is not read keeps a piece of its
answer: so it is requests that have places here, as connections have theirs before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay.allowance import Allowance
from relay.doorway import Doorway
from relay.origins import origin_of
from relay.web_answers import BrokenOff, plain, unavailable

REQUESTS_MAX: Final = 1_024
"""At once: with a piece of its answer each takes 320 KiB at most."""
REQUESTS_PER_ADDRESS_MAX: Final = 256
STALL_S: Final = 60.0
"""A visitor who takes nothing of an answer for so long has gone."""


class Turnstile:
    """Lets requests in while there are places, and out when their visitors have gone."""

    def __init__(
        self, app: ASGIApp, host_of: Callable[[Request], str], per_second: int = 0
    ) -> None:
        """So many from one address, on the average of a minute; 0: as many as it likes."""
        self._app, self._host_of = app, host_of
        self._asked = Allowance(60 * per_second) if per_second else None
        self._doorway = Doorway(REQUESTS_MAX, REQUESTS_PER_ADDRESS_MAX)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or has it answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        now = asyncio.get_running_loop().time
        origin = origin_of(self._host_of(Request(scope)))
        if self._asked is not None and not self._asked.take(origin, now()):
            wait = {"Retry-After": str(self._asked.seconds_left(now()))}
            await plain(429, wait)(scope, receive, send)
            return
        place = self._doorway.enter(origin)
        if place is None:
            await unavailable()(scope, receive, send)
            return

        async def patient(message: Message) -> None:
            try:
                async with asyncio.timeout(STALL_S):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        try:
            async with asyncio.timeout(None) as limit:
                place.evict = lambda: limit.reschedule(now())
                await self._app(scope, receive, patient)
        except TimeoutError:
            if not limit.expired():
                raise
            raise BrokenOff from None  # another address has the place now
        finally:
            self._doorway.leave(place)
