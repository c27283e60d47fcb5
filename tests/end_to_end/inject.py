"""Faults put into a real daemon by strace: the N-th call of one kind kills it, fails once, or fails
from then on; and what must hold whatever N was.

strace counts calls a thread and a system call, so N reaches whichever thread makes its N-th such
call first; calls on the two databases are told apart by their paths.
"""

import contextlib
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.end_to_end.device import Device

KILL, FAIL_ONCE, FULL = "kill", "EIO once", "ENOSPC from then on"
FAULTS: Final = {
    KILL: "signal=KILL:when={n}",
    FAIL_ONCE: "error=EIO:when={n}",
    FULL: "error=ENOSPC:when={n}+",
}
STRACE: Final = ("strace", "-D", "-f", "-qq")
"""The tracer is the grandchild: the process that a test holds is the daemon itself."""


@dataclass(frozen=True)
class Point:
    """One kind of system call."""

    name: str
    calls: str
    database: str = ""
    """`home` or `index`: only on these files."""
    faults: tuple[str, ...] = (KILL, FAIL_ONCE, FULL)


POINTS: Final = (
    Point("write", "write", faults=(KILL,)),  # wakes threads and fills sockets, too
    Point("write to the index", "pwrite64", "index"),
    Point("sync of the index", "fdatasync", "index"),
    Point("write to the home", "pwrite64", "home"),
    Point("sync of the home", "fdatasync", "home"),
    Point("sync", "fsync,syncfs"),
    Point("rename", "rename,renameat,renameat2"),
    Point("unlink", "unlink,unlinkat,rmdir"),
    Point("size, time", "ftruncate,utimensat"),
    Point("make", "mkdirat,symlinkat"),
)


class Injected:
    """A device whose next daemon runs under strace."""

    def __init__(self, device: Device, point: Point, fault: str, n: int) -> None:
        self.device = device
        self.trace = device.log.with_suffix(".strace")
        self.trace.unlink(missing_ok=True)
        words = [*STRACE, "-o", str(self.trace), "-e", f"trace={point.calls}"]
        for path in paths_of(device, point.database):
            words += ["-P", str(path)]
        words += ["-e", f"inject={point.calls}:{FAULTS[fault].format(n=n)}"]
        device.launch(before=words)
        assert device.process is not None
        self.process = device.process

    def lines(self) -> list[str]:
        """What strace has seen."""
        try:
            return self.trace.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    @property
    def injected(self) -> int:
        """How many calls were made to fail."""
        return sum("(INJECTED)" in line for line in self.lines())

    @property
    def has_ended(self) -> bool:
        """Whether the daemon is no more, by the fault or by its own decision."""
        return self.process.poll() is not None

    def lift(self) -> None:
        """Takes the tracer away; the daemon goes on, and its calls succeed."""
        with contextlib.suppress(OSError):  # it has ended
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            [tracer] = re.findall(r"^TracerPid:\t(\d+)$", status, re.MULTILINE)
            if int(tracer):
                os.kill(int(tracer), signal.SIGKILL)


def paths_of(device: Device, database: str) -> list[Path]:
    """The files of a database of this device."""
    if not database:
        return []
    main = device.home / "home.db"
    if database == "index":
        [main] = (device.home / "folders").glob("*.db")
    return [Path(f"{main}{suffix}") for suffix in ("", "-wal", "-journal")]
