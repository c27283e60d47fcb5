"""A text on the screen that is laid out anew only when it takes another number of lines: the
library's lays out and paints the whole screen for each word.
"""

from __future__ import annotations

from rich.cells import cell_len
from textual.widgets import Static


class Told(Static):
    """What is said in one place."""

    def __init__(self, text: str = "", **options: str) -> None:
        super().__init__(text, markup=False, **options)  # type: ignore[arg-type]
        self.text = text

    def say(self, text: str) -> None:
        """Says something else; nothing is done where it is the same."""
        if text != self.text:
            before, self.text = self.text, text
            width = max(1, self.size.width)
            wraps = _may_wrap(before, width) or _may_wrap(text, width)
            self.update(text, layout=wraps and self.styles.is_auto_height)


def _may_wrap(text: str, width: int) -> bool:
    """Whether it may take another number of lines than one."""
    return not text or "\n" in text or cell_len(text) > width
