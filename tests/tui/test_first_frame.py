"""The first picture: true at once, safe, and the terminal is as before when it is over."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from tests.peer.fake_daemon import running
from tui.app import HoldfastApp
from tui.first_frame import ENTER, LEAVE, first_frame, frame_of, shown_first

SEQUENCES = ("\x1b[H", "\x1b[?25l", "\x1b[1m", "\x1b[0m", "\x1b[7m")


def plain(frame: str) -> list[str]:
    for sequence in SEQUENCES:
        frame = frame.replace(sequence, "")
    return frame.split("\r\n")


async def test_it_says_how_all_stands(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        daemon.names = ["photos", "\x1b[2Jworse"]
        lines = plain(await asyncio.to_thread(first_frame, tmp_path, 100, 24))
    assert lines[0].startswith(" alpha · 0 of 2 in sync, photos: syncing")
    assert "2 Devices" in lines[1]
    assert "folder" in lines[2]
    assert "photos" in lines[3]
    assert "\\x1b[2Jworse" in lines[4]
    assert all("\x1b" not in line and len(line) <= 100 for line in lines)


def test_who_does_not_answer_is_told_of(tmp_path: Path) -> None:
    (text, *_) = plain(first_frame(tmp_path, 80, 24))
    assert text.startswith(" There is no device in this home yet.")


def test_it_fits_on_a_small_terminal() -> None:
    rows = [("●", "a name", "in sync", "1", "1 B", "/a/path")] * 50
    lines = plain(frame_of("all is well", rows, 20, 8))
    assert len(lines) == 7
    assert max(map(len, lines)) == 20


def test_the_terminal_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with open(theirs, closefd=False) as given, open(theirs, "w", closefd=False) as out:
        monkeypatch.setattr(sys, "stdin", given)
        monkeypatch.setattr(sys, "__stderr__", out)
        before = termios.tcgetattr(theirs)
        with suppress(KeyboardInterrupt), shown_first(tmp_path) as frame:
            assert not termios.tcgetattr(theirs)[3] & termios.ECHO
            raise KeyboardInterrupt
        assert termios.tcgetattr(theirs) == before
    told = read_until(ours, LEAVE.encode()).decode()
    assert told.startswith(ENTER)
    assert "There is no device" in frame
    assert told.endswith(LEAVE)
    os.close(ours)
    os.close(theirs)


def test_what_is_no_terminal_gets_no_picture(tmp_path: Path) -> None:
    read, write = os.pipe()
    with open(read) as given, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", given)
        with shown_first(tmp_path) as frame:
            assert frame == ""
    os.close(write)


def test_the_screen_paints_it_where_it_clears_the_terminal(tmp_path: Path) -> None:
    written: list[str] = []
    driver = HoldfastApp(tmp_path, "the picture").driver_class
    base = driver.__mro__[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "write", lambda self, data: written.append(data))
        made = driver.__new__(driver)
        for data in ("before", ENTER, ENTER):
            made.write(data)
    assert written == ["before", f"{ENTER}the picture", ENTER]


@pytest.mark.parametrize("mark", [ENTER.encode(), b"Welcome to Holdfast"])
def test_who_is_asked_to_end_gives_the_terminal_back(tmp_path: Path, mark: bytes) -> None:
    """Before the screen's library is loaded, and when the screen is there."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    before = termios.tcgetattr(theirs)
    words = [sys.executable, "-P", "-m", "tui", "--home", str(tmp_path)]
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs)
    try:
        told = read_until(ours, mark)
        process.terminate()
        told = read_until(ours, LEAVE.encode(), told)
        assert process.wait(60) == 128 + signal.SIGTERM
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(theirs)
        os.close(ours)


def read_until(terminal: int, mark: bytes, told: bytes = b"") -> bytes:
    """What comes out of it, until it says so."""
    while mark not in told:
        assert select.select([terminal], [], [], 60)[0], told
        told += os.read(terminal, 1 << 16)
    return told
