"""A QR code of half blocks says what it is of."""

from __future__ import annotations

import segno
from textual.app import App

from tui.qr import BORDER, QrScreen, qr_of

URL = f"https://relay.example/s/{'A' * 22}#{'b' * 43}"


def modules_of(text: str) -> list[list[int]]:
    """What a camera would see of it: rows of dark and light."""
    rows = []
    for line in text.split("\n"):
        rows.append([int(block in "▀█") for block in line])
        rows.append([int(block in "▄█") for block in line])
    return rows


def test_its_modules_are_those_of_the_code() -> None:
    code = segno.make(URL, error="l")
    wanted = [[int(bool(m)) for m in row] for row in code.matrix_iter(border=BORDER)]
    assert modules_of(qr_of(URL))[: len(wanted)] == wanted
    assert not any(map(any, modules_of(qr_of(URL))[len(wanted) :]))


def test_that_of_a_link_fits_on_a_small_terminal() -> None:
    lines = qr_of(URL).split("\n")
    assert len(lines) <= 24
    assert {len(line) for line in lines} == {len(lines[0])}


async def test_it_is_copied_and_closed() -> None:
    app: App[None] = App()
    async with app.run_test() as pilot:
        app.push_screen(QrScreen("Title", URL, "told"))
        await pilot.pause()
        await pilot.press("c")
        assert app.clipboard == URL
        await pilot.press("escape")
        await pilot.pause()
        assert len(app.screen_stack) == 1
