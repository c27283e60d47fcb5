"""The works that every peer is given, each from an act on one side to the same bytes on the
other.
"""

import os
import random
import shutil
import statistics
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.bench.machine import (
    cpu_s,
    is_same_bytes,
    list_sizes,
    peak_memory_bytes,
    wait_for,
)

Row = dict[str, float]
"""Measured values by name, units last; `is_same` is 1 where both sides held the same bytes."""

MIB = 1 << 20
LATENCY_EDITS = 10
RENAMED_FILES = 5_000
IDLE_FILES = 10_000
IDLE_S = 30
MANY_FILES = 100_000


class Pair(Protocol):
    """Two peers that sync `folders[0]` with `folders[1]`."""

    root: Path
    folders: list[Path]

    def start(self) -> None:
        """From nothing to connected, with an empty folder."""

    def restart(self) -> None:
        """Stop and start both."""

    def stop(self) -> None:
        """Stop both."""

    def is_in_sync(self) -> bool:
        """Whether both say so."""

    def kick(self) -> None:
        """Whatever makes the first look at its disk at once, where it cannot be trusted to."""

    def sent_bytes(self) -> int:
        """Sent by the first, since it started."""

    def pids(self) -> list[int]:
        """All processes of both."""


def sync_tree(pair: Pair, name: str, build: Callable[[Path], object]) -> Row:
    """Build the tree beside the folder, move it in as one step, and wait for it on the other
    side.
    """
    beside = pair.root / f"beside-{name}"
    beside.mkdir()
    build(beside)
    os.sync()
    here, there = (folder / name for folder in pair.folders)
    sizes = list_sizes(beside)
    cpu_before_s, sent_before = cpu_s(pair.pids()), pair.sent_bytes()
    started = time.perf_counter()
    beside.rename(here)
    kick = threading.Thread(target=pair.kick)
    kick.start()
    wait_for(there.is_dir, f"the directory {name}", poll_s=0.02)
    # Listing is work of its own on the machine that is measured: the larger the tree, the rarer.
    poll_s = 0.05 if len(sizes) < 100 else 0.3 if len(sizes) < 50_000 else 1
    wait_for(lambda: list_sizes(there) == sizes, f"the files of {name}", poll_s=poll_s)
    time_s = time.perf_counter() - started
    kick.join()
    return {
        "time_s": time_s,
        "MB_per_s": sum(sizes.values()) / time_s / 1e6,
        "files_per_s": len(sizes) / time_s,
        "cpu_s": cpu_s(pair.pids()) - cpu_before_s,
        "peak_MB": peak_memory_bytes(pair.pids()) / 1e6,
        "sent_MB": (pair.sent_bytes() - sent_before) / 1e6,
        "is_same": is_same_bytes(here, there),
    }


def fill(directory: Path, files: int, size_bytes: Callable[[random.Random], int]) -> None:
    """Files of random bytes, 250 to a directory; the same ones each time."""
    source = random.Random(1)
    for number in range(files):
        place = directory / f"{number // 250:03d}"
        if number % 250 == 0:
            place.mkdir()
        (place / f"f{number}.dat").write_bytes(source.randbytes(size_bytes(source)))


def small_size(source: random.Random) -> int:
    """Of one of the small files, in bytes."""
    return source.randint(200, 12_000)


def work_latency(pair: Pair, scale: float) -> dict[str, Row]:
    """From a small file's write on one side to its bytes on the other, by the peers' own
    watchers.
    """
    here, there = (folder / "note.txt" for folder in pair.folders)
    times_s = []
    for _ in range(LATENCY_EDITS):
        time.sleep(1 + random.random())
        content = os.urandom(3000)
        started = time.perf_counter()
        here.write_bytes(content)
        wait_for(lambda content=content: there.read_bytes() == content, "the edit", 60, 0.005)  # type: ignore[misc]
        times_s.append(time.perf_counter() - started)
    return {
        "latency": {
            "time_s": statistics.median(times_s),
            "least_s": min(times_s),
            "most_s": max(times_s),
        }
    }


def work_big(pair: Pair, scale: float) -> dict[str, Row]:
    """One file of 512 MiB of random bytes."""

    def build(directory: Path) -> None:
        with (directory / "big.bin").open("wb") as file:
            for _ in range(int(512 * scale)):
                file.write(os.urandom(MIB))

    return {"big": sync_tree(pair, "big", build)}


def work_small(pair: Pair, scale: float) -> dict[str, Row]:
    """10,000 files of 0.2 to 12 KB."""
    files = int(10_000 * scale)
    build = lambda directory: fill(directory, files, small_size)  # noqa: E731
    return {"small": sync_tree(pair, "small", build)}


def work_src(pair: Pair, scale: float) -> dict[str, Row]:
    """Python's standard library."""
    left_out = shutil.ignore_patterns("site-packages", "__pycache__", "*.pyc")
    source = sysconfig.get_path("stdlib")
    build = lambda directory: shutil.copytree(source, directory / "py", True, left_out)  # noqa: E731
    return {"src": sync_tree(pair, "src", build)}


def work_insert(pair: Pair, scale: float) -> dict[str, Row]:
    """1,000 bytes inserted at the start of a synced file of 64 MiB."""
    content = os.urandom(int(64 * MIB * scale))
    sync_tree(pair, "insert", lambda directory: (directory / "d.bin").write_bytes(content))
    here, there = (folder / "insert" / "d.bin" for folder in pair.folders)
    longer = os.urandom(1000) + content
    sent_before = pair.sent_bytes()
    started = time.perf_counter()
    here.write_bytes(longer)
    pair.kick()
    wait_for(
        lambda: there.stat().st_size == len(longer) and there.read_bytes() == longer, "the insert"
    )
    time_s = time.perf_counter() - started
    time.sleep(1)  # Acknowledgements are bytes too.
    return {"insert": {"time_s": time_s, "sent_MB": (pair.sent_bytes() - sent_before) / 1e6}}


def work_rename(pair: Pair, scale: float) -> dict[str, Row]:
    """A directory of 5,000 synced files is renamed."""
    files = int(RENAMED_FILES * scale)
    sync_tree(pair, "before", lambda directory: fill(directory, files, lambda source: 3000))
    wait_for(pair.is_in_sync, "both in sync", 60, 0.2)
    sizes = list_sizes(pair.folders[0] / "before")
    old, new = (pair.folders[1] / name for name in ("before", "after"))
    sent_before = pair.sent_bytes()
    started = time.perf_counter()
    (pair.folders[0] / "before").rename(pair.folders[0] / "after")
    pair.kick()
    wait_for(lambda: new.is_dir() and not old.exists(), "the new name", poll_s=0.005)
    wait_for(lambda: list_sizes(new) == sizes, "the files beneath the new name")
    time_s = time.perf_counter() - started
    time.sleep(1)
    return {
        "rename": {
            "time_s": time_s,
            "sent_MB": (pair.sent_bytes() - sent_before) / 1e6,
            "is_same": is_same_bytes(pair.folders[0] / "after", new),
        }
    }


def work_idle(pair: Pair, scale: float) -> dict[str, Row]:
    """What doing nothing costs with 10,000 synced files: both daemons' share of one core,
    halved.
    """
    files = int(IDLE_FILES * scale)
    sync_tree(pair, "idle", lambda directory: fill(directory, files, lambda source: 1000))
    wait_for(pair.is_in_sync, "both in sync", 60, 0.2)
    time.sleep(5)
    pids = pair.pids()
    before_s = cpu_s(pids)
    time.sleep(IDLE_S)
    used_s = cpu_s(pids) - before_s
    return {"idle": {"core_percent": 100 * used_s / IDLE_S / 2}}


def work_many(pair: Pair, scale: float) -> dict[str, Row]:
    """100,000 files of 1 KB; then both are restarted, with nothing changed."""
    files = int(MANY_FILES * scale)
    first = sync_tree(pair, "many", lambda directory: fill(directory, files, lambda source: 1000))
    wait_for(pair.is_in_sync, "both in sync", 120, 0.5)
    started = time.perf_counter()
    pair.restart()
    wait_for(pair.is_in_sync, "both in sync again", 120, 0.1)
    again_s = time.perf_counter() - started
    return {
        "many": first,
        "restart": {"time_s": again_s, "peak_MB": peak_memory_bytes(pair.pids()) / 1e6},
    }


WORKS: dict[str, Callable[[Pair, float], dict[str, Row]]] = {
    "latency": work_latency,
    "big": work_big,
    "small": work_small,
    "src": work_src,
    "insert": work_insert,
    "rename": work_rename,
    "idle": work_idle,
    "many": work_many,
}
"""By name, in the order in which they are done; each starts with what those before it left."""
