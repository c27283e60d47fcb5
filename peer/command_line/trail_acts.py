"""`holdfast log`, which reads the audit trail from the home whether the daemon runs or not, and
`holdfast notifications`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

from peer.command_line import terminal
from peer.command_line.acts import Answer, client_of, home_of, say
from peer.errors import NoDevice, TrailBroken

LIMIT: int = 50
"""Entries that are shown if nobody says otherwise: two screens."""


def log(arguments: argparse.Namespace) -> Answer:
    """Show who did what, the newest last."""
    from peer.journal.trail_file import TRAIL_NAME, read_back
    from peer.journal.trail_words import sentence

    home = home_of(arguments)
    if not (home / "key").exists():
        raise NoDevice
    found = _chosen(read_back(home / TRAIL_NAME), arguments)
    entries = [
        {"number": number, **entry, "text": sentence(entry)} for number, entry in reversed(found)
    ]

    def show() -> None:
        if not entries:
            print("The trail holds nothing of that.")
            return
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
    from peer.journal.held_checkpoints import HeldCheckpoints
    from peer.journal.trail_file import TRAIL_NAME, verify_trail

    home = home_of(arguments)
    if not (home / "key").exists():
        raise NoDevice
    verdict = verify_trail(home / TRAIL_NAME)
    held = HeldCheckpoints(home / TRAIL_NAME)
    held.load()
    data = verdict._asdict() | {
        "device_id": verdict.device_id.hex() if verdict.device_id is not None else None,
        "held": [
            {
                "device": one.checkpoint.device_id.hex(),
                "name": one.name,
                "entries": one.checkpoint.entries,
                "signed_s": one.checkpoint.time_s,
                "seen_s": one.seen_s,
                "problem": one.problem,
            }
            for one in held.all()
        ],
    }

    def show() -> None:
        for line in (*verdict.notes, *verdict.problems):
            print(terminal.term_safe(line))
        print(
            f"{verdict.entries} entries, {verdict.first} to {verdict.last}; signed up to"
            f" {verdict.signed}."
        )
        if not verdict.problems:
            signed = (
                "and every signature is this device's."
                if verdict.signed
                else "and none is signed yet: the device signs every few minutes."
            )
            print(f"Each follows from the one before it, {signed}")
        for one in held.all():
            until = terminal.format_moment(one.checkpoint.time_s)
            said = one.problem or f"in keeping with the {one.checkpoint.entries} entries it had"
            print(terminal.term_safe(f"{one.name}, by what it signed on {until}: {said}."))

    is_broken = verdict.problems or any(one.problem for one in held.all())
    return Answer(data, show, TrailBroken() if is_broken else None)


def notifications(arguments: argparse.Namespace) -> Answer:
    """Show what a person should hear of."""
    found = client_of(arguments).notifications(unread_only=not arguments.all)

    def show() -> None:
        entries = found["notifications"]
        if not entries:
            print("There is nothing that you have not read.")
            return
        rows = (
            (
                str(one["id"]),
                "over" if one["over"] else "" if one["read"] else one["priority"],
                terminal.format_moment(one["time_s"]),
                one["text"],
            )
            for one in entries
        )
        terminal.print_table(("", "", "when", "what"), rows)

    return Answer(found, show)


def notifications_read(arguments: argparse.Namespace) -> Answer:
    """Mark notices as read."""
    marked = client_of(arguments).mark_as_read(arguments.notices or None)
    told = f"Marked {marked} as read." if marked else "There was nothing to mark as read."
    return say({"marked": marked}, told)
