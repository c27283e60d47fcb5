"""`holdfast log`: reads the audit trail from the home, whether the daemon runs or not."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

from peer import terminal
from peer.acts import Answer, home_of
from peer.errors import NoDevice, TrailBroken

LIMIT: int = 50
"""Entries that are shown if nobody says otherwise: two screens."""


def log(arguments: argparse.Namespace) -> Answer:
    """Show who did what, the newest last."""
    from peer.trail_file import TRAIL_NAME, read_back
    from peer.trail_words import sentence

    home = home_of(arguments)
    if not (home / "key").exists():
        raise NoDevice
    found = _chosen(read_back(home / TRAIL_NAME), arguments)
    entries = [
        {"number": number, **entry, "text": sentence(entry)} for number, entry in reversed(found)
    ]

    def show() -> None:
        rows = (
            (terminal.format_moment(int(one["time"])), one.get("by", ""), one["text"])
            for one in entries
        )
        terminal.print_table(("when", "by", "what"), rows)

    return Answer({"entries": entries}, show)


def _chosen(
    lines: Iterable[tuple[int, dict[str, Any]]], arguments: argparse.Namespace
) -> list[tuple[int, dict[str, Any]]]:
    """The newest that were asked for, the newest first."""

    def wanted() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, entry in lines:
            if arguments.since is not None and int(entry.get("time", 0)) < arguments.since:
                return
            if arguments.folder in (None, entry.get("folder")):
                yield number, entry

    limit = arguments.limit or LIMIT
    return [line for line, _ in zip(wanted(), range(limit), strict=False)]


def verify(arguments: argparse.Namespace) -> Answer:
    """Check that nothing in the trail was changed, left out or put in."""
    from peer.trail_file import TRAIL_NAME, verify_trail

    home = home_of(arguments)
    if not (home / "key").exists():
        raise NoDevice
    verdict = verify_trail(home / TRAIL_NAME)
    data = verdict._asdict() | {
        "device_id": verdict.device_id.hex() if verdict.device_id is not None else None
    }

    def show() -> None:
        for line in (*verdict.notes, *verdict.problems):
            print(terminal.term_safe(line))
        print(
            f"{verdict.entries} entries, {verdict.first} to {verdict.last}; signed up to"
            f" {verdict.signed}."
        )
        if not verdict.problems:
            print("Each follows from the one before it, and every signature is this device's.")

    return Answer(data, show, TrailBroken() if verdict.problems else None)
