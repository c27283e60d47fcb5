"""Conflicts over all folders of a device."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from peer.errors import NotResolved
from peer.status import Choice
from tests.peer.device_stage import devices, until

COPY = "plan (conflict other 2026-01-31 1400).odt"


async def test_the_copies_of_all_folders_are_listed_and_decided(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        for name in ("home", "work"):
            root = tmp_path / name
            root.mkdir()
            (root / "plan.odt").write_bytes(b"original")
            (root / COPY).write_bytes(b"copy")
            await daemon.add_folder(root, name)
        folders = daemon.network.folders.values()
        await until(lambda: [f.progress.summary.files for f in folders] == [2, 2])
        found = (await daemon.conflicts())["conflicts"]
        assert {(one["folder"], one["path"], one["original"]) for one in found} == {
            ("home", COPY, "plan.odt"),
            ("work", COPY, "plan.odt"),
        }
        await daemon.resolve(tmp_path / "work" / COPY, Choice.COPY)
        assert (tmp_path / "work" / "plan.odt").read_bytes() == b"copy"
        assert (tmp_path / "home" / "plan.odt").read_bytes() == b"original"


async def test_a_merged_text_takes_the_place_of_both(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        root = stage.root("one")
        (root / "plan.odt").write_bytes(b"original")
        (root / COPY).write_bytes(b"copy")
        await daemon.add_folder(root, "f")
        (folder,) = daemon.network.folders.values()
        await until(lambda: folder.progress.summary.files == 2)
        await daemon.merge(root / COPY, "of both: \N{SNOWMAN}")
        assert (root / "plan.odt").read_text() == "of both: \N{SNOWMAN}"
        assert not (root / COPY).exists()
        await until(lambda: folder.progress.summary.files == 1)
        with pytest.raises(NotResolved):
            await daemon.merge(root / COPY, "again")
        assert (root / "plan.odt").read_text() == "of both: \N{SNOWMAN}"
        kept = (await daemon.deleted(root))["versions"]
        assert [one["path"] for one in kept] == [COPY]


async def test_who_waits_no_longer_leaves_the_folder_at_work(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        await daemon.add_folder(stage.root("one"), "f")
        (folder,) = daemon.network.folders.values()
        conflicts = folder.conflicts
        assert conflicts is not None
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(folder.call(conflicts.list))
            await asyncio.sleep(0)
            asking.cancel()
        assert await folder.call(conflicts.list) == []
        assert asking.cancelled()
