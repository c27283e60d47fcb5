"""What a request about share links may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peer.control.control_fields import Fields
from peer.errors import UsageError
from peer.share_links import link_control
from peer.share_links.link_control import DOWNLOADS_MAX, LIFETIME_MAX_S
from peer.share_links.link_maker import Wish
from tests.peer.fake_daemon import FakeLinks


async def test_each_request_is_passed_on() -> None:
    links = FakeLinks()
    asked = {
        "path": "/data/a", "name": "b", "relay": "r", "password": "p", "lifetime_s": 5,
        "downloads_max": 6,
    }  # fmt: skip
    await link_control.create(links, Fields(asked))
    await link_control.create(links, Fields({"path": "/data/a"}))
    await link_control.listed(links, Fields({}))
    assert await link_control.revoke(links, Fields({"link": "x"})) == {"ended": True}
    assert links.calls == [
        ("create", Path("/data/a"), "b", "r", Wish(5, 6, "p")),
        ("create", Path("/data/a"), "", None, Wish()),
        ("listed",),
        ("revoke", "x"),
    ]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"path": "relative"},
        {"path": "/a", "lifetime_s": LIFETIME_MAX_S + 1},
        {"path": "/a", "downloads_max": DOWNLOADS_MAX + 1},
        {"path": "/a", "lifetime_s": -1},
        {"path": "/a", "password": 7},
        {"path": "/a", "more": 1},
    ],
)
async def test_what_makes_no_sense_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        await link_control.create(FakeLinks(), Fields(asked))
