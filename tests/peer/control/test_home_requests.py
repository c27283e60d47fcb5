"""A home's settings are read and changed with care."""

from __future__ import annotations

from pathlib import Path

import pytest

from peer.control.home_requests import HomeRequests
from peer.errors import BadConfig, UsageError


async def test_a_setting_is_changed_and_said(tmp_path: Path) -> None:
    home = HomeRequests(tmp_path)
    before = {one["key"]: one for one in (await home.settings())["settings"]}
    assert before["folders.hold_files"] == {
        "key": "folders.hold_files", "value": "500", "default": "500",
        "allowed": "1 to 1,000,000,000 files",
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
