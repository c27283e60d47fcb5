"""Windows that ask: what each way out of them answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.screen import ModalScreen
from textual.widgets import Input

from tests.tui.stage import screen
from tui.dialogs import Ask, Confirm, Field, Kit
from tui.key_line import KeyLine


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


async def test_what_is_typed_takes_the_place_of_a_guess_and_no_other() -> None:
    fields = [Field("one", "The first", "vm", is_guess=True), Field("two", "The second", "2")]
    assert await answer(Ask("?", fields, "Go"), *"tower", "enter", "3", "enter") == [
        {"one": "tower", "two": "23"}
    ]


@pytest.mark.parametrize(
    ("dialog", "keys"),
    [
        (Ask("?", [Field("one", "The first")], "Go"), ["Cancel"]),
        (Confirm("Is it?", "Yes"), ["Yes", "No"]),
        (Kit("the kit"), ["It is written down", "Copy"]),
    ],
)
async def test_the_keys_at_the_foot_are_those_of_the_window(
    dialog: ModalScreen[Any], keys: list[str]
) -> None:
    app: App[None] = App()
    async with app.run_test() as pilot:
        app.push_screen(dialog)
        await pilot.pause()
        shown = [key.what for key in dialog.query_one(KeyLine).keys]
        assert shown == keys


async def test_a_long_label_is_to_be_read_to_its_end(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        stage.app.push_screen(Ask("?", [Field("one", "a word " * 20 + "the end")], "Go"))
        await stage.shows(Ask)
        label = stage.app.screen.query_one(".label")
        await stage.until(lambda: label.size.height == 3)


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
