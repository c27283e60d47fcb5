"""What takes long is listed while it lasts, whatever ends it."""

import asyncio

import pytest

from peer.control.under_way import UnderWay


async def test_an_act_is_listed_until_it_ends_or_is_cancelled() -> None:
    under_way, done = UnderWay(), [0, 0]

    async def act() -> None:
        with under_way.doing("link", "/a", "bytes", lambda: (done[0], done[1])):
            await asyncio.sleep(3600)

    async with asyncio.TaskGroup() as tasks:
        one, two = tasks.create_task(act()), tasks.create_task(act())
        await asyncio.sleep(0)
        done[:] = 3, 9
        entry = {"act": "link", "subject": "/a", "unit": "bytes", "done": 3, "size": 9}
        assert under_way.listed() == [entry, entry]
        one.cancel()
        await asyncio.wait([one])
        assert under_way.listed() == [entry]
        two.cancel()
    assert under_way.listed() == []


def test_what_fails_is_listed_no_more() -> None:
    under_way = UnderWay()
    with pytest.raises(ValueError, match="no"), under_way.doing("a", "b", "c", lambda: (0, 0)):
        raise ValueError("no")
    assert under_way.listed() == []
