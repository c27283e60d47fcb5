"""Where a link's password comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from peer.command_line.link_password import (
    PASSWORD_FILE_VARIABLE,
    PASSWORD_VARIABLE,
    ask_link_password,
)
from peer.errors import UsageError


def test_a_file_comes_before_the_variable(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("Bläue\r\nsecond line")
    both = {PASSWORD_FILE_VARIABLE: str(path), PASSWORD_VARIABLE: "other"}
    assert ask_link_password(both) == "Bläue"
    assert ask_link_password({PASSWORD_VARIABLE: "other"}) == "other"


def test_nothing_to_read_and_nobody_to_ask_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        ask_link_password({PASSWORD_FILE_VARIABLE: str(tmp_path / "none")})
    with pytest.raises(UsageError, match="empty"):
        ask_link_password({PASSWORD_VARIABLE: ""})
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(UsageError, match="no terminal"):
        ask_link_password({})


def test_a_new_one_is_typed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["one", "two", "one", "one", "one"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    with pytest.raises(UsageError, match="differ"):
        ask_link_password({}, is_new=True)
    assert ask_link_password({}, is_new=True) == "one"
    assert ask_link_password({}) == "one"
