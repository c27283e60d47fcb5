"""The line of keys at the foot of a screen: one widget, made anew only when other things can be
done. The library's has a widget for each key and makes all of them anew whenever the focus moves,
which took two thirds of the time between a key and what it paints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.geometry import Size
from textual.screen import Screen
from textual.widget import Widget

LINES_MAX: Final = 3
GAPS: Final = (2, 1)
"""Between two keys: the wide one where all have room with it."""


class Key(NamedTuple):
    """One key that does something here."""

    key: str
    shown: str
    what: str

    @property
    def width(self) -> int:
        """Cells."""
        return cell_len(self.shown) + 1 + cell_len(self.what)


def laid_out(keys: Sequence[Key], width: int) -> tuple[list[list[Key]], int]:
    """The keys of each line, and the gap between two: one line if there is any way to it."""
    whole = sum(key.width for key in keys)
    gap = next((g for g in GAPS if whole + g * (len(keys) - 1) <= width), GAPS[-1])
    lines: list[list[Key]] = [[]]
    used = 0
    for key in keys:
        if lines[-1] and used + gap + key.width > width:
            lines.append([])
        used = key.width if not lines[-1] else used + gap + key.width
        lines[-1].append(key)
    return lines[:LINES_MAX], gap


class KeyLine(Widget):
    """What can be done where the person is; a click does it too."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-line--key"}

    auto_links = False
    """A key looks like a key, and not like a link."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: tuple[Key, ...] = ()

    def on_mount(self) -> None:
        """Follows what can be done."""
        self.screen.bindings_updated_signal.subscribe(self, self._on_bindings)
        self.renew()

    def _on_bindings(self, screen: Screen[object]) -> None:
        if self.is_attached and screen is self.screen:
            self.renew()

    def renew(self) -> bool:
        """Looks what can be done now; says whether it is something else than before."""
        seen: dict[str, Key] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show and active.enabled and binding.action not in seen:
                shown = self.app.get_key_display(binding)
                seen[binding.action] = Key(binding.key, shown, binding.description)
        keys = tuple(seen.values())
        if keys == self.keys:
            return False
        lines = self._lines_in(self.size.width)
        self.keys = keys
        self.refresh(layout=self._lines_in(self.size.width) != lines)
        return True

    def _lines_in(self, width: int) -> int:
        return len(laid_out(self.keys, width)[0]) if width else 1

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as it takes."""
        return self._lines_in(width)

    def render(self) -> Text:
        """Each key, and what it does."""
        marked = self.get_component_rich_style("key-line--key", partial=True)
        lines, gap = laid_out(self.keys, self.size.width)
        drawn = []
        for line in lines:
            pieces = []
            for key in line:
                click = Style(meta={"@click": f"app.simulate_key({key.key!r})"})
                pieces.append(Text.assemble((key.shown, click + marked), (f" {key.what}", click)))
            drawn.append(Text(" " * gap).join(pieces))
        return Text("\n").join(drawn)
