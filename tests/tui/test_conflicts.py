"""What the tab of conflicts shows, and that a key decides one."""

from __future__ import annotations

from pathlib import Path

from tests.tui.stage import screen

PLACE = Path("/data/photos/a")


async def test_a_conflict_is_decided_by_one_key(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        assert "Both" not in stage.keys()
        await stage.press("4")
        await stage.until(lambda: stage.cells("conflict-list"))
        (copy,) = stage.cells("conflict-list")
        assert copy == ["?", "09-09 01:46", "be\\x1bta", "1.4 kB", "photos", "a.txt"]
        (line,) = stage.listing("conflict-list").lines
        assert line.detail == "a (conflict be\\x1bta).txt"
        await stage.until(lambda: {"Compare", "File", "Copy", "Both"} <= stage.keys())
        for key, keep in (("f", "original"), ("c", "copy"), ("b", "both")):
            await stage.press(key)
            await stage.acts(("resolve", PLACE, keep))
        stage.daemon.copies = []
        await stage.until(lambda: not stage.cells("conflict-list"))
        await stage.until(lambda: "Both" not in stage.keys())
