"""Two Holdfast devices of one user on loopback, driven only through the command line that the
README documents.
"""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.bench.machine import wait_for, with_children

HOLDFAST = os.environ.get("HOLDFAST", "holdfast").split()
PORT = 25000


class Holdfast:
    """A pair that syncs `folders[0]` to `folders[1]`, over one kind of link or over the best."""

    def __init__(self, root: Path, link: str | None = None) -> None:
        self.root = root
        self.folders = [root / "a", root / "b"]
        self._link = link
        self._homes = [root / "home0", root / "home1"]
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Make both devices, pair them and share one folder."""
        shutil.rmtree(self.root, ignore_errors=True)
        for folder in self.folders:
            folder.mkdir(parents=True)
        self._command(0, "init", "--name", "alpha")
        self._run(0)
        code = self._command(0, "invite")["code"]
        self._command(1, "join", code, "--address", f"127.0.0.1:{PORT}", "--name", "beta")
        self._run(1)
        self._command(0, "folder", "add", str(self.folders[0]), "--name", "f")
        wait_for(self._is_offered, "the folder's offer", 60)
        self._command(1, "folder", "attach", "f", str(self.folders[1]))
        wait_for(lambda: self._command(0, "status")["links"], "a link", 60)

    def restart(self) -> None:
        """Stop both daemons and start them again."""
        self.stop()
        self._run(0)
        self._run(1)

    def is_in_sync(self) -> bool:
        """Whether both sides say so, over a link."""
        statuses = [self._command(number, "status") for number in (0, 1)]
        return all(
            status["links"] and status["folders"][0]["state"] == "in sync" for status in statuses
        )

    def kick(self) -> None:
        """Nothing: our own watcher has to see it."""

    def sent_bytes(self) -> int:
        """What the first device has sent."""
        sent: int = self._command(0, "status")["totals"]["sent_bytes"]
        return sent

    def pids(self) -> list[int]:
        """Both daemons and what they started."""
        return with_children([daemon.pid for daemon in self._daemons])

    def stop(self) -> None:
        """Stop both daemons."""
        for daemon in self._daemons:
            daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons:
            daemon.wait(20)
        self._daemons = []

    def _is_offered(self) -> bool:
        folders = self._command(1, "folder", "list")["folders"]
        return any(folder["name"] == "f" for folder in folders)

    def _command(self, number: int, *words: str) -> dict[str, Any]:
        program = [*HOLDFAST, "--home", str(self._homes[number]), *words, "--json"]
        done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"{words}: exit code {done.returncode}: {done.stderr}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def _run(self, number: int) -> None:
        words = ["run", "--listen", f"127.0.0.1:{PORT + number}", "--no-discovery"]
        if self._link:
            words += ["--links", self._link]
        with (self.root / f"log{number}").open("ab") as log:
            program = [*HOLDFAST, "--home", str(self._homes[number]), *words]
            self._daemons.append(subprocess.Popen(program, stdout=log, stderr=log))
        wait_for(lambda: self._command(number, "status"), f"daemon {number}", 60)
