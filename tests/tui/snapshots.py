"""Pictures of every screen, kept as text and runs of styles, so that a difference can be read.

python -m tests.tui.snapshots [--pictures DIRECTORY] [--only 80x24]

draws them anew (after which somebody has to look at them), and as SVG into a directory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from rich.style import Style
from textual.geometry import Size
from textual.widgets import HelpPanel, Input, TextArea

from tests.peer.fake_daemon import FakeDaemon, running
from tests.tui.stage import PATIENCE_S, PatientApp, Stage, screen
from tui import welcome
from tui.dialogs import Kit

KEPT: Final = Path(__file__).with_name("pictures")
SIZES: Final = ((80, 24), (200, 60))
THEMES: Final = ("textual-dark", "textual-light")
SETTLED_S: Final = 0.5
FILE: Final = b"Shopping\n\n- bread\n- two apples\n- tea\n"
BIDI: Final = b"\xe2\x80\xae"
COPY: Final = b"Shopping\n\n- bread\n- five apples\n- coffee\n- tea\x1b[2J" + BIDI + b"\n"
PLAIN_COPY: Final = COPY.replace(b"\x1b[2J", b"").replace(BIDI, b"")
"""That an editor does not refuse."""
WALK: Final[tuple[tuple[str, tuple[str, ...], str], ...]] = (
    ("folders", ("1",), "2 more"),
    ("devices", ("2",), "gamma"),
    ("not synced", ("3",), "It is a socket"),
    ("conflicts", ("4",), "Both"),
    ("relays", ("5",), "It is\\x1b gone."),
    ("news", ("6",), "Mark read"),
    ("links", ("7",), "d End"),
    ("backup", ("8",), "Only 2 owners"),
    ("conflict", ("4", "enter"), "five apples"),
    ("", ("escape",), "Both"),
    ("a link's code", ("7", "enter"), "Close"),
    ("", ("escape",), "d End"),
    ("a new link", ("a",), "How often"),
    ("", ("escape",), "d End"),
    ("a new upload link", ("u",), "How many GB"),
    ("", ("escape",), "d End"),
    ("a share link", ("down",), "With a password"),
    ("invitation", ("i",), "crossover"),
    ("", ("escape",), "d End"),
    ("settings", ("comma",), "allowed is"),
    ("a setting", ("e",), "Allowed is"),
    ("", ("escape",), "allowed is"),
    ("", ("escape",), "d End"),
    ("log", ("l",), "number 9"),
    ("daemon's log", ("d", "end"), "ValueError"),
    ("", ("escape",), "number 9"),
    ("", ("escape",), "d End"),
    ("search", ("slash", "n", "o"), "There is more"),
    ("", ("escape", "1"), "2 more"),
    ("versions", ("v",), "Other path"),
    ("", ("escape",), "2 more"),
    ("remove a folder", ("d",), "Its files stay"),
    ("", ("escape",), "2 more"),
    ("add a folder", ("a",), "What it is called"),
    ("", ("escape",), "2 more"),
)
"""What it is called, the keys to it, and what is to be read there; what has no name is passed."""

Run = tuple[int, str]


@dataclass(frozen=True)
class Scene:
    """One screen: its rows of text, and for each theme the runs of styles in each row."""

    text: tuple[str, ...]
    styles: tuple[tuple[tuple[Run, ...], ...], ...]


def words_of(style: Style | None) -> str:
    """A style for a person."""
    if style is None:
        return "plain"
    colours = [
        "default" if one is None or one.triplet is None else one.triplet.hex
        for one in (style.color, style.bgcolor)
    ]
    marks = [name for name in ("bold", "italic", "underline", "reverse") if getattr(style, name)]
    return " ".join([f"{colours[0]} on {colours[1]}", *marks])


def rows_of(stage: Stage) -> tuple[tuple[str, ...], tuple[tuple[Run, ...], ...]]:
    """What the terminal has now."""
    text, styles = [], []
    for strip in stage.app.screen._compositor.render_strips(Size(*stage.app.size)):
        text.append(strip.text.rstrip())
        cells = [(words_of(one.style), one.cell_length) for one in strip]
        runs = groupby(cells, key=lambda cell: cell[0])
        styles.append(tuple((sum(n for _, n in group), words) for words, group in runs))
    return tuple(text), tuple(styles)


class Camera:
    """Takes each scene in both themes; `expected` makes it wait for that, if it comes at all."""

    def __init__(self, expected: dict[str, Scene] | None, pictures: Path | None) -> None:
        self.taken: dict[str, Scene] = {}
        self._expected, self._pictures = expected, pictures
        self._theme = 0
        self._has_missed = False

    async def take(self, stage: Stage, name: str) -> None:
        """One scene; the theme is another one afterwards, for there is one change less so."""
        for one in (*stage.app.screen.query(Input), *stage.app.screen.query(TextArea)):
            one.cursor_blink = False
        styles: dict[int, Any] = {}
        text: tuple[str, ...] = ()
        for theme in (self._theme, 1 - self._theme):
            stage.app.theme = THEMES[theme]
            self._theme = theme
            text, styles[theme] = await self._settled(stage, name, theme, styles)
            if self._pictures is not None:
                file = f"{stage.app.size.width} {name} {THEMES[theme]}.svg"
                (self._pictures / file).write_text(stage.app.export_screenshot())
        self.taken[name] = Scene(text, tuple(styles[theme] for theme in range(len(THEMES))))

    async def _settled(
        self, stage: Stage, name: str, theme: int, others: dict[int, Any]
    ) -> tuple[Any, Any]:
        """What is seen when nothing moves any more, and the other theme's colours are gone."""
        wanted = None if self._expected is None else self._expected.get(name)
        began = changed = time.monotonic()
        seen = rows_of(stage)
        is_awaited = wanted is not None and not self._has_missed
        patience_s = PATIENCE_S if is_awaited else SETTLED_S
        while True:
            now = time.monotonic()
            if wanted is not None and seen == (wanted.text, wanted.styles[theme]):
                return seen
            if now - changed > patience_s and now - began > patience_s:
                self._has_missed = wanted is not None  # the next ones may be taken as they are
                return seen
            await stage.pilot.pause(0.01)
            before, seen = seen, rows_of(stage)
            if seen != before or seen[1] in others.values():
                changed = time.monotonic()


def shown(stage: Stage) -> str:
    """The text that the terminal has."""
    return "\n".join(rows_of(stage)[0])


async def walk(stage: Stage, camera: Camera) -> None:
    """Every screen of somebody who has all there is to have."""
    stage.daemon.files.put("/data/photos/a.txt", FILE)
    stage.daemon.files.put("/data/photos/a", COPY)
    for name, keys, mark in WALK:
        await stage.press(*keys)
        await stage.until(lambda mark=mark: mark in shown(stage))  # type: ignore[misc]
        if name:
            await camera.take(stage, name)
    await stage.press("question_mark")
    await stage.until(lambda: stage.app.screen.query(HelpPanel))
    await camera.take(stage, "all keys")
    await stage.press("question_mark")
    await stage.until(lambda: not stage.app.screen.query(HelpPanel))
    stage.daemon.question = "700 files are gone. Was it meant? `holdfast answer a accept` tells."
    await stage.until(lambda: "700 files" in shown(stage) and "Meant" in shown(stage))
    await camera.take(stage, "a question")
    stage.daemon.question = ""
    stage.daemon.files.put("/data/photos/a", PLAIN_COPY)
    for keys, mark in (("4",), "Both"), (("enter",), "e Edit"), (("e",), "<<<<<<<"):
        await stage.press(*keys)
        await stage.until(lambda mark=mark: mark in shown(stage))  # type: ignore[misc]
    await camera.take(stage, "merge")
    await stage.press("escape", "escape")
    await stage.until(lambda: "Invite" in shown(stage))
    stage.app.push_screen(Kit("holdfast-kit-1-" + "abcd-" * 20))
    await stage.press("enter")
    await stage.until(lambda: "Press w when" in shown(stage))
    await camera.take(stage, "recovery kit")


async def beginning(home: Path, size: tuple[int, int], camera: Camera) -> None:
    """Every screen of somebody who has nothing yet."""
    app = PatientApp(home)
    async with app.run_test(size=size) as pilot:
        stage = Stage(app, pilot, None)  # type: ignore[arg-type]
        await stage.until(lambda: "Is it your first" in shown(stage) and "8 Backup" in shown(stage))
        await camera.take(stage, "welcome")
        await stage.press("j")
        await stage.until(lambda: "The code that" in shown(stage))
        await camera.take(stage, "join")
        await stage.press("escape", "escape")
        async with running(home) as daemon:
            make_empty(daemon)
            await stage.until(lambda: "No folders yet" in shown(stage) and "Find" in shown(stage))
            for key, name, mark in (
                ("1", "no folders", "No folders yet"), ("2", "one device", "Press i to invite"),
                ("3", "nothing amiss", "Everything is synced"), ("4", "no conflicts", "No conf"),
                ("5", "no relays", "Press a to use"), ("6", "no news", "Nothing to hear"),
                ("7", "no links", "No links"), ("8", "no copies", "No copies at"),
            ):  # fmt: skip
                await stage.press(key)
                await stage.until(lambda mark=mark: mark in shown(stage))  # type: ignore[misc]
                await camera.take(stage, name)
            (home / "key").touch()
        await stage.until(lambda: "is not running" in shown(stage) and "Start it" in shown(stage))
        await camera.take(stage, "no daemon")


def make_empty(daemon: FakeDaemon) -> None:
    """A device with nothing on it."""
    daemon.names, daemon.copies, daemon.errors = [], [], []
    status = daemon.status

    async def alone() -> Any:
        return {**await status(), "links": []}

    async def device() -> Any:
        return {"devices": [(await status())["device"]]}

    def nothing(name: str) -> Callable[..., Any]:
        async def answer(**asked: Any) -> Any:
            return {name: [], "unread": 0} if name == "notifications" else {name: []}

        return answer

    async def no_links() -> Any:
        return {"links": [], "requests": []}

    async def no_copies() -> Any:
        return {"backups": [], "kit": True}

    backups = daemon.backups
    backups.every = no_copies  # type: ignore[method-assign]
    daemon.status, daemon.devices = alone, device  # type: ignore[method-assign]
    daemon.notifications = nothing("notifications")  # type: ignore[method-assign]
    daemon.list_relays = nothing("relays")  # type: ignore[method-assign]
    daemon.share_links.listed = no_links  # type: ignore[method-assign]
    patch.object(FakeDaemon, "backups", backups).start()


@contextmanager
def the_same_everywhere() -> Any:
    """One time zone, one home, one name of the machine."""
    with (
        patch.dict(os.environ, {"TZ": "UTC", "HOME": "/home/ada"}),
        patch.object(welcome, "gethostname", lambda: "laptop"),
    ):
        time.tzset()
        try:
            yield
        finally:
            patch.stopall()
    time.tzset()


async def scenes_of(
    home: Path, size: tuple[int, int], expected: dict[str, Scene] | None, pictures: Path | None
) -> AsyncIterator[tuple[str, Scene]]:
    """Every scene at this size, as it is now."""
    camera = Camera(expected, pictures)
    with the_same_everywhere():
        async with screen(home / "all", size) as stage:
            await walk(stage, camera)
        await beginning(home / "new", size, camera)
    for name, scene in camera.taken.items():
        yield name, scene


# ---------------------------------------------------------------- how they are kept


def _letters(number: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return (letters[number // 26 - 1] if number >= 26 else "") + letters[number % 26]


def write(path: Path, scenes: dict[str, Scene]) -> None:
    """A file: the styles by letters, then each scene's text, then its styles in each theme; of
    equal rows that follow each other the first.
    """
    names: dict[str, str] = {}
    out: list[str] = []
    for name, scene in scenes.items():
        out.append(f"=== {name}")
        out += [f"|{row}" for row in scene.text]
        for theme, rows in zip(THEMES, scene.styles, strict=True):
            out.append(f"--- {theme}")
            for runs, group in groupby(rows):
                drawn = [f"{n}{names.setdefault(w, _letters(len(names)))}" for n, w in runs]
                out.append(" ".join([f"{len(list(group))}x", *drawn]))
    legend = [f"{letters} {words}" for words, letters in names.items()]
    path.write_text("\n".join([*legend, *out]) + "\n")


def read(path: Path) -> dict[str, Scene]:
    """What was written."""
    legend, *parts = f"\n{path.read_text()}".split("\n=== ")
    words = dict(line.split(" ", 1) for line in legend.split("\n") if line)
    scenes = {}
    for part in parts:
        name, body = part.split("\n", 1)
        text, *themes = body.split("\n--- ")
        styles = []
        for theme in themes:
            rows: list[tuple[Run, ...]] = []
            for line in theme.rstrip("\n").split("\n")[1:]:
                count, *drawn = line.split(" ")
                runs = tuple(_run(one, words) for one in drawn)
                rows += [runs] * int(count.rstrip("x"))
            styles.append(tuple(rows))
        lines = text.rstrip("\n").split("\n")
        scenes[name] = Scene(tuple(line.removeprefix("|") for line in lines), tuple(styles))
    return scenes


def _run(drawn: str, words: dict[str, str]) -> Run:
    letters = drawn.lstrip("0123456789")
    return int(drawn.removesuffix(letters)), words[letters]


def described(scene: Scene) -> list[str]:
    """Rows for a difference that a person reads: each text, and how its parts look."""
    out = []
    for number, row in enumerate(scene.text):
        out.append(f"{number:2} |{row}")
        for theme, rows in zip(THEMES, scene.styles, strict=True):
            at = 0
            for length, words in rows[number]:
                out.append(f"{number:2} {theme} {at}-{at + length}: {words}")
                at += length
    return out


def name_of(size: tuple[int, int]) -> Path:
    """Where the pictures of a size are kept."""
    return KEPT / f"{size[0]}x{size[1]}.txt"


async def renew(pictures: Path | None, sizes: Sequence[tuple[int, int]]) -> None:
    """Draws all of them anew."""
    KEPT.mkdir(exist_ok=True)
    for size in sizes:
        with tempfile.TemporaryDirectory() as home:
            found = scenes_of(Path(home), size, None, pictures)
            write(name_of(size), {name: scene async for name, scene in found})
        print(f"{name_of(size)}: {name_of(size).stat().st_size} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--only")
    given = parser.parse_args()
    if given.pictures is not None:
        given.pictures.mkdir(exist_ok=True)
    sizes = [size for size in SIZES if given.only in (None, name_of(size).stem)]
    asyncio.run(renew(given.pictures, sizes))
