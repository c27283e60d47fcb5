"""`holdfast demo`: two real daemons, a real tree, and each promise timed and checked byte for byte.

Nothing here knows the engine: the devices are driven by the command line, and what is checked is
what lies on the disks.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peer.command_line import terminal
from peer.command_line.demo_device import DemoDevice, wait_until
from peer.command_line.demo_tree import (
    Scenes,
    choose_scenes,
    copy_source,
    differences,
    list_tree,
    try_list,
)
from peer.errors import DemoFailed, PeerError

FOLDER_NAME = "demo"
STALL_S = 60
"""The first sync may take as long as it likes, but not that long without a byte arriving."""
STEP_TIMEOUT_S = 30
CONFLICT_MARK = " (conflict "
SHOWN_DIFFERENCES = 3


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done on one device and seen on the other."""

    name: str
    what: str
    time_s: float
    """From the act on one side until the other side's disk shows it."""
    sent_bytes: int
    """What both devices sent each other for it."""


@dataclass(slots=True)
class DemoReport:
    """What the demo found."""

    steps: list[Step] = field(default_factory=list)
    failure: PeerError | None = None
    closing: str = "Everything is the same on both devices. The temporary files are removed."
    """What is said at the end, if nothing failed."""

    def as_data(self) -> dict[str, Any]:
        """The report as JSON."""
        steps = [
            {
                "name": step.name,
                "what": step.what,
                "time_s": round(step.time_s, 4),
                "sent_bytes": step.sent_bytes,
                "is_verified": True,
            }
            for step in self.steps
        ]
        return {"steps": steps, "is_verified": self.failure is None}

    def show(self) -> None:
        """The report as a small table."""
        rows = (
            (
                step.name,
                step.what,
                terminal.format_time(step.time_s),
                terminal.format_size(step.sent_bytes),
                "the same",
            )
            for step in self.steps
        )
        terminal.print_table(("", "what", "time", "sent", "byte for byte"), rows)
        if self.failure is None:
            print(self.closing)


def run_demo(source: Path | None, is_quiet: bool) -> DemoReport:
    """Play the whole demo in a temporary directory, and remove it; `source` None is Python's
    library.
    """
    report = DemoReport()
    with ExitStack() as cleaning:
        directory = tempfile.TemporaryDirectory(prefix="holdfast-demo-")
        demo = _Demo(Path(cleaning.enter_context(directory)), report, is_quiet)
        cleaning.callback(demo.stop)
        try:
            demo.play(source)
        except PeerError as error:
            report.failure = error
    return report


class _Demo:
    """The demo while it plays."""

    def __init__(self, directory: Path, report: DemoReport, is_quiet: bool) -> None:
        self._alpha = DemoDevice(directory, "alpha")
        self._beta = DemoDevice(directory, "beta")
        self._report = report
        self._is_quiet = is_quiet

    def play(self, source: Path | None) -> None:
        """Everything in order; the first thing that is not as it must be raises."""
        self._say("Copying a tree to sync ...")
        copy_source(source, self._alpha.folder)
        scenes = choose_scenes(self._alpha.folder)
        self._say("Pairing two devices ...")
        self._pair()
        self._sync_first()
        self._say("Editing, renaming, deleting ...")
        self._edit(scenes)
        self._rename(scenes)
        self._delete(scenes)
        self._conflict(scenes)

    def stop(self) -> None:
        """Stop both daemons."""
        self._alpha.stop()
        self._beta.stop()

    def _say(self, line: str) -> None:
        if not self._is_quiet:
            print(line, flush=True)

    def _pair(self) -> None:
        started = time.perf_counter()
        self._alpha.command("init", "--name", "alpha")
        self._alpha.start()
        code = self._alpha.command("invite")["code"]
        self._beta.command("join", code, "--address", self._alpha.address, "--name", "beta")
        self._beta.start()
        for device in (self._alpha, self._beta):
            wait_until(device.is_linked, f"{device.name} to be connected", STEP_TIMEOUT_S)
        took_s = time.perf_counter() - started
        self._report.steps.append(Step("pair", f"by the code {code}", took_s, self._sent_bytes()))

    def _sync_first(self) -> None:
        tree = list_tree(self._alpha.folder)
        files = sum(entry.kind != "directory" for entry in tree.values())
        size_bytes = sum(entry.size_bytes for entry in tree.values())
        self._beta.folder.mkdir()

        def act() -> None:
            self._alpha.client.add_folder(self._alpha.folder, FOLDER_NAME)
            wait_until(self._is_offered, "the folder on beta", STEP_TIMEOUT_S)
            self._beta.client.attach_folder(FOLDER_NAME, self._beta.folder)
            self._follow(files, size_bytes)

        what = f"{files} files, {terminal.format_size(size_bytes)}"
        self._time("first sync", what, act, lambda: try_list(self._beta.folder) == tree)

    def _is_offered(self) -> bool:
        """Whether beta knows the folder's name, which comes as a record of the folder itself."""
        folder = self._beta.folder_status()
        return folder is not None and folder["name"] == FOLDER_NAME

    def _follow(self, files: int, size_bytes: int) -> None:
        """Show a progress bar until beta holds as many files."""
        from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

        columns = ("Syncing", BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, disable=self._is_quiet) as progress:
            bar = progress.add_task("sync", total=size_bytes)
            seen, deadline = (0, 0), time.monotonic() + STALL_S
            while seen[0] < files:
                folder = self._beta.folder_status()
                if folder is not None and (folder["files"], folder["bytes"]) != seen:
                    seen, deadline = (folder["files"], folder["bytes"]), time.monotonic() + STALL_S
                progress.update(bar, completed=min(seen[1], size_bytes))
                if time.monotonic() > deadline:
                    raise DemoFailed(f"No file arrived for {STALL_S} s. {self._reasons()}")
                time.sleep(0.02)

    def _edit(self, scenes: Scenes) -> None:
        path = self._alpha.folder / scenes.edited
        content = path.read_bytes() + b"One line more, by the demo.\n"
        there = self._beta.folder / scenes.edited
        self._time(
            "edit",
            scenes.edited,
            lambda: path.write_bytes(content),
            lambda: there.stat().st_size == len(content) and there.read_bytes() == content,
        )

    def _rename(self, scenes: Scenes) -> None:
        name = f"{scenes.renamed} (renamed)"
        beneath = list_tree(self._alpha.folder / scenes.renamed)
        old, new = self._beta.folder / scenes.renamed, self._beta.folder / name
        self._time(
            "rename",
            f"{scenes.renamed}{os.sep}, {len(beneath)} names beneath it",
            lambda: (self._alpha.folder / scenes.renamed).rename(self._alpha.folder / name),
            lambda: not old.exists() and try_list(new) == beneath,
        )

    def _delete(self, scenes: Scenes) -> None:
        target = self._alpha.folder / scenes.deleted
        names = len(list_tree(target))
        self._time(
            "delete",
            f"{scenes.deleted}{os.sep}, {names} names beneath it",
            lambda: shutil.rmtree(target),
            lambda: not (self._beta.folder / scenes.deleted).exists(),
        )

    def _conflict(self, scenes: Scenes) -> None:
        """Both sides edit one file while they are paused: both edits must be there afterwards, on
        both sides.
        """
        here, there = self._alpha.folder / scenes.edited, self._beta.folder / scenes.edited
        edits = {b"Alpha wrote this.\n" * 40, b"Beta wrote this instead.\n" * 40}
        for device in (self._alpha, self._beta):
            device.client.pause(FOLDER_NAME)
        for path, content in zip((here, there), sorted(edits), strict=True):
            path.write_bytes(content)

        def is_settled() -> bool:
            found = [{other.read_bytes() for other in _versions_of(side)} for side in (here, there)]
            return found == [edits, edits]

        def act() -> None:
            for device in (self._alpha, self._beta):
                device.client.resume(FOLDER_NAME)

        self._time("conflict", "both edits kept, one beside the other", act, is_settled)

    def _time(
        self, name: str, what: str, act: Callable[[], object], is_there: Callable[[], bool]
    ) -> None:
        """Act on one side, wait for the other, compare everything, and note how it went."""
        sent_before = self._sent_bytes()
        started = time.perf_counter()
        act()
        try:
            wait_until(lambda: _holds(is_there), what, STEP_TIMEOUT_S)
        except DemoFailed as error:
            raise DemoFailed(f"{name}: {error} {self._reasons()}") from error
        took_s = time.perf_counter() - started
        wrong = differences(self._alpha.folder, self._beta.folder)
        if wrong:
            shown = ", ".join(wrong[:SHOWN_DIFFERENCES])
            raise DemoFailed(f"{name}: {len(wrong)} paths differ, such as {shown}.")
        sent_bytes = self._sent_bytes() - sent_before
        self._report.steps.append(Step(name, what, took_s, sent_bytes))

    def _sent_bytes(self) -> int:
        return sum(
            device.client.status()["totals"]["sent_bytes"] for device in (self._alpha, self._beta)
        )

    def _reasons(self) -> str:
        """What the devices themselves say of it."""
        said = []
        for device in (self._alpha, self._beta):
            folder = device.folder_status()
            problems = folder["errors"] if folder else []
            said += [f"{device.name}: {one['path']}: {one['reason']}" for one in problems[:3]]
            said.append(f"{device.name} is {folder['state'] if folder else 'without the folder'}.")
        return " ".join(said)


def _versions_of(path: Path) -> list[Path]:
    """The file and the conflict copies beside it."""
    mark = path.stem + CONFLICT_MARK
    return [path, *(other for other in path.parent.iterdir() if other.name.startswith(mark))]


def _holds(is_there: Callable[[], bool]) -> bool:
    """The condition, on a disk that is being written: what is not there yet does not hold yet."""
    try:
        return is_there()
    except OSError:
        return False
