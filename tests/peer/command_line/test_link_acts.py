"""The commands of share links, as they are typed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from peer.command_line import cli, terminal
from peer.share_links.link_maker import Wish
from tests.peer.fake_daemon import LINK, UPLOAD_LINK, running
from tests.peer.link_source import source
from tests.relay.web_stage import web_stage


async def command(*words: str) -> int:
    return await asyncio.to_thread(cli.main, words)


async def test_get_puts_what_a_link_gives_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with web_stage(tmp_path / "relay") as stage:
        link = await source(stage, {"Liste.txt": b"Brot\n" * 1000})
        place = tmp_path / "there"
        assert await command("get", str(link.url), "-o", str(place), "--json") == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["names"], said["files"], said["bytes"]) == (["Liste.txt"], 1, 5000)
        assert (place / "Liste.txt").read_bytes() == b"Brot\n" * 1000
        assert await command("get", str(link.url), "-o", str(tmp_path / "two")) == 0
        assert "Liste.txt" in capsys.readouterr().out


@pytest.mark.row("A37")
async def test_the_password_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with web_stage(tmp_path / "relay") as stage:
        link = await source(stage, {"a": b"b"}, password="Tal")
        words = ("get", str(link.url), "-o", str(tmp_path / "there"))
        monkeypatch.setenv("HOLDFAST_LINK_PASSWORD", "Berg")
        assert await command(*words) == 62
        monkeypatch.setenv("HOLDFAST_LINK_PASSWORD", "Tal")
        assert await command(*words) == 0
        said = capsys.readouterr()
        assert "Tal" not in said.out + said.err


async def test_a_list_on_80_columns_breaks_no_id_and_no_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "PIPE_WIDTH", 80)
    async with running(tmp_path) as daemon:
        link: Any = {**LINK, "name": "Pictures of a long journey", "state": "used up"}
        theirs: Any = {**LINK, "device": "lap\x1b"}
        request: Any = {**UPLOAD_LINK, "name": "Everybody's pictures", "expires_s": 2 * 10**9}

        async def listed() -> Any:
            return {"links": [link, theirs, theirs], "requests": [request]}

        daemon.share_links.listed = listed  # type: ignore[method-assign]
        assert await command("--home", str(tmp_path), "link", "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("Made on lap\\x1b: the relay tells that") for line in lines) == 1
    for words in (
        (LINK["id"][:8], "2033-05-18 03:33", "used up"),
        (UPLOAD_LINK["id"][:8], "3 of 10"),
    ):
        line = next(line for line in lines if words[0] in line)
        assert all(word in line for word in words), line


async def test_what_is_no_link_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert await command("get", "https://example.org/") == 2
    assert "share link" in capsys.readouterr().err


async def test_a_link_is_asked_for_shown_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOLDFAST_LINK_PASSWORD", "Tal")
    home = ("--home", str(tmp_path))
    async with running(tmp_path) as daemon:
        more = ("--expires", "2w", "--max-downloads", "9", "--password", "--name", "n")
        assert await command(*home, "link", "create", "/data/a", *more) == 0
        said = capsys.readouterr().out
        assert LINK["url"] in said
        assert "for 9 downloads, with a password" in said
        assert await command(*home, "link", "create", "/data/a", "--expires", "never") == 0
        assert await command(*home, "link", "create", "/data/a") == 0
        capsys.readouterr()
        assert await command(*home, "link", "list") == 0
        shown = capsys.readouterr().out
        assert "1 of 9" in shown
        assert LINK["url"] not in shown, "a list is easily shown to others"
        assert await command(*home, "link", "revoke", LINK["url"]) == 0
        assert await command(*home, "link", "revoke", "Reise") == 0
        assert await command(*home, "link", "revoke", "-Id1", "--json") == 0
        path = Path("/data/a")
        assert daemon.calls == [
            ("create", path, "n", None, Wish(2 * 604_800, 9, "Tal")),
            ("create", path, "", None, Wish()),
            ("create", path, "", None, Wish(7 * 86_400)),
            ("listed",),
            ("revoke", LINK["id"]),
            ("revoke", "Reise"),
            ("revoke", "-Id1"),
        ]
    for wrong in ("0d", "7", "x", "999999d"):
        assert await command(*home, "link", "create", "/data/a", "--expires", wrong) == 2
