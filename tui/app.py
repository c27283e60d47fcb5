"""The program behind `holdfast tui`: its look, its palette and its first screen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from textual.app import App, SystemCommand
from textual.screen import Screen

from tui.daemon import Daemon
from tui.main_screen import MainScreen


class HoldfastApp(App[None]):
    """One device's."""

    TITLE = "Holdfast"
    CSS_PATH = "holdfast.tcss"

    def __init__(self, home: Path) -> None:
        super().__init__()
        self.daemon = Daemon(home)

    def get_default_screen(self) -> Screen[Any]:
        """What is shown first, and below all others."""
        return MainScreen(self.daemon)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the palette offers: every act that is possible now, by name."""
        yield from super().get_system_commands(screen)
        if isinstance(screen, MainScreen):
            for title, what, act in screen.possible():
                yield SystemCommand(title, what, act)
