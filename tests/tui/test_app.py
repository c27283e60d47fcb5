"""The palette."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import HelpPanel

from tests.peer.fake_daemon import FOLDER_ID
from tests.tui.stage import screen
from tui.versions import VersionsScreen


async def test_every_act_that_is_possible_is_in_the_palette(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        titles = {c.title for c in stage.app.get_system_commands(stage.app.screen)}
        assert {
            "Add (a)",
            "Invite (i)",
            "Pause (p)",
            "Versions (v)",
            "Remove (d)",
            "Find (/)",
        } <= titles
        assert "Attach (t)" not in titles
        assert titles.isdisjoint({"Keys", "Maximize", "Minimize"})  # the toolkit's own
        await stage.press("v")
        await stage.shows(VersionsScreen)
        titles = {c.title for c in stage.app.get_system_commands(stage.app.screen)}
        assert "Pause (p)" not in titles
        assert "Quit" in titles


async def test_what_the_palette_offers_is_done(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        (pause,) = [
            c for c in stage.app.get_system_commands(stage.app.screen) if c.title == "Pause (p)"
        ]
        await pause.callback()
        await stage.calls(("pause", FOLDER_ID))


async def test_all_keys_are_shown_and_hidden(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("question_mark")
        await stage.until(lambda: stage.app.screen.query(HelpPanel))
        await stage.press("question_mark")
        await stage.until(lambda: not stage.app.screen.query(HelpPanel))


async def test_escape_hides_the_keys(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("question_mark")
        await stage.until(lambda: stage.app.screen.query(HelpPanel))
        await stage.press("escape")
        await stage.until(lambda: not stage.app.screen.query(HelpPanel))
