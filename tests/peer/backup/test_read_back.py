"""What is not read back yet after a recovery is remembered, and no device is removed until then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crypto.ids import FolderId
from crypto.keys import DeviceKeys
from peer.backup.backup_settings import UNREAD_SETTING
from peer.backup.read_back import ReadBack, write_unread
from peer.device.home import Home
from peer.errors import NotReadBack

ONE, TWO = FolderId(b"1" * 32), FolderId(b"2" * 32)


async def test_it_lasts_until_each_folder_is_read(tmp_path: Path) -> None:
    home = await Home.create(tmp_path / "home", DeviceKeys.generate(os.urandom))
    async with home.store.transaction() as write:
        await write.put_setting(UNREAD_SETTING, write_unread([TWO, ONE]))
    first = ReadBack(home)
    first.check({})
    await first.load()
    await first.is_read(ONE)
    again = ReadBack(home)
    await again.load()
    with pytest.raises(NotReadBack, match="photos: not all"):
        again.check({TWO: "photos"})
    again.check({ONE: "what else is kept"})
    await again.is_read(TWO)
    again.check({})
    assert not again.is_awaited
    await home.close()
