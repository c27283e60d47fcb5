"""The screen of settings."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Input

from peer.errors import BadConfig
from tests.peer.fake_daemon import SETTING
from tests.tui.stage import Stage, screen
from tui.dialogs import Ask
from tui.settings import SettingsScreen, setting_lines


async def open_settings(stage: Stage) -> None:
    await stage.press("comma")
    await stage.shows(SettingsScreen)
    await stage.until(lambda: stage.cells("settings"))


def test_what_a_person_has_set_is_marked() -> None:
    own, same = setting_lines([{**SETTING, "value": "7"}, SETTING])
    assert (own.cells[0], same.cells[0]) == ("●", "")
    assert "1 to 1,000,000,000 files" in own.detail


async def test_a_setting_gets_another_value_and_its_default_again(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_settings(stage)
        await stage.press("enter")
        await stage.shows(Ask)
        stage.app.screen.query_one(Input).value = "7"
        await stage.press("enter")
        await stage.until(lambda: ("set", "folders.hold_files", "7") in stage.daemon.calls)
        await stage.shows(SettingsScreen)
        await stage.press("u")
        await stage.until(lambda: ("set", "folders.hold_files", "500") in stage.daemon.calls)


async def test_what_is_not_allowed_is_told(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_settings(stage)
        stage.daemon.failure = BadConfig("folders.hold_files is '0', but allowed is more.")
        await stage.press("u")
        await stage.until(lambda: stage.app._notifications)
        (told,) = stage.app._notifications
        assert "allowed is more" in told.message
