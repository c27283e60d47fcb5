"""Walks a folder's directories from the top down, a batch at a time, leaving out what is ignored.

It compares nothing and remembers nothing: whoever asks for the next batch has dealt with the last
one. A directory always comes before what is in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from peer.core.disk_types import Disk, Kind, Listing, Path
from peer.disk.ignore import IgnoreRules

BATCH_ENTRIES: Final = 2_000
"""About what a batch holds: some 10 ms of work. A directory is never split, so a huge one is a huge
batch.
"""
_DIRECTORIES_MAX: Final = 256


def scan(
    disk: Disk,
    rules: IgnoreRules,
    starts: Iterable[Path] = ((),),
    *,
    is_recursive: bool = True,
    before_listing: Callable[[Sequence[Path]], object] | None = None,
) -> Iterator[list[Listing]]:
    """Lists directories and, if recursive, all below them.

    `before_listing` is told of each batch's directories first: watched before they are listed, they
    hide no change. Ignored entries are not in the listings. A directory that is not there, or not
    readable, comes as its Listing says.
    """
    pending = deque(start for start in starts if not rules.is_ignored(start, is_directory=True))
    directories_seen = entries_seen = 0
    while pending:
        mean = max(1, entries_seen) / max(1, directories_seen)
        count = max(1, min(_DIRECTORIES_MAX, len(pending), int(BATCH_ENTRIES / mean)))
        if directories_seen == 0:
            count = 1
        paths = [pending.popleft() for _ in range(count)]
        if before_listing is not None:
            before_listing(paths)
        listings = [_without_ignored(listing, rules) for listing in disk.list_directories(paths)]
        for listing in listings:
            directories_seen += 1
            entries_seen += len(listing.entries or ())
            if is_recursive and listing.entries:
                pending.extend(
                    (*listing.path, name)
                    for name, stat in listing.entries
                    if stat.kind is Kind.DIRECTORY
                )
        yield listings


def _without_ignored(listing: Listing, rules: IgnoreRules) -> Listing:
    """Drops entries, and problems with entries, that nobody wants synced anyway."""
    path, entries, problems = listing.path, listing.entries, listing.problems
    if entries is None:
        return listing
    is_ignored = rules.is_ignored
    if rules.has_patterns:
        kept = [
            entry
            for entry in entries
            if not is_ignored((*path, entry[0]), entry[1].kind is Kind.DIRECTORY)
        ]
    else:
        is_name_ignored = rules.is_name_ignored
        kept = [entry for entry in entries if not is_name_ignored(entry[0])]
    if problems:
        problems = [
            problem
            for problem in problems
            if problem.path == path or not is_ignored(problem.path, is_directory=False)
        ]
    return listing._replace(entries=kept, problems=problems)
