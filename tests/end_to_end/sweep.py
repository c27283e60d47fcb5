"""The whole sweep: every N of every kind of call, each of three faults, in each scenario.

    python -m tests.end_to_end.sweep [--scenario receiving] [--fault kill] [--point rename]
                                     [--step 1] [--directory DIR]

Prints a line a round, then a table scenario x call x fault with how many N there were and what
became of them, and every failure in full. Takes one second a round, and six where a disk fails and
the daemon waits before it tries again; needs strace. `--step 5` takes every fifth N. The exit code
is 1 if anything was lost.
"""

import argparse
import collections
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.end_to_end.inject import FAULTS, POINTS, Point
from tests.end_to_end.rounds import NOT_REACHED, SCENARIOS, Rounds

Key = tuple[str, str, str]


class Sweep:
    """Rounds of one scenario after another; after a failure a new pair begins."""

    def __init__(self, directory: Path) -> None:
        self._rounds = Rounds(directory)
        self.outcomes: dict[Key, collections.Counter[str]] = {}
        self.failures: list[str] = []

    def run(self, scenario: str, point: Point, fault: str, step: int) -> None:
        """Every N, until it is not reached."""
        key = (scenario, point.name, fault)
        counts = self.outcomes.setdefault(key, collections.Counter())
        n, unreached = 1, 0
        while unreached < 2:
            started = time.monotonic()
            try:
                outcome = self._rounds.play(scenario, point, fault, n)
            except Exception as error:  # noqa: BLE001 - a row of the table, and the sweep goes on
                outcome = "LOST"
                self.failures.append(f"{' x '.join(key)} x {n}: {type(error).__name__}: {error}")
                print(self.failures[-1], flush=True)
            took_s = time.monotonic() - started
            print(f"{' | '.join(key)} | {n} | {outcome} | {took_s:.1f} s", flush=True)
            unreached = unreached + 1 if outcome == NOT_REACHED else 0
            if outcome != NOT_REACHED:
                counts[outcome.split(":")[0]] += 1
            n += step

    def end(self) -> None:
        """Ends the daemons."""
        self._rounds.end()

    def table(self) -> str:
        """What became of all rounds."""
        lines = ["scenario | call | fault | rounds | outcomes"]
        for key, counts in self.outcomes.items():
            parts = ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common())
            lines.append(f"{' | '.join(key)} | {counts.total()} | {parts}")
        total = sum((counts for counts in self.outcomes.values()), collections.Counter())
        lines.append(f"all: {total.total()} rounds; {len(self.failures)} lost; {dict(total)}")
        return "\n".join(lines)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", choices=SCENARIOS)
    parser.add_argument("--fault", choices=list(FAULTS))
    parser.add_argument("--point", choices=[point.name for point in POINTS])
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--directory", type=Path)
    chosen = parser.parse_args()
    directory = chosen.directory or Path(tempfile.mkdtemp(prefix="holdfast-sweep-"))
    sweep = Sweep(directory)
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
        print(sweep.table())
    for failure in sweep.failures:
        print(f"\n{failure}")
    if not sweep.failures and chosen.directory is None:
        shutil.rmtree(directory)
    return bool(sweep.failures)


if __name__ == "__main__":
    sys.exit(main())
