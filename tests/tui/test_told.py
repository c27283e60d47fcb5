"""A text that is laid out anew only when it may take another number of lines."""

from __future__ import annotations

from textual.app import App, ComposeResult

from tui.told import Told


class OneText(App[None]):
    CSS = "#fixed { height: 1; } #free { height: auto; }"

    def compose(self) -> ComposeResult:
        yield Told("at first", id="fixed")
        yield Told("at first", id="free")


async def test_it_is_laid_out_anew_only_where_lines_come_or_go() -> None:
    app = OneText()
    async with app.run_test(size=(40, 10)) as pilot:
        long = "a text that is longer than the line " * 2
        for name, text, lays_out in (
            ("free", "another [b]", False), ("free", long, True), ("free", "short", True),
            ("free", "two\nlines", True), ("fixed", long, False), ("fixed", "short", False),
        ):  # fmt: skip
            told = app.query_one(f"#{name}", Told)
            await pilot.pause()
            told.say(text)
            assert told._layout_required is lays_out, (name, text)
            await pilot.pause()
            rows = "\n".join(s.text for s in app.screen._compositor.render_strips(app.size))
            assert text.split("\n")[0][:30] in rows
        told.say("short")
        assert not told._repaint_required
