"""A home's settings are read and changed with care, and its trail page by page."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from crypto.keys import DeviceKeys
from peer.control.home_requests import HomeRequests
from peer.errors import BadConfig, UsageError
from peer.journal.trail import Trail


async def test_a_setting_is_changed_and_said(tmp_path: Path) -> None:
    home = HomeRequests(tmp_path)
    before = {one["key"]: one for one in (await home.settings())["settings"]}
    assert before["folders.hold_files"] == {
        "key": "folders.hold_files", "value": "500", "default": "500",
        "allowed": "1 to 1000000000 files",
    }  # fmt: skip
    changed = await home.set("folders.hold_files", "7")
    assert (changed["value"], changed["default"]) == ("7", "500")
    assert changed in (await home.settings())["settings"]
    assert "hold_files = 7" in (tmp_path / "config.toml").read_text()


@pytest.mark.parametrize(
    ("key", "value"), [("folders.hold_files", "0"), ("nothing", "1"), ("network.links", "[]")]
)
async def test_what_is_not_allowed_changes_nothing(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(BadConfig):
        await HomeRequests(tmp_path).set(key, value)
    assert not (tmp_path / "config.toml").exists()


async def test_a_setting_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        await HomeRequests(tmp_path).set("folders.hold_files", "7\nx = 1")


async def test_the_trail_is_read_back_in_pages(tmp_path: Path) -> None:
    trail = Trail(tmp_path, DeviceKeys.generate(Random(1).randbytes))
    trail.open("one", begins_anew=False)
    for number in range(5):
        trail.note("setting", key="k", value=number)
    home = HomeRequests(tmp_path)
    page = await home.trail(None, 4)
    assert [one["text"] for one in page["entries"]] == [f"k is {n} now." for n in (4, 3, 2, 1)]
    assert page["more"]
    older = await home.trail(page["entries"][-1]["number"], 4)
    assert [one["text"] for one in older["entries"]] == ["k is 0 now.", "The daemon started."]
    assert not older["more"]
    trail.close()


async def test_no_trail_is_an_empty_page(tmp_path: Path) -> None:
    assert await HomeRequests(tmp_path).trail(None, 10) == {"entries": [], "more": False}
