"""What of a log to tell somebody, by what they hold."""

from __future__ import annotations

import pytest

from crypto.ids import DeviceId, EntryId, FolderId, LogId
from protocol.changesets import FrontierEntry, Slot
from protocol.log_offers import missing_from, offer_from
from protocol.log_positions import Log

LOG = LogId(b"L" * 16)


def log_of(length: int, floors: dict[int, int]) -> Log:
    """A log whose hashes are the numbers of its positions, with these floors from these on."""
    log, floor = Log(LOG, DeviceId(bytes(32)), bytes(8)), 1
    for seq in range(1, length + 1):
        floor = floors.get(seq, floor)
        slot = Slot(
            FolderId(bytes(32)), DeviceId(bytes(32)), bytes(8), seq, bytes(32),
            EntryId(bytes(32)), (EntryId(bytes(32)),), floor, seq,
        )  # fmt: skip
        log.append(slot, seq.to_bytes(32))
    return log


@pytest.mark.parametrize(
    ("held", "offer"), [(0, (5, 7)), (1, (2, 0)), (4, (5, 0)), (9, (10, 0)), (10, (11, 0))]
)
def test_who_has_nothing_begins_at_the_floor(held: int, offer: tuple[int, int]) -> None:
    assert offer_from(log_of(10, {7: 5}), held) == offer


@pytest.mark.parametrize(("held", "offer"), [(0, (5, 7)), (3, (5, 7)), (4, (5, 0)), (8, (9, 0))])
def test_who_is_behind_what_is_kept_begins_there(held: int, offer: tuple[int, int]) -> None:
    log = log_of(10, {7: 5})
    log.drop_below(5)
    assert offer_from(log, held) == offer


def test_a_floor_that_does_not_count_is_not_offered() -> None:
    log = log_of(10, {4: 2, 7: 5})
    log.void_from = 6
    assert offer_from(log, 0) == (2, 4)
    log.void_from = 3
    assert offer_from(log, 0) == (1, 0)


def test_a_head_of_another_branch_is_shown_what_stands_there() -> None:
    log = log_of(10, {})
    assert missing_from({LOG: log}, [FrontierEntry(LOG, 4, b"x" * 32)]) == [(LOG, 4, 10)]
    assert missing_from({LOG: log}, [FrontierEntry(LOG, 4, (4).to_bytes(32))]) == [(LOG, 5, 10)]
    assert missing_from({LOG: log}, [FrontierEntry(LOG, 10, (10).to_bytes(32))]) == []
