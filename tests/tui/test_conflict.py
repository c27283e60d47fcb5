"""One conflict: what the screen shows of it, and that each key decides what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import TextArea

from peer.errors import FileChanged
from peer.status import Choice
from tests.tui.stage import Stage, screen
from tui.conflict import ConflictScreen, MergeScreen
from tui.diff_view import DiffView

OURS, THEIRS = b"one\ntwo\nthree\n", b"one\n2\x1b[2J\nthree\n"
PLAIN = b"one\n2\nthree\n"


async def open_conflict(stage: Stage, ours: bytes | None = OURS, theirs: bytes = THEIRS) -> None:
    if ours is not None:
        stage.daemon.files.put("/data/photos/a.txt", ours)
    stage.daemon.files.put("/data/photos/a", theirs)
    await stage.press("4")
    await stage.until(lambda: stage.cells("conflict-list"))
    await stage.press("enter")
    await stage.shows(ConflictScreen)
    await stage.until(lambda: "the copy" in stage.text("conflict-head"))


def lines(stage: Stage) -> list[str]:
    view = stage.app.screen.query_one(DiffView)
    return [view.render_line(y).text.rstrip() for y in range(min(8, view.size.height))]


async def test_what_differs_stands_below_each_other_or_in_columns(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_conflict(stage)
        assert "- the file  14 B" in stage.text("conflict-head")
        assert "+ the copy  16 B" in stage.text("conflict-head")
        await stage.until(lambda: "- two" in lines(stage))
        assert lines(stage)[:4] == ["  one", "- two", "+ 2\\x1b[2J", "  three"]
        await stage.press("w")
        assert [part.strip() for part in lines(stage)[1].split("│")] == ["- two", "+ 2\\x1b[2J"]
        await stage.press("n")
        assert "\x1b" not in stage.app.export_screenshot()
        assert "Edit" not in stage.keys()  # an editor would hide the escape


@pytest.mark.parametrize(("key", "choice"), [("f", "original"), ("c", "copy"), ("b", "both")])
async def test_a_key_decides(tmp_path: Path, key: str, choice: str) -> None:
    async with screen(tmp_path) as stage:
        await open_conflict(stage)
        await stage.press(key)
        await stage.calls(("resolve", Path("/data/photos/a"), Choice(choice)))
        await stage.until(lambda: len(stage.app.screen_stack) == 1)


async def test_one_text_is_made_of_both(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_conflict(stage, theirs=PLAIN)
        await stage.until(lambda: "Edit" in stage.keys())
        await stage.press("e")
        await stage.shows(MergeScreen)
        await stage.press("ctrl+s")  # a mark is left
        await stage.until(lambda: stage.app._notifications)
        assert isinstance(stage.app.screen, MergeScreen)
        stage.app.screen.query_one(TextArea).text = "one\n2 or two\nthree\n"
        await stage.press("ctrl+s")
        await stage.until(lambda: len(stage.app.screen_stack) == 1)
        assert stage.daemon.files.there["/data/photos/a.txt"] == b"one\n2 or two\nthree\n"
        await stage.calls(("resolve", Path("/data/photos/a"), Choice.ORIGINAL))


async def test_what_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_conflict(stage, theirs=PLAIN)
        await stage.until(lambda: "Edit" in stage.keys())
        await stage.press("e")
        await stage.shows(MergeScreen)
        stage.app.screen.query_one(TextArea).text = "mine"
        stage.daemon.files.put("/data/photos/a.txt", b"somebody saved\n")
        await stage.press("ctrl+s")
        await stage.until(lambda: stage.app._notifications)
        (told,) = stage.app._notifications
        assert told.message == str(FileChanged())
        assert stage.daemon.files.there["/data/photos/a.txt"] == b"somebody saved\n"
        await stage.calls()


async def test_who_cancels_an_edit_changes_nothing(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_conflict(stage, theirs=PLAIN)
        await stage.until(lambda: "Edit" in stage.keys())
        await stage.press("e")
        await stage.shows(MergeScreen)
        await stage.press("escape")
        await stage.shows(ConflictScreen)
        await stage.press("escape")
        await stage.until(lambda: len(stage.app.screen_stack) == 1)
        await stage.calls()


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        (b"\0\1", b"\0\2", "no text"),
        (None, PLAIN, "deleted or renamed"),
        (OURS, OURS, "byte for byte"),
        (b"x" * 300_000, PLAIN, "too large"),
    ],
)
async def test_what_cannot_be_compared_is_said(
    tmp_path: Path, ours: bytes | None, theirs: bytes, told: str
) -> None:
    async with screen(tmp_path) as stage:
        await open_conflict(stage, ours, theirs)
        await stage.until(lambda: told in stage.text("conflict-told"))
        assert "Edit" not in stage.keys() or told == "byte for byte"
