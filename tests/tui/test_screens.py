"""Every screen, small and large, dark and light, in front of names that want to steer it."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.geometry import Region

from peer.command_line.terminal import term_safe
from tests.tui.stage import Stage, screen

THEMES = ("textual-dark", "textual-light")
FILE = b"Shopping\n\n- bread\n- two apples\n- tea\n"
COPY = b"Shopping\n\n- bread\n- five apples\n- coffee\n- tea\x1b[2J\xe2\x80\xae\n"
WALK: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("folders", ("1",), "2 more"),
    ("devices", ("2",), "gamma"),
    ("not synced", ("3",), "It is a socket"),
    ("conflicts", ("4",), "Both"),
    ("relays", ("5",), "It is\\x1b gone."),
    ("news", ("6",), "Mark read"),
    ("links", ("7",), "End it"),
    ("backup", ("8",), "Only 2 owners"),
    ("conflict", ("4", "enter"), "five apples"),
    ("back", ("escape",), "Both"),
    ("code", ("7", "enter"), "Close"),
    ("back", ("escape",), "End it"),
    ("invitation", ("i",), "crossover"),
    ("back", ("escape",), "End it"),
    ("settings", ("comma",), "allowed is"),
    ("back", ("escape",), "End it"),
    ("log", ("l",), "number 9"),
    ("back", ("escape",), "End it"),
    ("search", ("slash", "n", "o"), "There is more"),
    ("back", ("escape", "1"), "2 more"),
    ("versions", ("v",), "Other path"),
    ("back", ("escape",), "2 more"),
    ("confirm", ("d",), "Its files stay"),
    ("back", ("escape",), "2 more"),
    ("add", ("a",), "What it is called"),
)
"""What it is called, the keys to it, and what is to be read there when it is drawn."""


def shown(stage: Stage) -> str:
    """The text that the terminal has."""
    width, height = stage.app.size
    lines = stage.app.screen._compositor.render_strips(Region(0, 0, width, height).size)
    return "\n".join(strip.text.rstrip() for strip in lines)


@pytest.mark.row("A37")
@pytest.mark.parametrize("size", [(80, 24)])
async def test_every_screen_shows_what_it_is_for_and_steers_nothing(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async with screen(tmp_path, size) as stage:
        stage.daemon.files.put("/data/photos/a.txt", FILE)
        stage.daemon.files.put("/data/photos/a", COPY)
        for number, (_, keys, mark) in enumerate(WALK):
            stage.app.theme = THEMES[number % 2]
            await stage.press(*keys)
            await stage.until(lambda mark=mark: mark in shown(stage))  # type: ignore[misc]
            text = shown(stage).split("\n")
            assert all(term_safe(line) == line for line in text)
            assert len(text) == size[1]
