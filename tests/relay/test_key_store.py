"""The relay's key: made once, private, and never guessed at."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from crypto.keys import DeviceKeys
from peer.device.home import RELAY_KEY_NAME, Home
from relay.errors import HomeExposed, KeyFileUnusable, PathUnusable
from relay.key_store import KEY_NAME, load_keys


def test_it_is_made_once_and_is_private(tmp_path: Path) -> None:
    home = tmp_path / "a" / "home"
    first = load_keys(home)
    assert load_keys(home).device_id == first.device_id
    assert stat.S_IMODE((home / KEY_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert os.listdir(home) == [KEY_NAME]


def test_a_damaged_key_is_said_and_stays(tmp_path: Path) -> None:
    load_keys(tmp_path)
    path = tmp_path / KEY_NAME
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(KeyFileUnusable, match="another relay"):
        load_keys(tmp_path)
    assert path.read_bytes() == damaged


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    load_keys(tmp_path)
    (tmp_path / KEY_NAME).chmod(0o640)
    with pytest.raises(HomeExposed, match="chmod 600"):
        load_keys(tmp_path)


def test_a_home_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PathUnusable, match="--home"):
        load_keys(tmp_path / "file")
    (tmp_path / KEY_NAME).symlink_to(tmp_path / "file")
    with pytest.raises(PathUnusable):
        load_keys(tmp_path)


async def test_a_device_may_move_in_with_it(tmp_path: Path) -> None:
    """Who runs a relay in the default home can make a device there, before or after."""
    assert KEY_NAME == RELAY_KEY_NAME
    relay = load_keys(tmp_path)
    home = await Home.create(tmp_path, DeviceKeys.generate(os.urandom))
    await home.write_key()
    await home.close()
    assert load_keys(tmp_path).device_id == relay.device_id
