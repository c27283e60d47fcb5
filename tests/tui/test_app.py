"""The palette."""

from __future__ import annotations

from pathlib import Path

from tests.tui.stage import screen
from tui.versions import VersionsScreen


async def test_every_act_that_is_possible_is_in_the_palette(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        titles = {c.title for c in stage.app.get_system_commands(stage.app.screen)}
        assert {"Add", "Invite", "Pause or resume", "Versions", "Remove"} <= titles
        assert "Attach" not in titles
        await stage.press("v")
        await stage.until(lambda: isinstance(stage.app.screen, VersionsScreen))
        titles = {c.title for c in stage.app.get_system_commands(stage.app.screen)}
        assert "Pause or resume" not in titles
        assert "Quit" in titles
