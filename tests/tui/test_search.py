"""The screen that finds while one types."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Input

from peer.errors import UsageError
from tests.tui.stage import Stage, screen
from tui.search import HELP, SearchScreen
from tui.versions import VersionsScreen


async def open_search(stage: Stage) -> None:
    await stage.press("slash")
    await stage.shows(SearchScreen)
    await stage.until(lambda: stage.app.screen.query_one("#query").has_focus)


async def test_what_is_typed_is_found(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_search(stage)
        assert stage.text("detail") == HELP
        await stage.press("n", "o")
        await stage.until(lambda: ("search", "no", 50) in stage.daemon.calls)
        await stage.until(lambda: stage.listing("found").row_count == 2)
        file, directory = stage.cells("found")
        assert file[2:4] == ["a/no\\x1bte", "1.4 kB"]
        assert directory[2:] == ["a", "", ""]
        assert "more" in stage.text("detail")


async def test_it_is_asked_again_when_other_things_may_be_found_and_not_before(
    tmp_path: Path,
) -> None:
    async with screen(tmp_path) as stage:
        await stage.until(lambda: stage.app.screen.daemon_watch.is_told)  # type: ignore[attr-defined]
        await open_search(stage)
        await stage.press("n")
        await stage.until(lambda: stage.listing("found").row_count == 2)
        asked = stage.daemon.calls.count(("search", "n", 50))
        stage.daemon.events.publish("notifications", unread=1)
        stage.daemon.events.publish("search")
        await stage.until(lambda: stage.daemon.calls.count(("search", "n", 50)) > asked)
        assert stage.daemon.calls.count(("search", "n", 50)) == asked + 1
        await stage.press("escape")
        await stage.closed()
        assert stage.app.screen.daemon_watch.on_found is None  # type: ignore[attr-defined]


async def test_nothing_typed_finds_nothing(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_search(stage)
        await stage.press("n")
        await stage.until(lambda: stage.listing("found").row_count == 2)
        await stage.press("backspace")
        await stage.until(lambda: stage.listing("found").row_count == 0)
        assert stage.text("detail") == HELP


async def test_a_found_file_leads_to_its_versions(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_search(stage)
        await stage.press("n")
        await stage.until(lambda: stage.listing("found").row_count == 2)
        await stage.press("enter", "enter")
        await stage.shows(VersionsScreen)
        await stage.until(lambda: ("versions", Path("/data/photos/a/note")) in stage.daemon.calls)
        await stage.press("escape", "escape")
        await stage.until(lambda: len(stage.app.screen_stack) == 1)


async def test_a_query_that_means_nothing_yet_says_so(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_search(stage)
        stage.daemon.failure = UsageError("'20' is no date.")
        await stage.press("x")
        await stage.until(lambda: "no date" in stage.text("detail"))


async def test_what_may_be_meant_is_suggested(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_search(stage)
        await stage.press("n", "o")
        field = stage.app.screen.query_one("#query", Input)
        await stage.until(lambda: field._suggestion == "noday")
        await stage.press("right")
        assert field.value == "noday"
