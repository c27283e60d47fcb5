"""What a request may say, and how it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peer.control.control_fields import Fields
from peer.errors import UsageError
from peer.status import HoldAnswer


def test_members_are_taken_once_and_none_is_left() -> None:
    fields = Fields({"a": "x", "b": 1, "c": True, "d": "/p", "e": [1, 2], "f": "accept"})
    assert fields.text("a") == "x"
    assert fields.number("b") == 1
    assert fields.flag("c") is True
    assert fields.path("d") == Path("/p")
    assert fields.numbers("e") == [1, 2]
    assert fields.answer("f") is HoldAnswer.ACCEPT
    fields.end()
    with pytest.raises(UsageError):
        fields.text("a")


def test_what_may_be_missing_may_be_null() -> None:
    for fields in (Fields({}), Fields(dict.fromkeys("abcd"))):
        assert fields.optional_text("a") is None
        assert fields.optional_number("b") is None
        assert fields.optional_path("c") is None
        assert fields.numbers("d") is None
        fields.end()


@pytest.mark.parametrize(
    ("ask", "value"),
    [
        ("text", ""), ("text", 1), ("number", "1"), ("number", True), ("number", -1),
        ("number", 1 << 62), ("flag", "true"), ("flag", 1), ("path", "relative"), ("path", "/a\0b"),
        ("numbers", "1"), ("numbers", [True]), ("numbers", [-1]), ("numbers", [0] * 1_001),
        ("answer", "perhaps"), ("relay", "nonsense"), ("token", "nonsense"),
    ],
)  # fmt: skip
def test_what_is_not_of_its_kind_is_refused_by_name(ask: str, value: Any) -> None:
    with pytest.raises(UsageError):
        getattr(Fields({"x": value}), ask)("x")


def test_behind_an_address_everything_is_text() -> None:
    fields = Fields({"n": "12", "yes": "true", "no": "false", "t": "12"}, is_query=True)
    assert fields.number("n") == 12
    assert fields.flag("yes") is True
    assert fields.flag("no") is False
    assert fields.text("t") == "12"
    for wrong in ("1.5", "-1", "", "٣", "9" * 30):
        with pytest.raises(UsageError):
            Fields({"n": wrong}, is_query=True).number("n")
    with pytest.raises(UsageError):
        Fields({"f": "maybe"}, is_query=True).flag("f")


def test_a_misspelt_member_is_not_ignored() -> None:
    with pytest.raises(UsageError, match="colour"):
        Fields({"colour": 1}).end()
