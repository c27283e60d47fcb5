"""Who has no device here makes one, and the daemon is run for them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from textual.widgets import Input, Label

from peer.control.control_client import ControlClient
from tests.tui.stage import Stage
from tui import welcome
from tui.app import HoldfastApp
from tui.dialogs import Ask, Kit
from tui.main_screen import MAKE_ONE, MainScreen
from tui.told import Told
from tui.watch import Standing
from tui.welcome import WelcomeScreen, ask_command, started_daemon


async def test_a_first_device_is_made_run_and_its_kit_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(home: Path, *words: str) -> list[str]:
        if words == ("run",):  # on no port that another test may have
            words = ("run", "--listen", "127.0.0.1:0", "--no-discovery")
        return [sys.executable, "-P", "-m", "peer", "--home", str(home), *words]

    monkeypatch.setattr(welcome, "command", command)
    home = tmp_path / "home"
    app = HoldfastApp(home)
    async with app.run_test(size=(80, 24)) as pilot:
        stage = Stage(app, pilot, None)  # type: ignore[arg-type]
        await stage.shows(WelcomeScreen)
        asking = app.screen.query_one(".dialog")
        for key in ("j", "n"):
            await stage.press(key)
            await stage.shows(Ask)
            await stage.until(lambda: not asking.visible)  # a second frame around this window
            if key == "j":
                await stage.press("escape")
                await stage.shows(WelcomeScreen)
                await stage.until(lambda: asking.visible)
        app.screen.query_one(Input).value = "laptop"
        await stage.press("enter")
        await stage.shows(Kit)
        assert "recovery kit" in str(app.screen.query_one(Label).content)
        try:
            await stage.press("w")
            await stage.shows(MainScreen)
            await stage.until(lambda: stage.text("headline").startswith("laptop"))
        finally:
            (process,) = welcome.STARTED
            ControlClient(home).stop()
            assert process.wait(60) == 0
            welcome.STARTED.clear()


async def test_the_line_above_names_the_key_only_once_the_window_is_left(tmp_path: Path) -> None:
    app = HoldfastApp(tmp_path / "home")
    async with app.run_test(size=(80, 24)) as pilot:
        stage = Stage(app, pilot, None)  # type: ignore[arg-type]
        await stage.shows(WelcomeScreen)
        line = app.screen_stack[0].query_one("#headline", Told)
        await stage.until(lambda: line.text == Standing.EMPTY.value)
        await stage.press("escape")
        await stage.until(lambda: line.text == MAKE_ONE)
        await stage.press("r")
        await stage.shows(WelcomeScreen)
        assert line.text == Standing.EMPTY.value


async def test_why_a_command_failed_is_said(tmp_path: Path) -> None:
    made, problem = await ask_command(tmp_path / "home", "join", "--name", "b", given="nonsense")
    assert made == {}
    assert problem.startswith("A pairing code begins with a number")


async def test_why_a_daemon_ended_at_once_is_said(tmp_path: Path) -> None:
    assert "device" in await started_daemon(tmp_path)
    assert "cannot be started" in await started_daemon(tmp_path / "nowhere")
