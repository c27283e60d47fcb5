"""What the tab of what is not synced shows."""

from __future__ import annotations

from pathlib import Path

from tests.tui.stage import screen
from tui.trouble import NO_TROUBLE


async def test_what_is_too_long_for_its_table_is_read_below_it(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("3")
        assert stage.cells("trouble-list")[0][1] == "a/b"
        await stage.until(lambda: stage.text("line-detail").startswith("a/b: "))
        await stage.press("1")
        await stage.until(lambda: stage.text("line-detail") == "")
        stage.daemon.errors = []
        await stage.press("3")
        listing = stage.listing("trouble-list")
        await stage.until(lambda: listing.told == NO_TROUBLE)
