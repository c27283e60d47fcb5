"""A table that is brought up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from textual.app import App, ComposeResult

from tui.listing import Listing
from tui.rows import Line, Tone


class OneTable(App[None]):
    CSS = "Listing { height: 10; border-bottom: solid white; }"

    def __init__(self) -> None:
        super().__init__()
        self.chosen: list[str | None] = []

    def compose(self) -> ComposeResult:
        yield Listing(("", "name"), "Nothing.")

    def on_listing_chosen(self) -> None:
        self.chosen.append(self.query_one(Listing).chosen)


def texts(app: App[None]) -> list[str]:
    """What the terminal has now."""
    return [strip.text for strip in app.screen._compositor.render_strips(app.size)]


@contextmanager
def counted(listing: Listing, method: str) -> Iterator[list[object]]:
    """Every call of a method."""
    calls: list[object] = []
    real = getattr(listing, method)

    def call(*given: Any, **options: Any) -> Any:
        calls.append(given)
        return real(*given, **options)

    with patch.object(listing, method, call):
        yield calls


def line(key: str, name: str = "") -> Line:
    return Line(key, ("*", name or key), Tone.GOOD)


def names(listing: Listing) -> list[str]:
    return [line.cells[1] for line in listing.lines]


async def test_lines_come_go_and_change() -> None:
    app = OneTable()
    async with app.run_test():
        listing = app.query_one(Listing)
        assert listing.told != "Nothing."  # nobody knows yet
        assert listing.chosen is None
        listing.show([])
        assert listing.told == "Nothing."
        listing.show([line("a"), line("b"), line("c")])
        assert names(listing) == ["a", "b", "c"]
        assert not listing.told
        listing.move_cursor(row=2)
        listing.show([line("a"), line("b", "other"), line("c")])
        assert names(listing) == ["a", "other", "c"]
        assert listing.chosen == "c"
        listing.show([line("c"), line("a")])
        assert names(listing) == ["c", "a"]
        assert listing.chosen == "c"
        listing.show([line("a")])
        assert listing.chosen == "a"
        listing.show([])
        assert names(listing) == []
        assert [listing.chosen] == [None]


async def test_markup_is_text() -> None:
    app = OneTable()
    async with app.run_test():
        listing = app.query_one(Listing)
        listing.show([line("a", "[red]name[/red]")])
        assert names(listing) == ["[red]name[/red]"]


async def test_what_is_said_below_the_lines_is_no_markup() -> None:
    app = OneTable()
    async with app.run_test() as pilot:
        listing = app.query_one(Listing)
        listing.tell("At risk: [/] and [bold]b[/bold].")
        await pilot.pause()
        assert "[/] and [bold]b[/bold]." in "".join(texts(app))


async def test_what_did_not_change_is_left_alone_and_what_did_lays_nothing_out() -> None:
    app = OneTable()
    async with app.run_test() as pilot:
        listing = app.query_one(Listing)
        listing.show([line("a"), line("b")])
        await pilot.pause()
        layouts = app.screen._layout_updates
        with counted(listing, "refresh") as refreshed:
            listing.show([line("a"), line("b")])
            assert refreshed == []
            listing.show([line("a"), line("b", "c")])
            assert refreshed
        await pilot.pause()
        assert app.screen._layout_updates == layouts


async def test_of_many_lines_those_are_drawn_that_are_seen() -> None:
    app = OneTable()
    async with app.run_test(size=(40, 10)) as pilot:
        listing = app.query_one(Listing)
        with counted(listing, "_drawn") as drawn:
            listing.show([line(str(number)) for number in range(100_000)])
            await pilot.pause()
            assert 9 <= len(drawn) <= 100
        listing.focus()
        for keys, chosen in (
            ("down", "1"), ("up up", "0"), ("pagedown", "8"), ("end", "99999"), ("down", "99999"),
            ("pageup", "99991"), ("home", "0"),
        ):  # fmt: skip
            await pilot.press(*keys.split())
            assert listing.chosen == chosen
            await pilot.pause()
            assert any(f" {chosen} " in row for row in texts(app))  # it is to be seen


async def test_a_click_goes_to_a_line_and_a_second_one_chooses_it() -> None:
    app = OneTable()
    async with app.run_test() as pilot:
        listing = app.query_one(Listing)
        listing.show([line("a"), line("b")])
        await pilot.pause()
        await pilot.click(Listing, offset=(3, 2))
        await pilot.pause()
        assert listing.chosen == "b"
        assert app.chosen == []
        await pilot.click(Listing, offset=(3, 2))
        await pilot.click(Listing, offset=(3, 0))  # the headings
        await pilot.press("enter")
        await pilot.pause()
        assert app.chosen == ["b", "b"]


async def test_a_cell_that_is_long_makes_room_when_it_is_seen() -> None:
    app = OneTable()
    async with app.run_test(size=(40, 10)) as pilot:
        listing = app.query_one(Listing)
        lines = [line(str(number)) for number in range(2_000)]
        lines[1_500] = line("1500", "a name that is long")
        listing.show(lines)
        listing.move_cursor(row=1_500)
        await pilot.pause()
        assert any("a name that is long" in row for row in texts(app))


async def test_a_line_that_goes_on_to_the_right_says_so() -> None:
    app = OneTable()
    async with app.run_test(size=(20, 12)) as pilot:
        listing = app.query_one(Listing)
        listing.show([line("a", "x" * 40), line("b", "short")])
        await pilot.pause()
        assert [text.rstrip() for text in texts(app)[1:3]] == [" *  " + "x" * 15 + "…", " *  short"]
