"""The screen of the daemon's log: its newest lines, and each that comes while it is open."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Static

from peer.command_line.terminal import term_safe
from peer.errors import PeerError
from peer.status import LogLine
from tui.daemon import Daemon
from tui.in_keys import in_keys
from tui.key_line import KeyLine
from tui.listing import Listing
from tui.rows import Line, Tone

LINE_HEADINGS: Final = ("", "when", "what", "from")
SHOWN_MAX: Final = 1_000
"""As many as the daemon keeps; of more the oldest go."""
BELOW_MAX: Final = 8
"""Lines of a traceback: the API gives all of it."""
LOOK_EVERY_S: Final = 1.0
ALL: Final = "The newest line is the last; stay there, and those that come are followed."
PROBLEMS: Final = "Only warnings and errors are shown."
_LEVELS: Final = {
    "debug": ("·", Tone.QUIET), "info": ("·", Tone.QUIET), "warning": ("!", Tone.ASKS),
}  # fmt: skip
_GRAVE: Final = ("!", Tone.BAD)


def is_problem(line: LogLine) -> bool:
    """Whether it is more than news."""
    return line["level"] not in ("debug", "info")


def log_lines(lines: Sequence[LogLine]) -> list[Line]:
    """A line for each; all of one that has a traceback below it is its detail."""
    out = []
    for one in lines:
        sign, tone = _LEVELS.get(one["level"], _GRAVE)
        first, *below = map(term_safe, one["text"].split("\n"))
        when = time.strftime("%m-%d %H:%M:%S", time.localtime(one["time"]))
        # The number alone begins again with each run of the daemon.
        key = f"{one['number']}-{one['time']}"
        cells = (sign, when, first, term_safe(one["name"]))
        if len(below) > BELOW_MAX:  # of a traceback the end says what happened
            below = ["…", *below[-BELOW_MAX:]]
        out.append(Line(key, cells, tone, "\n".join((first, *below))))
    return out


class LogScreen(Screen[None]):
    """What the daemon says of itself."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w", "problems", "Warnings", tooltip="Only warnings and errors, or all lines"),
        Binding("r", "newest", "Newest", tooltip="To the newest line, and follow what comes"),
        Binding("escape", "app.pop_screen", "Back"),
    ]

    def __init__(self, daemon: Daemon) -> None:
        super().__init__()
        self._daemon = daemon
        self._lines: list[LogLine] = []
        self._cursor: str | None = None
        self._has_problems_only = False
        self._problem = ""
        self._list = Listing(LINE_HEADINGS, "Nothing was said yet.", id="daemon-log")
        self._detail = Static(ALL, id="detail", markup=False)

    def compose(self) -> ComposeResult:
        """The table, and what is too long for it."""
        yield Static("What the daemon says", classes="page-title", markup=False)
        yield self._list
        yield self._detail
        yield KeyLine()

    def on_mount(self) -> None:
        """Asks at once, and then every second."""
        self._list.focus()
        self._look()
        self.set_interval(LOOK_EVERY_S, self._look)

    def on_listing_moved(self) -> None:
        """All of what the line says."""
        self._tell()

    def action_problems(self) -> None:
        """Fewer lines, or all of them."""
        self._has_problems_only = not self._has_problems_only
        self._draw(follows=True)

    def action_newest(self) -> None:
        """Those that come are followed from now on."""
        self._list.action_last()

    def _look(self) -> None:
        self.run_worker(self._ask(), exclusive=True)

    async def _ask(self) -> None:
        try:
            answer = await self._daemon.log_lines(self._cursor)
        except PeerError as error:
            self._problem = in_keys(str(error))
            self._tell()
            return
        if not self.is_attached:
            return
        had_problem, self._problem = bool(self._problem), ""
        is_first = self._cursor is None
        self._cursor = answer["cursor"]
        if answer["lines"] or is_first:
            self._lines = (self._lines + answer["lines"])[-SHOWN_MAX:]
            self._draw(follows=self._is_at_end)
        elif had_problem:
            self._tell()

    @property
    def _is_at_end(self) -> bool:
        lines = self._list.lines
        return not lines or self._list.chosen == lines[-1].key

    def _draw(self, *, follows: bool) -> None:
        kept = [one for one in self._lines if is_problem(one) or not self._has_problems_only]
        self._list.show(log_lines(kept))
        if follows:
            self._list.action_last()
        self._tell()

    def _tell(self) -> None:
        usual = PROBLEMS if self._has_problems_only else ALL
        detail = "" if self._is_at_end and "\n" not in self._list.detail else self._list.detail
        self._detail.update(self._problem or detail or usual)
