"""One look: all of it in one answer, and none while nothing has changed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from peer.control.control_client import ControlClient
from peer.control.control_fields import Fields
from peer.control.control_guard import tag_of
from peer.control.overview import overview
from peer.errors import UsageError
from peer.status import Overview
from tests.peer.fake_daemon import FakeDaemon, running


async def test_it_holds_what_each_route_of_its_own_says() -> None:
    daemon = FakeDaemon()
    answer = await overview(daemon, Fields({}, is_query=True))
    assert answer["status"] == await daemon.status()
    assert answer["relays"] == (await daemon.list_relays())["relays"]
    assert answer["notifications"]["unread"] == 1
    assert answer["transfers"] == await daemon.transfers.listed()
    assert not {"conflicts", "backups"} & answer.keys()  # an index is walked for the one
    more = {"conflicts": "true", "backups": "true"}
    answer = await overview(daemon, Fields(more, is_query=True))
    assert answer["conflicts"] == daemon.copies
    assert answer["backups"] == await daemon.backups.every()


async def test_an_age_changes_once_a_minute() -> None:
    daemon = FakeDaemon()
    answer = await overview(daemon, Fields({}, is_query=True))
    assert [one["last_seen_s"] for one in answer["devices"]] == [None, 7320.0]


async def test_what_nobody_asked_for_is_refused() -> None:
    with pytest.raises(UsageError):
        await overview(FakeDaemon(), Fields({"more": "true"}, is_query=True))


async def test_who_has_it_already_gets_nothing_until_something_changes(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        client = ControlClient(tmp_path)

        def look(etag: str) -> tuple[Overview | None, str]:
            return client.overview(etag, conflicts=True, backups=False)

        first, etag = await asyncio.to_thread(look, "")
        assert first is not None
        assert tag_of(json.dumps(first).encode()) == etag
        assert await asyncio.to_thread(look, etag) == (None, etag)
        daemon.names.append("music")
        changed, other = await asyncio.to_thread(look, etag)
        assert changed is not None
        assert other != etag
