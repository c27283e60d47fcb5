"""All figures of relays in one run, each beside what it has to be; five minutes on a quiet machine.

    sudo python -m tests.bench.relay_numbers [--quick]

Runs `bench_relay`, `bench_idle`, `bench_mailbox`, `bench_lost` and the lab's times one after the
other, each a program of its own that ends in time or is ended. What needs root is left out, and
said so, for who has not got it. `--quick` is to see that everything runs: its figures say little.
The exit code is 1 if a figure is missing; one that is not reached is no error of the benchmark.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Figure:
    """One number in what a step prints; of several the worst counts."""

    what: str
    pattern: str
    """With one group, the number."""
    bound: float
    is_least: bool = False
    """True: it has to be so much at least; False: at most."""
    unit: str = ""

    def verdict(self, said: str) -> tuple[str, bool]:
        """A line of the table, and whether the figure was found."""
        found = [float(text.replace(",", "")) for text in re.findall(self.pattern, said)]
        must = f"at {'least' if self.is_least else 'most'} {self.bound:,g}{self.unit}"
        if not found:
            return f"{self.what}: not measured, must be {must}", False
        worst = min(found) if self.is_least else max(found)
        is_reached = worst >= self.bound if self.is_least else worst <= self.bound
        shown = f"{worst:,g}{self.unit}"
        return f"{self.what}: {shown}, must be {must}: {'yes' if is_reached else 'NO'}", True


@dataclass(frozen=True)
class Step:
    """One program, and what is looked for in what it prints."""

    words: tuple[str, ...]
    quick: tuple[str, ...]
    timeout_s: float
    figures: tuple[Figure, ...]
    needs_root: bool = False


STEPS: Final = (
    Step(
        ("tests.bench.bench_relay", "--size-mib", "128", "--runs", "3"),
        ("tests.bench.bench_relay", "--size-mib", "4", "--runs", "1"),
        180.0,
        (
            Figure("relayed by UDP, of the direct link", r"= (\d+)% of direct", 60, True, " %"),
            Figure("the relay's processor meanwhile", r"relay (\d+)% of a core", 40, unit=" %"),
        ),
    ),
    Step(
        ("tests.bench.bench_idle", "--seconds", "20"),
        ("tests.bench.bench_idle", "--devices", "50", "--seconds", "1"),
        150.0,
        (
            Figure("a relay with 2,000 idle devices", r"idle: (\d+) MB resident", 150, unit=" MB"),
            Figure("its processor", r"device, ([\d.]+)% of a core", 5, unit=" %"),
        ),
    ),
    Step(
        ("tests.bench.bench_mailbox",),
        ("tests.bench.bench_mailbox", "--changesets", "200"),
        90.0,
        (
            Figure("changesets into a mailbox", r"in +([\d,]+) a second", 2_000, True, "/s"),
            Figure("changesets out of it", r"out +([\d,]+) a second", 2_000, True, "/s"),
        ),
    ),
    Step(
        ("tests.nat", "times"),
        ("tests.nat", "times"),
        240.0,
        (
            Figure("meeting at a relay", r"meet through the relay: ([\d.]+) s", 0.3, unit=" s"),
            Figure("a direct way after that", r"direct way after that: ([\d.]+) s", 1.0, unit=" s"),
            Figure(
                "a file saved when the address changes",
                r"after an address change is there: ([\d.]+) s", 5.0, unit=" s",
            ),
        ),
        needs_root=True,
    ),
    Step(
        ("tests.bench.bench_lost", "--runs", "1"),
        ("tests.bench.bench_lost", "--runs", "1"),
        180.0,
        (
            Figure("a lost relay is replaced", r"other one after ([\d.]+) s", 10.0, unit=" s"),
        ),
        needs_root=True,
    ),
)  # fmt: skip


def run(words: Sequence[str], timeout_s: float) -> str:
    """What a program prints, which is shown as it comes; all it has started ends with it."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment,
        start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        print(f"    it was ended after {timeout_s:.0f} s")
        said = ""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.poll() is None:
            said, _ = process.communicate()
    return said


def main() -> int:
    """Runs all steps and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    table, is_whole = [], True
    for step in STEPS:
        words = step.quick if arguments.quick else step.words
        print(f"--- python -m {' '.join(words)}   (load {os.getloadavg()[0]:.1f})", flush=True)
        if step.needs_root and os.geteuid() != 0:
            print("    left out: it needs root")
            said = ""
        else:
            began = time.monotonic()
            said = run(words, step.timeout_s)
            print("".join(f"    {line}\n" for line in said.splitlines()), end="")
            print(f"    ({time.monotonic() - began:.0f} s)", flush=True)
        for figure in step.figures:
            line, is_found = figure.verdict(said)
            table.append(line)
            is_whole &= is_found
    print("--- all of them")
    print("\n".join(table))
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
