"""What a device keeps of its upload links and of what came."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from crypto.ids import FolderId
from peer.errors import HomeDamaged
from peer.share_links.upload_store import (
    Arrival,
    ArrivalState,
    UploadLink,
    UploadSecrets,
    UploadStore,
)

SECRETS = UploadSecrets(b"1" * 32, b"2" * 32, b"3" * 32, b"4" * 32)
LINK = UploadLink(
    b"l" * 16, "holdfast-relay://a", "https://a", SECRETS, "Party", FolderId(b"f" * 32), "In/x",
    True, 5, 0, 10, 20, 30,
)  # fmt: skip
ARRIVAL = Arrival(b"l" * 16, b"u" * 16, ArrivalState.HERE, "Ada", "In/a", 5, 6, 7, 8)
KEY = b"k" * 32


async def test_links_and_arrivals_come_back(tmp_path: Path) -> None:
    path = tmp_path / "uploads.db"
    store = await UploadStore.open(path, KEY)
    await store.add(LINK, b"r" * 32)
    await store.put(ARRIVAL)
    await store.put(ARRIVAL.with_state(ArrivalState.PLACED))
    await store.close()
    assert path.stat().st_mode & 0o777 == 0o600
    for secret in SECRETS:
        assert all(secret not in each for each in contents(tmp_path))
    store = await UploadStore.open(path, KEY)
    assert await store.links() == [LINK]
    placed = {ARRIVAL.upload_id: ARRIVAL.with_state(ArrivalState.PLACED)}
    assert await store.arrivals(LINK.link_id) == placed
    await store.revoked(LINK.link_id, 9)
    await store.over(LINK.link_id)
    assert await store.links() == [replace(LINK, revoked_s=9, is_over=True)]
    await store.drop(ARRIVAL)
    assert await store.arrivals(LINK.link_id) == {}
    await store.forget(LINK.link_id)
    assert await store.links() == []
    await store.close()


def contents(directory: Path) -> list[bytes]:
    return [each.read_bytes() for each in directory.iterdir()]


@pytest.mark.parametrize("content", [b"no database at all" * 99, None])
async def test_what_cannot_be_used_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "uploads.db"
    if content is None:
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version = 99")
        db.close()
    else:
        path.write_bytes(content)
    with pytest.raises(HomeDamaged, match=r"uploads\.db"):
        await UploadStore.open(path, KEY)
