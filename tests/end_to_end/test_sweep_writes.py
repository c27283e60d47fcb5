"""A sample of the sweep (sweep.py): a real daemon is killed, or its disk fails, at the N-th call,
while it receives or scans; everything that was saved is there afterwards, and nothing else.
"""

from collections.abc import Iterator

import pytest

from tests.end_to_end.inject import FAIL_ONCE, FULL, KILL, LARGE_POINTS, POINTS
from tests.end_to_end.rounds import (
    NOT_REACHED,
    RECEIVING,
    RECEIVING_LARGE,
    SCANNING,
    SCANNING_LARGE,
    Rounds,
)

CALLS = {point.name: point for point in (*POINTS, *LARGE_POINTS)}

SAMPLE = [
    (RECEIVING, KILL, "rename", 9),
    (RECEIVING, KILL, "sync", 12),
    (RECEIVING, KILL, "write to the index", 60),
    (RECEIVING, FAIL_ONCE, "sync", 6),
    (RECEIVING, FAIL_ONCE, "write to the index", 30),
    (RECEIVING, FULL, "size, time", 3),
    (SCANNING, KILL, "sync of the index", 4),
    (SCANNING, KILL, "write to the index", 30),
    (SCANNING, FAIL_ONCE, "sync of the index", 4),
    (SCANNING, FULL, "write to the index", 20),
    (RECEIVING_LARGE, KILL, "write of a large file", 40),
    (RECEIVING_LARGE, FULL, "write of a large file", 20),
    (SCANNING_LARGE, FAIL_ONCE, "read of a large file", 3),
]
"""About a quarter, a half and three quarters of the way through a round, where most happens."""


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rounds]:
    rounds = Rounds(tmp_path_factory.mktemp("rounds"))
    yield rounds
    rounds.end()


@pytest.mark.row("F01", "F02", "F04", "F06")
@pytest.mark.parametrize(("scenario", "fault", "call", "n"), SAMPLE)
def test_nothing_is_lost(rounds: Rounds, scenario: str, fault: str, call: str, n: int) -> None:
    assert rounds.play(scenario, CALLS[call], fault, n) != NOT_REACHED
