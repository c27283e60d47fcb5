"""What is sent, what is taken as held, and the window between."""

from __future__ import annotations

import pytest

from crypto.ids import LogId
from protocol.errors import LimitReached, Unexpected
from protocol.events import LogNeed
from protocol.folder_exchange import (
    CHANGESETS_FRAME_BYTES,
    RETRY_DELAY_MAX_S,
    RETRY_DELAY_S,
    UNANSWERED_BYTES_MAX,
    FolderExchange,
    split_by_bytes,
)
from protocol.messages import CHANGESETS_MAX, LOGS_MAX, FrontierEntry

LOG = LogId(b"a" * 16)
OTHER = LogId(b"b" * 16)
HASH = bytes(32)


def at(log_id: LogId, seq: int) -> FrontierEntry:
    return FrontierEntry(log_id, seq, HASH)


def shared(*ours: FrontierEntry) -> FolderExchange:
    exchange = FolderExchange()
    exchange.share_here()
    exchange.is_shared_there = True
    exchange.update_ours(ours)
    return exchange


def test_nothing_is_needed_before_both_share() -> None:
    exchange = FolderExchange()
    exchange.share_here()
    exchange.update_ours([at(LOG, 2)])
    assert exchange.needs() == ()
    exchange.is_shared_there = True
    assert exchange.needs() == (LogNeed(LOG, 0),)


def test_what_they_lack_is_needed_once() -> None:
    exchange = shared(at(LOG, 5), at(OTHER, 1))
    exchange.update_theirs([at(LOG, 3), at(OTHER, 7)], 0, 0)
    assert exchange.needs() == (LogNeed(LOG, 3),)
    assert exchange.needs() == ()
    assert exchange.offer(LOG, 4, [b"4", b"5"]) == [(b"4", b"5")]
    assert exchange.needs() == ()
    exchange.update_ours([at(LOG, 6)])
    assert exchange.needs() == (LogNeed(LOG, 5),)


def test_what_is_shown_beside_leaves_all_needed_and_counts_in_the_window() -> None:
    exchange = shared(at(LOG, 9))
    assert exchange.needs() == (LogNeed(LOG, 0),)
    before = exchange.budget_bytes
    assert exchange.show(LOG, 7, [b"777"]) == [(b"777",)]
    assert exchange.budget_bytes == before - 3
    assert exchange.held_there(LOG) == 0
    assert exchange.offer(LOG, 4, [b"4", b"5"]) == [(b"4", b"5")]
    assert exchange.needs() == (LogNeed(LOG, 5),)
    exchange.update_theirs([], 1, 0)
    assert exchange.budget_bytes == before - 2
    assert exchange.show(LOG, 7, []) == []
    exchange.unshare_there()
    assert exchange.show(LOG, 7, [b"777"]) == []


def test_part_of_an_offer_leaves_the_rest_needed() -> None:
    exchange = shared(at(LOG, 5))
    exchange.needs()
    exchange.offer(LOG, 1, [b"1", b"2"])
    assert exchange.needs() == (LogNeed(LOG, 2),)


def test_an_empty_offer_waits_until_we_hold_more() -> None:
    exchange = shared(at(LOG, 5))
    exchange.needs()
    assert exchange.offer(LOG, 1, []) == []
    assert exchange.needs() == ()
    exchange.update_ours([at(LOG, 6)])
    assert exchange.needs() == (LogNeed(LOG, 5),)


@pytest.mark.parametrize("by_batch", [True, False], ids=["batch", "frontier"])
def test_the_window_closes_and_opens_by_answers(by_batch: bool) -> None:
    exchange = shared(at(LOG, 9))
    exchange.needs()
    frames = exchange.offer(LOG, 1, [bytes(UNANSWERED_BYTES_MAX // 4)] * 4)
    assert len(frames) == 4
    assert exchange.budget_bytes == 0
    assert exchange.needs() == ()
    if by_batch:
        exchange.update_theirs([], 2, 0)
    else:
        exchange.update_theirs([at(LOG, 2)], 0, 0)
    assert exchange.budget_bytes == UNANSWERED_BYTES_MAX // 2
    assert exchange.needs() == (LogNeed(LOG, 4),)


def test_a_batch_that_was_never_sent_cannot_be_answered() -> None:
    exchange = shared(at(LOG, 1))
    with pytest.raises(Unexpected):
        exchange.update_theirs([], 1, 0)


def test_logs_are_bounded() -> None:
    exchange = shared()
    logs = [at(LogId(number.to_bytes(16)), 1) for number in range(LOGS_MAX + 1)]
    exchange.update_theirs(logs[1:], 0, 0)
    with pytest.raises(LimitReached):
        exchange.update_theirs(logs[:1], 0, 0)


def test_what_was_answered_but_not_taken_is_offered_again_ever_more_seldom() -> None:
    exchange = shared(at(LOG, 2))
    now = 0.0
    delays: list[float] = []
    for batch in range(1, 9):
        assert exchange.needs() == (LogNeed(LOG, 0),)
        exchange.offer(LOG, 1, [b"1", b"2"])
        assert exchange.retry_at is None
        exchange.update_theirs([], batch, now)
        assert exchange.retry_at is not None
        delays.append(exchange.retry_at - now)
        now = exchange.retry_at
        exchange.retry()
    assert delays[:2] == [RETRY_DELAY_S, 2 * RETRY_DELAY_S]
    assert delays[-1] == RETRY_DELAY_MAX_S
    exchange.needs()
    exchange.offer(LOG, 1, [b"1", b"2"])
    exchange.update_theirs([at(LOG, 2)], 9, now)
    assert exchange.retry_at is None
    assert exchange.needs() == ()
    exchange.update_ours([at(LOG, 3)])
    exchange.needs()
    exchange.offer(LOG, 3, [b"3"])
    exchange.update_theirs([], 10, now)
    assert exchange.retry_at == now + RETRY_DELAY_S


def test_a_log_that_was_cut_back_there_is_offered_again() -> None:
    exchange = shared(at(LOG, 5))
    exchange.update_theirs([at(LOG, 5)], 0, 0)
    assert exchange.needs() == ()
    exchange.update_theirs([at(LOG, 3)], 0, 0)
    assert exchange.needs() == (LogNeed(LOG, 3),)


def test_what_they_stopped_sharing_begins_anew() -> None:
    exchange = shared(at(LOG, 5))
    exchange.update_theirs([at(LOG, 4)], 0, 0)
    exchange.needs()
    exchange.offer(LOG, 5, [bytes(1000)])
    exchange.unshare_there()
    assert exchange.needs() == ()
    assert exchange.offer(LOG, 5, [b"5"]) == []
    assert exchange.budget_bytes == UNANSWERED_BYTES_MAX
    exchange.is_shared_there = True
    assert exchange.needs() == (LogNeed(LOG, 0),)


def test_what_we_stopped_sharing_is_not_offered() -> None:
    exchange = shared(at(LOG, 5))
    exchange.unshare_here()
    assert exchange.needs() == ()
    exchange.share_here()
    exchange.update_ours([at(OTHER, 1)])
    assert exchange.needs() == (LogNeed(OTHER, 0),)


def test_runs_are_bounded_by_bytes_and_by_count() -> None:
    big = bytes(CHANGESETS_FRAME_BYTES + 1)
    assert list(split_by_bytes([b"1", big, b"2", b"3"])) == [(b"1",), (big,), (b"2", b"3")]
    runs = list(split_by_bytes([b"x"] * (CHANGESETS_MAX + 1)))
    assert [len(run) for run in runs] == [CHANGESETS_MAX, 1]
    assert list(split_by_bytes([])) == []
