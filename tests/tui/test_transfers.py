"""What is on its way, in words."""

from __future__ import annotations

import pytest

from peer.status import TransferEntry
from tests.peer.fake_daemon import FOLDER_ID, FakeDaemon
from tui.rows import Tone
from tui.transfers import LEFT_MAX_S, Speeds, bar, done_of, key_of, left_words, transfer_lines

ENTRY: TransferEntry = {
    "folder": "photos", "folder_id": FOLDER_ID, "path": "a\x1b", "size": 1_000_000,
    "done_bytes": 250_000, "paused": False,
}  # fmt: skip


def test_a_bar_is_as_full_as_its_share() -> None:
    assert bar(0) == "░" * 10
    assert bar(0.5) == "█" * 5 + "░" * 5
    assert bar(7) == "█" * 10


def test_how_long_it_takes_is_said_where_it_is_known() -> None:
    assert left_words(100, 0) == ""
    assert left_words(100, 10) == "10.0 s"
    assert left_words(1e12, 1e12 / (LEFT_MAX_S + 1)) == ""


def test_rates_follow_what_is_done_and_go_with_it() -> None:
    speeds = Speeds()
    speeds.note({"a": 0.0}, 0.0)
    assert speeds.rate("a") == 0
    for second in range(1, 9):
        speeds.note({"a": second * 1000.0}, float(second))
    assert speeds.rate("a") == pytest.approx(1000, rel=0.01)
    speeds.note({"a": 0.0}, 9.0)  # it was begun anew
    assert speeds.rate("a") == pytest.approx(500, rel=0.01)
    speeds.note({}, 10.0)
    assert speeds.rate("a") == 0


def test_a_folder_stands_above_its_files() -> None:
    folders = [FakeDaemon().folder(0)]
    speeds = Speeds()
    done = done_of(folders, [ENTRY])
    speeds.note(done, 0.0)
    speeds.note({key: count + 100_000 for key, count in done.items()}, 1.0)
    folder, file, more = transfer_lines(folders, [ENTRY], 2, speeds)
    assert folder.cells[1:] == (
        "photos: 3 files", "████████░░  79%", "6.7 MB", "50.0 kB/s", "28.0 s",
    )  # fmt: skip
    assert file.cells[1:] == ("  a\\x1b", "██░░░░░░░░  25%", "1.0 MB", "50.0 kB/s", "15.0 s")
    assert (folder.key, file.key) == (FOLDER_ID, key_of(ENTRY))
    assert more.cells[1] == "  and 2 more"


def test_one_that_is_paused_stands_still() -> None:
    folder = FakeDaemon().folder(0)
    folder["paused_files"] = 1
    paused: TransferEntry = {**ENTRY, "path": "b", "paused": True}
    top, moving, waiting = transfer_lines([folder], [ENTRY, paused], 0, Speeds())
    assert top.cells[1:4] == ("photos: 2 files", "████████░░  79%", "6.7 MB")
    assert moving.cells[0] == "↓"
    assert waiting.cells == ("‖", "  b", "██░░░░░░░░  25%", "1.0 MB", "paused", "")
    assert waiting.tone is Tone.QUIET
