"""What the main screen shows, and that each of its keys does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from tests.peer.fake_daemon import DEVICE_ID, FOLDER_ID, NOTICE, RELAY, running
from tests.tui.stage import Stage, screen
from tui import main_screen
from tui.app import HoldfastApp
from tui.dialogs import Ask, Confirm
from tui.main_screen import MainScreen
from tui.qr import QrScreen
from tui.versions import VersionsScreen
from tui.welcome import WelcomeScreen


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_it_shows_what_the_daemon_says(tmp_path: Path, size: tuple[int, int]) -> None:
    async with screen(tmp_path, size) as stage:
        assert stage.text("headline").startswith("alpha · 0 of 1 in sync, photos: syncing")
        (folder,) = stage.cells("folder-list")
        assert folder[1:3] == ["photos", "syncing, 3 left (1.4 MB)"]
        assert stage.cells("trouble-list")[0][1] == "a/b"
        assert stage.cells("device-list")[0][2] == "this device"
        assert {"Add", "Invite", "Pause", "Versions", "Remove", "Quit"} <= stage.keys()
        assert "Attach" not in stage.keys()
        assert "Meant" not in stage.keys()


async def test_names_of_others_do_not_steer_the_terminal(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        shown = stage.app.export_screenshot()
        assert "\x1b" not in shown
        assert all("\x1b" not in cell for row in stage.cells("device-list") for cell in row)


async def test_it_survives_a_daemon_that_goes_and_comes(tmp_path: Path) -> None:
    app = HoldfastApp(tmp_path)
    async with app.run_test() as pilot:
        stage = Stage(app, pilot, None)  # type: ignore[arg-type]
        await stage.until(lambda: isinstance(app.screen, WelcomeScreen))
        assert "Add" not in stage.keys()
        for _ in range(2):
            async with running(tmp_path):
                await stage.until(lambda: stage.text("headline").startswith("alpha"))
                assert isinstance(app.screen, MainScreen)  # nobody has to be welcomed
                assert stage.cells("folder-list")[0][1] == "photos"
            await stage.until(lambda: stage.text("headline").startswith("The daemon"))


async def test_a_folder_is_added(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("a")
        await stage.until(lambda: isinstance(stage.app.screen, Ask))
        fields = list(stage.app.screen.query(Input))
        fields[0].value = str(tmp_path)
        await stage.press("enter")
        assert fields[1].has_focus
        await stage.press(*"pics", "enter")
        await stage.calls(("add_folder", tmp_path, "pics"))


async def test_who_thinks_better_of_it_changes_nothing(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        for key in ("a", "d"):
            await stage.press(key)
            await stage.until(lambda: isinstance(stage.app.screen, Ask | Confirm))
            await stage.press("escape")
            await stage.until(lambda: len(stage.app.screen_stack) == 1)
        await stage.calls()


async def test_a_folder_is_removed_after_a_question(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("d")
        await stage.until(lambda: isinstance(stage.app.screen, Confirm))
        await stage.press("y")
        await stage.calls(("remove_folder", FOLDER_ID))


async def test_pause(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("p")
        await stage.calls(("pause", FOLDER_ID))


async def test_an_invitation_shows_its_code(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("i")
        await stage.until(lambda: isinstance(stage.app.screen, QrScreen))
        shown = stage.app.export_screenshot().replace("&#160;", " ")
        assert "7-crossover-clockwork" in shown
        await stage.press("escape")
        await stage.calls(("invite",))


async def test_devices_and_relays_have_keys_of_their_own(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("2")
        assert "Add" not in stage.keys()
        await stage.press("d")
        await stage.until(lambda: isinstance(stage.app.screen, Confirm))
        await stage.press("y")
        await stage.calls(("remove_device", DEVICE_ID))
        await stage.press("5", "a")
        await stage.until(lambda: isinstance(stage.app.screen, Ask))
        stage.app.screen.query_one(Input).value = str(RELAY)
        await stage.press("enter")
        await stage.calls(("remove_device", DEVICE_ID), ("add_relay", RELAY))


async def test_a_refusal_is_told(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("5", "a")
        await stage.until(lambda: isinstance(stage.app.screen, Ask))
        stage.app.screen.query_one(Input).value = "nonsense"
        await stage.press("enter")
        await stage.until(lambda: stage.app._notifications)
        (notice,) = stage.app._notifications
        assert notice.severity == "error"
        await stage.calls()


@pytest.mark.parametrize(("key", "answer"), [("y", "accept"), ("n", "restore")])
async def test_a_question_is_shown_and_answered(tmp_path: Path, key: str, answer: str) -> None:
    async with screen(tmp_path) as stage:
        stage.daemon.question = "700 files were deleted. Was it meant?"
        await stage.until(lambda: "700 files" in stage.text("question"))
        assert {"Meant", "Bring back"} <= stage.keys()
        await stage.press(key)
        await stage.calls(("answer_hold", FOLDER_ID, answer))


async def test_a_folder_that_is_only_offered_can_be_attached(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        stage.daemon.path = None
        await stage.until(lambda: "Attach" in stage.keys())
        assert not {"Pause", "Versions", "Remove"} & stage.keys()
        await stage.press("enter")
        await stage.until(lambda: isinstance(stage.app.screen, Ask))
        stage.app.screen.query_one(Input).value = str(tmp_path)
        await stage.press("enter")
        await stage.calls(("attach_folder", FOLDER_ID, tmp_path))


async def test_versions_open_and_close(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("v")
        await stage.until(lambda: isinstance(stage.app.screen, VersionsScreen))
        assert "Pause" not in stage.keys()
        assert "Back" in stage.keys()
        await stage.press("escape")
        await stage.until(lambda: len(stage.app.screen_stack) == 1)


async def test_the_cursor_stays_where_it_was(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        stage.daemon.names = ["photos", "music", "papers"]
        await stage.until(lambda: stage.listing("folder-list").row_count == 3)
        await stage.press("down")
        chosen = stage.listing("folder-list").chosen
        stage.daemon.names = ["new", "photos", "music", "papers"]
        await stage.until(lambda: stage.listing("folder-list").row_count == 4)
        assert stage.listing("folder-list").chosen == chosen


@pytest.mark.parametrize(("key", "keep"), [("f", "original"), ("c", "copy"), ("b", "both")])
async def test_a_conflict_is_decided_by_one_key(tmp_path: Path, key: str, keep: str) -> None:
    async with screen(tmp_path) as stage:
        assert "Both" not in stage.keys()
        await stage.press("4")
        await stage.until(lambda: stage.cells("conflict-list"))
        (copy,) = stage.cells("conflict-list")
        assert copy[2] == "a (conflict be\\x1bta).txt"
        await stage.until(lambda: {"Compare", "File", "Copy", "Both"} <= stage.keys())
        await stage.press(key)
        await stage.calls(("resolve", Path("/data/photos/a"), keep))
        stage.daemon.copies = []
        await stage.until(lambda: not stage.cells("conflict-list"))


async def test_news_are_read(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        assert "1 unread" in stage.text("headline")
        assert "Mark read" not in stage.keys()
        await stage.press("6")
        (line,) = stage.cells("news-list")
        assert line[2].startswith("In photos, two edits")
        await stage.until(lambda: stage.text("line-detail") == line[2])
        await stage.press("m")
        await stage.calls(("mark_as_read", [7]))
        await stage.press("M")
        await stage.calls(("mark_as_read", [7]), ("mark_as_read", None))


async def test_what_is_new_is_shown_for_a_moment_wherever_the_person_is(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        assert not stage.app._notifications  # what was there before is no news
        NOTICE["id"] = 8
        try:
            stage.daemon.events.publish("notifications", unread=1)
            await stage.until(lambda: stage.app._notifications)
        finally:
            NOTICE["id"] = 7
        (told,) = stage.app._notifications
        assert told.severity == "warning"


async def test_what_is_too_long_for_its_table_is_read_below_it(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("3")
        await stage.until(lambda: stage.text("line-detail").startswith("a/b: "))
        await stage.press("1")
        await stage.until(lambda: stage.text("line-detail") == "")


async def test_what_happens_is_looked_at_at_once_and_silence_hardly_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main_screen, "UNTOLD_EVERY", 10**9)
    async with screen(tmp_path) as stage:
        main = stage.app.screen
        assert isinstance(main, MainScreen)
        await stage.until(lambda: main._is_told)
        monkeypatch.setattr(MainScreen, "_is_moving", False)
        await stage.until(lambda: not any(w.group == "look" and w.is_running for w in main.workers))
        asked = len(stage.daemon.calls)
        for _ in range(5):
            main._tick()
        await stage.pilot.pause(0.05)
        assert len(stage.daemon.calls) == asked
        NOTICE["text"] = "In photos, something else."
        try:
            stage.daemon.events.publish("notifications", unread=1)
            await stage.until(lambda: stage.cells("news-list")[0][2] == NOTICE["text"])
        finally:
            NOTICE["text"] = "In photos, two edits of one file were kept: a."
