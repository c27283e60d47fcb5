"""Version vectors: how much of each device's log a write has seen (MERGE 2-4).

A vector is a sorted tuple of (log id, changeset seq) pairs; a log that is not named counts as 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from crypto.ids import LogId

Vector = tuple[tuple[LogId, int], ...]
"""Sorted by log id, each log once, every seq at least 1."""

EMPTY: Vector = ()


class Ordering(Enum):
    """How two vectors stand to each other."""

    EQUAL = "equal"
    BEFORE = "before"
    AFTER = "after"
    CONCURRENT = "concurrent"


def make(entries: Iterable[tuple[LogId, int]]) -> Vector:
    """Sorts entries into a vector; of a log named twice the higher seq counts."""
    return join(*((entry,) for entry in entries))


def join(*vectors: Vector) -> Vector:
    """The least vector that has seen all that the given ones have seen."""
    if len(vectors) == 1:
        return vectors[0]
    seen: dict[LogId, int] = {}
    for vector in vectors:
        for log, seq in vector:
            if seq > seen.get(log, 0):
                seen[log] = seq
    return tuple(sorted(seen.items()))


def is_within(low: Vector, high: Vector) -> bool:
    """True when `high` has seen everything that `low` has seen (low <= high)."""
    if low == high or not low:
        return True
    seen = dict(high)
    return all(seen.get(log, 0) >= seq for log, seq in low)


def compare(left: Vector, right: Vector) -> Ordering:
    """The ordering of `left` relative to `right`."""
    if left == right:
        return Ordering.EQUAL
    if is_within(left, right):
        return Ordering.BEFORE
    if is_within(right, left):
        return Ordering.AFTER
    return Ordering.CONCURRENT


def seq_of(vector: Vector, log: LogId) -> int:
    """The position in `log` that the vector has seen; 0 for none."""
    for name, seq in vector:
        if name == log:
            return seq
    return 0
