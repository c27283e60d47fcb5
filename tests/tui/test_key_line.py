"""The line of keys: every key is on it, in as few lines as it takes, and a click presses one."""

from __future__ import annotations

from pathlib import Path

from tests.peer.fake_daemon import FOLDER_ID
from tests.tui.stage import screen
from tui.key_line import Key, KeyLine, laid_out


def keys(*words: str) -> list[Key]:
    return [Key(word[0], word[0], word) for word in words]


def test_one_line_if_there_is_any_way_to_it() -> None:
    words = keys("pause", "remove", "quit")  # 7 + 8 + 6 cells
    assert laid_out(words, 25) == ([words], 2)
    assert laid_out(words, 24) == ([words], 1)
    assert laid_out(words, 22) == ([words[:2], words[2:]], 1)
    assert laid_out(words, 6) == ([[one] for one in words], 1)


async def test_it_shows_what_can_be_done_and_a_click_does_it(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        line = stage.app.screen.query_one(KeyLine)
        await stage.until(lambda: "p Pause" in line.render().plain)
        text = line.render().plain
        assert text.endswith("q Quit")
        at = text.index("Pause")
        await stage.pilot.click(KeyLine, offset=(at + 1 + line.styles.padding.left, 0))
        await stage.calls(("pause", FOLDER_ID))
        await stage.press("2")
        await stage.until(lambda: "Pause" not in line.render().plain)
