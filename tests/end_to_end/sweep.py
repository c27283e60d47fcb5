"""The whole sweep: every N of every kind of call, each of three faults, in each scenario.

    python -m tests.end_to_end.sweep [--scenario receiving] [--fault kill] [--point rename]
                                     [--step 1] [--directory DIR] [--results FILE] [--report]

Prints a line a round, then a table scenario x call x fault with how many N there were and what
became of them, and every failure in full. Takes one to two seconds a round, for the daemons try
again soon what a disk refused; needs strace. `--step 5` takes every fifth N.

With `--results FILE` each round is a line of that file too, and a sweep that was interrupted goes
on where it was: rounds that were played of this state of the product are not played again, but for
those that lost something. With `--report` nothing is played; what the file says is written to
SWEPT.md, where `python -m tests.trust` finds it, and what stands there of other cells stays. The
exit code is 1 if anything was lost.
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

from tests.end_to_end.inject import FAULTS, LARGE_POINTS, POINTS, Point
from tests.end_to_end.nursery import shared
from tests.end_to_end.rounds import NOT_REACHED, SCENARIOS, Rounds

Key = tuple[str, str, str]
Outcomes = dict[int, str]
"""By N, what became of the round."""
REPORT = Path(__file__).parent / "SWEPT.md"
HEADER = """\
# What was swept

A real daemon was killed, or its disk failed, at the N-th call of a kind, and all that was saved had
to be there afterwards on both devices, and nothing else. Made by
`python -m tests.end_to_end.sweep --results FILE --report`. *Whole*: every N up to the first two
that no round reached. Where one commit is named, all these rounds were played at that state of the
product, the last one of which that can be said; where several are, over these together. What was
lost at any state and has not passed since counts. Cells that are not here were not swept.

| scenario | call | fault | rounds | lost | extent | commits |
|---|---|---|---|---|---|---|
"""
CALLS = [point.name for point in (*POINTS, *LARGE_POINTS)]
LOST, WHOLE = "LOST", "whole"
RETRY_S = 0.3
"""After which a daemon tries again what a disk refused: 5 s would be most of a round."""
UNREACHED_MAX = 2
"""Rounds in a row after which a cell has no further N: which thread makes its N-th call first
varies a little from one round to the next."""


def _place(key: Key) -> tuple[int, int, int]:
    """Where a cell stands in the report."""
    scenario, call, fault = key
    return list(SCENARIOS).index(scenario), CALLS.index(call), list(FAULTS).index(fault)


def is_whole(rounds: Outcomes) -> bool:
    """Whether these are all N up to the first two that no round reached."""
    end = next((n for n in sorted(rounds) if _is_unreached(rounds, n, n + 1)), 0)
    return end > 0 and all(n in rounds for n in range(1, end))


def _is_unreached(rounds: Outcomes, *numbers: int) -> bool:
    return all(rounds.get(n) == NOT_REACHED for n in numbers)


class Results:
    """What became of each round, in a file of a line each if there is one."""

    def __init__(self, path: Path | None, commit: str) -> None:
        self._path = path
        self._commit = commit
        self.cells: dict[Key, dict[str, Outcomes]] = {}
        """By commit, in the order in which they were swept."""
        self.failures: dict[tuple[Key, int], str] = {}
        """Rounds that lost something and were not played again."""
        if path is not None:
            with contextlib.suppress(FileNotFoundError):
                for line in path.read_text().splitlines():
                    self._take(json.loads(line))

    def report(self, before: str = "") -> str:
        """The same as a table of Markdown. Of the table `before` those rows stay of which this file
        has nothing, or only a part where that had all.
        """
        rows = {}
        for line in before.splitlines(keepends=True):
            cells = [cell.strip() for cell in line.strip("|\n").split(" | ")]
            if cells[0] in SCENARIOS:
                rows[cells[0], cells[1], cells[2]] = line
        for cell in self.cells:
            is_better = WHOLE not in rows.get(cell, "") or any(
                key == cell for key, _ in self.failures
            )
            row = self._row(cell)
            if is_better or WHOLE in row:
                rows[cell] = row
        return HEADER + "".join(rows[cell] for cell in sorted(rows, key=_place))

    def _row(self, cell: Key) -> str:
        by_commit = self.cells[cell]
        rounds = {n: o for outcomes in by_commit.values() for n, o in outcomes.items()}
        commits = list(by_commit)
        if whole := [commit for commit in commits if is_whole(by_commit[commit])]:
            commits, rounds = whole[-1:], by_commit[whole[-1]]
        reached = sum(outcome != NOT_REACHED for outcome in rounds.values())
        lost = sum(key == cell for key, _ in self.failures)
        extent = WHOLE if is_whole(rounds) else "in part"
        return f"| {' | '.join(cell)} | {reached} | {lost} | {extent} | {', '.join(commits)} |\n"

    def _take(self, row: dict[str, str | int]) -> None:
        cell = str(row["scenario"]), str(row["call"]), str(row["fault"])
        n, outcome = int(row["n"]), str(row["outcome"])
        self.cells.setdefault(cell, {}).setdefault(str(row["commit"]), {})[n] = outcome
        self.failures.pop((cell, n), None)
        if outcome == LOST:
            self.failures[cell, n] = str(row["failure"])

    def known(self, key: Key, n: int) -> str | None:
        """What became of this round, if it needs not be played again."""
        outcome = self.cells.get(key, {}).get(self._commit, {}).get(n)
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
        """What became of all rounds of this state of the product."""
        lines = ["scenario | call | fault | rounds | outcomes"]
        total: collections.Counter[str] = collections.Counter()
        for key, by_commit in self.cells.items():
            outcomes = by_commit.get(self._commit, {}).values()
            counts = collections.Counter(o.split(":")[0] for o in outcomes if o != NOT_REACHED)
            parts = ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common())
            lines.append(f"{' | '.join(key)} | {counts.total()} | {parts}")
            total += counts
        lines.append(f"all: {total.total()} rounds at {self._commit}; {dict(total)}")
        return "\n".join([*lines, f"{len(self.failures)} lost at this or another state"])


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
    parser.add_argument("--scenario", choices=list(SCENARIOS))
    parser.add_argument("--fault", choices=list(FAULTS))
    parser.add_argument("--point", choices=CALLS)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--report", action="store_true")
    chosen = parser.parse_args()
    if chosen.report:
        results = Results(chosen.results, "")
        REPORT.write_text(results.report(REPORT.read_text()))
        return bool(results.failures)
    directory = chosen.directory or Path(tempfile.mkdtemp(prefix="holdfast-sweep-"))
    results = Results(chosen.results, this_commit())
    shared().hurry(RETRY_S)
    sweep = Sweep(directory, results)
    try:
        for scenario, points in SCENARIOS.items():
            for point in points:
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
