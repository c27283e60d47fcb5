"""The command of upload links, as it is typed, and how they are listed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from peer.command_line import cli
from peer.command_line.upload_acts import show_requests
from peer.share_links.upload_links import UploadWish
from tests.peer.fake_daemon import UPLOAD_LINK, running


async def command(*words: str) -> int:
    return await asyncio.to_thread(cli.main, words)


async def test_an_upload_link_is_asked_for_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOLDFAST_LINK_PASSWORD", "Tal")
    home = ("--home", str(tmp_path))
    more = ("--expires", "2w", "--max-files", "9", "--max-bytes", "3G", "--max-file", "20MB",
            "--password", "--name", "n")  # fmt: skip
    async with running(tmp_path) as daemon:
        assert await command(*home, "link", "request", "/data/In", *more) == 0
        said = capsys.readouterr().out
        assert UPLOAD_LINK["url"] in said
        assert "up to 10 files and 2.0 MB, each up to 1.0 MB; for ever, with a password." in said
        assert await command(*home, "link", "request", "/data/In", "--expires", "never") == 0
        capsys.readouterr()
        assert await command(*home, "link", "list") == 0
        shown = capsys.readouterr().out
        assert "\x1b" not in shown
        assert UPLOAD_LINK["url"] not in shown, "a list is easily shown to others"
        for words in ("3 of 10", "2 files, 4.0 kB, from Ada", "1 file, 1.0 kB, from somebody",
                      "1 not taken", "no room for it", "into /data/In"):  # fmt: skip
            assert words in shown
        path, day = Path("/data/In"), 86_400
        assert daemon.calls == [
            ("request", path, "n", None, UploadWish(14 * day, 9, 20 * 10**6, 3 * 10**9, "Tal")),
            ("request", path, "", None, UploadWish(0, 100, 2 << 30, 2 << 30)),
            ("listed",),
        ]
        assert await command(*home, "link", "request", "/data/In", "--max-files", "10001") == 2
    for wrong in ("0", "x", "-1", "3GiB", "1.5G"):
        assert await command(*home, "link", "request", "/data/In", "--max-bytes", wrong) == 2


def test_another_device_s_is_listed_with_that_device(capsys: pytest.CaptureFixture[str]) -> None:
    theirs = {
        **UPLOAD_LINK, "device": "laptop\x1b", "files": None, "bytes": None, "senders": [],
        "refused": 0, "problem": "", "place": "", "state": "ending",
    }  # fmt: skip
    show_requests([theirs])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "Party: Made on laptop\\x1b: what is put in comes there" in shown
    for words in ("(on laptop", "? of 10", "?  ", "ending", "and 2.0 MB"):
        assert words in shown
