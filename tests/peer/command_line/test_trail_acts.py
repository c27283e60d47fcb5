"""`holdfast log` and `holdfast log verify`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random

import pytest

from crypto.keys import DeviceKeys
from peer.command_line.cli import main
from peer.errors import NoDevice, TrailBroken
from peer.journal.notices import NOTICES_MAX
from peer.journal.trail_file import TRAIL_NAME, TrailFile, segments_of
from tests.peer.fake_daemon import running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "key").write_bytes(b"")
    keys = DeviceKeys.generate(Random(1).randbytes)
    trail = TrailFile.open(tmp_path / TRAIL_NAME, keys, Random(2).randbytes, 1)
    for number in range(1, 6):
        entry = {
            "time": number * 86_400, "what": "files", "folder": ("even", "odd")[number % 2],
            "by": "lap\x1b[2Jtop", "counts": {"created": number}, "paths": {},
        }  # fmt: skip
        trail.append(entry, 1)
    trail.close(1)
    return tmp_path


def run(home: Path, *words: str) -> int:
    return main(["--home", str(home), *words])


def test_the_newest_are_shown_last(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "log", "--limit", "2", "--json") == 0
    entries = json.loads(capsys.readouterr().out)["entries"]
    assert [one["number"] for one in entries] == [4, 5]
    assert entries[1]["text"] == "odd: created 5"
    assert run(home, "log") == 0
    shown = capsys.readouterr().out
    assert shown.index("created 1") < shown.index("created 5")
    assert "\x1b" not in shown


def test_it_shows_what_was_asked_for(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "log", "--folder", "even", "--since", "1970-01-03 12:00", "--json") == 0
    entries = json.loads(capsys.readouterr().out)["entries"]
    assert [one["number"] for one in entries] == [4]


def test_nothing_that_fits_is_said_in_words(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "log", "--folder", "neither") == 0
    assert capsys.readouterr().out == "The trail holds nothing of that.\n"


def test_the_trail_is_checked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "log", "verify") == 0
    assert "5 entries, 1 to 5; signed up to 5." in capsys.readouterr().out
    (segment,) = segments_of(home / TRAIL_NAME)
    segment.write_bytes(segment.read_bytes().replace(b'"odd"', b'"xyz"', 1))
    assert run(home, "log", "verify", "--json") == TrailBroken.exit_code
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[0])["problems"] != []


def test_where_there_is_no_device_there_is_no_trail(tmp_path: Path) -> None:
    assert run(tmp_path, "log") == run(tmp_path, "log", "verify") == NoDevice.exit_code


async def test_notifications_are_shown_and_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as daemon:
        for words in ("notifications", "notifications --all", "notifications read 7 8",
                      "notifications read"):  # fmt: skip
            assert await asyncio.to_thread(run, tmp_path, *words.split()) == 0
        assert daemon.calls == [
            ("notifications", True, NOTICES_MAX),
            ("notifications", False, NOTICES_MAX),
            ("mark_as_read", [7, 8]),
            ("mark_as_read", None),
        ]
        assert daemon.acts == [
            ("/api/notifications/mark_as_read", {"ids": [7, 8]}),
            ("/api/notifications/mark_as_read", {}),
        ]
    shown = capsys.readouterr().out
    assert "two edits of one" in shown
    assert "Marked 1 as read." in shown
