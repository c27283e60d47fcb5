"""How far a folder is, written down outside of its index: at most every ten seconds, and until it
is written.
"""

from __future__ import annotations

import sqlite3

import pytest

from peer.folders.floor import Floor
from peer.folders.floor_keeping import FLOOR_INTERVAL_S, FloorKeeper, keep_nothing
from tests.protocol.people import Place
from tests.protocol.test_logs import pair


class Desk:
    """A keeper whose home may be full, and a device that writes."""

    def __init__(self) -> None:
        self.one, _ = pair()
        self.written: list[int] = []
        self.is_full = False
        self.keeper = FloorKeeper(Floor(), self._keep)

    async def _keep(self) -> None:
        if self.is_full:
            raise sqlite3.OperationalError("database or disk is full")
        self.written.append(self.seq)

    @property
    def seq(self) -> int:
        return max((mark.seq for mark in self.keeper.floor.marks.values()), default=0)

    async def rest(self, now: float) -> None:
        await self.keeper.rise(self.one.book, self.one.keys.device_id, now)


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_it_is_written_down_at_once_and_then_now_and_then(desk: Desk) -> None:
    desk.one.write()
    await desk.rest(100.0)
    assert (desk.written, desk.keeper.due) == ([2], float("inf"))
    desk.one.write()
    await desk.rest(101.0)
    assert (desk.written, desk.keeper.due) == ([2], 100.0 + FLOOR_INTERVAL_S)
    desk.one.write()
    await desk.rest(desk.keeper.due)
    assert desk.written == [2, 4]
    await desk.rest(200.0)
    assert desk.written == [2, 4]  # nothing is new


@pytest.mark.row("F06")
async def test_a_home_that_cannot_be_written_is_told_and_tried_again(desk: Desk) -> None:
    desk.is_full = True
    desk.one.write()
    await desk.rest(100.0)
    assert "database or disk is full" in desk.keeper.trouble
    await desk.rest(101.0)  # not all the time
    assert desk.keeper.due == 100.0 + FLOOR_INTERVAL_S
    desk.is_full = False
    await desk.rest(desk.keeper.due)
    assert (desk.written, desk.keeper.trouble) == ([2], "")


async def test_at_the_end_all_is_written_down(desk: Desk) -> None:
    desk.one.write()
    await desk.rest(100.0)
    await desk.keeper.write()
    assert desk.written == [2]
    desk.one.write()
    desk.keeper.note(desk.one.book, desk.one.keys.device_id)
    await desk.keeper.write()
    assert desk.written == [2, 3]


async def test_a_folder_without_a_home_keeps_none() -> None:
    one: Place
    one, _ = pair()
    one.write()
    keeper = FloorKeeper(Floor(), keep_nothing)
    await keeper.rise(one.book, one.keys.device_id, 0.0)
    assert keeper.due == float("inf")
