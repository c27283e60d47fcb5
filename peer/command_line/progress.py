"""How far a command that takes long is: one line on a terminal's standard error, and nothing where
no person looks at it or `--json` was asked for.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from peer.command_line import terminal
from peer.errors import PeerError

if TYPE_CHECKING:
    from peer.control.control_client import ControlClient

Result = TypeVar("Result")
Told = Callable[[int, int], None]
"""So much is done, of so much."""
BYTES: Final = "bytes"
SHOWN_EVERY_S: Final = 0.25
ASKED_EVERY_S: Final = 0.5
RATE_OVER_S: Final = 15.0
"""What a rate is the mean of: a person who looks twice sees whether it has become slow."""
Words = Callable[[float], str]
WORDS: Final[Mapping[str, tuple[Words, Words]]] = {
    BYTES: (terminal.format_size, lambda rate: f"{terminal.format_size(rate)}/s"),
    "files": (lambda count: f"{count:,.0f}", lambda rate: f"{rate:,.0f} files/s"),
    "packs": (lambda count: f"{count:,.0f} packs", lambda rate: f"{rate:,.1f} packs/s"),
}
"""How an amount of a unit, and a rate, are written."""


class Meter:
    """What is said of one act, in words. The time is an argument."""

    def __init__(self, unit: str = BYTES) -> None:
        self._amount, self._rate = WORDS.get(unit, WORDS["files"])
        self._seen: deque[tuple[float, int]] = deque()

    def words(self, done: int, size: int, now_s: float) -> str:
        """`12.0 MB of 80.1 MB, 4.0 MB/s, 17.0 s left`."""
        seen = self._seen
        if seen and done < seen[-1][1]:
            seen.clear()  # it has begun anew
        seen.append((now_s, done))
        while len(seen) > 2 and now_s - seen[0][0] > RATE_OVER_S:
            seen.popleft()
        words = f"{self._amount(done)} of {self._amount(size)}"
        took_s, moved = now_s - seen[0][0], done - seen[0][1]
        if took_s < SHOWN_EVERY_S or not moved:
            return words
        words += f", {self._rate(moved / took_s)}"
        if done < size:
            words += f", {terminal.format_time((size - done) * took_s / moved)} left"
        return words


def is_shown(arguments: argparse.Namespace) -> bool:
    """Whether a person looks at a terminal that can draw a line twice."""
    is_plain = os.environ.get("TERM", "") in ("", "dumb")
    return sys.stderr.isatty() and not is_plain and not hasattr(arguments, "json")


@contextmanager
def drawn(arguments: argparse.Namespace, unit: str = BYTES) -> Iterator[Told]:
    """Draws what it is told, and takes the line away at the end."""
    if not is_shown(arguments):
        yield lambda done, size: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    console = Console(stderr=True, highlight=False)
    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
    meter, shown_s = Meter(unit), 0.0
    bar = Progress(
        BarColumn(20), text, console=console, transient=True, auto_refresh=False,
        redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
    task = bar.add_task("", total=None)

    def tell(done: int, size: int) -> None:
        nonlocal shown_s
        now_s = time.monotonic()
        if now_s - shown_s >= SHOWN_EVERY_S or done >= size:
            shown_s = now_s
            words = meter.words(done, size, now_s)
            bar.update(task, completed=done, total=max(size, 1), description=words)
            bar.start()  # not before: a password may be asked for first
            bar.refresh()

    try:
        yield tell
    finally:
        bar.stop()


def watched(
    arguments: argparse.Namespace,
    client: ControlClient,
    act: str,
    subject: str,
    unit: str,
    request: Callable[[], Result],
) -> Result:
    """Does a request that takes long, and shows how far the daemon says it is."""
    if not is_shown(arguments):
        return request()
    is_over = threading.Event()
    with drawn(arguments, unit) as tell:

        def look() -> None:
            while not is_over.wait(ASKED_EVERY_S):
                try:
                    under_way = client.transfers().get("under_way", [])
                except PeerError:
                    continue
                for one in under_way:
                    if (one["act"], one["subject"]) == (act, subject) and one["size"]:
                        tell(one["done"], one["size"])

        looker = threading.Thread(target=look, daemon=True)
        looker.start()
        try:
            return request()
        finally:
            is_over.set()
            looker.join()
