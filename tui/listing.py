"""A table of lines that is brought up to date without losing the person's place in it.

It is one widget that draws the lines that are to be seen and no others: the library's table keeps
and lays out each of its cells, which takes longer than a key may until it is painted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from tui.rows import Line, Tone

MEASURED_MAX: Final = 500
"""Lines whose cells make room for themselves at once; those after them do when they are seen."""
PAD: Final = 1
"""Blank cells on each side of a column."""


class Listing(ScrollView, can_focus=True):
    """One of the screen's tables."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "listing--head", "listing--even", "listing--cursor", "listing--away",
        *(f"listing--{tone.name}" for tone in Tone),
    }  # fmt: skip
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "Choose", show=False),
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,ctrl+home", "first", "First", show=False),
        Binding("end,ctrl+end", "last", "Last", show=False),
    ]

    class Moved(Message):
        """The cursor is on another line."""

    class Chosen(Message):
        """Enter, or a second click, on a line."""

    def __init__(self, headings: Sequence[str], empty: str, **options: Any) -> None:
        """`empty`: what to say where there is no line."""
        super().__init__(**options)
        self._headings, self._empty = tuple(headings), empty
        self._lines: list[Line] | None = None
        """None until somebody has looked."""
        self._widths = [max(1, cell_len(heading)) for heading in self._headings]
        self._row = 0
        self._told = ""
        self._looks: dict[str, Style] = {}
        """How the parts look, until another theme is chosen: to look that up takes longer than to
        draw a line.
        """

    # ------------------------------------------------------------ what is in it

    @property
    def lines(self) -> Sequence[Line]:
        """What it shows."""
        return self._lines or ()

    @property
    def row_count(self) -> int:
        """How many lines there are."""
        return len(self.lines)

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
        return self.lines[self._row] if self._row < self.row_count else None

    @property
    def told(self) -> str:
        """What is said below the lines."""
        return self._told

    def tell(self, text: str) -> None:
        """Says something there."""
        if text != self._told:
            self._told = text
            # As a string it would be read as markup, which names can be mistaken for.
            self.border_subtitle = Text(text)

    def show(self, lines: Sequence[Line]) -> None:
        """Shows these lines; the cursor stays on the line that it was on, if that is still there.
        Lines with the keys that are there already change what they say, and nothing is laid out.
        """
        self.tell("" if lines else self._empty)
        if list(lines) == self._lines:
            return
        chosen, was_empty = self.chosen, not self._lines
        self._lines = list(lines)
        keys = (number for number, line in enumerate(lines) if line.key == chosen)
        self._row = next(keys, min(self._row, max(0, len(lines) - 1)))
        self._widen(lines[:MEASURED_MAX])
        self._measure()
        self._follow()
        self.refresh()
        if was_empty or self.chosen != chosen:
            self.post_message(self.Moved())

    def _widen(self, lines: Sequence[Line]) -> None:
        """Makes room for the longest cells. Columns never become narrower, so that they do not
        jump while what they say changes.
        """
        for number, width in enumerate(self._widths):
            longest = max((cell_len(line.cells[number]) for line in lines), default=0)
            self._widths[number] = max(width, longest)

    def _measure(self) -> None:
        width = sum(self._widths) + 2 * PAD * len(self._widths)
        size, before = Size(width, self.row_count + 1), self.virtual_size
        if size.height == before.height and max(width, before.width) <= self.size.width:
            self.set_reactive(Widget.virtual_size, size)  # no scrollbar comes or goes
        else:
            self.virtual_size = size

    # ------------------------------------------------------------ the cursor

    def move_cursor(self, row: int) -> None:
        """Puts the cursor on a line, or on the nearest that there is, and has it seen."""
        row = max(0, min(row, self.row_count - 1))
        if row != self._row:
            self._row = row
            self._follow()
            self.refresh()
            self.post_message(self.Moved())

    def _follow(self) -> None:
        """Scrolls to where the line of the cursor is to be seen, below the headings."""
        rows, top = self._rows_seen, self.scroll_offset.y
        if self._row < top:
            self.scroll_to(y=self._row, animate=False, force=True)
        elif rows > 0 and self._row >= top + rows:
            self.scroll_to(y=self._row - rows + 1, animate=False, force=True)

    @property
    def _rows_seen(self) -> int:
        return self.scrollable_content_region.height - 1

    def action_move(self, rows: int) -> None:
        """So many lines down."""
        self.move_cursor(self._row + rows)

    def action_page(self, pages: int) -> None:
        """So many pages down."""
        self.move_cursor(self._row + pages * max(1, self._rows_seen))

    def action_first(self) -> None:
        """The first line."""
        self.move_cursor(0)

    def action_last(self) -> None:
        """The last line."""
        self.move_cursor(self.row_count - 1)

    def action_choose(self) -> None:
        """Enter."""
        if self._line is not None:
            self.post_message(self.Chosen())

    def on_click(self, event: events.Click) -> None:
        """A click goes to a line; a second one is as good as Enter."""
        row = event.y + self.scroll_offset.y - 1
        if event.y < 1 or row >= self.row_count:
            return
        event.stop()
        if row == self._row:
            self.action_choose()
        self.move_cursor(row)

    # ------------------------------------------------------------ drawing

    def notify_style_update(self) -> None:
        """Another theme."""
        self._looks.clear()
        super().notify_style_update()

    def watch_has_focus(self, _has_focus: bool) -> None:
        """The cursor looks another way. The library would look all of its styles up anew, which
        would be a third of what the key costs that leads here.
        """
        self.refresh()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """What comes to be seen makes room for itself."""
        super().watch_scroll_y(old_value, new_value)
        top = round(new_value)
        self._widen(self.lines[top : top + max(1, self._rows_seen)])
        self._measure()

    def on_resize(self) -> None:
        """The line of the cursor is to be seen still."""
        self._follow()

    def _look(self, name: str) -> Style:
        look = self._looks.get(name)
        if look is None:
            look = self.get_component_rich_style(f"listing--{name}") if name else self.rich_style
            self._looks[name] = look
        return look

    def render_line(self, y: int) -> Strip:
        """The headings, which stay, or a line below them."""
        left, _ = self.scroll_offset
        width, ground = self.size.width, self._look("")
        row = y - 1 + self.scroll_offset.y
        if y == 0:
            ground = self._look("head")
            pieces = self._drawn(self._headings, ground)
        elif row < self.row_count:
            line = self.lines[row]
            if row == self._row:
                ground = self._look("cursor" if self.has_focus else "away")
            elif row % 2 == 0:
                ground = self._look("even")
            pieces = self._drawn(line.cells, ground)
            if row != self._row:
                colour = self._look(line.tone.name).color
                pieces[0] = Segment(pieces[0].text, ground + Style(color=colour))
        else:
            return Strip([Segment(" " * width, ground)], width)
        drawn = self.virtual_size.width
        if drawn < left + width:
            pieces.append(Segment(" " * (left + width - drawn), ground))
            drawn = left + width
        strip = Strip(pieces, drawn)
        return strip if drawn == width else _cut(strip, left, left + width)

    def _drawn(self, cells: Sequence[str], ground: Style) -> list[Segment]:
        pad = " " * PAD
        return [
            Segment(f"{pad}{set_cell_size(cell, width)}{pad}", ground)
            for cell, width in zip(cells, self._widths, strict=True)
        ]


def _cut(strip: Strip, left: int, right: int) -> Strip:
    """What is to be seen of a line; where it goes on to the right, its end says so."""
    seen = strip.crop(left, right)
    if not strip.crop(right, strip.cell_length).text.strip():
        return seen
    last = list(seen)[-1]
    return Strip([*seen.crop(0, right - left - 1), Segment("…", last.style)], right - left)
