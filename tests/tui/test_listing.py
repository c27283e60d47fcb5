"""A table that is brought up to date."""

from __future__ import annotations

from textual.app import App, ComposeResult

from tui.listing import Listing
from tui.rows import Line, Tone


class OneTable(App[None]):
    def compose(self) -> ComposeResult:
        yield Listing(("", "name"), "Nothing.")


def line(key: str, name: str = "") -> Line:
    return Line(key, ("*", name or key), Tone.GOOD)


def names(listing: Listing) -> list[str]:
    return [str(listing.get_row_at(n)[1]) for n in range(listing.row_count)]


async def test_lines_come_go_and_change() -> None:
    app = OneTable()
    async with app.run_test():
        listing = app.query_one(Listing)
        assert listing.border_subtitle != "Nothing."  # nobody knows yet
        assert listing.chosen is None
        listing.show([])
        assert str(listing.border_subtitle) == "Nothing."
        listing.show([line("a"), line("b"), line("c")])
        assert names(listing) == ["a", "b", "c"]
        assert not listing.border_subtitle
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


async def test_what_did_not_change_is_left_alone() -> None:
    app = OneTable()
    async with app.run_test():
        listing = app.query_one(Listing)
        listing.show([line("a"), line("b")])
        before = listing._update_count
        listing.show([line("a"), line("b")])
        assert listing._update_count == before
