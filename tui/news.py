"""The tab of news: what a person should hear of, until it is read, and for a moment wherever the
person is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.notifications import SeverityLevel as Severity

from peer.status import NoticeEntry
from tui.daemon import Daemon
from tui.in_keys import in_keys
from tui.pane import Pane
from tui.rows import NOTICE_HEADINGS, Line, notice_lines
from tui.watch import Seen

TOASTS_MAX: Final = 3
"""New notices that are shown for a moment, at one look; the rest is on the board."""
SEVERITIES: Final[dict[str, Severity]] = {"trouble": "error", "question": "warning"}
NO_NEWS: Final = "Nothing to hear of."


class NewsPane(Pane):
    """The board of notices."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "mark", "Mark read", tooltip="The chosen notice was read"),
        Binding("M", "mark_all", "All read", tooltip="All notices were read"),
    ]

    class Heard(Message):
        """There are new notices."""

        def __init__(self, notices: Sequence[NoticeEntry]) -> None:
            super().__init__()
            self.notices = notices

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon, NOTICE_HEADINGS, NO_NEWS, "news-list")
        self._last: int | None = None
        """The newest notice that was there before; None while nobody has looked."""

    def lines(self, seen: Seen) -> Sequence[Line]:
        """A line for each."""
        return notice_lines(seen.notices)

    def show(self, seen: Seen) -> None:
        """What is new is said for a moment, unless the person looks at the board anyway."""
        super().show(seen)
        if seen.status is None:
            return
        last, self._last = self._last, max((one["id"] for one in seen.notices), default=0)
        if last is None:
            return
        new = [one for one in seen.notices if one["id"] > last and not one["read"]]
        if new:
            self.post_message(self.Heard(new))
        for one in new[:TOASTS_MAX] if not self.display else []:
            severity = SEVERITIES.get(one["priority"], "information")
            self.app.notify(in_keys(one["text"]), severity=severity, markup=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is shown."""
        return self.chosen is not None if action in ("mark", "mark_all") else True

    def action_mark(self) -> None:
        """The chosen notice was read."""
        chosen = self.chosen
        if chosen is not None:
            self.carry_out(self._daemon.mark_as_read([int(chosen)]))

    def action_mark_all(self) -> None:
        """All were read."""
        self.carry_out(self._daemon.mark_as_read(None), "All are marked as read.")
