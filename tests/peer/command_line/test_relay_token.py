"""A token comes from where nobody else looks, and what is none is said at once."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

import pytest

from peer.command_line.relay_token import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE, ask_token
from peer.errors import UsageError
from protocol.relay_token import format_token

TEXT = format_token(b"t" * 16)


def test_the_environment_or_a_file_it_names(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TEXT}\nmore")
    assert ask_token({TOKEN_VARIABLE: f" {TEXT}"}) == TEXT
    assert ask_token({TOKEN_FILE_VARIABLE: str(path), TOKEN_VARIABLE: "x"}) == TEXT


def test_a_person_is_asked_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(getpass, "getpass", lambda _: TEXT)
    assert ask_token({}) == TEXT
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(UsageError, match=TOKEN_FILE_VARIABLE):
        ask_token({})


def test_what_is_none_is_said_without_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        ask_token({TOKEN_VARIABLE: "secret-that-is-none"})
    assert "secret-that" not in str(caught.value)
    with pytest.raises(UsageError, match="cannot be read"):
        ask_token({TOKEN_FILE_VARIABLE: str(tmp_path / "missing")})
