"""A text as a QR code of half blocks, two modules a character, and the screen that shows one."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Center, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.key_line import KeyLine

SHORT = 50
"""Characters up to which a code has less than 15 lines."""
BORDER = 2
"""Modules of quiet around it: less than the standard's four, which no phone has been seen to need,
so that the code of a share link fits on 24 lines.
"""


def qr_of(text: str) -> str:
    """Lines of half blocks, the dark modules drawn: for dark on light."""
    import segno  # it takes 15 ms to load, and most screens show no code

    rows = [list(row) for row in segno.make(text, error="l").matrix_iter(border=BORDER)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    blocks = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}
    return "\n".join(
        "".join(blocks[int(bool(a)), int(bool(b))] for a, b in zip(top, bottom, strict=True))
        for top, bottom in zip(rows[::2], rows[1::2], strict=True)
    )


class QrScreen(ModalScreen[None]):
    """A code for a phone's camera, and what it says."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "copy", "Copy", tooltip="Put the text on the clipboard, by the terminal"),
        Binding("escape,enter,q", "close", "Close"),
    ]

    def __init__(self, title: str, text: str, told: str) -> None:
        """All three are safe for a terminal."""
        super().__init__()
        self._title, self._text, self._told = title, text, told

    def compose(self) -> ComposeResult:
        """The code, and below it the text."""
        code = Center(Static(qr_of(self._text), id="qr-code", markup=False), id="qr-middle")
        words = (
            Static(self._title, id="qr-title", markup=False),
            Static(self._text, id="qr-text", markup=False),
            Static(self._told, id="qr-told", markup=False),
        )
        # On 24 lines there is room for the code of a link, or for its words.
        parts = (*words, code) if len(self._text) <= SHORT else (code, *words)
        yield VerticalScroll(*parts, id="qr-page")
        yield KeyLine()

    def action_copy(self) -> None:
        """To the clipboard."""
        self.app.copy_to_clipboard(self._text)
        self.notify("Copied, if this terminal lets a program do so.")

    def action_close(self) -> None:
        """It was read."""
        self.dismiss(None)
