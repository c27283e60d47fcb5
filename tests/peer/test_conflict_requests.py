"""Conflicts over all folders of a device."""

from __future__ import annotations

from pathlib import Path

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
