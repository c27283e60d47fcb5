"""How copies stand is said by what can be reached, and by the pack that stands worst."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from peer.backup.backup_report import health_of
from tests.peer.backup_stage import keep, nodes
from tests.peer.device_stage import devices, folder_of


@pytest.mark.parametrize(
    ("counts", "word"),
    [
        ((0, 0, 0, 0), "empty"),
        ((3, 0, 0, 0), "healthy"),
        ((3, 1, 0, 0), "degraded"),
        ((3, 1, 1, 0), "at risk"),
        ((3, 1, 1, 1), "lost"),
    ],
)
def test_the_worst_pack_counts(counts: tuple[int, int, int, int], word: str) -> None:
    assert health_of(*counts) == word


@pytest.mark.row("F38")
async def test_the_age_of_the_oldest_unverified_byte_and_what_is_lost(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        (stage.root("one") / "a").write_bytes(b"hello")
        await one.add_folder(stage.root("one"), "f")
        entry = await keep(stage, one, some, 1)
        assert entry["unverified_s"] is not None
        assert 0 <= entry["unverified_s"] < 3600
        assert [node["shares"] for node in entry["nodes"]] == [entry["packs"]] * 3
        assert entry["stored_bytes"] == 3 * entry["pack_bytes"]
        assert "one network" in " ".join(entry["warnings"])
        backup = one.backups._backups[folder_of(one).folder_id]
        for share, healths in ((0, "degraded"), (1, "at risk"), (2, "lost")):
            for holding in await backup.store.holdings():
                if holding.share == share:
                    await backup.store.drop(*holding[:3])
            async with asyncio.timeout(30):
                (entry,) = (await one.backups.every())["backups"]
            assert entry["health"] == healths
