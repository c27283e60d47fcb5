"""The line of tabs: all on 80 columns, and a click goes there."""

from __future__ import annotations

from pathlib import Path

from tests.tui.stage import screen
from tui.rows import TABS
from tui.tab_bar import TabBar


async def test_all_tabs_fit_and_a_click_goes_to_one(tmp_path: Path) -> None:
    assert len(" ".join(TABS.values())) <= 78
    async with screen(tmp_path) as stage:
        bar = stage.app.screen.query_one(TabBar)
        at = " ".join(TABS.values()).index("5 Relays")
        await stage.pilot.click(TabBar, offset=(at + 3, 0))
        await stage.until(lambda: bar.active == "relays")
        assert stage.listing("relay-list").has_focus
        marked = [span for span in bar.render().spans if getattr(span.style, "bold", False)]
        assert [bar.render().plain[one.start : one.end] for one in marked] == ["5 Relays"]
