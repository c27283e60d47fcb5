"""The screen of versions: a file's, a directory's, and bringing one back."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from peer.command_line.terminal import NO_EARLIER
from peer.status import VersionList
from tests.tui.stage import Stage, screen
from tui.dialogs import Ask, Confirm
from tui.diff_view import DiffView
from tui.versions import VersionsScreen


async def open_at(stage: Stage, path: Path) -> None:
    stage.daemon.errors = []
    stage.app.push_screen(VersionsScreen(stage.app.daemon, str(path)))
    await stage.shows(VersionsScreen)


async def test_a_file_shows_what_it_was_and_one_is_brought_back(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        note = tmp_path / "note"
        await open_at(stage, note)
        await stage.until(lambda: stage.listing("versions").row_count == 2)
        assert [row[0] for row in stage.cells("versions")] == ["now", "7"]
        assert stage.cells("versions")[1][1] == "a/no\\x1bte"
        await stage.press("enter")  # what is there now cannot come back
        assert isinstance(stage.app.screen, VersionsScreen)
        await stage.press("down", "enter")
        await stage.shows(Confirm)
        await stage.press("y")
        await stage.until(lambda: ("restore", note, 7, None, None) in stage.daemon.calls)
        await stage.until(lambda: stage.app._notifications)
        assert "Brought back" in next(iter(stage.app._notifications)).message


async def test_of_a_file_that_is_as_it_came_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with screen(tmp_path) as stage:

        async def versions(path: Path) -> VersionList:
            only = stage.daemon.version(0)
            return {"path": str(path), "root": "/data/photos", "versions": [only]}

        monkeypatch.setattr(stage.daemon, "versions", versions)
        await open_at(stage, tmp_path / "note")
        await stage.until(lambda: stage.text("detail") == NO_EARLIER)


async def test_it_goes_to_another_path(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        note = tmp_path / "note"
        await open_at(stage, note)
        await stage.until(lambda: stage.listing("versions").row_count == 2)
        await stage.press("down", "o")
        await stage.shows(Ask)
        field = stage.app.screen.query_one(Input)
        assert field.value == f"{note}.restored"
        await stage.press("enter")
        wanted = ("restore", note, 7, None, tmp_path / "note.restored")
        await stage.until(lambda: wanted in stage.daemon.calls)


async def test_a_directory_shows_what_was_deleted_and_gives_it_back(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        stage.daemon.gone = [{**stage.daemon.version(7), "path": "d/gone"}]
        await open_at(stage, tmp_path)
        await stage.until(lambda: stage.listing("versions").row_count == 1)
        assert ("deleted", tmp_path) in stage.daemon.calls
        await stage.press("enter")
        await stage.shows(Confirm)
        await stage.press("y")
        wanted = ("restore", Path("/data/photos/d/gone"), 7, None, None)
        await stage.until(lambda: wanted in stage.daemon.calls)


async def test_what_fails_is_told(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_at(stage, tmp_path / "note")
        await stage.until(lambda: stage.listing("versions").row_count == 2)
        stage.daemon.errors = [{"path": "a", "reason": "No device has it\x1b."}]
        await stage.press("down", "enter")
        await stage.shows(Confirm)
        await stage.press("y")
        await stage.until(lambda: stage.app._notifications)
        (notice,) = stage.app._notifications
        assert notice.severity == "error"
        assert "No device has it\\x1b." in notice.message


async def test_another_path_can_be_typed(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_at(stage, tmp_path / "note")
        await stage.until(lambda: stage.listing("versions").row_count == 2)
        await stage.press("p")
        field = stage.app.screen.query_one(Input)
        await stage.until(lambda: field.has_focus)
        field.value = str(tmp_path / "other")
        await stage.press("enter")
        await stage.until(lambda: ("versions", tmp_path / "other") in stage.daemon.calls)


async def test_a_version_is_seen_beside_what_is_there_now(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        note = tmp_path / "note"
        stage.daemon.files.put(str(note), b"what it is\x1b\n")
        await open_at(stage, note)
        await stage.until(lambda: stage.listing("versions").row_count == 2)
        await stage.press("down")
        await stage.until(lambda: ("read_version", note, 7) in stage.daemon.calls)
        view = stage.app.screen.query_one(DiffView)
        await stage.until(lambda: [row.left for row in view.rows] == ["what it was", ""])
        assert "What version 7 holds" in stage.text("detail")  # it is deleted: alone
        stage.daemon.old = b"a\0b"
        await stage.press("up", "down")
        await stage.until(lambda: "no text" in stage.text("detail"))
        assert not view.rows
