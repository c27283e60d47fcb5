"""The tab of what is not synced, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tui.daemon import Daemon
from tui.pane import Pane
from tui.rows import TROUBLE_HEADINGS, Line, trouble_lines
from tui.watch import Seen

NO_TROUBLE: Final = "Everything is synced."


class TroublePane(Pane):
    """A line for each path that is not synced, and for each warning."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon, TROUBLE_HEADINGS, NO_TROUBLE, "trouble-list")

    def lines(self, seen: Seen) -> Sequence[Line]:
        """What the table says."""
        return [] if seen.status is None else trouble_lines(seen.status)
