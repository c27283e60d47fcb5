"""A kit comes from where nobody else looks, also as a whole printed sheet."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

import pytest

from peer.backup.kit_sheet import as_text
from peer.command_line.kit_input import KIT_FILE_VARIABLE, KIT_VARIABLE, ask_kit
from peer.errors import BadRecoveryKit, UsageError
from protocol.kit import encode_kit

SECRET = bytes(range(32))
KIT = encode_kit(SECRET)


def test_the_environment_or_a_file_it_names(tmp_path: Path) -> None:
    path = tmp_path / "kit"
    path.write_text(KIT.lower() + "\n")
    assert ask_kit({KIT_VARIABLE: f" {KIT}\n"}) == SECRET
    assert ask_kit({KIT_FILE_VARIABLE: str(path), KIT_VARIABLE: "x"}) == SECRET


def test_a_sheet_is_read_as_it_was_printed(tmp_path: Path) -> None:
    path = tmp_path / "sheet"
    relays = ["holdfast-relay://relay.example:443#" + "a" * 52]
    lines = as_text({"kit": KIT, "user": "ab" * 32, "relays": relays})
    path.write_text("\n".join(lines))
    assert ask_kit({KIT_FILE_VARIABLE: str(path)}) == SECRET


def test_a_person_may_type_it_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    groups = KIT.split()
    pieces = iter([" ".join(groups[:5]), " ".join(groups[5:9]), " ".join(["??????", *groups[10:]])])
    monkeypatch.setattr(getpass, "getpass", lambda _: next(pieces))
    assert ask_kit({}) == SECRET
    monkeypatch.setattr(getpass, "getpass", lambda _: "")
    with pytest.raises(BadRecoveryKit):
        ask_kit({})
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(UsageError, match=KIT_FILE_VARIABLE):
        ask_kit({})


def test_what_is_none_is_said_without_it(tmp_path: Path) -> None:
    with pytest.raises(BadRecoveryKit) as caught:
        ask_kit({KIT_VARIABLE: "SECRET THAT IS NONE"})
    assert "THAT" not in str(caught.value)
    with pytest.raises(UsageError, match="cannot be read"):
        ask_kit({KIT_FILE_VARIABLE: str(tmp_path / "missing")})
