"""A real device for the demo: a home, a folder, and a daemon in a process of its own."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peer.control.control_client import ControlClient
from peer.errors import DemoFailed, PeerError
from peer.status import FolderStatus

COMMAND_TIMEOUT_S = 120
STOP_TIMEOUT_S = 15
POLL_S = 0.005
LOG_TAIL_LINES = 8


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Look again and again until it is so; DemoFailed names what did not come."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise DemoFailed(f"Waited {timeout_s:.0f} s in vain: {what}.")
        time.sleep(POLL_S)


def find_free_port() -> int:
    """A port of the loopback interface that is free for UDP and for TCP at this moment."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        ):
            stream.bind(("127.0.0.1", 0))
            port: int = stream.getsockname()[1]
            try:
                datagram.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class DemoDevice:
    """One of the demo's two devices, driven as a person drives it: by the command line."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.folder = directory / name
        self.client = ControlClient(directory / f"{name}-home")
        self._directory = directory
        self._home = directory / f"{name}-home"
        self._log = directory / f"{name}.log"
        self._port = find_free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where the other device finds this one."""
        return f"127.0.0.1:{self._port}"

    def command(self, *words: str) -> dict[str, Any]:
        """Give one command of the command line, and read what it answers."""
        done = subprocess.run(  # noqa: S603 - our own program, with words of our own
            [*self._program(), *words, "--json"],
            cwd=self._directory,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise DemoFailed(
                f"`holdfast {words[0]}` failed on {self.name}: {_said(done.stderr.strip())}"
            )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def start(self) -> None:
        """Start the daemon, and return when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*self._program(), "run", "--listen", self.address, "--no-discovery"],
                cwd=self._directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is ours to handle: it shall not reach it first.
            )
        wait_until(self._is_up, f"{self.name} to start. Its log ends: {self.log_tail()}", 60)

    def stop(self) -> None:
        """Stop the daemon if it runs, by force if it does not go by itself."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        """The process of the daemon that runs."""
        assert self._process is not None, "it runs"
        return self._process.pid

    def is_linked(self) -> bool:
        """Whether another device is connected."""
        return bool(self.client.status()["links"])

    def folder_status(self) -> FolderStatus | None:
        """How the demo's one folder stands here; None before this device has heard of it."""
        folders = self.client.status()["folders"]
        return folders[0] if folders else None

    def log_tail(self) -> str:
        """The last lines of the daemon's log."""
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        return " / ".join(lines[-LOG_TAIL_LINES:]) or "empty"

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise DemoFailed(f"The daemon of {self.name} ended. Its log ends: {self.log_tail()}")
        try:
            self.client.status()
        except PeerError:
            return False
        return True

    def _program(self) -> list[str]:
        return [sys.executable, "-m", "peer", "--home", str(self._home)]

    def _environment(self) -> dict[str, str]:
        """Ours, with the packages of this very installation found first, wherever it was
        started.
        """
        here = str(Path(__file__).parent.parent)
        inherited = os.environ.get("PYTHONPATH")
        path = f"{here}{os.pathsep}{inherited}" if inherited else here
        return {**os.environ, "PYTHONPATH": path}


def _said(errors: str) -> str:
    """The sentence of a problem document, or whatever else a command that failed has said."""
    try:
        return str(json.loads(errors.splitlines()[-1])["detail"])
    except (ValueError, IndexError, KeyError, TypeError):
        return errors
