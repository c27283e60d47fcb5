"""What requests about the home may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from peer.control import home_control
from peer.control.control_fields import Fields
from peer.errors import UsageError
from tests.peer.fake_daemon import FakeDaemon


async def test_each_request_is_passed_on() -> None:
    daemon = FakeDaemon()
    home = daemon.home_requests
    await home_control.settings(home, Fields({}))
    await home_control.change(home, Fields({"key": "a.b", "value": "7"}))
    assert daemon.calls == [("settings",), ("set", "a.b", "7")]
    answer = await home_control.transfers(daemon.transfers, Fields({}))
    assert answer["transfers"] == daemon.transfers.entries


async def test_a_transfer_is_paused_and_goes_on() -> None:
    daemon = FakeDaemon()
    await home_control.pause(daemon.transfers, Fields({"path": "/data/a"}))
    await home_control.resume(daemon.transfers, Fields({"path": "/data/a"}))
    for asked in ({}, {"path": "a"}, {"path": "/data/a", "more": 1}):
        with pytest.raises(UsageError):
            await home_control.pause(daemon.transfers, Fields(dict(asked)))
        with pytest.raises(UsageError):
            await home_control.resume(daemon.transfers, Fields(dict(asked)))
    place = Path("/data/a")
    assert daemon.calls == [("pause_transfer", place), ("resume_transfer", place)]


@pytest.mark.parametrize("asked", [{}, {"key": "a"}, {"key": "a", "value": 7}, {"value": "7"}])
async def test_a_change_without_a_value_is_refused(asked: dict[str, object]) -> None:
    daemon = FakeDaemon()
    with pytest.raises(UsageError):
        await home_control.change(daemon.home_requests, Fields(dict(asked)))
    assert daemon.calls == []


async def test_what_nobody_asked_for_is_refused() -> None:
    daemon = FakeDaemon()
    with pytest.raises(UsageError):
        await home_control.settings(daemon.home_requests, Fields({"more": "1"}, is_query=True))
    with pytest.raises(UsageError):
        await home_control.transfers(daemon.transfers, Fields({"more": "1"}, is_query=True))


async def test_the_newest_lines_of_the_log_are_told() -> None:
    daemon = FakeDaemon()
    asked = Fields({"limit": "2"}, is_query=True)
    told = await home_control.lines(daemon.log_lines, asked)
    assert [line["level"] for line in told["lines"]] == ["warning", "error"]
    asked = Fields({"after": told["cursor"]}, is_query=True)
    assert (await home_control.lines(daemon.log_lines, asked))["lines"] == []
    for wrong in ({"after": "x"}, {"limit": "x"}, {"more": "1"}):
        with pytest.raises(UsageError):
            await home_control.lines(daemon.log_lines, Fields(dict(wrong), is_query=True))
