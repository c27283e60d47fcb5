"""A program in a terminal, as a person sees it and types into it: a session of tmux."""

import os
import re
import shlex
import subprocess
from pathlib import Path

from tests.end_to_end.device import ROOT, wait_until

PATIENCE_S = 120.0


class Pane:
    """One terminal; its tmux is a server of its own, which knows nothing of a person's."""

    def __init__(
        self, socket: Path, words: list[str], size: tuple[int, int], home: Path, **more: str
    ) -> None:
        """`home`: what `~` is to the program."""
        self._tmux = ["tmux", "-S", str(socket), "-f", os.devnull]
        environment = {
            "HOME": str(home), "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"], **more
        }  # fmt: skip
        environment |= {name: os.environ[name] for name in ("TMPDIR",) if name in os.environ}
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

    def shown(self) -> str:
        """What is on the terminal now."""
        return self._ask("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        """Keys by tmux's names."""
        for key in keys:
            self._ask("send-keys", "--", key)

    def type(self, text: str) -> None:
        """A text into a field, in place of what is in it."""
        self._ask("send-keys", "C-u")
        self._ask("send-keys", "-l", "--", text)

    def until(self, pattern: str, *, is_gone: bool = False) -> re.Match[str]:
        """Waits until the terminal shows this, or no more; the match of the very look."""
        looks: list[str] = [""]

        def look() -> bool:
            looks[0] = self.shown()
            return (re.search(pattern, looks[0]) is None) is is_gone

        what = lambda: f"{pattern!r} {'to go' if is_gone else 'to come'}; instead\n{looks[0]}"  # noqa: E731
        wait_until(look, what, PATIENCE_S)
        found = re.search(pattern, looks[0])
        return found if found is not None else re.compile("").search("")  # type: ignore[return-value]

    def close(self) -> None:
        """The terminal is closed, whatever runs in it."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=60, check=False)
