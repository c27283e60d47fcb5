"""The screen of the audit trail."""

from __future__ import annotations

from pathlib import Path

from peer.control.log_requests import LogChoice
from tests.tui.stage import screen
from tui.trail import TrailScreen


async def test_who_did_what_is_read_page_by_page(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("l")
        await stage.shows(TrailScreen)
        await stage.until(lambda: len(stage.cells("trail")) == 5)
        assert stage.cells("trail")[0][2:] == [
            "be\\x1bta", "photos: the file number 9\\x1b[2J was changed.",
        ]  # fmt: skip
        await stage.until(lambda: "Older" in stage.keys())
        await stage.press("o")
        await stage.until(lambda: len(stage.cells("trail")) == 9)
        assert ("log", LogChoice(cursor="5-1700000000")) in stage.daemon.calls
        await stage.until(lambda: "Older" not in stage.keys())
        await stage.press("r")
        await stage.until(lambda: len(stage.cells("trail")) == 5)
        assert "\x1b" not in stage.app.export_screenshot()
