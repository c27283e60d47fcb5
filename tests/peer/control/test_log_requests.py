"""The audit trail in pages: every entry once, whatever the size of a page."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crypto.keys import DeviceKeys
from peer.control.log_requests import LogChoice, page_of
from peer.errors import UsageError
from peer.journal.trail_file import TrailFile


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    keys = DeviceKeys.generate(os.urandom)
    path = tmp_path / "trail"
    for chain in range(2):  # the second begins at 1 again
        trail = TrailFile.open(path, keys, os.urandom, chain * 100, begins_anew=chain > 0)
        for number in range(10):
            entry = {"time": chain * 100 + number, "what": "files" if number % 2 else "asked"}
            by = {"by": "phone" if number % 5 == 0 else "laptop", "folder": f"f{chain}"}
            trail.append(entry | by, chain * 100 + number)
        trail.close(chain * 100 + 20)
    return path


def times(directory: Path, choice: LogChoice) -> list[int]:
    return [one["time"] for one in page_of(directory, choice)["entries"]]


@pytest.mark.parametrize("limit", [1, 3, 7, 20, 50])
def test_pages_hold_every_entry_once(directory: Path, limit: int) -> None:
    found, cursor = [], None
    for _ in range(50):
        page = page_of(directory, LogChoice(limit, cursor))
        assert len(page["entries"]) <= limit
        found += [one["time"] for one in page["entries"]]
        cursor = page["next"]
        if cursor is None:
            break
    wanted = [*range(109, 99, -1), *range(9, -1, -1)]
    assert [one for one in found if one in wanted] == wanted
    assert len(found) == len(set(found))


def test_an_entry_says_itself_in_words(directory: Path) -> None:
    (entry,) = page_of(directory, LogChoice(1))["entries"]
    assert (entry["number"], entry["what"], entry["by"]) == (10, "files", "laptop")
    assert entry["text"].startswith("f1: ")


def test_filters_all_have_to_hold(directory: Path) -> None:
    assert times(directory, LogChoice(since_s=107)) == [109, 108, 107]
    assert times(directory, LogChoice(until_s=102, folder="f1")) == [101, 100]
    assert times(directory, LogChoice(by="phone", what="files")) == [105, 5]
    assert times(directory, LogChoice(2, by="phone")) == [105, 100]
    assert times(directory, LogChoice(folder="other")) == []


@pytest.mark.parametrize("cursor", ["", "x", "99-5", "10-8"])
def test_a_cursor_of_no_page_is_told(directory: Path, cursor: str) -> None:
    with pytest.raises(UsageError):
        page_of(directory, LogChoice(cursor=cursor))


def test_no_trail_is_an_empty_page(tmp_path: Path) -> None:
    assert page_of(tmp_path / "trail", LogChoice()) == {"entries": [], "next": None}
