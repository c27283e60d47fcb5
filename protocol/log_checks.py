"""Checks 8 and 9 of CRYPTO 5: what a changeset's author had seen, and its Lamport time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crypto.ids import LogId
from protocol.changesets import FULL_FRONTIER_EVERY, FrontierEntry, Slot
from protocol.errors import BadLamport, BadRecord
from protocol.held_changesets import Position
from protocol.log_positions import Log

Logs = Mapping[LogId, Log]
Quarantine = Mapping[FrontierEntry, int]
"""The Lamport times of changesets that are kept in no log."""


def is_full_at(seq: int, floor: int) -> bool:
    """Whether a changeset at this position names every log that its author has seen."""
    return seq in (1, floor) or seq % FULL_FRONTIER_EVERY == 0


def grown(
    slot: Slot, log_id: LogId, known: Mapping[LogId, int] | None, frontier: Sequence[FrontierEntry]
) -> dict[LogId, int]:
    """What the author had seen in all, from what it had seen before (None if that is not known).

    Raises BadRecord if it shrank, or is not named in full where it has to be.
    """
    seen = dict(known or {})
    for entry in frontier:
        if entry.log_id == log_id or entry.seq < seen.get(entry.log_id, 0):
            raise BadRecord("a frontier that shrank, or names its own log")
        seen[entry.log_id] = entry.seq
    if is_full_at(slot.seq, slot.floor) and len(frontier) != len(seen):
        raise BadRecord("a frontier that should be whole and is not")
    return seen


def missing(
    logs: Logs, quarantine: Quarantine, frontier: Sequence[FrontierEntry]
) -> list[Position]:
    """The entries of a frontier that are neither held, nor quarantined, nor below a floor."""
    absent: list[Position] = []
    for entry in frontier:
        log = logs.get(entry.log_id)
        if log is not None and (
            entry.seq < max(log.start, log.floor) or log.hash_at(entry.seq) == entry.hash
        ):
            continue
        if entry not in quarantine:
            absent.append(Position(entry.log_id, entry.seq))
    return absent


def check_lamport(
    slot: Slot,
    previous: int | None,
    frontier: Sequence[FrontierEntry],
    seen: Mapping[LogId, int],
    logs: Logs,
    quarantine: Quarantine,
) -> None:
    """One more than the highest that it rests on, exactly so where every replica can know that.

    The time of what is void, quarantined or below a floor is only bounded: by what it says itself,
    and by the number of changesets that there are. So is that of a changeset whose `previous` time
    is not known (None), since the log begins with it here. Raises BadLamport.
    """
    hard, soft = (0, slot.lamport) if previous is None else (previous, 0)
    for entry in frontier:
        log = logs.get(entry.log_id)
        if log is None or log.hash_at(entry.seq) != entry.hash:
            soft = max(soft, quarantine.get(entry, _time_below_floor(slot, entry, log)))
        elif log.is_hard(entry.seq):
            hard = max(hard, log.lamport_at(entry.seq))
        else:
            soft = max(soft, log.lamport_at(entry.seq))
    # No chain of changesets, each resting on the one before, is longer than their number.
    count = slot.seq + sum(seen.values())
    if not 1 + hard <= slot.lamport <= max(1 + hard, min(1 + soft, count)):
        raise BadLamport("a Lamport time that does not follow from what the changeset rests on")


def _time_below_floor(slot: Slot, entry: FrontierEntry, log: Log | None) -> int:
    """The most that the Lamport time of a position can be which is not held."""
    if log is None:
        return 0
    if entry.seq < log.start and log.lamports:
        return log.lamports[0]
    return slot.lamport  # the log comes later, from its floor on: there is no better bound yet
