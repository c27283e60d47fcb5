"""The screen of settings: what each is and may be, and another value, which the daemon checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Static

from peer.command_line.terminal import term_safe
from peer.errors import PeerError
from peer.status import SettingEntry
from tui.daemon import Daemon
from tui.dialogs import Ask, Field
from tui.key_line import KeyLine
from tui.listing import Listing
from tui.rows import Line, Tone

SETTING_HEADINGS: Final = ("", "setting", "value", "default")
LATER: Final = "A change counts when the daemon is started anew."


def setting_lines(settings: Sequence[SettingEntry]) -> list[Line]:
    """A line for each."""
    out = []
    for one in settings:
        is_own = one["value"] != one["default"]
        cells = ("●" if is_own else "", one["key"], one["value"], one["default"])
        detail = term_safe(f"{one['key']}: allowed is {one['allowed']}. {LATER}")
        tone = Tone.BUSY if is_own else Tone.QUIET
        out.append(Line(one["key"], tuple(map(term_safe, cells)), tone, detail))
    return out


class SettingsScreen(Screen[None]):
    """All settings of this device."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "change", "Change", tooltip="Give the chosen setting another value"),
        Binding("u", "default", "Default", tooltip="Give it its default again"),
        Binding("escape", "app.pop_screen", "Back"),
    ]

    def __init__(self, daemon: Daemon) -> None:
        super().__init__()
        self._daemon = daemon
        self._settings: Sequence[SettingEntry] = ()
        self._list = Listing(SETTING_HEADINGS, "", id="settings")
        self._detail = Static(LATER, id="detail", markup=False)

    def compose(self) -> ComposeResult:
        """The table, and what is allowed."""
        yield Static("Settings of this device", classes="page-title", markup=False)
        yield self._list
        yield self._detail
        yield KeyLine()

    def on_mount(self) -> None:
        """Asks for them."""
        self._list.focus()
        self.run_worker(self._look(), exclusive=True)

    def on_listing_moved(self) -> None:
        """What is allowed of another one."""
        self._detail.update(self._list.detail or LATER)

    def on_listing_chosen(self) -> None:
        """Enter, or a second click."""
        self.action_change()

    def _chosen(self) -> SettingEntry | None:
        return next((one for one in self._settings if one["key"] == self._list.chosen), None)

    def action_change(self) -> None:
        """Another value."""
        chosen = self._chosen()
        if chosen is None:
            return
        key = chosen["key"]

        def change(values: dict[str, str] | None) -> None:
            if values is not None:
                self.run_worker(self._set(key, values["value"].strip()))

        field = Field("value", f"Allowed is {chosen['allowed']}", chosen["value"])
        self.app.push_screen(Ask(key, [field], "Change"), change)

    def action_default(self) -> None:
        """What it is if nobody says otherwise."""
        chosen = self._chosen()
        if chosen is not None:
            self.run_worker(self._set(chosen["key"], chosen["default"]))

    async def _set(self, key: str, value: str) -> None:
        try:
            await self._daemon.set(key, value)
        except PeerError as error:
            self.notify(term_safe(str(error)), severity="error", markup=False)
            return
        self.notify(LATER)
        await self._look()

    async def _look(self) -> None:
        try:
            settings = (await self._daemon.settings())["settings"]
        except PeerError as error:
            self._detail.update(term_safe(str(error)))
            return
        if self.is_attached:
            self._settings = settings
            self._list.show(setting_lines(settings))
