"""`holdfast demo --durable`: two devices and seven super-nodes; three of these and both devices are
lost, a recovery kit brings every byte back, and new nodes make the copies whole again.

As in `demo`, everything is a real process that is driven by the command line.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from peer.command_line.demo import FOLDER_NAME, DemoReport, Step
from peer.command_line.demo_device import STOP_TIMEOUT_S, DemoDevice, find_free_port, wait_until
from peer.command_line.demo_tree import Tree, copy_source, list_tree, try_list
from peer.command_line.kit_input import KIT_VARIABLE
from peer.errors import DemoFailed, PeerError
from peer.status import BackupEntry

NODES = 7
NEEDED = 4
LOST = NODES - NEEDED
STEP_TIMEOUT_S = 60
WHOLE_TIMEOUT_S = 600
"""For all of a tree to be stored, or to come back: one disk is behind all seven nodes."""


class DemoNode:
    """One super-node of the demo, a process of its own."""

    def __init__(self, directory: Path, number: int) -> None:
        self.number = number
        self.home = directory / f"node-{number}"
        self.address = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts it; a person would do so on a machine of their own."""
        self.home.mkdir()
        config = self.home / "relay.toml"
        shares = json.dumps(str(self.home / "shares"))
        config.write_text(f'[storage]\npath = {shares}\nowner = "owner {self.number}"\n')
        place = f"127.0.0.1:{find_free_port()}"
        words = ["--home", str(self.home / "home"), "relay", "run", "--json"]
        words += ["--listen", place, "--config", str(config)]
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "peer", *words],
            cwd=Path(__file__).parent.parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise DemoFailed(f"Super-node {self.number} did not start.")
        self.address = json.loads(line)["address"]

    @property
    def pid(self) -> int:
        """Its process, while it runs."""
        assert self._process is not None, "it runs"
        return self._process.pid

    def end(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, if it runs."""
        if self._process is None:
            return
        self._process.send_signal(by)
        try:
            self._process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._process = None

    def burn(self) -> None:
        """It is lost with its disk."""
        self.end(signal.SIGKILL)
        shutil.rmtree(self.home)


def run_durable_demo(source: Path | None, is_quiet: bool) -> DemoReport:
    """Plays it in a temporary directory, and removes that; `source` None is Python's library."""
    report = DemoReport(
        closing="Every byte came back from the kit. The temporary files are removed."
    )
    with ExitStack() as cleaning:
        directory = tempfile.TemporaryDirectory(prefix="holdfast-durable-")
        demo = _DurableDemo(Path(cleaning.enter_context(directory)), report, is_quiet)
        cleaning.callback(demo.stop)
        try:
            demo.play(source)
        except PeerError as error:
            report.failure = error
    return report


class _DurableDemo:
    """The demo while it plays."""

    def __init__(self, directory: Path, report: DemoReport, is_quiet: bool) -> None:
        self._directory, self._report, self._is_quiet = directory, report, is_quiet
        self._nodes = [DemoNode(directory, number) for number in range(NODES + LOST)]
        self._alpha = DemoDevice(directory, "alpha")
        self._beta = DemoDevice(directory, "beta")
        self._gamma = DemoDevice(directory, "gamma")

    def play(self, source: Path | None) -> None:
        """Everything in order; the first thing that is not as it must be raises."""
        self._say("Copying a tree to sync ...")
        copy_source(source, self._alpha.folder)
        tree, digest = list_tree(self._alpha.folder), digest_of(self._alpha.folder)
        self._say(f"Starting {NODES} super-nodes and two devices ...")
        for node in self._nodes[:NODES]:
            node.start()
        kit = self._pair(tree)
        self._store(tree)
        self._burn()
        self._recover(kit, tree, digest)
        self._repair()

    def stop(self) -> None:
        """Stops whatever runs."""
        for device in (self._alpha, self._beta, self._gamma):
            device.stop()
        for node in self._nodes:
            node.end()

    def _say(self, line: str) -> None:
        if not self._is_quiet:
            print(line, flush=True)

    def _note(self, name: str, what: str, began: float, size_bytes: int) -> None:
        self._report.steps.append(Step(name, what, time.perf_counter() - began, size_bytes))

    def _pair(self, tree: Tree) -> str:
        began = time.perf_counter()
        kit = str(self._alpha.command("init", "--name", "alpha")["recovery_kit"])
        self._alpha.start()
        code = self._alpha.command("invite")["code"]
        self._beta.command("join", code, "--address", self._alpha.address, "--name", "beta")
        self._beta.start()
        self._beta.folder.mkdir()
        self._alpha.client.add_folder(self._alpha.folder, FOLDER_NAME)
        wait_until(lambda: _is_offered(self._beta), "the folder on beta", STEP_TIMEOUT_S)
        self._beta.client.attach_folder(FOLDER_NAME, self._beta.folder)
        wait_until(lambda: try_list(self._beta.folder) == tree, "beta to sync", WHOLE_TIMEOUT_S)
        self._note("sync", "two devices, one folder", began, _size(tree))
        return kit

    def _store(self, tree: Tree) -> None:
        self._say(f"Storing it at {NODES} super-nodes, of which any {NEEDED} are enough ...")
        began = time.perf_counter()
        addresses = [node.address for node in self._nodes[:NODES]]
        self._alpha.client.add_backup(FOLDER_NAME, addresses, NEEDED, NODES)
        entry = self._until_healthy(self._alpha)
        overhead = entry["stored_bytes"] / max(1, _size(tree))
        what = f"{entry['packs']} packs, {overhead:.2f} bytes at nodes for each of the tree's"
        self._note("store", what, began, entry["stored_bytes"])

    def _burn(self) -> None:
        self._say(f"{LOST} super-nodes and both devices burn ...")
        began = time.perf_counter()
        for node in self._nodes[:LOST]:
            node.burn()
        for device in (self._alpha, self._beta):
            device.stop()
            shutil.rmtree(device.folder)
            shutil.rmtree(self._directory / f"{device.name}-home")
        self._note("burn", f"{LOST} of {NODES} super-nodes, both devices", began, 0)

    def _recover(self, kit: str, tree: Tree, digest: str) -> None:
        self._say("A new device, with the recovery kit and the relays' addresses ...")
        began = time.perf_counter()
        words = [word for node in self._nodes[:NODES] for word in ("--relay", node.address)]
        to = self._directory / "restored"
        with _environment(KIT_VARIABLE, kit):
            self._gamma.command("recover", *words, "--name", "gamma", "--to", str(to))
        self._gamma.start()
        root = to / FOLDER_NAME
        wait_until(lambda: try_list(root) == tree, "all files to come back", WHOLE_TIMEOUT_S)
        if digest_of(root) != digest:
            raise DemoFailed("recover: what came back is not what was stored.")
        files = sum(entry.kind == "file" for entry in tree.values())
        self._note("recover", f"{files} files from the kit alone", began, _size(tree))

    def _repair(self) -> None:
        self._say(f"{LOST} new super-nodes take the place of those that are lost ...")
        began = time.perf_counter()
        for node in self._nodes[NODES:]:
            node.start()
        addresses = [node.address for node in self._nodes[LOST:]]
        self._gamma.client.add_backup(FOLDER_NAME, addresses, NEEDED, NODES)
        entry = self._until_healthy(self._gamma)
        self._note("repair", f"all {NODES} shares of each pack again", began, entry["stored_bytes"])

    def _until_healthy(self, device: DemoDevice) -> BackupEntry:
        found: list[BackupEntry] = []

        def is_healthy() -> bool:
            found[:] = device.client.backups()["backups"]
            time.sleep(0.2)  # each look asks all nodes
            entry = found[0]
            return entry["state"] == "up to date" and entry["health"] == "healthy"

        try:
            wait_until(is_healthy, "all copies to be there", WHOLE_TIMEOUT_S)
        except DemoFailed as error:
            raise DemoFailed(f"{error} {json.dumps(found)} {device.log_tail()}") from error
        return found[0]


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """A variable of the environment, for the time of a command: arguments are read by everybody."""
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def _is_offered(device: DemoDevice) -> bool:
    folder = device.folder_status()
    return folder is not None and folder["name"] == FOLDER_NAME


def _size(tree: Tree) -> int:
    return sum(entry.size_bytes for entry in tree.values())


def digest_of(root: Path) -> str:
    """One hash over every file's path and bytes."""
    whole = hashlib.sha256()
    for path, entry in sorted(list_tree(root).items()):
        whole.update(f"{path}\0{entry}\0".encode())
        if entry.kind == "file":
            with (root / path).open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
