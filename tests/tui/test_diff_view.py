"""Two texts on a screen, drawn only as far as they are seen."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult

from tui.diff import compare
from tui.diff_view import COLUMNS_FROM, DiffView

LEFT = "\n".join(f"line {n}" for n in range(100))
RIGHT = LEFT.replace("line 50", "another 50 " + "漢字" * 60)


class OneView(App[None]):
    def compose(self) -> ComposeResult:
        yield DiffView(id="diff")


@pytest.mark.parametrize("width", [20, 80, COLUMNS_FROM, 201])
async def test_every_line_is_as_wide_as_the_screen(width: int) -> None:
    app = OneView()
    async with app.run_test(size=(width, 10)) as pilot:
        view = app.query_one(DiffView)
        view.show(compare(LEFT, RIGHT).rows)
        await pilot.pause()
        view.focus()
        await pilot.press("n")
        await pilot.pause()
        strips = [view.render_line(y) for y in range(view.size.height)]
        assert {strip.cell_length for strip in strips} == {view.size.width}
        text = "\n".join(strip.text for strip in strips)
        assert "- line 50" in text
        assert "another 50" in text
        assert view.has_columns == (width >= COLUMNS_FROM)


async def test_the_person_decides_about_columns() -> None:
    app = OneView()
    async with app.run_test(size=(80, 10)) as pilot:
        view = app.query_one(DiffView)
        view.show(compare("a\nb", "a\nc").rows)
        view.focus()
        await pilot.press("w")
        assert view.has_columns
        await pilot.resize_terminal(60, 10)
        assert view.has_columns
        await pilot.press("w")
        assert [row.left or row.right for row in view.rows] == ["a", "b", "c"]
