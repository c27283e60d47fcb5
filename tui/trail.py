"""The screen of the audit trail: who did what, the newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Static

from peer.command_line.terminal import format_moment, term_safe
from peer.errors import PeerError
from tui.daemon import Daemon
from tui.daemon_log import LogScreen
from tui.key_line import KeyLine
from tui.listing import Listing
from tui.rows import Line, Tone

TRAIL_HEADINGS: Final = ("", "when", "by", "what")
CHECK: Final = "`holdfast log verify` checks that nothing in it was changed or left out."


def trail_lines(entries: Sequence[Mapping[str, Any]]) -> list[Line]:
    """A line for each entry."""
    return [
        Line(
            # The number alone begins again with each chain, as after a restored backup.
            f"{one['number']}-{one['time']}",
            (
                "·", format_moment(int(one["time"])), term_safe(str(one.get("by", ""))),
                term_safe(one["text"]),
            ),
            Tone.QUIET,
            term_safe(one["text"]),
        )
        for one in entries
    ]  # fmt: skip


class TrailScreen(Screen[None]):
    """Who did what on this device."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "older", "Older", tooltip="What was before that"),
        Binding("r", "newest", "Newest", tooltip="From the newest on"),
        Binding("d", "daemon", "Daemon's log", tooltip="What the daemon says, as it says it"),
        Binding("escape", "app.pop_screen", "Back"),
    ]

    def __init__(self, daemon: Daemon) -> None:
        super().__init__()
        self._daemon = daemon
        self._entries: list[dict[str, Any]] = []
        self._next: str | None = None
        self._list = Listing(TRAIL_HEADINGS, "Nothing was noted yet.", id="trail")
        self._detail = Static(CHECK, id="detail", markup=False)

    def compose(self) -> ComposeResult:
        """The table, and what is too long for it."""
        yield Static("Who did what", classes="page-title", markup=False)
        yield self._list
        yield self._detail
        yield KeyLine()

    def on_mount(self) -> None:
        """Asks for the newest."""
        self._list.focus()
        self.action_newest()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Older ones only where there are any."""
        return self._next is not None if action == "older" else True

    def on_listing_moved(self) -> None:
        """All of what the line says."""
        self._detail.update(self._list.detail or CHECK)

    def action_older(self) -> None:
        """More of them."""
        if self._next is not None:
            self.run_worker(self._look(self._next), exclusive=True)

    def action_newest(self) -> None:
        """From the newest on."""
        self.run_worker(self._look(None), exclusive=True)

    def action_daemon(self) -> None:
        """What is for who looks for a fault."""
        self.app.push_screen(LogScreen(self._daemon))

    async def _look(self, cursor: str | None) -> None:
        try:
            page = await self._daemon.log(cursor)
        except PeerError as error:
            self._detail.update(term_safe(str(error)))
            return
        if self.is_attached:
            self._entries = ([] if cursor is None else self._entries) + page["entries"]
            self._next = page["next"]
            self._list.show(trail_lines(self._entries))
            self.refresh_bindings()
