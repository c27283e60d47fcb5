"""Large things, one at a time (FAULTS F34-F36): `python -m tests.bench.bench_big [WORK ...]`.

    many       files of no byte, --files of them (a million): first scan and restart of one device
    deep       directories within each other, --levels of them (4,000), with a file at the bottom
    wide       --entries files (100,000) in one directory, and a change among them
    names      names of 255 bytes, in several scripts
    sparse     a file of --sparse-gib GiB (100) without a byte on the disk, and a small one after it
    appends    --appends (10,000) to a log file, one by one, and what the other device is sent

Each work has two daemons of its own but `many`, which has one. Lines say seconds, the largest
resident memory of a daemon, and bytes sent. `--directory` says on which file system; the temporary
directory if it is left out. Nothing fails here: the figures are for ARCHITECTURE.md.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.machine import peak_memory_bytes
from tests.end_to_end.device import Device, end, found, make_pair, wait_for_same, wait_until

PER_DIRECTORY = 100
WAIT_S = 3_600.0
APPEND_PAUSE_S = 0.001


def say(what: str, started: float, *devices: Device, more: str = "") -> None:
    """One line."""
    pids = [d.process.pid for d in devices if d.process is not None]
    print(
        f"{what:<44}{time.monotonic() - started:>9.1f} s"
        f"{peak_memory_bytes(pids) / 1e6:>8.0f} MB  {more}",
        flush=True,
    )


def sent(device: Device) -> int:
    """What it has sent since it started."""
    return device.status()["totals"]["sent_bytes"]


class Bench:
    """What the command line chose."""

    def __init__(self, chosen: argparse.Namespace, directory: Path) -> None:
        self._chosen, self._directory = chosen, directory

    def many(self) -> None:
        """A million files, one device."""
        device = Device(self._directory, "alpha")
        count = self._chosen.files
        for number in range(count):
            directory = (
                device.folder
                / f"{number // PER_DIRECTORY // 100}"
                / str(number // PER_DIRECTORY % 100)
            )
            if not number % PER_DIRECTORY:
                directory.mkdir(parents=True, exist_ok=True)
            os.close(os.open(directory / str(number), os.O_CREAT | os.O_WRONLY))
        try:
            found(device)
            started = time.monotonic()
            device.command("folder", "add", str(device.folder), "--name", "notes")
            wait_until(lambda: device.folder_status()["files"] == count, "the scan", WAIT_S)
            device.wait_for_state("in sync", WAIT_S)
            say(f"first scan of {count:,} files", started, device)
            device.stop()
            started = time.monotonic()
            device.start()
            device.wait_for_state("in sync", WAIT_S)
            say("restart, nothing changed", started, device)
        finally:
            end([device])

    def deep(self) -> None:
        """Very many directories within each other."""
        levels = self._chosen.levels

        def make(one: Device) -> None:
            fd = os.open(one.folder, os.O_RDONLY)
            for _ in range(levels):
                os.mkdir("d", dir_fd=fd)
                below = os.open("d", os.O_RDONLY, dir_fd=fd)
                os.close(fd)
                fd = below
            os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
            os.close(fd)

        self._pair(make, lambda pair: pair[1].folder_status()["files"] == 1, f"{levels} levels")

    def wide(self) -> None:
        """Very many files in one directory."""
        entries = self._chosen.entries

        def make(one: Device) -> None:
            (one.folder / "wide").mkdir()
            for number in range(entries):
                (one.folder / "wide" / f"{number}").write_bytes(b"%d" % number)

        def change(one: Device, other: Device) -> None:
            started = time.monotonic()
            (one.folder / "wide" / "7").write_bytes(b"changed")
            there = other.folder / "wide" / "7"
            wait_until(lambda: there.read_bytes() == b"changed", "the change", WAIT_S)
            say("a change among them", started, one, other)

        self._pair(
            make,
            lambda pair: pair[1].folder_status()["files"] == entries,
            f"{entries:,} files in one directory",
            change,
        )

    def names(self) -> None:
        """The longest names that a disk takes."""
        kinds = {"latin": "n", "greek": "λ", "han": "名", "emoji": "🗂"}
        spelled = {k: (c * 255).encode()[:255].decode(errors="ignore") for k, c in kinds.items()}

        def make(one: Device) -> None:
            for name in spelled.values():
                (one.folder / name).mkdir()
                (one.folder / name / name).write_bytes(name.encode())

        self._pair(
            make,
            lambda pair: pair[1].folder_status()["files"] == len(spelled),
            "names of up to 255 bytes",
        )

    def sparse(self) -> None:
        """A file of zeros that are nowhere, and what a person saves meanwhile."""
        size = self._chosen.sparse_gib << 30

        def make(one: Device) -> None:
            with (one.folder / "sparse").open("wb") as file:
                file.truncate(size)

        def meanwhile(one: Device, other: Device) -> None:
            started = time.monotonic()
            (one.folder / "small").write_bytes(b"saved while the large one was read")
            wait_until((other.folder / "small").exists, "the small file", WAIT_S)
            say("a small file saved meanwhile is there", started, one, other)
            wait_until(
                lambda: one.folder_status()["state"] == "in sync", "the large one read", WAIT_S
            )
            say(f"{size >> 30} GiB of zeros read by the first", started, one, other)
            state = other.folder_status()
            print(f"    the other: {state['state']}, {state['errors']}", flush=True)

        self._pair(make, lambda pair: True, "made", meanwhile)

    def appends(self) -> None:
        """A log file that grows line by line."""
        count = self._chosen.appends
        line = b"2026-01-01 12:00:00 INFO something happened, and it is told in a line like this\n"

        def write(one: Device, other: Device) -> None:
            before, started = sent(one), time.monotonic()
            with (one.folder / "log").open("ab", buffering=0) as file:
                for _ in range(count):
                    file.write(line)
                    time.sleep(APPEND_PAUSE_S)
            there = other.folder / "log"
            wait_until(
                lambda: there.exists() and there.stat().st_size == count * len(line),
                "the log", WAIT_S,
            )  # fmt: skip
            wait_for_same(one, other, timeout_s=WAIT_S)
            bytes_sent = sent(one) - before
            say(
                f"{count:,} appends", started, one, other,
                more=f"{bytes_sent / 1e6:.2f} MB sent for {count * len(line) / 1e6:.2f} MB",
            )  # fmt: skip

        self._pair(lambda one: None, lambda pair: True, "begun", write)

    def _pair(
        self,
        make: Callable[[Device], None],
        is_there: Callable[[tuple[Device, Device]], bool],
        what: str,
        then: Callable[[Device, Device], None] | None = None,
    ) -> None:
        pair = one, other = make_pair(self._directory, links="tls")
        try:
            started = time.monotonic()
            make(one)
            wait_until(lambda: is_there(pair), what, WAIT_S)
            if then is None:
                one.wait_for_state("in sync", WAIT_S)
                other.wait_for_state("in sync", WAIT_S)
            say(what, started, one, other)
            if then is not None:
                then(one, other)
        finally:
            end(list(pair))


WORKS = ("many", "deep", "wide", "names", "sparse", "appends")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", nargs="*", choices=[*WORKS, []], default=list(WORKS))
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--levels", type=int, default=4_000)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--sparse-gib", type=int, default=100)
    parser.add_argument("--appends", type=int, default=10_000)
    chosen = parser.parse_args()
    for work in chosen.work:
        directory = Path(tempfile.mkdtemp(prefix="holdfast-big-", dir=chosen.directory))
        try:
            getattr(Bench(chosen, directory), work)()
        finally:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
