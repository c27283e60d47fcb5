"""The audit trail for programs: a page of its entries, the newest first, by what they are about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from peer.errors import UsageError
from peer.journal.trail_file import Line, read_back
from peer.journal.trail_words import sentence
from peer.status import LogPage

PAGE: Final = 100
PAGE_MAX: Final = 1000


class LogChoice(NamedTuple):
    """Which entries are wanted; all of it has to hold."""

    limit: int | None = None
    cursor: str | None = None
    """Where the page before ended, as it said in `next`."""
    since_s: int | None = None
    until_s: int | None = None
    folder: str | None = None
    by: str | None = None
    """The name of a device."""
    what: str | None = None
    """The kind of entry."""


def page_of(directory: Path, choice: LogChoice) -> LogPage:
    """One page; blocking. Raises UsageError for a cursor that no page gave."""
    limit = min(choice.limit or PAGE, PAGE_MAX)
    chosen = _chosen(_below(read_back(directory), choice.cursor), choice)
    entries: list[dict[str, Any]] = []
    last = None
    for line in chosen:
        if len(entries) == limit:
            return {"entries": entries, "next": last}
        entries.append({"number": line.number, **line.entry, "text": sentence(line.entry)})
        last = _cursor(line)
    return {"entries": entries, "next": None}


def _cursor(line: Line) -> str:
    # The number alone begins again with each chain, as after a restored backup.
    return f"{line.number}-{line.entry.get('time', 0)}"


def _below(lines: Iterator[Line], cursor: str | None) -> Iterator[Line]:
    if cursor is not None:
        for line in lines:
            if _cursor(line) == cursor:
                break
        else:
            raise UsageError("This cursor is of no page, or the trail has been archived since.")
    yield from lines


def _chosen(lines: Iterator[Line], choice: LogChoice) -> Iterator[Line]:
    for line in lines:
        entry = line.entry
        time_s = int(entry.get("time", 0))
        if choice.since_s is not None and time_s < choice.since_s:
            return
        if choice.until_s is not None and time_s >= choice.until_s:
            continue
        wanted = (("folder", choice.folder), ("by", choice.by), ("what", choice.what))
        if all(value in (None, entry.get(name)) for name, value in wanted):
            yield line
