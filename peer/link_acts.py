"""What the commands of share links do (peer.acts has the others)."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Final

from peer import terminal
from peer.acts import Answer
from peer.errors import UsageError

SHOWN_EVERY_S: Final = 0.5


def get(arguments: argparse.Namespace) -> Answer:
    """Fetch what a share link gives; needs no device and no daemon."""
    from peer.link_get import get as get_link
    from peer.link_password import ask_link_password
    from protocol.share_url import BadShareUrl, ShareUrl

    text = sys.stdin.readline() if arguments.url == "-" else arguments.url
    try:
        url = ShareUrl.parse(text)
    except BadShareUrl as error:
        raise UsageError(str(error)) from error
    began_at = time.monotonic()
    directory = arguments.output or Path()
    got = get_link(url, directory, ask_link_password, _Meter() if sys.stderr.isatty() else _silent)
    took_s = max(time.monotonic() - began_at, 0.001)
    data = {
        "names": got.names,
        "directory": str(directory.absolute()),
        "files": got.files,
        "bytes": got.size,
        "seconds": round(took_s, 3),
    }
    rate = f"{terminal.format_size(got.size / took_s)}/s"
    line = f"{got.files} files, {terminal.format_size(got.size)} in {terminal.format_time(took_s)}"

    def show() -> None:
        for name in got.names:
            print(terminal.term_safe(str(directory / name)))
        print(f"{line} ({rate}).")

    return Answer(data, show)


def _silent(done: int, size: int) -> None:
    """For who reads no terminal."""


class _Meter:
    """A line on a terminal's standard error: how much, how fast, and how long it takes yet."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self._began_with: int | None = None
        self._shown_at = 0.0

    def __call__(self, done: int, size: int) -> None:
        now = time.monotonic()
        if self._began_with is None:
            self._began_with = done
        if now - self._shown_at < SHOWN_EVERY_S and done < size:
            return
        self._shown_at = now
        rate = (done - self._began_with) / max(now - self._began_at, 0.001)
        left = f", {terminal.format_time((size - done) / rate)} left" if rate else ""
        words = (
            f"{terminal.format_size(done)} of {terminal.format_size(size)},"
            f" {terminal.format_size(rate)}/s{left if done < size else ''}"
        )
        end = "\n" if done >= size else ""
        print(f"\r\x1b[K{words}", end=end, file=sys.stderr, flush=True)
