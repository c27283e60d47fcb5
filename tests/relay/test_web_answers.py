"""Answers that say little, and texts that stand for exactly so many bytes."""

from __future__ import annotations

import pytest

from relay.web_answers import bytes_of, gone, not_found, plain, text_of, unavailable


def test_bytes_have_one_text() -> None:
    assert bytes_of(text_of(b"x" * 16), 16) == b"x" * 16


@pytest.mark.parametrize("text", ["", "A" * 21, "A" * 23, "é" * 22, "A" * 21 + "B", "A" * 21 + "="])
def test_other_texts_stand_for_nothing(text: str) -> None:
    assert bytes_of(text, 16) is None


def test_answers_without_words() -> None:
    assert [a.status_code for a in (plain(400), not_found(), unavailable(), gone("expired"))] == [
        400, 404, 503, 410,
    ]  # fmt: skip
    assert gone("revoked").body == b'{"ended":"revoked"}'
    assert unavailable().headers["retry-after"] == "30"
