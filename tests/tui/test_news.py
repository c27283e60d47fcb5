"""What the tab of news shows, that it is read, and that what is new is said wherever one is."""

from __future__ import annotations

from pathlib import Path

from tests.peer.fake_daemon import NOTICE
from tests.tui.stage import screen


async def test_news_are_read(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        assert "1 unread" in stage.text("headline")
        assert "Mark read" not in stage.keys()
        await stage.press("6")
        (line,) = stage.cells("news-list")
        assert line[2].startswith("In photos, two edits")
        await stage.until(lambda: stage.text("line-detail") == line[2])
        await stage.press("m")
        await stage.acts(("mark_as_read", [7]))
        await stage.press("M")
        await stage.acts(("mark_as_read", None))


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
