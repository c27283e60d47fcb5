"""The line that says how far a command is, on a real terminal's other end."""

import argparse
import asyncio
import os
import pty
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from peer.backup import recovery
from peer.command_line import cli, progress
from peer.command_line.kit_input import KIT_VARIABLE
from peer.command_line.progress import Meter, drawn, is_shown
from peer.status import RestoreReport
from protocol.kit import encode_kit
from tests.peer.device_stage import until
from tests.peer.fake_daemon import RELAY, running
from tests.peer.link_source import source
from tests.relay.web_stage import web_stage

Terminal = Callable[[], int]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Makes standard error a terminal, and gives its other end. To be called in the test itself:
    before that pytest puts back its own.
    """
    above, below = pty.openpty()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(progress, "SHOWN_EVERY_S", 0.0)
    with os.fdopen(below, "w") as screen:

        def begin() -> int:
            monkeypatch.setattr(sys, "stderr", screen)
            return above

        yield begin
    os.close(above)


MARK = b"\x05"


def shown(above: int) -> str:
    """What was written until now: all before a mark, for a terminal takes its time. Whoever draws
    meanwhile may have written behind the mark, and may write no more before this returns.
    """
    sys.stderr.flush()
    os.write(sys.stderr.fileno(), MARK)
    text = b""
    while MARK not in text:
        text += os.read(above, 65536)
    return text.replace(MARK, b"").decode(errors="replace")


def given(**more: bool) -> argparse.Namespace:
    return argparse.Namespace(**more)


def test_the_words_say_how_much_how_fast_and_how_long() -> None:
    meter = Meter()
    assert meter.words(0, 80_000_000, 100.0) == "0 B of 80.0 MB"
    assert meter.words(20_000_000, 80_000_000, 105.0) == (
        "20.0 MB of 80.0 MB, 4.0 MB/s, 15.0 s left"
    )
    meter.words(20_000_000, 80_000_000, 200.0)
    assert meter.words(30_000_000, 80_000_000, 210.0).endswith("1.0 MB/s, 50.0 s left")
    assert meter.words(80_000_000, 80_000_000, 211.0).endswith("MB/s")
    assert meter.words(5, 10, 212.0) == "5 B of 10 B"  # begun anew
    files = Meter("files")
    files.words(0, 4_000, 0.0)
    assert files.words(1_000, 4_000, 10.0) == "1,000 of 4,000, 100 files/s, 30.0 s left"


def test_it_is_one_line_that_is_gone_at_the_end(terminal: Terminal) -> None:
    above = terminal()
    with drawn(given()) as tell:
        assert shown(above) == ""  # a password may be asked for before
        tell(0, 1_000_000)
        tell(500_000, 1_000_000)
        text = shown(above)
        assert "500.0 kB of 1.0 MB" in text
        assert "left" in text
        assert "\n" not in text
        assert "\x1b[38" in text or "\x1b[3" in text
    assert shown(above).endswith("\x1b[2K")


def test_it_has_no_colours_where_none_are_wanted(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = terminal()
    monkeypatch.setenv("NO_COLOR", "1")
    with drawn(given()) as tell:
        tell(500_000, 1_000_000)
    text = shown(above)
    assert "500.0 kB" in text
    assert "\x1b[3" not in text


def test_a_narrow_terminal_keeps_it_on_one_line(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = terminal()
    monkeypatch.setenv("COLUMNS", "30")
    with drawn(given()) as tell:
        tell(0, 1_000_000_000)
        tell(123_400_000, 1_000_000_000)
        assert "\n" not in shown(above)


@pytest.mark.parametrize("reason", ["json", "dumb", "no terminal"])
def test_nothing_is_drawn_where_no_person_looks(
    reason: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    above = terminal()
    arguments = given(json=True) if reason == "json" else given()
    if reason == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    screen = sys.stderr
    with (tmp_path / "err").open("w") as file:
        if reason == "no terminal":
            monkeypatch.setattr(sys, "stderr", file)
        assert not is_shown(arguments)
        with drawn(arguments) as tell:
            tell(1, 2)
    monkeypatch.setattr(sys, "stderr", screen)
    assert shown(above) == ""
    assert (tmp_path / "err").read_text() == ""


async def test_a_request_that_takes_long_is_looked_at_meanwhile(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = terminal()
    monkeypatch.setattr(progress, "ASKED_EVERY_S", 0.01)
    async with running(tmp_path) as daemon:
        path, is_seen = str(tmp_path / "d"), asyncio.Event()
        one = {"act": "restore", "subject": path, "unit": "files"}
        other: Any = {**one, "subject": "/another", "done": 77, "size": 99}
        mine: Any = {**one, "done": 1_000, "size": 4_000}

        async def restore_folder(path: Path, at_s: int, *, is_dry: bool) -> RestoreReport:
            daemon.transfers.under_way = [other, mine]
            await is_seen.wait()
            return {"restored": ["a", "b"], "failed": [], "unchanged": 0}

        monkeypatch.setattr(daemon, "restore_folder", restore_folder)
        words = ("--home", str(tmp_path), "restore-folder", path, "--at", "1h")
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(asyncio.to_thread(cli.main, words))
            text: list[str] = []

            def is_drawn() -> bool:
                text.append(shown(above))
                return "1,000 of 4,000" in "".join(text)

            await until(is_drawn)
            is_seen.set()
        assert ended.result() == 0
        assert "77 of 99" not in "".join(text)


async def test_recover_draws_how_much_of_the_vault_it_has_read(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = terminal()

    async def recover(*arguments: Any) -> dict[str, Any]:
        arguments[-1](100_000, 400_000)
        return {"folders": [], "others": []}

    monkeypatch.setattr(recovery, "recover", recover)
    monkeypatch.setenv(KIT_VARIABLE, encode_kit(bytes(32)))
    words = ("--home", str(tmp_path / "home"), "recover", "--relay", str(RELAY), "--name", "new")
    assert await asyncio.to_thread(cli.main, words) == 0
    assert "100.0 kB of 400.0 kB" in shown(above)


async def test_get_draws_it(terminal: Terminal, tmp_path: Path) -> None:
    above = terminal()
    async with web_stage(tmp_path / "relay") as stage:
        link = await source(stage, {"a.bin": os.urandom(300_000)})
        words = ("get", str(link.url), "-o", str(tmp_path / "there"))
        assert await asyncio.to_thread(cli.main, words) == 0
        assert "300.0 kB of 300.0 kB" in shown(above)
        again = ("get", str(link.url), "-o", str(tmp_path / "two"), "--json")
        assert await asyncio.to_thread(cli.main, again) == 0
        assert shown(above) == ""
