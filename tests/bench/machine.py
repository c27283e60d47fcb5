"""What the kernel knows of processes and trees; Linux only."""

import filecmp
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
OWN_NAMES = (".st", ".holdfast", ".syncthing", "~syncthing")


def with_children(pids: list[int]) -> list[int]:
    """The processes and those they started."""
    every = list(pids)
    for pid in pids:
        done = subprocess.run(
            ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False
        )
        every += map(int, done.stdout.split())
    return every


def cpu_s(pids: list[int]) -> float:
    """CPU seconds that the processes have used, in the kernel's ticks of 10 ms."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_S


def peak_memory_bytes(pids: list[int]) -> int:
    """The largest resident size that any one of them ever had."""
    peaks = []
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                peaks.append(int(line.split()[1]) * 1024)
    return max(peaks, default=0)


def list_sizes(root: Path) -> dict[str, int]:
    """Every file beneath the root with its size; the peers' own files left out."""
    sizes = {}
    waiting = [str(root)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.name.startswith(OWN_NAMES):
                    continue
                try:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        sizes[os.path.relpath(entry.path, root)] = entry.stat().st_size
                except FileNotFoundError:
                    continue
    return sizes


def is_same_bytes(one: Path, other: Path) -> bool:
    """Whether both hold the same files, byte for byte."""
    names = list_sizes(one)
    return names == list_sizes(other) and all(
        filecmp.cmp(one / name, other / name, shallow=False) for name in names
    )


def wait_for(
    look: Callable[[], Found], what: str, timeout_s: float = 600, poll_s: float = 0.05
) -> Found:
    """What `look` finds, as soon as it finds something; an error of it counts as nothing yet."""
    deadline, last = time.monotonic() + timeout_s, ""
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            last = str(error)
        time.sleep(poll_s)
    raise TimeoutError(f"{what} did not come in {timeout_s:.0f} s. {last}")
