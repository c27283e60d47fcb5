"""What a folder's task is asked to do while the folder is opened anew: nobody waits for ever, and
nothing runs twice.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable

import pytest

from peer.errors import PeerError, UsageError
from peer.folders.calls import Calls

CUT_SHORT = "opened anew or removed meanwhile"


class Desk:
    """The calls of one folder, and how often its task was woken for them."""

    def __init__(self) -> None:
        self.woken = 0
        self.calls = Calls(self._wake)

    def _wake(self) -> None:
        self.woken += 1

    async def asked(self, routine: Callable[[], object]) -> asyncio.Task[object]:
        """Somebody asks for this, and waits."""

        async def run() -> object:
            return routine()

        asking = asyncio.ensure_future(self.calls.ask(run))
        await asyncio.sleep(0)
        return asking


def ends(error: Exception) -> Callable[[], object]:
    def routine() -> object:
        raise error

    return routine


async def test_who_asks_is_told_what_came_of_it() -> None:
    desk = Desk()
    one, two = await desk.asked(lambda: 1), await desk.asked(ends(UsageError("No.")))
    assert desk.calls
    assert desk.woken == 2
    await desk.calls.answer()
    await desk.calls.answer()
    assert await one == 1
    with pytest.raises(UsageError, match="No"):
        await two
    assert not desk.calls


async def test_a_disk_that_fails_ends_the_folder_too() -> None:
    desk = Desk()
    asking = await desk.asked(ends(sqlite3.OperationalError("disk I/O error")))
    with pytest.raises(sqlite3.OperationalError):
        await desk.calls.answer()
    with pytest.raises(sqlite3.OperationalError):
        await asking


async def test_who_is_being_answered_when_the_folder_ends_is_told_so() -> None:
    """Else nobody would ever answer, neither the old folder nor the new one."""
    desk, begun = Desk(), asyncio.Event()

    async def never_done() -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    asking = asyncio.ensure_future(desk.calls.ask(never_done))
    await asyncio.sleep(0)
    answering = asyncio.ensure_future(desk.calls.answer())
    await begun.wait()
    answering.cancel()
    with pytest.raises(PeerError, match=CUT_SHORT):
        await asking
    assert answering.cancelled()


async def test_the_new_folder_does_what_the_old_one_had_not_begun() -> None:
    old, new, done = Desk(), Desk(), list[int]()
    before = await old.asked(lambda: done.append(1))
    new.calls.take_over(old.calls)
    assert new.woken == 1
    assert not old.calls
    after = await old.asked(lambda: done.append(2))  # who found the old one just before
    assert not old.calls
    await new.calls.answer()
    await new.calls.answer()
    await before
    await after
    assert done == [1, 2]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no active connection"),
        RuntimeError("cannot schedule new futures after shutdown"),
    ],
)
async def test_what_needs_the_old_index_or_disk_is_said_to_be_cut_short(error: Exception) -> None:
    old, new = Desk(), Desk()
    before = await old.asked(ends(error))
    new.calls.take_over(old.calls)
    after = await old.asked(ends(error))
    await new.calls.answer()
    await new.calls.answer()
    for asking in (before, after):
        with pytest.raises(PeerError, match=CUT_SHORT):
            await asking


async def test_a_folder_that_has_ended_lets_nobody_wait_who_comes_then() -> None:
    """Its index may not open for hours; what was asked before is for the one that comes then."""
    old, new = Desk(), Desk()
    before = await old.asked(lambda: 1)
    old.calls.close()
    with pytest.raises(PeerError, match="opened anew, or cannot be opened"):
        await (await old.asked(lambda: 2))
    new.calls.take_over(old.calls)
    await new.calls.answer()
    assert await before == 1
    after = await old.asked(lambda: 3)
    await new.calls.answer()
    assert await after == 3


async def test_a_folder_that_has_stopped_for_good_answers_all_with_the_reason() -> None:
    """Until somebody has it opened anew."""
    old, new = Desk(), Desk()
    waiting, left = await old.asked(lambda: 1), await old.asked(lambda: 2)
    left.cancel()
    await asyncio.wait([left])
    old.calls.end("Look after this disk.")
    for asking in (waiting, await old.asked(lambda: 3)):
        with pytest.raises(PeerError, match="after this disk"):
            await asking
    assert not old.calls
    new.calls.take_over(old.calls)
    after = await old.asked(lambda: 4)
    await new.calls.answer()
    assert await after == 4
