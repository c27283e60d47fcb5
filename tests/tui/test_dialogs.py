"""Windows that ask: what each way out of them answers."""

from __future__ import annotations

from typing import Any

import pytest
from textual.app import App
from textual.screen import ModalScreen
from textual.widgets import Input

from tui.dialogs import Ask, Confirm, Field, Kit


async def answer(dialog: ModalScreen[Any], *keys: str) -> list[Any]:
    answers: list[Any] = []
    app: App[None] = App()
    async with app.run_test() as pilot:
        app.push_screen(dialog, answers.append)
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.pause()
    return answers


FIELDS = [Field("one", "The first"), Field("two", "The second", "2")]


async def test_all_fields_are_given_back() -> None:
    assert await answer(Ask("?", FIELDS, "Go"), "x", "enter", "y", "enter") == [
        {"one": "x", "two": "2y"}
    ]


async def test_an_empty_field_is_no_answer() -> None:
    dialog = Ask("?", FIELDS, "Go")
    assert await answer(dialog, "tab", "enter") == []


async def test_leaving_is_no_answer() -> None:
    assert await answer(Ask("?", FIELDS, "Go"), "x", "escape") == [None]


@pytest.mark.parametrize(
    ("keys", "is_yes"), [(["y"], True), (["n"], False), (["escape"], False), (["enter"], False)]
)
async def test_yes_and_no(keys: list[str], is_yes: bool) -> None:
    assert await answer(Confirm("Is it?", "Yes"), *keys) == [is_yes]


async def test_enter_means_yes_where_nothing_is_lost() -> None:
    assert await answer(Confirm("Is it?", "Yes", is_harmless=True), "enter") == [True]


async def test_a_kit_is_not_closed_by_habit() -> None:
    assert await answer(Kit("the kit"), "enter", "escape", "space", "enter", "c") == []
    assert await answer(Kit("the kit"), "w") == [None]


async def test_markup_of_others_is_text() -> None:
    app: App[None] = App()
    async with app.run_test() as pilot:
        app.push_screen(Confirm("[bold]not bold[/bold] [@click=app.bell]x[/]", "Yes"))
        await pilot.pause()
        assert "[bold]not" in app.export_screenshot().replace("&#160;", " ")
        assert not app.screen.query(Input)
