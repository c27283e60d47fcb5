"""The whole sweep: every N of every kind of call, each of three faults, in each scenario.

    python -m tests.end_to_end.sweep [--scenario receiving] [--fault kill] [--point rename]
                                     [--step 1] [--directory DIR] [--results FILE] [--report]

Prints a line a round, then a table scenario x call x fault with how many N there were and what
became of them, and every failure in full. Takes one to two seconds a round, for the daemons try
again soon what a disk refused; needs strace. `--step 5` takes every fifth N.

With `--results FILE` each round is a line of that file too, and a sweep that was interrupted goes
on where it was: rounds in the file are not played again, but for those that lost something. With
`--report` nothing is played; what the file says is written to SWEPT.md, where `python -m
tests.trust` finds it. The exit code is 1 if anything was lost.
"""

import argparse
import collections
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.end_to_end.inject import FAULTS, POINTS, Point
from tests.end_to_end.nursery import shared
from tests.end_to_end.rounds import NOT_REACHED, SCENARIOS, Rounds

Key = tuple[str, str, str]
REPORT = Path(__file__).parent / "SWEPT.md"
HEADER = """\
# What was swept

A real daemon was killed, or its disk failed, at the N-th call of a kind, and all that was saved had
to be there afterwards on both devices, and nothing else. Made by
`python -m tests.end_to_end.sweep --results FILE --report`. *Whole*: every N up to the first two
that no round reached; of the other cells some N, the first or every fifth, and cells that are not
here were not swept.

| scenario | call | fault | rounds | lost | extent | commits |
|---|---|---|---|---|---|---|
"""
LOST = "LOST"
RETRY_S = 0.3
"""After which a daemon tries again what a disk refused: 5 s would be most of a round."""
UNREACHED_MAX = 2
"""Rounds in a row after which a cell has no further N: which thread makes its N-th call first
varies a little from one round to the next."""


def _place(key: Key) -> tuple[int, int, int]:
    """Where a cell stands in the report."""
    scenario, call, fault = key
    calls = [point.name for point in POINTS]
    return SCENARIOS.index(scenario), calls.index(call), list(FAULTS).index(fault)


class Results:
    """What became of each round, in a file of a line each if there is one."""

    def __init__(self, path: Path | None, commit: str) -> None:
        self._path = path
        self._commit = commit
        self.outcomes: dict[tuple[Key, int], str] = {}
        self.failures: dict[tuple[Key, int], str] = {}
        self.commits: dict[Key, set[str]] = {}
        if path is not None:
            with contextlib.suppress(FileNotFoundError):
                for line in path.read_text().splitlines():
                    self._take(json.loads(line))

    def report(self) -> str:
        """The same as a table of Markdown."""
        lines = []
        for cell in sorted({key for key, _ in self.outcomes}, key=_place):
            rounds = {n: outcome for (key, n), outcome in self.outcomes.items() if key == cell}
            missed = [n for n, outcome in rounds.items() if outcome == NOT_REACHED]
            lost = sum(outcome == LOST for outcome in rounds.values())
            is_whole = any(n + 1 in missed for n in missed) and len(rounds) == max(rounds)
            extent = "whole" if is_whole else "in part"
            commits = ", ".join(sorted(self.commits[cell]))
            counts = f"{len(rounds) - len(missed)} | {lost} | {extent} | {commits}"
            lines.append(f"| {' | '.join(cell)} | {counts} |\n")
        return HEADER + "".join(lines)

    def _take(self, row: dict[str, str | int]) -> None:
        key = (str(row["scenario"]), str(row["call"]), str(row["fault"])), int(row["n"])
        self.outcomes[key] = str(row["outcome"])
        self.commits.setdefault(key[0], set()).add(str(row["commit"]))
        self.failures.pop(key, None)
        if row["outcome"] == LOST:
            self.failures[key] = str(row["failure"])

    def known(self, key: Key, n: int) -> str | None:
        """What became of this round, if it needs not be played again."""
        outcome = self.outcomes.get((key, n))
        return None if outcome == LOST else outcome

    def add(self, key: Key, n: int, outcome: str, failure: str, took_s: float) -> None:
        """One round."""
        row: dict[str, str | int] = dict(zip(("scenario", "call", "fault"), key, strict=True))
        row |= {"n": n, "outcome": outcome, "failure": failure, "commit": self._commit}
        self._take(row)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(row | {"took_s": round(took_s, 2)}) + "\n")

    def table(self) -> str:
        """What became of all rounds."""
        cells: dict[Key, collections.Counter[str]] = {}
        for (key, _), outcome in self.outcomes.items():
            counts = cells.setdefault(key, collections.Counter())
            if outcome != NOT_REACHED:
                counts[outcome.split(":")[0]] += 1
        lines = ["scenario | call | fault | rounds | outcomes"]
        for key, counts in cells.items():
            parts = ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common())
            lines.append(f"{' | '.join(key)} | {counts.total()} | {parts}")
        total = sum(cells.values(), collections.Counter())
        lines.append(f"all: {total.total()} rounds; {len(self.failures)} lost; {dict(total)}")
        lines.append(f"at {', '.join(sorted(set().union(*self.commits.values())))}")
        return "\n".join(lines)


class Sweep:
    """Rounds of one scenario after another; after a failure a new pair begins."""

    def __init__(self, directory: Path, results: Results) -> None:
        self._rounds = Rounds(directory)
        self._results = results

    def run(self, scenario: str, point: Point, fault: str, step: int) -> None:
        """Every N, until it is not reached."""
        key = (scenario, point.name, fault)
        n, unreached = 1, 0
        while unreached < UNREACHED_MAX:
            outcome = self._results.known(key, n) or self._play(key, point, n)
            unreached = unreached + 1 if outcome == NOT_REACHED else 0
            n += step

    def _play(self, key: Key, point: Point, n: int) -> str:
        started = time.monotonic()
        failure = ""
        try:
            outcome = self._rounds.play(key[0], point, key[2], n)
        except Exception as error:  # noqa: BLE001 - a row of the table, and the sweep goes on
            outcome = LOST
            failure = f"{' x '.join(key)} x {n}: {type(error).__name__}: {error}"
            print(failure, flush=True)
        took_s = time.monotonic() - started
        print(f"{' | '.join(key)} | {n} | {outcome} | {took_s:.1f} s", flush=True)
        self._results.add(key, n, outcome, failure, took_s)
        return outcome

    def end(self) -> None:
        """Ends the daemons."""
        self._rounds.end()


def this_commit() -> str:
    """The last commit that changed what is swept; nothing outside of a repository."""
    words = ["git", "log", "-1", "--format=%h", "--", "peer", "protocol", "crypto"]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    return done.stdout.strip()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", choices=SCENARIOS)
    parser.add_argument("--fault", choices=list(FAULTS))
    parser.add_argument("--point", choices=[point.name for point in POINTS])
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--report", action="store_true")
    chosen = parser.parse_args()
    if chosen.report:
        results = Results(chosen.results, "")
        REPORT.write_text(results.report())
        return bool(results.failures)
    directory = chosen.directory or Path(tempfile.mkdtemp(prefix="holdfast-sweep-"))
    results = Results(chosen.results, this_commit())
    shared().hurry(RETRY_S)
    sweep = Sweep(directory, results)
    try:
        for scenario in SCENARIOS:
            for point in POINTS:
                for fault in point.faults:
                    if chosen.scenario not in (None, scenario) or chosen.fault not in (None, fault):
                        continue
                    if chosen.point in (None, point.name):
                        sweep.run(scenario, point, fault, chosen.step)
    finally:
        sweep.end()
        print(results.table())
    for failure in results.failures.values():
        print(f"\n{failure}")
    if not results.failures and chosen.directory is None:
        shutil.rmtree(directory)
    return bool(results.failures)


if __name__ == "__main__":
    sys.exit(main())
