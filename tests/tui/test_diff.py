"""Two texts are compared line by line, and nothing of them steers a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.command_line.terminal import term_safe
from tui.diff import (
    COMPARED_MAX,
    Row,
    both_marked,
    can_be_edited,
    compare,
    is_marked,
    next_change,
    shown,
    text_of,
    unified,
)

TEXTS = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=12).map("\n".join)


@given(TEXTS, TEXTS)
def test_both_texts_are_in_what_is_shown(left: str, right: str) -> None:
    rows = compare(left, right).rows
    assert "\n".join(row.left for row in rows if row.left is not None) == left
    assert "\n".join(row.right for row in rows if row.right is not None) == right
    below = unified(rows)
    assert [r.left for r in below if r.left is not None] == left.split("\n")
    assert [r.right for r in below if r.right is not None] == right.split("\n")
    assert all(row.is_same for row in rows) == (left == right)


@given(TEXTS, TEXTS)
def test_both_texts_are_in_what_is_edited(left: str, right: str) -> None:
    text = both_marked(left, right, "one", "two")
    assert is_marked(text) == (left != right)
    side, sides = "both", {"both": [], "left": [], "right": []}  # type: ignore[var-annotated]
    for line in text.split("\n"):
        if line.startswith("<<<<<<< "):
            side = "left"
        elif line == "=======":
            side = "right"
        elif line.startswith(">>>>>>> "):
            side = "both"
        else:
            for name in ("left", "right") if side == "both" else (side,):
                sides[name].append(line)
    assert ("\n".join(sides["left"]), "\n".join(sides["right"])) == (left, right)


@pytest.mark.row("A37")
@given(st.text())
def test_no_line_steers_the_terminal(text: str) -> None:
    for row in compare(text, "other").rows:
        for line in row:
            assert line is None or term_safe(line) == line


def test_lines_that_only_look_alike_are_not_taken_for_the_same() -> None:
    rows = compare("a\x1b", "a\\x1b").rows
    assert rows == [Row("a\\x1b", None), Row(None, "a\\x1b")]


def test_what_is_no_text_is_not_compared() -> None:
    assert text_of(b"a\0b") is None
    assert text_of(b"\xff") is None
    assert text_of("ä\n".encode()) == "ä\n"


def test_what_an_editor_would_hide_is_not_edited() -> None:
    assert can_be_edited("a\n\tb ä")
    assert not can_be_edited("a\r\n")
    assert not can_be_edited("a\u202eb")


def test_more_than_anybody_waits_for_is_cut() -> None:
    left = "\n".join(f"l{n}" for n in range(COMPARED_MAX + 5))
    right = "\n".join(f"r{n}" for n in range(COMPARED_MAX + 5))
    compared = compare(f"same\n{left}", f"same\n{right}")
    assert not compared.is_whole
    assert len(compared.rows) == COMPARED_MAX + 1
    assert len(shown("x" * 10_000)) < 600


def test_the_next_change_is_found_and_then_the_first_again() -> None:
    rows = compare("a\nb\nc\nd\ne", "a\nB\nc\nD\ne").rows
    assert next_change(rows, 0) == 1
    assert next_change(rows, 1) == 3
    assert next_change(rows, 3) == 1
    assert next_change(compare("a", "a").rows, 0) is None
