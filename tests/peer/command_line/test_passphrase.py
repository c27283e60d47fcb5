"""A passphrase comes from the environment, a file, or a person; never from nowhere."""

from __future__ import annotations

import getpass
import io
import sys
from pathlib import Path

import pytest

from peer.command_line.passphrase import (
    PASSPHRASE_FILE_VARIABLE,
    PASSPHRASE_VARIABLE,
    ask_passphrase,
    given_passphrase,
)
from peer.errors import KeyFileUnusable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    monkeypatch.delenv(PASSPHRASE_FILE_VARIABLE, raising=False)


def typed(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    waiting = iter(answers)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(waiting))


def test_nothing_given() -> None:
    assert given_passphrase({}) is None


def test_a_file_goes_before_the_variable(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes("grüße an alle\r\nsecond line".encode())
    both = {PASSPHRASE_VARIABLE: "variable", PASSPHRASE_FILE_VARIABLE: str(path)}
    assert given_passphrase(both) == "grüße an alle"
    assert given_passphrase({PASSPHRASE_VARIABLE: "variable"}) == "variable"


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * 5000])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "passphrase"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeyFileUnusable, match="passphrase"):
        given_passphrase({PASSPHRASE_FILE_VARIABLE: str(path)})


def test_a_person_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "once")
    assert ask_passphrase() == "once"
    typed(monkeypatch, "new", "new")
    assert ask_passphrase(is_new=True) == "new"
    typed(monkeypatch, "new", "other")
    with pytest.raises(KeyFileUnusable, match="differ"):
        ask_passphrase(is_new=True)


def test_nobody_is_there_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(KeyFileUnusable, match=PASSPHRASE_FILE_VARIABLE):
        ask_passphrase()


def test_nobody_is_asked_for_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "given")
    typed(monkeypatch)
    assert ask_passphrase() == "given"
