"""What the main screen shows, and that each of its keys does what it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from textual._compositor import Compositor
from textual._styles_cache import StylesCache
from textual.geometry import Region
from textual.screen import Screen
from textual.widget import Widget

from peer.status import Invitation
from tests.peer.fake_daemon import FOLDER_ID, running
from tests.tui.stage import Stage, screen
from tui.app import HoldfastApp
from tui.main_screen import MainScreen, Panes
from tui.pane import Pane
from tui.qr import QrScreen
from tui.welcome import WelcomeScreen


async def test_it_shows_what_the_daemon_says(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        assert stage.text("headline").startswith("alpha · 0 of 1 in sync, photos: syncing")
        (folder,) = stage.cells("folder-list")
        assert folder[1:3] == ["photos", "syncing, 3 left (1.4 MB)"]
        assert "\x1b" not in stage.app.export_screenshot()
        assert {"Add", "Invite", "Pause", "Versions", "Remove", "Quit"} <= stage.keys()
        assert "Meant" not in stage.keys()
        await stage.press("3")  # drawn with the key, from what is known
        assert stage.cells("trouble-list")[0][1] == "a/b"
        await stage.press("2")
        assert stage.cells("device-list")[0][2] == "this device"


async def test_it_survives_a_daemon_that_goes_and_comes(tmp_path: Path) -> None:
    app = HoldfastApp(tmp_path)
    async with app.run_test() as pilot:
        stage = Stage(app, pilot, None)  # type: ignore[arg-type]
        await stage.until(lambda: isinstance(app.screen, WelcomeScreen) and stage.keys())
        assert "Add" not in stage.keys()
        for _ in range(2):
            async with running(tmp_path):
                await stage.until(lambda: stage.text("headline").startswith("alpha"))
                assert isinstance(app.screen, MainScreen)  # nobody has to be welcomed
                assert stage.cells("folder-list")[0][1] == "photos"
            await stage.until(lambda: stage.text("headline").startswith("The daemon"))


async def test_an_invitation_shows_its_code(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("i")
        await stage.shows(QrScreen)
        shown = stage.app.export_screenshot().replace("&#160;", " ")
        assert "7-crossover-clockwork" in shown
        await stage.press("escape")
        await stage.calls(("invite",))


async def test_an_invitation_names_one_relay_of_many(tmp_path: Path) -> None:
    """More would push the picture off a screen of 24 lines."""

    async def invite() -> Invitation:
        return {"code": "7-one-two", "expires_s": 600, "relays": ["first", "second"]}

    async with screen(tmp_path) as stage:
        stage.daemon.invite = invite  # type: ignore[method-assign]
        await stage.press("i")
        await stage.shows(QrScreen)
        shown = stage.app.export_screenshot().replace("&#160;", " ")
        assert "say where: first" in shown
        assert "second" not in shown


async def test_a_question_is_shown_and_answered(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        stage.daemon.question = "700 files were deleted. Was it meant?"
        await stage.until(lambda: "700 files" in stage.text("question"))
        assert {"Meant", "Bring back"} <= stage.keys()
        for key, answer in (("y", "accept"), ("n", "restore")):
            await stage.press(key)
            await stage.acts(("answer_hold", FOLDER_ID, answer))


async def test_a_key_and_numbers_that_run_are_painted_with_few_layouts(tmp_path: Path) -> None:
    """Each of them lays out and paints the whole screen, which takes a person's patience."""
    async with screen(tmp_path) as stage:
        for key in "23456781":
            await stage.press(key)
        await stage.until(lambda: stage.cells("transfer-list"))
        with layouts(stage) as made:
            for key in "231":
                await stage.press(key)
            for done in range(700_000, 1_400_000, 140_000):
                stage.daemon.transfers.entries[0]["done_bytes"] = done
                stage.daemon.events.publish("notifications", unread=1)
                share = f" {done / 1_400_000:.0%}"
                await stage.until(lambda share=share: share in stage.cells("transfer-list")[1][2])  # type: ignore[misc]
            # Each key one, and one more where the line below the table comes or goes.
            assert 0 < len(made) <= 6


async def test_a_key_paints_what_is_another_thing_and_no_ground_that_is_covered(
    tmp_path: Path,
) -> None:
    async with screen(tmp_path) as stage:
        for key in "231":
            await stage.press(key)
        whole: list[object] = []
        drawn: list[Widget] = []
        full, render = Compositor.render_full_update, StylesCache.render_widget

        def render_full(self: Compositor, *given: Any, **options: Any) -> Any:
            whole.append(self)
            return full(self, *given, **options)

        def render_widget(self: StylesCache, widget: Widget, crop: Region) -> Any:
            drawn.append(widget)
            return render(self, widget, crop)

        with (
            patch.object(Compositor, "render_full_update", render_full),
            patch.object(StylesCache, "render_widget", render_widget),
        ):
            for key, name in ("2", "device-list"), ("5", "relay-list"):
                await stage.press(key)
                await stage.until(lambda name=name: stage.listing(name) in drawn)  # type: ignore[misc]
        assert whole == []
        assert [one for one in drawn if isinstance(one, Pane | Panes | MainScreen)] == []


@contextmanager
def layouts(stage: Stage) -> Iterator[list[None]]:
    """Each layout that is made of the screen."""
    made: list[None] = []
    real = Screen._refresh_layout

    def refresh_layout(self: Screen[object], *given: Any, **options: Any) -> None:
        made.append(None)
        real(self, *given, **options)

    with patch.object(Screen, "_refresh_layout", refresh_layout):
        yield made
