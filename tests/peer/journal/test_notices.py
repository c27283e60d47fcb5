"""The board: what is said is kept until it is read, the urgent first, a flood as one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.journal.notices import (
    AGAIN_S,
    BATCH_S,
    KINDS,
    NOTICES_MAX,
    QUIET_S,
    STANDING,
    NoticeBoard,
    Priority,
)

NOW = 1_700_000_000


def kinds_of(board: NoticeBoard, *, unread_only: bool = False) -> list[str]:
    return [n["kind"] for n in board.listed(unread_only=unread_only, limit=1_000)]


def test_trouble_comes_before_questions_and_questions_before_news() -> None:
    board = NoticeBoard()
    board.tell("trouble", NOW, "f", "the disk is full")
    board.tell("conflict", NOW + 1, "f", "a")
    board.tell("joined", NOW + 2, about="phone")
    board.tell("offered", NOW + 3, "g")
    assert kinds_of(board) == ["trouble", "conflict", "offered", "joined"]
    board.mark_as_read([1])
    assert kinds_of(board) == ["conflict", "offered", "joined", "trouble"]
    assert kinds_of(board, unread_only=True) == ["conflict", "offered", "joined"]
    assert board.unread == 3
    assert len(board.listed(unread_only=False, limit=2)) == 2


def test_a_flood_is_one_notice_with_its_number() -> None:
    board = NoticeBoard()
    for number in range(1_000):
        board.tell("conflict", NOW + number // 10, "f", f"file {number}")
    (notice,) = board.listed(unread_only=True, limit=10)
    assert notice["count"] == 1_000
    assert "1000 files" in notice["text"]
    assert "file 999" in notice["text"]
    board.tell("conflict", NOW, "another", "a")
    board.tell("conflict", NOW + 100 + BATCH_S, "f", "later")
    assert len(board.notices) == 3


def test_what_was_read_is_not_added_to() -> None:
    board = NoticeBoard()
    board.tell("conflict", NOW, "f", "a")
    assert board.mark_as_read() == 1
    assert board.mark_as_read() == 0
    board.tell("conflict", NOW, "f", "b")
    assert [n["read"] for n in board.listed(unread_only=False, limit=9)] == [False, True]


def test_what_lasts_is_one_notice_until_it_is_over() -> None:
    board = NoticeBoard()
    for _ in range(5):
        board.tell("trouble", NOW, "f", "the disk is full")
    assert board.version == 1
    board.tell("trouble", NOW + 5, "f", "the disk is gone")
    assert [n["text"] for n in board.listed(unread_only=True, limit=9)] == [
        "In f: the disk is gone"
    ]
    board.mark_as_read()
    board.tell("trouble", NOW + 6, "f", "the disk is gone")
    assert board.unread == 0
    board.end("trouble", "another", NOW + 9)
    board.end("trouble", "f", NOW + 9)
    (notice,) = board.listed(unread_only=False, limit=9)
    assert notice["over"]
    assert notice["read"]
    assert (notice["time_s"], notice["text"]) == (NOW + 9, "It is over: In f: the disk is gone")
    board.tell("trouble", NOW + 7, "f", "the disk is full")
    assert board.unread == 1


def test_a_resolved_conflict_is_over_and_one_of_several_is_not() -> None:
    board = NoticeBoard()
    board.tell("conflict", NOW, "f", "a (conflict 1)")
    board.tell("conflict", NOW, "g", "a (conflict 1)")
    board.tell("conflict", NOW + BATCH_S, "f", "b (conflict 1)")
    board.tell("conflict", NOW + BATCH_S, "f", "c (conflict 1)")
    board.settle_conflicts("f", ["b (conflict 1)"])
    assert [(n.folder, n.is_over, n.is_read) for n in board.notices.values()] == [
        ("f", True, True), ("g", False, False), ("f", False, False),
    ]  # fmt: skip
    board.settle_conflicts("f", [])
    assert not board.has_conflicts("f")
    assert board.has_conflicts("g")
    assert board.unread == 1


def test_a_warning_of_one_device_is_not_that_of_another() -> None:
    board = NoticeBoard()
    for about in ("laptop forked", "phone forked", "laptop forked"):
        board.tell("warning", NOW, "f", about)
    assert len(board.notices) == 2


def test_trouble_is_told_at_once_and_news_wait_for_company() -> None:
    board = NoticeBoard()
    board.tell("conflict", NOW, "f", "a")
    board.tell("trouble", NOW, "f", "the disk is full")
    assert [n.kind for n in board.take_due(NOW)] == ["trouble"]
    board.tell("conflict", NOW + 1, "f", "b")
    assert [(n.kind, n.count) for n in board.take_due(NOW + QUIET_S)] == [("conflict", 2)]
    board.tell("conflict", NOW + 3, "f", "c")
    board.tell("conflict", NOW + 4, "f", "d")
    assert board.take_due(NOW + 5) == []
    assert [(n.kind, n.count) for n in board.take_due(NOW + 3 + AGAIN_S)] == [("conflict", 4)]
    assert board.take_due(NOW + 10**6) == []


def test_what_is_over_before_it_was_told_is_not_told() -> None:
    board = NoticeBoard()
    board.tell("asking", NOW, "f", "was it meant?")
    board.end("asking", "f", NOW)
    assert board.take_due(NOW + 100) == []


def test_who_was_told_of_trouble_is_told_that_it_is_over() -> None:
    board = NoticeBoard()
    board.tell("trouble", NOW, "f", "the disk is full")
    board.tell("trouble", NOW, "g", "the disk is full")
    board.tell("asking", NOW, "f", "was it meant?")
    assert len(board.take_due(NOW + QUIET_S)) == 3
    board.mark_as_read()
    for kind in ("trouble", "asking"):
        board.end(kind, "f", NOW + 90)
    (over,) = board.take_due(NOW + 90)
    assert over.text == "It is over: In f: the disk is full"
    assert over.entry()["over"]
    board.end("trouble", "f", NOW + 95)  # it was before
    assert board.take_due(NOW + 10**6) == []
    assert board.unread == 0


def test_a_device_without_a_name_is_named_when_it_has_said_it() -> None:
    board = NoticeBoard()
    board.tell("joined", NOW, about="7289927c")
    board.tell("joined", NOW, about="phone")
    board.name("joined", "7289927c", "new-laptop")
    said = [notice.text for notice in board.notices.values()]
    assert said[0].startswith("The device new-laptop is one of yours now.")
    assert said[1].startswith("The device phone is one of yours now.")
    before = board.version
    board.name("joined", "7289927c", "new-laptop")
    assert board.version == before


def test_the_board_is_bounded_and_keeps_what_matters() -> None:
    board = NoticeBoard()
    board.tell("trouble", NOW, "f", "the disk is full")
    board.tell("conflict", NOW, "read", "a")
    board.mark_as_read([2])
    for number in range(2 * NOTICES_MAX):
        board.tell("joined", NOW + number, about=f"device {number}")
    assert len(board.notices) == NOTICES_MAX
    kinds = kinds_of(board)
    assert kinds[0] == "trouble"
    assert "conflict" not in kinds


def test_unread_ones_are_there_after_a_restart() -> None:
    board = NoticeBoard()
    board.tell("conflict", NOW, "f", "a")
    board.tell("joined", NOW, about="phone")
    board.mark_as_read([2])
    again = NoticeBoard(board.encode())
    assert again.listed(unread_only=False, limit=9) == board.listed(unread_only=False, limit=9)
    again.tell("joined", NOW, about="tablet")
    assert set(again.notices) == {1, 2, 3}


def test_each_way_that_was_told_is_not_told_again_after_a_restart() -> None:
    board = NoticeBoard()
    board.tell("trouble", NOW, "f", "a")
    board.tell("joined", NOW, about="phone")
    (trouble,) = board.take_due(NOW, ["command", "webhook"])
    before = board.version
    board.settle(trouble, "command")
    board.settle(trouble, "command")
    assert board.version == before + 1, "it is kept"
    again = NoticeBoard(board.encode())
    assert again.take_due(NOW, ["command", "webhook"]) == []
    assert again.waiting_for("command") == []
    assert [n.kind for n in again.waiting_for("webhook")] == ["trouble"]


def test_that_something_was_told_is_a_change_to_be_kept() -> None:
    board = NoticeBoard()
    board.tell("trouble", NOW, "f", "a")
    before = board.version
    board.take_due(NOW)
    assert board.version > before
    assert board.take_due(NOW) == []
    assert board.version == before + 1


@given(st.one_of(st.binary(max_size=60), st.sampled_from([b'[{"id": 1}]', b"{}", b"[1]", b"null"])))
def test_a_board_that_cannot_be_read_is_empty(stored: bytes) -> None:
    assert NoticeBoard(stored).notices == {}


@pytest.mark.row("A37")
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_words_that_are_safe_for_a_terminal(kind: str) -> None:
    board = NoticeBoard()
    board.tell(kind, NOW, "-f\x1b]52;c;", "a\n\x9b" + "x" * 10_000, 2)
    text = board.notices[1].text
    assert text.isprintable()
    assert len(text) <= 500
    assert not text.startswith("-") or kind == "trail"
    assert (board.notices[1].priority is Priority.NEWS) <= (kind not in STANDING)
