"""A table of lines that is brought up to date without losing the person's place in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import DataTable

from tui.rows import Line


class Listing(DataTable[Text]):
    """One of the screen's tables."""

    def __init__(self, headings: Sequence[str], empty: str, **options: Any) -> None:
        """`empty`: what to say where there is no line."""
        super().__init__(cursor_type="row", zebra_stripes=True, **options)
        self._headings, self._empty = tuple(headings), empty
        self._lines: list[Line] | None = None
        """None until somebody has looked."""
        self._widths = [max(1, cell_len(heading)) for heading in self._headings]

    def on_mount(self) -> None:
        """Columns, as wide as their headings; the lines come and go."""
        self._add_columns()

    def _add_columns(self) -> None:
        for number, heading in enumerate(self._headings):
            self.add_column(heading, key=str(number), width=self._widths[number])

    @property
    def chosen(self) -> str | None:
        """The key of the line that the cursor is on."""
        line = self._line
        return None if line is None else line.key

    @property
    def detail(self) -> str:
        """What there is to read of that line."""
        line = self._line
        return "" if line is None else line.detail

    @property
    def _line(self) -> Line | None:
        lines, row = self._lines or [], self.cursor_row
        return lines[row] if 0 <= row < len(lines) else None

    def show(self, lines: Sequence[Line]) -> None:
        """Shows these lines; what did not change is left alone, so that the cursor stays."""
        self.border_subtitle = "" if lines else self._empty
        if list(lines) == self._lines:
            return
        before, chosen = {line.key: line for line in self._lines or []}, self.chosen
        is_wider = self._widen(lines)
        is_same = not is_wider and [line.key for line in lines] == list(before)
        self._lines = list(lines)
        if not is_same:
            self.clear(columns=True)
            self._add_columns()
            for line in lines:
                self.add_row(*self._texts(line), key=line.key)
            keys = [line.key for line in lines]
            if chosen in keys:
                self.move_cursor(row=keys.index(chosen), animate=False)
            return
        for line in lines:
            if line != before[line.key]:
                for number, text in enumerate(self._texts(line)):
                    self.update_cell(line.key, str(number), text)

    def _widen(self, lines: Sequence[Line]) -> bool:
        """Makes room for the longest cells, and says whether that took any. Columns never become
        narrower, so that they do not jump while what they say changes.
        """
        before = list(self._widths)
        for line in lines:
            for number, cell in enumerate(line.cells):
                self._widths[number] = max(self._widths[number], cell_len(cell))
        return self._widths != before

    def _texts(self, line: Line) -> list[Text]:
        colour = self.app.theme_variables.get(line.tone.value, "")
        sign, *rest = line.cells
        return [Text(sign, style=colour), *map(Text, rest)]
