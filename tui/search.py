"""The screen that finds files while their names are typed."""

from __future__ import annotations

from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.suggester import Suggester
from textual.widgets import Input, Static

from peer.command_line.terminal import term_safe
from peer.errors import PeerError
from peer.status import SearchEntry
from tui.daemon import Daemon
from tui.key_line import KeyLine
from tui.listing import Listing
from tui.rows import FOUND_HEADINGS, found_lines
from tui.versions import VersionsScreen
from tui.watch import Watch

HELP: Final = (
    "Names and words; type:pdf after:2026-01 before:2026 larger:20M smaller:1G folder:NAME"
)


class _Suggestions(Suggester):
    """What somebody may be about to type, as the daemon knows it; nothing while it cannot say."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._daemon = daemon

    async def get_suggestion(self, value: str) -> str | None:
        """The whole query that begins so."""
        try:
            found = await self._daemon.suggest(value)
        except PeerError:
            return None
        safe = (one for one in found if one.startswith(value) and term_safe(one) == one)
        return next(safe, None)


class SearchScreen(Screen[None]):
    """Looks with every key for what has been typed so far."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("enter", "versions", "Versions"),
        ("escape", "app.pop_screen", "Back"),
    ]

    def __init__(self, daemon: Daemon, watch: Watch) -> None:
        super().__init__()
        self._daemon, self._watch = daemon, watch
        self._found: list[SearchEntry] = []
        self._input = Input(
            placeholder="What are you looking for?", id="query", suggester=_Suggestions(daemon)
        )
        self._list = Listing(FOUND_HEADINGS, "Nothing has such a name.", id="found")
        self._detail = Static(HELP, id="detail", markup=False)

    def compose(self) -> ComposeResult:
        """The words, what has such a name, and what else can be asked."""
        yield self._input
        yield self._list
        yield self._detail
        yield KeyLine()

    def on_mount(self) -> None:
        """Type at once."""
        self._input.focus()
        self._watch.on_found = self._look_again

    def on_unmount(self) -> None:
        """Nobody looks any more."""
        self._watch.on_found = None

    def _look_again(self) -> None:
        """What was saved a moment ago is in the index now."""
        if self._input.value.strip():
            self.run_worker(self._look(self._input.value), exclusive=True)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Another letter: what was asked before is not waited for."""
        self.run_worker(self._look(event.value), exclusive=True)

    def on_input_submitted(self) -> None:
        """On to what was found; where that is one file, to what it was."""
        self._list.focus()
        if len(self._found) == 1:
            self.action_versions()

    def on_listing_moved(self) -> None:
        """What of its text was found."""
        chosen = self._list.chosen
        entry = next((one for one in self._found if one["place"] == chosen), None)
        if entry is not None and entry.get("snippet"):
            self._detail.update(term_safe(entry["snippet"]))

    def on_listing_chosen(self) -> None:
        """Enter, or a second click, on a file."""
        self.action_versions()

    def action_versions(self) -> None:
        """What the chosen file was."""
        chosen = self._list.chosen
        entry = next((one for one in self._found if one["place"] == chosen), None)
        if entry is not None:
            self.app.push_screen(VersionsScreen(self._daemon, entry["place"]))

    async def _look(self, query: str) -> None:
        found: list[SearchEntry] = []
        told = HELP
        if query.strip():
            try:
                answer = await self._daemon.search(query)
            except PeerError as error:
                told = term_safe(str(error))  # a date that is half typed, for one
            else:
                found = answer["found"]
                told = "There is more: type another word." if answer["more"] else HELP
        if self.is_attached:
            self._found = found
            self._list.show(found_lines(found))
            self._detail.update(told)
