"""What the tab of relays shows, and that relays come and go."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Input

from tests.peer.fake_daemon import RELAY
from tests.tui.stage import screen
from tui.dialogs import Ask, Confirm


async def test_relays_come_and_go_and_a_refusal_is_told(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("5", "a")
        await stage.shows(Ask)
        stage.app.screen.query_one(Input).value = "nonsense"
        await stage.press("enter")
        await stage.until(lambda: stage.app._notifications)
        (notice,) = stage.app._notifications
        assert notice.severity == "error"
        await stage.acts()
        await stage.press("a")
        await stage.shows(Ask)
        stage.app.screen.query_one(Input).value = str(RELAY)
        await stage.press("enter")
        await stage.acts(("add_relay", RELAY))
        await stage.press("d")
        await stage.shows(Confirm)
        await stage.press("y")
        await stage.acts(("remove_relay", str(RELAY)))
