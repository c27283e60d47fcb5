"""Faults put into a real daemon by strace: the N-th call of one kind kills it, fails once, or fails
from then on; and what must hold whatever N was.

strace counts calls a thread and a system call, so N reaches whichever thread makes its N-th such
call first; calls on the two databases, and on large files, are told apart by their paths.
"""

import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.end_to_end.device import Device

KILL, FAIL_ONCE, FULL = "kill", "EIO once", "ENOSPC from then on"
FAULTS: Final = {
    KILL: "signal=KILL:when={n}",
    FAIL_ONCE: "error=EIO:when={n}",
    FULL: "error=ENOSPC:when={n}+",
}
END_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True)
class Point:
    """One kind of system call."""

    name: str
    calls: str
    database: str = ""
    """`home` or `index`: only on these files."""
    path: str = ""
    """Only on what has this name, or this absolute path."""
    is_on_files: bool = False
    """Only on the files that are given beside it."""
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
LARGE_POINTS: Final = (
    Point("write of a large file", "pwrite64", is_on_files=True),
    Point("copy to a large file", "copy_file_range", is_on_files=True),
    Point(
        "read of a large file", "readv,preadv2,pread64", is_on_files=True, faults=(KILL, FAIL_ONCE)
    ),
    Point("writeback of a large file", "sync_file_range", is_on_files=True),
)
"""What is done to large files alone: they are written, and read back, piece by piece."""


class Injected:
    """A device of a nursery whose next daemon runs under strace."""

    def __init__(
        self, device: Device, point: Point, fault: str, n: int, files: Sequence[str] = ()
    ) -> None:
        self.device = device
        self.trace = device.log.with_suffix(".strace")
        self.trace.unlink(missing_ok=True)
        device.launch(is_traced=True)
        assert device.process is not None
        self.process = device.process
        words = ["strace", "-f", "-qq", "-p", str(self.process.pid), "-o", str(self.trace)]
        words += ["-e", f"trace={point.calls}"]
        assert files or not point.is_on_files
        for path in files if point.is_on_files else paths_of(device, point):
            words += ["-P", path]
        words += ["-e", f"inject={point.calls}:{FAULTS.get(fault, fault).format(n=n)}"]
        self._tracer = subprocess.Popen(words, stdin=subprocess.DEVNULL)

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
        self._tracer.terminate()  # it lets go of the daemon first
        self._tracer.wait(END_TIMEOUT_S)
        # It lets go of a thread by a SIGSTOP, and one that comes too late stops the whole daemon.
        self.process.send_signal(signal.SIGCONT)


def paths_of(device: Device, point: Point) -> list[str]:
    """What the calls are to be on; nothing: on anything."""
    if point.path:
        return [point.path]
    if not point.database:
        return []
    main = device.home / "home.db"
    if point.database == "index":
        [main] = (device.home / "folders").glob("*.db")
    return [f"{main}{suffix}" for suffix in ("", "-wal", "-journal")]
