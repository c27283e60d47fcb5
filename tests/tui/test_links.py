"""The tab of share links: made, shown, copied and ended."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Input

from peer.share_links.link_maker import Wish
from tests.peer.fake_daemon import LINK
from tests.tui.stage import Stage, screen
from tui.dialogs import Ask, Confirm
from tui.links import link_lines
from tui.qr import QrScreen


async def open_links(stage: Stage) -> None:
    await stage.press("7")
    await stage.until(lambda: stage.cells("link-list"))


def test_a_line_says_how_it_stands() -> None:
    ended = {**LINK, "state": "expired", "downloads": None, "downloads_max": 0, "expires_s": 0}
    live, over = link_lines([LINK, {**ended, "name": "a\x1b[2J", "kind": "request"}])
    (told,) = link_lines([{**LINK, "device": "desktop", "state": "ending"}])
    assert told.cells[1] == f"{LINK['name']} (on desktop)"
    assert live.cells[:5] == ("●", "Reise", "live", "1.4 kB", "1 of 9")
    assert live.cells[6] == "yes"
    assert over.cells[:5] == ("○", "a\\x1b[2J (request)", "expired", "1.4 kB", "?")
    assert over.cells[5] == "for ever"


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
        await stage.until(lambda: {"New", "Show", "Copy", "End"} <= stage.keys())
        await stage.press("enter")
        await stage.shows(QrScreen)
        await stage.press("escape", "c")
        await stage.until(lambda: stage.app.clipboard == LINK["url"])
        await stage.press("d")
        await stage.shows(Confirm)
        await stage.press("y")
        await stage.calls(("revoke", LINK["id"]))
