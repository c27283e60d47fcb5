"""A real device for the end-to-end tests: a home, a directory, and a daemon in a process of its
own. Driven by the command line; watched by `status` and by what is on the disk, with deadlines.
"""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from peer.command_line.demo_device import find_free_port
from peer.command_line.demo_tree import list_tree
from peer.control.control_client import ControlClient
from peer.errors import PeerError
from peer.status import FolderStatus, Status
from tests.end_to_end.nursery import Forked, Nursery, shared

ROOT = Path(__file__).parent.parent.parent
PROGRAM = (sys.executable, "-m", "peer")
FOLDER = "notes"
DEADLINE_S = 30.0
STOP_TIMEOUT_S = 20.0
COMMAND_TIMEOUT_S = 120.0
PAUSE_S = 0.005
PAUSE_MAX_S = 0.1
"""Between two looks: a tenth of what was waited already, and no less than the look took. Looks are
work for the machine, and for those that are waited for too.
"""
LOOKS_A_SECOND = 5
"""A fifth of those that one who waits has on a machine with nothing else to do, at least."""


class Refused(Exception):
    """A command of the command line failed, with this exit code and sentence."""

    def __init__(self, exit_code: int, sentence: str) -> None:
        super().__init__(f"{exit_code}: {sentence}")
        self.exit_code, self.sentence = exit_code, sentence


class Deadline:
    """Passes when so much time has in which whoever waits could look: on a machine that is so busy
    that it gives the one who looks no turn, the daemons, which are no more important, get none.
    """

    def __init__(self, timeout_s: float) -> None:
        self._at = time.monotonic() + timeout_s
        self._looks_left = timeout_s * LOOKS_A_SECOND

    def has_passed(self) -> bool:
        """To be asked once a look."""
        self._looks_left -= 1
        return time.monotonic() > self._at and self._looks_left <= 0


def wait_until(
    is_so: Callable[[], Any], what: Callable[[], str] | str, timeout_s: float = DEADLINE_S
) -> None:
    """Looks again and again until it is so; an AssertionError says what did not come."""
    deadline = Deadline(timeout_s)
    began_at = looked_at = time.monotonic()
    while not is_so():
        if deadline.has_passed():
            raise AssertionError(
                f"in {timeout_s:.0f} s: {what if isinstance(what, str) else what()}"
            )
        now = time.monotonic()
        pause_s = max(PAUSE_S, now - looked_at, (now - began_at) / 10)
        time.sleep(min(pause_s, PAUSE_MAX_S))
        looked_at = time.monotonic()


class Device:
    """One device; `start` runs its daemon."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.home = directory / f"{name}-home"
        self.folder = directory / name
        self.log = directory / f"{name}.log"
        self.client = ControlClient(self.home)
        self.port = find_free_port()
        self.links = "tls,quic"
        self.config = ""
        """What is in `config.toml` from the next start on, if anything."""
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self.nursery: Nursery | None = shared()
        """Where daemon and commands come from; without one they are programs like any other."""
        self.folder.mkdir(parents=True)

    @property
    def address(self) -> str:
        """Where the others find it."""
        return f"127.0.0.1:{self.port}"

    # ------------------------------------------------------------ the command line

    def command(self, *words: str) -> dict[str, Any]:
        """One command; its JSON, or Refused."""
        words = ("--home", str(self.home), *words, "--json")
        if self.nursery is not None:
            done = self.nursery.run(words, COMMAND_TIMEOUT_S)
        else:
            done = subprocess.run(
                [*PROGRAM, *words],
                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=COMMAND_TIMEOUT_S, check=False, cwd=ROOT,
            )  # fmt: skip
        if done.returncode:
            raise Refused(done.returncode, done.stderr.strip())
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def start(self) -> None:
        """Starts the daemon, and returns when it answers."""
        self.launch()
        self.wait_for_answer()

    def wait_for_answer(self) -> None:
        """Waits until the daemon that was launched answers."""
        wait_until(self._is_up, lambda: f"{self.name} to start: {self.log_tail()}")

    def launch(self, is_traced: bool = False) -> None:
        """Starts the daemon without waiting for it; `is_traced`: it waits for its tracer."""
        assert self.process is None
        if self.config:
            (self.home / "config.toml").write_text(self.config)
        words = ["--home", str(self.home), "run", "--listen", self.address]
        words += ["--no-discovery", "--links", self.links]
        if self.nursery is not None:
            self.process = self.nursery.start(words, self.log, is_traced)
            return
        assert not is_traced, "a nursery's children wait"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*PROGRAM, *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT,
            )  # fmt: skip

    def stop(self) -> None:
        """Stops the daemon as a service manager does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the daemon as a power cut does, but for the page cache."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
            raise AssertionError(f"{self.name} did not stop: {self.log_tail()}") from None

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon of {self.name} ended: {self.log_tail()}")
        with contextlib.suppress(PeerError):
            self.client.status()
            return True
        return False

    def log_tail(self, lines: int = 25) -> str:
        """The end of the daemon's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    # ------------------------------------------------------------ what it says

    def status(self) -> Status:
        """What `status --json` prints."""
        return self.client.status()

    def folder_status(self) -> FolderStatus:
        """How the tests' one folder stands here."""
        return next(f for f in self.status()["folders"] if f["name"] == FOLDER)

    def knows_folder(self) -> bool:
        """Whether it has heard of the folder and its name."""
        return any(f["name"] == FOLDER for f in self.status()["folders"])

    def linked_to(self) -> set[str]:
        """The names of the devices that it is linked with."""
        return {link["name"] for link in self.status()["links"]}

    def wait_for_state(self, state: str, timeout_s: float = DEADLINE_S) -> None:
        """Waits until the folder is in this state."""
        wait_until(
            lambda: self.folder_status()["state"] == state,
            lambda: f"{self.name} {state}: {self.folder_status()}\n{self.log_tail()}",
            timeout_s,
        )

    # ------------------------------------------------------------ what is on its disk

    def path(self, name: str) -> Path:
        """A path in the folder."""
        return self.folder / name

    def tree(self) -> dict[str, tuple[str, Any]]:
        """Everything in the folder: kind, and bytes, target or nothing."""
        return tree_of(self.folder)

    def names(self) -> list[str]:
        """Every path in the folder."""
        return sorted(self.tree())

    def temp_files(self) -> list[str]:
        """What lies in the folder's own directory besides the marker and the trash."""
        internal = self.folder / ".holdfast"
        return sorted(
            str(p.relative_to(internal))
            for p in internal.rglob("*")
            if not p.is_dir() and p.name != "folder-id" and "trash" not in p.parts
        )


def tree_of(root: Path) -> dict[str, tuple[str, Any]]:
    """Everything below: path -> (kind and executable bit, bytes or target)."""
    found: dict[str, tuple[str, Any]] = {}
    for path, entry in list_tree(root).items():
        if entry.kind == "file":
            kind = "executable" if entry.is_executable else "file"
            found[path] = (kind, (root / path).read_bytes())
        else:
            found[path] = (entry.kind, entry.target)
    return found


def try_tree(device: Device) -> dict[str, tuple[str, Any]] | None:
    """The same of a tree that is being written: None when it changed under the look."""
    try:
        return device.tree()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, OSError):
        return None


def wait_for_same(*devices: Device, timeout_s: float = DEADLINE_S) -> dict[str, tuple[str, Any]]:
    """Waits until all devices say that they are in sync and show the same tree; returns it."""
    trees: list[dict[str, tuple[str, Any]] | None] = []

    def are_in_sync() -> bool:
        return all(device.folder_status()["state"] == "in sync" for device in devices)

    def is_same() -> bool:
        if not are_in_sync():  # who says so is not read for nothing: that is all bytes of all trees
            return False
        trees[:] = [try_tree(device) for device in devices]
        if trees[0] is None or any(tree != trees[0] for tree in trees):
            return False
        return are_in_sync()

    wait_until(is_same, lambda: explain(devices), timeout_s)
    assert trees[0] is not None
    return trees[0]


def explain(devices: Sequence[Device]) -> str:
    """How devices stand and where their disks differ."""
    first = devices[0].tree()
    lines = []
    for device in devices:
        tree = device.tree()
        differs = sorted(p for p in {*tree, *first} if tree.get(p) != first.get(p))
        lines.append(f"{device.name}: {device.folder_status()} linked to {device.linked_to()}")
        lines.append(f"    differs from {devices[0].name} at {differs[:8]} ({len(differs)})")
        lines.append(device.log_tail())
    return "\n".join(lines)


def wait_for_tree(expected: Callable[[], bool], *devices: Device) -> dict[str, tuple[str, Any]]:
    """Waits until all devices show the same tree and something more is so."""
    wait_until(lambda: _is(expected), lambda: "the expected tree; " + explain(devices), DEADLINE_S)
    return wait_for_same(*devices)


def _is(expected: Callable[[], bool]) -> bool:
    try:
        return expected()
    except OSError:
        return False


# ---------------------------------------------------------------- making groups


def found(device: Device) -> None:
    """Makes the user's first device, with the folder."""
    device.command("init", "--name", device.name)
    device.start()


def join(new: Device, host: Device) -> None:
    """Makes a new device by a code of another one, both as people do it."""
    code = host.command("invite")["code"]
    new.command("join", code, "--address", host.address, "--name", new.name)
    new.start()


def attach(device: Device) -> None:
    """Waits for the offer and puts the folder on the device's directory."""
    wait_until(device.knows_folder, lambda: f"the offer at {device.name}: {device.log_tail()}")
    device.command("folder", "attach", FOLDER, str(device.folder))


def make_pair(
    directory: Path, links: str = "tls,quic", *, are_programs: bool = False
) -> tuple[Device, Device]:
    """Two devices with one folder, in sync and linked."""
    one, other = Device(directory, "alpha"), Device(directory, "beta")
    one.links = other.links = links
    if are_programs:
        one.nursery = other.nursery = None
    try:
        found(one)
        join(other, one)
        one.command("folder", "add", str(one.folder), "--name", FOLDER)
        attach(other)
        wait_until(lambda: other.linked_to() == {"alpha"}, "a link")
        wait_for_same(one, other)
    except BaseException:
        end([one, other])
        raise
    return one, other


def end(devices: list[Device]) -> None:
    """Ends whatever runs."""
    for device in devices:
        with contextlib.suppress(AssertionError):
            device.kill()
