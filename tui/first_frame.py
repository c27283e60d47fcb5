"""What is seen before the screen's library is loaded, which takes a third of a second: how all of
it stands, drawn by plain escapes where the screen will draw it. The keys that are pressed
meanwhile wait for the screen.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from peer.command_line.terminal import term_safe
from peer.control.control_client import ControlClient
from peer.errors import PeerError
from peer.status import Status
from tui.rows import FOLDER_HEADINGS, TABS, Rates, folder_lines, headline

ENTER: Final = "\x1b[?1049h"
LEAVE: Final = "\x1b[?1049l\x1b[?25h"
BEGIN: Final = "\x1b[H\x1b[?25l"
BOLD, PLAIN, REVERSE = "\x1b[1m", "\x1b[0m", "\x1b[7m"
ENDING: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""What asks a program to end; by itself it would leave the terminal as the screen has it."""
LOOKING: Final = "Looking for the daemon…"
ANSWER_TIMEOUT_S: Final = 0.15
"""A daemon that is busier than that is asked again by the screen; the frame does not wait."""


def frame_of(text: str, rows: Sequence[Sequence[str]], columns: int, lines: int) -> str:
    """The picture; what is said is safe for a terminal already."""
    table = [list(FOLDER_HEADINGS), *map(list, rows)] if rows else []
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    tabs = " ".join(TABS.values())
    drawn = [f"{BOLD}{REVERSE}{f' {text}'[:columns]:{columns}}{PLAIN}", f" {tabs}"[:columns]]
    for number, row in enumerate(table):
        line = "".join(f" {cell:{width}} " for cell, width in zip(row, widths, strict=True))
        drawn.append(f"{'' if number else BOLD}{line[:columns]}{PLAIN}")
    return BEGIN + "\r\n".join(drawn[: max(1, lines - 1)])


def first_frame(home: Path, columns: int, lines: int) -> str:
    """The picture of what the daemon says, if it answers at once."""
    status: Status | None = None
    text = LOOKING
    try:
        status = ControlClient(home, ANSWER_TIMEOUT_S).status()
        text = headline(status, Rates())
    except PeerError as error:
        text = term_safe(str(error))
    rows = [] if status is None else [line.cells for line in folder_lines(status)]
    return frame_of(text, rows, columns, lines)


@contextmanager
def shown_first(home: Path) -> Iterator[str]:
    """Paints it, and leaves the terminal at the end as it was; nothing where there is none."""
    if os.name == "nt" or not (sys.stdin.isatty() and sys.__stderr__ and sys.__stderr__.isatty()):
        yield ""
        return
    import termios

    out, descriptor = sys.__stderr__, sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    quiet = termios.tcgetattr(descriptor)
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    asked_to_end = {number: signal.signal(number, _end) for number in ENDING}
    try:
        termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
        out.write(ENTER + BEGIN)
        out.flush()
        size = shutil.get_terminal_size()
        frame = first_frame(home, size.columns, size.lines)
        out.write(frame)
        out.flush()
        yield frame
    finally:
        for number in ENDING:  # nothing interrupts what follows
            signal.signal(number, signal.SIG_IGN)
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
        out.write(LEAVE)
        out.flush()
        for number, handler in asked_to_end.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    """Ends as a signal asks, by the way on which the terminal is put right."""
    raise SystemExit(128 + number)
