"""What is opened once is closed once, whoever asks for it at the same time."""

from __future__ import annotations

import asyncio

import pytest

from peer.device.opened import Opened


class Door:
    """Counts."""

    opened = closed = 0

    async def close(self) -> None:
        self.closed += 1


async def test_all_who_ask_at_once_have_the_same() -> None:
    door = Door()
    go = asyncio.Event()

    async def open_() -> Door:
        await go.wait()
        door.opened += 1
        return door

    one = Opened(open_)
    asked = asyncio.gather(one.get(), one.get())
    closing = asyncio.gather(asyncio.sleep(0), one.close())
    await asyncio.sleep(0)
    go.set()
    assert [*await asked] == [door, door]
    await closing
    assert (door.opened, door.closed) == (1, 1)
    with pytest.raises(ValueError, match="closed"):
        await one.get()


async def test_what_failed_is_tried_again_and_what_never_was_is_not_closed() -> None:
    door, tries = Door(), 0

    async def open_() -> Door:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError
        return door

    one = Opened(open_)
    with pytest.raises(OSError):  # noqa: PT011
        await one.get()
    assert await one.get() is door
    never = Opened(open_)
    await never.close()
    assert (tries, door.closed) == (2, 0)
