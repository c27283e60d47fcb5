"""The tab of links of both kinds: made, shown, copied and ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from peer.share_links.link_maker import Wish
from peer.share_links.upload_links import UploadWish
from tests.peer.fake_daemon import LINK, UPLOAD_LINK
from tests.tui.stage import Stage, screen
from tui.dialogs import Ask, Confirm
from tui.links import link_lines
from tui.qr import QrScreen


async def open_links(stage: Stage) -> None:
    await stage.press("7")
    await stage.until(lambda: stage.cells("link-list"))


def test_a_line_says_how_it_stands() -> None:
    ended = {**LINK, "state": "expired", "downloads": None, "downloads_max": 0, "expires_s": 0}
    live, over = link_lines([LINK, {**ended, "name": "a\x1b[2J"}])
    (told,) = link_lines([{**LINK, "device": "desktop", "state": "ending"}])
    assert told.cells[1] == f"{LINK['name']} (on desktop)"
    assert "Made on desktop: the relay tells that device alone how often" in told.detail
    assert live.cells[:6] == ("●", "Reise", "share", "live", "1.4 kB", "1 of 9 times")
    assert live.detail == f"With a password.\n{LINK['url']}"
    assert over.cells[:6] == ("○", "a\\x1b[2J", "share", "expired", "1.4 kB", "? times")
    assert over.cells[6] == "for ever"


def test_an_upload_link_says_what_has_come_and_from_whom() -> None:
    (line,) = link_lines([], [UPLOAD_LINK])
    assert line.cells[1:] == ("Party", "upload", "live", "5.0 kB", "3 of 10 files", "for ever")
    into, come, lacking, url = line.detail.split("\n")
    assert into.startswith("Takes up to 10 files and 2.0 MB, each up to 1.0 MB, into /data/In\\x1b")
    assert into.endswith(", with a password.")
    assert "2 files, 4.0 kB, from Ada\\x1b, " in come
    assert "1 file, 1.0 kB, from somebody unnamed" in come
    assert lacking == "1 not taken; tab 6 says why. The disk has no room for it."
    assert url == UPLOAD_LINK["url"]
    sender = UPLOAD_LINK["senders"][0]
    (line,) = link_lines([], [{**UPLOAD_LINK, "senders": [sender] * 5, "has_password": False}])
    assert "; and from 3 more" in line.detail


def test_of_another_device_s_upload_link_it_is_said_who_knows_more() -> None:
    theirs = {
        **UPLOAD_LINK, "device": "laptop", "files": None, "bytes": None, "place": "",
        "senders": [], "waiting": None, "refused": 0, "problem": "",
    }  # fmt: skip
    (line,) = link_lines([], [theirs])
    assert line.cells[1:6] == ("Party (on laptop)", "upload", "live", "?", "? of 10 files")
    assert line.detail.startswith("Takes up to 10 files and 2.0 MB, each up to 1.0 MB, with a")
    assert "Made on laptop: what is put in comes there, as its key alone opens that" in line.detail
    (line,) = link_lines([], [{**theirs, "device": ""}])
    assert ", into a folder that is not on this device, with a password." in line.detail


def test_what_is_over_comes_last_and_the_newest_first() -> None:
    links = [
        {**LINK, "id": "old", "made_s": 1}, {**LINK, "id": "over", "made_s": 9, "state": "revoked"},
    ]  # fmt: skip
    uploads = [{**UPLOAD_LINK, "id": "new", "made_s": 5}]
    assert [line.key for line in link_lines(links, uploads)] == ["new", "old", "over"]


async def test_a_link_is_made_and_its_code_is_shown(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_links(stage)
        await stage.press("a")
        await stage.shows(Ask)
        fields = list(stage.app.screen.query(Input))
        assert fields[0].value == "/data/photos/"
        assert fields[3].password
        for field, value in zip(fields, (str(tmp_path), "2", "5", "secret"), strict=True):
            field.value = value
        await stage.press("enter", "enter", "enter", "enter")
        await stage.shows(QrScreen)
        assert LINK["url"] in stage.text("qr-text")
        await stage.press("escape")
        made = ("create", tmp_path, "", None, Wish(2 * 86_400, 5, "secret"))
        assert made in stage.daemon.calls


async def test_an_upload_link_is_made_and_its_code_is_shown(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_links(stage)
        await stage.press("u")
        await stage.shows(Ask)
        fields = list(stage.app.screen.query(Input))
        assert [field.value for field in fields] == ["/data/photos/", "7", "100", "2", ""]
        for field, value in zip(fields, (str(tmp_path), "2", "5", "0,5", "secret"), strict=True):
            field.value = value
        await stage.press("enter", "enter", "enter", "enter", "enter")
        await stage.shows(QrScreen)
        assert UPLOAD_LINK["url"] in stage.text("qr-text")
        assert "put files in" in stage.text("qr-told")
        await stage.press("escape")
        size = 500_000_000
        made = ("request", tmp_path, "", None, UploadWish(2 * 86_400, 5, size, size, "secret"))
        assert made in stage.daemon.calls


@pytest.mark.parametrize(
    ("field", "typed"),
    [("days", "soon"), ("days", "4000"), ("files", "0"), ("gigabytes", "x"), ("gigabytes", "nan")],
)
async def test_what_is_no_number_makes_no_upload_link_and_is_asked_again(
    tmp_path: Path, field: str, typed: str
) -> None:
    async with screen(tmp_path) as stage:
        await open_links(stage)
        await stage.press("u")
        await stage.shows(Ask)
        first = stage.app.screen
        stage.app.screen.query_one(f"#field-{field}", Input).value = typed
        stage.app.screen.query_one("#field-password", Input).value = "secret"
        await stage.press("enter", "enter", "enter", "enter", "enter")
        await stage.until(lambda: stage.app.screen is not first and stage.app._notifications)
        await stage.shows(Ask)
        assert stage.app.screen.query_one(f"#field-{field}", Input).value == typed
        assert stage.app.screen.query_one("#field-password", Input).value == "secret"
        await stage.calls()


async def test_what_the_daemon_refuses_is_asked_again(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_links(stage)
        await stage.press("u")
        await stage.shows(Ask)
        first = stage.app.screen
        stage.app.screen.query_one("#field-files", Input).value = "10001"
        await stage.press("enter", "enter", "enter", "enter", "enter")
        await stage.until(lambda: stage.app.screen is not first and stage.app._notifications)
        await stage.shows(Ask)
        assert stage.app.screen.query_one("#field-files", Input).value == "10001"
        await stage.calls()


async def test_what_is_no_number_makes_no_link(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_links(stage)
        await stage.press("a")
        await stage.shows(Ask)
        stage.app.screen.query_one("#field-days", Input).value = "soon"
        await stage.press("enter", "enter", "enter", "enter")
        await stage.until(lambda: stage.app._notifications)
        await stage.calls()


async def test_a_link_is_shown_copied_and_ended_after_a_question(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_links(stage)
        await stage.press("down")
        await stage.until(lambda: {"Share", "Ask", "Show", "Copy", "End"} <= stage.keys())
        await stage.press("enter")
        await stage.shows(QrScreen)
        await stage.press("escape", "c")
        await stage.until(lambda: stage.app.clipboard == LINK["url"])
        await stage.press("d")
        await stage.shows(Confirm)
        await stage.press("y")
        await stage.calls(("revoke", LINK["id"]))


async def test_an_upload_link_is_shown_copied_and_ended_by_the_same_keys(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await open_links(stage)
        await stage.press("s")
        await stage.shows(QrScreen)
        assert UPLOAD_LINK["url"] in stage.text("qr-text")
        await stage.press("escape", "c")
        await stage.until(lambda: stage.app.clipboard == UPLOAD_LINK["url"])
        await stage.press("d")
        await stage.shows(Confirm)
        await stage.press("y")
        await stage.calls(("revoke", UPLOAD_LINK["id"]))


async def test_what_is_over_cannot_be_ended(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        over: Any = {**UPLOAD_LINK, "state": "revoked"}

        async def listed() -> Any:
            return {"links": [], "requests": [over]}

        stage.daemon.share_links.listed = listed  # type: ignore[method-assign]
        await open_links(stage)
        await stage.until(lambda: "Show" in stage.keys())
        assert "End" not in stage.keys()
