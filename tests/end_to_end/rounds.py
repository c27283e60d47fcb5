"""Rounds of one pair of devices: each time a few changes, a fault while they sync, and then what
must hold.
"""

import contextlib
import itertools
import os
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

from peer.core.disk_types import INCOMING
from peer.errors import PeerError
from tests.end_to_end.device import (
    DEADLINE_S,
    STOP_TIMEOUT_S,
    Deadline,
    Device,
    end,
    explain,
    make_pair,
    tree_of,
    try_tree,
    wait_for_same,
    wait_until,
)
from tests.end_to_end.inject import LARGE_POINTS, POINTS, Injected, Point

RECEIVING, SCANNING, COMPACTING = "receiving", "scanning", "compacting"
RECEIVING_LARGE, SCANNING_LARGE = "receiving large files", "scanning large files"
WRITE_LARGE, COPY_LARGE, READ_LARGE, WRITEBACK_LARGE = LARGE_POINTS
SCENARIOS: Final = {
    RECEIVING: POINTS,
    SCANNING: POINTS,
    COMPACTING: POINTS,
    RECEIVING_LARGE: (
        *LARGE_POINTS,
        *(p for p in POINTS if p.name in ("sync", "rename", "unlink", "size, time")),
    ),
    SCANNING_LARGE: (READ_LARGE, WRITEBACK_LARGE),
}
"""With what is done in each that the others do not do too."""
CONFIG: Final = {
    COMPACTING: "[folders]\ncompact_changesets_min = 1\ncompact_ratio_min = 0\n"
    "keep_superseded_days = 0\n",
    RECEIVING_LARGE: "[history]\ndays = 0\n",
    SCANNING_LARGE: "[history]\ndays = 0\n",
}
"""While compacting, the second device scans too, and tells its whole log again after each round.
Large files that were replaced go, or they would fill the disk.
"""
LARGE_BYTES: Final = 9 << 20
"""Some seventy chunks, and more than is written before the disk is told to begin with it."""
LARGE_FILES: Final = 2
LAID_DOWN_MAX: Final = 40
"""So many times at most one large file is begun within a round."""
REPEATS_MAX: Final = 400
"""Failed calls after which a daemon is said to loop: it is to try again after seconds."""
KEPT: Final = 400
"""Files that stay: of so many, what some rounds delete and rewrite is no reason to ask a person."""
ROUNDS_MAX: Final = 50
"""Of a pair: what it remembers of each round makes the next ones longer, and after hundreds there
were more calls for every N that was played.
"""
LOOK_S: Final = 0.03
STATES_AT_REST: Final = frozenset({"in sync", "trouble", "no space", "no disk"})
NOT_REACHED: Final = "not reached"

Tree = dict[str, tuple[str, Any]]


class Lost(AssertionError):
    """Something that must hold after every fault does not hold."""


class Rounds:
    """A pair whose second device meets the faults; both are in sync between two rounds, and the
    second is stopped. After a round that failed there is a new pair, and after many.
    """

    one: Device
    other: Device

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pairs = itertools.count()
        self._serial = itertools.count()
        self._has_pair = False
        self._played = 0
        self._firsts: dict[bytes, int] = {}
        """By log, the first position that the second device's index held when the round began, if
        it is to compact.
        """

    def end(self) -> None:
        """Ends all daemons."""
        self._end_pair()

    def _end_pair(self) -> None:
        if self._has_pair:
            self._has_pair = False
            end([self.one, self.other])

    def play(self, scenario: str, point: Point, fault: str, n: int) -> str:
        """One round; what became of the fault, or Lost."""
        if self._played == ROUNDS_MAX:
            self._end_pair()
        if not self._has_pair:
            self._make_pair(scenario)
        self._played += 1
        try:
            return self._play(scenario, point, fault, n)
        except BaseException:
            self._end_pair()
            raise

    def _make_pair(self, scenario: str) -> None:
        directory = self._directory / f"pair-{next(self._pairs)}"
        directory.mkdir(parents=True)
        self._serial = itertools.count()
        self._played = 0
        self.one, self.other = make_pair(directory, "tls")
        self._has_pair = True
        for number in range(KEPT):
            path = self.one.folder / "kept" / f"{number}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"%d" % number)
        change(self.one.folder, next(self._serial))
        if scenario in (RECEIVING_LARGE, SCANNING_LARGE):
            change_large(self.one.folder, next(self._serial))
        wait_until(lambda: (self.other.folder / "r0/deep/last").exists(), "the first files")
        wait_for_same(self.one, self.other)
        self.other.stop()

    def _play(self, scenario: str, point: Point, fault: str, n: int) -> str:
        self.other.config = CONFIG.get(scenario, "# nothing\n")
        before, after = self._begin(scenario)
        self._firsts = first_positions(self.other) if scenario == COMPACTING else {}
        injected = Injected(self.other, point, fault, n, self._large_files(scenario, after))
        try:
            outcome = self._settle(injected, before, after)
            if injected.injected > REPEATS_MAX:
                raise Lost(f"{injected.injected} failed calls: {self.other.log_tail()}")
        finally:
            injected.lift()
        if injected.has_ended:
            self.other.process = None
            self._look(before, after)
            self.other.start()
        elif outcome != NOT_REACHED:
            if point.database != "home":  # after an I/O error it goes on in a new log, still empty
                self._firsts = {}
            outcome += self._recover(after)
            self.other.stop()
            self.other.start()
        wait_until(lambda: self._is_through(after), lambda: self._differs(after))
        wait_for_same(self.one, self.other)
        self.other.stop()
        self._check(after)
        return outcome

    # ------------------------------------------------------------ the parts of a round

    def _begin(self, scenario: str) -> tuple[Tree, Tree]:
        """Makes the changes; how the second device's tree is, and how it is to become."""
        before = tree_of(self.other.folder)
        maker = self.one if scenario in (RECEIVING, RECEIVING_LARGE) else self.other
        make = change_large if scenario in (RECEIVING_LARGE, SCANNING_LARGE) else change
        make(maker.folder, next(self._serial))
        after = tree_of(maker.folder)
        if maker is self.one:
            wait_until(
                self._has_told,
                lambda: f"the changes to be told: {maker.folder_status()} {maker.log_tail()}",
            )
        return before, after

    def _large_files(self, scenario: str, after: Tree) -> list[str]:
        """The paths of large files where the second device reads or writes them in this round."""
        if scenario == SCANNING_LARGE:
            return [str(self.other.path(name)) for name in after if name.startswith("large")]
        if scenario != RECEIVING_LARGE:
            return []
        hashes: list[bytes] = []

        def are_told() -> bool:
            hashes[:] = hashes_of_large(self.one)
            return len(hashes) == LARGE_FILES

        wait_until(are_told, lambda: f"large files to be told: {self.one.log_tail()}")
        incoming = self.other.folder.joinpath(*INCOMING)
        return [
            str(incoming / f"{hash_[:8].hex()}-{serial:x}")
            for hash_ in hashes
            for serial in range(1, LAID_DOWN_MAX)
        ]

    def _has_told(self) -> bool:
        """Whether the first device has recorded what was just made."""
        status = self.one.folder_status()
        files = sum(kind != "directory" for kind, _ in self.one.tree().values())
        return status["state"] == "in sync" and status["files"] == files

    def _settle(self, injected: Injected, before: Tree, after: Tree) -> str:
        """Waits until the daemon has ended, is in sync, or says what is wrong."""
        said = ""
        deadline = Deadline(DEADLINE_S)
        while True:
            self._look(before, after)
            if injected.has_ended:
                return "ended" + self._last_words(injected)
            said = self._says()
            if said and (said != "in sync" or self._is_through(after)):
                if injected.injected:
                    return said
                if said == "in sync":
                    return NOT_REACHED
            if deadline.has_passed():
                raise Lost(f"neither through nor ended: {said!r} {self._differs(after)}")
            time.sleep(LOOK_S)

    def _is_through(self, after: Tree) -> bool:
        if try_tree(self.other) != after or try_tree(self.one) != after:
            return False
        return not self._firsts or self._has_compacted()

    def _has_compacted(self) -> bool:
        """Whether the second device has let go of changesets that it had at the round's begin."""
        now = first_positions(self.other)
        return any(first > self._firsts.get(log, 1) for log, first in now.items())

    def _says(self) -> str:
        """What status says when the daemon has come to rest; Lost if it is in trouble and does not
        say why.
        """
        try:
            folder = self.other.folder_status()
        except (PeerError, StopIteration):
            return ""
        state = folder["state"]
        if state not in STATES_AT_REST:
            return ""
        if state == "in sync":
            return state
        reasons = [one["reason"] for one in folder["errors"]]
        if not reasons or not all(reasons):
            raise Lost(f"{state}, and no reason: {folder}")
        return f"{state}: {reasons[0]}"

    def _recover(self, after: Tree) -> str:
        """The disk is well again: the daemon finds that out by itself. What it has said of a disk
        that failed may stand until it is started again.
        """
        deadline = Deadline(DEADLINE_S)
        while not deadline.has_passed():
            if self._is_through(after) and (said := self._says()):
                return ", goes on" if said == "in sync" else ", goes on and still says so"
            time.sleep(LOOK_S)
        raise Lost(f"does not recover: {self._differs(after)}")

    def _last_words(self, injected: Injected) -> str:
        """Killed by the fault, or ended with a sentence of its own; a traceback is a defect."""
        code = injected.process.wait(STOP_TIMEOUT_S)
        if code < 0:
            return f" by signal {-code}"
        last = self.other.log_tail(1)
        if not last.startswith("holdfast: ") or "defect" in last:
            raise Lost(f"ended with code {code} and no sentence: {self.other.log_tail()}")
        return f": {last}"

    def _look(self, before: Tree, after: Tree) -> None:
        """Nothing is under its name but what was saved under it, before or now."""
        for path, entry in (try_tree(self.other) or {}).items():
            if entry not in (before.get(path), after.get(path)):
                kind, content = entry
                shown = content[:40] if isinstance(content, bytes) else content
                raise Lost(f"{path} is torn or foreign: {kind} {shown!r}")

    def _check(self, after: Tree) -> None:
        for device in (self.one, self.other):
            if device.tree() != after:
                raise Lost(f"{device.name}: {self._differs(after)}")
        if self.other.temp_files():
            raise Lost(f"left over: {self.other.temp_files()}")

    def _differs(self, after: Tree) -> str:
        lines = []
        for device in (self.one, self.other):
            tree = device.tree()
            wrong = sorted(p for p in {*tree, *after} if tree.get(p) != after.get(p))
            lines.append(f"{device.name} differs from what was saved at {wrong[:6]}")
        if self.other.process is not None and self.other.process.poll() is None:
            lines.append(explain((self.one, self.other)))
        return "\n".join([*lines, self.other.log_tail()])


def first_positions(device: Device) -> dict[bytes, int]:
    """By log, the first position that the device's index holds; nothing while it cannot be read."""
    (path,) = (device.home / "folders").glob("*.db")
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return dict(db.execute("SELECT log, min(seq) FROM changeset GROUP BY log"))
    except sqlite3.Error:
        return {}


def hashes_of_large(device: Device) -> list[bytes]:
    """The hashes of the large files in a device's folder, by which others name their temp files;
    of what it has not recorded yet as it is, none.
    """
    saved = {(path.name, path.stat().st_mtime_ns) for path in device.folder.glob("large *")}
    (path,) = (device.home / "folders").glob("*.db")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT hash, name, disk_mtime_ns FROM node WHERE size >= ?", (1 << 20,))
        return [hash_ for hash_, name, mtime_ns in rows if (name, mtime_ns) in saved]


def change_large(root: Path, serial: int) -> None:
    """Two large files are saved, one of which was another before: what it keeps of it, in two
    places, need not come from elsewhere.
    """
    new, edited = os.urandom(LARGE_BYTES), os.urandom(LARGE_BYTES)
    with contextlib.suppress(FileNotFoundError):
        old = (root / "large 1").read_bytes()
        edited = old[: LARGE_BYTES // 3] + b"%d" % serial + old[-2 * LARGE_BYTES // 3 :]
    (root / "large 0").write_bytes(new)
    (root / "large 1").write_bytes(edited)


def change(root: Path, serial: int) -> None:
    """What a person does between two looks: some of everything, and the tree does not grow."""
    new = root / f"r{serial}"
    (new / "deep").mkdir(parents=True)
    for name in ("small 0", "small 1", "small 2", "to edit", "to rename", "to remove"):
        (new / name).write_bytes(os.urandom(2_000))
    (new / "big").write_bytes(os.urandom(300_000))
    (new / "link").symlink_to("big")
    (new / "deep" / "last").write_bytes(b"%d" % serial)
    old = root / f"r{serial - 1}"
    if old.is_dir():
        (old / "to edit").write_bytes(os.urandom(2_500))
        (old / "to rename").rename(new / "renamed")
        (old / "to remove").unlink()
        (old / "big").unlink()
        (old / "small 1").chmod(0o755)
        (old / "link").unlink()
        (old / "link").symlink_to("elsewhere")
        (old / "empty").mkdir()
        (old / "deep").rename(old / "depth")
    for name in ("to edit", "small 0", "small 1", "small 2", "link", "depth/last"):
        (root / f"r{serial - 2}" / name).unlink(missing_ok=True)
    for name in ("empty", "depth", ""):
        directory = root / f"r{serial - 2}" / name
        if directory.is_dir() and serial >= 2 and not os.listdir(directory):
            directory.rmdir()
