from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from protocol.errors import ErrorCode, TooLong
from protocol.link import SEND_HIGH_WATER_BYTES, Link, LinkKind


class PlainLink(Link):
    """A link to nowhere: what every kind of link has in common."""

    def __init__(self) -> None:
        super().__init__(LinkKind.TLS, True, bytes(32), ("", 0))
        self.queued = 0
        self.pulls = 0

    def send(self, number: int, parts: Sequence[bytes | memoryview], *, bulk: bool = False) -> None:
        self.queued += sum(map(len, parts))

    async def close(self, code: int = ErrorCode.NONE) -> None:
        self._end()

    def abort(self, code: int = ErrorCode.NONE) -> None:
        self._end()

    def _queued_bytes(self) -> int:
        return self.queued

    def _unread_changed(self) -> None:
        pass

    def _pull(self) -> None:
        self.pulls += 1


async def test_what_came_before_the_end_is_read_before_the_end() -> None:
    link = PlainLink()
    link._deliver(1, b"a")
    link._fail(TooLong("a frame of 99 bytes"))
    assert await link.receive() == (1, b"a")
    for _ in range(2):
        with pytest.raises(TooLong):
            await link.receive()


async def test_a_waiting_reader_is_woken_by_a_frame_and_by_the_end() -> None:
    link = PlainLink()
    loop = asyncio.get_running_loop()
    loop.call_soon(link._deliver, 5, b"x")
    assert await link.receive() == (5, b"x")
    loop.call_soon(link.abort)
    assert await link.receive() is None
    assert link.pulls


async def test_a_cancelled_reader_loses_nothing() -> None:
    link = PlainLink()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await link.receive()
    link._deliver(1, b"a")
    assert await link.receive() == (1, b"a")


async def test_drain_waits_from_the_high_mark_to_the_low_one() -> None:
    link = PlainLink()
    link.queued = SEND_HIGH_WATER_BYTES
    await link.drain()
    link.queued += 1
    loop = asyncio.get_running_loop()
    loop.call_later(0.01, link._drained)
    async with asyncio.timeout(1):
        await asyncio.gather(link.drain(), link.drain())
        loop.call_soon(link.abort)
        await link.drain()
        await link.drain()


async def test_admission_happens_once_and_at_the_end_at_the_latest() -> None:
    counts = []
    link = PlainLink()
    link.on_admit = lambda: counts.append(1)
    link.admit()
    link.admit()
    link.abort()
    assert counts == [1]
    other = PlainLink()
    other.on_admit = lambda: counts.append(2)
    other.abort()
    assert counts == [1, 2]
