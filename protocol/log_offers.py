"""What of the logs to tell somebody, by how far they hold them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Final

from crypto.ids import LogId
from protocol.changesets import FrontierEntry
from protocol.log_positions import Log

BRANCH_LENGTH_MAX: Final = 512
"""How far behind two heads the place is looked for where a log was forked."""


def missing_from(
    logs: Mapping[LogId, Log], theirs: Iterable[FrontierEntry]
) -> list[tuple[LogId, int, int]]:
    """What somebody with this frontier lacks: (log, first, last) for each log.

    Where their head is another than ours, the range begins with it, so that they see the fork.
    """
    known = {entry.log_id: entry for entry in theirs}
    lacking: list[tuple[LogId, int, int]] = []
    for log in logs.values():
        entry = known.get(log.log_id)
        held = 0 if entry is None else entry.seq
        if entry is not None and log.hash_at(held) not in (None, entry.hash):
            held -= 1
        first, _ = offer_from(log, held)
        if log.lamports and first <= log.seq:
            lacking.append((log.log_id, first, log.seq))
    return sorted(lacking)


def offer_from(log: Log, held: int) -> tuple[int, int]:
    """From where on to tell a log to somebody who holds it up to `held`, and the position to show
    before that, since it declares where they may begin; 0 if they just go on.

    Who has nothing begins at the floor. Who has a part goes on with it while that is kept here, so
    that they hold what a removal may bring back.
    """
    if held and held + 1 >= log.start:
        return held + 1, 0
    first = max(log.start, log.counting_floor[0])
    return first, next((at for at, floor in log.floors if floor == first), 0)


def branch_from(
    log: Log | None, theirs: FrontierEntry, quarantined: Container[FrontierEntry]
) -> int:
    """From where on to show a log to somebody whose head is of another branch; 0 if it is not, as
    far as this can be known here.
    """
    ours = None if log is None else log.hash_at(theirs.seq)
    if log is None or ours == theirs.hash:
        return 0
    if ours is None and FrontierEntry(*theirs) not in quarantined:
        return 0
    if 0 < log.forked_at <= theirs.seq:
        return max(log.start, log.forked_at)
    return max(log.start, theirs.seq - BRANCH_LENGTH_MAX)
