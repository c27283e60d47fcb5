"""The line of tabs: one widget and one line, where the library's has a widget for each tab, which
takes longer to paint than a person's key may.
"""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

from tui.rows import TABS


class TabBar(Widget):
    """Shows which tab is in front; a click on another asks the screen for that."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"tab-bar--active"}

    auto_links = False
    """A tab looks like a tab, and not like a link."""
    active: reactive[str] = reactive(next(iter(TABS)))

    def render(self) -> Text:
        """All of them, the one in front marked."""
        marked = self.get_component_rich_style("tab-bar--active", partial=True)
        pieces = []
        for tab, title in TABS.items():
            click = Style(meta={"@click": f"screen.tab({tab!r})"})
            pieces.append(Text(title, click + marked if tab == self.active else click))
        return Text(" ").join(pieces)
