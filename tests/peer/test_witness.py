"""What happens on whole devices is in their trails, and stays there through a kill."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from peer.daemon import Daemon
from peer.trail_file import read_back, verify_trail
from tests.peer.device_stage import devices, until


def entries(daemon: Daemon) -> list[dict[str, Any]]:
    return [line.entry for line in read_back(daemon.witness.trail.directory)][::-1]


async def test_devices_folders_and_files_are_told_of(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await stage.share(one, two)
        (stage.root("one") / "a").write_bytes(b"1")
        await until(lambda: any(e["what"] == "files" for e in entries(two)))
        (file,) = [e for e in entries(two) if e["what"] == "files"]
        assert (file["by"], file["device"]) == ("one", one.home.keys.device_id.hex())
        assert (file["folder"], file["paths"]) == ("f", {"created": ["a"]})
        await until(
            lambda: any(e["what"] == "offered" and e["folder"] == "f" for e in entries(two))
        )
        joined = [e for e in entries(one) if e["what"] == "joined"]
        assert [(e["name"], e["joined"]) for e in joined] == [
            ("two", two.home.keys.device_id.hex())
        ]
        await one.remove_device("two")
        assert [e["name"] for e in entries(one) if e["what"] == "removed"] == ["two"]
        one.acted("/api/sync/pause", {"folder": "f"})
        assert entries(one)[-1]["with"] == {"folder": "f"}
        for daemon in (one, two):
            assert verify_trail(daemon.witness.trail.directory).problems == []


async def test_a_home_that_was_copied_goes_on_in_its_own_chain(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        await stage.found("one")
    (tmp_path / "home-one").rename(tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "home-one")
    async with devices(tmp_path) as stage:
        one = await stage.start("one")
        verdict = verify_trail(one.witness.trail.directory)
        assert verdict.problems == []
        assert any("new chain" in note for note in verdict.notes)
