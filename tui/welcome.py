"""The screen of who has no device here yet: a first one, or one more beside those there are.

There is no daemon to be asked then, so what a person types is given to the commands of that name;
the code goes in by standard input, where no other user of the machine sees it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from socket import gethostname
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Label, Static

from peer.command_line.terminal import term_safe
from peer.errors import PeerError
from tui.daemon import Daemon
from tui.dialogs import Ask, Field
from tui.key_line import KeyLine

LOG_NAME: Final = "daemon.log"
STARTED_WITHIN_S: Final = 60.0
"""A daemon that cannot start ends by then, and one that can answers, on the slowest machine."""
LOOK_EVERY_S: Final = 0.2


STARTED: Final[list[subprocess.Popen[bytes]]] = []
"""Daemons that were started here; each goes on without us."""


def command(home: Path, *words: str) -> list[str]:
    """A command of ours, for this home."""
    return [sys.executable, "-P", "-m", "peer", "--home", str(home), *words]


async def ask_command(home: Path, *words: str, given: str = "") -> tuple[dict[str, Any], str]:
    """What a command answers as JSON, and why it did not, if it did not."""
    process = await asyncio.create_subprocess_exec(
        *command(home, "--json", *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, told = await process.communicate(f"{given}\n".encode())
    if process.returncode == 0:
        return json.loads(out), ""
    return {}, _why(told.decode(errors="replace"))


def _why(told: str) -> str:
    """The sentence of the problem document that a command ends its standard error with; of what
    ended otherwise, the last line.
    """
    lines = told.strip().splitlines() or ["It failed."]
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(lines[-1])["detail"])
    return lines[-1].removeprefix("holdfast: ")


def start_daemon(home: Path) -> subprocess.Popen[bytes]:
    """A daemon that stays when the screen is left, until this person logs out or it is stopped."""
    with (home / LOG_NAME).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            command(home, "run"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    STARTED.append(process)
    return process


async def started_daemon(home: Path) -> str:
    """Starts one; why it ended at once, if it did."""
    try:
        process = await asyncio.to_thread(start_daemon, home)
    except OSError as error:
        return f"The daemon cannot be started: {error.strerror}."
    daemon = Daemon(home)
    for _ in range(round(STARTED_WITHIN_S / LOOK_EVERY_S)):
        if process.poll() is not None:
            break
        with suppress(PeerError):
            await daemon.status()
            return ""
        await asyncio.sleep(LOOK_EVERY_S)
    else:
        return ""
    if process in STARTED:
        STARTED.remove(process)
    text = (home / LOG_NAME).read_text(errors="replace").strip().splitlines()
    return (text or ["The daemon ended at once."])[-1].removeprefix("holdfast: ")


class WelcomeScreen(ModalScreen[str | None]):
    """What to begin with; answers with a sentence when there is a device."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "begin", "My first device"),
        Binding("j", "join", "One more of my devices"),
        Binding("q", "app.quit", "Quit"),
        Binding("escape", "later", "Later"),
    ]

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._home = home
        self._typed: dict[str, str] = {}
        """What a try to join was given, to be corrected in the next one."""
        self._told = Static("", id="welcome-told", markup=False)

    def compose(self) -> ComposeResult:
        """The two ways."""
        with Vertical(classes="dialog"):
            yield Label("Welcome to Holdfast", classes="title")
            yield Static(
                "There is no device of yours on this machine yet. Is it your first one, or do you"
                " have others? One of those shows a code for this one by its key i (Invite)."
            )
            with Horizontal(classes="buttons"):
                yield Button("My first (n)", variant="primary", id="begin")
                yield Button("One more (j)", id="join")
            yield self._told
        yield KeyLine()

    def on_screen_suspend(self) -> None:
        """Under a window that asks for more, this one would be a second frame around it."""
        self.query_one(".dialog").visible = False

    def on_screen_resume(self) -> None:
        """It is asked, or thought better of."""
        self.query_one(".dialog").visible = True

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button by mouse or key."""
        self.action_begin() if event.button.id == "begin" else self.action_join()

    def action_later(self) -> None:
        """Nothing is made."""
        self.dismiss(None)

    def action_begin(self) -> None:
        """A first device."""
        name = gethostname()[:40]
        field = Field("name", "What your other devices call this one", name, is_guess=True)
        self.app.push_screen(Ask("Your first device", [field], "Make it"), self._begin)

    def action_join(self) -> None:
        """One more device."""
        typed = self._typed
        name = typed.get("name", gethostname()[:40])
        fields = [
            Field("code", "The code that the other one shows", typed.get("code", "")),
            Field(
                "name", "What your other devices call this one", name, is_guess="name" not in typed
            ),
            Field(
                "where",
                "On another network: its relay, or HOST:PORT",
                typed.get("where", ""),
                is_optional=True,
            ),
        ]
        self.app.push_screen(Ask("One more of your devices", fields, "Join"), self._join)

    def _begin(self, values: dict[str, str] | None) -> None:
        if values is not None:
            self._run("init", "--name", values["name"].strip())

    def _join(self, values: dict[str, str] | None) -> None:
        if values is None:
            return
        self._typed = values
        where = values["where"].strip()
        more = []
        if where:
            more = ["--relay" if where.startswith("holdfast-relay:") else "--address", where]
        words = ["join", "--name", values["name"].strip(), *more]
        self._run(*words, given=values["code"].strip())

    def _run(self, *words: str, given: str = "") -> None:
        self._told.update("A moment…")
        self.run_worker(self._make(*words, given=given), exclusive=True)

    async def _make(self, *words: str, given: str) -> None:
        made, problem = await ask_command(self._home, *words, given=given)
        if self.is_attached and problem:
            self._told.update(term_safe(problem))
        elif self.is_attached:
            self.dismiss(str(made.get("recovery_kit", "")))
