"""What the tab of folders shows, and that each of its keys does what it says."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Input

from peer.errors import PathUnusable
from peer.status import FolderEntry, FolderState
from tests.peer.fake_daemon import FOLDER_ID
from tests.tui.stage import screen
from tui.dialogs import Ask, Confirm
from tui.versions import VersionsScreen


async def test_a_folder_is_added_paused_looked_into_and_removed(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        assert {"Add", "Pause", "Versions", "Remove"} <= stage.keys()
        assert "Attach" not in stage.keys()
        await stage.press("a")
        await stage.shows(Ask)
        fields = list(stage.app.screen.query(Input))
        fields[0].value = str(tmp_path)
        await stage.press("enter")
        assert fields[1].has_focus
        await stage.press(*"pics", "enter")
        await stage.acts(("add_folder", tmp_path, "pics"))
        await stage.press("p")
        await stage.acts(("pause", FOLDER_ID))
        await stage.press("v")
        await stage.shows(VersionsScreen)
        assert "Pause" not in stage.keys()
        assert "Back" in stage.keys()
        await stage.press("escape")
        await stage.closed()
        await stage.press("d")
        await stage.shows(Confirm)
        await stage.press("y")
        await stage.until(lambda: ("remove_folder", FOLDER_ID) in stage.daemon.calls)


async def test_what_was_typed_wrong_is_there_to_be_corrected(tmp_path: Path) -> None:
    async def refuse(*given: object) -> FolderEntry:
        raise PathUnusable(f"{given[-2]} is not a directory. Make it first.")

    async with screen(tmp_path) as stage:
        stage.daemon.add_folder = refuse  # type: ignore[method-assign,assignment]
        stage.daemon.attach_folder = refuse  # type: ignore[method-assign,assignment]
        for is_offered, key, given in ((False, "a", ["/nope", "pics"]), (True, "t", ["/nope"])):
            if is_offered:
                stage.daemon.path = None
                await stage.until(lambda: "Attach" in stage.keys())
            await stage.press(key)
            await stage.shows(Ask)
            first = stage.app.screen
            for field, value in zip(first.query(Input), given, strict=True):
                field.value = value
            await stage.press(*["enter"] * len(given))
            await stage.until(lambda first=first: stage.app.screen is not first)  # type: ignore[misc]
            await stage.shows(Ask)
            assert [field.value for field in stage.app.screen.query(Input)] == given
            await stage.press("escape")
            await stage.closed()


async def test_who_thinks_better_of_it_changes_nothing(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        for key in ("a", "d"):
            await stage.press(key)
            await stage.shows(Ask, Confirm)
            await stage.press("escape")
            await stage.closed()
        await stage.calls()


async def test_a_folder_that_is_only_offered_can_be_attached(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        stage.daemon.path = None
        await stage.until(lambda: "Attach" in stage.keys())
        assert not {"Pause", "Versions", "Remove"} & stage.keys()
        await stage.press("enter")
        await stage.shows(Ask)
        stage.app.screen.query_one(Input).value = str(tmp_path)
        await stage.press("enter")
        await stage.calls(("attach_folder", FOLDER_ID, tmp_path))


async def test_the_cursor_stays_and_what_is_on_its_way_is_its_folders(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        stage.daemon.names = ["photos", "music", "papers"]
        await stage.until(lambda: stage.listing("folder-list").row_count == 3)
        await stage.press("down")
        chosen = stage.listing("folder-list").chosen
        stage.daemon.names = ["new", "photos", "music", "papers"]
        await stage.until(lambda: stage.listing("folder-list").row_count == 4)
        assert stage.listing("folder-list").chosen == chosen
        await stage.until(lambda: len(stage.cells("transfer-list")) > 4)
        keys = [line.key for line in stage.listing("transfer-list")._lines or []]
        row = next(n for n, key in enumerate(keys) if key.startswith(f"{FOLDER_ID}/a/"))
        await stage.press("tab")
        stage.listing("transfer-list").move_cursor(row=row)
        await stage.until(lambda: "a/la" in stage.text("line-detail"))
        place = Path("/data/photos/a/la\x1brge")
        await stage.press("p")
        await stage.until(lambda: ("pause_transfer", place) in stage.daemon.calls)
        await stage.until(lambda: "paused" in [cells[4] for cells in stage.cells("transfer-list")])
        assert "1 file paused by you" in stage.cells("folder-list")[1][2]
        assert "a/la" in stage.text("line-detail")
        await stage.press("p")
        await stage.until(lambda: ("resume_transfer", place) in stage.daemon.calls)
        stage.listing("transfer-list").move_cursor(row=row - 1)
        await stage.press("p")
        await stage.until(lambda: ("pause", FOLDER_ID) in stage.daemon.calls)


async def test_what_was_seen_last_can_be_asked_for_until_the_next_look(tmp_path: Path) -> None:
    """The daemon may be there again, and the screen not have seen it yet."""
    async with screen(tmp_path) as stage:
        real, away = stage.app.daemon._client._home, tmp_path / "away"
        away.mkdir()
        (away / "key").touch()
        stage.app.daemon._client._home = away
        await stage.until(lambda: stage.text("headline").startswith("The daemon is not"))
        assert stage.cells("folder-list")[0][1] == "photos"
        stage.app.daemon._client._home = real
        await stage.press("p")
        await stage.until(lambda: ("pause", FOLDER_ID) in stage.daemon.calls)
        stage.daemon.state = FolderState.PAUSED
        await stage.until(lambda: "paused" in stage.cells("folder-list")[0][2])
        await stage.press("p")
        await stage.until(lambda: ("resume", FOLDER_ID) in stage.daemon.calls)
