"""A token has one text, and nothing else is read as one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.relay_token import TOKEN_SIZE, BadRelayToken, format_token, parse_token


@given(st.binary(min_size=TOKEN_SIZE, max_size=TOKEN_SIZE))
def test_what_is_written_is_read(token: bytes) -> None:
    text = format_token(token)
    assert parse_token(text) == parse_token(f"  {text.upper()}\n") == token


@given(st.text(max_size=60))
def test_anything_else_is_refused_by_one_error(text: str) -> None:
    try:
        token = parse_token(text)
    except BadRelayToken:
        return
    assert format_token(token) == text.strip().lower()


@pytest.mark.parametrize("text", ["", "hftoken-", "a" * 26, format_token(bytes(16))[:-1] + "b"])
def test_near_misses_are_refused(text: str) -> None:
    with pytest.raises(BadRelayToken, match="hftoken-"):
        parse_token(text)
