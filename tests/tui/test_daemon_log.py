"""The screen of the daemon's log."""

from __future__ import annotations

import logging
from pathlib import Path

from peer.journal.daemon_log import DaemonLog
from peer.status import LogLine
from tests.tui.stage import Stage, screen
from tui import daemon_log
from tui.daemon_log import BELOW_MAX, PROBLEMS, SHOWN_MAX, LogScreen, log_lines
from tui.rows import Tone


def line(level: str, text: str) -> LogLine:
    return {"number": 1, "time": 1e9, "level": level, "name": "peer\x1b", "text": text}


def test_each_level_has_its_sign_and_all_of_it_is_safe() -> None:
    lines = log_lines([line(level, "a\x1b[2J") for level in ("debug", "info", "warning", "error")])
    assert [one.cells[0] for one in lines] == ["·", "·", "!", "!"]
    assert [one.tone for one in lines] == [Tone.QUIET, Tone.QUIET, Tone.ASKS, Tone.BAD]
    assert {one.cells[2:] for one in lines} == {("a\\x1b[2J", "peer\\x1b")}
    (failed,) = log_lines([line("critical", "it failed\nTraceback\x1b\nValueError")])
    assert failed.cells[2] == "it failed"
    assert failed.detail == "it failed\nTraceback\\x1b\nValueError"
    assert failed.tone is Tone.BAD
    (deep,) = log_lines([line("error", "it failed\n" + "frame\n" * 50 + "ValueError")])
    assert deep.detail.count("\n") == BELOW_MAX + 1
    assert deep.detail.startswith("it failed\n…\nframe")
    assert deep.detail.endswith("ValueError")


async def opened(stage: Stage) -> None:
    await stage.press("l", "d")
    await stage.shows(LogScreen)
    await stage.until(lambda: len(stage.cells("daemon-log")) == 3)


def say(stage: Stage, level: int, text: str) -> None:
    stage.daemon.log_lines.handle(logging.LogRecord("peer.x", level, "", 0, text, None, None))


async def test_lines_come_and_are_followed_until_somebody_reads(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await opened(stage)
        shown = stage.listing("daemon-log")
        assert shown.chosen == shown.lines[-1].key
        say(stage, logging.INFO, "one more")
        await stage.until(lambda: stage.cells("daemon-log")[-1][2] == "one more")
        assert shown.chosen == shown.lines[-1].key
        await stage.press("home")
        chosen = shown.chosen
        say(stage, logging.INFO, "and one")
        await stage.until(lambda: len(stage.cells("daemon-log")) == 5)
        assert shown.chosen == chosen
        assert "link" in stage.text("detail")
        await stage.press("r")
        await stage.until(lambda: shown.chosen == shown.lines[-1].key)


async def test_only_problems_are_shown_where_that_is_wanted(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await opened(stage)
        await stage.press("w")
        await stage.until(lambda: [c[0] for c in stage.cells("daemon-log")] == ["!", "!"])
        say(stage, logging.INFO, "no problem")
        say(stage, logging.WARNING, "a problem")
        await stage.until(lambda: len(stage.cells("daemon-log")) == 3)
        assert stage.cells("daemon-log")[-1][2] == "a problem"
        assert stage.text("detail") == PROBLEMS
        await stage.press("w")
        await stage.until(lambda: len(stage.cells("daemon-log")) == 5)
        await stage.press("escape", "escape")
        await stage.closed()


async def test_the_daemon_goes_and_another_one_is_followed(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await opened(stage)
        real, away = stage.app.daemon._client._home, tmp_path / "away"
        away.mkdir()
        (away / "key").touch()
        stage.app.daemon._client._home = away
        await stage.until(lambda: "not running" in stage.text("detail"))
        assert len(stage.cells("daemon-log")) == 3
        stage.daemon.log_lines = DaemonLog()
        say(stage, logging.INFO, "a new run")
        stage.app.daemon._client._home = real
        await stage.until(lambda: len(stage.cells("daemon-log")) == 4)
        assert stage.cells("daemon-log")[-1][2] == "a new run"
        assert "not running" not in stage.text("detail")


async def test_as_many_lines_are_shown_as_are_kept(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await opened(stage)
        shown = stage.app.screen
        assert isinstance(shown, LogScreen)
        for number in range(SHOWN_MAX):
            shown._lines.append({**line("info", "x"), "number": 100 + number})
        say(stage, logging.INFO, "the last")
        await stage.until(lambda: stage.cells("daemon-log")[-1][2] == "the last")
        assert len(stage.cells("daemon-log")) == daemon_log.SHOWN_MAX
