"""A search over all folders of a device."""

from __future__ import annotations

import os
from pathlib import Path

from tests.peer.device_stage import devices, until


async def test_the_best_of_all_folders_comes_first(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        for folder, names in (("work", ["plan", "old plan"]), ("home", ["plans", "plan"])):
            root = tmp_path / folder
            root.mkdir()
            for number, name in enumerate(names):
                (root / name).write_bytes(b"x")
                os.utime(root / name, (1e9 + number, 1e9 + number))
            await daemon.add_folder(root, folder)
        folders = daemon.network.folders.values()
        await until(lambda: [f.progress.summary.files for f in folders] == [2, 2])
        answer = await daemon.search("plan", 10)
        found = [(one["folder"], one["path"]) for one in answer["found"]]
        assert found == [
            ("home", "plan"),
            ("work", "plan"),
            ("home", "plans"),
            ("work", "old plan"),
        ]
        answer = await daemon.search("plan folder:work", 1)
        assert [one["folder"] for one in answer["found"]] == ["work"]
        assert answer["more"]
