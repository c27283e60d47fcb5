"""The program behind `holdfast tui`: its look, its palette and its first screen."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final

from textual import events
from textual.app import App, SystemCommand
from textual.binding import ActiveBinding
from textual.driver import Driver
from textual.screen import Screen

from tui.daemon import Daemon
from tui.first_frame import ENDING, ENTER
from tui.main_screen import MainScreen

NOT_OFFERED: Final = frozenset({"Keys", "Maximize", "Minimize"})
"""What the toolkit would add to the palette: `?` shows the keys, and a list fills the screen."""


class HoldfastApp(App[None]):
    """One device's."""

    TITLE = "Holdfast"
    CSS_PATH = "holdfast.tcss"

    def __init__(self, home: Path, frame: str = "") -> None:
        """`frame`: what is on the terminal already, until the screen is drawn."""
        self._frame = frame
        super().__init__()
        self.animation_level = "none"
        """What glides is painted ten times, here and over ssh, and nobody has asked for it."""
        self.daemon = Daemon(home)

    def get_driver_class(self) -> type[Driver]:
        """The terminal's; it forgets its picture when it is given over, so that is painted anew."""
        found = super().get_driver_class()
        return _repainting(found, self._frame) if self._frame else found

    def on_ready(self) -> None:
        """What is there now stays: it is left out of every search for garbage, which among a
        hundred thousand objects takes longer than a key may. Where several screens come and go in
        one process, what they leave would stay for ever.
        """
        if not self.is_headless:
            gc.freeze()

    def on_mount(self) -> None:
        """Whoever asks the program to end gets the terminal back as it was."""
        if self._frame:
            loop = asyncio.get_running_loop()
            for number in ENDING:
                loop.add_signal_handler(number, self._end, int(number))

    def _end(self, number: int) -> None:
        self.exit(return_code=128 + number)

    def get_default_screen(self) -> Screen[Any]:
        """What is shown first, and below all others."""
        return MainScreen(self.daemon)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the palette offers: every act that is possible now, by what it does."""
        yield from (c for c in super().get_system_commands(screen) if c.title not in NOT_OFFERED)
        for active in screen.active_bindings.values():
            binding = active.binding
            if active.enabled and binding.tooltip and not binding.system:
                title = f"{binding.description} ({self.get_key_display(binding)})"
                yield SystemCommand(title, binding.tooltip, _runner(self, active))

    async def on_event(self, event: events.Event) -> None:
        """Escape takes the keys at the side away before it does anything else."""
        is_escape = isinstance(event, events.Key) and event.key == "escape"
        if is_escape and self.screen.query("HelpPanel"):
            self.action_hide_help_panel()
        else:
            await super().on_event(event)

    def action_toggle_keys(self) -> None:
        """All keys of where the person is, at the side; or no more."""
        if self.screen.query("HelpPanel"):
            self.action_hide_help_panel()
        else:
            self.action_show_help_panel()


def _repainting(driver: type[Driver], frame: str) -> type[Driver]:
    class Repainting(driver):  # type: ignore[misc,valid-type]
        """Writes the frame once, with what clears the terminal."""

        def write(self, data: str) -> None:
            nonlocal frame
            if data == ENTER:
                data, frame = data + frame, ""
            super().write(data)

    return Repainting


def _runner(app: HoldfastApp, active: ActiveBinding) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        await app.run_action(active.binding.action, default_namespace=active.node)

    return run
