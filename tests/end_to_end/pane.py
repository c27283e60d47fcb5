"""A program in a terminal, as a person sees it and types into it: a session of tmux."""

import os
import re
import shlex
import subprocess
from pathlib import Path

from tests.end_to_end.device import ROOT, wait_until

PATIENCE_S = 120.0
FOCUS = r"\x1b\[38;5;32m▊"
"""The left end of the field in which the cursor is, on a terminal of 256 colours."""
END_SHOWN = 20
"""Characters at the end of a long text that a field has room for."""


class Pane:
    """One terminal; its tmux is a server of its own, which knows nothing of a person's."""

    def __init__(self, socket: Path, words: list[str], size: tuple[int, int], home: Path) -> None:
        """`home`: what `~` is to the program."""
        self._tmux = ["tmux", "-S", str(socket), "-f", os.devnull]
        environment = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        environment |= {"HOME": str(home), "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        width, height = size
        self._ask(
            "new-session", "-d", "-x", str(width), "-y", str(height), "-c", str(ROOT),
            shlex.join(words), environment=environment,
        )  # fmt: skip

    def _ask(self, *words: str, environment: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            [*self._tmux, *words], env=environment, capture_output=True, text=True, timeout=60,
            check=True,
        )  # fmt: skip
        return done.stdout

    def shown(self, form: str = "-J") -> str:
        """What is on the terminal now."""
        return self._ask("capture-pane", "-p", form)

    def press(self, *keys: str) -> None:
        """Keys by tmux's names."""
        for key in keys:
            self._ask("send-keys", "--", key)

    def write(self, text: str) -> None:
        """A text, letter by letter."""
        self._ask("send-keys", "-l", "--", text)

    def fill(self, label: str, text: str, *, is_added: bool = False) -> None:
        """A text into the field below a label, when the cursor is there; in place of what is in it,
        or behind that. Keys that come faster than any person's overtake those that move the cursor
        or empty a field: so each is seen to have done its work before the next one.
        """
        rows = rf"{re.escape(label)}[^\n]*\n[^\n]*"  # the field is below its label
        self.until(rf"{rows}{FOCUS}", is_raw=True)
        field = rf"{rows}▊"
        if not is_added and self.until(rf"{field}([^\n]*)▎")[1].strip():
            self._ask("send-keys", "C-e", "C-u")
            self.until(rf"{field} +▎")
        self.write(text)
        self.until(rf"{field} .*{re.escape(text[-END_SHOWN:])} *▎")

    def until(self, pattern: str, *, is_raw: bool = False) -> re.Match[str]:
        """Waits until the terminal shows this, with its colours if `is_raw`; the match of the very
        look that found it.
        """
        found: list[re.Match[str] | None] = [None]

        def look() -> bool:
            found[0] = re.search(pattern, self.shown("-e" if is_raw else "-J"))
            return found[0] is not None

        wait_until(look, lambda: f"{pattern!r} to come; instead\n{self.shown()}", PATIENCE_S)
        assert found[0] is not None
        return found[0]

    def close(self) -> None:
        """The terminal is closed, whatever runs in it."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=60, check=False)
