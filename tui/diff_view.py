"""Two texts beside each other, or below each other where there is little room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.diff import Row, next_change, unified

COLUMNS_FROM: Final = 100
"""Characters of width from which on two columns are readable."""
GUTTER: Final = 2
SAME, REMOVED, ADDED = "diff--same", "diff--left", "diff--right"


class DiffView(ScrollView, can_focus=True):
    """Lines of two texts; drawn only as far as they are seen."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {SAME, REMOVED, ADDED}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll_down", "Down", show=False),
        Binding("up,k", "scroll_up", "Up", show=False),
        Binding("pagedown,space", "page_down", "Further", show=False),
        Binding("pageup", "page_up", "Back", show=False),
        Binding("n", "next", "Next change", tooltip="Go to the next piece that differs"),
        Binding("w", "columns", "Columns", tooltip="Beside each other, or below each other"),
    ]

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._pairs: list[Row] = []
        self._below: list[Row] = []
        self._wanted: bool | None = None
        """Whether the person wants columns; None while they have not said."""

    def show(self, rows: Sequence[Row]) -> None:
        """Other texts."""
        self._pairs, self._below = list(rows), unified(rows)
        self._lay_out()
        self.scroll_home(animate=False)

    @property
    def has_columns(self) -> bool:
        """Whether the texts stand beside each other."""
        return self.size.width >= COLUMNS_FROM if self._wanted is None else self._wanted

    @property
    def rows(self) -> list[Row]:
        """What is drawn, from the top."""
        return self._pairs if self.has_columns else self._below

    def on_resize(self) -> None:
        """There is more room, or less."""
        self._lay_out()

    def action_columns(self) -> None:
        """The other way of drawing."""
        self._wanted = not self.has_columns
        self._lay_out()

    def action_next(self) -> None:
        """To the next piece that differs."""
        row = next_change(self.rows, round(self.scroll_offset.y))
        if row is not None:
            self.scroll_to(y=row, animate=False)

    def _lay_out(self) -> None:
        width = self.size.width
        if not self.has_columns:
            texts = [row.left if row.left is not None else row.right or "" for row in self._below]
            width = max((cell_len(text) + GUTTER for text in texts), default=0)
        self.virtual_size = Size(width, len(self.rows))
        self.refresh(Region(0, 0, self.size.width, self.size.height))

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        across, down = self.scroll_offset
        base, rows, width = self.rich_style, self.rows, self.size.width
        if not 0 <= y + down < len(rows):
            return Strip.blank(width, base)
        row = rows[y + down]
        if self.has_columns:
            half = (width - GUTTER - 1) // 2
            left = self._side(row.left, "-", REMOVED, row.is_same, half)
            right = self._side(row.right, "+", ADDED, row.is_same, width - half - 1)
            return Strip([left, Segment("│", base), right], width)
        whole = max(width, self.virtual_size.width)
        if row.is_same:
            line = self._side(row.left, " ", SAME, True, whole)
        elif row.left is not None:
            line = self._side(row.left, "-", REMOVED, False, whole)
        else:
            line = self._side(row.right, "+", ADDED, False, whole)
        return Strip([line], whole).crop(across, across + width)

    def _side(self, text: str | None, sign: str, name: str, is_same: bool, width: int) -> Segment:
        if text is None:
            return Segment(" " * width, self.rich_style)
        style: Style = self.get_component_rich_style(SAME if is_same else name)
        cut = f"{text[:width]}" if cell_len(text) <= width - GUTTER else f"{text[: width - 3]}…"
        return Segment(set_cell_size(f"{' ' if is_same else sign} {cut}", width), style)
